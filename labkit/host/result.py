"""What one check found, and what the checks of one track come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labkit.host._finding import Pair
from labkit.host.checks import Check
from labkit.host.model import CheckStatus, HostVerdict
from labkit.host.reasons import REASONS


@dataclass(frozen=True)
class CheckResult:
    """What one check found on one host.

    detail: a sentence about this host; empty when the title says it all.
    fix: for FAIL the next action, for UNKNOWN the command that would settle it.
    """

    check: Check
    status: CheckStatus
    evidence: tuple[Pair, ...] = ()
    detail: str = ""
    fix: str | None = None

    @property
    def track(self) -> str:
        """``host``, ``launch`` or ``attestation``."""
        return self.check.track or REASONS[self.check.reason].track

    def to_dict(self) -> dict[str, Any]:
        """The check with the contract's keys, and `track`, `detail`, `rule_source` beside them."""
        return {
            "id": self.check.id,
            "title": self.check.title,
            "track": self.track,
            "status": self.status.value,
            "evidence": [{"source": source, "value": value} for source, value in self.evidence],
            "expected": self.check.expected,
            "detail": self.detail,
            "fix": self.fix,
            "rule_source": self.check.source,
        }

    def __repr__(self) -> str:
        return f"CheckResult({self.check.id}, {self.status})"


@dataclass(frozen=True)
class Track:
    """The verdict of one part of the question: host, launch or attestation."""

    verdict: HostVerdict
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """Verdict and reason."""
        return {"verdict": self.verdict.value, "reason": self.reason}
