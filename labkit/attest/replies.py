"""Collateral from the replies of Intel's provisioning service, as they were saved: known by what they hold.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4: the bodies of /tcb, /qe/identity
and /pckcrl, Intel's root CRL, and the issuer chains, which come in headers as URL-encoded PEM.
"""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from labkit.attest._collateral import Collateral, parse_collateral
from labkit.attest.chain import CertificateChain, load_certificate, signed_with
from labkit.errors import MalformedEvidence
from labkit.measure.wrapping import from_text, plain_text

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


@dataclass(frozen=True)
class _Document:
    """A signed document: its text to the byte, its signature, of which platform it is and of when."""

    text: str
    signature: bytes
    fmspc: str
    issued: str

    def signed_by(self, certificate: x509.Certificate) -> bool:
        """The key of this certificate signed it."""
        return signed_with(certificate.public_key(), self.signature, self.text.encode())


@dataclass
class _Found:
    """What the files hold, sorted by what it is."""

    tcb: list[_Document] = field(default_factory=list)
    identities: list[_Document] = field(default_factory=list)
    crls: list[tuple[x509.Name, datetime, bytes]] = field(default_factory=list)
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
    tcb = _latest(entry for entry in found.tcb if entry.fmspc.lower() == fmspc)
    identity = _latest(found.identities)
    pck_crl = _crl_of(own[0], found.crls)
    root_crl = _crl_of(root, found.crls)
    signers = [item for item in found.certificates if "TCB Signing" in _name(item)]
    signer = next((item for item in signers if tcb and tcb.signed_by(item)), signers[0] if signers else None)
    parts = (
        (f"TCB info of FMSPC {fmspc.upper()}", "TCB info", tcb),
        ("TD_QE identity", "TD_QE identity", identity),
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
    assert identity is not None
    assert pck_crl is not None
    assert root_crl is not None
    assert signer is not None
    signer_chain = _pem([signer, _issuer(signer, known) or root])
    return parse_collateral(
        json.dumps(
            {
                "pck_crl_issuer_chain": _pem(own),
                "root_ca_crl": root_crl.hex(),
                "pck_crl": pck_crl.hex(),
                "tcb_info_issuer_chain": signer_chain,
                "tcb_info": tcb.text,
                "tcb_info_signature": tcb.signature.hex(),
                "qe_identity_issuer_chain": signer_chain,
                "qe_identity": identity.text,
                "qe_identity_signature": identity.signature.hex(),
            }
        )
    )


def _sort(data: bytes, found: _Found) -> None:
    """Put everything that one file holds where it belongs; a reply saved with its headers holds several."""
    data = plain_text(data)
    # As a header has it, or a JSON document of headers.
    plain = unquote_to_bytes(data) if b"%0A" in data or b"%0a" in data else data
    for block in _CERTIFICATE.findall(plain.replace(b"\\n", b"\n")):
        with contextlib.suppress(ValueError):
            found.certificates.append(load_certificate(_der(block)))
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
    """A CRL as version 3 of the service gives it: hexadecimal text, also as JSON."""
    try:
        return from_text("".join(data.decode("ascii").split()).strip('"'))
    except UnicodeDecodeError:
        return None


def _add_crl(found: _Found, data: bytes, *, pem: bool) -> None:
    load = x509.load_pem_x509_crl if pem else x509.load_der_x509_crl
    with (
        contextlib.suppress(ValueError, TypeError, x509.InvalidVersion, UserWarning),
        warnings.catch_warnings(),
    ):
        # What the library reads only when it is asked for is asked for here.
        warnings.simplefilter("error", UserWarning)
        crl = load(data)
        found.crls.append((crl.issuer, crl.last_update_utc, crl.public_bytes(Encoding.DER)))


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
        kind, entry = signed
        if key == "tcbInfo" and kind == "TDX":
            found.tcb.append(entry)
        elif key == "enclaveIdentity" and kind == "TD_QE":
            found.identities.append(entry)


def _latest(documents: Iterable[_Document]) -> _Document | None:
    """Of several, such as an old reply and a new one, the one issued last."""
    return max(documents, key=lambda entry: entry.issued, default=None)


def _signed(text: str, key: str) -> tuple[str, _Document] | None:
    """A signed document in a reply, with the name of its kind."""
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
    inner, fmspc, issued = text[place.end() : end], document.get("fmspc", ""), document.get("issueDate", "")
    return str(document.get("id")), _Document(inner, bytes.fromhex(signature[1]), str(fmspc), str(issued))


def _crl_of(issuer: x509.Certificate, crls: Iterable[tuple[x509.Name, datetime, bytes]]) -> bytes | None:
    """The latest list of an issuer."""
    fitting = [(when, der) for name, when, der in crls if name == issuer.subject]
    return max(fitting)[1] if fitting else None


def _issuer(certificate: x509.Certificate, known: Iterable[x509.Certificate]) -> x509.Certificate | None:
    return next((item for item in known if item.subject == certificate.issuer), None)


def _der(block: bytes) -> bytes:
    """What a block of PEM holds; nothing where it is not base64."""
    return from_text(b"".join(block.split(b"-----")[2].split()).decode("latin-1")) or b""


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


def _pem(certificates: Iterable[x509.Certificate]) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode("ascii") for certificate in certificates)
