"""The measured boot of an emulated TDVM, read from outside: its vTPM's registers, and its log in memory.

What the guest says of its own boot is heard too, but only compared: whoever booted something else would have
it say what is expected.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from labkit.errors import DataError, NotMeasured, VmError
from labkit.measure import EventLog, FirmwareMeasurement, PageOrder, parse_log, replay_pcrs, rtmrs
from labkit.measure.memory import FoundLog, find_logs
from labkit.measure.replay import Rtmrs
from labkit.show import columns, join, pre, table
from labkit.show.measure import section_table
from labkit.vm import VirtualMachine

BANKS = ("sha256", "sha384")

# Built-in words only: under TCG a process costs milliseconds, a redirection does not. In a subshell, since a
# cell's own variables may have these names.
READ_MEASUREMENTS = """\
(base64 /sys/kernel/security/tpm0/binary_bios_measurements || exit 1
for bank in sha256 sha384; do
    for pcr in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23; do
        read -r value < /sys/class/tpm/tpm0/pcr-$bank/$pcr && echo "$bank $pcr $value"
    done
done)"""
"""The command that prints the event log in base64, then each PCR as ``bank number hex``."""

# PCR 10 is extended by Linux's own integrity subsystem, whose log is another one; 16 to 23 are for debugging,
# late launch and applications, and may be reset (TCG PC Client Platform TPM Profile, section 4.6.2).
_LOGGED = tuple(number for number in range(16) if number != 10)

Pcrs = Mapping[str, Mapping[int, bytes]]


@dataclass(frozen=True)
class Told:
    """What a guest says of its own boot: its log, empty where it shows none, and PCRs; none of it proven."""

    raw_log: bytes
    pcrs: Pcrs


@dataclass(frozen=True)
class Measurements:
    """What was measured, by whom, and whether the parts agree.

    pcrs: by bank and number, asked of the vTPM itself. raw_log, log: from the guest's memory, ``where`` says
    from which place of it. mrtd: computed from the firmware file; rtmr: replayed from the log, derived from a
    vTPM. told: what the guest says; None where it was not asked.
    """

    firmware: FirmwareMeasurement
    raw_log: bytes
    log: EventLog
    pcrs: Pcrs
    rtmr: Rtmrs
    where: str
    told: Told | None = None

    def differences(self) -> list[tuple[str, int]]:
        """The (bank, PCR) pairs whose replayed value is not the one that the vTPM has.

        A register that the log does not name must be as it was at power-on.
        """
        found = []
        for bank in BANKS:
            replayed = replay_pcrs(self.log, bank)
            for number in _LOGGED:
                value = self.pcrs[bank].get(number, b"")
                if value != replayed.get(number, bytes(len(value))):
                    found.append((bank, number))
        return found

    @property
    def replay_matches(self) -> bool:
        """The log accounts for every PCR of the boot, in both banks."""
        return not self.differences()

    def untruths(self) -> list[str]:
        """Where what the guest says is not what was read outside it; empty for an honest or silent guest."""
        if self.told is None:
            return []
        found = []
        if not self.told.raw_log:
            found.append("the guest shows no event log")
        elif self.told.raw_log != self.raw_log:
            found.append("the event log that the guest shows is not the one in its memory")
        for bank in BANKS:
            shown = self.told.pcrs[bank]
            wrong = [number for number in _LOGGED if shown.get(number) != self.pcrs[bank].get(number)]
            if wrong:
                numbers = ", ".join(map(str, wrong))
                found.append(f"the guest shows other values than the vTPM for {bank} PCR {numbers}")
        return found

    def check(self) -> None:
        """Refuse what no evidence may be made of.

        Raises:
            NotMeasured: the log does not lead to the vTPM's registers.
        """
        if wrong := self.differences():
            named = ", ".join(f"{bank} PCR {number}" for bank, number in wrong)
            raise NotMeasured(
                "REJECTED: the event log in the guest's memory does not lead to the vTPM's registers "
                f"({named}).",
                "Something in the guest extended a register or changed the log; boot again to start afresh.",
            )

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
            "log_read_from": self.where,
            "guest_differs": self.untruths(),
        }

    def __repr__(self) -> str:
        return f"Measurements(replay_matches={self.replay_matches}, guest_differs={bool(self.untruths())})"

    def __str__(self) -> str:
        return f"{columns(self._rows())}\n{self._verdict()}"

    def _repr_html_(self) -> str:
        return join([section_table(("register", "value"), self._rows()), pre(self._verdict())])

    def _rows(self) -> list[tuple[str, str]]:
        return [(name, value.hex()) for name, value in self.registers().items()]

    def _verdict(self) -> str:
        origin = "MRTD is computed from the firmware file; the RTMRs are derived from a vTPM's log."
        told = "".join(f" The guest is not to be believed: {words}." for words in self.untruths())
        if self.replay_matches:
            return f"The replayed log equals the vTPM's PCRs in both banks. {origin}{told}"
        wrong = ", ".join(f"{bank} PCR {number}" for bank, number in self.differences())
        return f"The replayed log differs from the vTPM in: {wrong}. {origin}{told}"


def read_measurements(machine: VirtualMachine, firmware: FirmwareMeasurement) -> Measurements:
    """Measurements of a running machine with a vTPM, read while it is paused; the guest is not asked.

    Of the log that was read early and of those in its memory the first that leads to the vTPM's registers is
    taken; if none does, the likeliest, and ``differences`` has the registers.

    Raises:
        VmError: QEMU or the vTPM is gone, or there is no event log in the guest's memory.
        DataError: the log has no SHA-384 bank.
    """
    first = None
    with machine.paused() as memory:
        pcrs = machine.vtpm_registers()
        for found in chain(_early(machine.firmware_log), find_logs(memory)):
            if set(BANKS) <= {name for name, _ in found.log.banks}:
                known = Measurements(firmware, found.data, found.log, pcrs, rtmrs(found.log), found.where)
                if known.replay_matches:
                    return known
                first = first or known
    if first is None:
        raise VmError(
            "There is no event log of the firmware in the guest's memory.",
            "Its kernel may have overwritten it; boot again with --cold.",
        )
    return first


def keep_log(firmware: FirmwareMeasurement) -> Callable[[VirtualMachine], None]:
    """Reads the log of a machine whose kernel has just taken over, and leaves it with the machine.

    The log lies in memory that the kernel may use for itself. Linux keeps a copy, other kernels do not.
    """

    def keep(machine: VirtualMachine) -> None:
        with contextlib.suppress(VmError, DataError):
            measured = read_measurements(machine, firmware)
            if measured.replay_matches:
                machine.firmware_log = measured.raw_log

    return keep


def _early(data: bytes) -> Iterator[FoundLog]:
    """The log that was read when the kernel took over; nobody vouches for it but the registers."""
    if data:
        yield FoundLog("the firmware's log, read when the kernel took over", data, parse_log(data))


def heard(measured: Measurements, output: str) -> Measurements:
    """The measurements with what the guest said: the output of ``READ_MEASUREMENTS``, all of it untrusted."""
    return replace(measured, told=parse_told(output))


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


def parse_told(output: str) -> Told:
    """What ``READ_MEASUREMENTS`` printed in a guest; nonsense is taken as no log and no register."""
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
    return Told(raw, pcrs)
