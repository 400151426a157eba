"""Made-up machines with quotes, for exercises about evidence: a log, registers, an authority of their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from labkit.attest import (
    Collateral,
    LabAuthority,
    QuoteVerdict,
    make_tdreport,
    parse_collateral,
    parse_quote,
    verify_quote,
)
from labkit.course._evidence import tagged_log
from labkit.course.draw import Draw
from labkit.measure import EventLog, rtmrs

NOW = 1_798_761_600
"""2027-01-01: when the made-up machines attested; exercises ask about other dates too."""
_SEPT_VE_DISABLE, _DEBUG = 1 << 28, 1 << 0

Events = dict[int, list[tuple[str, bytes]]]


def digest(text: str) -> bytes:
    """The digest of a made-up event."""
    return hashlib.sha384(text.encode()).digest()


def events_of(draw: Draw, command_line: str) -> Events:
    """The events of a made-up boot, by RTMR."""
    names: dict[int, list[str]] = {
        0: ["variable SecureBoot", "variable PK", "separator", "ACPI data"],
        1: ["kernel", "calling the boot option", "exit boot services"],
        2: ["command line", "initrd"],
        3: ["application"],
    }
    made: Events = {
        register: [(name, digest(f"{name} {draw.word()}")) for name in row] for register, row in names.items()
    }
    made[2][0] = ("command line", digest(command_line))
    return made


@dataclass(frozen=True)
class MadeUp:
    """A machine that never was: its firmware's measurement and the events of its boot; EMULATED."""

    mrtd: bytes
    events: Events = field(repr=False)
    report_data: bytes = bytes(64)
    debug: bool = False

    @cached_property
    def log(self) -> EventLog:
        """Its event log."""
        return tagged_log(self.events)

    @property
    def registers(self) -> dict[str, str]:
        """MRTD and RTMR0 to RTMR3 as hex."""
        values = {f"RTMR{number}": value.hex() for number, value in enumerate(rtmrs(self.log))}
        return {"MRTD": self.mrtd.hex(), **values}

    def with_event(self, register: int, number: int, name: str, value: bytes) -> MadeUp:
        """The machine with one other event."""
        row = list(self.events[register])
        row[number] = (name, value)
        return replace(self, events={**self.events, register: row})

    def quote(self, authority: LabAuthority) -> bytes:
        """A quote of it."""
        report = make_tdreport(
            mrtd=self.mrtd,
            rtmr=rtmrs(self.log),
            report_data=self.report_data,
            td_attributes=_SEPT_VE_DISABLE | (_DEBUG if self.debug else 0),
        )
        return authority.quote(report)


def verified(quote: bytes, collateral: Collateral, root: bytes, now: int = NOW) -> QuoteVerdict:
    """What verification finds."""
    return verify_quote(quote, collateral, now, root)


def collateral_with(
    authority: LabAuthority, now: int, status: str, advisories: tuple[str, ...]
) -> Collateral:
    """An authority's collateral from ``now`` on, with another TCB status, signed by the same signer."""
    document = json.loads(authority.collateral(now).text)
    info = json.loads(document["tcb_info"])
    level = info["tcbLevels"][0]
    level["tcbStatus"] = status
    if advisories:
        level["advisoryIDs"] = list(advisories)
    text = json.dumps(info, separators=(",", ":"))
    r, s = decode_dss_signature(authority.tcb_signer.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    document["tcb_info"] = text
    document["tcb_info_signature"] = (r.to_bytes(32, "big") + s.to_bytes(32, "big")).hex()
    return parse_collateral(json.dumps(document, indent=1))


def files_of(
    folder: str, quote: bytes, log: EventLog, collateral: Collateral, root: bytes
) -> Mapping[str, bytes]:
    """Evidence as files below a folder."""
    return {
        f"{folder}/quote.EMULATED.bin": quote,
        f"{folder}/eventlog.EMULATED.bin": log.encode(),
        f"{folder}/collateral.json": collateral.text.encode(),
        f"{folder}/root.der": root,
    }


def report_data_of(quote: bytes) -> bytes:
    """The report data in a quote."""
    return parse_quote(quote).report_data
