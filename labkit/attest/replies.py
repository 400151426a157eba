"""Collateral from the replies of Intel's provisioning service, as they were saved: known by what they hold.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4: the bodies of /tcb, /qe/identity
and /pckcrl, Intel's root CRL, and the issuer chains, which come in headers as URL-encoded PEM.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from labkit.attest._collateral import Collateral, parse_collateral
from labkit.attest.chain import CertificateChain, load_certificate
from labkit.errors import MalformedEvidence
from labkit.measure.wrapping import from_text

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_LARGEST = 4 << 20
_MOST = 64
_ROUTES = {
    "TCB info": "/tdx/certification/v4/tcb?fmspc=…",
    "TD_QE identity": "/tdx/certification/v4/qe/identity",
    "PCK CRL": "/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
    "root CRL": "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
    "certificate of the TCB signer": "the header TCB-Info-Issuer-Chain of the TCB info's reply",
}


@dataclass
class _Found:
    """What the files hold, sorted by what it is."""

    tcb: list[tuple[str, bytes, str]] = field(default_factory=list)
    identity: tuple[str, bytes] | None = None
    crls: list[x509.CertificateRevocationList] = field(default_factory=list)
    certificates: list[x509.Certificate] = field(default_factory=list)
    whole: Collateral | None = None


def collateral_of_replies(files: Mapping[str, bytes], chain: CertificateChain) -> Collateral:
    """One collateral from the files of a folder, for the platform whose certificate chain a quote carries.

    files: contents by name; names say nothing. What the quote's chain has already need not be there again.
    A file with the nine fields of a collateral does as well.

    Raises:
        MalformedEvidence: a part is not there; the message says which, and where Intel has it.
    """
    found = _Found()
    for data in list(files.values())[:_MOST]:
        if len(data) <= _LARGEST:
            _sort(data, found)
    if found.whole is not None and not found.tcb:
        return found.whole
    fmspc = chain.fmspc.hex()
    own = [load_certificate(der) for der in (chain.intermediate, chain.root)]
    known = [*own, *found.certificates]
    root = own[1]
    tcb = next((entry for entry in found.tcb if entry[2].lower() == fmspc), None)
    pck_crl = _crl_of(own[0], found.crls)
    root_crl = _crl_of(root, found.crls)
    signer = next((item for item in found.certificates if "TCB Signing" in _name(item)), None)
    parts = (
        (f"TCB info of FMSPC {fmspc.upper()}", "TCB info", tcb),
        ("TD_QE identity", "TD_QE identity", found.identity),
        (f"PCK CRL of {_name(own[0])}", "PCK CRL", pck_crl),
        ("root CRL", "root CRL", root_crl),
        ("certificate of the TCB signer", "certificate of the TCB signer", signer),
    )
    for shown, kind, part in parts:
        if part is None:
            raise MalformedEvidence(
                f"The folder has no {shown} among its {len(files)} files.",
                f"Save it from Intel: {_ROUTES[kind]}.",
            )
    assert tcb is not None
    assert found.identity is not None
    assert pck_crl is not None
    assert root_crl is not None
    assert signer is not None
    signer_chain = _pem([signer, _issuer(signer, known) or root])
    return parse_collateral(
        json.dumps(
            {
                "pck_crl_issuer_chain": _pem(own),
                "root_ca_crl": root_crl.public_bytes(Encoding.DER).hex(),
                "pck_crl": pck_crl.public_bytes(Encoding.DER).hex(),
                "tcb_info_issuer_chain": signer_chain,
                "tcb_info": tcb[0],
                "tcb_info_signature": tcb[1].hex(),
                "qe_identity_issuer_chain": signer_chain,
                "qe_identity": found.identity[0],
                "qe_identity_signature": found.identity[1].hex(),
            }
        )
    )


def _sort(data: bytes, found: _Found) -> None:
    """Put everything that one file holds where it belongs; a reply saved with its headers holds several."""
    plain = unquote_to_bytes(data) if b"-----BEGIN%20" in data else data
    for block in _CERTIFICATE.findall(plain):
        try:
            found.certificates.append(x509.load_pem_x509_certificate(block))
        except (ValueError, x509.InvalidVersion):
            continue
    for block in _CRL.findall(plain):
        _add_crl(found, block, pem=True)
    if data[:1] == b"\x30":
        _add_crl(found, data, pem=False)
        with contextlib.suppress(ValueError):
            found.certificates.append(load_certificate(data))
    elif (coded := _coded(data)) is not None:
        _add_crl(found, coded, pem=False)
    _add_documents(found, data)


def _coded(data: bytes) -> bytes | None:
    """A CRL as version 3 of the service gives it: hexadecimal text."""
    try:
        return from_text("".join(data.decode("ascii").split()))
    except UnicodeDecodeError:
        return None


def _add_crl(found: _Found, data: bytes, *, pem: bool) -> None:
    load = x509.load_pem_x509_crl if pem else x509.load_der_x509_crl
    try:
        found.crls.append(load(data))
    except (ValueError, TypeError):
        return


def _add_documents(found: _Found, data: bytes) -> None:
    """Signed documents, whose text is kept to the byte, for the signature is over it."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    begin = text.find("{")
    if begin < 0:
        return
    if '"tcb_info_signature"' in text:
        try:
            found.whole = parse_collateral(text[begin:])
        except MalformedEvidence:
            return
    for key in ("tcbInfo", "enclaveIdentity"):
        signed = _signed(text[begin:], key)
        if signed is None:
            continue
        inner, signature, document = signed
        if key == "tcbInfo":
            if document.get("id", "TDX") == "TDX":
                found.tcb.append((inner, signature, str(document.get("fmspc", ""))))
        elif document.get("id") == "TD_QE":
            found.identity = (inner, signature)


def _signed(text: str, key: str) -> tuple[str, bytes, Mapping[str, object]] | None:
    """The text of a signed document in a reply, its signature, and the document itself."""
    place = re.search(rf'"{key}"\s*:\s*', text)
    signature = re.search(r'"signature"\s*:\s*"([0-9A-Fa-f]{128})"', text)
    if place is None or signature is None:
        return None
    try:
        document, end = json.JSONDecoder().raw_decode(text, place.end())
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    return text[place.end() : end], bytes.fromhex(signature[1]), document


def _crl_of(
    issuer: x509.Certificate, crls: Iterable[x509.CertificateRevocationList]
) -> x509.CertificateRevocationList | None:
    fitting = [crl for crl in crls if crl.issuer == issuer.subject]
    return max(fitting, key=lambda crl: crl.last_update_utc, default=None)


def _issuer(certificate: x509.Certificate, known: Iterable[x509.Certificate]) -> x509.Certificate | None:
    return next((item for item in known if item.subject == certificate.issuer), None)


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


def _pem(certificates: Iterable[x509.Certificate]) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode("ascii") for certificate in certificates)
