"""Hardware is what Intel's root vouches for, by its fingerprint, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labkit.attest import (
    LabAuthority,
    Policy,
    QuoteVerdict,
    appraise,
    chain_of_trust,
    compare_log,
    parse_collateral,
    parse_quote,
    pki,
    verify_quote,
)
from labkit.attest.reasons import Refusal, meaning_of, remedy_of
from labkit.attest.verify import Anchor
from labkit.measure.replay import report_log
from labkit.platforms.evidence import evidence_of
from labkit.settings import Trust
from tests.attest.conftest import NOW, report
from tests.measure.logs import tcg_log

INTEL_SECONDS = 1_751_624_191


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> LabAuthority:
    """A copy of labkit that gives itself an FMSPC of Intel's kind and names like Intel's."""
    monkeypatch.setattr("labkit.attest.authority.LAB_FMSPC", bytes.fromhex("90c06f"))
    name = pki.subject

    def like_intel(common_name: str) -> object:
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        words = common_name.replace("Lab Root", "Intel SGX Root").replace("Lab", "Intel SGX")
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Intel Corporation"),
                x509.NameAttribute(NameOID.COMMON_NAME, words),
            ]
        )

    monkeypatch.setattr(pki, "subject", like_intel)
    assert name("x") != like_intel("x")
    return LabAuthority.create(NOW)


def everywhere(verdict: QuoteVerdict) -> str:
    return f"{verdict} {verdict!r} {verdict._repr_html_()} {json.dumps(verdict.to_dict())}"


def test_a_strangers_pki_is_never_hardware(stranger: LabAuthority) -> None:
    quote = stranger.quote(report())
    assert not parse_quote(quote).lab, "the stranger does not look like Intel"
    verdict = verify_quote(quote, stranger.collateral(NOW), NOW, stranger.root_der)
    assert verdict.verified
    assert (verdict.anchor, verdict.trust) == (Anchor.CUSTOM_ROOT, Trust.NONE)
    document = verdict.to_dict()
    assert (document["anchor"], document["trust"], document["stamp"]) == ("custom-root", "none", "EMULATED")
    assert str(verdict).startswith("[EMULATED] VERIFIED: under the root that was named, which is not Intel's")
    assert "hardware" not in everywhere(verdict).replace("no TDX hardware", "")
    assert "EMULATED" in verdict._repr_html_()


def test_a_policy_for_hardware_rejects_a_strangers_quote(stranger: LabAuthority) -> None:
    quote = stranger.quote(report())
    verdict = verify_quote(quote, stranger.collateral(NOW), NOW, stranger.root_der)
    outcome = appraise(Policy(), verdict)
    assert [finding.register for finding in outcome.findings] == ["trust"]
    assert (outcome.trust, outcome.shown_trust) == (Trust.NONE, Trust.NONE)
    lenient = appraise(Policy(allow_lab=True), verdict)
    assert (lenient.accepted, lenient.trust) == (True, Trust.NONE)
    assert "EMULATED" in str(lenient)
    assert "EMULATED" in lenient._repr_html_()


def test_no_picture_of_a_strangers_quote_speaks_of_a_genuine_processor(stranger: LabAuthority) -> None:
    quote = parse_quote(stranger.quote(report()))
    assert "EMULATED" in str(quote)
    assert quote.to_dict()["root"] == "other"
    html = chain_of_trust(quote)._repr_html_()
    assert "EMULATED" in html
    assert "genuine" not in html


def test_a_strangers_evidence_claims_nothing(stranger: LabAuthority) -> None:
    evidence = evidence_of(stranger.quote(report()), b"", stranger.collateral(NOW))
    assert evidence.trust is Trust.NONE
    assert "quote.EMULATED.bin" in evidence.files()
    verdict = evidence.verify(NOW)
    assert (verdict.reason, verdict.trust) == (Refusal.WRONG_ROOT, Trust.NONE)
    assert verdict.to_dict()["stamp"] == "EMULATED"


def with_certificates(quote: bytes, pem: bytes) -> bytes:
    return replace(parse_quote(quote), certificates=pem).encode()


def everywhere_unverified(quote: Any) -> str:
    log = report_log(tcg_log())
    return f"{quote} {chain_of_trust(quote)} {chain_of_trust(quote)._repr_html_()} {compare_log(log, quote)}"


@pytest.mark.data
def test_a_copy_of_intels_root_behind_other_certificates_makes_no_hardware(
    shared_data: Path, authority: LabAuthority
) -> None:
    real = parse_quote((shared_data / "vectors/phala-b0c06f/quote.bin").read_bytes())
    own = authority.quote(report())
    at = own.rindex(b"-----BEGIN CERTIFICATE")
    root = real.certificates[real.certificates.rindex(b"-----BEGIN CERTIFICATE") :].removesuffix(b"\0")
    forged = parse_quote(with_certificates(own, own[own.index(b"-----BEGIN") : at] + root))
    assert forged.chain.root_sha256 == real.chain.root_sha256
    assert (forged.chain.intel, forged.intel, forged.to_dict()["root"]) == (False, False, "other")
    said = everywhere_unverified(forged)
    assert said.count("[EMULATED]") == 3
    assert "genuine" not in said
    assert evidence_of(forged.encode(), b"", None).trust is Trust.NONE
    verdict = verify_quote(forged.encode(), authority.collateral(NOW), NOW)
    assert (verdict.reason, verdict.to_dict()["stamp"]) == (Refusal.LAB_QUOTE, "EMULATED")


@pytest.mark.data
def test_the_certificates_of_a_real_quote_make_no_hardware_of_another(
    shared_data: Path, authority: LabAuthority
) -> None:
    data = (shared_data / "vectors/phala-b0c06f/quote.bin").read_bytes()
    real = parse_quote(data)
    assert (real.signed, real.intel, "EMULATED" in everywhere_unverified(real)) == (True, True, False)
    changed = bytearray(data)
    changed[376] ^= 1  # RTMR0
    for forged in (
        with_certificates(authority.quote(report()), real.certificates),
        with_certificates(authority.quote(report(), 5), real.certificates),
        bytes(changed),
    ):
        quote = parse_quote(forged)
        assert (quote.chain.intel, quote.signed, quote.intel) == (True, False, False)
        assert "Its signatures do not fit its certificates" in str(quote)
        said = everywhere_unverified(quote)
        assert said.count("[EMULATED]") == 3
        assert "genuine" not in said
        collateral = parse_collateral((shared_data / "vectors/phala-b0c06f/collateral.json").read_bytes())
        verdict = verify_quote(forged, collateral, INTEL_SECONDS)
        assert (verdict.verified, verdict.trust, verdict.to_dict()["stamp"]) == (
            False,
            Trust.NONE,
            "EMULATED",
        )
        assert [finding.register for finding in appraise(Policy(), verdict).findings] == ["quote"]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("part", ["signature", "attestation_key", "qe_report", "qe_report_signature"])
def test_a_quote_is_signed_only_if_each_signature_fits(
    part: str, version: int, authority: LabAuthority
) -> None:
    quote = parse_quote(authority.quote(report(), version))
    assert quote.signed
    value = getattr(quote, part)
    assert not parse_quote(replace(quote, **{part: bytes([value[0] ^ 1]) + value[1:]}).encode()).signed


@pytest.mark.data
def test_intels_root_is_known_by_its_fingerprint_however_it_is_named(shared_data: Path) -> None:
    folder = shared_data / "vectors/phala-b0c06f"
    quote = (folder / "quote.bin").read_bytes()
    collateral = parse_collateral((folder / "collateral.json").read_bytes())
    root = parse_quote(quote).chain.root
    for named in (None, root):
        verdict = verify_quote(quote, collateral, INTEL_SECONDS, named)
        assert (verdict.anchor, verdict.trust) == (Anchor.INTEL, Trust.HARDWARE)
        assert (verdict.to_dict()["trust"], verdict.to_dict()["stamp"]) == ("hardware", "")
        assert "EMULATED" not in everywhere(verdict)
    late = verify_quote(quote, collateral, 1_784_000_000)
    assert (late.verified, late.trust, late.to_dict()["stamp"]) == (False, Trust.NONE, "")


def test_a_lab_quote_that_names_intels_root_is_not_believed(authority: LabAuthority) -> None:
    verdict = verify_quote(authority.quote(report()), authority.collateral(NOW), NOW, authority.root_der)
    assert verdict.trust is Trust.NONE
    assert replace(verdict, reason=Refusal.WRONG_ROOT, anchor=Anchor.INTEL).trust is Trust.NONE


@pytest.mark.parametrize("reason", Refusal)
def test_every_refusal_has_a_meaning_and_a_remedy(reason: Refusal) -> None:
    assert meaning_of(reason)[-1] not in ".!"
    assert remedy_of(reason).endswith(".")


def test_a_refusal_begins_with_a_sentence_of_ours_and_keeps_the_verifiers_words(
    authority: LabAuthority,
) -> None:
    late = verify_quote(
        authority.quote(report()), authority.collateral(NOW), 1_884_000_000, authority.root_der
    )
    headline = str(late).splitlines()[0]
    meaning = meaning_of(Refusal.CRL_EXPIRED)
    assert headline.startswith(
        f"[EMULATED] REFUSED CRL_EXPIRED: {meaning}. {remedy_of(Refusal.CRL_EXPIRED)} ("
    )
    assert headline.endswith(f"{late.message}.)")
    ours = str(verify_quote(authority.quote(report()), authority.collateral(NOW), NOW)).splitlines()[0]
    assert ours.endswith(remedy_of(Refusal.LAB_QUOTE))
