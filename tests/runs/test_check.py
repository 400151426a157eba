"""`labkit check` of directories that somebody sent: every difference is named; nothing hangs."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from labkit.attest import LabAuthority
from labkit.cli import main
from labkit.files import LARGEST
from labkit.process import run
from labkit.runs import check_run
from labkit.runs.checking import RunCheck
from labkit.settings import Trust
from tests.runs.attested import NOW, attested


@pytest.fixture(scope="module")
def authority() -> LabAuthority:
    return LabAuthority.create(NOW)


@pytest.fixture
def sent(authority: LabAuthority, tmp_path: Path) -> Path:
    return attested(tmp_path / "run", authority)


def found(directory: Path) -> dict[str, str]:
    return {item.where: item.what for item in check_run(directory).alterations}


def test_an_untouched_one_is_intact(sent: Path, authority: LabAuthority) -> None:
    outcome = check_run(sent, authority.root_der)
    assert outcome.alterations == ()
    document = outcome.to_dict()
    assert (document["anchor"], document["trust"], document["stamp"]) == ("custom-root", "none", "EMULATED")


def test_a_stranger_that_looks_like_intel_is_not_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.attest.authority.LAB_FMSPC", bytes.fromhex("90c06f"))
    stranger = LabAuthority.create(NOW)
    outcome = check_run(attested(tmp_path / "run", stranger))
    assert outcome.intact
    assert outcome.trust is Trust.NONE
    assert str(outcome).startswith("[EMULATED] INTACT")
    assert "The root is not Intel's" in str(outcome)
    assert "hardware" not in json.dumps(outcome.to_dict())


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        (".DS_Store", True),
        ("__MACOSX/executed/._00-first.ipynb", True),
        ("executed/._00-first.ipynb", True),
        ("executed/Thumbs.db", True),
        ("executed/.ipynb_checkpoints/00-first-checkpoint.ipynb", True),
        ("executed/00-first.ipynb:Zone.Identifier", True),
        ("attestation/desktop.ini", True),
        ("executed/.00-first.ipynb.Ab12Cd", False),
        ("DS_Store", False),
    ],
)
def test_what_other_programs_left_is_told_from_what_somebody_added(
    name: str, theirs: bool, sent: Path
) -> None:
    (sent / name).parent.mkdir(parents=True, exist_ok=True)
    (sent / name).write_bytes(b"x")
    assert found(sent) == {name: found(sent)[name]}
    assert found(sent)[name].startswith("was added")
    assert ("remove it" in found(sent)[name]) is theirs


def test_a_copy_as_text_is_told_from_a_change(sent: Path) -> None:
    for name in ("run.json", "executed/00-first.ipynb", "attestation/collateral.json"):
        data = (sent / name).read_bytes()
        (sent / name).write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
        assert "copied as text" in found(sent)[name]
        (sent / name).write_bytes(data.replace(b"\n", b"\r\n") + b" ")
        assert "copied as text" not in found(sent)[name]
        (sent / name).write_bytes(data)


def test_a_name_in_other_letters_is_named_with_what_is_missing(sent: Path) -> None:
    (sent / "executed/00-first.ipynb").rename(sent / "executed/00-FIRST.ipynb")
    assert "executed/00-FIRST.ipynb" in found(sent)["executed/00-first.ipynb"]
    (sent / "executed/00-FIRST.ipynb").rename(sent / "executed/other.ipynb")
    assert found(sent)["executed/00-first.ipynb"] == "is missing"


def test_a_statement_of_another_format_is_no_change(sent: Path) -> None:
    path = sent / "attestation/statement.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    assert "another format" in found(sent)["attestation/statement.json"]
    assert check_run(sent).attested is None


@pytest.mark.parametrize("verb", ["check", "publish"])
def test_what_to_name_instead_is_said(
    verb: str, sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.zip").write_bytes(b"PK")
    for named, said in (
        (tmp_path, str(sent)),
        (sent / "run.json", str(sent)),
        (tmp_path / "run.zip", "Unpack"),
    ):
        monkeypatch.setattr(sys, "argv", ["labkit", verb, str(named)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 64
        assert said in capsys.readouterr().err


def test_an_added_empty_folder_is_seen(sent: Path) -> None:
    (sent / "executed/empty").mkdir()
    assert found(sent) == {"executed/empty/": "was added"}


def test_an_empty_folder_of_the_run_itself_belongs_to_it(authority: LabAuthority, tmp_path: Path) -> None:
    (tmp_path / "run/logs").mkdir(parents=True)
    folder = attested(tmp_path / "run", authority)
    assert check_run(folder).intact
    (folder / "logs").rmdir()
    assert found(folder) == {"logs/": "is missing"}


def test_a_name_forges_no_line(sent: Path) -> None:
    (sent / "x\n[EMULATED] INTACT: every file is as it was attested.\x1b[2J").write_text("")
    outcome = check_run(sent)
    lines = str(outcome).splitlines()
    assert lines[0].startswith("[EMULATED] ALTERED")
    assert not any("INTACT" in line and line.lstrip().startswith("[EMULATED]") for line in lines)
    assert "\x1b" not in str(outcome)
    assert "\\n" in outcome.alterations[0].where


def run_check(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["labkit", "check", str(folder)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_nested_without_end_is_a_finding_and_no_traceback(
    sent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = os.open(sent, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    try:
        assert run_check(monkeypatch, sent) == 1
    finally:
        # pytest's own clean-up would fall over the depth.
        run(["rm", "-rf", sent / "d"])
    said = capsys.readouterr()
    assert "nested more than" in said.out
    assert "Traceback" not in said.err
    assert max(map(len, said.out.splitlines())) < 400


def test_a_huge_file_is_a_finding_and_not_read(sent: Path) -> None:
    with (sent / "executed/huge").open("wb") as file:
        file.truncate(10 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "more than" in " ".join(found(sent).values())
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < 2 * LARGEST + (64 << 20)


@pytest.mark.parametrize(
    "name", ["executed/x", "attestation/x", "attestation/quote.EMULATED.bin", "run.json"]
)
@pytest.mark.parametrize("kind", ["fifo", "socket", "zero", "link"])
def test_what_is_no_regular_file_is_a_finding_at_once(name: str, kind: str, sent: Path) -> None:
    path = sent / name
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        # A socket's path has 107 bytes at most, and pytest's folders are deep.
        with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):
            server.bind(path.name)
    else:
        path.symlink_to("/dev/zero" if kind == "zero" else "/etc/passwd")
    outcome = check_run(sent)
    assert not outcome.intact
    assert any(path.name in item.where + item.what for item in outcome.alterations)


SHAPES: list[dict[str, Any]] = [
    {"files": {"run.json": ["00"]}},
    {"files": {"run.json": 5}},
    {"files": []},
    {"files": None},
    {"boot": {}},
    {"boot": {"mrtd": 5, "rtmr": [None] * 4, "evidence": {}}},
    {"boot": {"mrtd": "00" * 48, "rtmr": [None] * 3, "evidence": {}}},
    {"boot": {"mrtd": "00" * 48, "rtmr": [None] * 4, "evidence": {"root.der": ["00"]}}},
    {"boot": {"mrtd": "00" * 48, "rtmr": [None] * 4, "evidence": []}},
    {"chapters": [5]},
    {"chapters": [{"notebook": [], "canonical_sha256": None}]},
    {"chapters": [{"notebook": "x", "canonical_sha256": {}}]},
    {"chapters": {}},
    {"attested": "soon"},
    {"attested": []},
    {"format": 2},
]


@pytest.mark.parametrize("change", SHAPES)
def test_a_statement_of_another_shape_is_altered_even_if_it_is_signed(
    change: dict[str, Any], authority: LabAuthority, tmp_path: Path
) -> None:
    outcome: RunCheck = check_run(attested(tmp_path / "run", authority, change))
    assert [item.where for item in outcome.alterations] == ["attestation/statement.json"]
    assert not outcome.intact
