"""Kernel logs of public reports: each gives its labelled verdict and reason, from the log alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from labkit.cli import labkit
from labkit.host import verify

# Labels that the collection itself calls weak, and why the label is still what we ask for.
WEAK = {
    "04": "the later warnings are run-time messages: they do not undo the success line before them",
    "15": "the excerpt may be cut; the SEAMCALL failure in it is certain",
    "17": "the true cause (BIOS settings) is not in the log, so naming it would be a guess",
    "23": "the true cause (SGX, DIMMs) is not in the log; the mistyped option is a hint, not the verdict",
    "29": "a version line alone is not success",
    "31": "no TDX line at all: the label rests on the generic kernel of before 6.16",
    "32": "nothing to read: never READY, never a confident cause",
}
LABEL = re.compile(r"expected: (?P<verdict>\w+)(?::(?P<reason>\w+))?")


@pytest.fixture
def logs(shared_data: Path) -> list[Path]:
    found = sorted((shared_data / "host-logs").glob("*.txt"))
    assert len(found) >= 32
    return found


@pytest.mark.data
def test_every_log_gives_its_label(logs: list[Path], tmp_path: Path) -> None:
    wrong = {}
    for path in logs:
        label = LABEL.search(path.read_text())
        assert label, path
        report = verify(tmp_path, path)
        if (report.verdict, report.reason) != (label["verdict"], label["reason"]):
            wrong[path.name] = (label[0], report.verdict, report.reason, WEAK.get(path.name[:2], ""))
    assert not wrong


@pytest.mark.data
def test_the_command_line_gives_every_label_and_exit_code(logs: list[Path], tmp_path: Path) -> None:
    for path in logs:
        label = LABEL.search(path.read_text())
        assert label, path
        words = ["verify", "--kernel-log", str(path), "--root", str(tmp_path), "--json"]
        result = CliRunner().invoke(labkit, words)
        document = json.loads(result.stdout)
        assert (document["verdict"], document["reason"]) == (label["verdict"], label["reason"]), path.name
        assert result.exit_code == ["READY", "NOT_READY", "INDETERMINATE"].index(document["verdict"])


@pytest.mark.data
@pytest.mark.parametrize(
    ("number", "part"),
    [
        ("15", "TDH.SYS.INIT failed with TDX_INCORRECT_CPUID_VALUE"),
        ("14", "TDH.SYS.RD failed with TDX_SYS_NOT_READY"),
        ("23", "`kvm_inte.tdx=1`"),
        ("28", "i7-1185G7"),
    ],
)
def test_the_summary_names_what_the_log_shows(
    logs: list[Path], tmp_path: Path, number: str, part: str
) -> None:
    (path,) = [path for path in logs if path.name.startswith(number)]
    assert part in verify(tmp_path, path).summary
