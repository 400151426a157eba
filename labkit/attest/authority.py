"""The lab authority: a PKI of this installation that signs quotes of the emulated platform.

Its quotes have the form of real ones and go through the same verification, but only under its own root. They
say in their names, their FMSPC and their user data that no hardware stands behind them.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import struct
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from labkit.attest import pki
from labkit.attest._collateral import Collateral
from labkit.attest._quote import QE_VENDOR_INTEL
from labkit.attest.chain import LAB_FMSPC, fmspc_of
from labkit.attest.tdreport import TdReport, parse_tdreport
from labkit.errors import DataError, UsageError

USER_DATA = b"LAB: NO TDX HARDWARE"
_AUTH_DATA = b"labkit".ljust(32, b"\0")
_QE_MRSIGNER = hashlib.sha256(b"labkit lab quoting enclave").digest()
_QE_PRODUCT, _QE_SVN = 2, 1
_EARLIEST = 1_577_836_800  # 2020: a clock that was never set is before it
_FILES = ("root", "platform-ca", "pck", "tcb-signer")
_SHA256 = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True)
class _Identity:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def issuer(self) -> pki.Issuer:
        return pki.Issuer(self.certificate, self.key)


@dataclass(frozen=True, repr=False)
class LabAuthority:
    """Four keys with their certificates: root, platform CA, PCK leaf and the signer of the collateral."""

    root: _Identity
    platform_ca: _Identity
    pck: _Identity
    tcb_signer: _Identity
    fmspc: bytes

    @classmethod
    def create(cls, now: int) -> LabAuthority:
        """A new authority that exists in memory only, its certificates valid from the day before ``now``."""
        moment = _moment(now)
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in _FILES]
        root = _Identity(pki.make_root(keys[0], moment), keys[0])
        ca_name, signer_name = "Lab PCK Platform CA", "Lab TCB Signing"
        ca = _Identity(pki.issue(root.issuer, ca_name, keys[1].public_key(), moment, authority=True), keys[1])
        fmspc = LAB_FMSPC + secrets.token_bytes(3)
        pck = _Identity(
            pki.issue_pck(ca.issuer, keys[2].public_key(), moment, fmspc, secrets.token_bytes(16)), keys[2]
        )
        signer = _Identity(
            pki.issue(root.issuer, signer_name, keys[3].public_key(), moment, authority=False), keys[3]
        )
        return cls(root, ca, pck, signer, fmspc)

    @classmethod
    def open(cls, state_dir: Path, now: int) -> LabAuthority:
        """The authority of this installation; made on first use, private keys readable by the user only.

        Raises:
            DataError: the stored authority is damaged or readable by others, or was not valid at ``now``.
        """
        home = state_dir / "authority"
        if now < _EARLIEST:
            raise DataError(
                f"The clock of this machine says {_iso(_moment(now))}, which is long past.", "Set the clock."
            )
        if not home.is_dir():
            cls.create(now)._store(home)
        found = cls._load(home)
        found._check_time(home, now)
        return found

    def _check_time(self, home: Path, now: int) -> None:
        certificates = [identity.certificate for identity in self._identities()]
        first = max(certificate.not_valid_before_utc for certificate in certificates)
        last = min(certificate.not_valid_after_utc for certificate in certificates)
        if not first <= _moment(now) <= last:
            raise DataError(
                f"The clock of this machine says {_iso(_moment(now))}, but the lab authority in {home} is "
                f"valid from {_iso(first)} to {_iso(last)}.",
                f"Set the clock; if it is right, remove {home}: a new authority is made, and quotes of the "
                "old one will verify no more.",
            )

    @property
    def root_der(self) -> bytes:
        """The root certificate: what a verifier must name to believe this lab."""
        return self.root.certificate.public_bytes(Encoding.DER)

    def quote(self, report: TdReport, version: int = 4) -> bytes:
        """A quote about a TDREPORT: version 4 with a TD 1.0 body, or version 5 with a TD 1.5 body.

        The report's MAC is not checked: no processor made it.

        Raises:
            MalformedEvidence: the report contradicts itself.
            UsageError: there is no such version.
        """
        parse_tdreport(report.encode())
        if version not in (4, 5):
            raise UsageError(f"There is no TDX quote of version {version}.", "Ask for version 4 or 5.")
        header = struct.pack("<HHII", version, 2, 0x81, 0) + QE_VENDOR_INTEL + USER_DATA
        body = _td10_body(report)
        if version == 5:
            body += report.tee_tcb_svn2 + report.servtd_hash
            body = struct.pack("<HI", 3, len(body)) + body
        signed = header + body
        data = raw_signature(self._attestation_key, signed) + self._certification
        return signed + struct.pack("<I", len(data)) + data

    def collateral(self, now: int) -> Collateral:
        """Collateral for this authority's quotes, current from ``now`` for 30 days."""
        moment = _moment(now)
        dates = {"issueDate": _iso(moment), "nextUpdate": _iso(moment + pki.CRL_LIFETIME)}
        signed_tcb_info = json.dumps(tcb_info(self.fmspc, dates), separators=(",", ":"))
        qe_identity = json.dumps(_qe_identity(dates), separators=(",", ":"))
        signer_chain = pki.pem_chain([self.tcb_signer.certificate, self.root.certificate])
        document = {
            "pck_crl_issuer_chain": pki.pem_chain([self.platform_ca.certificate, self.root.certificate]),
            "root_ca_crl": pki.make_crl(self.root.issuer, moment).hex(),
            "pck_crl": pki.make_crl(self.platform_ca.issuer, moment).hex(),
            "tcb_info_issuer_chain": signer_chain,
            "tcb_info": signed_tcb_info,
            "tcb_info_signature": raw_signature(self.tcb_signer.key, signed_tcb_info.encode()).hex(),
            "qe_identity_issuer_chain": signer_chain,
            "qe_identity": qe_identity,
            "qe_identity_signature": raw_signature(self.tcb_signer.key, qe_identity.encode()).hex(),
        }
        return Collateral(json.dumps(document, indent=1))

    def __repr__(self) -> str:
        return f"LabAuthority(fmspc={self.fmspc.hex().upper()})"

    @cached_property
    def _attestation_key(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def _certification(self) -> bytes:
        """Everything behind the quote's signature; the same for all quotes of one attestation key."""
        numbers = self._attestation_key.public_key().public_numbers()
        key = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
        report = _qe_report(hashlib.sha256(key + _AUTH_DATA).digest())
        chain = [self.pck.certificate, self.platform_ca.certificate, self.root.certificate]
        pem = pki.pem_chain(chain).encode("ascii")
        inner = report + raw_signature(self.pck.key, report)
        inner += struct.pack("<H", len(_AUTH_DATA)) + _AUTH_DATA + struct.pack("<HI", 5, len(pem)) + pem
        return key + struct.pack("<HI", 6, len(inner)) + inner

    def _store(self, home: Path) -> None:
        home.parent.mkdir(parents=True, exist_ok=True)
        # Complete or not there at all: a second process may be making one at the same time.
        draft = Path(tempfile.mkdtemp(prefix=".authority-", dir=home.parent))
        try:
            for name, identity in zip(_FILES, self._identities(), strict=True):
                pem = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                (draft / f"{name}.key").touch(mode=0o600)
                (draft / f"{name}.key").write_bytes(pem)
                (draft / f"{name}.crt").write_bytes(identity.certificate.public_bytes(Encoding.PEM))
            try:
                draft.rename(home)
            except OSError:
                if not home.is_dir():
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @classmethod
    def _load(cls, home: Path) -> LabAuthority:
        root, ca, pck, signer = (_load_identity(home, name) for name in _FILES)
        try:
            fmspc = fmspc_of(pck.certificate.public_bytes(Encoding.DER))
        except ValueError as error:
            raise _damaged(home) from error
        return cls(root, ca, pck, signer, fmspc)

    def _identities(self) -> tuple[_Identity, ...]:
        return (self.root, self.platform_ca, self.pck, self.tcb_signer)


def _load_identity(home: Path, name: str) -> _Identity:
    key_path = home / f"{name}.key"
    try:
        if key_path.stat().st_mode & 0o077:
            raise DataError(
                f"The lab authority's key {key_path} is readable by others.", f"Run: chmod 600 {key_path}"
            )
        key = load_pem_private_key(key_path.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((home / f"{name}.crt").read_bytes())
    except (FileNotFoundError, ValueError, TypeError, x509.InvalidVersion) as error:
        raise _damaged(home) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise _damaged(home)
    return _Identity(certificate, key)


def _damaged(home: Path) -> DataError:
    return DataError(
        f"The lab authority in {home} is damaged.",
        f"Remove {home}: a new authority is made, and quotes of the old one will verify no more.",
    )


def _moment(now: int) -> datetime:
    return datetime.fromtimestamp(now, UTC)


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def raw_signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """ECDSA P-256 with SHA-256, r and s as 32 bytes each."""
    r, s = decode_dss_signature(key.sign(data, _SHA256))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _td10_body(report: TdReport) -> bytes:
    identity = report.tee_tcb_svn + report.mr_seam + report.mr_signer_seam + report.seam_attributes
    build = report.td_attributes + report.xfam + report.mrtd
    owner = report.mr_config_id + report.mr_owner + report.mr_owner_config
    return identity + build + owner + b"".join(report.rtmr) + report.report_data


def _qe_report(binding: bytes) -> bytes:
    """An SGX enclave report whose first half of report data binds the attestation key."""
    report = bytearray(384)
    report[0:16] = pki.CPU_SVN
    report[48:64] = bytes.fromhex("11000000000000000000000000000000")
    report[64:96] = hashlib.sha256(b"labkit").digest()
    report[128:160] = _QE_MRSIGNER
    struct.pack_into("<HH", report, 256, _QE_PRODUCT, _QE_SVN)
    report[320:352] = binding
    return bytes(report)


def tcb_info(fmspc: bytes, dates: dict[str, str]) -> dict[str, Any]:
    """The TCB information of one platform, up to date; ``dates`` holds its issue date and next update."""
    level = {
        "tcb": {
            "sgxtcbcomponents": [{"svn": svn} for svn in pki.CPU_SVN],
            "pcesvn": pki.PCE_SVN,
            "tdxtcbcomponents": [{"svn": 0}] * 16,
        },
        "tcbDate": dates["issueDate"],
        "tcbStatus": "UpToDate",
    }
    module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    return {
        "id": "TDX",
        "version": 3,
        **dates,
        "fmspc": fmspc.hex().upper(),
        "pceId": pki.PCE_ID.hex(),
        "tcbType": 0,
        "tcbEvaluationDataNumber": 1,
        "tdxModule": module,
        "tdxModuleIdentities": [],
        "tcbLevels": [level],
    }


def _qe_identity(dates: dict[str, str]) -> dict[str, Any]:
    level = {"tcb": {"isvsvn": _QE_SVN}, "tcbDate": dates["issueDate"], "tcbStatus": "UpToDate"}
    return {
        "id": "TD_QE",
        "version": 2,
        **dates,
        "tcbEvaluationDataNumber": 1,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": _QE_MRSIGNER.hex().upper(),
        "isvprodid": _QE_PRODUCT,
        "tcbLevels": [level],
    }
