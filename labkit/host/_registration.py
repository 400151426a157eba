"""What the registration agent (``mpa_registration_tool``) says in its own log, and what to do about it.

Wording: Intel SGX DCAP, ``tools/SGXPlatformRegistration``, and the logs in canonical/tdx#131 and #318.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_START = re.compile(r"Starts Registration Agent Flow|SGX Registration Agent version")
_END = re.compile(r"Finished Registration Agent Flow")
_DONE = re.compile(
    r"(?:PLATFORM_ESTABLISHMENT or TCB_RECOVERY|ADD_REQUEST|Registration) passed successfully"
    r"|registration is completed? ?(?:successfully)?\.|completed successfully|passed successfully",
    re.IGNORECASE,
)
_KEPT_BACK = re.compile(
    r"won'?t save encrypted platform keys|won'?t be sen[dt] to Registration Server", re.IGNORECASE
)
_BROKEN = re.compile(r"\bERROR\b|\bfailed\b|unsuccessful|no RequestVariable|Unknown_request", re.IGNORECASE)
_STAMP = re.compile(r"^\s*(?:\[[\d:. -]+\]\s*)?(?:[A-Z]+:\s*)?")

_AGAIN = "Then run `sudo systemctl restart mpa_registration_tool` and read /var/log/mpa_registration.log."
_RESET = (
    'In the BIOS (Processor Configuration > Software Guard Extension) set "SGX Factory Reset" and "SGX Auto '
    "MP "
    'Registration" to Enabled, and boot.'
)

# What a line of the agent's tells, and the next action.
_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"won'?t",
        'In the BIOS set "SGX Auto MP Registration" to Enabled, together with "SGX Factory Reset", and boot; '
        "or "
        "register through your PCCS with PCKIDRetrievalTool.",
    ),
    (
        r"(?i)CachedKeysPolicyViolation",
        f"These keys were registered through a PCCS before, which excludes this way. {_RESET}",
    ),
    (
        r"(?i)InvalidRequest|InvalidPlatformManifest|InvalidOrRevokedPackage|PackageNotFound|IncompatiblePackage",
        f"The registration service refused this platform's data. {_RESET}",
    ),
    (r"(?i)BIOS/MCHECK|unsuccessful", f"The firmware reports an error of its own. {_RESET}"),
    (
        r"(?i)HTTP 401|InvalidSubscriptionKey",
        "The registration service does not know this host's subscription key: correct it in "
        f"/etc/mpa_registration.conf. {_AGAIN}",
    ),
    (
        r"(?i)HTTP (?:5\d\d|429)",
        f"The registration service has a fault of its own, or too much to do: wait an hour. {_AGAIN}",
    ),
    (
        r"(?i)network|connect|curl|proxy|resolve|timed? ?out|unreachable|HTTP|certificate|server (?:is "
        r")?busy",
        "Let this host reach https://api.trustedservices.intel.com, if need be by a proxy in "
        f"/etc/mpa_registration.conf. {_AGAIN}",
    ),
    (
        r"(?i)getRegistration|getRequest|setRegistration|uefi|efivar",
        "The agent cannot use the firmware's variables: boot in UEFI mode with SGX on, and see that "
        f"/sys/firmware/efi/efivars is mounted. {_AGAIN}",
    ),
)


@dataclass(frozen=True)
class Flow:
    """The agent's last run. registered: None where it has not come to a result. line: its own words."""

    registered: bool | None
    line: str


def last_flow(text: str) -> Flow:
    """What the last run in an agent's log came to: an earlier success or failure does not count any more."""
    starts = [match.start() for match in _START.finditer(text)]
    # The line with the version stands right before the one that starts a run: they are one start.
    begin = starts[-1] if starts else 0
    lines = [line.strip() for line in text[begin:].splitlines() if line.strip()]
    if not lines:
        return Flow(None, "the agent's log is empty")
    for line in reversed(lines):
        if _DONE.search(line) and not re.search(r"unsuccessful", line, re.IGNORECASE):
            return Flow(True, _words(line))
        if _KEPT_BACK.search(line) or _BROKEN.search(line):
            return Flow(False, _words(_first_cause(lines)))
    if any(_END.search(line) for line in lines):
        return Flow(False, "its last run ended without a line that says `successfully`")
    return Flow(None, f"its last run has no result yet; its last line is: {_words(lines[-1])}")


def action_for(line: str) -> str:
    """The next action that the agent's own words call for; empty where they say nothing."""
    return next((action for pattern, action in _CAUSES if re.search(pattern, line)), "")


def _first_cause(lines: list[str]) -> str:
    """The line that says most: the first error, or that the agent keeps the manifest back."""
    told = [line for line in lines if _BROKEN.search(line) or _KEPT_BACK.search(line)]
    errors = [line for line in told if re.search(r"\bERROR\b", line)]
    return (errors or told)[0]


def _words(line: str) -> str:
    return _STAMP.sub("", line)[:300]
