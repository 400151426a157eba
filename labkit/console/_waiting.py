"""What to send to a shell that has not answered yet, and when; nothing is sent here."""

from __future__ import annotations

from enum import Enum

from labkit.console._command import silent
from labkit.console._exchange import ShellExchange

PINGS = (0.3, 1.0, 3.0, 10.0, 30.0, 90.0, 270.0, 810.0, 2400.0)
"""When a running command's shell is asked whether it reads again; unread pings must fit in 4 kB."""
REPEATS = (0.5, 1.5, 4.0, 8.0)
"""When an unanswered question is asked again."""
CTRL_C = (0.2, 0.6, 1.4)
"""When Ctrl-C is sent again: one that meets the shell just as it starts a program reaches neither."""
_NEVER = 3600.0


class Step(Enum):
    """What is sent once more."""

    CTRL_C = "Ctrl-C"
    QUESTION = "the question for the end"
    PING = "a ping"


def next_step(
    exchange: ShellExchange, now: float, silence: float, *, prompts: bool
) -> tuple[Step | None, float]:
    """What is due ``now``, and when to look again.

    silence: seconds in which a shell that reads its terminal answers. prompts: its prompt is a record.

    Raises:
        GuestGone: the shell was silent for too long.
    """
    due = now + _NEVER
    if exchange.interrupted:
        at = _next(exchange.interrupted, CTRL_C, exchange.ctrl_c)
        if now >= at:
            return Step.CTRL_C, now
        due = min(due, at)
    if not prompts:
        return None, due
    if exchange.nonce:
        step, sent = Step.QUESTION, exchange.asked
        at = _next(sent, REPEATS, exchange.repeats)
    else:
        step, sent = Step.PING, exchange.started
        at = _next(sent, PINGS, exchange.pings)
    if exchange.nonce or not exchange.alive:
        if now >= sent + silence:
            words = "no longer answers" if exchange.nonce else "no longer reads its terminal"
            raise silent(words, exchange.output)
        due = min(due, sent + silence)
    return (step, now) if now >= at else (None, min(due, at))


def _next(begin: float, times: tuple[float, ...], count: int) -> float:
    """When the next of ``times`` is, after ``count`` of them."""
    return begin + times[count] if count < len(times) else float("inf")
