"""Stands in, inside the browser, for libraries that exist for no browser.

``cryptography``: AES in ECB and XTS mode for the TDX model, on a block cipher that the page lends
(``set_aes``, the library @noble/ciphers), and the reading of X.509 certificates, on pyasn1. Signatures are
not checked here at all: a verdict about a quote is only made by the library that labkit trusts, outside.
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


class Certificate:
    """What is read of a certificate: its names."""

    def __init__(self, der: bytes) -> None:
        body = _certificate(der)["tbsCertificate"]
        if int(body["version"]) not in (0, 2):
            raise InvalidVersion(f"{int(body['version'])} is not a valid X509 version")
        self.subject = DistinguishedName(body["subject"][0])
        self.issuer = DistinguishedName(body["issuer"][0])


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
        sys.modules[name] = module
    sys.modules.update({ciphers.__name__: ciphers, x509.__name__: x509, "dcap_qvl": qvl})
    for name in [*empty, ciphers.__name__, x509.__name__]:
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
