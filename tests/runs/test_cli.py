"""The verbs `run` and `publish` as a person types them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit import cli
from tests.runs.notebooks import code, markdown, parameters, write_notebook

Labkit = Callable[..., tuple[int, str, str]]


@pytest.fixture
def labkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Labkit:
    """The command as a function of its words: exit status, standard output, standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["labkit", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    monkeypatch.chdir(tmp_path)
    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_notebook(
        tmp_path / "notebooks/00-good.ipynb", markdown("# Good"), parameters("n = 1"), code("print(n + 1)")
    )
    write_notebook(tmp_path / "notebooks/01-bad.ipynb", code("raise RuntimeError('no')"))
    return tmp_path


def test_run_prints_json_alone_and_exits_1_for_a_failed_chapter(folder: Path, labkit: Labkit) -> None:
    status, out, err = labkit("run", "-p", "n", "41", "--json")
    assert status == 1
    document = json.loads(out)
    assert document["status"] == "failed"
    assert [chapter["status"] for chapter in document["chapters"]] == ["passed", "failed"]
    assert document["chapters"][0]["parameters"] == {"n": 41}
    assert "1 of 2 chapters failed: 01-bad." in err
    assert "Traceback" not in err
    index = Path(document["run_dir"], document["site"])
    assert index.is_file()
    index.unlink()
    status, out, _ = labkit("publish", document["run_dir"])
    assert (status, out.splitlines()[-1]) == (0, str(index))
    assert index.is_file()


def test_refresh_executes_in_place_and_stops_at_a_failed_chapter(folder: Path, labkit: Labkit) -> None:
    status, out, err = labkit("refresh")
    assert (status, out) == (1, "00-good  changed\n")
    assert "01-bad.ipynb failed: cell 1, `raise RuntimeError('no')`: RuntimeError: no." in err
    cells = json.loads((folder / "notebooks/00-good.ipynb").read_text())["cells"]
    assert cells[2]["outputs"][0]["text"] == ["2\n"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("run", "nowhere"), 64, "There is no notebook nowhere."),
        (("run", "-p", "m", "1"), 64, "None of the notebooks has a parameter m."),
        (("run", "-p", "n", "much"), 64, "The parameter n is a whole number, not 'much'."),
        (("run", "--output", "notebooks"), 64, "is there and not empty."),
        (("run", "--timeout", "-1"), 64, "Nothing can take -1 s. Give more than 0 seconds"),
        (("run", "--timeout", "nan"), 64, "Nothing can take nan s. Give more than 0 seconds"),
        (("run", "--timeout", "1e308"), 64, "Nothing can take 1e+308 s. Give more than 0 seconds"),
        (("refresh", "--timeout", "inf"), 64, "Nothing can take inf s. Give more than 0 seconds"),
        (("run", "--timeout", "x"), 64, "'x' is not a valid number of seconds."),
        (("run", "-j", "1.5"), 64, "'1.5' is not a valid whole number."),
        (("run", "-j", "0"), 64, "0 is not in the range 1<=x<=256."),
        (("run", "--junit", "nowhere/x.xml"), 73, "There is no folder nowhere."),
        (("run", "broken.ipynb"), 65, "is not a notebook of format 4."),
        (("refresh", "nowhere"), 64, "There is no notebook nowhere."),
        (("refresh", "--sanitize", "nowhere"), 64, "'nowhere' does not exist"),
        (("publish", "notebooks"), 64, "There is no run in notebooks."),
    ],
)
def test_bad_input_is_a_sentence_and_an_exit_code(
    folder: Path, labkit: Labkit, words: tuple[str, ...], status: int, message: str
) -> None:
    (folder / "broken.ipynb").write_text("{}")
    ended, out, err = labkit(*words)
    assert ended == status
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("verb", ["run", "publish", "refresh"])
def test_help_ends_with_an_example(labkit: Labkit, verb: str) -> None:
    _, out, _ = labkit(verb, "--help")
    lines = out.strip().splitlines()
    assert lines[-1].strip().startswith(f"Example: labkit {verb} ")
