"""The entropy device says that it wrote more than the guest's buffer holds. What does the guest hand out?"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable

from labkit.lies._guest import LiedTo
from labkit.lies.findings import LieFinding
from labkit.virtio.attached import Attached, Record
from labkit.virtio.lies import LieName

_READS, _SIZE = 1000, 64
_FEW = 100
_SIGNAL = 128
_FAR = (1 << 32) - 1
_TEXT_LOW, _TEXT_HIGH = 0xFFFFFFFF80000000, 0xFFFFFFFFC0000000
"""Where Linux on x86-64 maps its own image (Documentation/arch/x86/x86_64/mm.rst)."""
_MOST_POINTERS = 400


def entropy_findings(guest: LiedTo, device: Attached) -> list[LieFinding]:
    """Tell the lie twice: a length of 64 KiB, then the largest there is, which is read to its end."""
    title = "length 65536"
    before = len(device.record().exchanges)
    device.lie(LieName.LENGTH, 65536)
    drawn = _draw(guest, _READS)
    said = guest.says(r"virtio: (invalid used length: 65536)")
    if drawn is None:
        outcome = "refused: the read waits for ever, the shell lives" if said else "the read waits for ever"
        return [LieFinding("entropy", title, outcome, said)]
    record = device.record()
    requests = len(record.exchanges) - before
    first = LieFinding("entropy", title, _describe(drawn, record, requests, guest.symbols), said)
    return [first, _read_on(guest, device)]


def _read_on(guest: LiedTo, device: Attached) -> LieFinding:
    title = f"length {_FAR}, read on"
    device.lie(LieName.LENGTH, _FAR)
    drawn = _draw(guest, _FEW)
    if drawn is None:
        return LieFinding("entropy", title, "the read waits for ever")
    if not _foreign(drawn, device.record()):
        return LieFinding("entropy", title, f"clamped: 0 of {len(drawn):,} bytes are not the device's")
    # As many reads as it takes to pass all memory behind the buffer.
    command = f"dd if=/dev/hwrng of=/dev/null bs=1M count={guest.memory}"
    ended = guest.background("far", command, until=r"---\[ (end trace)")
    fault = guest.says(r"BUG: (unable to handle page fault)[\s\S]*?\s(copy_data)\+\S+ \[virtio_rng\]")
    end = "waits for ever" if ended is None else "is killed" if ended >= _SIGNAL else "ends"
    return LieFinding(
        "entropy", title, f"memory is read on and on, and the reader {end}; the shell lives", fault
    )


def _draw(guest: LiedTo, reads: int) -> bytes | None:
    """What so many reads bring; None where they do not end."""
    command = f"dd if=/dev/hwrng of=/tmp/drawn bs={_SIZE} count={reads}"
    if guest.background("drawn", command) is None:
        return None
    return base64.b64decode(guest.run("base64 /tmp/drawn"))


def _foreign(drawn: bytes, record: Record) -> list[bytes]:
    """The words of eight bytes that the device never gave."""
    served = {record.served[at : at + 8] for at in range(0, len(record.served) - 7, 8)}
    words = (drawn[at : at + 8] for at in range(0, len(drawn) - 7, 8))
    return [word for word in words if word not in served]


def _describe(drawn: bytes, record: Record, requests: int, symbols: Callable[[set[int]], bool]) -> str:
    """Counts that are the same in each boot; never a byte of the guest's memory."""
    foreign = _foreign(drawn, record)
    if not foreign:
        return f"clamped: 0 of {len(drawn):,} bytes are not the device's"
    pointers = {value for (value,) in map(struct.Struct("<Q").unpack, foreign)}
    inside = {value for value in pointers if _TEXT_LOW <= value < _TEXT_HIGH}
    count = f"more than {len(foreign) * 8 // 10_000 * 10_000:,} of {len(drawn):,} bytes are not the device's"
    equal = symbols(set(sorted(inside)[:_MOST_POINTERS]))
    asked = "1 request" if requests == 1 else f"{requests} requests"
    return f"believed: {asked} for {_READS} reads; {count}; a pointer among them equals a symbol: {equal}"
