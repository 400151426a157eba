"""What a guest shows besides text is bounded before anything is built of it."""

from __future__ import annotations

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
