"""Kernel logs in another encoding: base64, dumps of bytes, mail, pages. The whole file is one, or none."""

from __future__ import annotations

import binascii
import io
import re
import sys
from collections.abc import Callable

from labkit.host._packed import packed

MAX_DOCUMENT = 64 << 20
"""Bytes of a document that are read; one that is cut there is read as far as it goes."""

_MAX_LAYERS = 4
_MAX_PARTS = 50
_LEAST = 48  # characters that are enough to tell an encoding from a word
_WIDE = 0.2  # share of zeros in a text whose characters have several bytes
_VARIED = 9  # different characters that an encoded text has at least
_MOST = 0.9  # share of the lines that have a dump's form
_STRANGE = 0.02  # share of the characters of a text that are none

_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/_-]{1,400}={0,2}\s+)*[A-Za-z0-9+/_-]+={0,2}\s*")
_ARMOUR = re.compile(rb"\s*(?:-{5}BEGIN[^\n]*\n|begin-base64 [^\n]*\n)|\n(?:-{5}END|={4})[^\n]*\s*\Z")
_HEX = re.compile(rb"[0-9A-Fa-f\s]+")
_ESCAPED = re.compile(rb"\s*(?:(?:\\x|0x)[0-9A-Fa-f]{2}[,\s]*)+")
_UU = re.compile(rb"\s*begin [0-7]{3,4} [^\n]+\n[ -`]")
# An offset, then bytes (`xxd`, `hexdump -C`, `od -t x1`) or words of two bytes (`hexdump`, `od`).
_XXD = re.compile(rb"([0-9A-Fa-f]{6,16}):\s((?:[0-9A-Fa-f]{2}){1,8}(?: (?:[0-9A-Fa-f]{2}){1,8})*)(?: |$)")
_BYTES = re.compile(rb"([0-9A-Fa-f]{6,16})\s{1,3}([0-9A-Fa-f]{2}(?: {1,2}[0-9A-Fa-f]{2})*)(?: |$)")
_WORDS = re.compile(rb"([0-9A-Fa-f]{7,8})((?: {1,5}[0-9a-f]{4})+) *$")
_OCTAL = re.compile(rb"([0-7]{7,8})((?: [0-7]{6})+) *$")
# A row of any of them, `od -c` too.
_ROW = re.compile(
    rb"[0-9A-Fa-f]{6,16}(?::?(?:\s{1,5}[0-9A-Fa-f]{2,8}(?=\s|$)){2}|(?:   .|  \\.| [0-7]{3}){4}"
    rb"|:? +[0-9A-Fa-f]{2,4}\s|$)|\*$"
)
_HEADERS = re.compile(rb"\s*(?:From [^\n]+\n)?(?:[A-Za-z][\w-]{1,60}:[^\n]*\n(?:[ \t]+\S[^\n]*\n)*)+\r?\n")
_OF_MIME = re.compile(rb"^(?:mime-version|content-(?:type|transfer-encoding)):", re.IGNORECASE | re.MULTILINE)
_NOT_QUOTED = re.compile(rb"=(?![0-9A-F]{2}|[ \t]*\r?\n|.?\Z)")
_TAG = re.compile(rb"</?[A-Za-z][^<>]{0,2000}>|<![^<>]{0,2000}>")
_BREAK = re.compile(rb"(?i)<br\s*/?>[ \t]*\r?\n?|</(?:p|div|li|tr|pre|h\d)\s*>[ \t]*\r?\n?")
_CELL = re.compile(rb"(?i)</t[dh]\s*>")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'", "nbsp": " "}
_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[0-9A-Fa-f]{1,5}|lt|gt|amp|quot|apos|nbsp);")


class NotALogError(Exception):
    """The file is something else, and its text says what."""


def as_text(data: bytes) -> bytes:
    """The text in an encoded document; the data as they are where they are none.

    Raises:
        NotALogError: they are a document of a known kind that holds no text, or cannot be read.
    """
    for _ in range(_MAX_LAYERS):
        decode = encoding(data[: 1 << 16])
        if decode is None or (text := decode(data)) == data:
            return data
        data = text
    return data


def encoding(head: bytes) -> Callable[[bytes], bytes] | None:
    """What makes text of a document that begins so; None for a text."""
    if packed(head[:12]):
        return _unpacked
    if b"\0" in head[:64]:
        return None
    begin = head[: head.rfind(b"\n") + 1] or head
    if len(begin.strip()) < _LEAST:
        return None
    for belongs, decode in _KINDS:
        if belongs(begin):
            return decode
    return None


def _unpacked(data: bytes) -> bytes:
    kind = packed(data[:12])
    if kind is None or (opener := kind.opener()) is None:
        raise NotALogError(f"what is encoded in it is {kind.name if kind else 'no text'}")
    try:
        with opener(io.BytesIO(data)) as stream:
            return stream.read(MAX_DOCUMENT)
    except Exception as error:  # each of these modules has its own, and damage can raise any
        if not kind.damaged(error):
            raise
        raise NotALogError(f"what is encoded in it is {kind.name}, and damaged") from error


def _text_of(data: bytes, name: str) -> bytes:
    """The data, if they are text or something that holds one."""
    head = data[: 1 << 16]
    if packed(head[:12]) or head.count(b"\0") > _WIDE * len(head):
        return data
    text = head.decode("utf-8", "replace").rstrip("\ufffd")
    strange = sum(char == "\ufffd" or (char < " " and char not in "\t\n\r\x1b\b") for char in text)
    if strange > _STRANGE * max(1, len(text)):
        raise NotALogError(f"it is {name} of something that is no text")
    return data


def _is_base64(head: bytes) -> bool:
    bare = _ARMOUR.sub(b"", head)
    return (
        bool(_BASE64.fullmatch(bare)) and len(bare.split(None, 1)[0]) >= _LEAST and len(set(bare)) > _VARIED
    )


def _base64(data: bytes) -> bytes:
    bare = b"".join(_ARMOUR.sub(b"", data).split()).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    if not re.fullmatch(rb"[A-Za-z0-9+/]*", bare):
        return data
    return _text_of(binascii.a2b_base64(bare[: len(bare) - (len(bare) % 4 == 1)] + b"==="), "base64")


def _is_hex(head: bytes) -> bool:
    return bool(_HEX.fullmatch(head)) and len(head.split(None, 1)[0]) >= _LEAST and len(set(head)) > _VARIED


def _hex(data: bytes) -> bytes:
    digits = b"".join(data.split())
    return (
        _text_of(binascii.unhexlify(digits[: len(digits) & ~1]), "hexadecimal")
        if _HEX.fullmatch(data)
        else data
    )


def _escaped(data: bytes) -> bytes:
    pairs = re.finditer(rb"(?:\\x|0x)([0-9A-Fa-f]{2})", data)
    return _text_of(bytes(int(pair[1], 16) for pair in pairs), "hexadecimal")


def _uu(data: bytes) -> bytes:
    lines = data.lstrip().splitlines()[1:]
    try:
        return _text_of(
            b"".join(binascii.a2b_uu(line) for line in lines if line.strip() not in (b"end", b"")), "uuencode"
        )
    except binascii.Error as error:
        raise NotALogError("it is a uuencoded file, and damaged; see what `uudecode` makes of it") from error


def _is_dump(head: bytes) -> bool:
    lines = head.splitlines()
    return len(lines) > 1 and sum(bool(_ROW.match(line)) for line in lines) >= _MOST * len(lines)


def _dump(data: bytes) -> bytes:
    """What was dumped; a ``*`` stands for repeated rows."""
    lines = [line for line in data.splitlines() if line.strip()]
    words = bool(_OCTAL.match(lines[0]) or _WORDS.match(lines[0]))
    for pattern, base in ((_OCTAL, 8), (_WORDS, 16)) if words else ((_XXD, 16), (_BYTES, 16)):
        text = bytearray()
        for line in lines:
            if (row := pattern.match(line)) is None:
                continue
            offset = int(row[1], base if pattern is _OCTAL else 16)
            if text and len(text) < offset <= min(len(text) + (1 << 20), MAX_DOCUMENT):
                last, missing = text[-16:], offset - len(text)
                text += (last * (missing // len(last) + 1))[:missing]
            if words:
                text += b"".join(
                    int(word, base).to_bytes(2, "little")
                    for word in row[2].split()
                    if int(word, base) < 1 << 16
                )
            else:
                text += binascii.unhexlify(row[2].replace(b" ", b""))
        if text:
            try:
                return _text_of(bytes(text), "a dump").rstrip(b"\0")
            except NotALogError:
                continue
    raise NotALogError("it is a dump of a file's bytes; `xxd -r` or the file itself gives the text")


def _is_mail(head: bytes) -> bool:
    found = _HEADERS.match(head)
    return bool(found and _OF_MIME.search(found[0]))


def _mail(data: bytes) -> bytes:
    """The parts of a mail that are text, attachments included."""
    from email import message_from_bytes

    parts: list[tuple[str, object]] = []
    found = []
    try:
        for part in message_from_bytes(data.lstrip()).walk():
            if not part.is_multipart() and len(parts) < _MAX_PARTS:
                parts.append((part.get_content_type(), part.get_payload(decode=True)))
    except RecursionError as error:
        raise NotALogError("it is a mail whose parts are nested too deeply") from error
    plain = any(kind == "text/plain" for kind, _ in parts)
    for kind, body in parts:
        if isinstance(body, bytes) and not (plain and kind == "text/html"):
            try:
                found.append(_text_of(as_text(body), "a mail"))
            except NotALogError:
                continue
    return b"\n".join(found)


def _is_quoted(head: bytes) -> bool:
    """Quoted-printable: every ``=`` is part of it, and no line is longer than such a mail's."""
    return b"=" in head and not _NOT_QUOTED.search(head) and max(map(len, head.splitlines())) <= 78


def _quoted(data: bytes) -> bytes:
    from quopri import decodestring

    return decodestring(data)


def _is_page(head: bytes) -> bool:
    """The source of a page: it begins as one, or half of its lines are in tags.

    A program's line with a tag in it makes no page of a log: behind a break nothing would tell whose it is.
    """
    lines = [line.strip() for line in head.splitlines() if line.strip()]
    if len(lines) == 1 and _BREAK.search(head):
        return True
    tagged = sum(
        bool(_TAG.match(line) or _BREAK.search(line + b"\n", max(0, len(line) - 12))) for line in lines
    )
    return bool(_TAG.match(lines[0]) or tagged * 2 > len(lines)) and bool(_TAG.search(head))


def _page(data: bytes) -> bytes:
    for pattern, instead in ((_BREAK, b"\n"), (_CELL, b" "), (_TAG, b"")):
        data = pattern.sub(instead, data)
    return _entities(data)


def _has_entities(head: bytes) -> bool:
    return b"&" in head and bool(_ENTITY.search(head.decode("utf-8", "replace")))


def _entities(data: bytes) -> bytes:
    """Characters that were written as entities; none of them ends a line."""

    def character(found: re.Match[str]) -> str:
        name = found[0][1:-1]
        if not name.startswith("#"):
            return _NAMED[name]
        number = int(f"0{name[1:]}", 16) if name[1] == "x" else int(name[1:])
        said = chr(number) if number <= sys.maxunicode else " "
        return said if said.isprintable() else " "

    return _ENTITY.sub(character, data.decode("utf-8", "replace")).encode("utf-8", "replace")


def _is_address(head: bytes) -> bool:
    return (
        b" " not in head.strip() and bool(re.search(rb"%0[Aa]", head)) and bool(re.search(rb"%20|\+", head))
    )


def _address(data: bytes) -> bytes:
    from urllib.parse import unquote_to_bytes

    return _text_of(unquote_to_bytes(data.replace(b"+", b" ")), "the form of an address")


def _is_literal(head: bytes) -> bool:
    """A text as a programming language writes it: its ends of line are written out."""
    return (
        b"\n" not in head.strip()
        and len(re.findall(rb"\\n", head)) > 1
        and not head.lstrip().startswith((b"{", b"[{"))
    )


def _literal(data: bytes) -> bytes:
    bare = re.sub(rb"\A\s*b?['\"]|['\"]\s*\Z", b"", data)
    return re.sub(rb"(?:\\r)*\\n", b"\n", bare)


_KINDS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], bytes]], ...] = (
    (_is_hex, _hex),
    (_is_base64, _base64),
    (lambda head: bool(_ESCAPED.fullmatch(head)), _escaped),
    (lambda head: bool(_UU.match(head)), _uu),
    (_is_dump, _dump),
    (_is_mail, _mail),
    (_is_quoted, _quoted),
    (_is_page, _page),
    (_has_entities, _entities),
    (_is_address, _address),
    (_is_literal, _literal),
)
