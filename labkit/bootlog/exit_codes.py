"""What the exit code of a run means, together with what make said of its own end."""

from __future__ import annotations

import re
from enum import StrEnum

from labkit.show import one_line

# In any language. Innermost first: the make that failed, then those that had called it.
_MAKE_ERROR = re.compile(
    r"^make(?P<level>\[\d+\])?: \*\*\* \[(?:[^\]:]{1,120}:\d+(?:: |：))?(?P<target>[^\]]{0,200})\] "
    r"(?:\w{2,12} (?P<number>\d{1,3})|(?P<signal>\w[\w ]{2,30}))"
)
# What make itself cannot do; then no target has failed.
_MAKE_STOP = re.compile(
    r"^(?:make(?:\[\d+\])?|[\w./-]{0,120}(?:[Mm]akefile[\w.-]{0,40}|\.mk):\d+): "
    r"\*\*\* (?P<why>[^\[\s].{0,200}?)\.?\s+Stop\.$"
)
_RUN_TARGETS = frozenset({"run", "run_kernel", "run_iso"})


class Layer(StrEnum):
    """Whose exit code it is: QEMU's own (33 and 65), or that of OSDK and make (0, 1, 2)."""

    QEMU = "qemu"
    MAKE = "make"


class MakeEnd:
    """The first target of make that failed, and the first thing that make itself could not do."""

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self.error: re.Match[str] | None = None
        self.stop = ""

    def hear(self, line: str, *, at_prompt: bool) -> None:
        """Take a line of the run; at the guest's prompt anybody can write what make writes."""
        self.error = self.error or _MAKE_ERROR.match(line)
        if (stop := _MAKE_STOP.match(line)) and not at_prompt:
            self.stop = self.stop or one_line(stop["why"], 200)


def meaning(
    exit_code: int | None, layer: Layer, make: MakeEnd, *, guest_began: bool, erred: bool
) -> str | None:
    """What an exit code means; None while the run goes on.

    guest_began: a guest has said something. erred: something else than make has written of an error.
    """
    if exit_code is None:
        return None
    if layer is Layer.QEMU:
        known = {33: "success", 0: "success", 65: "that the guest failed or panicked"}
        return known.get(exit_code, "a problem of QEMU or the host, or a triple fault")
    number: int | None = exit_code
    if exit_code and (error := make.error) is not None:
        number = int(error["number"]) if error["number"] else None
        if number is None and error["target"] in _RUN_TARGETS:
            return f"that QEMU, or the command that starts it, was ended by a signal ({error['signal']})"
        if error["target"] not in _RUN_TARGETS and not guest_began:
            ended = f"status {number}" if number is not None else error["signal"]
            return f"that make's target {error['target']!r} failed ({ended}) before a guest was started"
    elif exit_code and make.stop and not guest_began:
        return f"that make stopped before a guest was started: {make.stop}"
    if number == 1 and erred and not guest_began:
        return "that a command failed before a guest said anything"
    known = {
        0: "success",
        1: "that the guest ran and failed or panicked",
        2: "a problem of QEMU or the host, or a triple fault",
        **dict.fromkeys((3, 5, 6, 7, 8, 12), "that OSDK failed before QEMU"),
    }
    return known.get(number, "that the run did not work") if number is not None else known[2]
