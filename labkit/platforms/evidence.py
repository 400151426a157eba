"""Evidence, and how the emulated platform makes it: a TDREPORT of one boot, quoted by the lab authority."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.attest import (
    Collateral,
    LabAuthority,
    QuoteVerdict,
    make_tdreport,
    parse_collateral,
    parse_quote,
    verify_quote,
)
from labkit.attest.tdreport import TdReport
from labkit.console import CommandResult
from labkit.errors import DataError, StorageError, UsageError, VmError
from labkit.files import read_below
from labkit.measure import EventLog, parse_log
from labkit.platforms.measurements import Measurements
from labkit.settings import Trust
from labkit.show import columns, stamp
from labkit.show.markup import join, pre, table

REPORT_DATA = 64
"""Bytes of report data in a TDREPORT: free for the TD to fill."""

# TD attributes, Intel TDX Module Base Architecture Specification: VMMs set SEPT_VE_DISABLE for Linux.
_SEPT_VE_DISABLE, _DEBUG = 1 << 28, 1 << 0
_LARGEST = 4 << 20
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){0,64}")

Run = Callable[[str], CommandResult]
"""Runs a command in the guest's shell, as ``Tdvm.run`` does."""


@dataclass(frozen=True)
class Quoting:
    """How evidence of the emulated platform is quoted.

    now: seconds since 1970, from which on the collateral is current. debug: as if the TD had been built for
    debugging, with the attribute that lets its VMM read it.
    """

    authority: LabAuthority
    now: int
    debug: bool = False


@dataclass(frozen=True)
class Evidence:
    """What a TDVM shows about itself, with all that a verifier needs besides; nothing of it is judged yet.

    quote, log: the raw bytes; a guest without a log leaves it empty. root: the certificate (DER) to name for
    verification; None means Intel's. report: the TDREPORT behind the quote, where it is known.
    trust: what the evidence claims, by the root that its quote names; only verification says what is true.
    """

    quote: bytes
    log: bytes
    collateral: Collateral | None
    root: bytes | None
    report: TdReport | None
    trust: Trust

    @property
    def event_log(self) -> EventLog | None:
        """The log, parsed; None where the guest has none.

        Raises:
            MalformedEventLog: it does not parse.
        """
        return parse_log(self.log) if self.log else None

    def verify(self, now: int) -> QuoteVerdict:
        """Verify the quote for the time ``now``, under the root that comes with the evidence.

        Raises:
            MalformedEvidence: quote or collateral do not parse.
            UsageError: there is no collateral.
        """
        if self.collateral is None:
            fmspc = parse_quote(self.quote).chain.fmspc.hex().upper()
            raise UsageError(
                f"The quote cannot be verified without the collateral of its platform (FMSPC {fmspc}).",
                "Fetch it from Intel or the cloud, for example with dcap-qvl, and name it with --collateral.",
            )
        return verify_quote(self.quote, self.collateral, now, self.root)

    def files(self) -> dict[str, bytes]:
        """The evidence as files; the names of what is emulated say so."""
        mark = f".{self.trust.stamp}" if self.trust.stamp else ""
        found = {f"quote{mark}.bin": self.quote}
        if self.log:
            found[f"eventlog{mark}.bin"] = self.log
        if self.collateral is not None:
            found["collateral.json"] = self.collateral.text.encode()
        if self.report is not None:
            found[f"tdreport{mark}.bin"] = self.report.encode()
        if self.root is not None:
            found["root.der"] = self.root
        return found

    def save(self, folder: Path) -> None:
        """Write ``files`` into a folder."""
        for name, data in self.files().items():
            (folder / name).write_bytes(data)

    def keep(self, parent: Path, now: int) -> Path:
        """Save into a new folder below ``parent``, named by the time ``now``; returns it.

        Raises:
            StorageError: it cannot be written.
        """
        name = time.strftime("%Y%m%d-%H%M%S-", time.gmtime(now)) + secrets.token_hex(3)
        folder = parent / name
        try:
            folder.mkdir(parents=True)
            self.save(folder)
        except OSError as error:
            raise StorageError(
                f"{folder} cannot be written: {error.strerror}.",
                "Set LABKIT_STATE_DIR to a directory that can.",
            ) from error
        return folder

    def to_dict(self) -> dict[str, Any]:
        """Sizes and trust; the bytes are in ``files``."""
        sizes = {name: len(data) for name, data in self.files().items()}
        return {"trust": self.trust.value, "stamp": self.trust.stamp, "files": sizes}

    def __repr__(self) -> str:
        return f"Evidence(trust={self.trust.value})"

    def __str__(self) -> str:
        return f"{stamp(self.trust)}evidence\n{columns(self._rows())}"

    def _repr_html_(self) -> str:
        return join([pre(f"{stamp(self.trust)}evidence"), table(self._rows(), head=("file", "bytes"))])

    def _rows(self) -> list[tuple[str, str]]:
        return [(name, str(len(data))) for name, data in self.files().items()]


def load_evidence(folder: Path, lab_root: bytes, collateral: Collateral | None = None) -> Evidence:
    """Evidence that an earlier boot left in ``folder``, under the names that ``Evidence.files`` gives.

    lab_root: the root (DER) for the quote of a lab; the one in the folder is not asked, since whoever wrote
    the folder chose it. collateral: in the place of the folder's own.

    Raises:
        UsageError: there is no quote, or a file cannot be read.
        MalformedEvidence: quote or collateral do not parse.
    """
    mark = f".{Trust.NONE.stamp}" if os.path.lexists(folder / f"quote.{Trust.NONE.stamp}.bin") else ""
    quote = _read(folder / f"quote{mark}.bin")
    log = _read(folder / f"eventlog{mark}.bin") if os.path.lexists(folder / f"eventlog{mark}.bin") else b""
    if collateral is None and os.path.lexists(folder / "collateral.json"):
        collateral = parse_collateral(_read(folder / "collateral.json"))
    return evidence_of(quote, log, collateral, lab_root)


def evidence_of(
    quote: bytes, log: bytes, collateral: Collateral | None, lab_root: bytes | None = None
) -> Evidence:
    """Evidence as it came from somewhere: what its quote says decides under which root it can be verified.

    Raises:
        MalformedEvidence: the quote does not parse.
    """
    intel = parse_quote(quote).chain.intel
    return Evidence(
        quote=quote,
        log=log,
        collateral=collateral,
        root=None if intel else lab_root,
        report=None,
        trust=Trust.HARDWARE if intel else Trust.NONE,
    )


def _read(path: Path) -> bytes:
    try:
        return read_below(path.parent, path.name, _LARGEST)
    except DataError as error:
        raise UsageError(
            f"There is no evidence in {path.parent}: {error.message}",
            "Name the run directory that labkit attest printed.",
        ) from error


def report_data_of(run: Run, nonce: bytes) -> bytes:
    """Hand the nonce to the guest, and take from it the 64 bytes of report data that it makes of it.

    The guest fills up with zeros, as configfs-tsm does. What it answers is taken as it is: that it fits the
    nonce is for the appraisal to find.

    Raises:
        UsageError: the nonce has more than 64 bytes.
        VmError: the guest does not answer with 64 bytes.
    """
    check_nonce(nonce)
    escaped = "".join(f"\\x{byte:02x}" for byte in nonce)
    fill = REPORT_DATA - len(nonce)
    made = f"{{ printf '{escaped}'; head -c {fill} /dev/zero; }} > /tmp/report-data"
    result = run(f"{made} && od -A n -v -t x1 /tmp/report-data")
    answer = "".join(result.output.split())
    if result.exit_status != 0 or len(answer) != 2 * REPORT_DATA or not _HEX.fullmatch(answer):
        raise VmError(
            "The guest did not make 64 bytes of report data.", "Its shell needs printf, head, od and /tmp."
        )
    return bytes.fromhex(answer)


def check_nonce(nonce: bytes) -> None:
    """Refuse what is longer than report data.

    Raises:
        UsageError: more than 64 bytes.
    """
    if len(nonce) > REPORT_DATA:
        raise UsageError(f"{len(nonce)} bytes do not fit into report data.", "Give at most 64 bytes.")


def emulated_evidence(measured: Measurements, report_data: bytes, by: Quoting) -> Evidence:
    """Evidence of one boot: MRTD of its firmware, RTMRs replayed from its log, the guest's report data."""
    registers = measured.registers()
    report = make_tdreport(
        mrtd=registers["MRTD"],
        rtmr=measured.rtmr,
        report_data=report_data,
        td_attributes=_SEPT_VE_DISABLE | (_DEBUG if by.debug else 0),
    )
    return Evidence(
        quote=by.authority.quote(report),
        log=measured.raw_log,
        collateral=by.authority.collateral(by.now),
        root=by.authority.root_der,
        report=report,
        trust=Trust.NONE,
    )
