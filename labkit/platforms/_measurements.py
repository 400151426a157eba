"""The measured boot of an emulated TDVM: its vTPM's registers against the replay of its event log."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labkit.errors import VmError
from labkit.measure import EventLog, FirmwareMeasurement, PageOrder, Rtmrs, parse_log, replay_pcrs, rtmrs
from labkit.show import columns, join, pre, section_table, table

BANKS = ("sha256", "sha384")

# Built-in words only: under TCG a process costs milliseconds, a redirection does not.
READ_MEASUREMENTS = """\
base64 /sys/kernel/security/tpm0/binary_bios_measurements || exit 1
for bank in sha256 sha384; do
    for pcr in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23; do
        read -r value < /sys/class/tpm/tpm0/pcr-$bank/$pcr && echo "$bank $pcr $value"
    done
done"""
"""The command that prints the event log in base64, then each PCR as ``bank number hex``."""

# PCR 10 is extended by Linux's own integrity subsystem, whose log is another one.
_NOT_FIRMWARES = frozenset({10})


@dataclass(frozen=True)
class Measurements:
    """What was measured, by whom, and whether the parts agree.

    pcrs: by bank and number, as the guest's vTPM reports them.
    mrtd: computed from the firmware file; rtmr: replayed from the log, derived from a vTPM.
    """

    firmware: FirmwareMeasurement
    raw_log: bytes
    log: EventLog
    pcrs: Mapping[str, Mapping[int, bytes]]
    rtmr: Rtmrs

    def differences(self) -> list[tuple[str, int]]:
        """The (bank, PCR) pairs whose replayed value is not the one that the vTPM reports."""
        found = []
        for bank in BANKS:
            for number, value in replay_pcrs(self.log, bank).items():
                if number not in _NOT_FIRMWARES and self.pcrs[bank].get(number) != value:
                    found.append((bank, number))
        return found

    @property
    def replay_matches(self) -> bool:
        """The log accounts for every PCR that it touches, in both banks."""
        return not self.differences()

    def registers(self) -> dict[str, bytes]:
        """MRTD (in the order of upstream KVM) and RTMR0 to RTMR3, by name."""
        mrtd = self.firmware.mrtd[PageOrder.SINGLE_PASS]
        return {"MRTD": mrtd, **{f"RTMR{number}": value for number, value in enumerate(self.rtmr)}}

    def to_dict(self) -> dict[str, Any]:
        """The measurements with the contract's keys; ``mrtd`` in the order of upstream KVM."""
        return {
            "mrtd": self.firmware.mrtd[PageOrder.SINGLE_PASS].hex(),
            "mrtd_order": PageOrder.SINGLE_PASS.value,
            "rtmr": [value.hex() for value in self.rtmr],
            "derived_from": "vtpm",
            "replay_matches_tpm": self.replay_matches,
        }

    def __repr__(self) -> str:
        return f"Measurements(replay_matches={self.replay_matches})"

    def __str__(self) -> str:
        return f"{columns(self._rows())}\n{self._verdict()}"

    def _repr_html_(self) -> str:
        return join([section_table(("register", "value"), self._rows()), pre(self._verdict())])

    def _rows(self) -> list[tuple[str, str]]:
        return [(name, value.hex()) for name, value in self.registers().items()]

    def _verdict(self) -> str:
        origin = "MRTD is computed from the firmware file; the RTMRs are derived from a vTPM's log."
        if self.replay_matches:
            return f"The replayed log equals the vTPM's PCRs in both banks. {origin}"
        wrong = ", ".join(f"{bank} PCR {number}" for bank, number in self.differences())
        return f"The replayed log differs from the vTPM in: {wrong}. {origin}"


@dataclass(frozen=True)
class Comparison:
    """Two boots, register by register."""

    before: Measurements
    after: Measurements

    @property
    def moved(self) -> tuple[str, ...]:
        """The names of the registers whose values differ."""
        pairs = zip(self.before.registers().items(), self.after.registers().values(), strict=True)
        return tuple(name for (name, old), new in pairs if old != new)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data."""
        return {"moved": list(self.moved)}

    def __repr__(self) -> str:
        return f"Comparison(moved={list(self.moved)})"

    def __str__(self) -> str:
        return columns(self._rows())

    def _repr_html_(self) -> str:
        return table(self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        return [(name, "moved" if name in self.moved else "the same") for name in self.before.registers()]


def compare(before: Measurements, after: Measurements) -> Comparison:
    """Which registers moved between two boots."""
    return Comparison(before, after)


def parse_measurements(output: str, firmware: FirmwareMeasurement) -> Measurements:
    """Read what ``READ_MEASUREMENTS`` printed in the guest; every byte of it is untrusted.

    Raises:
        VmError: there is no event log in it.
        MalformedEventLog: the log does not parse.
    """
    pcrs: dict[str, dict[int, bytes]] = {bank: {} for bank in BANKS}
    encoded = []
    for line in output.splitlines():
        if match := re.fullmatch(r"(sha256|sha384) (\d{1,2}) ([0-9A-Fa-f]{64}|[0-9A-Fa-f]{96})", line):
            pcrs[match[1]][int(match[2])] = bytes.fromhex(match[3])
        else:
            encoded.append(line)
    try:
        raw = base64.b64decode("".join(encoded), validate=True)
    except ValueError:
        raw = b""
    if not raw:
        raise VmError("The guest shows no event log.", "Its kernel needs a TPM driver and securityfs.")
    log = parse_log(raw)
    return Measurements(firmware, raw, log, pcrs, rtmrs(log))
