"""Why a quote is refused: the library's texts as stable codes, each with what it means and what to do."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Codes of refusals, in ``reason`` of a verdict."""

    DEBUG_TD = "DEBUG_TD"
    SEPT_VE_DISABLE_OFF = "SEPT_VE_DISABLE_OFF"
    TD_ATTRIBUTES = "TD_ATTRIBUTES"
    SERVICE_TD = "SERVICE_TD"
    LAB_QUOTE = "LAB_QUOTE"
    WRONG_ROOT = "WRONG_ROOT"
    CERTIFICATE_EXPIRED = "CERTIFICATE_EXPIRED"
    CERTIFICATE_NOT_YET_VALID = "CERTIFICATE_NOT_YET_VALID"
    CERTIFICATE_REVOKED = "CERTIFICATE_REVOKED"
    CERTIFICATE_CHAIN = "CERTIFICATE_CHAIN"
    CRL_EXPIRED = "CRL_EXPIRED"
    COLLATERAL_EXPIRED = "COLLATERAL_EXPIRED"
    COLLATERAL_NOT_YET_VALID = "COLLATERAL_NOT_YET_VALID"
    COLLATERAL_INVALID = "COLLATERAL_INVALID"
    FMSPC_MISMATCH = "FMSPC_MISMATCH"
    NO_TCB_LEVEL = "NO_TCB_LEVEL"
    TCB_REVOKED = "TCB_REVOKED"
    QUOTE_SIGNATURE = "QUOTE_SIGNATURE"
    QE_SIGNATURE = "QE_SIGNATURE"
    QE_KEY_BINDING = "QE_KEY_BINDING"
    QE_IDENTITY = "QE_IDENTITY"
    TDX_MODULE = "TDX_MODULE"
    OTHER = "OTHER"


# Texts of dcap-qvl 0.7, most specific first; the first that occurs in the message decides.
_TEXTS: tuple[tuple[str, Refusal], ...] = (
    ("Debug mode is enabled", Refusal.DEBUG_TD),
    ("SEPT_VE_DISABLE", Refusal.SEPT_VE_DISABLE_OFF),
    ("MRSERVICETD", Refusal.SERVICE_TD),
    ("service td", Refusal.SERVICE_TD),
    ("Fmspc mismatch", Refusal.FMSPC_MISMATCH),
    ("No matching TCB level", Refusal.NO_TCB_LEVEL),
    ("TCB status is invalid: Revoked", Refusal.TCB_REVOKED),
    ("ISV enclave report signature is invalid", Refusal.QUOTE_SIGNATURE),
    ("Signature is invalid for qe_report", Refusal.QE_SIGNATURE),
    ("QE report hash mismatch", Refusal.QE_KEY_BINDING),
    ("CertRevoked", Refusal.CERTIFICATE_REVOKED),
    ("CrlExpired", Refusal.CRL_EXPIRED),
    ("CertNotValidYet", Refusal.CERTIFICATE_NOT_YET_VALID),
    ("CertExpired", Refusal.CERTIFICATE_EXPIRED),
    ("issue date is in the future", Refusal.COLLATERAL_NOT_YET_VALID),
    ("TCBInfo expired", Refusal.COLLATERAL_EXPIRED),
    ("QE Identity expired", Refusal.COLLATERAL_EXPIRED),
    ("InvalidCrlSignatureForPublicKey", Refusal.WRONG_ROOT),
    ("UnknownIssuer", Refusal.WRONG_ROOT),
    ("Failed to parse root CA CRL", Refusal.COLLATERAL_INVALID),
    ("TDX module", Refusal.TDX_MODULE),
    ("QE MRSIGNER", Refusal.QE_IDENTITY),
    ("QE ISVPRODID", Refusal.QE_IDENTITY),
    ("QE report validation", Refusal.QE_IDENTITY),
    ("QE Identity", Refusal.QE_IDENTITY),
    ("Failed to verify certificate chain", Refusal.CERTIFICATE_CHAIN),
    ("PCK certificate", Refusal.CERTIFICATE_CHAIN),
    ("Signature is invalid", Refusal.COLLATERAL_INVALID),
    ("CRL", Refusal.COLLATERAL_INVALID),
    ("TCB", Refusal.COLLATERAL_INVALID),
)

_MEANINGS = {
    Refusal.DEBUG_TD: "the TD is a debug TD",
    Refusal.SEPT_VE_DISABLE_OFF: "the TD runs without SEPT_VE_DISABLE: its host can make a page a #VE",
    Refusal.TD_ATTRIBUTES: "the TD has attributes that weaken it",
    Refusal.SERVICE_TD: "a service TD is bound to the TD",
    Refusal.LAB_QUOTE: "a lab authority signed this quote, not Intel",
    Refusal.WRONG_ROOT: "the chain of the quote or of its collateral ends in another root certificate",
    Refusal.CERTIFICATE_EXPIRED: "a certificate has expired at that time",
    Refusal.CERTIFICATE_NOT_YET_VALID: "a certificate is not yet valid at that time",
    Refusal.CERTIFICATE_REVOKED: "a certificate of the chain is revoked",
    Refusal.CERTIFICATE_CHAIN: "the certificates do not form a valid chain",
    Refusal.CRL_EXPIRED: "a list of revoked certificates (CRL) has expired at that time",
    Refusal.COLLATERAL_EXPIRED: "the TCB info or the QE identity has expired at that time",
    Refusal.COLLATERAL_NOT_YET_VALID: "the TCB info or the QE identity was issued after that time",
    Refusal.COLLATERAL_INVALID: "the collateral is damaged, or its signature does not fit",
    Refusal.FMSPC_MISMATCH: "the collateral is that of another kind of platform (FMSPC)",
    Refusal.NO_TCB_LEVEL: "the platform is below every TCB level of the collateral",
    Refusal.TCB_REVOKED: "the TCB level is revoked",
    Refusal.QUOTE_SIGNATURE: "the signature over header and TD body does not fit",
    Refusal.QE_SIGNATURE: "the signature over the quoting enclave's report does not fit",
    Refusal.QE_KEY_BINDING: "the quoting enclave's report does not name the key that signed the quote",
    Refusal.QE_IDENTITY: "the quoting enclave is not the one of the QE identity",
    Refusal.TDX_MODULE: "the TDX module is not one of the collateral",
    Refusal.OTHER: "the verifier does not accept it",
}

_REMEDIES = {
    Refusal.DEBUG_TD: "Start the TD without the debug attribute; nothing a debug TD says can be trusted.",
    Refusal.SEPT_VE_DISABLE_OFF: "Start the TD with SEPT_VE_DISABLE (QEMU: sept-ve-disable=on).",
    Refusal.LAB_QUOTE: "Name the lab's root (--root-ca) if its word is enough; Intel never vouches for it.",
    Refusal.WRONG_ROOT: "Name the root under which quote and collateral were made, if you trust it.",
    Refusal.CERTIFICATE_NOT_YET_VALID: "Use a time of verification that is not before the certificate.",
    Refusal.CERTIFICATE_EXPIRED: "Use a time of verification within the certificate's validity.",
    Refusal.CRL_EXPIRED: "Fetch newer collateral, or verify for a time at which this one was current.",
    Refusal.COLLATERAL_EXPIRED: "Fetch newer collateral, or verify for a time at which this one was current.",
    Refusal.COLLATERAL_NOT_YET_VALID: "Verify for a time that is not before the collateral was issued.",
    Refusal.FMSPC_MISMATCH: "Fetch the collateral of this platform's FMSPC.",
    Refusal.NO_TCB_LEVEL: "The platform's firmware is older than any level Intel lists: update it.",
    Refusal.QUOTE_SIGNATURE: "Header or TD body were changed after it was signed: take the quote again.",
    Refusal.QE_SIGNATURE: "The quoting enclave's report was changed, or is another platform's: quote again.",
    Refusal.TD_ATTRIBUTES: "Start the TD without attributes that weaken it, such as debug.",
    Refusal.SERVICE_TD: "Start the TD without a service TD: its migration policy is not judged here.",
    Refusal.CERTIFICATE_REVOKED: "The platform's certificate was withdrawn: trust nothing that it signs.",
    Refusal.CERTIFICATE_CHAIN: "A certificate does not fit: fetch quote and collateral again.",
    Refusal.COLLATERAL_INVALID: "Fetch the collateral again, and keep Intel's replies as they came.",
    Refusal.TCB_REVOKED: "The platform's firmware is known to be broken: update it, and quote again.",
    Refusal.QE_IDENTITY: "Fetch TD_QE's identity (not that of SGX' QE), or update the quoting enclave.",
    Refusal.TDX_MODULE: "Fetch newer collateral, or update the TDX module: Intel does not list it.",
    Refusal.OTHER: "Fetch quote and collateral again; if it stays, the message is the verifier's own.",
    Refusal.QE_KEY_BINDING: "The quoting enclave vouches for another key than the one used: quote again.",
}


OF_TIME = frozenset(
    {
        Refusal.CERTIFICATE_NOT_YET_VALID,
        Refusal.CERTIFICATE_EXPIRED,
        Refusal.CRL_EXPIRED,
        Refusal.COLLATERAL_EXPIRED,
        Refusal.COLLATERAL_NOT_YET_VALID,
    }
)
"""Refusals that another time of verification may not have."""


def reason_of(message: str) -> Refusal:
    """The code for an error text of the library; ``OTHER`` where none is known."""
    folded = message.casefold()
    return next((reason for text, reason in _TEXTS if text.casefold() in folded), Refusal.OTHER)


def meaning_of(reason: Refusal) -> str:
    """What a refusal means: a clause without a full stop."""
    return _MEANINGS[reason]


def remedy_of(reason: Refusal) -> str:
    """What to do about a refusal, one sentence."""
    return _REMEDIES[reason]
