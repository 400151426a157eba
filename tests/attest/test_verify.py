from __future__ import annotations

import base64
import csv
import hashlib
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote as quote_text

import pytest

from labkit.attest import Collateral, LabAuthority, QuoteVerdict, parse_collateral, parse_quote, verify_quote
from labkit.attest.reasons import Refusal
from labkit.attest.verify import Anchor, verifier_pool
from labkit.errors import MalformedEvidence, UsageError
from labkit.settings import Trust
from tests.attest.conftest import DEBUG, NOW, SEPT_VE_DISABLE, report

DAY = 86_400
BYTES = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")


def test_a_lab_quote_verifies_under_its_own_root(
    quote: bytes, authority: LabAuthority, collateral: Collateral
) -> None:
    verdict = verify_quote(quote, collateral, NOW, authority.root_der)
    assert verdict.verified
    assert verdict.reason is None
    assert (verdict.tcb_status, verdict.advisory_ids) == ("UpToDate", ())
    assert (verdict.anchor, verdict.lab, verdict.trust) == (Anchor.CUSTOM_ROOT, True, Trust.NONE)
    assert verdict.rtmr == report().rtmr
    assert "[EMULATED] VERIFIED" in str(verdict)
    assert "EMULATED" in verdict._repr_html_()


def test_a_lab_quote_never_verifies_under_intels_root(quote: bytes, collateral: Collateral) -> None:
    verdict = verify_quote(quote, collateral, NOW)
    assert verdict.reason is Refusal.LAB_QUOTE
    assert not verdict.verified
    assert (verdict.anchor, verdict.trust) == (Anchor.INTEL, Trust.NONE)


def test_another_labs_root_does_not_do(quote: bytes, authority: LabAuthority, collateral: Collateral) -> None:
    stranger = LabAuthority.create(NOW)
    assert verify_quote(quote, collateral, NOW, stranger.root_der).reason is Refusal.WRONG_ROOT
    assert verify_quote(quote, stranger.collateral(NOW), NOW, stranger.root_der).reason is Refusal.WRONG_ROOT
    assert verify_quote(quote, stranger.collateral(NOW), NOW, authority.root_der).reason is Refusal.WRONG_ROOT


@pytest.mark.parametrize(
    ("shift", "reason"),
    [
        (-DAY // 2, Refusal.COLLATERAL_NOT_YET_VALID),
        (31 * DAY, Refusal.CRL_EXPIRED),
        (-3 * DAY, Refusal.COLLATERAL_NOT_YET_VALID),
    ],
)
def test_time_is_an_argument_and_counts(
    shift: int, reason: Refusal, quote: bytes, authority: LabAuthority, collateral: Collateral
) -> None:
    verdict = verify_quote(quote, collateral, NOW + shift, authority.root_der)
    assert verdict.reason is reason
    assert verdict.remedy


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [(SEPT_VE_DISABLE | DEBUG, Refusal.DEBUG_TD), (0, Refusal.SEPT_VE_DISABLE_OFF)],
)
def test_a_td_that_cannot_be_trusted_is_refused(
    attributes: int, reason: Refusal, authority: LabAuthority, collateral: Collateral
) -> None:
    verdict = verify_quote(authority.quote(report(attributes)), collateral, NOW, authority.root_der)
    assert verdict.reason is reason
    assert verdict.debug is bool(attributes & DEBUG)


def test_signed_parts_cannot_be_changed(authority: LabAuthority, collateral: Collateral) -> None:
    good = authority.quote(report())
    for offset, reason in (
        (30, Refusal.QUOTE_SIGNATURE),
        (184, Refusal.QUOTE_SIGNATURE),
        (568, Refusal.QUOTE_SIGNATURE),
        (640, Refusal.QUOTE_SIGNATURE),
        (701, Refusal.QE_KEY_BINDING),
        (1225, Refusal.QE_KEY_BINDING),
        (771, Refusal.QE_SIGNATURE),
        (1160, Refusal.QE_SIGNATURE),
    ):
        data = bytearray(good)
        data[offset] ^= 4
        assert verify_quote(bytes(data), collateral, NOW, authority.root_der).reason is reason, offset


def test_the_embedded_root_must_be_the_one_asked_for(authority: LabAuthority, collateral: Collateral) -> None:
    chain_of_another = LabAuthority.create(NOW)
    good = authority.quote(report())
    begin = good.rindex(b"-----BEGIN")
    other = chain_of_another.quote(report())
    replaced = good[:begin] + other[other.rindex(b"-----BEGIN") :]
    difference = len(replaced) - len(good)
    data = bytearray(replaced)
    for offset in (632, 766, 1254):
        length = int.from_bytes(data[offset : offset + 4], "little") + difference
        data[offset : offset + 4] = length.to_bytes(4, "little")
    assert verify_quote(bytes(data), collateral, NOW, authority.root_der).reason is Refusal.WRONG_ROOT


def test_changed_collateral_is_refused(quote: bytes, authority: LabAuthority, collateral: Collateral) -> None:
    document = json.loads(collateral.text)
    for key, old, new in (
        ("tcb_info", "UpToDate", "OutOfDate"),
        ("qe_identity", '"isvprodid":2', '"isvprodid":3'),
    ):
        changed = parse_collateral(json.dumps(document | {key: document[key].replace(old, new)}))
        verdict = verify_quote(quote, changed, NOW, authority.root_der)
        assert verdict.reason in (Refusal.COLLATERAL_INVALID, Refusal.QE_IDENTITY)


def test_the_verdict_has_the_keys_of_the_contract(
    quote: bytes, authority: LabAuthority, collateral: Collateral
) -> None:
    document = verify_quote(quote, collateral, NOW, authority.root_der).to_dict()
    assert document.keys() >= {
        *("verdict", "reason", "tcb_status", "advisory_ids", "version", "tee", "mrtd", "rtmr"),
        *("report_data", "debug", "trust", "lab"),
    }
    assert (document["verdict"], document["anchor"], document["tee"]) == ("VERIFIED", "custom-root", "tdx")
    assert (document["trust"], document["stamp"], document["accepted"]) == ("none", "EMULATED", True)
    assert json.loads(json.dumps(document)) == document


def test_collateral_is_read_out_of_a_services_answer(quote: bytes, collateral: Collateral) -> None:
    nine = json.loads(collateral.text)
    for answer in ({"quote": quote.hex(), "quote_collateral": nine}, {"collateral": nine}):
        assert parse_collateral(json.dumps(answer)).native.to_json() == collateral.native.to_json()


@pytest.mark.parametrize(
    "spelled",
    [
        lambda nine: {re.sub("_(.)", lambda found: found[1].upper(), name): nine[name] for name in nine},
        lambda nine: nine | {name: "0x" + nine[name] for name in BYTES},
        lambda nine: nine | {name: base64.b64encode(bytes.fromhex(nine[name])).decode() for name in BYTES},
        lambda nine: nine | {name: list(bytes.fromhex(nine[name])) for name in BYTES},
        lambda nine: nine | {name: quote_text(nine[name]) for name in nine if name.endswith("_chain")},
    ],
    ids=["camel case", "0x", "base64", "lists", "chains of headers"],
)
def test_collateral_is_read_in_other_programs_spellings(
    spelled: Callable[[dict[str, str]], dict[str, Any]], collateral: Collateral
) -> None:
    read = parse_collateral(json.dumps(spelled(json.loads(collateral.text))))
    assert read.native.to_json() == collateral.native.to_json()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda nine, quote: quote, "TDX quote, not collateral"),
        (lambda nine, quote: b"", "empty file, not collateral"),
        (lambda nine, quote: b"<html>502 Bad Gateway</html>", "page of a web server"),
        (lambda nine, quote: bytes.fromhex(nine["root_ca_crl"]), "one certificate or CRL"),
        (lambda nine, quote: nine["tcb_info_issuer_chain"].encode(), "one certificate or CRL"),
        (lambda nine, quote: nine["tcb_info"].encode(), "one reply"),
        (lambda nine, quote: b'{"tcbInfo": %s, "signature": "00"}' % nine["tcb_info"].encode(), "one reply"),
        (lambda nine, quote: b'{"enclaveIdentity": %s}' % nine["qe_identity"].encode(), "one reply"),
        (lambda nine, quote: json.dumps(nine | {"pck_crl": None}).encode(), "as text: pck_crl\\."),
        (lambda nine, quote: json.dumps({"tcbInfo": "", "pckCrl": ""}).encode(), "as text: pck_crl_issuer"),
        (lambda nine, quote: b'{"error": "Not Found"}', "as text: pck_crl_issuer"),
    ],
)
def test_what_is_no_collateral_is_called_what_it_is(
    wrong: Callable[[dict[str, str], bytes], bytes], words: str, quote: bytes, collateral: Collateral
) -> None:
    with pytest.raises(MalformedEvidence, match=words) as refusal:
        parse_collateral(wrong(json.loads(collateral.text), quote))
    assert refusal.value.remedy


def test_bad_arguments_are_refused(quote: bytes, collateral: Collateral) -> None:
    with pytest.raises(UsageError, match="not a time"):
        verify_quote(quote, collateral, -1)
    with pytest.raises(UsageError, match="not a DER certificate"):
        verify_quote(quote, collateral, NOW, b"not a certificate")
    for text in ("", "{}", "[]", "null", '{"tcb_info": 1}'):
        with pytest.raises(MalformedEvidence, match="collateral"):
            parse_collateral(text)
    with pytest.raises(MalformedEvidence, match="not text"):
        parse_collateral(b"\xff\xfe\xff")
    with pytest.raises(MalformedEvidence, match="too many"):
        parse_collateral(b" " * (5 << 20))


def test_a_changed_root_is_refused_before_the_library_sees_it(
    quote: bytes, authority: LabAuthority, collateral: Collateral
) -> None:
    root = authority.root_der
    rng = random.Random(5)
    for at in range(len(root)):
        changed = bytearray(root)
        changed[at] ^= rng.randrange(1, 256)
        try:
            outcome = str(verify_quote(quote, collateral, NOW, bytes(changed)).reason)
        except UsageError as error:
            outcome = error.message
        # A few bytes, such as those of an encoding, are under no signature: then it is another root.
        assert re.match(
            "WRONG_ROOT|The root is not a DER certificate|The root is not signed by its own", outcome
        )


@pytest.mark.parametrize("which", ["intermediate", "leaf"])
def test_no_certificate_but_the_root_can_be_named(
    which: str, quote: bytes, authority: LabAuthority, collateral: Collateral
) -> None:
    certificate = getattr(parse_quote(quote).chain, which)
    with pytest.raises(UsageError, match="not signed by its own key"):
        verify_quote(quote, collateral, NOW, certificate)


def test_collateral_says_for_whom_and_when(authority: LabAuthority, collateral: Collateral) -> None:
    assert collateral.fmspc == authority.fmspc.hex().upper()
    begin, end = collateral.window
    assert (begin.timestamp(), end.timestamp()) == (NOW, NOW + 30 * DAY)
    assert collateral.fmspc in repr(collateral)


@pytest.mark.parametrize("date", ["2026-11-22T12:00:00", "soon", "", "2026-11-22T25:00:00Z"])
def test_collateral_without_proper_dates_has_no_window(date: str, collateral: Collateral) -> None:
    document = json.loads(collateral.text)
    identity = json.loads(document["qe_identity"]) | {"issueDate": date}
    changed = parse_collateral(json.dumps(document | {"qe_identity": json.dumps(identity)}))
    with pytest.raises(MalformedEvidence, match="no valid dates"):
        _ = changed.window


def test_a_pool_verifies_many_in_order(authority: LabAuthority, collateral: Collateral) -> None:
    good = authority.quote(report())
    changed = good[:184] + b"\xff" + good[185:]
    with verifier_pool(collateral, NOW, authority.root_der, workers=2) as pool:
        outcomes = list(pool.verify([good, changed, good[:100], good]))
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [QuoteVerdict, QuoteVerdict, MalformedEvidence, QuoteVerdict]
    verdicts = [outcome.reason for outcome in outcomes if isinstance(outcome, QuoteVerdict)]
    assert verdicts == [None, Refusal.QUOTE_SIGNATURE, None]


SCRIPT = """
import sys
from pathlib import Path
from labkit.attest import parse_collateral
from labkit.attest.verify import verifier_pool
print("run")
folder = Path(sys.argv[1])
collateral = parse_collateral((folder / "collateral.json").read_text())
with verifier_pool(collateral, int(sys.argv[2]), (folder / "root.der").read_bytes(), workers=1) as pool:
    print([outcome.reason for outcome in pool.verify([(folder / "quote.bin").read_bytes()])])
"""


def test_a_script_that_verifies_many_is_not_run_by_its_processes(
    authority: LabAuthority, collateral: Collateral, tmp_path: Path
) -> None:
    (tmp_path / "collateral.json").write_text(collateral.text)
    (tmp_path / "root.der").write_bytes(authority.root_der)
    (tmp_path / "quote.bin").write_bytes(authority.quote(report()))
    (tmp_path / "many.py").write_text(SCRIPT)
    words: list[str | Path] = [sys.executable, tmp_path / "many.py", tmp_path, str(NOW)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("run\n[None]\n", 0), done.stderr


# Texts of the recorded verdicts and the codes they become here.
CODES = {
    "OK UpToDate": None,
    "FAIL TCBInfo expired": Refusal.COLLATERAL_EXPIRED,
    "issue date is in the future": Refusal.COLLATERAL_NOT_YET_VALID,
    "CrlExpired": Refusal.CRL_EXPIRED,
    "FAIL Fmspc mismatch": Refusal.FMSPC_MISMATCH,
    "FAIL Debug mode is enabled": Refusal.DEBUG_TD,
    "FAIL No matching TCB level found": Refusal.NO_TCB_LEVEL,
    "CertNotValidYet": Refusal.CERTIFICATE_NOT_YET_VALID,
}


def _rows(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader((Path(__file__).parents[1] / table).read_text(encoding="utf-8").splitlines()))


def _vector(folder: Path, name: str) -> bytes:
    data = (folder / name).read_bytes()
    return bytes.fromhex(data.decode("ascii").strip()) if name.endswith(".hex") else data


@pytest.mark.data
def test_every_recorded_verdict_is_reached(shared_data: Path) -> None:
    folder = shared_data / "vectors"
    rows = _rows("verdicts.csv")
    assert len(rows) == 22
    for row in rows:
        root = _vector(folder, row["custom_root"]) if row["custom_root"] else None
        collateral = parse_collateral(_vector(folder, row["collateral"]))
        verdict = verify_quote(_vector(folder, row["quote"]), collateral, int(row["now"]), root)
        if row["case"] == "lab quote under Intel root":
            assert verdict.reason is Refusal.LAB_QUOTE
        elif row["case"] == "Intel quote under lab root":
            assert verdict.reason is Refusal.WRONG_ROOT
        else:
            expected = [code for text, code in CODES.items() if text in row["dcap_qvl_0_7_0"]]
            assert [verdict.reason] == expected, row["case"]


@pytest.mark.data
def test_every_recorded_mutation_is_judged_as_the_strict_column_says(shared_data: Path) -> None:
    folder = shared_data / "vectors"
    good = _vector(folder, "phala-b0c06f/quote.bin")
    collateral = parse_collateral(_vector(folder, "phala-b0c06f/collateral.json"))
    rows = _rows("quote-mutations.csv")
    assert len(rows) == 41
    for row in rows:
        data = _mutated(good, row)
        try:
            accepted = verify_quote(data, collateral, 1_751_624_191).verified
        except MalformedEvidence:
            accepted = False
        assert accepted is row["strict_parser"].startswith("accept"), row


def _mutated(good: bytes, row: dict[str, str]) -> bytes:
    data, offset = bytearray(good), int(row["offset"])
    if row["op"] == "xor":
        data[offset] ^= int(row["value"], 16)
    elif row["op"] == "set":
        data[offset] = int(row["value"], 16)
    elif row["op"] == "truncate":
        del data[offset:]
    else:
        data += bytes(4096) if row["value"] == "00*4096" else bytes.fromhex(row["value"])
    return bytes(data)


@pytest.mark.data
def test_a_quote_of_real_hardware_verifies_under_intels_root(shared_data: Path) -> None:
    folder = shared_data / "vectors"
    collateral = parse_collateral(_vector(folder, "phala-b0c06f/collateral.json"))
    verdict = verify_quote(_vector(folder, "phala-b0c06f/quote.bin"), collateral, 1_751_624_191)
    assert verdict.verified
    assert (verdict.anchor, verdict.lab, verdict.padding) == (Anchor.INTEL, False, 70)
    assert verdict.trust is Trust.HARDWARE
    assert "EMULATED" not in str(verdict)
    assert "70 zero bytes" in str(verdict)
    assert hashlib.sha256(verdict.mrtd).digest() != bytes(32)
