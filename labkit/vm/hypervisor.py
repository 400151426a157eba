"""What machines are started with here: the same for every machine of a user."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.settings import Settings
from labkit.toolchain.toolchain import Toolchain
from labkit.vm.spec import Accelerator


@dataclass(frozen=True)
class Hypervisor:
    """QEMU and its vTPM, the accelerator that they use, and where their files go."""

    toolchain: Toolchain
    settings: Settings
    accelerator: Accelerator
