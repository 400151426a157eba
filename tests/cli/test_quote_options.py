"""`labkit quote verify` with --accept and --collateral-dir, and `labkit eventlog --quote`."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote as url_quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from labkit.attest import Collateral, LabAuthority, make_tdreport, parse_quote
from labkit.attest import authority as lab_authority
from labkit.attest.replies import collateral_of_replies
from labkit.errors import MalformedEvidence
from labkit.measure.event_types import EventType
from labkit.measure.replay import report_log
from tests.attest.conftest import NOW, report
from tests.cli.test_measure import run
from tests.measure.logs import ccel, event


@pytest.fixture
def outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A quote whose platform is out of date, by its own collateral."""
    made = lab_authority.tcb_info

    def old(fmspc: bytes, dates: dict[str, str]) -> dict[str, object]:
        info = made(fmspc, dates)
        info["tcbLevels"][0]["tcbStatus"] = "OutOfDate"
        return info

    monkeypatch.setattr(lab_authority, "tcb_info", old)
    return write(tmp_path, LabAuthority.create(NOW))


def write(folder: Path, authority: LabAuthority) -> Path:
    (folder / "quote.bin").write_bytes(authority.quote(report()))
    (folder / "collateral.json").write_text(authority.collateral(NOW).text, encoding="ascii")
    (folder / "root.der").write_bytes(authority.root_der)
    return folder


def verify(folder: Path, *more: object) -> tuple[object, ...]:
    return ("quote", "verify", folder / "quote.bin", "--root-ca", folder / "root.der", "--now", NOW, *more)


def test_verified_but_out_of_date_is_told_by_first_word_and_exit_code(
    outdated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = verify(outdated, "--collateral", outdated / "collateral.json")
    assert run(monkeypatch, *words) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("[EMULATED] NOT ACCEPTED OutOfDate: verified under a lab's root")
    assert run(monkeypatch, *words, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["verdict"], document["accepted"], document["tcb_status"]) == (
        "VERIFIED",
        False,
        "OutOfDate",
    )
    for accepted in ("OutOfDate", "SWHardeningNeeded,OutOfDate"):
        assert run(monkeypatch, *words, "--accept", accepted) == 0
        assert capsys.readouterr().out.startswith("[EMULATED] VERIFIED: ")
    assert run(monkeypatch, *words, "--accept", "SWHardeningNeeded") == 1
    capsys.readouterr()
    assert run(monkeypatch, *words, "--accept", "Revoked") == 64
    assert "not a TCB status" in capsys.readouterr().err


def replies(folder: Path, collateral: Collateral, how: str) -> None:
    """The replies of Intel's service: bodies and headers apart, or together as curl -i prints them."""
    parts = json.loads(collateral.text)
    tcb = f'{{"tcbInfo":{parts["tcb_info"]},"signature":"{parts["tcb_info_signature"]}"}}'
    identity = f'{{"enclaveIdentity":{parts["qe_identity"]},"signature":"{parts["qe_identity_signature"]}"}}'
    chain = parts["tcb_info_issuer_chain"]
    root_crl, pck_crl = bytes.fromhex(parts["root_ca_crl"]), bytes.fromhex(parts["pck_crl"])
    folder.mkdir()
    if how == "with older ones":
        older = re.sub(r'"issueDate":"20', '"issueDate":"19', tcb)
        (folder / "0_old.json").write_text(older, encoding="ascii")
        (folder / "z_old.json").write_text(older, encoding="ascii")
        stranger = LabAuthority.create(NOW).tcb_signer.certificate
        (folder / "0.pem").write_bytes(stranger.public_bytes(Encoding.PEM))
        for name in ("0_identity.json", "z_identity.json"):
            old = identity.replace('"issueDate":"20', '"issueDate":"19')
            (folder / name).write_text(old, encoding="ascii")
    if how == "UTF-16":
        (folder / "tcb_info.json").write_text(tcb, encoding="utf-16")
        (folder / "headers.json").write_text(json.dumps({"TCB-Info-Issuer-Chain": chain}), encoding="utf-16")
        (folder / "identity.json").write_text(f"\ufeff{identity}", encoding="utf-8")
        (folder / "root_ca_crl.der").write_bytes(root_crl)
        (folder / "pck_crl.der").write_bytes(pck_crl)
    elif how == "curl -i":
        head = f"HTTP/1.1 200 OK\r\nTCB-Info-Issuer-Chain: {url_quote(chain)}\r\n\r\n"
        (folder / "a").write_text(head + tcb, encoding="ascii")
        (folder / "b").write_text(f"HTTP/1.1 200 OK\r\n\r\n{identity}", encoding="ascii")
        (folder / "c").write_text(root_crl.hex(), encoding="ascii")
        (folder / "d").write_bytes(x509.load_der_x509_crl(pck_crl).public_bytes(Encoding.PEM))
    else:
        (folder / "tcb_info.json").write_text(tcb, encoding="ascii")
        (folder / "td_qe_identity.json").write_text(identity, encoding="ascii")
        (folder / "qe_identity.json").write_text(identity.replace("TD_QE", "QE"), encoding="ascii")
        (folder / "root_ca_crl.der").write_bytes(root_crl)
        (folder / "pck_crl.der").write_bytes(pck_crl)
        (folder / "chain.pem").write_text(chain, encoding="ascii")


@pytest.mark.parametrize("how", ["curl -i", "apart", "with older ones", "UTF-16"])
def test_the_replies_of_intels_service_are_collateral(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = LabAuthority.create(NOW)
    write(tmp_path, authority)
    replies(tmp_path / "replies", authority.collateral(NOW), how)
    assert run(monkeypatch, *verify(tmp_path, "--collateral-dir", tmp_path / "replies")) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("tcb_info.json", "TCB info"),
        ("td_qe_identity.json", "TD_QE identity"),
        ("root_ca_crl.der", "root CRL"),
        ("pck_crl.der", "PCK CRL"),
        ("chain.pem", "TCB signer"),
    ],
)
def test_what_is_missing_is_named_with_where_intel_has_it(
    missing: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    authority = LabAuthority.create(NOW)
    write(tmp_path, authority)
    replies(tmp_path / "replies", authority.collateral(NOW), "apart")
    (tmp_path / "replies" / missing).unlink()
    assert run(monkeypatch, *verify(tmp_path, "--collateral-dir", tmp_path / "replies")) == 65
    said = capsys.readouterr().err
    assert words in said
    assert "Save it from Intel" in said


def test_exactly_one_kind_of_collateral(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, LabAuthority.create(NOW))
    assert run(monkeypatch, *verify(tmp_path)) == 64
    both = ("--collateral", tmp_path / "collateral.json", "--collateral-dir", tmp_path)
    assert run(monkeypatch, *verify(tmp_path, *both)) == 64
    assert run(monkeypatch, *verify(tmp_path, "--collateral-dir", tmp_path / "none")) == 64
    assert "Name" in capsys.readouterr().err


def test_a_log_is_compared_with_a_quote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = ccel()
    authority = LabAuthority.create(NOW)
    registers = report_log(log).rtmr
    for name, rtmr in (("good", registers), ("bad", (b"\x01" * 48, *registers[1:]))):
        made = make_tdreport(mrtd=bytes(48), rtmr=rtmr, report_data=bytes(64), td_attributes=1 << 28)
        (tmp_path / name).write_bytes(authority.quote(made))
    (tmp_path / "log").write_bytes(log.encode())
    assert run(monkeypatch, "eventlog", tmp_path / "log", "--quote", tmp_path / "good") == 0
    assert capsys.readouterr().out.startswith("[EMULATED] EQUAL")
    assert run(monkeypatch, "eventlog", tmp_path / "log", "--quote", tmp_path / "bad", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "DIFFERS"
    assert [row["status"] for row in document["comparison"]] == ["differs", "equal", "equal", "equal"]
    assert document["quote"]["verified"] is False
    assert (document["format"], document["unmeasured"]) == ("ccel", [])
    mrtd = replace(log, events=(*log.events, event(len(log.events) + 1, 0, EventType.EV_IPL, b"forged")))
    (tmp_path / "more").write_bytes(mrtd.encode())
    assert run(monkeypatch, "eventlog", tmp_path / "more", "--quote", tmp_path / "good") == 0
    said = capsys.readouterr().out
    assert f"nothing in the quote speaks for event {len(log.events) + 1}" in said


@pytest.mark.parametrize("name", ["chain.pem", "pck_crl.der", "root_ca_crl.der"])
def test_a_damaged_reply_is_passed_over_or_refused(name: str, tmp_path: Path) -> None:
    authority = LabAuthority.create(NOW)
    replies(tmp_path / "replies", authority.collateral(NOW), "apart")
    files = {path.name: path.read_bytes() for path in (tmp_path / "replies").iterdir()}
    chain = parse_quote(authority.quote(report())).chain
    data = files[name]
    signer = authority.tcb_signer.certificate.public_bytes(Encoding.DER)
    for at in range(len(signer if name == "chain.pem" else data)):
        if name == "chain.pem":
            changed = signer[:at] + bytes([signer[at] ^ 0x15]) + signer[at + 1 :]
            changed = pem_block(changed)
        else:
            changed = data[:at] + bytes([data[at] ^ 0x15]) + data[at + 1 :]
        with contextlib.suppress(MalformedEvidence):
            assert collateral_of_replies({**files, name: changed}, chain)


def pem_block(der: bytes) -> bytes:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n".encode()
