"""The emulated platform: everything real but the hardware. QEMU, OVMF, a vTPM, Linux; trust: none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import NotATdvf, UsageError
from labkit.measure import BootInputs, Prediction, SectionType, measure_firmware, predict, read_tdvf
from labkit.platforms._rules import rules_of
from labkit.platforms._tdvm import Tdvm
from labkit.settings import Settings, Trust
from labkit.show import stamp
from labkit.vm import (
    COMMAND_LINE,
    LINUX,
    BootSpec,
    Firmware,
    Snapshot,
    Toolchain,
    boot,
    build_initramfs,
    check_kernel,
    choose_accelerator,
    find_toolchain,
    resume,
)

DEFAULT_MEMORY = 512
_LEAST_MEMORY = 256
"""MiB. With less, the firmware fails in ways that say nothing about memory (measured below 192)."""


@dataclass(frozen=True)
class BootRequest:
    """What the user asks for; None and empty mean labkit's own.

    memory: MiB. append: added to the kernel's command line. cold: from power-on, without snapshot.
    """

    memory: int = DEFAULT_MEMORY
    append: str = ""
    kernel: Path | None = None
    initrd: Path | None = None
    firmware: Path | None = None
    cold: bool = False


class EmulatedPlatform:
    """Boots TDVMs under QEMU without TDX hardware."""

    name = "emulated"
    trust = Trust.NONE

    def __init__(self, settings: Settings, why: str) -> None:
        """``why`` this platform was chosen, in one clause."""
        self.settings = settings
        self.why = why

    def toolchain(self) -> Toolchain:
        """The programs and files that it boots with.

        Raises:
            MissingComponent: `labkit setup` has not been run.
        """
        return find_toolchain(self.settings)

    @property
    def headline(self) -> str:
        """One line: the platform, what it may be trusted for, and why it was chosen."""
        return f"{stamp(self.trust)}platform {self.name}, trust {self.trust.value}: {self.why}"

    def boot(
        self,
        request: BootRequest,
        say: Callable[[str], None] = lambda text: None,
        keep_in: Path | None = None,
    ) -> Tdvm:
        """Boot until the guest's shell answers; the record is copied below ``keep_in`` at the end.

        Raises:
            UsageError, NotAKernel, NotATdvf: the request cannot boot.
            MissingComponent: `labkit setup` has not been run.
            BootFailed, CommandTimeout: the guest does not come up.
            StorageError: the cache or state directory cannot be written.
        """
        _check(request)
        toolchain = self.toolchain()
        firmware = self._chosen_firmware(request, toolchain)
        own_initrd = self._own_initrd(toolchain)
        accelerator = choose_accelerator(toolchain, own_initrd, self.settings, say)
        spec = _spec(request, toolchain, firmware, own_initrd)
        machine, timeline = boot(spec, accelerator, toolchain, self.settings, request.cold, say)
        why = f"{self.why}; {accelerator.kind.value} because {accelerator.why}"
        measured = measure_firmware(firmware.image.read_bytes(), str(firmware.image))
        return Tdvm(machine, timeline, self.name, self.trust, why, measured, keep_in)

    def predict(self, request: BootRequest) -> Prediction:
        """What a boot of this request must measure, from its inputs alone; nothing is started.

        Raises:
            UsageError, NotAKernel, NotATdvf: the request cannot boot.
            MissingComponent: `labkit setup` has not been run.
        """
        _check(request)
        toolchain = self.toolchain()
        firmware = self._chosen_firmware(request, toolchain)
        spec = _spec(request, toolchain, firmware, self._own_initrd(toolchain))
        image = firmware.image.read_bytes()
        inputs = BootInputs(
            firmware=read_tdvf(image),
            memory=spec.memory << 20,
            kernel=spec.kernel.read_bytes(),
            initrd=spec.initrd.read_bytes(),
            command_line=spec.command_line,
        )
        return predict(inputs, rules_of(image, toolchain.qemu))

    def _chosen_firmware(self, request: BootRequest, toolchain: Toolchain) -> Firmware:
        return self._firmware(request.firmware) if request.firmware else toolchain.firmware

    def _own_initrd(self, toolchain: Toolchain) -> Path:
        return build_initramfs(toolchain.busybox, self.settings.cache_dir / "guest")

    def resume(self, tdvm: Tdvm, snapshot: Snapshot) -> Tdvm:
        """Another TDVM, from what ``tdvm.machine.save`` wrote; ``tdvm`` itself goes on.

        Raises:
            VmError: the snapshot cannot be resumed.
            StorageError: the run directory cannot be written.
        """
        before = tdvm.machine
        toolchain = self.toolchain()
        machine, timeline = resume(before.spec, before.accelerator, toolchain, self.settings, snapshot)
        return Tdvm(machine, timeline, self.name, self.trust, tdvm.why, tdvm.firmware)

    def _firmware(self, path: Path) -> Firmware:
        """Split one firmware file into its two flash drives, which QEMU wants apart."""
        remedy = "Name a TDVF, such as OVMF.fd."
        try:
            data = path.read_bytes()
        except OSError as error:
            raise NotATdvf(f"{path} cannot be read: {error.strerror}.", remedy) from error
        variables = read_tdvf(data).of_type(SectionType.CFV)
        if len(variables) != 1 or variables[0].data_offset != 0:
            raise NotATdvf(f"{path} does not begin with its variable store.", remedy)
        size = variables[0].raw_size
        folder = self.settings.cache_dir / "firmware" / hashlib.sha256(data).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in (("VARS.fd", data[:size]), ("CODE.fd", data[size:]), ("OVMF.fd", data)):
            partial = folder / f".{name}"
            partial.write_bytes(part)
            partial.replace(folder / name)
        return Firmware(folder / "CODE.fd", folder / "VARS.fd", folder / "OVMF.fd")


def _spec(request: BootRequest, toolchain: Toolchain, firmware: Firmware, own_initrd: Path) -> BootSpec:
    return BootSpec(
        firmware=firmware,
        kernel=request.kernel.absolute() if request.kernel else toolchain.kernel,
        initrd=request.initrd.absolute() if request.initrd else own_initrd,
        command_line=f"{COMMAND_LINE} {request.append}".strip(),
        profile=LINUX,
        memory=request.memory,
    )


def _check(request: BootRequest) -> None:
    if request.memory < _LEAST_MEMORY:
        raise UsageError(
            f"{request.memory} MiB of memory is too little to boot: the firmware and the kernel need "
            f"{_LEAST_MEMORY}.",
            f"Ask for {DEFAULT_MEMORY}, or leave it out.",
        )
    available = _available_memory()
    if request.memory > available:
        raise UsageError(
            f"{request.memory} MiB of memory is more than this machine has free ({available} MiB).",
            f"Ask for less; {DEFAULT_MEMORY} is enough.",
        )
    if not request.append.isprintable():
        raise UsageError("The kernel command line holds control characters.", "Write it in one line.")
    if request.kernel:
        check_kernel(request.kernel)
    if request.initrd and not request.initrd.is_file():
        raise UsageError(f"There is no initrd {request.initrd}.", "Name a file, or leave it out.")


def _available_memory() -> int:
    """MiB that the host can still give (proc(5), MemAvailable)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 1 << 20
