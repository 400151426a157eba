"""One attestation from end to end: evidence of a boot, its verification, and the appraisal by a policy."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labkit.attest import Appraisal, Policy, QuoteVerdict, appraise
from labkit.attest.appraisal import RegisterFinding
from labkit.measure import BootInputs, PageOrder, Prediction
from labkit.platforms._tdvm import Tdvm
from labkit.platforms.evidence import REPORT_DATA, Evidence, Quoting
from labkit.settings import Trust
from labkit.show.markup import join


@dataclass(frozen=True)
class Attestation:
    """Evidence with what a verifier found, as ``labkit attest`` shows it.

    headline: platform, trust and why this platform, in one line.
    """

    platform: str
    headline: str
    evidence: Evidence
    verdict: QuoteVerdict
    appraisal: Appraisal
    run_dir: Path

    @property
    def accepted(self) -> bool:
        """The evidence meets every demand of the policy."""
        return self.appraisal.accepted

    @property
    def trust(self) -> Trust:
        """What the outcome may be believed for."""
        return self.appraisal.trust

    @property
    def registers(self) -> tuple[str, ...]:
        """The registers and other parts of the evidence that are not as demanded, each once."""
        return tuple(dict.fromkeys(finding.register for finding in self.appraisal.findings))

    def to_dict(self) -> dict[str, Any]:
        """The document of ``labkit attest --json``."""
        return {
            "platform": self.platform,
            **self.appraisal.to_dict(),
            "stamp": self.appraisal.shown_trust.stamp,
            "anchor": self.verdict.anchor.value,
            "quote": self.verdict.to_dict(),
            "evidence": self.evidence.to_dict(),
            "run_dir": str(self.run_dir),
        }

    def __repr__(self) -> str:
        return f"Attestation({self.appraisal.verdict}, trust={self.trust.value}, {list(self.registers)})"

    def __str__(self) -> str:
        return f"{self.headline}\nquote {self.verdict.word}\n{self.appraisal}\nrun directory: {self.run_dir}"

    def _repr_html_(self) -> str:
        return join([self.appraisal._repr_html_(), self.verdict._repr_html_()])


def fresh_nonce() -> bytes:
    """64 random bytes that no earlier quote can hold."""
    return secrets.token_bytes(REPORT_DATA)


def emulated_policy(prediction: Prediction, nonce: bytes) -> Policy:
    """What evidence of the emulated platform must say: the predicted registers and this nonce."""
    return Policy(
        allow_lab=True,
        report_data=nonce.ljust(REPORT_DATA, b"\0"),
        prediction=prediction,
        page_order=PageOrder.SINGLE_PASS,
    )


def attest_tdvm(
    tdvm: Tdvm,
    policy: Policy,
    nonce: bytes,
    by: Quoting,
    alternatives: Mapping[str, BootInputs] | None = None,
) -> Attestation:
    """Ask a running TDVM for evidence about ``nonce``, verify it for the time it was quoted, and appraise it.

    The evidence is kept in the run directory. alternatives: inputs that may have been used instead, by name.

    Raises:
        UsageError: the nonce has more than 64 bytes.
        VmError: the guest does not do its part.
        NotMeasured: the vTPM's registers are not those of the boot's log.
    """
    evidence = tdvm.evidence(nonce, by)
    outcome = attest_evidence(
        evidence, policy, by.now, tdvm.run_dir, tdvm.platform, tdvm.headline, alternatives
    )
    told = [
        RegisterFinding(
            "guest's word",
            "what was read outside the guest",
            "something else",
            f"{words[0].upper()}{words[1:]}.",
        )
        for words in tdvm.measurements.untruths()
    ]
    return replace(outcome, appraisal=outcome.appraisal.with_findings(told))


def attest_evidence(
    evidence: Evidence,
    policy: Policy,
    now: int,
    folder: Path,
    platform: str,
    headline: str,
    alternatives: Mapping[str, BootInputs] | None = None,
) -> Attestation:
    """Verify evidence for the time ``now`` and appraise it; ``folder`` is where it lies.

    Raises:
        MalformedEvidence, MalformedEventLog: a part of it does not parse.
        UsageError: there is no collateral to verify it with.
    """
    verdict = replace(evidence.verify(now), accept=policy.tcb_statuses)
    appraisal = appraise(policy, verdict, evidence.event_log, alternatives)
    return Attestation(platform, headline, evidence, verdict, appraisal, folder)
