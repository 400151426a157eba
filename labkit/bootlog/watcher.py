"""What a boot waits for: any guest that can follow its own log, in streams, can be booted."""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar, Protocol

from labkit.bootlog.timeline import Timeline

SERIAL, CONSOLE = "serial", "console"
"""The streams: the boot log on ttyS0, and the port of the shell where that is the console too."""


class BootWatcher(Protocol):
    """Follows the log of one boot."""

    @property
    def stage(self) -> str:
        """The stage that is running."""

    @property
    def reached(self) -> bool:
        """The shell is there."""

    def feed(self, stream: str, data: bytes, now: float) -> None:
        """Take more of a stream, which arrived ``now`` seconds after power-on."""

    def begin(self, stage: str, now: float) -> None:
        """Begin a stage that no line of the log announces; it is the last."""

    def complaint(self, now: float, ended: bool, exit_code: int | None) -> tuple[str, str] | None:
        """Why the boot cannot succeed any more, and what to do about it; None while it can.

        ended: QEMU has gone, with this exit code where it is known.
        """

    def due(self, now: float) -> float:
        """Seconds after which ``complaint`` may have something to say although nothing was fed."""

    def timeline(self, now: float) -> Timeline:
        """The stages until ``now``."""


class Guest(Protocol):
    """A kind of guest, a dataclass: its name, how to follow its boot, and how to end it."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def name(self) -> str:
        """A short name."""

    @property
    def power_off(self) -> str:
        """The command that ends the machine."""

    @property
    def patience(self) -> float:
        """What every deadline is multiplied by."""

    @property
    def handover(self) -> str:
        """A pattern of what its log says when the kernel has just taken over from the firmware.

        Empty where nothing of the firmware's has to be read so early.
        """

    @property
    def reseeds(self) -> bool:
        """The guest can take new randomness and the time after it was resumed."""

    def watch(self) -> BootWatcher:
        """Follow a boot from power-on."""

    def resumed(self) -> BootWatcher:
        """Follow a machine that goes on where it was saved."""
