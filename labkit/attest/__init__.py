"""Attestation: TDREPORT and quote codecs, verification, the lab authority, appraisal."""

from __future__ import annotations

from labkit.attest._collateral import Collateral, parse_collateral
from labkit.attest._compare import compare_log
from labkit.attest._quote import parse_quote
from labkit.attest._trust import chain_of_trust
from labkit.attest.appraisal import Appraisal, appraise
from labkit.attest.authority import LabAuthority
from labkit.attest.policy import Policy, load_policy, parse_policy
from labkit.attest.tdreport import make_tdreport, parse_tdreport
from labkit.attest.verify import QuoteVerdict, verify_quote

__all__ = [
    "Appraisal",
    "Collateral",
    "LabAuthority",
    "Policy",
    "QuoteVerdict",
    "appraise",
    "chain_of_trust",
    "compare_log",
    "load_policy",
    "make_tdreport",
    "parse_collateral",
    "parse_policy",
    "parse_quote",
    "parse_tdreport",
    "verify_quote",
]
