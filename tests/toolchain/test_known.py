"""What is kept about a file holds only as long as the file is the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labkit.toolchain import known
from labkit.toolchain.known import Known
from labkit.toolchain.toolchain import Program


class Asked:
    """Answers with a new word each time."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> str:
        self.times += 1
        return f"answer {self.times}"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as left alone for long."""
    monkeypatch.setattr(known, "_SETTLED", -60.0)
    path = tmp_path / "file"
    path.write_text("one")
    return path


def test_a_file_is_asked_once_by_all_processes(tmp_path: Path, file: Path) -> None:
    asked = Asked()
    link = tmp_path / "link"
    link.symlink_to(file)
    answers = {Known(tmp_path / "cache").ask("what", path, asked) for path in (file, file, link)}
    assert (answers, asked.times) == ({"answer 1"}, 1)
    assert Known(tmp_path / "cache").ask("something else", file, asked) == "answer 2"


def test_another_content_of_the_same_size_and_date_is_seen(tmp_path: Path, file: Path) -> None:
    asked, kept = Asked(), Known(tmp_path / "cache")
    before = file.stat()
    kept.ask("what", file, asked)
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert kept.ask("what", file, asked) == "answer 2"


def test_a_file_that_was_just_written_is_asked_each_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    asked, kept = Asked(), Known(tmp_path / "cache")
    assert [kept.ask("what", path, asked) for _ in range(2)] == ["answer 1", "answer 2"]


@pytest.mark.parametrize("kept", ["{", "[]", '{"sha256 /x": 1}', "null"])
def test_a_spoilt_record_is_no_answer(tmp_path: Path, file: Path, kept: str) -> None:
    (tmp_path / "known.json").write_text(kept.replace("/x", str(file)))
    digest = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert [Known(tmp_path).digest(file) for _ in range(2)] == [digest] * 2


def test_a_program_is_not_started_again_for_its_version(tmp_path: Path, file: Path) -> None:
    file.write_text(f"#!/bin/sh\necho ran >>{tmp_path}/ran\necho version 1.2\n")
    file.chmod(0o755)
    assert {Known(tmp_path).version(Program(file)) for _ in range(2)} == {"version 1.2\n"}
    assert (tmp_path / "ran").read_text() == "ran\n"
