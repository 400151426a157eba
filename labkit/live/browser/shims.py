"""Stands in, inside the browser, for libraries that exist for no browser.

``cryptography``: AES in ECB and XTS mode for the TDX model, on a block cipher that the page lends
(``set_aes``, the library @noble/ciphers), the reading of X.509 certificates, on pyasn1, and signatures on
P-256, which tell whose a quote says that it is; nothing secret is in them. A verdict about a quote is only
made by the library that labkit trusts, outside.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any, ClassVar

BLOCK = 16
Aes = Callable[[bytes, bytes, bool], bytes]
"""Key, whole blocks, whether to encrypt: the blocks in ECB mode."""

_aes: list[Aes] = []


def set_aes(aes: Aes) -> None:
    """Lend the block cipher."""
    _aes[:] = [aes]


class Aes128:
    """``algorithms.AES``."""

    def __init__(self, key: bytes) -> None:
        self.key = bytes(key)


class Ecb:
    """``modes.ECB``."""


class Xts:
    """``modes.XTS``."""

    def __init__(self, tweak: bytes) -> None:
        self.tweak = bytes(tweak)


class CipherContext:
    """One direction of a cipher."""

    def __init__(self, key: bytes, mode: Ecb | Xts, encrypt: bool) -> None:
        self._key, self._mode, self._encrypt = key, mode, encrypt

    def update(self, data: bytes) -> bytes:
        """Whole blocks only, in one call: the model needs nothing else."""
        if len(data) % BLOCK:
            raise ValueError("only whole blocks")
        if isinstance(self._mode, Ecb):
            return _aes[0](self._key, bytes(data), self._encrypt)
        return xts(self._key, self._mode.tweak, bytes(data), self._encrypt)

    def finalize(self) -> bytes:
        """Nothing is held back."""
        return b""


class Cipher:
    """``Cipher``."""

    def __init__(self, algorithm: Aes128, mode: Ecb | Xts) -> None:
        self._algorithm, self._mode = algorithm, mode

    def encryptor(self) -> CipherContext:
        """The way there."""
        return CipherContext(self._algorithm.key, self._mode, encrypt=True)

    def decryptor(self) -> CipherContext:
        """The way back."""
        return CipherContext(self._algorithm.key, self._mode, encrypt=False)


def xts(key: bytes, tweak: bytes, data: bytes, encrypt: bool) -> bytes:
    """XTS (IEEE 1619) over whole blocks: two halves of the key, the tweak multiplied by x for each block."""
    half = len(key) // 2
    value = int.from_bytes(_aes[0](key[half:], tweak, True), "little")
    masks = bytearray()
    for _ in range(0, len(data), BLOCK):
        masks += value.to_bytes(BLOCK, "little")
        value = (value << 1) & ((1 << 128) - 1) ^ (0x87 if value >> 127 else 0)
    mask = int.from_bytes(masks, "little")
    size = len(data)
    mixed = (int.from_bytes(data, "little") ^ mask).to_bytes(size, "little")
    return (int.from_bytes(_aes[0](key[:half], mixed, encrypt), "little") ^ mask).to_bytes(size, "little")


class InvalidVersion(Exception):
    """``x509.InvalidVersion``."""


class InvalidSignature(Exception):
    """``exceptions.InvalidSignature``."""


# The curve P-256: y**2 = x**3 - 3x + B over the integers modulo P, with N points (FIPS 186-4, D.1.2.3).
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int] | None  # None is the point at infinity


def _sum(one: _Point, other: _Point) -> _Point:
    if one is None or other is None:
        return one or other
    (x1, y1), (x2, y2) = one, other
    if x1 == x2 and (y1 + y2) % _P == 0:
        return None
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, _P) if one == other else (y2 - y1) * pow(x2 - x1, -1, _P)
    x = (slope * slope - x1 - x2) % _P
    return x, (slope * (x1 - x) - y1) % _P


def _times(number: int, point: _Point) -> _Point:
    total: _Point = None
    while number:
        if number & 1:
            total = _sum(total, point)
        point, number = _sum(point, point), number >> 1
    return total


class EllipticCurvePublicKey:
    """``ec.EllipticCurvePublicKey`` on P-256."""

    def __init__(self, x: int, y: int) -> None:
        self._point = (x, y)

    @classmethod
    def from_encoded_point(cls, _curve: object, data: bytes) -> EllipticCurvePublicKey:
        """A key from 4 and its two coordinates.

        Raises:
            ValueError: this is not a point of the curve.
        """
        x, y = int.from_bytes(data[1:33], "big"), int.from_bytes(data[33:], "big")
        if len(data) != 65 or data[0] != 4 or max(x, y) >= _P or (y * y - x**3 + 3 * x - _B) % _P:
            raise ValueError("this is not a point of P-256")
        return cls(x, y)

    def verify(self, signature: bytes, data: bytes, _algorithm: object) -> None:
        """ECDSA with SHA-256 (FIPS 186-4, 6.4).

        Raises:
            InvalidSignature: it is not this key's over the data.
        """
        import hashlib

        from pyasn1.codec.der import decoder
        from pyasn1.error import PyAsn1Error

        try:
            r, s = (int(part) for part in decoder.decode(signature)[0])
        except (PyAsn1Error, ValueError, TypeError) as error:
            raise InvalidSignature from error
        if not (0 < r < _N and 0 < s < _N):
            raise InvalidSignature
        inverse = pow(s, -1, _N)
        digest = int.from_bytes(hashlib.sha256(data).digest(), "big")
        point = _sum(_times(digest * inverse % _N, _G), _times(r * inverse % _N, self._point))
        if point is None or point[0] % _N != r:
            raise InvalidSignature


def encode_dss_signature(r: int, s: int) -> bytes:
    """``utils.encode_dss_signature``."""
    from pyasn1.codec.der import encoder
    from pyasn1.type import univ

    pair = univ.Sequence()
    pair[0], pair[1] = univ.Integer(r), univ.Integer(s)
    return bytes(encoder.encode(pair))


class DistinguishedName:
    """A distinguished name."""

    _SHORT: ClassVar = {
        "2.5.4.3": "CN",
        "2.5.4.6": "C",
        "2.5.4.7": "L",
        "2.5.4.8": "ST",
        "2.5.4.10": "O",
        "2.5.4.11": "OU",
    }

    def __init__(self, sequence: Any) -> None:
        self._sequence = sequence

    def rfc4514_string(self) -> str:
        """The name as RFC 4514 writes it: the last part first."""
        from pyasn1.codec.der import decoder

        parts = []
        for rdn in reversed(list(self._sequence)):
            words = []
            for pair in rdn:
                value, _ = decoder.decode(bytes(pair["value"]))
                kind = str(pair["type"])
                words.append(f"{self._SHORT.get(kind, kind)}={_escaped(str(value))}")
            parts.append("+".join(words))
        return ",".join(parts)


def _escaped(text: str) -> str:
    text = "".join(f"\\{letter}" if letter in '\\"+,;<>' else letter for letter in text)
    if text[:1] in ("#", " "):
        text = f"\\{text}"
    if text.endswith(" "):
        text = f"{text[:-1]}\\ "
    return text.replace("\0", "\\00")


_EC_KEY, _P256_CURVE, _ECDSA_SHA256 = "1.2.840.10045.2.1", "1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2"


class Certificate:
    """What is read of a certificate: its names, its key and whose signature it has."""

    def __init__(self, der: bytes) -> None:
        self._whole = _certificate(der)
        body = self._whole["tbsCertificate"]
        if int(body["version"]) not in (0, 2):
            raise InvalidVersion(f"{int(body['version'])} is not a valid X509 version")
        self.subject = DistinguishedName(body["subject"][0])
        self.issuer = DistinguishedName(body["issuer"][0])

    def public_key(self) -> EllipticCurvePublicKey | None:
        """The key; None where it is on another curve or of another kind.

        Raises:
            ValueError: its point is not on the curve.
        """
        from pyasn1.codec.der import decoder

        info = self._whole["tbsCertificate"]["subjectPublicKeyInfo"]
        if str(info["algorithm"]["algorithm"]) != _EC_KEY:
            return None
        if str(decoder.decode(bytes(info["algorithm"]["parameters"]))[0]) != _P256_CURVE:
            return None
        point = info["subjectPublicKey"].asOctets()
        return EllipticCurvePublicKey.from_encoded_point(None, point)

    def verify_directly_issued_by(self, issuer: Certificate) -> None:
        """The certificate names this issuer, whose key signed it.

        Raises:
            ValueError: the names differ. TypeError: the issuer has another kind of key.
            InvalidSignature: its key did not sign it.
        """
        from pyasn1.codec.der import encoder

        if self.issuer.rfc4514_string() != issuer.subject.rfc4514_string():
            raise ValueError("the issuer's name is another")
        key = issuer.public_key()
        if key is None or str(self._whole["signatureAlgorithm"]["algorithm"]) != _ECDSA_SHA256:
            raise TypeError("only ECDSA with SHA-256 on P-256 is known here")
        key.verify(self._whole["signature"].asOctets(), encoder.encode(self._whole["tbsCertificate"]), None)


def _certificate(der: bytes) -> Any:
    from pyasn1.codec.der import decoder
    from pyasn1.error import PyAsn1Error
    from pyasn1_modules import rfc5280

    try:
        found, rest = decoder.decode(der, asn1Spec=rfc5280.Certificate())
    except (PyAsn1Error, ValueError, IndexError) as error:
        raise ValueError(f"error parsing asn1 value: {error}") from error
    if rest:
        raise ValueError("error parsing asn1 value: there is more behind the certificate")
    return found


_SGX_EXTENSIONS, _FMSPC = "1.2.840.113741.1.13.1", "1.2.840.113741.1.13.1.4"


class PckExtension:
    """What is read of Intel's extension of a PCK certificate."""

    def __init__(self, fmspc: bytes) -> None:
        self.fmspc = fmspc


def parse_pck_extension_from_pem(pem: bytes) -> PckExtension:
    """The FMSPC of a PCK certificate.

    Raises:
        ValueError: it has none.
    """
    import base64

    from pyasn1.codec.der import decoder

    text = b"".join(pem.split(b"-----")[2].split())
    body = _certificate(base64.b64decode(text))["tbsCertificate"]
    for extension in body["extensions"]:
        if str(extension["extnID"]) != _SGX_EXTENSIONS:
            continue
        rows, _ = decoder.decode(bytes(extension["extnValue"]))
        for row in rows:
            if str(row[0]) == _FMSPC:
                return PckExtension(bytes(row[1]))
    raise ValueError("the certificate has no SGX extension")


class _NotHere(types.ModuleType):
    """A module of which a browser has nothing: what is asked of it can be named and not used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})


MACHINES = (
    "asterinas",
    "bootlog",
    "console",
    "container",
    "guest",
    "kernel",
    "lies",
    "platforms",
    "toolchain",
    "virtio",
    "vm",
)
"""Packages of labkit that only make sense where a machine can boot."""


def install() -> None:
    """Put the stand-ins where the libraries would be."""
    for package in MACHINES:
        sys.modules[f"labkit.{package}"] = _NotHere(f"labkit.{package}")
    ciphers = types.ModuleType("cryptography.hazmat.primitives.ciphers")
    algorithms, modes = types.ModuleType("algorithms"), types.ModuleType("modes")
    algorithms.__dict__.update(AES=Aes128)
    modes.__dict__.update(ECB=Ecb, XTS=Xts)
    ciphers.__dict__.update(Cipher=Cipher, algorithms=algorithms, modes=modes)
    x509 = _NotHere("cryptography.x509")
    x509.__dict__.update(InvalidVersion=InvalidVersion, load_der_x509_certificate=Certificate)
    qvl = _NotHere("dcap_qvl")
    qvl.__dict__.update(parse_pck_extension_from_pem=parse_pck_extension_from_pem)
    root = "cryptography"
    here: dict[str, dict[str, Any]] = {
        f"{root}.exceptions": {"InvalidSignature": InvalidSignature},
        f"{root}.hazmat.primitives.asymmetric.ec": {"EllipticCurvePublicKey": EllipticCurvePublicKey},
        f"{root}.hazmat.primitives.asymmetric.utils": {"encode_dss_signature": encode_dss_signature},
    }
    empty = [
        root,
        f"{root}.exceptions",
        f"{root}.hazmat",
        f"{root}.hazmat.primitives",
        f"{root}.hazmat.primitives.hashes",
        f"{root}.hazmat.primitives.asymmetric",
        f"{root}.hazmat.primitives.asymmetric.ec",
        f"{root}.hazmat.primitives.asymmetric.utils",
        f"{root}.hazmat.primitives.serialization",
        f"{root}.x509.oid",
    ]
    for name in empty:
        module = _NotHere(name)
        module.__path__ = []
        module.__dict__.update(here.get(name, {}))
        sys.modules[name] = module
    sys.modules.update({ciphers.__name__: ciphers, x509.__name__: x509, "dcap_qvl": qvl})
    for name in [*empty, ciphers.__name__, x509.__name__]:
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
