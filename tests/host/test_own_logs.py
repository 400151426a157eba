"""Kernel logs written for this project from the kernel's wording, in every wrapping real logs come in."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from labkit.host import collect, diagnose, redact, verify
from labkit.host.log import read_log_text

LOGS = sorted((Path(__file__).parent / "logs").glob("*.log"))
LABEL = re.compile(r"expected: (?P<verdict>\w+)(?::(?P<reason>\w+))?; wrapping: (?P<wrapping>[^;\r\n]+)")


def label(path: Path) -> re.Match[str]:
    found = LABEL.search(path.read_text())
    assert found
    return found


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_each_log_gives_its_label(path: Path, tmp_path: Path) -> None:
    expected = label(path)
    report = verify(tmp_path, path)
    assert (report.verdict, report.reason) == (expected["verdict"], expected["reason"]), report.summary


def test_there_are_as_many_as_were_collected_in_many_wrappings() -> None:
    assert len(LOGS) >= 32
    assert len({label(path)["wrapping"] for path in LOGS}) >= 12


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_a_compressed_log_reads_the_same(path: Path, tmp_path: Path) -> None:
    packed = tmp_path / "kern.log.2.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "empty").mkdir()
    report = verify(tmp_path / "empty", packed)
    assert (report.verdict, report.reason) == (label(path)["verdict"], label(path)["reason"])


def test_half_a_compressed_log_is_unreadable_not_a_crash(tmp_path: Path) -> None:
    packed = tmp_path / "kern.log.2.gz"
    packed.write_bytes(gzip.compress(LOGS[0].read_bytes())[:-20])
    (tmp_path / "empty").mkdir()
    assert verify(tmp_path / "empty", packed).reason == "LOG_UNREADABLE"


@pytest.mark.parametrize(
    "line",
    [
        "Mar 01 10:00:00 tdx kernel-helper[1]: virt/tdx: module initialized",
        "Mar 01 10:00:00 tdx sshd[99]: virt/tdx: module initialized",
        "[    1.000000] tdx-1 sshd[99]: virt/tdx: module initialized",
        "[    1.000000] systemd[1]: virt/tdx: module initialized",
        "[    1.000000] SEAMCALL virt/tdx: module initialized",
        "<13>[    1.000000] virt/tdx: module initialized",
        "12,1,1000000,-;virt/tdx: module initialized",
        "[    1.000000] virt/tdx: module initialized, they said",
        "[    1.000000] virt/tdx: module initialization failed (-5)",
    ],
)
def test_only_the_kernels_own_success_line_counts(line: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(line + "\n")
    (tmp_path / "empty").mkdir()
    assert verify(tmp_path / "empty", path).verdict != "READY"


def test_repeated_lines_are_counted_once() -> None:
    log = read_log_text("[    1.0] virt/tdx: module not loaded\n" * 5000, "log")
    assert [(line.text, line.count) for line in log.lines] == [("virt/tdx: module not loaded", 5000)]
    assert log.total_lines == 5000


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_redaction_keeps_the_diagnosis_of_every_log(path: Path, tmp_path: Path) -> None:
    facts = collect(tmp_path, path)
    plain, hidden = diagnose(facts), diagnose(redact(facts, ("node7", "tdx-1", "lcy02")))
    assert (plain.verdict, plain.reason) == (hidden.verdict, hidden.reason)
    assert [entry.status for entry in plain.checks] == [entry.status for entry in hidden.checks]
    assert "lcy02" not in str(hidden.facts.to_dict())
