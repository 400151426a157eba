"""A download is whole and as pinned, or nothing of it is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from labkit.download import Pin, download
from labkit.errors import DataError, LabkitError, MissingComponent

CONTENT = b"as pinned" * 20_000
PIN = Pin("sha256", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "there").write_bytes(CONTENT)
    (tmp_path / "mine").mkdir()
    return tmp_path


def test_what_fits_is_kept_whole(folder: Path) -> None:
    download((folder / "there").as_uri(), PIN, folder / "mine/file")
    assert (folder / "mine/file").read_bytes() == CONTENT
    assert PIN.fits(folder / "mine/file")
    assert [path.name for path in (folder / "mine").iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (CONTENT + b"x", DataError),
        (CONTENT[:-1], DataError),
        (b"y" * len(CONTENT), DataError),
        (None, MissingComponent),
    ],
    ids=["too long", "cut off", "another", "none"],
)
def test_of_what_does_not_fit_nothing_is_kept(
    folder: Path, content: bytes | None, error: type[LabkitError]
) -> None:
    (folder / "there").unlink()
    if content is not None:
        (folder / "there").write_bytes(content)
    with pytest.raises(error):
        download((folder / "there").as_uri(), PIN, folder / "mine/file")
    assert list((folder / "mine").iterdir()) == []
    assert not PIN.fits(folder / "mine/file")
