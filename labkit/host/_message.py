"""One message of a kernel or hypervisor about TDX: how it is worded, what it tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property


class Role(StrEnum):
    """What a message tells."""

    START = "start"  # the sequence began; no verdict
    PROGRESS = "progress"  # later in the sequence; no verdict
    SUCCESS = "success"
    FAILURE = "failure"
    GUEST = "guest"
    MEMORY = "memory"  # TME and MKTME
    RUNTIME = "runtime"  # after initialisation; never an initialisation failure
    PANIC = "panic"  # the kernel stopped, whatever for
    CONTEXT = "context"  # kernel version, command line, CPU


INITIALISATION = (Role.START, Role.PROGRESS, Role.SUCCESS, Role.FAILURE)


@dataclass(frozen=True)
class Message:
    """One wording.

    heads: how the message may begin. body: regular expression of all that follows.
    reason: the reason code that this line by itself establishes; empty when it needs other facts.
    past_checks: the kernel was past its KeyID and hibernation checks when it printed this.
    needle: text that the message must have, which costs less to look for than the body.
    """

    id: str
    role: Role
    heads: tuple[str, ...]
    body: str
    meaning: str
    reason: str = ""
    past_checks: bool = False
    needle: str = ""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Compiled when a line has one of the heads: most runs meet few of them.
        return re.compile(self.body)

    def match(self, message: str) -> re.Match[str] | None:
        """The match of the whole message, or None."""
        if self.needle not in message:
            return None
        for head in self.heads:
            if message.startswith(head):
                found = self._pattern.fullmatch(message, len(head))
                if found:
                    return found
        return None


CORE_HEADS = ("virt/tdx: ", "tdx: ", "seam: ", "SEAM: ")
KVM_HEADS = ("kvm_intel: tdx: ", "kvm_intel: ", "kvm: tdx: ", "kvm: ")


def row(
    id_: str,
    role: Role,
    text: str,
    meaning: str,
    reason: str = "",
    *,
    past: bool = False,
    needle: str = "",
    scope: str | tuple[str, ...] = CORE_HEADS,
) -> Message:
    heads = (scope,) if isinstance(scope, str) else scope
    return Message(id_, role, heads, text, meaning, reason, past, needle)
