"""Drivers for a Linux guest whose kernel has them as modules: an archive that goes behind its initramfs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from labkit.errors import MissingComponent
from labkit.guest._cpio import Entry, archive, directory, file

_TRANSPORT = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci")
"""What every virtio driver on PCI stands on, in the order of loading (Debian's cloud kernels)."""

_PACKED = re.compile(r"\.ko(\.\w+)?$")


def driver_archive(modules: Path, drivers: Iterable[str]) -> bytes:
    """The modules of these virtio drivers, for ``modprobe`` in a guest; as a cpio archive.

    modules: the folder of the kernel's modules, whose name is the kernel's release. The kernel unpacks
    archives that follow one another.

    Raises:
        MissingComponent: the kernel's package has no such module.
    """
    found = {path.name: path for path in sorted(modules.rglob("*.ko*"))}
    wanted = {name: _module(found, name, modules.name) for name in (*_TRANSPORT, *dict.fromkeys(drivers))}
    folder = f"lib/modules/{modules.name}"
    under = [wanted[name].name for name in reversed(_TRANSPORT)]
    lines = [f"{path.name}:{_needs(name, path, under)}\n" for name, path in wanted.items()]
    entries: list[Entry] = [
        *(directory(path) for path in ("lib", "lib/modules", folder)),
        *(file(f"{folder}/{path.name}", path.read_bytes()) for path in wanted.values()),
        file(f"{folder}/modules.dep", "".join(lines).encode()),
    ]
    return archive(entries)


def _needs(name: str, path: Path, under: list[str]) -> str:
    if name in _TRANSPORT:
        under = under[under.index(path.name) + 1 :]
    return "".join(f" {module}" for module in under)


def _module(found: dict[str, Path], name: str, release: str) -> Path:
    for file_name, path in found.items():
        if _PACKED.sub("", file_name).replace("-", "_") == name.replace("-", "_"):
            return path
    raise MissingComponent(
        f"The package of Linux {release} has no module {name}.", "Boot the kernel that labkit brings."
    )
