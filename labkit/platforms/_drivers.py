"""labkit's own root file system with the drivers of devices that are attached to its machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from labkit.errors import MissingComponent
from labkit.files import keep_whole
from labkit.guest.drivers import driver_archive
from labkit.settings import Settings
from labkit.toolchain.toolchain import modules_of
from labkit.virtio.devices import Device


def with_drivers(initrd: Path, kernel: Path, devices: Sequence[Device], settings: Settings) -> Path:
    """The root file system followed by the drivers, for ``modprobe`` in the guest; named by its content.

    Raises:
        MissingComponent: the kernel's modules are not beside it.
    """
    modules = modules_of(kernel)
    if modules is None:
        raise MissingComponent(
            f"The modules of {kernel.name} are not beside it, and the guest needs drivers for its devices.",
            "Unpack the kernel's package as a whole, and name the kernel in it.",
        )
    data = initrd.read_bytes() + driver_archive(modules, (device.driver for device in devices))
    path = settings.cache_dir / "guest" / f"initramfs-{hashlib.sha256(data).hexdigest()[:16]}.cpio"
    keep_whole(path, data)
    return path
