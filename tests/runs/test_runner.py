"""Real notebooks in real kernels; one run serves most of the tests."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import LabkitError, MissingComponent, UsageError
from labkit.kernel.host import REFUSAL
from labkit.process import status_fields
from labkit.runs import Run
from labkit.runs.record import read_record, read_results
from labkit.runs.runner import content_digest, host_cells, plan_run, run_plan
from labkit.settings import Trust
from tests.runs.notebooks import DAEMON, code, parameters, write_notebook


def executed(run: Run, name: str) -> list[Any]:
    return list(json.loads((run.directory / "executed" / f"{name}.ipynb").read_text())["cells"])


def failure(run: Run, name: str) -> str:
    return next(str(chapter.failure) for chapter in run.chapters if chapter.name == name)


def test_every_chapter_runs_also_after_one_failed(run: Run) -> None:
    assert [(chapter.name, chapter.status, chapter.cells_run, chapter.cells) for chapter in run.chapters] == [
        ("00-first", "passed", 4, 4),
        ("01-fails", "failed", 2, 4),
        ("02-hangs", "failed", 0, 1),
        ("03-dies", "failed", 1, 2),
        ("04-expects", "passed", 2, 2),
    ]
    assert run.status == "failed"


def test_a_notebook_that_names_no_kernel_is_pythons(run: Run) -> None:
    assert "".join(executed(run, "04-expects")[1]["outputs"][0]["text"]) == "after\n"


def test_parameters_run_directory_folder_and_static_views_reach_the_cells(run: Run) -> None:
    output = executed(run, "00-first")[3]["outputs"]
    assert len(output) == 1, "streams are coalesced"
    assert "".join(output[0]["text"]).startswith("world 3 notebooks static\n0\n1\n")
    assert run.chapters[0].parameters == {"who": "world", "count": 3, "run_dir": str(run.directory)}


def test_a_failure_names_the_cell_of_the_source_notebook_and_its_first_line(run: Run) -> None:
    assert failure(run, "01-fails") == "cell 4, `# a comment first`: ValueError: <b>bold</b>"
    names = [cell["source"] for cell in executed(run, "01-fails") if cell["cell_type"] == "markdown"]
    assert names == [["Now it breaks"]], "papermill's own markers are not kept"


def test_time_and_kernel_death_are_failures_even_where_an_error_is_expected(run: Run) -> None:
    assert (
        failure(run, "02-hangs") == "cell 1, `import time`: CellTimeoutError: The cell took longer than 3 s."
    )
    assert failure(run, "03-dies").startswith("cell 2, `os._exit(3)`: DeadKernelError")
    assert executed(run, "02-hangs")[0]["outputs"][-1]["ename"] == "CellTimeoutError"


def test_progress_is_a_line_a_chapter(run: Run, said: list[str]) -> None:
    lines = [line for line in "".join(said).splitlines() if line.startswith("[")]
    assert [line.partition(",")[0] for line in lines] == [
        "[1/5] 00-first ... passed",
        "[2/5] 01-fails ... failed",
        "[3/5] 02-hangs ... failed",
        "[4/5] 03-dies ... failed",
        "[5/5] 04-expects ... passed",
    ]


def test_what_a_chapter_leaves_running_is_ended_and_told(run: Run, said: list[str]) -> None:
    assert run.chapters[0].left_behind == ("sleep",)
    assert "ended what it left running: sleep" in "".join(said)


def test_the_record_holds_what_ran_and_what_the_chapters_reported(run: Run, folder: Path) -> None:
    assert read_record(run.directory) == run
    first = run.chapters[0]
    assert (run.reported.platform, run.reported.trust, run.reported.accelerator) == (
        "emulated",
        Trust.NONE,
        "tcg",
    )
    assert first.results == ("00-first/result.json",)
    assert run.chapters[1].reported.trust is None
    assert run.versions["swtpm"] == "0.7"
    assert {"labkit", "python", "papermill"} <= set(run.versions)
    source = (folder / "notebooks/00-first.ipynb").read_bytes()
    assert first.source_sha256 == hashlib.sha256(source).hexdigest()
    assert first.output is not None
    data = (run.directory / first.output).read_bytes()
    assert first.output_sha256 == hashlib.sha256(data).hexdigest()
    assert first.content_sha256 == content_digest(data, run.directory)
    document = json.loads((run.directory / "run.json").read_text())
    assert document["stamp"] == "EMULATED"
    assert document["chapters"][0]["trust"] == "none"


def test_the_run_is_its_owners_alone(run: Run) -> None:
    for path in (run.directory, run.directory / "executed", run.directory / "logs"):
        assert path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in run.directory.glob("logs/*")} == {0o600}


def test_nothing_but_the_run_is_left_in_its_directory(run: Run) -> None:
    assert sorted(path.name for path in run.directory.iterdir()) == [
        "00-first",
        "executed",
        "logs",
        "run.json",
    ]


def test_the_content_digest_forgets_times_and_the_directory_but_no_result() -> None:
    def digest(where: str, when: str, text: str) -> str:
        cell = {"metadata": {"papermill": {"start_time": when}}, "outputs": [{"text": f"{where}: {text}"}]}
        return content_digest(json.dumps({"cells": [cell]}).encode(), Path(where))

    assert digest("/a", "1", "x") == digest("/b", "2", "x")
    assert digest("/a", "1", "x") != digest("/a", "1", "y")


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"notebooks": ["nowhere"]}, UsageError, "no notebook nowhere"),
        ({"parameters": {"whom": "x"}}, UsageError, "Did you mean who"),
        ({"timeout": 0}, UsageError, "Nothing can take 0 s"),
        ({"output": Path("notebooks")}, UsageError, "not empty"),
        ({"output": Path("notebooks/00-first.ipynb")}, UsageError, "not empty"),
        ({"notebooks": ["other.ipynb"]}, MissingComponent, "kernel no-such-kernel"),
    ],
)
def test_a_request_that_makes_no_sense_fails_before_anything_runs(
    folder: Path, words: dict[str, Any], error: type[LabkitError], message: str
) -> None:
    write_notebook(folder / "other.ipynb", code("1"), kernel="no-such-kernel")
    with pytest.raises(error, match=message):
        plan_run(start=folder, **words)


def test_the_default_directory_is_named_by_the_time_and_never_reused(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write_notebook(tmp_path / "notebooks/00-a.ipynb", code("1"))
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    first = plan_run(start=tmp_path / "notebooks", now=now).directory
    assert first == tmp_path / "runs/20260102T030405Z"
    first.mkdir(parents=True)
    assert plan_run(start=tmp_path, now=now).directory == tmp_path / "runs/20260102T030405Z-2"


WITHIN = 120.0
"""Seconds: how long a busy machine may take."""


def wait_for(condition: Callable[[], bool], seconds: float = WITHIN) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    fields = status_fields(pid)
    return fields is not None and fields[0] != "Z"


def all_gone(pids: Iterable[int]) -> bool:
    return not any(map(alive, pids))


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def write_long(path: Path, pids: Path) -> None:
    """A notebook that says who runs it, and does not end."""
    write_notebook(
        path,
        code("print('kept')"),
        code(
            f"{DAEMON}\nimport os, pathlib, time\n"
            f"part = pathlib.Path({str(pids)!r} + '.part')\n"
            "part.write_text(f'{os.getpid()} {os.getppid()} {daemon.pid}')\n"
            f"part.replace({str(pids)!r})\ntime.sleep(1000)"
        ),
    )


def who_runs(pids: Path) -> dict[str, int]:
    """The processes of a chapter, once its notebook has said who they are."""
    wait_for(pids.exists)
    kernel, papermill, daemon = (int(word) for word in pids.read_text().split())
    assert all(map(alive, (kernel, papermill, daemon)))
    guard = parent(papermill)
    people = {"kernel": kernel, "daemon": daemon, "papermill": papermill}
    return people | {"guard": guard, "its guard": parent(guard)}


MEET = """
import json, os, pathlib, time
mine, other = pathlib.Path("{mine}"), pathlib.Path("{other}")
mine.touch()
deadline = time.monotonic() + 120
while not other.exists():
    assert time.monotonic() < deadline, "alone"
    time.sleep(0.02)
folder = pathlib.Path(run_dir, "tdvm-01")
folder.mkdir()
report = {{"platform": "emulated", "trust": "none", "accelerator": "tcg", "versions": {{"{mine}": "1"}}}}
(folder / "result.json").write_text(json.dumps(report))
"""


def test_notebooks_side_by_side_have_their_own_results_and_stand_in_their_order(tmp_path: Path) -> None:
    for name, mine, other in (("00-a", "a", "b"), ("01-b", "b", "a")):
        source = MEET.format(mine=mine, other=other)
        write_notebook(tmp_path / f"notebooks/{name}.ipynb", parameters("run_dir = None"), code(source))
    write_notebook(tmp_path / "notebooks/02-c.ipynb", parameters("run_dir = None"), code("1 / 0"))
    said: list[str] = []
    run = run_plan(plan_run(output=Path("out"), start=tmp_path, jobs=2), said.append)
    assert [(chapter.name, chapter.status, chapter.results) for chapter in run.chapters] == [
        ("00-a", "passed", ("results/00-a/tdvm-01/result.json",)),
        ("01-b", "passed", ("results/01-b/tdvm-01/result.json",)),
        ("02-c", "failed", ()),
    ]
    assert [chapter.reported.trust for chapter in run.chapters] == [Trust.NONE, Trust.NONE, None]
    assert (run.versions["a"], run.versions["b"]) == ("1", "1")
    assert run == read_record(run.directory)
    assert run.jobs == 2
    assert "2 of 3 chapters passed" in str(run)
    assert ", 2 at a time" in str(run)
    assert sorted(path.name for path in (run.directory / "results").iterdir()) == ["00-a", "01-b"]
    lines = "".join(said).splitlines()
    assert sorted(line for line in lines if line.endswith("...")) == [
        "[1/3] 00-a ...",
        "[2/3] 01-b ...",
        "[3/3] 02-c ...",
    ]
    ends = {line.partition(",")[0] for line in lines if ", " in line and line.startswith("[")}
    assert ends == {"[1/3] 00-a passed", "[2/3] 01-b passed", "[3/3] 02-c failed"}
    alone = run_plan(plan_run(["02-c"], output=Path("alone"), start=tmp_path))
    assert alone.chapters[0].content_sha256 == run.chapters[2].content_sha256


@pytest.mark.parametrize(
    ("names", "cpus", "memory", "jobs"),
    [
        (["00-start-here", "01-verify-the-host", "flow"], 1, 8000, 2),
        (["00-start-here", "01-verify-the-host", "flow"], 8, 64000, 3),
        (["00-start-here", "01-verify-the-host", "flow"], 8, 5000, 2),
        (["00-start-here", "01-verify-the-host", "flow"], 8, 3000, 1),
        (["00-start-here", "01-verify-the-host", "flow"], 8, 0, 1),
        (["00-start-here"], 8, 64000, 1),
        (["00-start-here", "own.ipynb"], 8, 64000, 1),
    ],
)
def test_chapters_of_the_course_run_side_by_side_where_the_machine_has_room(
    names: list[str], cpus: int, memory: int, jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_notebook(tmp_path / "own.ipynb", code("1"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cpus)))
    monkeypatch.setattr("labkit.runs.runner.free_memory", lambda _machines: memory)
    assert plan_run(names, start=tmp_path).jobs == jobs
    assert plan_run(names, start=tmp_path, jobs=1).jobs == 1


def test_ctrl_c_ends_all_that_run_side_by_side(tmp_path: Path) -> None:
    for name in "ab":
        write_long(tmp_path / f"notebooks/{name}.ipynb", tmp_path / f"pids-{name}")
    write_notebook(tmp_path / "notebooks/c.ipynb", code("1"))
    command = [sys.executable, "-m", "labkit", "run", "-j", "2", "--output", "out"]
    command += [f"notebooks/{name}.ipynb" for name in "abc"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as labkit:
        try:
            pids = [pid for name in "ab" for pid in who_runs(tmp_path / f"pids-{name}").values()]
            labkit.send_signal(signal.SIGINT)
            _, errors = labkit.communicate(timeout=WITHIN)
        finally:
            labkit.kill()
    assert labkit.returncode == 130
    assert b"Traceback" not in errors
    wait_for(partial(all_gone, pids))
    assert not list((tmp_path / "out").rglob(".scratch-*"))
    run = read_record(tmp_path / "out")
    assert run.status == "interrupted"
    assert [(chapter.name, chapter.status) for chapter in run.chapters] == [
        ("a", "interrupted"),
        ("b", "interrupted"),
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_a_run_that_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    pids = tmp_path / "pids"
    write_long(tmp_path / "notebooks/00-long.ipynb", pids)
    command = [sys.executable, "-m", "labkit", "run", "--output", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as labkit:
        try:
            people = who_runs(pids)
            labkit.send_signal(number)
            _, errors = labkit.communicate(timeout=WITHIN)
        finally:
            labkit.kill()
    wait_for(lambda: not any(map(alive, people.values())))
    wait_for(lambda: not list((tmp_path / "out").glob(".scratch-*")))
    if number == signal.SIGINT:
        assert labkit.returncode == 130
        assert b"Traceback" not in errors
        run = read_record(tmp_path / "out")
        assert (run.status, run.chapters[0].status) == ("interrupted", "interrupted")
        assert executed(run, "00-long")[0]["outputs"][0]["text"] == ["kept\n"]


def test_whoever_of_a_chapter_is_killed_nothing_outlives_it_and_the_next_one_runs(tmp_path: Path) -> None:
    victims = ("guard", "its guard", "papermill")
    for number, who in enumerate(victims):
        write_long(tmp_path / f"notebooks/{number:02}-long.ipynb", tmp_path / who)
    output = tmp_path / (100 * "o")  # a path that is too long for a socket's
    command = [sys.executable, "-m", "labkit", "run", "--output", str(output)]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as labkit:
        try:
            for who in victims:
                people = who_runs(tmp_path / who)
                os.kill(people[who], signal.SIGKILL)
                wait_for(partial(all_gone, people.values()))
            _, errors = labkit.communicate(timeout=WITHIN)
        finally:
            labkit.kill()
    assert not list(output.glob(".scratch-*"))
    assert not list(temporary.iterdir())
    assert labkit.returncode == 1
    run = read_record(output)
    assert (run.status, [chapter.status for chapter in run.chapters]) == ("failed", ["failed"] * 3)
    for chapter in run.chapters:
        assert "was killed" in failure(run, chapter.name)
    assert errors.count(b"was killed") >= len(victims)
    assert b"Traceback" not in errors


def test_the_record_lists_the_cells_that_ran_on_the_host() -> None:
    def cell(source: object, count: int | None = 1, evalue: str = "") -> dict[str, object]:
        outputs = [{"output_type": "error", "ename": "UsageError", "evalue": evalue}] if evalue else []
        return {"cell_type": "code", "source": source, "execution_count": count, "outputs": outputs}

    cells = [
        cell("ls"),
        cell("%%host\nls"),
        cell(["%%host\n", "ls"]),
        cell("%%host\nls", None),
        cell("%%host\nls", 4, f"{REFUSAL} Read it."),
        {"cell_type": "markdown", "source": "%%host"},
        cell("\n%%host one\nls", 5, "exit status 1"),
    ]
    assert host_cells(json.dumps({"cells": cells}).encode()) == (1, 2, 6)


@pytest.mark.parametrize("trust", ["hardware", "none", "HARDWARE", 1, None])
def test_no_file_that_a_cell_wrote_makes_hardware(trust: object, tmp_path: Path) -> None:
    """Whatever a notebook claims: a run's trust is never more than what labkit itself can vouch for."""
    (tmp_path / "a").mkdir()
    text = json.dumps({"platform": "hardware", "trust": trust, "accelerator": "kvm"})
    (tmp_path / "a/result.json").write_text(text)
    reported, _ = read_results(tmp_path, ["a/result.json"])
    assert (reported.platform, reported.trust) == ("unproven", Trust.NONE)
