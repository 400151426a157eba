"""The PEM chain inside a quote: exactly three certificates, in the one way PEM writes them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from dcap_qvl import parse_pck_extension_from_pem

from labkit.errors import MalformedEvidence
from labkit.show import one_line

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
_BLOCK = re.compile(re.escape(_BEGIN) + rb"([A-Za-z0-9+/=\n]+)" + re.escape(_END))
_REMEDY = "Fetch the quote again; its certificate chain is damaged or was replaced."
LAB_FMSPC = b"LAB"

# SHA-256 of Intel's "SGX Root CA" certificate, as DER; it stands in every quote of Intel's platforms.
INTEL_ROOT_SHA256 = bytes.fromhex("44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3")


@dataclass(frozen=True)
class CertificateChain:
    """PCK leaf, intermediate CA and root of a quote, as DER, and what the leaf says about the platform.

    fmspc: the six bytes that name the platform's family. linked: each certificate is signed by the next, and
    the root by itself; dates and revocation are for verification.
    """

    leaf: bytes
    intermediate: bytes
    root: bytes
    root_sha256: bytes
    fmspc: bytes
    subjects: tuple[str, str, str]
    linked: bool

    @property
    def intel(self) -> bool:
        """Its signatures lead to Intel's root: anybody can put a copy of that certificate behind others."""
        return self.linked and self.root_sha256 == INTEL_ROOT_SHA256

    @property
    def lab(self) -> bool:
        """It says itself that a lab authority made it; one that does not say so may be one all the same."""
        return self.fmspc.startswith(LAB_FMSPC) and not self.intel


@lru_cache(maxsize=128)
def parse_chain(pem: bytes) -> CertificateChain:
    """Read the chain strictly: three certificates, canonical PEM, at most one NUL behind them.

    The chain of a platform is the same in all its quotes, therefore the result is remembered.

    Raises:
        MalformedEvidence: there is anything else in the text.
    """
    text = pem[:-1] if pem.endswith(b"\n\0") else pem
    ders = [_der(block) for block in _BLOCK.findall(text)]
    if len(ders) != 3 or b"".join(map(_pem, ders)) != text:
        raise MalformedEvidence(
            f"The certification data is not three PEM certificates and nothing else ({len(ders)} found).",
            _REMEDY,
        )
    try:
        certificates = [load_certificate(der) for der in ders]
        subjects = [one_line(certificate.subject.rfc4514_string()) for certificate in certificates]
        fmspc = fmspc_of(ders[0])
    except ValueError as error:
        raise MalformedEvidence(f"The certificate chain does not parse: {error}.", _REMEDY) from error
    leaf, intermediate, root = ders
    names = (subjects[0], subjects[1], subjects[2])
    issuers = (*certificates[1:], certificates[2])
    linked = all(signed_by(one, issuer) for one, issuer in zip(certificates, issuers, strict=True))
    return CertificateChain(leaf, intermediate, root, hashlib.sha256(root).digest(), fmspc, names, linked)


def load_certificate(der: bytes) -> x509.Certificate:
    """A certificate from its DER.

    Raises:
        ValueError: it is none, or one that no standard allows.
    """
    with warnings.catch_warnings():
        # The library only warns of a serial number that is not positive, and the like.
        warnings.simplefilter("error", UserWarning)
        try:
            certificate = x509.load_der_x509_certificate(der)
            _ = (certificate.subject, certificate.issuer, certificate.public_key())
        except (x509.InvalidVersion, UnsupportedAlgorithm, TypeError, UserWarning) as error:
            raise ValueError(str(error)) from error
    return certificate


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """The certificate names this issuer, and the issuer's key signed it."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def public_key(point: bytes) -> ec.EllipticCurvePublicKey | None:
    """A P-256 key from its two coordinates; None where they are no point of the curve."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + point)
    except ValueError:
        return None


def signed_with(key: object, signature: bytes, data: bytes) -> bool:
    """The signature (r and s, 32 bytes each) over the data is of this P-256 key."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def fmspc_of(leaf: bytes) -> bytes:
    """The six bytes that name a platform's family, from its PCK certificate (DER).

    Raises:
        ValueError: the certificate has no such extension.
    """
    return bytes(parse_pck_extension_from_pem(_pem(leaf)).fmspc)


def _der(block: bytes) -> bytes:
    try:
        return base64.b64decode(block.replace(b"\n", b""), validate=True)
    except binascii.Error:
        return b""


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"".join([_BEGIN, *(line + b"\n" for line in lines), _END])
