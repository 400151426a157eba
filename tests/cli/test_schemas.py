"""Documents of verbs that boot nothing, against their schemas; others are checked where they are tested."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from labkit.attest import LabAuthority
from labkit.cli import main
from tests.attest.conftest import NOW, report
from tests.measure.firmware import image
from tests.measure.logs import ccel
from tests.schemas import validate


def document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[int, Any]:
    monkeypatch.setattr(sys, "argv", ["labkit", *map(str, words), "--json"])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0), json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("verify", ["verify"]),
        ("setup", ["setup", "--check"]),
        ("asterinas-profiles", ["asterinas", "profiles"]),
        ("ps", ["ps"]),
    ],
)
def test_a_verb_without_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], schema: str, words: list[str]
) -> None:
    validate(schema, document(monkeypatch, capsys, *words)[1])


def test_a_firmware_and_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "OVMF.fd").write_bytes(image())
    (tmp_path / "ccel.bin").write_bytes(ccel().encode())
    validate("measure", document(monkeypatch, capsys, "measure", tmp_path / "OVMF.fd")[1])
    validate("eventlog", document(monkeypatch, capsys, "eventlog", tmp_path / "ccel.bin")[1])


@pytest.mark.parametrize("named_root", [True, False], ids=["verified", "refused"])
def test_a_quote(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, named_root: bool
) -> None:
    authority = LabAuthority.create(NOW)
    (tmp_path / "quote.bin").write_bytes(authority.quote(report(), 4))
    (tmp_path / "collateral.json").write_text(authority.collateral(NOW).text)
    (tmp_path / "root.der").write_bytes(authority.root_der)
    words = ["quote", "verify", tmp_path / "quote.bin", "--collateral", tmp_path / "collateral.json"]
    words += ["--now", NOW, *(["--root-ca", tmp_path / "root.der"] if named_root else [])]
    status, found = document(monkeypatch, capsys, *words)
    validate("quote-verify", found)
    assert (status, found["verdict"]) == ((0, "VERIFIED") if named_root else (1, "REFUSED"))


def test_a_document_that_lacks_a_key_is_found() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate("verify", {"verdict": "READY"})
