"""The reader of everything that a user names or was sent."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import DataError, LabkitError, StorageError, UsageError
from labkit.files import (
    DEEPEST,
    check_named,
    entries,
    from_home,
    keep_whole,
    plain_parts,
    printable,
    read_below,
    read_named,
    strict_json,
    write_below,
    write_whole,
)


def special(folder: Path) -> dict[str, str]:
    """One of each thing that is not a regular file, by name, with the word for it."""
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "sock"))
    (folder / "folder").mkdir()
    return {"pipe": "a named pipe", "sock": "cannot be read", "folder": "a folder"}


@pytest.mark.parametrize("name", ["pipe", "sock", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(name: str, tmp_path: Path) -> None:
    word = special(tmp_path)[name]
    for reader in (read_named, check_named):
        with pytest.raises(UsageError, match=word) as refusal:
            reader(tmp_path / name)
        assert refusal.value.remedy
    with pytest.raises(DataError):
        read_below(tmp_path, name)


def test_devices_are_refused(tmp_path: Path) -> None:
    for reader in (read_named, check_named):
        with pytest.raises(UsageError, match="is a device, no regular file"):
            reader(Path("/dev/zero"))
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="device"):
        read_named(tmp_path / "link")


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_named(path, 100) == b"x" * 100
    assert read_below(tmp_path, "file", 100) == b"x" * 100
    with pytest.raises(UsageError, match="more than 99 bytes"):
        read_named(path, 99)
    with pytest.raises(DataError, match="more than 99 bytes"):
        read_below(tmp_path, "file", 99)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="more than 4096 bytes"):
        read_below(tmp_path, "file", 4096)


def test_a_users_own_link_is_followed_and_a_kernel_file_without_a_size_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("file")
    assert read_named(tmp_path / "link") == b"data"
    assert read_named(Path("/proc/self/status")).startswith(b"Name:")


def test_what_the_users_shell_pipes_in_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"piped")
    os.close(writing)
    try:
        assert read_named(Path(f"/dev/fd/{reading}"), 10) == b"piped"
    finally:
        os.close(reading)


@pytest.mark.parametrize("link", ["/etc/passwd", "../secret", "inside", "/dev/zero"])
def test_no_link_is_followed_below_a_folder(link: str, tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    (folder / "real").mkdir(parents=True)
    (folder / "real/file").write_bytes(b"x")
    (folder / "inside").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(link)
    (folder / "way").symlink_to(folder / "real")
    for name in ("link", "way/file"):
        with pytest.raises(DataError, match="no regular file"):
            read_below(folder, name)
        with pytest.raises(LabkitError):
            write_below(folder, "way/file", b"changed")
    assert read_below(folder, "real/file") == b"x"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a//b",
        "./a",
        "a/.",
        "a\nb",
        "a\x1b[2Jb",
        "a\\b",
        "a/",
        "\0",
    ],
)
def test_names_that_are_not_plain_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a name of a file") as refusal:
        plain_parts(name)
    assert "\n" not in refusal.value.message
    with pytest.raises(DataError):
        read_below(tmp_path, name)
    with pytest.raises(DataError):
        write_below(tmp_path, name, b"")


@given(st.text(max_size=300))
def test_whatever_a_name_holds_it_is_shown_in_one_printable_line(name: str) -> None:
    assert printable(name).isprintable()
    assert len(printable(name)) <= 201


def test_writing_replaces_a_link_and_never_follows_it(tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    folder.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"kept")
    for name in ("run.json", "run.json.new"):
        (folder / name).symlink_to(victim)
    write_below(folder, "run.json", b"new")
    assert victim.read_bytes() == b"kept"
    assert not (folder / "run.json").is_symlink()
    assert (folder / "run.json").read_bytes() == b"new"
    write_below(folder, "deep/er/file", b"x")
    assert (folder / "deep/er/file").read_bytes() == b"x"
    assert sorted(path.name for path in folder.iterdir()) == ["deep", "run.json", "run.json.new"]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/x").write_bytes(b"")
    with pytest.raises((DataError, StorageError)):
        write_below(tmp_path, "folder", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_everything_below_a_folder_is_named_for_what_it_is(tmp_path: Path) -> None:
    special(tmp_path)
    (tmp_path / "link").symlink_to("/")
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").write_bytes(b"")
    (tmp_path / "skipped/x").mkdir(parents=True)
    found = {entry.name: (entry.kind, entry.empty) for entry in entries(tmp_path, skip="skipped")}
    assert found == {
        "a/b": ("an empty folder", True),
        "a/file": ("", False),
        "folder": ("an empty folder", True),
        "link": ("a link", False),
        "pipe": ("a named pipe", False),
        "sock": ("a socket", False),
    }


def test_a_folder_without_a_bottom_is_refused(tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(DEEPEST + 1):
        path = path / "d"
    path.mkdir(parents=True)
    with pytest.raises(DataError, match="nested more than"):
        list(entries(tmp_path))
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        list(entries(tmp_path / "absent"))


def test_a_folder_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.files.MOST_FILES", 10)
    for number in range(11):
        (tmp_path / f"{number}").write_bytes(b"")
    with pytest.raises(DataError, match="more than 10 files"):
        list(entries(tmp_path))


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "new/marks.json"
    write_whole(place, b"first", 0o600)
    assert (place.read_bytes(), place.stat().st_mode & 0o777) == (b"first", 0o600)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(place, b"second")
    assert [path.read_bytes() for path in place.parent.iterdir()] == [b"first"]


def test_a_file_that_a_crash_cut_is_written_again(tmp_path: Path) -> None:
    place = tmp_path / "cache/initrd"
    keep_whole(place, b"whole")
    inode = place.stat().st_ino
    keep_whole(place, b"whole")
    assert place.stat().st_ino == inode
    place.write_bytes(b"wh")
    keep_whole(place, b"whole")
    assert place.read_bytes() == b"whole"


def test_a_home_folder_that_nobody_has_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert from_home(Path("~/lab")) == Path("/home/me/lab")
    with pytest.raises(UsageError, match="no home folder for ~nobody-of-this-name/lab") as caught:
        from_home(Path("~nobody-of-this-name/lab"))
    assert caught.value.remedy


def test_json_of_very_many_objects_is_refused_before_it_is_built() -> None:
    assert strict_json(b"[" + b"[]," * 499_998 + b"[]]")
    with pytest.raises(ValueError, match="more than 500000 lists and objects"):
        strict_json(b"[" + b"{}," * 499_999 + b"{}]")
