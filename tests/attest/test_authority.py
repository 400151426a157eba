from __future__ import annotations

import struct
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from cryptography import x509

from labkit.attest import LabAuthority, parse_quote, verify_quote
from labkit.errors import DataError, MalformedEvidence, UsageError
from tests.attest.conftest import NOW, report


def test_it_is_made_once_and_found_again(tmp_path: Path) -> None:
    first = LabAuthority.open(tmp_path / "state", NOW)
    again = LabAuthority.open(tmp_path / "state", NOW + 99)
    assert first.root_der == again.root_der
    assert first.fmspc == again.fmspc
    verdict = verify_quote(first.quote(report()), again.collateral(NOW), NOW, again.root_der)
    assert verdict.verified


def test_its_private_keys_are_the_users_alone(tmp_path: Path) -> None:
    LabAuthority.open(tmp_path, NOW)
    keys = sorted((tmp_path / "authority").glob("*.key"))
    assert len(keys) == 4
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert (tmp_path / "authority").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in tmp_path.iterdir()] == ["authority"]
    keys[0].chmod(0o644)
    with pytest.raises(DataError, match="readable by others"):
        LabAuthority.open(tmp_path, NOW)


@pytest.mark.parametrize("name", ["root.key", "root.crt", "pck.crt"])
def test_a_damaged_authority_is_named(name: str, tmp_path: Path) -> None:
    LabAuthority.open(tmp_path, NOW)
    (tmp_path / "authority" / name).write_bytes(b"damaged")
    with pytest.raises(DataError, match="is damaged") as caught:
        LabAuthority.open(tmp_path, NOW)
    assert "Remove" in caught.value.remedy
    (tmp_path / "authority" / name).unlink()
    with pytest.raises(DataError, match="is damaged"):
        LabAuthority.open(tmp_path, NOW)


def test_a_foreign_key_is_noticed(tmp_path: Path) -> None:
    LabAuthority.open(tmp_path, NOW)
    home = tmp_path / "authority"
    (home / "pck.key").write_bytes((home / "root.key").read_bytes())
    with pytest.raises(DataError, match="is damaged"):
        LabAuthority.open(tmp_path, NOW)


def _root_of(state: Path) -> bytes:
    return LabAuthority.open(state, NOW).root_der


@pytest.mark.skipif(sys.platform != "linux", reason="the rename that wins is POSIX")
def test_two_processes_that_make_it_at_once_agree(tmp_path: Path) -> None:
    with get_context("spawn").Pool(2) as pool:
        roots = pool.map(_root_of, [tmp_path] * 8, chunksize=1)
    assert len(set(roots)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["authority"]


def test_everything_about_it_says_lab(authority: LabAuthority) -> None:
    quote = parse_quote(authority.quote(report()))
    assert all("CN=Lab " in name and "no TDX hardware" in name for name in quote.chain.subjects)
    assert quote.chain.fmspc.startswith(b"LAB")
    assert quote.user_data == b"LAB: NO TDX HARDWARE"
    root = x509.load_der_x509_certificate(authority.root_der)
    assert root.issuer == root.subject
    assert "LabAuthority" in repr(authority)


def test_two_installations_differ() -> None:
    one, other = LabAuthority.create(NOW), LabAuthority.create(NOW)
    assert one.root_der != other.root_der
    assert one.root.key.private_numbers() != other.root.key.private_numbers()


def test_a_contradictory_report_is_not_signed(authority: LabAuthority) -> None:
    with pytest.raises(MalformedEvidence, match="does not match its hash"):
        authority.quote(replace(report(), mrtd=bytes(48)))
    with pytest.raises(UsageError, match="version 3"):
        authority.quote(report(), 3)


def test_a_v5_quote_has_a_td_1_5_body(authority: LabAuthority) -> None:
    data = authority.quote(report(), 5)
    assert struct.unpack_from("<HI", data, 48) == (3, 648)
    assert parse_quote(data).tee_tcb_svn2 == bytes(16)


def test_each_certificate_may_do_what_its_place_asks_and_no_more(authority: LabAuthority) -> None:
    """The profile's KeyUsage: authorities sign certificates and revocation lists, leaves sign data."""
    for identity, signs_certificates in (
        (authority.root, True),
        (authority.platform_ca, True),
        (authority.pck, False),
        (authority.tcb_signer, False),
    ):
        extensions = identity.certificate.extensions
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        value = usage.value
        assert (value.key_cert_sign, value.crl_sign) == (signs_certificates, signs_certificates)
        assert (value.digital_signature, value.content_commitment) == (not signs_certificates,) * 2
        others = (value.key_encipherment, value.data_encipherment, value.key_agreement)
        assert others == (False, False, False)
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
        assert (constraints.critical, constraints.value.ca) == (True, signs_certificates)
