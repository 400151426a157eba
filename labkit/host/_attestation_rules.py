"""Rules of the attestation track: a healthy TDX host, can its quotes be made and verified?"""

from __future__ import annotations

import re

from labkit.host._finding import Finding, failed, passed, unknown
from labkit.host._registration import action_for
from labkit.host.model import NOT_JSON, CheckStatus, Missing
from labkit.host.view import FactsView

_FEATURE_CONTROL, _MCHECK, _PLATFORM_INFO = 0x3A, 0xA0, 0xCE


def sgx(view: FactsView) -> Finding:
    """The SGX devices, the CPU flag, and IA32_FEATURE_CONTROL bit 18."""
    evidence = view.evidence(("sgx.enclave", "cpu.flags", "msr.0x3a"))
    if view.bit(_FEATURE_CONTROL, 18) is False:
        return failed(evidence, "MSR 0x3a bit 18 is 0.")
    if view.flag("sgx.enclave"):
        return passed(evidence)
    if view.flag("sgx.enclave") is False:
        words = [word for word in view.options if word == "nosgx"]
        return failed(
            evidence, "The command line says `nosgx`." if words else "There is no /dev/sgx_enclave."
        )
    return unknown(evidence)


def mcheck(view: FactsView) -> Finding:
    """MSR 0xa0 is 0 when SGX registration data and MCHECK are good."""
    values, evidence = view.msr(_MCHECK), view.evidence(("msr.0xa0",))
    if values is None:
        return unknown(evidence)
    return failed(evidence, f"MSR 0xa0 is {max(values):#x}.") if any(values) else passed(evidence)


def qgs(view: FactsView) -> Finding:
    """The service qgsd runs."""
    state, evidence = view.text("service.qgsd"), view.evidence(("service.qgsd",))
    if state is None:
        return unknown(evidence)
    return passed(evidence) if state == "running" else failed(evidence, f"It is {state}.")


def qgs_vsock(view: FactsView) -> Finding:
    """/etc/qgs.conf names a vsock port; current packages have the line commented out."""
    port, evidence = view.number("qgs.port"), view.evidence(("qgs.port", "qgs.socket", "vsock.host"))
    if port is None:
        return unknown(evidence)
    return passed(evidence) if port else failed(evidence)


def pccs(view: FactsView) -> Finding:
    """A PCCS on this machine runs; one elsewhere is not asked, for reading needs no network."""
    where, evidence = view.text("qcnl.pccs"), view.evidence(("qcnl.pccs", "qcnl.secure", "service.pccs"))
    why = view.fact("qcnl.pccs").why
    if where is None and why.startswith(NOT_JSON):
        return Finding(
            CheckStatus.UNKNOWN,
            tuple(evidence),
            f"/etc/sgx_default_qcnl.conf: {why}.",
            "Correct /etc/sgx_default_qcnl.conf (its comments begin with //), and restart qgsd.",
        )
    if where is None:
        return unknown(evidence)
    local = re.search(r"//(?:localhost|127\.|\[::1\])", where)
    state = view.text("service.pccs")
    if local and state in ("stopped", "not installed"):
        return failed(evidence, f"It is {state}.")
    checked = view.flag("qcnl.secure") or view.fact("qcnl.secure").missing is Missing.ABSENT
    if local and where.startswith("https:") and checked:
        said = "is true" if view.flag("qcnl.secure") else "is not set, which means true"
        return Finding(
            CheckStatus.UNKNOWN,
            tuple(evidence),
            f"It runs, but use_secure_cert {said}: the certificate that a PCCS makes for itself is then "
            f"refused, and "
            "quotes fail with 0xb033 (canonical/tdx#256).",
            "Set use_secure_cert to false in /etc/sgx_default_qcnl.conf and restart qgsd, or give the PCCS a "
            "certificate that this host trusts; `curl https://localhost:8081` without -k shows which it has.",
        )
    return passed(evidence) if local and state == "running" else unknown(evidence)


def registered(view: FactsView) -> Finding:
    """The registration agent's last run says so; its last-error query proves nothing, it is 0 while busy."""
    fact, done = view.fact("registration"), view.flag("registration")
    evidence = view.evidence(("registration", "service.mpa_registration_tool"))
    if done is None:
        return unknown(evidence)
    if done:
        return passed(evidence)
    said = f"The agent says: {fact.raw.rstrip('.')}." if fact.raw else ""
    return failed(evidence, said, action_for(fact.raw))


def production(view: FactsView) -> Finding:
    """PLATFORM_INFO bit 27 is 1 on pre-production parts."""
    values, evidence = view.msr(_PLATFORM_INFO), view.evidence(("msr.0xce",))
    if values is None:
        return unknown(evidence)
    return failed(evidence) if any(value >> 27 & 1 for value in values) else passed(evidence)
