"""Binary evidence inside what people keep it in, found by how it begins.

Text around it, hexadecimal or base64 in any layout, hex dumps, source code, JSON in JSON, gzip, UTF-16.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any

from labkit.measure.spellings import bare_rows, literal, respelled, unquoted
from labkit.measure.wrapping import WHITE, crowded_evidence, from_text, plain_text

_DEEPEST = 5
_LARGEST = 16 << 20
_SHORTEST = 64  # bytes of the smallest thing that is looked for
_MOST_VALUES = 10_000
_FIRST_NUMBERS = 1 << 10  # characters in which the first six of a list stand
_MOST_MEMBERS = 64
_GZIP = b"\x1f\x8b"
_GAP = rb"(?:[\s:,;'\"+]*(?:0[xX]|\\x)?)"
# A row of a hex dump: its offset, its bytes. A row with * stands for any number of the row before it.
_DUMP = re.compile(
    rb"^[ \t]*(?:([0-9a-fA-F]{4,16}):?(?:[ \t]{1,9}((?:[0-9a-fA-F]{2}[ \t]{0,4}){1,32}?))?"
    rb"(?:[ \t]{2,}.*|[ \t]*\|.*|\s*)|(\*)\s*)$",
    re.MULTILINE,
)
_NUMBER = rb"(?:0[xX][0-9a-fA-F]{1,2}|-?[0-9]{1,3})"
_NUMBERS = re.compile(rb"(?<![\w.-])" + _NUMBER + rb"(?:[\s,]{1,99}" + _NUMBER + rb"){63,}(?![\w.])")


def embedded(data: bytes, starts: tuple[bytes, ...], depth: int = 0) -> Iterator[bytes]:
    """Every piece of ``data`` that begins with one of ``starts``, decoded, in the order of the text.

    starts: beginnings of at least six bytes. What follows a piece in a text may come with it.
    """
    if data.startswith(starts):
        yield data
        return
    if depth > _DEEPEST or len(data) < _SHORTEST:
        return
    if data[:2] == _GZIP:
        yield from embedded(_gunzipped(data), starts, depth + 1)
        return
    text = plain_text(data).strip()
    if b"\0" in text:
        return
    text = unquoted(text)
    if text[:1] in b'{["' and not crowded_evidence(text):
        try:
            document = json.loads(text, object_pairs_hook=_every)
        except (ValueError, RecursionError):
            pass
        else:
            for inner in _values(document):
                yield from embedded(inner, starts, depth + 1)
            return
    if dumps := [data for data in (*_dumped(text), *_dumped(bare_rows(text))) if data.startswith(starts)]:
        yield dumps[0]
    elif text[:2] in (b"b'", b'b"'):
        yield from embedded(literal(text), starts, depth + 1)
    elif (decoded := from_text(text.translate(None, WHITE).decode("latin-1"))) is not None:
        yield from embedded(decoded, starts, depth + 1)
    else:
        nothing = True
        for found in _spelled(text, starts):
            nothing = False
            yield found
        # Once: of what is respelled nothing is respelled again.
        if nothing and depth < _DEEPEST:
            for other in respelled(text):
                yield from embedded(other, starts, _DEEPEST)


def _gunzipped(data: bytes) -> bytes:
    """What was compressed, all of it: a piece that is cut may be taken for the whole."""
    whole = b""
    for _ in range(_MOST_MEMBERS):
        member = zlib.decompressobj(wbits=31)
        try:
            # One byte more than may be: none would mean that there is no limit.
            whole += member.decompress(data, _LARGEST + 1 - len(whole))
        except zlib.error:
            return b""
        if not member.eof or len(whole) > _LARGEST:
            return b""
        data = member.unused_data
        if data[:2] != _GZIP:
            return whole
    return b""


def _dumped(text: bytes) -> tuple[bytes, ...]:
    """What a hex dump shows: of bytes, and of words of two bytes, which `hexdump` turns round."""
    rows = _DUMP.findall(text)
    if len(rows) <= text.count(b"\n") or not rows[0][1]:
        return ()
    data, row = bytearray(), b""
    base = _base(rows)
    first = int(rows[0][0], base)
    size = int(rows[-1][0], base) - first if rows[-1][0] and not rows[-1][1] else None
    for offset, digits, star in rows:
        if star or len(data) - 1 == size:  # a last word of one byte is shown with two
            continue
        missing = int(offset, base) - first - len(data)
        if missing and (not row or missing < 0 or missing % len(row) or len(data) + missing > _LARGEST):
            return ()
        data += row * (missing // len(row)) if missing else b""
        row = bytes.fromhex(digits.decode("ascii"))
        data += row
    turned = bytearray(len(data) + len(data) % 2)
    turned[::2], turned[1::2] = data[1::2].ljust(len(turned) // 2, b"\0"), data[::2]
    return bytes(data[:size]), bytes(turned[:size])


def _base(rows: list[tuple[bytes, bytes, bytes]]) -> int:
    """That of a dump's offsets: `od` counts in octal, so that its second row of 16 bytes is number 20."""
    (one, digits, _), (two, *_) = rows[0], rows[min(1, len(rows) - 1)]
    octal = not (one + two + rows[-1][0]).translate(None, b"01234567")
    length = len(bytes.fromhex(digits.decode("ascii")))
    return 8 if octal and two and int(two, 8) - int(one, 8) == length != int(two, 16) - int(one, 16) else 16


def _of_numbers(text: bytes) -> bytes:
    """The bytes that a list of numbers stands for; Java's have a sign. Nothing where one is no byte."""
    words = text.replace(b",", b" ").split()
    if b"x" in text or b"X" in text:
        numbers = [int(word, 16 if word[1:2] in (b"x", b"X") else 10) for word in words]
    else:
        numbers = list(map(int, words))
    if min(numbers) < -128 or max(numbers) > 255:
        return b""
    return bytes(numbers if min(numbers) >= 0 else [number & 0xFF for number in numbers])


def _every(pairs: list[tuple[str, Any]]) -> dict[Any, Any]:
    """An object with all its values: of two under one key, each is found."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else dict(enumerate(value for _, value in pairs))


def _values(document: Any) -> Iterator[bytes]:
    """The texts, and the lists of bytes, of a JSON document."""
    waiting, seen = deque([document]), 0
    while waiting and seen < _MOST_VALUES:
        value = waiting.popleft()
        seen += 1
        if isinstance(value, str):
            yield value.strip().encode("utf-8", "replace")
        elif isinstance(value, dict):
            # How JavaScript writes an array of bytes as JSON: {"0": 4, "1": 0, …}.
            waiting += [list(value.values())] if "0" in value else value.values()
        elif isinstance(value, list):
            if len(value) >= _SHORTEST and all(type(item) is int and -128 <= item < 256 for item in value):
                yield bytes(item & 0xFF for item in value)
            else:
                waiting += value


def _spelled(text: bytes, starts: tuple[bytes, ...]) -> Iterator[bytes]:
    """Pieces that stand in a text as hexadecimal, base64 or numbers, with anything before and behind them."""
    for found in _NUMBERS.finditer(text):
        first = b" ".join(found[0][:_FIRST_NUMBERS].replace(b",", b" ").split()[:6])
        if _of_numbers(first).startswith(tuple(start[:6] for start in starts)):
            yield from (data for data in (_of_numbers(found[0]),) if data.startswith(starts))
    # One pattern for all of them: to look at every character of a long text once takes long enough.
    pairs = _GAP.join(
        b"(?:%s)" % b"|".join({b"%02x" % byte for byte in column}) for column in zip(*starts, strict=False)
    )
    for found in re.finditer(
        rb"(?i)(?<![0-9a-f])" + pairs + rb"(?:" + _GAP + rb"[0-9a-f]{2})*(?![0-9a-f])", text
    ):
        digits = re.sub(_GAP, b"", found[0]).decode("ascii")
        if len(digits) >= 2 * _SHORTEST and (data := bytes.fromhex(digits)).startswith(starts):
            yield data
    for start in starts:
        prefix = base64.b64encode(start[: len(start) // 3 * 3])
        if prefix not in text:
            continue
        # White space does not end a piece, but where the next one begins behind it.
        on = rb"(?:[A-Za-z0-9+/_]|-(?!----)|\s+(?!" + re.escape(prefix) + rb")(?=[A-Za-z0-9+/_=]))*"
        for found in re.finditer(rb"(?<![A-Za-z0-9+/_])" + re.escape(prefix) + on, text):
            word = b"".join(found[0].split()).decode("ascii")
            if 3 * len(word) < 4 * _SHORTEST:
                continue
            if (decoded := from_text(word[: len(word) - (len(word) % 4 == 1)])) is not None:
                yield decoded
