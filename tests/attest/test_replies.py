"""Collateral out of the saved replies of a provisioning service, and what is said of other files."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from labkit.attest import Collateral, LabAuthority, parse_collateral, parse_quote
from labkit.attest.replies import collateral_of_replies
from labkit.errors import MalformedEvidence
from tests.attest.conftest import report


def replies(collateral: Collateral) -> dict[str, bytes]:
    parts = json.loads(collateral.text)
    tcb, identity = parts["tcb_info"].encode(), parts["qe_identity"].encode()
    return {
        "a": b'{"tcbInfo":%s,"signature":"%s"}' % (tcb, parts["tcb_info_signature"].encode()),
        "b": b'{"enclaveIdentity":%s,"signature":"%s"}' % (identity, parts["qe_identity_signature"].encode()),
        "c": bytes.fromhex(parts["root_ca_crl"]),
        "d": bytes.fromhex(parts["pck_crl"]),
        "e": parts["tcb_info_issuer_chain"].encode(),
    }


def test_replies_are_the_collateral_that_they_were_made_of(
    authority: LabAuthority, collateral: Collateral
) -> None:
    chain = parse_quote(authority.quote(report())).chain
    made = json.loads(collateral_of_replies(replies(collateral), chain).text)
    given = json.loads(collateral.text)
    for name in (
        "tcb_info",
        "tcb_info_signature",
        "qe_identity",
        "qe_identity_signature",
        "root_ca_crl",
        "pck_crl",
    ):
        assert made[name] == given[name]


def pem(crl: bytes) -> bytes:
    return x509.load_der_x509_crl(crl).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "written",
    [pem, lambda crl: crl.hex().encode(), lambda crl: json.dumps(crl.hex()).encode()],
    ids=["PEM", "hex", "JSON"],
)
def test_a_list_of_revoked_certificates_may_be_text(
    written: Callable[[bytes], bytes], authority: LabAuthority, collateral: Collateral
) -> None:
    files = replies(collateral)
    files |= {name: written(files[name]) for name in ("c", "d")}
    made = collateral_of_replies(files, parse_quote(authority.quote(report())).chain)
    assert json.loads(made.text)["pck_crl"] == json.loads(collateral.text)["pck_crl"]


@pytest.mark.parametrize(
    ("file", "content", "missing"),
    [
        ("a", b'{"tcbInfo":["TDX"],"signature":"' + b"0" * 128 + b'"}', "TCB info"),
        ("a", b'{"tcbInfo":{"id":"SGX"},"signature":"' + b"0" * 128 + b'"}', "TCB info"),
        ("a", b'{"tcbInfo":{"id":"TDX"},"signature":"00"}', "TCB info"),
        ("a", b'{"tcbInfo":' + b"[" * 100_000, "TCB info"),
        ("b", b'{"enclaveIdentity":7,"signature":"' + b"0" * 128 + b'"}', "TD_QE identity"),
        ("b", b'{"enclaveIdentity":{"id":"QE"},"signature":"' + b"0" * 128 + b'"}', "TD_QE identity"),
        ("c", b"\xff\xfe", "root CRL"),
        ("d", b"0" * 1000, "PCK CRL"),
        ("e", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "TCB signer"),
    ],
)
def test_a_reply_that_is_another_thing_is_named_as_missing(
    file: str, content: bytes, missing: str, authority: LabAuthority, collateral: Collateral
) -> None:
    chain = parse_quote(authority.quote(report())).chain
    with pytest.raises(MalformedEvidence, match=missing):
        collateral_of_replies(replies(collateral) | {file: content}, chain)


@pytest.mark.parametrize("inner", ["[]", "7", "null", "{", "[" * 100_000])
def test_a_collateral_is_made_of_documents(inner: str, collateral: Collateral) -> None:
    changed = json.loads(collateral.text) | {"tcb_info": inner}
    with pytest.raises(MalformedEvidence, match="document inside the collateral is not"):
        _ = parse_collateral(json.dumps(changed)).tcb_info
