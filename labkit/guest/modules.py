"""The virtio drivers that a guest needs, out of a kernel's package: built in, or as modules to load.

A package that was only unpacked has no ``modules.dep``, so each module is asked for what it depends on.
"""

from __future__ import annotations

import lzma
import re
from pathlib import Path

TRANSPORT = "virtio_pci"
"""What every virtio device on PCI needs besides its own driver."""

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")
_PLACES = ("drivers/virtio", "drivers/char", "drivers/char/hw_random", "drivers/block")
"""Folders of the kernel's tree in which the drivers and what they depend on are (Linux 6.1 to 6.12)."""

Modules = tuple[tuple[str, bytes], ...]
"""Modules by name, in the order in which they can be loaded."""


def port_modules(folder: Path | None) -> Modules | None:
    """What a kernel has to load for a virtio console; empty where all is built in, None where it has none."""
    return load_order(folder, "virtio_console") if folder is not None else None


def load_order(folder: Path, driver: str) -> Modules | None:
    """What a kernel has to load for a virtio driver, that driver last; None where it has none.

    folder: ``lib/modules/RELEASE``. A module that is compressed with anything but xz counts as missing.
    """
    try:
        listed = (folder / "modules.builtin").read_text().split()
    except (OSError, ValueError):
        listed = []
    builtin = {_name(Path(line)) for line in listed}
    files = {
        _name(path): path for place in _PLACES for path in sorted((folder / "kernel" / place).glob("*.ko*"))
    }
    found: dict[str, bytes] = {}
    for name in (TRANSPORT, plain(driver)):
        if not _collect(name, builtin, files, found):
            return None
    return tuple(found.items())


def _collect(name: str, builtin: set[str], files: dict[str, Path], found: dict[str, bytes]) -> bool:
    """Add a module behind those that it depends on."""
    if name in builtin or name in found:
        return True
    if (path := files.get(name)) is None or (data := _content(path)) is None:
        return False
    depends = _DEPENDS.search(data)
    names = depends[1].decode("ascii", "replace").split(",") if depends and depends[1] else []
    if not all(_collect(plain(needed), builtin, files, found) for needed in names):
        return False
    found[name] = data
    return True


def _content(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
        return {".ko": lambda: data, ".xz": lambda: lzma.decompress(data)}[path.suffix]()
    except (OSError, lzma.LZMAError, KeyError):
        return None


def _name(path: Path) -> str:
    return plain(path.name.partition(".ko")[0])


def plain(name: str) -> str:
    """As the kernel calls it, whatever its file is called."""
    return name.strip().replace("-", "_")
