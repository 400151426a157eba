"""A teacher's own exercise in the guest's shell, through nbgrader: bash's stub, the guest's marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from labkit.course.course import init_course
from labkit.kernel.installing import install
from labkit.settings import Settings

from .nbgrader_verbs import Nbgrader, scores

pytestmark = pytest.mark.vm

PCR = "/sys/class/tpm/tpm0/pcr-sha384/4"
ANSWER = f"pcr=$(cat {PCR})"
EVIDENCE = "%attest"


def cell(ident: str, source: str, points: int = 0) -> Any:
    about = {"grade_id": ident, "grade": points > 0, "solution": points == 0, "locked": points > 0}
    about |= {"schema_version": 3, "task": False} | ({"points": points} if points else {})
    return new_code_cell(source, metadata={"nbgrader": about})


def between(kind: str, text: str) -> str:
    return f"### BEGIN {kind}\n{text}\n### END {kind}"


def write(path: Path, *cells: Any) -> None:
    path.parent.mkdir(parents=True)
    about = {"name": "tdvm", "display_name": "TDVM shell", "language": "bash"}
    nbformat.write(new_notebook(cells=list(cells), metadata={"kernelspec": about}), path)


def test_a_question_is_answered_in_the_guest_with_evidence(
    vm_settings: Settings, nbgrader: Nbgrader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(prefix=str(tmp_path / "prefix"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "prefix/share/jupyter"))
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(vm_settings.cache_dir))
    monkeypatch.setenv("LABKIT_STATE_DIR", str(vm_settings.state_dir))
    course = tmp_path / "course"
    (tmp_path / "roster.csv").write_text("id\nada\nidle\n")
    init_course(tmp_path / "roster.csv", course)
    hidden = between("HIDDEN TESTS", f'test "$pcr" = "$(cat {PCR})"')
    question = cell("check-pcr", f'test -n "$pcr"\n{hidden}', 2)
    write(
        course / "source/shell/shell.ipynb",
        cell("pcr", between("SOLUTION", ANSWER)),
        cell("evidence", between("SOLUTION", EVIDENCE)),
        question,
    )
    nbgrader(course, "generate_assignment", "shell", "--create")
    released = nbformat.read(course / "release/shell/shell.ipynb", 4)
    assert [entry.source for entry in released.cells] == ["# YOUR CODE HERE"] * 2 + ['test -n "$pcr"']

    for student, answers in {"ada": (ANSWER, EVIDENCE), "idle": ()}.items():
        for entry, answer in zip(released.cells, answers, strict=False):
            entry.source = answer
        write(course / f"submitted/{student}/shell/shell.ipynb", *released.cells)
        released = nbformat.read(course / "release/shell/shell.ipynb", 4)
    nbgrader(course, "autograde", "shell", "--create")
    assert scores(course, "shell") == {"ada": 2.0, "idle": 0.0}
    graded = nbformat.read(course / "autograded/ada/shell/shell.ipynb", 4)
    assert "EMULATED" in str(graded.cells[1].outputs)
    assert "VERIFIED" in str(graded.cells[1].outputs).upper()
