"""Which accelerator to use: KVM only after a guest has booted under it once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from labkit.errors import VmError
from labkit.guest.initramfs import COMMAND_LINE, build_initramfs
from labkit.guest.types import LINUX
from labkit.settings import Settings
from labkit.toolchain.known import Known
from labkit.toolchain.toolchain import Toolchain
from labkit.vm._machine import VirtualMachine
from labkit.vm.hypervisor import Hypervisor
from labkit.vm.spec import Accel, Accelerator, BootSpec

_SECONDS = 6.0
"""How long the probe's guest may take; under a working KVM it takes less than one."""

_KVM = Path("/dev/kvm")

# Who says something, and in which line of its source, tells a reader nothing.
_ORIGIN = re.compile(r"qemu-system-x86_64: (?:\S+:\d+: )?")


def choose_accelerator(
    toolchain: Toolchain,
    settings: Settings,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Accelerator:
    """KVM where it works, else TCG, with the reason.

    The answer is kept in the cache, keyed by host kernel, CPU and QEMU.
    """
    if not _KVM.exists():
        return Accelerator(Accel.TCG, "there is no /dev/kvm on this machine")
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return Accelerator(Accel.TCG, "this user may not open /dev/kvm")
    cache = settings.cache_dir / "accelerator.json"
    key = _key(toolchain, settings)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(cache.read_text())[key]
        return Accelerator(Accel(known["kind"]), known["why"])
    on_progress(f"Trying a guest under KVM, for {_SECONDS:g} s at most.")
    accelerator = _probe(toolchain, settings)
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps({key: {"kind": accelerator.kind.value, "why": accelerator.why}}))
    return accelerator


def _probe(toolchain: Toolchain, settings: Settings) -> Accelerator:
    initrd = build_initramfs(toolchain.busybox, settings.cache_dir / "guest", toolchain.bash)
    guest = replace(
        LINUX,
        first_stage="kernel",
        marks=tuple(replace(mark, deadline=_SECONDS) for mark in LINUX.marks if mark.stage == "init"),
    )
    spec = BootSpec(None, toolchain.kernel, initrd, COMMAND_LINE, guest, memory=256, tpm=False)
    hypervisor = Hypervisor(toolchain, settings, Accelerator(Accel.KVM, "probe"))
    try:
        with VirtualMachine.start(spec, hypervisor) as machine:
            machine.wait_booted()
    except VmError as error:
        why = textwrap.shorten(_ORIGIN.sub("", error.message), 100, placeholder=" ...")
        return Accelerator(Accel.TCG, f"KVM did not work here ({why})")
    return Accelerator(Accel.KVM, "a guest has booted under it")


def _key(toolchain: Toolchain, settings: Settings) -> str:
    parts = (platform.release(), _cpu(), Known(settings.cache_dir).version(toolchain.qemu))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
