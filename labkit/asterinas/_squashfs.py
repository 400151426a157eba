"""Reads single files out of a squashfs image, lazily: only the tables that a path needs are touched.

Format 4.0, after the kernel's ``Documentation/filesystems/squashfs.rst``. Nothing in an image is believed:
every size is bounded before it is read or unpacked. Why no library: decision 27.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

from labkit.errors import DataError

MAGIC = b"hsqs"
_SUPERBLOCK = struct.Struct("<4sIIIIHHHHHHQQQQQQQQ")
_METADATA, _LARGEST_BLOCK = 8192, 1 << 20
_NO_FRAGMENT = 0xFFFFFFFF
_STORED, _STORED_BLOCK = 1 << 15, 1 << 24
_FRAGMENT = struct.Struct("<QII")
_MOST_ENTRIES = 1 << 18
_WINDOW = 1 << 24
_COMPRESSIONS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
_DIRECTORIES, _FILES = (1, 8), (2, 9)
_REMEDY = "Fetch the file again; an image of a newer kind needs a newer labkit."


@dataclass(frozen=True)
class Node:
    """One entry. kind: ``file``, ``directory`` or ``other``, such as a link; ``where`` is its inode."""

    name: str
    kind: str
    where: tuple[int, int]


@dataclass(frozen=True)
class _File:
    start: int
    size: int
    fragment: int
    offset: int
    blocks: tuple[int, ...]


class Squashfs:
    """A squashfs image in ``file``, from ``offset`` on."""

    def __init__(self, file: BinaryIO, offset: int = 0) -> None:
        """Read the superblock.

        Raises:
            DataError: it is not a squashfs 4.0, or compressed in a way that is not read.
        """
        self._file = file
        self._offset = offset
        self._blocks: dict[int, tuple[bytes, int]] = {}
        raw = self._read(0, _SUPERBLOCK.size)
        fields = _SUPERBLOCK.unpack(raw)
        magic, self._block_size, compression = fields[0], fields[3], fields[5]
        if magic != MAGIC or fields[9] != 4:
            raise DataError("This is not a squashfs 4.0 image.", _REMEDY)
        if not 4096 <= self._block_size <= _LARGEST_BLOCK:
            raise DataError(f"A squashfs block of {self._block_size} bytes is out of range.", _REMEDY)
        self._fragments = fields[4]
        self._root, self.size = fields[11], fields[12]
        self._inodes, self._directories, self._fragment_table = fields[15], fields[16], fields[17]
        self.compression = _COMPRESSIONS.get(compression, str(compression))
        if self.compression not in _UNPACK:
            raise DataError(f"The squashfs is compressed by {self.compression}, which is not read.", _REMEDY)

    @property
    def root(self) -> Node:
        """The root directory."""
        return Node("", "directory", (self._root >> 16, self._root & 0xFFFF))

    def list(self, folder: Node) -> Iterator[Node]:
        """The entries of a directory, in the order of the image.

        Raises:
            DataError: the image is damaged.
        """
        kind, body = self._inode(folder, 40)
        if kind == 1:
            block, _, size, at = struct.unpack_from("<IIHH", body)
        elif kind == 8:
            _, size, block, _, _, at = struct.unpack_from("<IIIIHH", body)
        else:
            raise DataError(f"{folder.name!r} in the squashfs is not a directory.", _REMEDY)
        data = self._metadata(self._directories + block, at, max(0, size - 3))
        place = count = 0
        while place + 12 <= len(data):
            number, start, _ = struct.unpack_from("<III", data, place)
            place += 12
            for _ in range(number + 1):
                count += 1
                if place + 8 > len(data) or count > _MOST_ENTRIES:
                    raise DataError("A directory of the squashfs is damaged.", _REMEDY)
                offset, _, kind, length = struct.unpack_from("<HhHH", data, place)
                name = data[place + 8 : place + 9 + length].decode("utf-8", "replace")
                place += 9 + length
                yield Node(name, _kind(kind), (start, offset))

    def file_size(self, file: Node) -> int:
        """Bytes of a file."""
        return self._details(file).size

    def packed_size(self, file: Node) -> int:
        """Bytes that its blocks take in the image, without what shares a block with others."""
        return sum(size & ~_STORED_BLOCK for size in self._details(file).blocks)

    def read(self, file: Node, limit: int) -> bytes:
        """The content of a file, at most ``limit`` bytes of it.

        Raises:
            DataError: the image is damaged.
        """
        details = self._details(file)
        wanted = min(details.size, limit)
        parts, have, at = [], 0, details.start
        for size in details.blocks:
            if have >= wanted:
                break
            packed = size & ~_STORED_BLOCK
            part = self._block(at, size) if packed else bytes(min(self._block_size, details.size - have))
            at += packed
            parts.append(part)
            have += len(part)
        if have < wanted and details.fragment != _NO_FRAGMENT:
            start, size = self._fragment(details.fragment)
            tail = details.size % self._block_size
            parts.append(self._block(start, size)[details.offset : details.offset + tail])
        data = b"".join(parts)[:wanted]
        if len(data) != wanted:
            raise DataError(f"{file.name!r} in the squashfs is shorter than it says.", _REMEDY)
        return data

    def _details(self, file: Node) -> _File:
        kind, body = self._inode(file, 40)
        if kind == 2:
            start, fragment, offset, size = struct.unpack_from("<IIII", body)
            head = 16
        elif kind == 9:
            start, size, _, _, fragment, offset, _ = struct.unpack_from("<QQQIIII", body)
            head = 40
        else:
            raise DataError(f"{file.name!r} in the squashfs is not a file.", _REMEDY)
        whole = size // self._block_size
        count = whole if fragment != _NO_FRAGMENT else -(-size // self._block_size)
        if size > self.size * 1024 or count > 1 << 20:
            raise DataError(f"{file.name!r} in the squashfs says it has {size} bytes.", _REMEDY)
        _, body = self._inode(file, head + 4 * count)
        return _File(start, size, fragment, offset, struct.unpack_from(f"<{count}I", body, head))

    def _inode(self, node: Node, size: int) -> tuple[int, bytes]:
        """The type of an inode, and up to ``size`` bytes behind its common header."""
        block, offset = node.where
        data = self._metadata(self._inodes + block, offset, 16 + size)
        if len(data) < 24:
            raise DataError("An inode of the squashfs is damaged.", _REMEDY)
        return int.from_bytes(data[:2], "little"), data[16:].ljust(size, b"\0")

    def _fragment(self, number: int) -> tuple[int, int]:
        if number >= self._fragments:
            raise DataError("A file of the squashfs names a fragment that is not there.", _REMEDY)
        pointer = self._read(self._fragment_table + 8 * (number // 512), 8)
        data = self._metadata(int.from_bytes(pointer, "little"), number % 512 * 16, 16)
        if len(data) < 16:
            raise DataError("The fragments of the squashfs are damaged.", _REMEDY)
        start, size, _ = _FRAGMENT.unpack(data)
        return start, size

    def _metadata(self, start: int, offset: int, size: int) -> bytes:
        """Bytes of a table, from ``offset`` in the block at ``start``; fewer where the table ends."""
        parts, left = [], offset + size
        while left > 0 and start + 2 <= self.size:
            if start not in self._blocks:
                header = int.from_bytes(self._read(start, 2), "little")
                packed = header & ~_STORED
                if not 0 < packed <= _METADATA:
                    break
                raw = self._read(start + 2, packed)
                data = raw if header & _STORED else self._unpack(raw, _METADATA)
                self._blocks[start] = data, start + 2 + packed
            data, start = self._blocks[start]
            parts.append(data)
            left -= len(data)
            if len(data) < _METADATA:
                break
        return b"".join(parts)[offset : offset + size]

    def _block(self, start: int, size: int) -> bytes:
        packed = size & ~_STORED_BLOCK
        if packed > self._block_size:
            raise DataError("A block of the squashfs is larger than it may be.", _REMEDY)
        raw = self._read(start, packed)
        return raw if size & _STORED_BLOCK else self._unpack(raw, self._block_size)

    def _unpack(self, data: bytes, limit: int) -> bytes:
        try:
            return _UNPACK[self.compression](data, limit)
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            raise DataError("A block of the squashfs does not unpack.", _REMEDY) from error

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(self._offset + start)
        data = self._file.read(size)
        if len(data) != size:
            raise DataError("The squashfs ends before it should: the file is cut off.", _REMEDY)
        return data


def _kind(number: int) -> str:
    if number in _DIRECTORIES:
        return "directory"
    return "file" if number in _FILES else "other"


def _gzip(data: bytes, limit: int) -> bytes:
    return zlib.decompressobj().decompress(data, limit)


def _xz(data: bytes, limit: int) -> bytes:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data, limit)


def _zstd(data: bytes, limit: int) -> bytes:
    with zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(data) as reader:
        return reader.read(limit)


_UNPACK = {"gzip": _gzip, "xz": _xz, "zstd": _zstd}
