"""A learner's folder: what is copied, what is never touched, how it is put back, how far its owner is."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from labkit import process
from labkit.errors import UsageError
from labkit.learn import saving
from labkit.learn.copies import FIRST, copy, course_folder, fresh, reset, sanitize_file
from labkit.learn.journal import append
from labkit.learn.open import lab_words
from labkit.learn.progressing import progress, questions
from labkit.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_every_notebook_of_the_repository_is_shipped() -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    listed = process.run(["git", "ls-files", "notebooks"], cwd=ROOT)
    if not listed.ok or not listed.text:
        pytest.skip("this is not a git checkout")
    expected = {line.removeprefix("notebooks/") for line in listed.text.splitlines()}
    shipped = {
        str(path.relative_to(course_folder())) for path in course_folder().rglob("*") if path.is_file()
    }
    assert expected - shipped == set(), (
        "link each from labkit/learn/notebooks to notebooks, else no wheel has it"
    )
    for name in expected & shipped:
        assert (course_folder() / name).read_bytes() == (ROOT / "notebooks" / name).read_bytes()


def test_copies_have_no_outputs_and_hold_all_that_chapters_open(tmp_path: Path) -> None:
    copied = copy(tmp_path / "w")
    assert FIRST in copied.written
    assert "exercises/host-a.json" in copied.written
    for path in (tmp_path / "w").rglob("*.ipynb"):
        cells = [cell for cell in json.loads(path.read_bytes())["cells"] if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


def test_the_copies_of_exercises_do_not_hold_their_solutions(tmp_path: Path) -> None:
    copy(tmp_path / "w")
    exercises = sorted((tmp_path / "w/exercises").glob("*.ipynb"))
    assert len(exercises) > 10
    for path in exercises:
        text = path.read_text()
        assert "# YOUR CODE HERE" in text, path.name
        assert "SOLUTION" not in text, path.name
        assert "hidden_check" not in text, path.name


def test_a_second_copy_touches_nothing(tmp_path: Path) -> None:
    copy(tmp_path / "w")
    mine = tmp_path / "w" / FIRST
    mine.write_text("mine")
    (tmp_path / "w" / "flow.ipynb").unlink()
    again = copy(tmp_path / "w")
    assert again.written == ("flow.ipynb",)
    assert mine.read_text() == "mine"


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        copy(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="not a folder"):
        copy(tmp_path / "thesis.tex")


def test_reset_keeps_aside_what_was_changed(tmp_path: Path) -> None:
    copy(tmp_path / "w")
    mine = tmp_path / "w" / FIRST
    mine.write_text("mine")
    done = reset(tmp_path / "w", FIRST.removesuffix(".ipynb"))
    assert done.written == (FIRST,)
    assert mine.read_bytes() == fresh(course_folder() / FIRST)
    assert [path.read_text() for path in (tmp_path / "w/.labkit/kept").rglob(FIRST)] == ["mine"]


def test_reset_of_everything_writes_only_what_differs(tmp_path: Path) -> None:
    copy(tmp_path / "w")
    (tmp_path / "w" / "flow.ipynb").write_text("{}")
    assert reset(tmp_path / "w").written == ("flow.ipynb",)


def test_reset_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a copy"):
        reset(tmp_path)
    copy(tmp_path / "w")
    with pytest.raises(UsageError, match="no notebook 99"):
        reset(tmp_path / "w", "99")
    with pytest.raises(UsageError):
        reset(tmp_path / "w", "../../etc/passwd")


def test_jupyterlab_opens_the_first_chapter_without_news_and_with_one_completer(tmp_path: Path) -> None:
    copy(tmp_path / "w")
    words, environment = lab_words(tmp_path / "w", ["--no-browser"], {"JUPYTER_CONFIG_PATH": "/other"})
    assert f"--LabApp.default_url=/lab/tree/{FIRST}" in words
    assert words[-1] == "--no-browser"
    own, other = environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert other == "/other"
    settings = json.loads((Path(own) / "labconfig/default_setting_overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    server = json.loads((Path(own) / "jupyter_server_config.json").read_text())
    assert server == {"KernelManager": {"transport_encryption": "auto"}}
    (extensions,) = (Path(own) / "jupyter_server_config.d").iterdir()
    assert json.loads(extensions.read_text())["ServerApp"]["jpserver_extensions"][saving.__name__]


def test_the_sanitize_file_is_the_one_that_the_tests_use() -> None:
    assert sanitize_file().read_bytes() == (ROOT / "tests/notebooks/sanitize.cfg").read_bytes()


def test_progress_counts_what_every_chapter_asks(tmp_path: Path) -> None:
    copy(tmp_path / "w")
    settings = Settings.load({}, state_dir=tmp_path / "state")
    append(tmp_path / "w/.labkit/predictions.jsonl", {"id": "00.kernel", "answer": "x", "raw": "x"})
    append(tmp_path / "w/.labkit/predictions.jsonl", {"id": "00.kernel", "outcome": "x", "judged": "right"})
    found = progress(tmp_path / "w", course_folder(), settings)
    first = next(chapter for chapter in found.chapters if chapter.name == FIRST.removesuffix(".ipynb"))
    assert (first.made, first.right) == (1, 1)
    assert len(first.entries) == len(questions(course_folder() / FIRST)) > 1
    assert found.to_dict()["made"] == 1
    assert "1 of" in str(found)
    with pytest.raises(UsageError):
        progress(tmp_path / "nowhere", course_folder(), settings)


@pytest.mark.parametrize("path", sorted(course_folder().glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_prediction_of_a_chapter_is_asked_once_and_told(path: Path) -> None:
    cells = json.loads(path.read_bytes())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "**Predict" not in text, "a prediction that nothing records"
    for id, _ in questions(path):  # noqa: A001
        told = code.count(f'lab.outcome("{id}"') + code.count(f'lab.outcome(\n    "{id}"')
        told += code.count(f"%outcome {id} ")
        loop = f'lab.outcome(f"{id.partition(".")[0]}.{{' in code
        assert told == 1 or loop, f"{id} is told {told} times"


def test_a_folder_in_which_only_a_file_manager_was_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert copy(tmp_path).folder == tmp_path
    assert (tmp_path / ".DS_Store").exists()
