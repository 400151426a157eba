"""Find TDVF images by their content: a firmware's name says nothing about TDX support."""

from __future__ import annotations

import mmap
from os import fstat

from labkit.host.model import Fact, Missing
from labkit.host.tree import Tree

# GUID of the TDX metadata offset block in the firmware's GUIDed table (TDVF design guide; OVMF reset vector).
TDVF_GUID = bytes.fromhex(
    "35657ae4 4a98 9847 865e 4685a7bf8ec2"
)  # e47a6535-984a-4798-865e-4685a7bf8ec2, little-endian
_FOLDERS = (
    "/usr/share/ovmf",
    "/usr/share/OVMF",
    "/usr/share/edk2/ovmf",
    "/usr/share/edk2/x64",
    "/usr/share/qemu",
    "/usr/share/tdvf",
    "/opt/kata/share/ovmf",
    "/opt/kata/share/tdvf",
)
_MAX_SIZE = 64 << 20


def tdvf_fact(tree: Tree) -> Fact:
    """The firmware images with TDVF metadata, as a fact; absent when none of the files has it."""
    folders = [folder for folder in _FOLDERS if tree.exists(folder)]
    seen: set[tuple[int, int]] = set()
    found, files = [], 0
    for folder in folders:
        for name in tree.names(folder):
            if not name.lower().endswith((".fd", ".bin")) or "vars" in name.lower():
                continue
            verdict = _has_metadata(tree, f"{folder}/{name}", seen)
            files += verdict is not None
            if verdict:
                found.append(f"{folder}/{name}")
    source = "firmware folders under /usr/share"
    if found:
        return Fact(source, tuple(found), " ".join(found))
    if not tree.exists("/usr/share"):
        return Fact(source, missing=Missing.UNKNOWN, why="there is no /usr/share here")
    return Fact(source, (), f"none of {files} firmware files has TDVF metadata")


def _has_metadata(tree: Tree, path: str, seen: set[tuple[int, int]]) -> bool | None:
    try:
        with tree.locate(path).open("rb") as stream:
            status = fstat(stream.fileno())
            if (status.st_dev, status.st_ino) in seen or not 0 < status.st_size <= _MAX_SIZE:
                return None
            seen.add((status.st_dev, status.st_ino))
            # The table ends 32 bytes below the end of the image; some builds append a page or more.
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as image:
                return image.rfind(TDVF_GUID, max(0, len(image) - (1 << 16))) >= 0
    except (OSError, ValueError):
        return None
