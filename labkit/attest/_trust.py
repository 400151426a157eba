"""Who vouches for whom in one quote, as a picture: from the root certificate down to the registers."""

from __future__ import annotations

import re

from labkit.attest._quote import Quote
from labkit.settings import Trust
from labkit.show import View
from labkit.show.attest import trust_chain


def chain_of_trust(quote: Quote) -> View:
    """The chain as it stands in a quote; nothing of it is verified by drawing it."""
    leaf, intermediate, root = (_name(subject) for subject in quote.chain.subjects)
    intel = quote.intel
    other = "no processor: a lab authority" if quote.lab else "no processor that Intel knows"
    stand_in = "the lab's stand-in" if quote.lab else "a stand-in"
    platform = "a genuine processor of this kind" if intel else other
    enclave = "Intel's quoting enclave" if intel else f"{stand_in} for the quoting enclave"
    links = [
        (
            root,
            f"SHA-256 {quote.chain.root_sha256.hex()[:16]}…: you have to know it",
            "signs, and signs the collateral",
        ),
        (intermediate, "issues one certificate for each platform", "signs"),
        (leaf, f"{platform}, FMSPC {quote.chain.fmspc.hex().upper()}", "signs the report of"),
        ("quoting enclave", enclave, "signs with the key that its report names"),
        ("quote", f"version {quote.version}, of {'a debug TD' if quote.debug else 'a TD'}", "says of the TD"),
    ]
    claims = [
        ("MRTD", f"firmware {quote.mrtd.hex()[:12]}…"),
        ("RTMR0 to RTMR3", "what the firmware started"),
        ("REPORTDATA", f"{quote.report_data.hex()[:16]}…"),
    ]
    return trust_chain(links, claims, Trust.HARDWARE if intel else Trust.NONE)


def _name(subject: str) -> str:
    """The common name of a certificate, or all of its name."""
    found = re.search(r"CN=((?:[^,\\]|\\.)+)", subject)
    return found[1] if found else subject
