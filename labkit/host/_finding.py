"""What a rule of the check table answers."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.host.model import CheckStatus

Pair = tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """The outcome of one rule.

    detail: a sentence that makes the reason's summary specific.
    action: replaces the reason's next action where the facts allow a better one.
    """

    status: CheckStatus
    evidence: tuple[Pair, ...] = ()
    detail: str = ""
    action: str = ""


def passed(evidence: list[Pair], detail: str = "") -> Finding:
    """The rule holds."""
    return Finding(CheckStatus.PASS, tuple(evidence), detail)


def failed(evidence: list[Pair], detail: str = "", action: str = "") -> Finding:
    """The rule is broken, and this is the evidence."""
    return Finding(CheckStatus.FAIL, tuple(evidence), detail, action)


def unknown(evidence: list[Pair], detail: str = "") -> Finding:
    """The facts do not settle it."""
    return Finding(CheckStatus.UNKNOWN, tuple(evidence), detail)
