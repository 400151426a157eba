from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from labkit.attest import LabAuthority
from labkit.cli import labkit, main
from labkit.errors import DataError, StorageError
from labkit.process import run
from tests.attest.conftest import report


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk_is_named_with_a_remedy(tmp_path: Path, vm_environment: dict[str, str]) -> None:
    if not run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path]).ok:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "labkit", "boot", "--platform", "emulated", "--memory", "256"],
            env={**vm_environment, "LABKIT_STATE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        assert run(["umount", tmp_path]).ok
    assert done.returncode == 73
    assert "The disk is full" in done.stderr
    assert "LABKIT_STATE_DIR" in done.stderr


@pytest.mark.parametrize("words", [[], ["notebooks"], ["quote"], ["asterinas"]])
def test_a_group_alone_tells_what_there_is_in_whole_sentences(words: list[str]) -> None:
    runner = CliRunner()
    asked = runner.invoke(labkit, [*words, "--help"])
    assert "Commands:" in asked.stdout
    assert "..." not in asked.stdout.partition("Commands:")[2]
    alone = subprocess.run(
        [sys.executable, "-m", "labkit", *words], capture_output=True, text=True, timeout=60
    )
    assert (alone.returncode, alone.stdout) == (64, "")
    assert alone.stderr.partition("Options:")[2].split() == asked.stdout.partition("Options:")[2].split()
    assert not alone.stderr.startswith("labkit:"), "it is no error"


@pytest.mark.parametrize("words", [["--help"], ["verify"], ["verify", "--json"], ["ps"]])
def test_a_reader_that_went_away_is_no_error_and_no_answer(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "labkit", *words], stdout=nobody, stderr=subprocess.PIPE, timeout=60
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_copy_that_failed_names_what_could_not_be_written() -> None:
    from labkit.cli import error_of_system

    error = OSError(errno.EACCES, "Permission denied", "/from", None, "/to")
    assert "/to" in str(error_of_system(error))


@pytest.mark.parametrize(
    ("code", "exit_code", "words"),
    [
        (errno.ENAMETOOLONG, 64, "Choose a shorter name"),
        (errno.ELOOP, 64, "name the file itself"),
        (errno.ENXIO, 64, "is a socket or a device"),
        (errno.EIO, 73, "a\\nb"),
    ],
)
def test_a_name_that_leads_to_no_file_is_wrong_usage(code: int, exit_code: int, words: str) -> None:
    from labkit.cli import error_of_system

    error = error_of_system(OSError(code, os.strerror(code), "a\nb"))
    assert error.exit_code == exit_code
    assert words in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "words",
    [
        ["boot", "--kernel"],
        ["boot", "--iso"],
        ["boot", "--initrd"],
        ["boot", "--firmware"],
        ["attest", "--kernel"],
        ["attest", "--firmware"],
    ],
)
def test_a_file_to_boot_that_is_not_there_is_wrong_usage(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["labkit", *words, "/nowhere/two\nlines"])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert (end.value.code, said.count("\n")) == (64, 2), said


def test_no_name_makes_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = tmp_path / "one\nlabkit: all is well.\x1b[2K.ipynb"
    notebook.write_text("none")
    monkeypatch.setattr(sys, "argv", ["labkit", "run", str(notebook), "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert (end.value.code, said.count("\n"), "\x1b" in said) == (65, 2, False), said


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_no_folder_is_no_root(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    done = CliRunner().invoke(labkit, ["verify", "--root", str(path)])
    assert "is not a folder" in str(done.exception)


def test_a_tree_of_checks_is_printed_in_an_encoding_that_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "labkit", "verify", "--root", tmp_path / "root"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (2, b"")
    assert "INDETERMINATE" in done.stdout.decode("latin-1")


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EAGAIN, "ulimit -u"),
        (errno.EROFS, "mounted"),
    ],
)
def test_a_limit_is_not_taken_for_a_wrong_path(code: int, word: str) -> None:
    from labkit.cli import error_of_system

    error = error_of_system(OSError(code, os.strerror(code), "/somewhere"))
    assert word in (error.remedy or "")
    assert "permissions" not in (error.remedy or "")


def test_memory_that_is_short_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def short(**_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("labkit.cli.labkit.main", short)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 73
    assert "not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_the_exit_code_stands_where_standard_error_cannot_be_written(unbuffered: str) -> None:
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "labkit", "no-such-verb"]
        done = subprocess.run(words, stderr=full, timeout=60, env=environ)
    assert done.returncode == 64


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("verb", [["--version"], ["asterinas", "profiles", "--json"]])
def test_a_standard_output_that_is_full_is_named_as_that(verb: list[str], unbuffered: str) -> None:
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "labkit", *verb]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=environ)
    assert done.returncode == 73
    assert done.stderr.startswith("labkit: Standard output cannot be written: No space left on device.\n")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("ignored", [True, False])
def test_where_variables_of_another_python_are_ignored_its_processes_have_none(
    tmp_path: Path, ignored: bool
) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('another click')")
    program = "import os, labkit.cli as c; c.labkit.main = lambda **_: os.environ.get('PYTHONPATH'); c.main()"
    done = run(
        [sys.executable, *(["-E"] if ignored else []), "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (b"another click" in done.stderr) is not ignored
    assert done.ok is ignored


@pytest.mark.parametrize("year", [1, 2300, 9999])
def test_a_clock_that_python_cannot_read_is_named(
    year: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = (year - 1970) * 31_556_952
    monkeypatch.setattr("time.time", lambda: float(seconds))
    monkeypatch.setattr(sys, "argv", ["labkit", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 65
    assert "The clock of this machine" in capsys.readouterr().err


def test_a_wrong_clock_is_said_before_a_run_that_is_to_be_attested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("time.time", lambda: 915_148_800.0)
    done = CliRunner().invoke(labkit, ["run", "05", "--attest", "--output", str(tmp_path / "run")])
    assert isinstance(done.exception, DataError)
    assert "The clock of this machine says 1999" in done.exception.message
    assert not (tmp_path / "run").exists()


def test_a_current_folder_that_was_removed_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    environ = {**os.environ, "LABKIT_STATE_DIR": str(tmp_path / "state"), "LABKIT": sys.executable}
    done = run(
        ["sh", "-c", 'rmdir "$PWD" && exec "$LABKIT" -m labkit progress'],
        cwd=tmp_path / "gone",
        env=environ,
    )
    assert done.status == 64
    assert done.stderr.startswith(b"labkit: The current folder is there no more.")


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_error_and_no_file_takes_its_place(closed: str) -> None:
    look = "[os.fstat(n) for n in range(3)], sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty()"
    program = f"import os, sys, labkit.cli as c; c.labkit.main = lambda **_: bool([{look}]) - 1; c.main()"
    done = run(["sh", "-c", f'"$1" -c "$2" {closed}', "sh", sys.executable, program])
    assert done.ok, done.stderr


def test_the_clock_is_named_where_evidence_is_refused_for_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_STATE_DIR", str(tmp_path / "state"))
    earlier = int(time.time()) - 60 * 86_400
    authority = LabAuthority.open(tmp_path / "state", earlier)
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence/quote.bin").write_bytes(authority.quote(report()))
    (tmp_path / "collateral").write_text(authority.collateral(earlier).text)
    words = ["attest", "--evidence", str(tmp_path / "evidence"), "--collateral", str(tmp_path / "collateral")]
    told = CliRunner().invoke(labkit, words)
    assert "CRL_EXPIRED" in told.stdout
    assert "It is verified for the time of this machine's clock, 2" in told.stderr


@pytest.mark.parametrize(
    "words",
    [("boot", "--kernel"), ("verify", "--root"), ("verify", "--kernel-log"), ("refresh", "--sanitize")],
)
def test_what_lies_in_a_closed_folder_is_not_called_missing(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def closed(path: Path, **options: bool) -> os.stat_result:
        if path.name == "inside":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", closed)  # root may look into every folder
    ended = CliRunner().invoke(labkit, [*words, str(tmp_path / "inside")])
    assert ended.exit_code == 2
    assert "cannot be looked at: a folder on its way is closed to you." in ended.output


@pytest.mark.parametrize("option", ["--junit", "--summary"])
def test_a_report_that_may_not_be_written_is_said_before_anything_runs(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.F_OK)  # root may write everything
    ended = CliRunner().invoke(labkit, ["run", option, "report"])
    assert isinstance(ended.exception, StorageError)
    assert ended.exception.message == "You may not write report."
