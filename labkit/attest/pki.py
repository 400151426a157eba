"""The certificates of a lab authority, shaped like those of Intel's provisioning service.

Source of the shape: Intel SGX PCK Certificate and CRL Profile Specification; what of it a verifier insists
on was found by verifying.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

_SGX = (1, 2, 840, 113741, 1, 13, 1)
_LIFETIME = timedelta(days=3650)
CRL_LIFETIME = timedelta(days=30)
# Component SVNs, PCESVN and PCEID of every lab platform.
CPU_SVN = bytes([1] * 16)
PCE_SVN = 1
PCE_ID = bytes(2)


@dataclass(frozen=True)
class Issuer:
    """A certificate authority: its certificate and the key that signs for it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def subject(common_name: str) -> x509.Name:
    """A name that says what it belongs to: a lab."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Lab (no TDX hardware)"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def make_root(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """A self-signed root."""
    name = subject("Lab Root CA")
    return _certificate(name, key.public_key(), name, key, now, authority=True)


def issue(
    issuer: Issuer, common_name: str, key: ec.EllipticCurvePublicKey, now: datetime, *, authority: bool
) -> x509.Certificate:
    """A certificate for a CA or a signer."""
    return _certificate(
        subject(common_name), key, issuer.certificate.subject, issuer.key, now, authority=authority
    )


def issue_pck(
    issuer: Issuer, key: ec.EllipticCurvePublicKey, now: datetime, fmspc: bytes, ppid: bytes
) -> x509.Certificate:
    """The leaf of a platform, with Intel's SGX extension in which FMSPC and TCB stand."""
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(_dotted(_SGX)), _sgx_extension(fmspc, ppid))
    name = subject("Lab PCK Certificate")
    return _certificate(
        name, key, issuer.certificate.subject, issuer.key, now, authority=False, extension=extension
    )


def make_crl(issuer: Issuer, now: datetime) -> bytes:
    """An empty revocation list, as DER, current from ``now`` for 30 days."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now)
        .next_update(now + CRL_LIFETIME)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False)
    )
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def pem_chain(certificates: Iterable[x509.Certificate]) -> str:
    """Certificates as consecutive PEM blocks."""
    return "".join(certificate.public_bytes(Encoding.PEM).decode("ascii") for certificate in certificates)


def _certificate(
    name: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_name: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    *,
    authority: bool,
    extension: x509.UnrecognizedExtension | None = None,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - timedelta(days=1))
        .not_valid_after(now.astimezone(UTC) + _LIFETIME)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(_key_usage(authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _key_usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=not authority,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _sgx_extension(fmspc: bytes, ppid: bytes) -> bytes:
    """SEQUENCE of {OID, value}: PPID, TCB, PCEID, FMSPC, SGX type, instance, configuration."""
    components = [_pair((2, number), _integer(svn)) for number, svn in enumerate(CPU_SVN, 1)]
    tcb = [*components, _pair((2, 17), _integer(PCE_SVN)), _pair((2, 18), _octets(CPU_SVN))]
    flags = [_pair((7, number), _der(0x01, b"\xff")) for number in (1, 2, 3)]
    return _sequence(
        _pair((1,), _octets(ppid)),
        _pair((2,), _sequence(*tcb)),
        _pair((3,), _octets(PCE_ID)),
        _pair((4,), _octets(fmspc)),
        _pair((5,), _der(0x0A, b"\1")),
        _pair((6,), _octets(ppid)),
        _pair((7,), _sequence(*flags)),
    )


def _pair(suffix: tuple[int, ...], value: bytes) -> bytes:
    return _sequence(_oid(_SGX + suffix), value)


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, b"".join(parts))


def _octets(value: bytes) -> bytes:
    return _der(0x04, value)


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(arcs: tuple[int, ...]) -> bytes:
    body = bytearray([40 * arcs[0] + arcs[1]])
    for arc in arcs[2:]:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        body += bytes(reversed(groups))
    return _der(0x06, bytes(body))


def _der(tag: int, body: bytes) -> bytes:
    length = len(body)
    if length < 0x80:
        return bytes([tag, length]) + body
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + body


def _dotted(arcs: tuple[int, ...]) -> str:
    return ".".join(map(str, arcs))
