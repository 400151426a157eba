from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from labkit.attest import LabAuthority
from tests.attest.conftest import NOW, report
from tests.cli.test_measure import run


@pytest.fixture
def files(tmp_path: Path) -> Path:
    authority = LabAuthority.create(NOW)
    (tmp_path / "quote.bin").write_bytes(authority.quote(report()))
    (tmp_path / "quote.hex").write_text(authority.quote(report()).hex(), encoding="ascii")
    (tmp_path / "collateral.json").write_text(authority.collateral(NOW).text, encoding="ascii")
    (tmp_path / "root.der").write_bytes(authority.root_der)
    (tmp_path / "root.pem").write_bytes(authority.root.certificate.public_bytes(Encoding.PEM))
    return tmp_path


@pytest.mark.parametrize("name", ["quote.bin", "quote.hex"])
@pytest.mark.parametrize("root", ["root.der", "root.pem"])
def test_verify_accepts_under_the_named_root(
    name: str, root: str, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "quote",
        "verify",
        files / name,
        "--collateral",
        files / "collateral.json",
        "--now",
        NOW,
        "--json",
    )
    assert run(monkeypatch, *words, "--root-ca", files / root) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["verdict"], document["lab"], document["anchor"]) == ("VERIFIED", True, "custom-root")
    assert run(monkeypatch, *words) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["verdict"], document["reason"]) == ("REFUSED", "LAB_QUOTE")


def test_inspect_shows_the_fields(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "quote", "inspect", files / "quote.bin") == 0
    assert "EMULATED" in capsys.readouterr().out
    assert run(monkeypatch, "quote", "inspect", files / "quote.bin", "--json") == 0
    assert json.loads(capsys.readouterr().out)["version"] == 4


def test_a_tdreport_is_shown_as_what_it_is_in_any_wrapping(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = report()
    one = made.encode()
    wrapped = json.dumps({"tdreport": base64.b64encode(one).decode()}).encode()
    for data in (one, one.hex().encode(), bytes(64) + one, one + bytes(3072), wrapped):
        (files / "report").write_bytes(data)
        assert run(monkeypatch, "quote", "inspect", files / "report") == 0
        assert made.mrtd.hex() in capsys.readouterr().out


def test_malformed_evidence_is_65(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "cut").write_bytes((files / "quote.bin").read_bytes()[:-5])
    assert run(monkeypatch, "quote", "inspect", files / "cut") == 65
    for quote, collateral in (("cut", "collateral.json"), ("quote.bin", "root.pem")):
        words = ("quote", "verify", files / quote, "--collateral", files / collateral, "--now", NOW)
        assert run(monkeypatch, *words, "--root-ca", files / "root.der") == 65
    assert "Traceback" not in capsys.readouterr().err


def test_wrong_usage_is_64(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("quote", "verify", files / "quote.bin", "--collateral", files / "collateral.json")
    assert run(monkeypatch, *words) == 64
    assert run(monkeypatch, *words, "--now", "soon") == 64
    assert run(monkeypatch, *words, "--now", NOW, "--root-ca", files / "quote.bin") == 64
    (files / "wrong.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n", encoding="ascii")
    assert run(monkeypatch, *words, "--now", NOW, "--root-ca", files / "wrong.pem") == 64
