"""What a run says of itself and of the machine, and the outcome of a check, in words and as JSON."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from labkit.errors import MissingComponent
from labkit.runs import Run, collecting
from labkit.runs.checking import Alteration, RunCheck
from labkit.runs.collecting import collect_git, collect_host, collect_tools, collect_versions
from labkit.runs.execution import CellFailure
from labkit.runs.record import Chapter, Reported
from labkit.runs.reports import junit, summary
from labkit.settings import Settings, Trust
from labkit.show.site import Link, run_index

STARTED = "2026-01-02T03:04:05+00:00"
HOST = {"os": "x", "kernel": "6", "processor": "p", "cpus": 1, "memory_mib": 1}


def chapter(name: str, status: str, failure: CellFailure | None = None, **words: Any) -> Chapter:
    return Chapter(name, name, f"{name}.ipynb", "0" * 64, "python3", {}, status, STARTED, 2.25, **words)


def test_a_run_tells_each_chapter_with_its_time_and_its_failure(tmp_path: Path) -> None:
    failure = CellFailure(3, "c", "1 / 0", "ZeroDivisionError", "division \x1b[31mby zero")
    chapters = (
        chapter("00-good", "passed", reported=Reported("emulated", Trust.NONE, "tcg")),
        Chapter(**{**vars(chapter("01-bad", "failed")), "failure": failure}),
    )
    run = Run(tmp_path, "failed", STARTED, None, 4.5, {}, {}, None, chapters)
    head, good, bad, place = str(run).splitlines()
    assert head == "[EMULATED] 1 of 2 chapters passed in 4.5 s"
    assert good.split() == ["00-good", "passed", "2.2", "s"]
    assert bad.split(maxsplit=4)[4] == "cell 3, `1 / 0`: ZeroDivisionError: division by zero"
    assert place == str(tmp_path)
    assert [each.name for each in run.failed] == ["01-bad"]
    assert summary(replace(run, host=HOST)).splitlines() == [
        "## labkit: 1 of 2 chapters passed",
        "",
        "4 s on x. [EMULATED] Trust: none.",
        "",
        "| chapter | result | seconds | why |",
        "|---|---|---:|---|",
        "| 00-good | ✓ passed | 2.2 |  |",
        "| 01-bad | ✗ failed | 2.2 | cell 3, \\`1 / 0\\`: ZeroDivisionError: division by zero |",
    ]
    suite = ElementTree.fromstring(junit(run))
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["time"]) == ("2", "1", "4.500")
    assert [len(case.findall("failure")) for case in suite.findall("testcase")] == [0, 1]


@pytest.mark.parametrize(
    ("status", "complete"), [("passed", True), ("failed", True), ("running", False), ("interrupted", False)]
)
def test_a_run_that_was_cut_off_is_not_told_as_a_whole_one(
    status: str, complete: bool, tmp_path: Path
) -> None:
    run = Run(tmp_path, status, STARTED, None, 4.5, HOST, {}, None, (chapter("00-good", "passed"),))
    page = run_index(run.to_dict(), [Link("a.html", "A")], title="t")
    assert run.complete is complete
    for said in (str(run), page):
        assert "1 of 1 chapters passed" in said
        assert ("has not come to its end" in said) is not complete


@pytest.mark.parametrize(
    ("trusts", "merged"),
    [
        ([], None),
        ([None], None),
        ([Trust.HARDWARE, None], Trust.HARDWARE),
        ([Trust.HARDWARE, Trust.NONE], Trust.NONE),
    ],
)
def test_what_chapters_report_is_merged_with_the_lowest_trust(
    trusts: list[Trust | None], merged: Trust | None
) -> None:
    found = Reported.merge(Reported(f"p{number % 2}", trust) for number, trust in enumerate(trusts))
    assert found.trust is merged
    assert found.platform == (", ".join(["p0", "p1"][: len(trusts)]) or None)


def test_the_host_is_told_in_its_own_numbers() -> None:
    host = collect_host()
    (total,) = (
        int(line.split()[1]) // 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    assert 0.6 < host["memory_mib"] / total < 1.6
    allowed = os.sched_getaffinity(0)
    assert host["cpus"] == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert collect_host()["cpus"] == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert host["processor"]
    assert os.uname().nodename not in host.values()


def test_versions_of_tools_are_read_out_of_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    class Program:
        def __init__(self, text: str) -> None:
            self.version_text = text

    class Tools:
        qemu = Program("QEMU emulator version 7.2.11 (Debian 1:7.2), Copyright\nversion 9")
        swtpm = Program("it does not say")
        kernel = Path("/boot/vmlinuz-6.1")

    settings = Settings.load()
    monkeypatch.setattr(collecting, "find_toolchain", lambda given: Tools)
    assert collect_tools(settings) == {
        "qemu": "7.2.11 (Debian 1:7.2)",
        "guest kernel": "vmlinuz-6.1",
    }

    def missing(given: Settings) -> None:
        raise MissingComponent("There is no QEMU.", "Install it.")

    monkeypatch.setattr(collecting, "find_toolchain", missing)
    assert collect_tools(settings) == {}


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "dcap-qvl":
            raise metadata.PackageNotFoundError(name)
        return f"{name} 1"

    monkeypatch.setattr(metadata, "version", version)
    found = collect_versions()
    assert "dcap-qvl" not in found
    assert (found["papermill"], found["cryptography"]) == ("papermill 1", "cryptography 1")
    assert found["python"] == platform.python_version()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_told_and_whether_files_differ_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *who, "-C", tmp_path, *words], check=True, capture_output=True)

    assert collect_git(tmp_path) is None
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "first")
    found = collect_git(tmp_path)
    assert found is not None
    assert (len(found["commit"]), found["changed"]) == (40, False)
    (tmp_path / "other").write_text("not in it")
    assert collect_git(tmp_path) == found
    (tmp_path / "file").write_text("two")
    assert collect_git(tmp_path) == {**found, "changed": True}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert collect_git(tmp_path) is None, "there is no git"


def check(*alterations: Alteration, named: bool = True, trust: Trust = Trust.NONE) -> RunCheck:
    return RunCheck(Path("/runs/a"), alterations, "ab" * 32, named, None, trust, 1_700_000_000)


def test_a_check_says_how_many_findings_and_who_vouches() -> None:
    one, two = Alteration("run.json", "was changed"), Alteration("x", "was added")
    assert str(check()).splitlines()[0] == "[EMULATED] INTACT: every file is as it was attested."
    assert "[EMULATED] ALTERED: 1 finding." in str(check(one))
    assert "[EMULATED] ALTERED: 2 findings." in str(check(one, two))
    assert "EMULATED" not in str(check(trust=Trust.HARDWARE))
    assert (
        "came with the directory" in str(check()),
        "came with the directory" in str(check(named=False)),
    ) == (
        False,
        True,
    )
    assert check(one).to_dict() == {
        "verdict": "ALTERED",
        "alterations": [{"where": "run.json", "what": "was changed"}],
        "attested": 1_700_000_000,
        "root_sha256": "ab" * 32,
        "root": "named",
        "anchor": None,
        "trust": "none",
        "stamp": "EMULATED",
        "run_dir": "/runs/a",
    }
    assert check(named=False).to_dict()["verdict"] == "INTACT"
    assert check(named=False).to_dict()["root"] == "from the directory"
    assert "was changed" in check(one)._repr_html_()
