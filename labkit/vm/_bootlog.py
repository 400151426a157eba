"""Drains a guest's boot log as it comes, in a thread of its own, and tells the stages of the boot."""

from __future__ import annotations

import codecs
import threading
import time
from collections.abc import Callable

from labkit.errors import BootFailed
from labkit.vm._stream import SocketStream
from labkit.vm._timeline import GuestProfile, StageTracker, Timeline

_SEE_LOGS = "console.log and qemu.log in the run directory say more."


class BootLog:
    """The boot log of one machine, read for as long as the machine lives."""

    def __init__(self, stream: SocketStream, profile: GuestProfile) -> None:
        """Start reading; second 0 is now."""
        self._stream = stream
        self._tracker = StageTracker(profile)
        self._changed = threading.Condition()
        self._started = time.monotonic()
        self._ended = False
        self._thread = threading.Thread(target=self._drain, name="labkit-bootlog", daemon=True)
        self._thread.start()

    @property
    def now(self) -> float:
        """Seconds since power-on."""
        return time.monotonic() - self._started

    def begin(self, stage: str) -> None:
        """Begin a stage that no line announces."""
        with self._changed:
            self._tracker.begin(stage, self.now)

    def timeline(self) -> Timeline:
        """The stages until now."""
        with self._changed:
            return self._tracker.timeline(self.now)

    def wait_until_last_stage(self, say: Callable[[str], None] = lambda text: None) -> None:
        """Wait for the last mark of the guest's profile, and ``say`` each stage that begins.

        Raises:
            BootFailed: a sign of failure, the end of the machine, or a stage past its deadline.
        """
        tracker, said = self._tracker, ""
        with self._changed:
            while (mark := tracker.expected) is not None:
                if tracker.failure is not None:
                    raise BootFailed(
                        f"The guest failed in stage {tracker.stage}: {tracker.failure}.", _SEE_LOGS
                    )
                if tracker.stage != said:
                    said = tracker.stage
                    say(f"{said} ({self.now:.1f} s)")
                last = f"the last line was {tracker.last_line!r}."
                if self._ended:
                    raise BootFailed(f"QEMU ended in stage {tracker.stage}; {last}", _SEE_LOGS)
                left = tracker.began + mark.deadline - self.now
                if left <= 0:
                    raise BootFailed(
                        f"Stage {tracker.stage} did not end within {mark.deadline:g} s; {last}", _SEE_LOGS
                    )
                self._changed.wait(left)

    def join(self) -> None:
        """Wait until the machine's end of the port is closed and everything is in the file."""
        self._thread.join()
        self._stream.close()

    def _drain(self) -> None:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        while data := self._stream.read(3600.0):
            with self._changed:
                self._tracker.feed(decode(data), self.now)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
