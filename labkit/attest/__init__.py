"""Attestation: TDREPORT and quote codecs, verification, the lab authority, appraisal."""

from __future__ import annotations

from labkit.attest._appraise import Appraisal, RegisterFinding, appraise
from labkit.attest._authority import LabAuthority
from labkit.attest._bits import Bit, td_attributes, xfam
from labkit.attest._collateral import Collateral, parse_collateral
from labkit.attest._compare import compare_log
from labkit.attest._policy import TCB_STATUSES, Policy, load_policy, parse_policy
from labkit.attest._quote import Quote, parse_quote
from labkit.attest._reasons import Refusal
from labkit.attest._replies import collateral_of_replies
from labkit.attest._tdreport import TdReport, make_tdreport, parse_tdreport
from labkit.attest._trust import chain_of_trust
from labkit.attest._verify import Anchor, QuoteVerdict, verifier_pool, verify_quote
from labkit.attest._wrapped import unwrap_quote

__all__ = [
    "TCB_STATUSES",
    "Anchor",
    "Appraisal",
    "Bit",
    "Collateral",
    "LabAuthority",
    "Policy",
    "Quote",
    "QuoteVerdict",
    "Refusal",
    "RegisterFinding",
    "TdReport",
    "appraise",
    "chain_of_trust",
    "collateral_of_replies",
    "compare_log",
    "load_policy",
    "make_tdreport",
    "parse_collateral",
    "parse_policy",
    "parse_quote",
    "parse_tdreport",
    "td_attributes",
    "unwrap_quote",
    "verifier_pool",
    "verify_quote",
    "xfam",
]
