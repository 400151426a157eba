"""Drivers for a Linux guest whose kernel has them as modules: an archive that goes behind its initramfs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from labkit.errors import MissingComponent
from labkit.guest.cpio import Entry, archive, directory, file
from labkit.guest.modules import load_order, plain


def driver_archive(modules: Path, drivers: Iterable[str]) -> bytes:
    """The modules of these virtio drivers, for ``modprobe`` in a guest; as a cpio archive.

    modules: the folder of the kernel's modules, whose name is the kernel's release. The kernel unpacks
    archives that follow one another.

    Raises:
        MissingComponent: the kernel's package has no such module.
    """
    found: dict[str, bytes] = {}
    needs: dict[str, list[str]] = {}
    for driver in dict.fromkeys(drivers):
        order = load_order(modules, driver)
        if not order or order[-1][0] != plain(driver):
            raise MissingComponent(
                f"The package of Linux {modules.name} has no module {driver}.",
                "Boot labkit's own kernel.",
            )
        found |= dict(order)
        needs[plain(driver)] = [name for name, _ in reversed(order[:-1])]
    folder = f"lib/modules/{modules.name}"
    lines = (f"{name}.ko:{''.join(f' {under}.ko' for under in needs.get(name, ()))}\n" for name in found)
    entries: list[Entry] = [
        *(directory(path) for path in ("lib", "lib/modules", folder)),
        *(file(f"{folder}/{name}.ko", data) for name, data in found.items()),
        file(f"{folder}/modules.dep", "".join(lines).encode()),
    ]
    return archive(entries)
