"""What a guest shows besides text is bounded before anything is built of it."""

from __future__ import annotations

import base64
import json

import pytest

from labkit.kernel.rich import bundle


def test_json_is_shown_with_its_plain_text() -> None:
    assert bundle("application/json", b'{"a": [1]}') == (
        {"application/json": {"a": [1]}, "text/plain": '{\n  "a": [\n    1\n  ]\n}'},
        "",
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[" * 300_000 + b"]" * 300_000, "not an application/json"),
        (b"[" * 900 + b"]" * 900, "deeper than"),
        (b"[" + b"1," * 600_000 + b"1]", "at most"),
        (b"[NaN]", "not an application/json"),
        (b"[1", "not an application/json"),
    ],
)
def test_what_is_too_much_is_refused(data: bytes, why: str) -> None:
    shown, refused = bundle("application/json", data)
    assert shown is None
    assert why in refused


def test_indentation_does_not_multiply_what_is_shown() -> None:
    data = json.dumps([[[["\x1b[31m[{"] * 20] * 20] * 40]).encode()
    shown, _ = bundle("application/json", data)
    assert shown is not None
    assert len(shown["text/plain"]) < 25_000
    assert "characters not shown" in shown["text/plain"]
    assert "\x1b" not in shown["text/plain"]


def test_pictures_are_looked_at() -> None:
    assert bundle("image/png", b"GIF89a")[0] is None
    assert bundle("text/html", b"<b>")[0] is None
    shown, _ = bundle("image/jpeg", b"\xff\xd8\xff\xe0")
    assert shown is not None
    assert shown["text/plain"] == "<image/jpeg, 4 bytes>"


@pytest.mark.parametrize(
    ("mime", "data"), [("image/png", b"\x89PNG\r\n\x1a\n"), ("image/jpeg", b"\xff\xd8\xff")]
)
def test_a_picture_is_known_by_its_first_bytes_and_handed_on_whole(mime: str, data: bytes) -> None:
    shown, refused = bundle(mime, data + b"\0\xff")
    assert (shown or {})[mime] == base64.b64encode(data + b"\0\xff").decode()
    assert refused == ""
    for wrong in (data[:-1], data[:-1] + b"x", b"x" + data):
        assert bundle(mime, wrong) == (None, f"display: this is no {mime}.")


def test_json_is_shown_up_to_its_limits() -> None:
    limit = 1 << 20
    assert bundle("application/json", b'"' + b"x" * (limit - 2) + b'"')[0]
    assert f"{limit + 1} bytes" in bundle("application/json", b'"' + b"x" * (limit - 1) + b'"')[1]
    for depth, there in ((60, True), (61, False)):
        shown, why = bundle("application/json", b"[" * depth + b"]" * depth)
        assert (shown is not None, "deeper than 60" in why) == (there, not there)
    # Brackets in a text are no nesting, and those that are closed count no more.
    assert bundle("application/json", b'["' + b"[" * 100 + b'\\"{"]')[0]
    assert bundle("application/json", b"[" + b"[{}]," * 99 + b"1]")[0]
    for length, cut in ((20_000, False), (20_001, True)):
        text = "[" + "1," * ((length - 4) // 2) + "1" * (2 + length % 2) + "]"
        assert len(text) == length
        shown, _ = bundle("application/json", text.encode())
        assert shown is not None
        assert ("[... 1 characters not shown ...]" in shown["text/plain"]) is cut
    assert bundle("text/plain", b"a\x1b[2Jb\xff")[0] == {"text/plain": "ab\ufffd"}
