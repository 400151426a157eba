"""MRTD: the SHA-384 that the TDX module makes of the pages a VMM adds before the TD runs.

Source: Intel TDX Module Base Architecture Specification, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from operator import add
from struct import unpack
from typing import Any

from labkit.measure.tdvf import PAGE, Tdvf, TdvfSection, read_tdvf
from labkit.show import columns
from labkit.show.markup import join
from labkit.show.measure import section_table

_CHUNK = 256
_BLOCK = 128
_ADD_HEAD = b"MEM.PAGE.ADD".ljust(_BLOCK, b"\0")
_EXTEND_HEAD = b"MR.EXTEND".ljust(_BLOCK, b"\0")
# Pages hashed at a time: their blocks (about 200 KiB) stay in the second-level cache.
_BATCH = 32


class PageOrder(StrEnum):
    """The order in which a VMM adds and extends the pages of a section; MRTD depends on it."""

    SINGLE_PASS = "single-pass"
    TWO_PASS = "two-pass"

    @property
    def used_by(self) -> str:
        """Which VMMs do it this way."""
        if self is PageOrder.SINGLE_PASS:
            return "upstream KVM (KVM_TDX_INIT_MEM_REGION)"
        return "Canonical's QEMU 8.2 and other early kernels"


def mrtd(tdvf: Tdvf, order: PageOrder | str) -> bytes:
    """The MRTD (48 bytes) of a TD that was built from this firmware.

    Single pass: each page is added, then extended by its 16 chunks. Two pass: all pages of a section are
    added, then all are extended. Memory size, vCPU count and variable store have no influence.

    Raises:
        ValueError: ``order`` is not a page order.
    """
    digest = hashlib.sha384()
    two_pass = PageOrder(order) is PageOrder.TWO_PASS
    for section in tdvf.sections:
        if not section.added:
            continue
        if two_pass or not section.extended:
            digest.update(_adds(section.gpa, section.memory_size // PAGE))
        if section.extended:
            for blocks in _extends(tdvf, section, with_adds=not two_pass):
                digest.update(blocks)
    return digest.digest()


def _blocks(head: bytes, start: int, count: int, step: int) -> tuple[bytes, ...]:
    """``count`` blocks of 128 bytes: a head, and at offset 16 an address that grows by ``step``."""
    blocks = bytearray(head * count)
    addresses = array("Q", range(start, start + count * step, step))
    memoryview(blocks).cast("Q")[2 :: _BLOCK // 8] = memoryview(addresses)
    return unpack(f"{_BLOCK}s" * count, blocks)


def _adds(gpa: int, pages: int) -> bytes:
    """The 128-byte blocks of TDH.MEM.PAGE.ADD for consecutive pages."""
    return b"".join(_blocks(_ADD_HEAD, gpa, pages, PAGE))


def _extends(tdvf: Tdvf, section: TdvfSection, *, with_adds: bool) -> Iterator[bytes]:
    """The blocks of TDH.MR.EXTEND with their data, some pages at a time."""
    image = memoryview(tdvf.image)
    for first in range(0, section.memory_size, _BATCH * PAGE):
        size = min(_BATCH * PAGE, section.memory_size - first)
        begin = min(first, section.raw_size)
        end = min(first + size, section.raw_size)
        data = image[section.data_offset + begin : section.data_offset + end]
        chunks = unpack(
            f"{_CHUNK}s" * (size // _CHUNK), data if len(data) == size else bytes(data).ljust(size, b"\0")
        )
        count, gpa = len(chunks), section.gpa + first
        heads = [*_blocks(_EXTEND_HEAD, gpa, count, _CHUNK)]
        if with_adds:
            adds = _blocks(_ADD_HEAD, gpa, size // PAGE, PAGE)
            heads[:: PAGE // _CHUNK] = map(add, adds, heads[:: PAGE // _CHUNK])
        parts: list[bytes] = [b""] * (2 * count)
        parts[0::2] = heads
        parts[1::2] = chunks
        yield b"".join(parts)


@dataclass(frozen=True)
class FirmwareMeasurement:
    """A firmware file measured: its TDVF table and MRTD by page order."""

    path: str
    tdvf: Tdvf
    mrtd: dict[PageOrder, bytes]

    def to_dict(self) -> dict[str, Any]:
        """The document of ``labkit measure --json``."""
        document = self.tdvf.to_dict()
        document["firmware"] = {"path": self.path, **document["firmware"]}
        return {**document, "mrtd": {order.value: value.hex() for order, value in self.mrtd.items()}}

    def __str__(self) -> str:
        head = [
            ("firmware", self.path),
            ("size", f"{self.tdvf.size} bytes"),
            ("SHA-384", self.tdvf.sha384),
            ("not in MRTD", f"{self.tdvf.unmeasured_bytes} bytes"),
        ]
        values = [(f"MRTD {order}", value.hex()) for order, value in self.mrtd.items()]
        notes = [f"{order}: {order.used_by}" for order in self.mrtd]
        return "\n".join([columns(head), "", str(self.tdvf), "", columns(values), *notes])

    def _repr_html_(self) -> str:
        rows = [(f"MRTD, {order}", value.hex(), order.used_by) for order, value in self.mrtd.items()]
        return join([section_table(("", self.path, ""), rows), self.tdvf._repr_html_()])


def measure_firmware(
    data: bytes, path: str = "", orders: tuple[PageOrder, ...] = tuple(PageOrder)
) -> FirmwareMeasurement:
    """Read a firmware image and compute its MRTD in each of ``orders``.

    Raises:
        NotATdvf: the image has no valid TDVF table.
    """
    tdvf = read_tdvf(data)
    return FirmwareMeasurement(path, tdvf, {order: mrtd(tdvf, order) for order in orders})
