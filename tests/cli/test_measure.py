from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from labkit.cli import main
from tests.measure.firmware import image
from tests.measure.logs import ccel


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["labkit", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_measure_prints_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "firmware.fd"
    path.write_bytes(image())
    assert run(monkeypatch, "measure", path, "--order", "two-pass", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["firmware"]["path"] == str(path)
    assert list(document["mrtd"]) == ["two-pass"]


def test_measure_accepts_a_split_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, variables = tmp_path / "code.fd", tmp_path / "vars.fd"
    variables.write_bytes(image()[:0x1000])
    code.write_bytes(image()[0x1000:])
    assert run(monkeypatch, "measure", code) == 65
    assert "variable store" in capsys.readouterr().err
    assert run(monkeypatch, "measure", code, "--vars", variables) == 0
    assert "--vars was not used" not in capsys.readouterr().err
    code.write_bytes(image())
    assert run(monkeypatch, "measure", code, "--vars", variables) == 0
    assert "--vars was not used" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["measure", "eventlog"])
def test_bad_input_is_one_sentence_and_a_code(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "noise"
    path.write_bytes(b"noise" * 100)
    assert run(monkeypatch, verb, path) == 65
    assert run(monkeypatch, verb, tmp_path / "absent") == 64
    assert run(monkeypatch, verb, tmp_path) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_eventlog_prints_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ccel"
    path.write_bytes(ccel(b"\xff" * 64).encode())
    assert run(monkeypatch, "eventlog", path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == "ccel"
    assert document["trailing_bytes"] == 64
    assert len(document["rtmr"]) == 4
    assert run(monkeypatch, "eventlog", path) == 0
    assert "RTMR0" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["measure", "eventlog"])
def test_help_ends_with_an_example(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, verb, "--help") == 0
    assert f"Example: labkit {verb}" in capsys.readouterr().out
