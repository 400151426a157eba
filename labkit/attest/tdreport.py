"""TDREPORT: the 1024 bytes that TDG.MR.REPORT gives a TD about itself.

Source: Intel TDX Module 1.5 ABI; RTMR offsets and the range of TEE_TCB_INFO_HASH were checked on a report
of real hardware. Only the machine that made a report can check its MAC; a quote is what others verify.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from labkit.attest._layout import SEAM_FIELDS, TD_FIELDS, FieldView, Layout, as_html, as_text
from labkit.attest.bits import DEBUG, names, td_attributes, xfam
from labkit.errors import MalformedEvidence

TDREPORT_SIZE = 1024
_HASHED_TCB_INFO = slice(256, 495)
_TD_INFO = slice(512, 1024)
_REMEDY = "Read it with TDX_CMD_GET_REPORT0 of /dev/tdx_guest, unchanged."

_HEAD = Layout(
    ("report_type", 4),
    ("reserved_4", 12),
    ("cpu_svn", 16),
    ("tee_tcb_info_hash", 48),
    ("tee_info_hash", 48),
    ("report_data", 64),
    ("reserved_192", 32),
    ("mac", 32),
    ("valid", 8),
)
_LAYOUT = (
    _HEAD
    + SEAM_FIELDS
    + Layout(("tee_tcb_svn2", 16), ("reserved_400", 112))
    + TD_FIELDS
    + Layout(("servtd_hash", 48), ("reserved_960", 64))
)
assert _LAYOUT.size == TDREPORT_SIZE


@dataclass(frozen=True)
class TdReport:
    """A TDREPORT, field by field in the order of its bytes; all values are the raw bytes."""

    report_type: bytes
    reserved_4: bytes
    cpu_svn: bytes
    tee_tcb_info_hash: bytes
    tee_info_hash: bytes
    report_data: bytes
    reserved_192: bytes
    mac: bytes
    valid: bytes
    tee_tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    tee_tcb_svn2: bytes
    reserved_400: bytes
    td_attributes: bytes
    xfam: bytes
    mrtd: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    servtd_hash: bytes
    reserved_960: bytes

    @property
    def rtmr(self) -> tuple[bytes, bytes, bytes, bytes]:
        """RTMR0 to RTMR3."""
        return (self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3)

    @property
    def debug(self) -> bool:
        """The TD was built for debugging: the VMM can read it."""
        return bool(int.from_bytes(self.td_attributes, "little") & DEBUG)

    def encode(self) -> bytes:
        """The 1024 bytes.

        Raises:
            ValueError: a field has a wrong length.
        """
        return _LAYOUT.encode(self)

    def fields(self) -> list[FieldView]:
        """Every field with its offset and, where there is one, its meaning."""
        return _LAYOUT.views(self, _notes(self))

    def to_dict(self) -> dict[str, Any]:
        """The fields that are not reserved, as hex."""
        shown = {field.name: field.value.hex() for field in self.fields() if "reserved" not in field.name}
        return {**shown, "debug": self.debug}

    def __str__(self) -> str:
        return as_text(self.fields())

    def __repr__(self) -> str:
        return f"TdReport(mrtd={self.mrtd.hex()[:16]}…, debug={self.debug})"

    def _repr_html_(self) -> str:
        return as_html(self.fields())


def _notes(report: TdReport) -> dict[str, str]:
    version = report.report_type[2]
    return {
        "report_type": f"TDX, version {version}",
        "tee_tcb_info_hash": "SHA-384 of bytes 256 to 494",
        "tee_info_hash": "SHA-384 of bytes 512 to 1023",
        "mac": "by a key of this CPU only",
        "td_attributes": names(td_attributes(int.from_bytes(report.td_attributes, "little"))),
        "xfam": names(xfam(int.from_bytes(report.xfam, "little"))),
    }


def parse_tdreport(data: bytes) -> TdReport:
    """Read a TDREPORT strictly: length, type, reserved bytes and both inner hashes.

    Raises:
        MalformedEvidence: one of them is wrong.
    """
    if len(data) != TDREPORT_SIZE:
        raise MalformedEvidence(f"A TDREPORT has 1024 bytes; this has {len(data)}.", _REMEDY)
    report = TdReport(**_LAYOUT.decode(bytes(data)))
    kind, subtype, version, zero = report.report_type
    if (kind, subtype, zero) != (0x81, 0, 0) or version > 1:
        raise MalformedEvidence(f"The report type is {report.report_type.hex()}, not that of a TD.", _REMEDY)
    for name, value in (("4", report.reserved_4), ("192", report.reserved_192), ("400", report.reserved_400)):
        if any(value):
            raise MalformedEvidence(f"The reserved bytes at offset {name} are not zero.", _REMEDY)
    if any(report.reserved_960):
        raise MalformedEvidence("The reserved bytes at offset 960 are not zero.", _REMEDY)
    if hashlib.sha384(data[_HASHED_TCB_INFO]).digest() != report.tee_tcb_info_hash:
        raise MalformedEvidence("TEE_TCB_INFO does not match its hash: the report was changed.", _REMEDY)
    if hashlib.sha384(data[_TD_INFO]).digest() != report.tee_info_hash:
        raise MalformedEvidence("TDINFO does not match its hash: the report was changed.", _REMEDY)
    return report


def make_tdreport(
    *,
    mrtd: bytes,
    rtmr: tuple[bytes, bytes, bytes, bytes],
    report_data: bytes,
    td_attributes: int,
    xfam: int = 0x3,
) -> TdReport:
    """A TDREPORT with correct inner hashes, as the software model hands it to the lab authority.

    No hardware stands behind it: the MAC and the TCB version are zeros.

    Raises:
        ValueError: a value has a wrong length.
    """
    fields = _LAYOUT.zeros()
    fields |= {
        "report_type": b"\x81\0\0\0",
        "report_data": report_data,
        "valid": (0x3FF).to_bytes(8, "little"),
        "td_attributes": td_attributes.to_bytes(8, "little"),
        "xfam": xfam.to_bytes(8, "little"),
        "mrtd": mrtd,
    }
    fields |= {f"rtmr{number}": value for number, value in enumerate(rtmr)}
    plain = TdReport(**fields).encode()
    fields["tee_tcb_info_hash"] = hashlib.sha384(plain[_HASHED_TCB_INFO]).digest()
    fields["tee_info_hash"] = hashlib.sha384(plain[_TD_INFO]).digest()
    return TdReport(**fields)
