"""TDX quotes, version 4 and 5: a strict reading that accounts for every byte.

Source: Intel TDX DCAP Quoting Library API, appendix A.3 (version 4) and A.4 (version 5).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from labkit.attest._layout import SEAM_FIELDS, TD_FIELDS, FieldView, Layout, as_html, as_text, placed
from labkit.attest.bits import DEBUG, Bit, names, td_attributes, xfam
from labkit.attest.chain import CertificateChain, load_certificate, parse_chain, public_key, signed_with
from labkit.attest.wrapped import other_than_a_quote
from labkit.errors import MalformedEvidence

QE_VENDOR_INTEL = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_REMEDY = "Take the quote as the guest's outblob or quote service gave it, unchanged."
_MAX_QUOTE = 1 << 20
_FIRST_NONSENSE = 16
_TD10, _TD15, _TD15_EXTENDED = 2, 3, 4

_TD10_BODY = SEAM_FIELDS + TD_FIELDS + Layout(("report_data", 64))
_TD15_BODY = _TD10_BODY + Layout(("tee_tcb_svn2", 16), ("mr_service_td", 48))
# The offsets are those that dcap-qvl reads; no such quote of hardware was at hand.
_TD15_EXTENDED_BODY = _TD15_BODY + Layout(
    ("vmid", 1),
    ("td_id", 32),
    ("device_info", 48),
    ("initial_service_td_hash", 48),
    ("initial_service_td_attributes", 8),
    ("initial_cpu_svn", 16),
    ("initial_tee_tcb_svn", 16),
    ("initial_tee_fmspc", 12),
    ("current_service_td_hash", 48),
    ("current_service_td_attributes", 8),
)
_BODIES = {_TD10: _TD10_BODY, _TD15: _TD15_BODY, _TD15_EXTENDED: _TD15_EXTENDED_BODY}
_BODY_NAMES = {_TD10: "TD 1.0", _TD15: "TD 1.5", _TD15_EXTENDED: "TD 1.5 extended"}
_CERTIFICATIONS = {
    1: "the platform's PPID in the clear",
    2: "the platform's PPID, encrypted with RSA-2048",
    3: "the platform's PPID, encrypted with RSA-3072",
    4: "a PCK certificate without its chain",
    5: "a chain of PEM certificates",
    6: "the quoting enclave's report",
    7: "a platform manifest",
}
# What a body has not is empty.
_ABSENT = dict.fromkeys(_TD15_EXTENDED_BODY.names[len(_TD10_BODY.names) :], b"")
_SIGNATURE = Layout(("signature", 64), ("attestation_key", 64))
_QE = Layout(("qe_report", 384), ("qe_report_signature", 64))
# All of the signature data but the certificates: signature, key, certification type and length, QE report and
# its signature, length of the authentication data, the data, type and length of the certificates.
_SIGNED = struct.Struct("<64s64sHI384s64sH32sHI")
assert (_TD10_BODY.size, _TD15_BODY.size, _TD15_EXTENDED_BODY.size) == (584, 648, 885)


@dataclass(frozen=True)
class Quote:
    """A quote, field by field; values are raw bytes unless named otherwise.

    body_type: 2 for TD 1.0, 3 for TD 1.5, 4 for TD 1.5 extended; version 4 knows only 2 and does not
    write it. What a body has not is empty.
    certificates: the PEM text as it stands. padding: number of zero bytes behind the end.
    """

    version: int
    qe_and_pce_svn: bytes
    user_data: bytes
    body_type: int
    tee_tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mrtd: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    report_data: bytes
    tee_tcb_svn2: bytes
    mr_service_td: bytes
    vmid: bytes
    td_id: bytes
    device_info: bytes
    initial_service_td_hash: bytes
    initial_service_td_attributes: bytes
    initial_cpu_svn: bytes
    initial_tee_tcb_svn: bytes
    initial_tee_fmspc: bytes
    current_service_td_hash: bytes
    current_service_td_attributes: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_report_signature: bytes
    qe_auth_data: bytes
    certificates: bytes
    chain: CertificateChain
    padding: int = 0

    @property
    def rtmr(self) -> tuple[bytes, bytes, bytes, bytes]:
        """RTMR0 to RTMR3."""
        return (self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3)

    @property
    def attributes(self) -> tuple[Bit, ...]:
        """The set bits of the TD's ATTRIBUTES."""
        return td_attributes(int.from_bytes(self.td_attributes, "little"))

    @property
    def features(self) -> tuple[Bit, ...]:
        """The set bits of XFAM."""
        return xfam(int.from_bytes(self.xfam, "little"))

    @property
    def debug(self) -> bool:
        """The TD was built for debugging: the VMM can read it."""
        return bool(int.from_bytes(self.td_attributes, "little") & DEBUG)

    @property
    def lab(self) -> bool:
        """A lab authority signed it, as it says itself; no TDX hardware stands behind it."""
        return self.chain.lab

    @cached_property
    def signed(self) -> bool:
        """Its signatures lead from its root to its fields; dates, revocation and TCB are for verification."""
        binding = hashlib.sha256(self.attestation_key + self.qe_auth_data).digest()
        leaf = load_certificate(self.chain.leaf).public_key()
        return (
            self.chain.linked
            and self.qe_report[320:352] == binding
            and signed_with(leaf, self.qe_report_signature, self.qe_report)
            and signed_with(public_key(self.attestation_key), self.signature, self._signed_part())
        )

    @property
    def intel(self) -> bool:
        """Its signatures lead from Intel's root to its fields; certificates of another quote do not."""
        return self.chain.intel and self.signed

    def _signed_part(self) -> bytes:
        """Header and body."""
        return self.encode()[: (48 if self.version == 4 else 54) + _BODIES[self.body_type].size]

    def encode(self) -> bytes:
        """The bytes this quote was read from, padding included."""
        layout = _BODIES[self.body_type]
        body = layout.encode(self)
        if self.version == 5:
            body = struct.pack("<HI", self.body_type, len(body)) + body
        inner = _QE.encode(self) + struct.pack("<H", len(self.qe_auth_data)) + self.qe_auth_data
        inner += struct.pack("<HI", 5, len(self.certificates)) + self.certificates
        signed = _SIGNATURE.encode(self) + struct.pack("<HI", 6, len(inner)) + inner
        header = struct.pack("<HHI", self.version, 2, 0x81) + self.qe_and_pce_svn + QE_VENDOR_INTEL
        return header + self.user_data + body + struct.pack("<I", len(signed)) + signed + bytes(self.padding)

    def fields(self) -> list[FieldView]:
        """Every field with its offset and meaning; together they cover all bytes."""
        layout = _BODIES[self.body_type]
        length = self._signature_length()
        found = [
            ("version", struct.pack("<H", self.version)),
            ("key_type", b"\2\0"),
            ("tee_type", b"\x81\0\0\0"),
            ("qe_and_pce_svn", self.qe_and_pce_svn),
            ("qe_vendor_id", QE_VENDOR_INTEL),
            ("user_data", self.user_data),
        ]
        if self.version == 5:
            found += [
                ("body_type", struct.pack("<H", self.body_type)),
                ("body_size", struct.pack("<I", layout.size)),
            ]
        found += [
            *((name, getattr(self, name)) for name in layout.names),
            ("signature_length", struct.pack("<I", length)),
            ("signature", self.signature),
            ("attestation_key", self.attestation_key),
            ("certification_type", b"\6\0"),
            ("certification_length", struct.pack("<I", length - 134)),
            ("qe_report", self.qe_report),
            ("qe_report_signature", self.qe_report_signature),
            ("qe_auth_length", struct.pack("<H", len(self.qe_auth_data))),
            ("qe_auth_data", self.qe_auth_data),
            ("chain_type", b"\5\0"),
            ("chain_length", struct.pack("<I", len(self.certificates))),
            ("certificates", self.certificates),
        ]
        if self.padding:
            found.append(("padding", bytes(self.padding)))
        return placed(found, self._notes())

    def _signature_length(self) -> int:
        return 64 + 64 + 6 + 384 + 64 + 2 + len(self.qe_auth_data) + 6 + len(self.certificates)

    def _notes(self) -> dict[str, str]:
        return {
            "key_type": "ECDSA P-256",
            "tee_type": "TDX",
            "qe_vendor_id": "Intel",
            "body_type": _BODY_NAMES[self.body_type],
            "td_attributes": names(self.attributes),
            "xfam": names(self.features),
            "signature": "over header and body, by the attestation key",
            "certification_type": "QE report with its certification",
            "qe_report": "binds the attestation key: first half of its report data",
            "qe_report_signature": "by the PCK key",
            "chain_type": "PEM chain: PCK leaf, CA, root",
            "certificates": " ← ".join(self.chain.subjects),
            "padding": "zeros, not part of the quote",
        }

    def to_dict(self) -> dict[str, Any]:
        """The document of ``labkit quote inspect --json``."""
        layout = _BODIES[self.body_type]
        body = {name: getattr(self, name).hex() for name in layout.names}
        rtmr = [body.pop(f"rtmr{number}") for number in range(4)]
        return {
            "version": self.version,
            "tee": "tdx",
            "body": _BODY_NAMES[self.body_type].lower().replace(" ", "-"),
            **body,
            "rtmr": rtmr,
            "attributes": [bit.to_dict() for bit in self.attributes],
            "features": [bit.to_dict() for bit in self.features],
            "debug": self.debug,
            "fmspc": self.chain.fmspc.hex(),
            "certificates": list(self.chain.subjects),
            "root": "intel" if self.chain.intel else "other",
            "signed": self.signed,
            "lab": self.lab,
            "padding": self.padding,
        }

    def __str__(self) -> str:
        return "\n".join([*self._warnings(), as_text(self.fields())])

    def __repr__(self) -> str:
        return f"Quote(v{self.version}, mrtd={self.mrtd.hex()[:16]}…, debug={self.debug}, lab={self.lab})"

    def _repr_html_(self) -> str:
        return as_html(self.fields())

    def _warnings(self) -> list[str]:
        lines = []
        if self.lab:
            lines.append("[EMULATED] Signed by a lab authority: no TDX hardware stands behind this quote.")
        elif not self.chain.intel:
            lines.append(
                "[EMULATED] Its certificates do not lead to Intel's root: it vouches for no TDX hardware."
            )
        elif not self.signed:
            lines.append(
                "[EMULATED] Its signatures do not fit its certificates: it was changed, or put together."
            )
        if self.debug:
            lines.append("DEBUG is set: the VMM could read and change this TD.")
        reserved = [str(bit.number) for bit in (*self.attributes, *self.features) if not bit.known]
        if reserved:
            lines.append(f"Reserved bits are set: {', '.join(reserved)}.")
        return lines


def parse_quote(data: bytes) -> Quote:
    """Read a TDX quote strictly; nothing is verified, but nothing is unaccounted for either.

    Raises:
        MalformedEvidence: a length, a type or the certificate chain is not exactly as it must be, something
            other than zeros follows the end, or the body is of no known type.
    """
    if other := other_than_a_quote(data):
        raise MalformedEvidence(*other)
    if len(data) < 48 + 584 + 4 or len(data) > _MAX_QUOTE:
        raise MalformedEvidence(f"A TDX quote has some thousand bytes; this has {len(data)}.", _REMEDY)
    data = bytes(data)
    version, key_type, tee_type = struct.unpack_from("<HHI", data)
    if version not in (4, 5):
        said = f"version {version}" if version < _FIRST_NONSENSE else "no version at all"
        raise MalformedEvidence(f"This is not a TDX quote, of version 4 or 5: it has {said}.", _REMEDY)
    if tee_type != 0x81 or key_type != 2 or data[12:28] != QE_VENDOR_INTEL:
        raise MalformedEvidence(
            "The header is not that of a TDX quote with an ECDSA P-256 key of Intel's enclave.", _REMEDY
        )
    body_type, start = _body(data, version)
    layout = _BODIES[body_type]
    end = start + layout.size
    (length,) = struct.unpack_from("<I", data, end)
    tail = _signature_data(data, end + 4, length)
    rest = data[end + 4 + length :]
    if rest.count(0) != len(rest):
        raise MalformedEvidence("Bytes other than zeros follow the end of the quote.", _REMEDY)
    quote = object.__new__(Quote)
    # Past the constructor of a frozen dataclass, which would take as long as all the rest.
    quote.__dict__.update(
        version=version,
        qe_and_pce_svn=data[8:12],
        user_data=data[28:48],
        body_type=body_type,
        **_ABSENT,
        **tail,
        chain=parse_chain(tail["certificates"]),
        padding=len(rest),
    )
    quote.__dict__.update(layout.decode(data, start))
    return quote


def _body(data: bytes, version: int) -> tuple[int, int]:
    """Type of the body and where it begins."""
    if version == 4:
        return _TD10, 48
    body_type, size = struct.unpack_from("<HI", data, 48)
    if body_type not in _BODIES:
        known = ", ".join(f"{name} ({number})" for number, name in _BODY_NAMES.items())
        raise MalformedEvidence(f"Body type {body_type} is none of {known}.", _REMEDY)
    if size != _BODIES[body_type].size or len(data) < 54 + size + 4:
        raise MalformedEvidence(f"A body of type {body_type} cannot have {size} bytes.", _REMEDY)
    return body_type, 54


def _signature_data(data: bytes, start: int, length: int) -> dict[str, bytes]:
    end = start + length
    if length < _SIGNED.size or end > len(data):
        raise MalformedEvidence(f"The signature data of {length} bytes does not fit the quote.", _REMEDY)
    signature, key, outer, outer_size, report, report_signature, auth, auth_data, inner, inner_size = (
        _SIGNED.unpack_from(data, start)
    )
    if outer != 6:
        raise _other_certification("outer", outer)
    if outer_size != length - 134:
        raise MalformedEvidence(
            f"The outer certification data says {outer_size} bytes where there are {length - 134}.", _REMEDY
        )
    if auth != 32:
        raise MalformedEvidence(f"The QE's authentication data has {auth} bytes, not 32.", _REMEDY)
    if inner != 5:
        raise _other_certification("inner", inner)
    if inner_size != length - _SIGNED.size:
        raise MalformedEvidence(
            f"The inner certification data says {inner_size} bytes where there are {length - _SIGNED.size}.",
            _REMEDY,
        )
    return {
        "signature": signature,
        "attestation_key": key,
        "qe_report": report,
        "qe_report_signature": report_signature,
        "qe_auth_data": auth_data,
        "certificates": data[start + _SIGNED.size : end],
    }


def _other_certification(where: str, kind: int) -> MalformedEvidence:
    """Why certification data of this type is not read; types 1 to 3 name the platform and prove nothing."""
    name = _CERTIFICATIONS.get(kind, "unknown")
    remedy = (
        "Have the quoting service fetch the platform's PCK certificate (PCCS), and take the quote again."
        if kind in (1, 2, 3)
        else _REMEDY
    )
    needed = 5 if where == "inner" else 6
    return MalformedEvidence(
        f"The {where} certification data has type {kind} ({name}), not {needed} ({_CERTIFICATIONS[needed]}).",
        remedy,
    )
