"""TDREPORT: the 1,024 bytes in which the module vouches for a TD, here with the model's own key.

Layout: REPORTMACSTRUCT, TEE_TCB_INFO and TDINFO_STRUCT of the Intel TDX Module specification; offsets and
the ranges of the two inner hashes agree with a report from real hardware. The range of the MAC (bytes 0 to
223) could not be checked.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import UsageError
from labkit.tdx.objects import Tdcs

REPORT_SIZE = 1024
SUFFIX = ".emulated-tdreport"
_MODEL_SEAM = hashlib.sha384(b"labkit TDX model: no SEAM module was measured").digest()


@dataclass(frozen=True)
class ModelReport:
    """A TDREPORT of the model. Its MAC was made with a key that no CPU has: nobody can verify it.

    data has the layout of a real report; the mark that it is emulated stands outside of it.
    """

    data: bytes

    def __repr__(self) -> str:
        return f"<TDREPORT EMULATED mrtd={self.mrtd.hex()[:16]}…>"

    @property
    def mrtd(self) -> bytes:
        """Measurement of what the TD was built from (48 bytes)."""
        return self.data[528:576]

    @property
    def rtmr(self) -> tuple[bytes, ...]:
        """The four run-time measurement registers (48 bytes each)."""
        return tuple(self.data[at : at + 48] for at in (720, 768, 816, 864))

    @property
    def attributes(self) -> int:
        """TD attributes; bit 0 is DEBUG."""
        return int.from_bytes(self.data[512:520], "little")

    @property
    def report_data(self) -> bytes:
        """The 64 bytes that the guest put in."""
        return self.data[128:192]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, bytes as hex."""
        return {
            "trust": "none",
            "emulated": True,
            "mrtd": self.mrtd.hex(),
            "rtmr": [value.hex() for value in self.rtmr],
            "attributes": self.attributes,
            "report_data": self.report_data.hex(),
            "debug": bool(self.attributes & 1),
        }

    def save(self, path: Path) -> Path:
        """Write the bytes to a file whose name says that they are emulated.

        Raises:
            UsageError: the name does not end in ``.emulated-tdreport``.
        """
        if not path.name.endswith(SUFFIX):
            raise UsageError("A report of the model needs a name that says so.", f"End it in {SUFFIX}.")
        path.write_bytes(self.data)
        return path

    def __str__(self) -> str:
        lines = [f"[EMULATED] TDREPORT of the model; MRTD {self.mrtd.hex()}"]
        lines += [f"RTMR{i} {value.hex()}" for i, value in enumerate(self.rtmr)]
        return "\n".join([*lines, f"attributes {self.attributes:#x}, report data {self.report_data.hex()}"])


def td_info(tdcs: Tdcs) -> bytes:
    """TDINFO_STRUCT, 512 bytes."""
    params = tdcs.params
    head = struct.pack("<QQ", params.attributes, params.xfam)
    body = tdcs.mrtd + params.mrconfigid + params.mrowner + params.mrownerconfig + b"".join(tdcs.rtmr)
    return (head + body).ljust(512, b"\0")


def make_report(tdcs: Tdcs, report_data: bytes, key: bytes) -> bytes:
    """The whole structure for 64 bytes of report data."""
    info = td_info(tdcs)
    tcb = struct.pack("<Q", 0x301FF) + bytes(16) + _MODEL_SEAM + bytes(48) + bytes(8)
    tcb = tcb.ljust(239, b"\0")
    head = struct.pack("<B15x16x", 0x81)
    head += hashlib.sha384(tcb).digest() + hashlib.sha384(info).digest() + report_data + bytes(32)
    mac = hmac.new(key, head, hashlib.sha256).digest()
    return head + mac + tcb.ljust(256, b"\0") + info


def mac_ok(structure: bytes, key: bytes) -> bool:
    """Whether a REPORTMACSTRUCT (256 bytes) was made with the key."""
    mac = hmac.new(key, structure[:224], hashlib.sha256).digest()
    return hmac.compare_digest(mac, structure[224:256])
