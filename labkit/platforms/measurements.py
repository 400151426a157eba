"""The measured boot of an emulated TDVM, read from outside: its vTPM's registers, and its log in memory.

What the guest says of its own boot is heard too, but only compared: whoever booted something else would have
it say what is expected.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from labkit.errors import DataError, NothingMeasured, NotMeasured, VmError
from labkit.measure import EventLog, FirmwareMeasurement, PageOrder, parse_log, replay_pcrs, rtmrs
from labkit.measure.memory import FoundLog, find_logs
from labkit.measure.replay import Rtmrs
from labkit.platforms.told import BANKS, Pcrs, Told, parse_told
from labkit.show import columns
from labkit.show.markup import join, pre, table
from labkit.show.measure import section_table
from labkit.vm import VirtualMachine

# PCR 10 is extended by Linux's own integrity subsystem, whose log is another one; 16 to 23 are for debugging,
# late launch and applications, and may be reset (TCG PC Client Platform TPM Profile, section 4.6.2).
_LOGGED = tuple(number for number in range(16) if number != 10)


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
        raise no_log(pcrs)
    return first


def no_log(pcrs: Pcrs) -> VmError:
    """Why there is no event log beside a vTPM with these registers."""
    if not any(any(value) for bank in pcrs.values() for number, value in bank.items() if number < 8):
        return NothingMeasured(
            "The firmware measured nothing into the vTPM: it has no driver for one, as builds for TDX alone.",
            "Boot a firmware that measures into a TPM, such as OVMF.fd.",
        )
    return VmError(
        "There is no event log of the firmware in the guest's memory.",
        "Its kernel may have overwritten it; boot again with --cold.",
    )


def keep_log(machine: VirtualMachine, firmware: FirmwareMeasurement) -> None:
    """Read the log of a machine whose kernel has just taken over, and leave it with the machine.

    The log lies in memory that the kernel may use for itself. Linux keeps a copy, other kernels do not.
    """
    with contextlib.suppress(VmError, DataError):
        measured = read_measurements(machine, firmware)
        if measured.replay_matches:
            machine.firmware_log = measured.raw_log


def _early(data: bytes) -> Iterator[FoundLog]:
    """The log that was read when the kernel took over; nobody vouches for it but the registers."""
    if data:
        yield FoundLog("the firmware's log, read when the kernel took over", data, parse_log(data))


def heard(measured: Measurements, output: str) -> Measurements:
    """The measurements with what the guest said: the output of ``tell_measurements``, all of it untrusted."""
    told = parse_told(output)
    if told.raw_log + b"\0" == measured.raw_log:
        told = replace(told, raw_log=measured.raw_log)
    return replace(measured, told=told)


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
