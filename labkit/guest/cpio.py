"""A deterministic initramfs: the same files give the same bytes, on any machine and at any time."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_BLOCK = 512


@dataclass(frozen=True)
class Entry:
    """One file of the archive: path without leading slash, mode with file type, content or link target."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str) -> Entry:
    """A directory that everyone may enter."""
    return Entry(path, stat.S_IFDIR | 0o755)


def file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(path, stat.S_IFREG | mode, data)


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def pipe(path: str) -> Entry:
    """A named pipe."""
    return Entry(path, stat.S_IFIFO | 0o600)


def character_device(path: str, major: int, minor: int) -> Entry:
    """A character device node, for what the kernel opens before devtmpfs is mounted."""
    return Entry(path, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """Write a cpio archive in the "newc" form that the kernel unpacks as root file system.

    Entries are sorted by path, owned by root, dated 1970, numbered in order
    (format: Linux ``Documentation/driver-api/early-userspace/buffer-format.rst``).
    """
    parts = []
    for number, entry in enumerate(sorted(entries, key=lambda entry: entry.path), start=1):
        parts += _record(number, entry)
    parts += _record(0, Entry("TRAILER!!!", 0))
    size = sum(map(len, parts))
    return b"".join([*parts, bytes(-size % _BLOCK)])


def _record(number: int, entry: Entry) -> list[bytes]:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    head = header + name
    # Not put together yet: the data may be megabytes.
    return [head, bytes(-len(head) % 4), entry.data, bytes(-len(entry.data) % 4)]
