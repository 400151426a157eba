"""Why a quote is refused: the library's texts as stable codes, each with what to do."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
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
_TEXTS: tuple[tuple[str, Reason], ...] = (
    ("Debug mode is enabled", Reason.DEBUG_TD),
    ("SEPT_VE_DISABLE", Reason.SEPT_VE_DISABLE_OFF),
    ("MRSERVICETD", Reason.SERVICE_TD),
    ("service td", Reason.SERVICE_TD),
    ("Fmspc mismatch", Reason.FMSPC_MISMATCH),
    ("No matching TCB level", Reason.NO_TCB_LEVEL),
    ("TCB status is invalid: Revoked", Reason.TCB_REVOKED),
    ("ISV enclave report signature is invalid", Reason.QUOTE_SIGNATURE),
    ("Signature is invalid for qe_report", Reason.QE_SIGNATURE),
    ("QE report hash mismatch", Reason.QE_KEY_BINDING),
    ("CertRevoked", Reason.CERTIFICATE_REVOKED),
    ("CrlExpired", Reason.CRL_EXPIRED),
    ("CertNotValidYet", Reason.CERTIFICATE_NOT_YET_VALID),
    ("CertExpired", Reason.CERTIFICATE_EXPIRED),
    ("issue date is in the future", Reason.COLLATERAL_NOT_YET_VALID),
    ("TCBInfo expired", Reason.COLLATERAL_EXPIRED),
    ("QE Identity expired", Reason.COLLATERAL_EXPIRED),
    ("InvalidCrlSignatureForPublicKey", Reason.WRONG_ROOT),
    ("UnknownIssuer", Reason.WRONG_ROOT),
    ("Failed to parse root CA CRL", Reason.COLLATERAL_INVALID),
    ("TDX module", Reason.TDX_MODULE),
    ("QE MRSIGNER", Reason.QE_IDENTITY),
    ("QE ISVPRODID", Reason.QE_IDENTITY),
    ("QE report validation", Reason.QE_IDENTITY),
    ("QE Identity", Reason.QE_IDENTITY),
    ("Failed to verify certificate chain", Reason.CERTIFICATE_CHAIN),
    ("PCK certificate", Reason.CERTIFICATE_CHAIN),
    ("Signature is invalid", Reason.COLLATERAL_INVALID),
    ("CRL", Reason.COLLATERAL_INVALID),
    ("TCB", Reason.COLLATERAL_INVALID),
)

_REMEDIES = {
    Reason.DEBUG_TD: "Start the TD without the debug attribute; nothing a debug TD says can be trusted.",
    Reason.SEPT_VE_DISABLE_OFF: "Start the TD with SEPT_VE_DISABLE (QEMU: sept-ve-disable=on).",
    Reason.LAB_QUOTE: "Name the lab's root (--root-ca) if its word is enough; Intel never vouches for it.",
    Reason.WRONG_ROOT: "Name the root under which quote and collateral were made, if you trust it.",
    Reason.CERTIFICATE_NOT_YET_VALID: "Use a time of verification that is not before the certificate.",
    Reason.CERTIFICATE_EXPIRED: "Use a time of verification within the certificate's validity.",
    Reason.CRL_EXPIRED: "Fetch newer collateral, or verify for a time at which this one was current.",
    Reason.COLLATERAL_EXPIRED: "Fetch newer collateral, or verify for a time at which this one was current.",
    Reason.COLLATERAL_NOT_YET_VALID: "Verify for a time that is not before the collateral was issued.",
    Reason.FMSPC_MISMATCH: "Fetch the collateral of this platform's FMSPC.",
    Reason.NO_TCB_LEVEL: "The platform's firmware is older than any level Intel lists: update it.",
    Reason.QUOTE_SIGNATURE: "Header or TD body were changed after it was signed: take the quote again.",
    Reason.QE_SIGNATURE: "The quoting enclave's report was changed, or is another platform's: quote again.",
    Reason.TD_ATTRIBUTES: "Start the TD without attributes that weaken it, such as debug.",
    Reason.SERVICE_TD: "Start the TD without a service TD: its migration policy is not judged here.",
    Reason.CERTIFICATE_REVOKED: "The platform's certificate was withdrawn: trust nothing that it signs.",
    Reason.CERTIFICATE_CHAIN: "A certificate does not fit: take quote and collateral again from the platform.",
    Reason.COLLATERAL_INVALID: "Fetch the collateral again, and keep Intel's replies as they came.",
    Reason.TCB_REVOKED: "The platform's firmware is known to be broken: update it, and quote again.",
    Reason.QE_IDENTITY: "Fetch TD_QE's identity (not that of SGX' QE), or update the quoting enclave.",
    Reason.TDX_MODULE: "Fetch newer collateral, or update the TDX module: Intel does not list it.",
    Reason.OTHER: "Fetch quote and collateral again; if it stays, the message is the verifier's own.",
    Reason.QE_KEY_BINDING: "The quoting enclave vouches for another key than the one used: quote again.",
}


def reason_of(message: str) -> Reason:
    """The code for an error text of the library; ``OTHER`` where none is known."""
    folded = message.casefold()
    return next((reason for text, reason in _TEXTS if text.casefold() in folded), Reason.OTHER)


def remedy_of(reason: Reason) -> str:
    """What to do about a refusal, one sentence."""
    return _REMEDIES[reason]
