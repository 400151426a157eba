"""Verification of quotes: our strict reading first, then the library, then what the library leaves out.

Offline: collateral and the time of verification are arguments, never fetched and never assumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache, partial
from multiprocessing import get_context
from typing import Any

import dcap_qvl

from labkit.attest._collateral import Collateral
from labkit.attest._quote import Quote, parse_quote
from labkit.attest.chain import INTEL_ROOT_SHA256, load_certificate, signed_by
from labkit.attest.reasons import Refusal, meaning_of, reason_of, remedy_of
from labkit.errors import MalformedEvidence, UsageError
from labkit.process import unseen_script
from labkit.settings import Trust
from labkit.show import columns, one_line, stamp
from labkit.show.verdict import verdict_view

_CHUNK = 16


class Anchor(StrEnum):
    """Under which root a quote was verified: Intel's own, known by its fingerprint, or any other."""

    INTEL = "intel"
    CUSTOM_ROOT = "custom-root"


@dataclass(frozen=True)
class QuoteVerdict:
    """What verification found. ``reason`` is empty for a verified quote; ``message`` keeps the original text.

    anchor: the root that was asked. accept: the TCB statuses that are good enough: a verified quote may be of
    a platform that is out of date. lab: the quote says itself that a lab authority signed it. intel_chain:
    its signatures lead to Intel's root, also where it is refused for another reason, such as its time.
    """

    reason: Refusal | None
    message: str
    tcb_status: str
    advisory_ids: tuple[str, ...]
    version: int
    mrtd: bytes
    rtmr: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    debug: bool
    anchor: Anchor
    lab: bool
    intel_chain: bool
    fmspc: str
    padding: int
    accept: tuple[str, ...] = ("UpToDate",)

    @property
    def verified(self) -> bool:
        """Signatures, certificates, revocation, identities and TCB level were all accepted."""
        return self.reason is None

    @property
    def accepted(self) -> bool:
        """Verified, and its TCB status is good enough."""
        return self.verified and self.tcb_status in self.accept

    @property
    def trust(self) -> Trust:
        """Hardware if Intel's root vouches for it, and for nothing else: no other root knows the hardware."""
        return Trust.HARDWARE if self.verified and self.anchor is Anchor.INTEL else Trust.NONE

    @property
    def shown_trust(self) -> Trust:
        """The stamp it is shown with: a refused quote of Intel's root has no trust, yet is not emulated."""
        intel = self.intel_chain and self.anchor is Anchor.INTEL
        return Trust.HARDWARE if intel else Trust.NONE

    @property
    def remedy(self) -> str:
        """What to do about a refusal."""
        return remedy_of(self.reason) if self.reason else ""

    def to_dict(self) -> dict[str, Any]:
        """The document of ``labkit quote verify --json``."""
        return {
            "verdict": "VERIFIED" if self.verified else "REFUSED",
            "reason": self.reason.value if self.reason else None,
            "message": self.message,
            "tcb_status": self.tcb_status,
            "advisory_ids": list(self.advisory_ids),
            "version": self.version,
            "tee": "tdx",
            "mrtd": self.mrtd.hex(),
            "rtmr": [value.hex() for value in self.rtmr],
            "report_data": self.report_data.hex(),
            "debug": self.debug,
            "anchor": self.anchor.value,
            "trust": self.trust.value,
            "stamp": self.shown_trust.stamp,
            "lab": self.lab,
            "accepted": self.accepted,
            "fmspc": self.fmspc,
            "padding": self.padding,
        }

    def __str__(self) -> str:
        return "\n".join([self._headline(), "", columns(self._rows())])

    def __repr__(self) -> str:
        return f"QuoteVerdict({self.word}, tcb_status={self.tcb_status!r}, anchor={self.anchor.value})"

    def _repr_html_(self) -> str:
        return verdict_view(self.word, self.accepted, self.shown_trust, self.because, self._rows())

    @property
    def word(self) -> str:
        """VERIFIED, NOT ACCEPTED with the TCB status, or REFUSED with the reason."""
        if not self.verified:
            return f"REFUSED {self.reason}"
        return "VERIFIED" if self.accepted else f"NOT ACCEPTED {self.tcb_status}"

    def _headline(self) -> str:
        return f"{stamp(self.shown_trust)}{self.word}: {self.because}"

    @property
    def because(self) -> str:
        """Why the verdict is what it is, in sentences; the verifier's own words stand last."""
        if self.reason is not None:
            return self._refusal(self.reason)
        if self.anchor is Anchor.INTEL:
            root = "under Intel's root"
        else:
            kind = "a lab's root" if self.lab else "the root that was named"
            root = f"under {kind}, which is not Intel's: no TDX platform is vouched for"
        if self.accepted:
            return f"{root}."
        good = " or ".join(self.accept)
        return f"verified {root}, but the TCB status is {self.tcb_status}, not {good}."

    def _refusal(self, reason: Refusal) -> str:
        meaning = meaning_of(reason)
        told = "" if self.message == meaning else f" (The verifier's words: {one_line(self.message)}.)"
        return f"{meaning}. {self.remedy}{told}"

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            ("TCB status", self.tcb_status or "not reached"),
            ("advisories", ", ".join(self.advisory_ids) or "none"),
            ("FMSPC", self.fmspc),
            ("quote version", str(self.version)),
            ("debug TD", "YES: trust nothing in it" if self.debug else "no"),
            ("MRTD", self.mrtd.hex()),
            *((f"RTMR{number}", value.hex()) for number, value in enumerate(self.rtmr)),
            ("report data", self.report_data.hex()),
        ]
        return [*rows, ("padding", f"{self.padding} zero bytes behind the quote")] if self.padding else rows


def verify_quote(
    raw: bytes,
    collateral: Collateral,
    now: int,
    root_ca: bytes | None = None,
    *,
    accept: tuple[str, ...] = ("UpToDate",),
) -> QuoteVerdict:
    """Verify a quote for the time ``now`` (seconds since 1970) under Intel's root or ``root_ca`` (DER).

    A quote of a lab authority is refused under Intel's root before anything else is asked, and would be
    refused by its signatures too. accept: the TCB statuses that are good enough.

    Raises:
        MalformedEvidence: quote or collateral do not parse.
        UsageError: ``now`` is not a time, or ``root_ca`` is not a certificate that its own key signed.
    """
    return replace(_verify(raw, collateral, now, root_ca), accept=accept)


def _verify(raw: bytes, collateral: Collateral, now: int, root_ca: bytes | None) -> QuoteVerdict:
    if not 0 <= now < 1 << 63:
        raise UsageError(f"The time {now} is not a time of verification.", "Give seconds since 1970.")
    native = collateral.native
    quote = parse_quote(raw)
    if quote.lab and root_ca is None:
        return _verdict(quote, root_ca, Refusal.LAB_QUOTE, meaning_of(Refusal.LAB_QUOTE))
    # Before the library is asked: it aborts the process for a root whose name is not the chain's issuer.
    if quote.chain.root_sha256 != (INTEL_ROOT_SHA256 if root_ca is None else _root_sha256(root_ca)):
        return _verdict(quote, root_ca, Refusal.WRONG_ROOT, meaning_of(Refusal.WRONG_ROOT))
    try:
        if root_ca is None:
            report = dcap_qvl.verify(raw, native, now)
        else:
            report = dcap_qvl.verify_with_root_ca(raw, native, root_ca, now)
    except ValueError as error:
        return _verdict(quote, root_ca, reason_of(str(error)), str(error))
    if quote.debug:
        return _verdict(quote, root_ca, Refusal.DEBUG_TD, meaning_of(Refusal.DEBUG_TD))
    if report.status == "Revoked":
        return _verdict(quote, root_ca, Refusal.TCB_REVOKED, meaning_of(Refusal.TCB_REVOKED))
    return _verdict(quote, root_ca, None, "", report.status, tuple(report.advisory_ids))


def _anchor(root_ca: bytes | None) -> Anchor:
    intel = root_ca is None or _root_sha256(root_ca) == INTEL_ROOT_SHA256
    return Anchor.INTEL if intel else Anchor.CUSTOM_ROOT


@lru_cache(maxsize=16)
def _root_sha256(root_ca: bytes) -> bytes:
    try:
        certificate = load_certificate(root_ca)
    except ValueError as error:
        raise UsageError(
            f"The root is not a DER certificate: {error}.", "Give the root CA as DER."
        ) from error
    if not signed_by(certificate, certificate):
        raise UsageError(
            "The root is not signed by its own key, so it is not a root or was changed.",
            "Give the root CA as its authority published it.",
        )
    return hashlib.sha256(root_ca).digest()


def _verdict(
    quote: Quote,
    root_ca: bytes | None,
    reason: Refusal | None,
    message: str,
    status: str = "",
    advisories: tuple[str, ...] = (),
) -> QuoteVerdict:
    return QuoteVerdict(
        reason=reason,
        message=message,
        tcb_status=status,
        advisory_ids=advisories,
        version=quote.version,
        mrtd=quote.mrtd,
        rtmr=quote.rtmr,
        report_data=quote.report_data,
        debug=quote.debug,
        anchor=_anchor(root_ca),
        lab=quote.lab,
        # Of a verified quote the library has found that its signatures fit.
        intel_chain=quote.chain.intel if reason is None else quote.intel,
        fmspc=quote.chain.fmspc.hex().upper(),
        padding=quote.padding,
    )


Outcome = QuoteVerdict | MalformedEvidence


class VerifierPool:
    """Processes that verify many quotes under the same collateral, time and root.

    The library holds the interpreter's lock while it verifies, so that only processes help.
    """

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self._executor = executor

    def verify(self, quotes: Iterable[bytes]) -> Iterator[Outcome]:
        """Verdicts in the order of the quotes; a malformed quote yields its error and stops nothing."""
        return self._executor.map(_verify_here, quotes, chunksize=_CHUNK)


@contextmanager
def verifier_pool(
    collateral: Collateral, now: int, root_ca: bytes | None = None, workers: int | None = None
) -> Iterator[VerifierPool]:
    """A pool of ``workers`` processes (default: one for each CPU), ended when the block is left."""
    # Not fork: the caller may be a notebook kernel with threads.
    with (
        unseen_script(),
        ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=_prepare,
            initargs=(collateral, now, root_ca),
        ) as executor,
    ):
        yield VerifierPool(executor)


_verifier: partial[QuoteVerdict] | None = None


def _prepare(collateral: Collateral, now: int, root_ca: bytes | None) -> None:
    global _verifier
    _verifier = partial(verify_quote, collateral=collateral, now=now, root_ca=root_ca)


def _verify_here(raw: bytes) -> Outcome:
    assert _verifier is not None
    try:
        return _verifier(raw)
    except MalformedEvidence as error:
        return error
