"""Prediction: the events a boot must log, and so RTMR0 to RTMR3, from what goes into the boot.

Direct boot of a Linux kernel by QEMU and OVMF. What changed between versions of edk2 and QEMU are rules with
names; nothing is taken from a log of the guest, since a guest cannot vouch for itself.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from labkit.measure._mrtd import PageOrder, mrtd
from labkit.measure.boot_options import own_options
from labkit.measure.describe import INITRD_TAG, LOAD_OPTIONS_TAG
from labkit.measure.event_types import EventType, type_name
from labkit.measure.grub import LoaderEvent, What, load_options, loader_events
from labkit.measure.hob import td_hob_list
from labkit.measure.kernel_image import authenticode, patch_header
from labkit.measure.replay import extend
from labkit.measure.rules import InitrdWord, KernelHeader, RegisterKind, Rules, SecureBoot, Separators
from labkit.measure.tdvf import SectionType, Tdvf
from labkit.show import View, columns
from labkit.show.attest import register_fold
from labkit.show.measure import section_table

_GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c").bytes_le
_IMAGE_SECURITY = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f").bytes_le


@dataclass(frozen=True)
class BootInputs:
    """What goes into a boot; anything left out makes the events that need it unpredictable.

    memory: bytes. variables: the variable store as shipped; by default the firmware's own.
    boot_options: the contents of Boot0000, Boot0001 and so on, in boot order.
    acpi: SHA-384 of QEMU's ACPI blobs (``ACPI_BLOBS``) in the order of measurement. QEMU makes them while the
    firmware runs; its fw_cfg device, or a trusted boot of the same machine, tells them.
    smbios: SHA-384 of the SMBIOS tables as they are measured (``labkit.measure.smbios``).
    rtmr3: name and payload of each event of a dstack application.
    loader: the GRUB (a PE image) that boots the kernel from a disk and measures what it reads; None where the
    firmware starts the kernel by itself. stub_measures: the kernel's own EFI stub has command line and initrd
    measured, as Linux' does; Asterinas' does not.
    """

    firmware: Tdvf | None = None
    memory: int | None = None
    kernel: bytes | None = field(default=None, repr=False)
    initrd: bytes | None = field(default=None, repr=False)
    command_line: str | None = None
    variables: bytes | None = field(default=None, repr=False)
    boot_options: tuple[bytes, ...] = field(default_factory=own_options, repr=False)
    acpi: tuple[bytes, ...] = field(default=(), repr=False)
    smbios: bytes | None = field(default=None, repr=False)
    rtmr3: tuple[tuple[str, bytes], ...] = ()
    loader: bytes | None = field(default=None, repr=False)
    stub_measures: bool = True


class Part(StrEnum):
    """What an expected event measures."""

    TD_HOB = "memory layout (TD HOB)"
    CFV = "variable store"
    SECURE_BOOT = "variable SecureBoot"
    PK = "variable PK"
    KEK = "variable KEK"
    DB = "variable db"
    DBX = "variable dbx"
    SEPARATOR = "separator"
    ACPI = "ACPI blob"
    SMBIOS = "SMBIOS tables"
    KERNEL = "kernel"
    BOOT_ORDER = "variable BootOrder"
    BOOT_OPTION = "variable Boot####"
    CALLING = "calling the boot option"
    EXIT_CALLED = "exit boot services called"
    EXIT_DONE = "exit boot services succeeded"
    COMMAND_LINE = "kernel command line"
    INITRD = "initrd"
    APPLICATION = "application event"
    LOADER = "boot loader"
    LOADER_CONFIG = "boot loader's configuration"
    LOADER_COMMAND = "boot loader's command"
    LOADED_KERNEL = "kernel, as the boot loader reads it"
    LOADED_LINE = "kernel command line, as the boot loader hands it over"
    LOADED_INITRD = "initrd, as the boot loader reads it"


@dataclass(frozen=True)
class ExpectedEvent:
    """An event that must be logged. ``digest`` is ``None`` where the inputs do not decide it.

    register: number of the RTMR. number: which one, where a part occurs more than once. slot: type and name
    by which the event is recognised in a log.
    """

    register: int
    part: Part
    number: int
    slot: tuple[int, str]
    digest: bytes | None

    @property
    def label(self) -> str:
        """The event in a few words."""
        if self.part is Part.BOOT_OPTION:
            return f"variable {self.slot[1]}"
        if self.part is Part.LOADER_COMMAND:
            return f"{self.part.value} {self.slot[1].rpartition(' ')[2]!r}"
        return f"{self.part.value} {self.number}" if self.part is Part.ACPI else self.part.value


@dataclass(frozen=True)
class Prediction:
    """The expected events with the inputs and rules they follow from."""

    inputs: BootInputs
    rules: Rules
    events: tuple[ExpectedEvent, ...]

    def rtmr(self, number: int) -> bytes | None:
        """The expected value of one RTMR (48 bytes); ``None`` where an event of it cannot be predicted."""
        value = bytes(48)
        for event in self.events:
            if event.register == number:
                if event.digest is None:
                    return None
                value = extend(value, event.digest)
        return value

    @property
    def rtmrs(self) -> tuple[bytes | None, bytes | None, bytes | None, bytes | None]:
        """RTMR0 to RTMR3."""
        return (self.rtmr(0), self.rtmr(1), self.rtmr(2), self.rtmr(3))

    def mrtd(self, order: PageOrder) -> bytes | None:
        """The expected MRTD for a page order; ``None`` without a firmware."""
        return mrtd(self.inputs.firmware, order) if self.inputs.firmware else None

    def fold(self, number: int) -> View:
        """A picture of how one RTMR comes about, as far as its events can be predicted."""
        steps = []
        value = bytes(48)
        for event in self.events:
            if event.register == number and event.digest is not None:
                value = extend(value, event.digest)
                steps.append((event.label, event.digest.hex(), value.hex()))
            elif event.register == number:
                break
        return register_fold(f"RTMR{number}", steps)

    def to_dict(self) -> dict[str, Any]:
        """Registers and events as hex; ``None`` for what cannot be predicted."""
        return {
            "rtmr": [value.hex() if value else None for value in self.rtmrs],
            "events": [
                {
                    "register": f"RTMR{event.register}",
                    "part": event.part.value,
                    "type": type_name(event.slot[0]),
                    "digest": event.digest.hex() if event.digest else None,
                }
                for event in self.events
            ],
        }

    def __repr__(self) -> str:
        known = sum(event.digest is not None for event in self.events)
        return f"Prediction({self.rules.platform.value}, {known} of {len(self.events)} events)"

    def __str__(self) -> str:
        return "\n\n".join([columns([_HEAD, *self._rows()]), columns(self._registers())])

    def _repr_html_(self) -> str:
        return section_table(_HEAD, self._rows()) + section_table(("register", "expected"), self._registers())

    def _rows(self) -> list[tuple[str, str, str]]:
        return [
            (f"RTMR{event.register}", event.label, event.digest.hex() if event.digest else "not predictable")
            for event in self.events
        ]

    def _registers(self) -> list[tuple[str, str]]:
        return [
            (f"RTMR{number}", value.hex() if value else "not predictable")
            for number, value in enumerate(self.rtmrs)
        ]


_HEAD = ("register", "event", "digest")


def predict(inputs: BootInputs, rules: Rules | None = None) -> Prediction:
    """The events that a direct boot of these inputs must log, in log order.

    Raises:
        NotAKernel: the kernel is not a bzImage with an EFI stub, or the initrd does not fit the memory.
        UsageError: the memory is too small for the firmware.
    """
    rules = rules or Rules()
    table = _td_table(inputs, rules) if rules.platform is RegisterKind.TD else _vtpm_table(inputs, rules)
    events = []
    counts: dict[Part, int] = {}
    for register, part in table:
        number = counts.get(part, 0)
        counts[part] = number + 1
        digest = digest_of(part, number, inputs, rules)
        events.append(ExpectedEvent(register, part, number, _slot(part, number, inputs), digest))
    return Prediction(inputs, rules, tuple(events))


_KEYS = [(0, part) for part in (Part.SECURE_BOOT, Part.PK, Part.KEK, Part.DB, Part.DBX)]
_Table = list[tuple[int, Part]]


def _td_table(inputs: BootInputs, rules: Rules) -> _Table:
    early = rules.separators is Separators.TWO_IN_RTMR0
    return [
        (0, Part.TD_HOB),
        (0, Part.CFV),
        *_KEYS,
        (0, Part.SEPARATOR),
        *[(0, Part.ACPI)] * rules.acpi_events,
        *_started(inputs),
        *[(0, Part.SMBIOS)] * rules.smbios_event,
        (0, Part.BOOT_ORDER),
        *[(0, Part.BOOT_OPTION)] * len(inputs.boot_options),
        (1, Part.CALLING),
        (0 if early else 1, Part.SEPARATOR),
        *_loader(inputs),
        *_stub(inputs),
        *[(3, Part.APPLICATION)] * len(inputs.rtmr3),
    ]


def _vtpm_table(inputs: BootInputs, rules: Rules) -> _Table:
    """One separator for each PCR: 7 early, then 1 (RTMR0) and 2 to 6 (RTMR1); PCR 0 has no RTMR."""
    return [
        *_KEYS,
        (0, Part.SEPARATOR),
        *[(0, Part.ACPI)] * rules.acpi_events,
        *_started(inputs),
        *[(0, Part.SMBIOS)] * rules.smbios_event,
        (0, Part.BOOT_ORDER),
        *[(0, Part.BOOT_OPTION)] * len(inputs.boot_options),
        (1, Part.CALLING),
        (0, Part.SEPARATOR),
        *[(1, Part.SEPARATOR)] * 5,
        *_loader(inputs),
        *_stub(inputs),
    ]


def _started(inputs: BootInputs) -> _Table:
    """A kernel from QEMU is loaded before the firmware looks for what to boot; a loader's comes later."""
    return [] if inputs.loader is not None else [(1, Part.KERNEL)]


def _loader(inputs: BootInputs) -> _Table:
    """What is measured of the loader, what it measures itself, and the kernel that it starts."""
    if inputs.loader is None:
        return []
    read = [(2, _LOADER_PARTS[event.what]) for event in _loader_events(inputs)]
    return [(1, Part.LOADER), *read, (1, Part.KERNEL)]


def _loader_events(inputs: BootInputs) -> list[LoaderEvent]:
    """The number of the events does not hang on the command line, but on whether there is an initrd."""
    return list(loader_events(inputs.command_line or "", inputs.initrd != b""))


_LOADER_PARTS = {
    What.CONFIG: Part.LOADER_CONFIG,
    What.COMMAND: Part.LOADER_COMMAND,
    What.KERNEL: Part.LOADED_KERNEL,
    What.LINE: Part.LOADED_LINE,
    What.INITRD: Part.LOADED_INITRD,
}


def _loader_event(part: Part, number: int, inputs: BootInputs) -> LoaderEvent:
    return [event for event in _loader_events(inputs) if _LOADER_PARTS[event.what] is part][number]


def _stub(inputs: BootInputs) -> _Table:
    """What the kernel's EFI stub makes the firmware measure."""
    table = [(2, Part.COMMAND_LINE)] if inputs.stub_measures else []
    # An initrd that is not known was measured all the same; b"" says that there is none.
    if inputs.stub_measures and inputs.initrd != b"":
        table.append((2, Part.INITRD))
    return [*table, (1, Part.EXIT_CALLED), (1, Part.EXIT_DONE)]


_ACTIONS = {
    Part.CALLING: b"Calling EFI Application from Boot Option",
    Part.EXIT_CALLED: b"Exit Boot Services Invocation",
    Part.EXIT_DONE: b"Exit Boot Services Returned with Success",
}
_VARIABLES = {
    Part.SECURE_BOOT: (_GLOBAL, "SecureBoot"),
    Part.PK: (_GLOBAL, "PK"),
    Part.KEK: (_GLOBAL, "KEK"),
    Part.DB: (_IMAGE_SECURITY, "db"),
    Part.DBX: (_IMAGE_SECURITY, "dbx"),
}
_T = EventType


def _slot(part: Part, number: int, inputs: BootInputs) -> tuple[int, str]:
    if part in _VARIABLES:
        return (_T.EV_EFI_VARIABLE_DRIVER_CONFIG, _VARIABLES[part][1])
    if part in _ACTIONS:
        return (_T.EV_EFI_ACTION, _ACTIONS[part].decode("ascii"))
    if part is Part.BOOT_OPTION:
        return (_T.EV_EFI_VARIABLE_BOOT, f"Boot{number:04X}")
    if part is Part.APPLICATION:
        return (_T.DSTACK_EVENT, inputs.rtmr3[number][0])
    if part in _LOADER_PARTS.values():
        return (_T.EV_IPL, _loader_event(part, number, inputs).name)
    fixed = {
        Part.TD_HOB: (_T.EV_EFI_HANDOFF_TABLES2, ""),
        Part.CFV: (_T.EV_EFI_PLATFORM_FIRMWARE_BLOB2, ""),
        Part.SEPARATOR: (_T.EV_SEPARATOR, ""),
        Part.ACPI: (_T.EV_PLATFORM_CONFIG_FLAGS, ""),
        Part.SMBIOS: (_T.EV_EFI_HANDOFF_TABLES, ""),
        Part.KERNEL: (_T.EV_EFI_BOOT_SERVICES_APPLICATION, ""),
        Part.LOADER: (_T.EV_EFI_BOOT_SERVICES_APPLICATION, ""),
        Part.BOOT_ORDER: (_T.EV_EFI_VARIABLE_BOOT, "BootOrder"),
        Part.COMMAND_LINE: (_T.EV_EVENT_TAG, f"{LOAD_OPTIONS_TAG:#x}"),
        Part.INITRD: (_T.EV_EVENT_TAG, f"{INITRD_TAG:#x}"),
    }
    return fixed[part]


def digest_of(part: Part, number: int, inputs: BootInputs, rules: Rules) -> bytes | None:
    """The digest of one event under some inputs and rules; ``None`` where an input is missing."""
    if part in _ACTIONS:
        return _sha(_ACTIONS[part])
    if part in _VARIABLES:
        data = _SECURE_BOOT_DATA[rules.secure_boot] if part is Part.SECURE_BOOT else b""
        return _sha(_variable(*_VARIABLES[part], data))
    if part is Part.ACPI:
        return inputs.acpi[number] if number < len(inputs.acpi) else None
    if part is Part.BOOT_OPTION:
        return _sha(inputs.boot_options[number])
    if part is Part.APPLICATION:
        name, payload = inputs.rtmr3[number]
        return _sha(EventType.DSTACK_EVENT.to_bytes(4, "little") + b":" + name.encode() + b":" + payload)
    if part in (Part.LOADER_CONFIG, Part.LOADER_COMMAND, Part.LOADED_LINE):
        if inputs.command_line is None or inputs.initrd is None:
            return None
        return _sha(_loader_event(part, number, inputs).data or b"")
    return _MAKERS[part](inputs, rules)


def _td_hob(inputs: BootInputs, _: Rules) -> bytes | None:
    if inputs.firmware is None or inputs.memory is None:
        return None
    return _sha(td_hob_list(inputs.firmware, inputs.memory))


def _cfv(inputs: BootInputs, _: Rules) -> bytes | None:
    if inputs.variables is not None:
        return _sha(inputs.variables)
    sections = inputs.firmware.of_type(SectionType.CFV) if inputs.firmware else ()
    return _sha(inputs.firmware.data(sections[0])) if inputs.firmware and sections else None


def _kernel(inputs: BootInputs, rules: Rules) -> bytes | None:
    if inputs.kernel is None:
        return None
    if rules.kernel_header is KernelHeader.RAW or inputs.loader is not None:
        return authenticode(inputs.kernel)
    if inputs.memory is None or inputs.initrd is None or inputs.command_line is None:
        return None
    patched = patch_header(inputs.kernel, inputs.memory, len(inputs.initrd), inputs.command_line)
    return authenticode(patched)


def _command_line(inputs: BootInputs, rules: Rules) -> bytes | None:
    if inputs.command_line is None or inputs.initrd is None:
        return None
    words = inputs.command_line
    if inputs.loader is not None:
        return _sha(load_options(words, inputs.loader))
    if inputs.initrd and rules.initrd_word is InitrdWord.AT_END:
        words = f"{words} initrd=initrd"
    elif inputs.initrd:
        words = f"initrd=initrd {words}"
    return _sha(f"{words}\0".encode("utf-16-le", "surrogatepass"))


def _initrd(inputs: BootInputs, _: Rules) -> bytes | None:
    return _sha(inputs.initrd) if inputs.initrd is not None else None


def _boot_order(inputs: BootInputs, _: Rules) -> bytes | None:
    return _sha(b"".join(struct.pack("<H", number) for number in range(len(inputs.boot_options))))


_SECURE_BOOT_DATA = {SecureBoot.ABSENT: b"", SecureBoot.OFF: b"\0", SecureBoot.ON: b"\1"}
_MAKERS: dict[Part, Callable[[BootInputs, Rules], bytes | None]] = {
    Part.TD_HOB: _td_hob,
    Part.CFV: _cfv,
    Part.SEPARATOR: lambda _inputs, _rules: _sha(bytes(4)),
    Part.SMBIOS: lambda inputs, _rules: inputs.smbios,
    Part.KERNEL: _kernel,
    Part.BOOT_ORDER: _boot_order,
    Part.COMMAND_LINE: _command_line,
    Part.INITRD: _initrd,
    Part.LOADER: lambda inputs, _rules: authenticode(inputs.loader) if inputs.loader else None,
    Part.LOADED_KERNEL: lambda inputs, _rules: _sha(inputs.kernel) if inputs.kernel is not None else None,
    Part.LOADED_INITRD: _initrd,
}


def _variable(guid: bytes, name: str, data: bytes) -> bytes:
    return guid + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data


def _sha(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()
