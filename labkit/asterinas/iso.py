"""Finds files in an ISO 9660 image: a boot loader's configuration, or the image inside an installer.

Structures after ECMA-119: the primary volume descriptor at sector 16, directory records of 33 bytes and a
name. Names are compared without case and version; the long names of Rock Ridge are read too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_SECTOR = 2048
_DIRECTORY = 0x02
_MAX_DIRECTORY, _MAX_FILE, _MAX_DEPTH = 1 << 20, 1 << 20, 4


@dataclass(frozen=True)
class _Record:
    name: str
    sector: int
    size: int
    directory: bool


def is_iso(path: Path) -> bool:
    """The file begins with an ISO 9660 volume descriptor."""
    with path.open("rb") as file:
        file.seek(16 * _SECTOR)
        return file.read(6)[1:] == b"CD001"


def read_from_iso(path: Path, name: str) -> bytes | None:
    """The content of the file ``name`` (at most 1 MiB of it); None where there is none."""
    with path.open("rb") as file:
        record = _root(file)
        for part in name.strip("/").split("/"):
            if record is None or not record.directory:
                return None
            record = next((entry for entry in _list(file, record) if entry.name == part.lower()), None)
        return _read(file, record, _MAX_FILE) if record and not record.directory else None


def iso_files(file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """Path, offset and size of each file of an image, five folders deep; nothing where it is none."""
    record = _root(file)
    if record is not None:
        yield from _walk(file, record, "", {record.sector})


def _walk(file: BinaryIO, folder: _Record, path: str, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """``seen``: the folders on the way; an image that lies may name one twice."""
    for entry in _list(file, folder):
        if not entry.directory:
            yield f"{path}/{entry.name}", entry.sector * _SECTOR, entry.size
        elif entry.sector not in seen and path.count("/") < _MAX_DEPTH:
            seen.add(entry.sector)
            yield from _walk(file, entry, f"{path}/{entry.name}", seen)


def _root(file: BinaryIO) -> _Record | None:
    file.seek(16 * _SECTOR)
    descriptor = file.read(_SECTOR)
    if len(descriptor) < 190 or descriptor[:6] != b"\x01CD001":
        return None
    return _record(descriptor[156:190])


def _list(file: BinaryIO, folder: _Record) -> Iterator[_Record]:
    data, at = _read(file, folder, _MAX_DIRECTORY), 0
    while at < len(data):
        length = data[at]
        if length == 0:  # the rest of a sector is empty
            at = (at // _SECTOR + 1) * _SECTOR
            continue
        if record := _record(data[at : at + length]):
            yield record
        at += length


def _read(file: BinaryIO, record: _Record, limit: int) -> bytes:
    file.seek(record.sector * _SECTOR)
    return file.read(min(record.size, limit))


def _record(data: bytes) -> _Record | None:
    if len(data) < 34 or 33 + data[32] > len(data):
        return None
    (sector,) = struct.unpack_from("<I", data, 2)
    (size,) = struct.unpack_from("<I", data, 10)
    end = 33 + data[32]
    plain = data[33:end].decode("latin-1").partition(";")[0].rstrip(".")
    return _Record((_long_name(data[end:]) or plain).lower(), sector, size, bool(data[25] & _DIRECTORY))


def _long_name(area: bytes) -> str:
    """The name of the Rock Ridge entry ``NM`` in a record's system use area."""
    for at in range(2):  # the area begins at an even byte
        name, place = "", at
        while place + 4 <= len(area) and area[place + 2] >= 4:
            if area[place : place + 2] == b"NM":
                name += area[place + 5 : place + area[place + 2]].decode("utf-8", "replace")
            place += area[place + 2]
        if name:
            return name
    return ""
