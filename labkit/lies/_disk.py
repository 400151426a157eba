"""Disks that lie, one lie each, all in one boot. What does a read bring, and what the next one?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labkit.lies._guest import LiedTo
from labkit.lies.findings import LieFinding
from labkit.virtio import Disk
from labkit.virtio.attached import Attached
from labkit.virtio.lies import FORGED, LieName

_BLOCK = 4096
# Far enough apart that no read brings another one's block along.
_FIRST, _NEXT, _OTHER = 20, 120, 200


@dataclass(frozen=True)
class DiskLie:
    """One lie of one disk. says: what of the kernel's words is looked for, with ``{disk}`` for its name."""

    name: LieName
    value: int | None = None
    says: str = ""

    @property
    def title(self) -> str:
        """The lie in a word or two."""
        return self.name.value if self.value is None else f"{self.name.value} {self.value:#x}"


LIES = (
    DiskLie(LieName.LENGTH, 65536, r"virtio: (invalid used length: 65536)"),
    DiskLie(LieName.LENGTH, (1 << 32) - 1, r"virtio: (invalid used length: 4294967295)"),
    DiskLie(LieName.LENGTH, 0, r"virtio: (invalid used length: 0)\b"),
    DiskLie(LieName.ID_OUT_OF_RANGE, None, r"(id 1064 out of range|invalid used token: 1064)"),
    DiskLie(LieName.ID_NOT_OFFERED, None, r"(id 63 is not a head|invalid used token: 63)\b"),
    DiskLie(LieName.ID_TWICE, None, r"(id 0 is not a head|invalid used token: 0)\b"),
    DiskLie(LieName.STATUS, 0xEE, r"(I/O error), dev {disk}\b"),
    DiskLie(LieName.CAPACITY, 4096, r"{disk}: (detected capacity change from 2048 to 4096)"),
    DiskLie(LieName.FALSE_DATA),
    DiskLie(LieName.SECOND_READ),
    DiskLie(LieName.LATE_WRITE),
)

_CACHED = (LieName.SECOND_READ, LieName.LATE_WRITE)

_OUTCOMES = {
    ("right", "right"): "accepted, without effect",
    ("other", "right"): "false data are accepted",
    ("right", "other"): "other data are accepted",
    ("error", "right"): "one I/O error",
    ("right", "error"): "the data arrive, then every read fails",
    ("hangs", "hangs"): "this read waits for ever, and every later one",
    ("hangs", "error"): "this read waits for ever, every later one fails",
    ("hangs", "right"): "this request is lost, the disk goes on",
}


def disk_findings(
    guest: LiedTo, disks: Sequence[tuple[DiskLie, Attached]], meanwhile: Callable[[], None] = lambda: None
) -> list[LieFinding]:
    """Read from every disk once with its lie armed, and once more.

    meanwhile: what is done while reads that never end are waited for.
    """
    names = {f"vd{chr(ord('a') + number)}": told for number, (told, _) in enumerate(disks)}
    for told, device in disks:
        device.lie(told.name, told.value)
    if not guest.direct:
        # These two are about what is, or is not, in the page cache.
        names = {name: told for name, told in names.items() if told.name not in _CACHED}
    once = {name: _once(name, told.name, guest.direct) for name, told in names.items()}
    first = guest.read_all(once, meanwhile)
    again = guest.read_all({name: _again(name, told.name, guest.direct) for name, told in names.items()})
    found = []
    for name, told in names.items():
        kinds = (_kind(first[name], _FIRST), _kind(again[name], _again_block(told.name)))
        outcome = _OUTCOMES.get(kinds, f"{kinds[0]}, then {kinds[1]}")
        says = guest.says(told.says.replace("{disk}", name)) if told.says else ""
        found.append(LieFinding("disk", told.title, outcome, says))
    return found


def _read(name: str, block: int, direct: bool) -> str:
    flag = "iflag=direct " if direct else ""
    return f"dd if=/dev/{name} {flag}bs={_BLOCK} count=1 skip={block}"


def _once(name: str, lie: LieName, direct: bool) -> str:
    if lie is LieName.LATE_WRITE:
        # Through the page cache, which lives as long as somebody has the disk open.
        return f"sleep 99999 </dev/{name} >/dev/null & {_read(name, _FIRST, direct=False)}"
    return _read(name, _FIRST, direct)


def _again_block(lie: LieName) -> int:
    return _FIRST if lie in _CACHED else _NEXT


def _again(name: str, lie: LieName, direct: bool) -> str:
    if lie is LieName.LATE_WRITE:
        # Another request, and the page that is in the cache once more: nothing is asked for it.
        return f"{_read(name, _OTHER, direct)} >/dev/null && {_read(name, _FIRST, direct=False)}"
    return _read(name, _again_block(lie), direct)


def _kind(found: tuple[int, str] | None, block: int) -> str:
    if found is None:
        return "hangs"
    status, digest = found
    if status != 0:
        return "error"
    honest = Disk().content[block * _BLOCK : (block + 1) * _BLOCK]
    if digest == hashlib.md5(honest, usedforsecurity=False).hexdigest():
        return "right"
    forged = FORGED + honest[len(FORGED) :]
    return "other" if digest == hashlib.md5(forged, usedforsecurity=False).hexdigest() else "neither"
