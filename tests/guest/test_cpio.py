from __future__ import annotations

import stat
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from labkit.guest.cpio import Entry, archive, character_device, directory, file, link
from labkit.guest.initramfs import initramfs


def test_the_order_in_which_files_are_named_does_not_matter() -> None:
    entries = [directory("bin"), file("bin/a", b"1", 0o755), link("bin/b", "a")]
    assert archive(entries) == archive(reversed(entries))


def test_a_cpio_program_reads_back_what_was_written(tmp_path: Path, toolchain_busybox: Path) -> None:
    data = bytes(range(256)) * 5
    made = archive([directory("d"), file("d/f", data, 0o640), link("d/l", "f"), file("d/empty", b"")])
    (tmp_path / "archive").write_bytes(made)
    with (tmp_path / "archive").open("rb") as source:
        subprocess.run(
            [toolchain_busybox, "cpio", "-i"], stdin=source, cwd=tmp_path, check=True, capture_output=True
        )
    assert (tmp_path / "d/f").read_bytes() == data
    assert stat.S_IMODE((tmp_path / "d/f").stat().st_mode) == 0o640
    assert (tmp_path / "d/l").readlink() == Path("f")
    assert (tmp_path / "d/empty").read_bytes() == b""


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_headers_and_data_are_aligned_as_the_kernel_wants(contents: list[bytes]) -> None:
    made = archive(file(f"f{number}", data) for number, data in enumerate(contents))
    assert len(made) % 512 == 0
    position = 0
    for data in contents:
        assert made[position : position + 6] == b"070701"
        name_size = int(made[position + 94 : position + 102], 16)
        start = position + 110 + name_size + -(position + 110 + name_size) % 4
        assert made[start : start + len(data)] == data
        position = start + len(data) + -(start + len(data)) % 4
    assert b"TRAILER!!!" in made[position:]


def test_a_device_keeps_its_numbers() -> None:
    made = archive([character_device("dev/console", 5, 1)])
    assert made[78:94] == b"0000000500000001"


def test_the_guest_is_the_same_every_time_and_changes_with_busybox() -> None:
    assert initramfs(b"one") == initramfs(b"one")
    assert initramfs(b"one") != initramfs(b"two")


def test_entries_belong_to_root_and_have_no_date() -> None:
    made = archive([Entry("f", stat.S_IFREG | 0o644, b"x")])
    uid, gid, mtime = made[22:30], made[30:38], made[46:54]
    assert (uid, gid, mtime) == (b"00000000",) * 3
