from __future__ import annotations

from dataclasses import replace

import pytest

from labkit.attest import (
    Collateral,
    LabAuthority,
    Policy,
    QuoteVerdict,
    appraise,
    make_tdreport,
    verify_quote,
)
from labkit.attest.reasons import Refusal
from labkit.measure import BootInputs, EventLog, PageOrder, predict, read_tdvf, rtmrs
from labkit.settings import Trust
from tests.attest.conftest import DEBUG, NOW, SEPT_VE_DISABLE
from tests.measure.kernels import kernel
from tests.measure.test_explain import KNOWN, log_of

NONCE = b"\x42" * 64
PREDICTION = predict(KNOWN)
POLICY = Policy(allow_lab=True, report_data=NONCE, prediction=PREDICTION, page_order=PageOrder.SINGLE_PASS)


class Boot:
    """An emulated TD: its log and the verdict on its quote."""

    def __init__(
        self,
        authority: LabAuthority,
        collateral: Collateral,
        inputs: BootInputs = KNOWN,
        *,
        nonce: bytes = NONCE,
        attributes: int = SEPT_VE_DISABLE,
        order: PageOrder = PageOrder.SINGLE_PASS,
    ) -> None:
        prediction = predict(inputs)
        self.log: EventLog = log_of(prediction)
        mrtd = prediction.mrtd(order)
        assert mrtd is not None
        report = make_tdreport(mrtd=mrtd, rtmr=rtmrs(self.log), report_data=nonce, td_attributes=attributes)
        self.verdict: QuoteVerdict = verify_quote(
            authority.quote(report), collateral, NOW, authority.root_der
        )


def test_an_honest_boot_is_accepted(authority: LabAuthority, collateral: Collateral) -> None:
    boot = Boot(authority, collateral)
    outcome = appraise(POLICY, boot.verdict, boot.log)
    assert outcome.accepted
    assert (outcome.verdict, outcome.findings, outcome.unchecked) == ("ACCEPTED", (), ())
    assert outcome.trust is Trust.NONE
    assert str(outcome).startswith("[EMULATED] ACCEPTED")
    assert "EMULATED" in outcome._repr_html_()


def _altered_firmware() -> BootInputs:
    assert KNOWN.firmware is not None
    image = bytearray(KNOWN.firmware.image)
    image[0x1234] ^= 1
    return replace(KNOWN, firmware=read_tdvf(bytes(image)))


def test_the_five_breaks_are_rejected_with_register_and_event(
    authority: LabAuthority, collateral: Collateral
) -> None:
    breaks = {
        "command line": Boot(authority, collateral, replace(KNOWN, command_line="quiet ")),
        "initrd": Boot(authority, collateral, replace(KNOWN, initrd=b"other file ")),
        "firmware byte": Boot(authority, collateral, _altered_firmware()),
        "replayed nonce": Boot(authority, collateral, nonce=b"\x41" * 64),
        "debug TD": Boot(authority, collateral, attributes=SEPT_VE_DISABLE | DEBUG),
    }
    found = {
        name: [
            (finding.register, finding.event) for finding in appraise(POLICY, boot.verdict, boot.log).findings
        ]
        for name, boot in breaks.items()
    }
    assert found == {
        "command line": [("RTMR2", "kernel command line")],
        "initrd": [("RTMR2", "initrd")],
        "firmware byte": [("MRTD", None)],
        "replayed nonce": [("REPORTDATA", None)],
        "debug TD": [("quote", None), ("ATTRIBUTES", None)],
    }
    boot = breaks["command line"]
    text = str(appraise(POLICY, boot.verdict, boot.log))
    assert "REJECTED: RTMR2: A stray space ends the command line." in text


def test_the_reasons_have_the_keys_of_the_contract(authority: LabAuthority, collateral: Collateral) -> None:
    boot = Boot(authority, collateral, replace(KNOWN, command_line="quiet "))
    document = appraise(POLICY, boot.verdict, boot.log).to_dict()
    assert document["verdict"] == "REJECTED"
    assert document["trust"] == "none"
    (reason,) = document["reasons"]
    assert reason["register"] == "RTMR2"
    assert reason["expected"] != reason["actual"]
    assert reason["first_difference"] == {
        "event": "kernel command line",
        "why": "A stray space ends the command line.",
    }


def test_the_other_page_order_is_named(authority: LabAuthority, collateral: Collateral) -> None:
    boot = Boot(authority, collateral, order=PageOrder.TWO_PASS)
    (finding,) = appraise(POLICY, boot.verdict, boot.log).findings
    assert finding.register == "MRTD"
    assert "two-pass page order" in finding.why
    assert appraise(replace(POLICY, page_order=None), boot.verdict, boot.log).accepted


def test_a_lab_quote_needs_leave(authority: LabAuthority, collateral: Collateral) -> None:
    boot = Boot(authority, collateral)
    (finding,) = appraise(replace(POLICY, allow_lab=False), boot.verdict, boot.log).findings
    assert (finding.register, finding.expected) == ("trust", "TDX hardware")


def test_a_log_of_another_boot_is_noticed(authority: LabAuthority, collateral: Collateral) -> None:
    boot = Boot(authority, collateral)
    other = Boot(authority, collateral, replace(KNOWN, command_line="loud"))
    findings = appraise(POLICY, boot.verdict, other.log).findings
    assert [finding.register for finding in findings] == ["RTMR2"]
    assert "not that of the quoted TD" in findings[0].why


def test_tcb_status_and_advisories_count(authority: LabAuthority, collateral: Collateral) -> None:
    verdict = replace(
        Boot(authority, collateral).verdict, tcb_status="OutOfDate", advisory_ids=("INTEL-SA-00837",)
    )
    (finding,) = appraise(Policy(allow_lab=True), verdict).findings
    assert (finding.register, finding.actual) == ("TCB", "OutOfDate")
    tolerant = Policy(allow_lab=True, tcb_statuses=("UpToDate", "OutOfDate"))
    assert appraise(tolerant, verdict).accepted
    strict = replace(tolerant, forbidden_advisories=("INTEL-SA-00837",))
    (finding,) = appraise(strict, verdict).findings
    assert finding.actual == "INTEL-SA-00837"


def test_a_refused_quote_is_rejected_whatever_it_says(
    authority: LabAuthority, collateral: Collateral
) -> None:
    boot = Boot(authority, collateral)
    refused = replace(boot.verdict, reason=Refusal.CRL_EXPIRED, message="CrlExpired", tcb_status="")
    (finding,) = appraise(POLICY, refused, boot.log).findings
    assert (finding.register, finding.actual) == ("quote", "REFUSED CRL_EXPIRED")
    assert "newer collateral" in finding.why


def test_explicit_registers_are_compared(authority: LabAuthority, collateral: Collateral) -> None:
    verdict = Boot(authority, collateral).verdict
    policy = Policy(allow_lab=True, mrtd=(bytes(48), verdict.mrtd), rtmr=(None, verdict.rtmr[1], None, None))
    outcome = appraise(policy, verdict)
    assert outcome.accepted
    assert outcome.unchecked == (
        "REPORTDATA (no nonce: the evidence may be old)",
        "RTMR0",
        "RTMR2",
        "RTMR3",
        "event log (none given)",
    )
    (finding,) = appraise(replace(policy, rtmr=(bytes(48), None, None, None)), verdict).findings
    assert finding.register == "RTMR0"
    assert "no telling" in finding.why
    (finding,) = appraise(replace(policy, mrtd=(bytes(48),)), verdict).findings
    assert finding.register == "MRTD"


def test_what_cannot_be_predicted_is_refused_unless_allowed(
    authority: LabAuthority, collateral: Collateral
) -> None:
    boot = Boot(authority, collateral)
    policy = replace(POLICY, prediction=predict(replace(KNOWN, acpi=())))
    (finding,) = appraise(policy, boot.verdict, boot.log).findings
    assert finding.register == "RTMR0"
    assert "ACPI blob 0, ACPI blob 1, ACPI blob 2" in finding.expected
    allowed = replace(policy, allow_unpredicted=True)
    outcome = appraise(allowed, boot.verdict, boot.log)
    assert outcome.accepted
    assert outcome.unchecked == ("unpredicted events of RTMR0",)
    assert not appraise(allowed, boot.verdict).accepted
    other = Boot(authority, collateral, replace(KNOWN, memory=4 << 30))
    findings = appraise(allowed, other.verdict, other.log).findings
    assert [(finding.register, finding.event) for finding in findings] == [
        ("RTMR0", "memory layout (TD HOB)"),
        ("RTMR1", "kernel"),
    ]


def test_other_inputs_make_reasons_telling(authority: LabAuthority, collateral: Collateral) -> None:
    other = replace(KNOWN, kernel=kernel(9))
    boot = Boot(authority, collateral, other)
    (finding,) = appraise(POLICY, boot.verdict, boot.log, {"yesterday": other}).findings
    assert finding.why == "It is the kernel of yesterday."


@pytest.mark.parametrize("register", range(4))
def test_any_moved_register_is_rejected(
    register: int, authority: LabAuthority, collateral: Collateral
) -> None:
    boot = Boot(authority, collateral)
    values = list(boot.verdict.rtmr)
    values[register] = bytes(48)
    moved = replace(boot.verdict, rtmr=(values[0], values[1], values[2], values[3]))
    assert f"RTMR{register}" in {finding.register for finding in appraise(POLICY, moved, boot.log).findings}
    assert f"RTMR{register}" in {finding.register for finding in appraise(POLICY, moved).findings}


def test_what_the_inputs_leave_open_is_named_for_its_own_register_alone(
    authority: LabAuthority, collateral: Collateral
) -> None:
    """Only the events that nothing decides are asked for, and only those of the register in question."""
    boot = Boot(authority, collateral)
    open_policy = replace(POLICY, prediction=predict(replace(KNOWN, acpi=(), initrd=None)))
    found = {item.register: item for item in appraise(open_policy, boot.verdict, boot.log).findings}
    assert open_policy.prediction is not None
    for number in (0, 2):
        events = open_policy.prediction.events
        open_events = [event.label for event in events if event.register == number and event.digest is None]
        assert open_events
        assert found[f"RTMR{number}"].expected == f"inputs for: {', '.join(open_events)}"
    assert "RTMR3" not in found
