"""Drains a guest's boot log as it comes, in a thread of its own, and tells the stages of the boot."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

from labkit.bootlog.timeline import Timeline
from labkit.bootlog.watcher import CONSOLE, SERIAL, BootWatcher
from labkit.console.stream import SocketStream
from labkit.errors import BootFailed

_POLL = 0.1
_HANDOVER_POLL = 0.01
_TAIL = 100
_LAST_WORDS = 1.2
_STILL = 30.0
"""Seconds after which a stage that goes on is said again."""
_EXIT = 3.0
"""Seconds that QEMU may take to end once its ports are closed."""


class BootLog:
    """The boot log of one machine, read for as long as the machine lives."""

    def __init__(self, stream: SocketStream, watch: BootWatcher, handover: str = "") -> None:
        """Start reading; second 0 is now. ``handover``: see ``Guest``."""
        self._handover = re.compile(handover.encode()) if handover else None
        self._tail = b""
        self._handed_over = False
        self._stream = stream
        self._watch = watch
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
            self._watch.begin(stage, self.now)

    def timeline(self) -> Timeline:
        """The stages until now."""
        with self._changed:
            return self._watch.timeline(self.now)

    def wait(
        self,
        exit_code: Callable[[float], int | None],
        on_progress: Callable[[str], None] = lambda text: None,
        console: SocketStream | None = None,
        on_handover: Callable[[], None] | None = None,
    ) -> None:
        """Wait until the guest's shell is there, and ``on_progress`` each stage that begins.

        exit_code: gives that of QEMU, waiting some seconds for it. console: the shell's port, where the
        boot writes to it too; it is not read any more once the shell is there. on_handover: called once, as
        soon as the kernel has taken over from the firmware.

        Raises:
            BootFailed: a sign of failure, the end of the machine, or a stage past its deadline.
        """
        said, spoke = "", 0.0
        while True:
            if on_handover is not None and self._handed_over:
                on_handover()
                on_handover = None
            with self._changed:
                if self._watch.reached:
                    return
                # Once QEMU has ended, what it left in the console's socket is read before judging.
                ended = self._ended and console is None
                code = exit_code(_EXIT) if ended else None
                if complaint := self._watch.complaint(self.now, ended, code):
                    raise BootFailed(*complaint)
                if self._watch.stage != said:
                    said, spoke = self._watch.stage, self.now
                    on_progress(f"{said} ({self.now:.1f} s)")
                due = max(0.01, self._watch.due(self.now))
                if self.now - spoke >= _STILL:
                    spoke = self.now
                    on_progress(f"{said} goes on ({self.now:.0f} s), and may for {due:.0f} s more")
                if console is None:
                    self._changed.wait(min(due, _STILL))
                    continue
            data = console.read(min(due, _POLL if on_handover is None else _HANDOVER_POLL))
            if data:
                with self._changed:
                    self._look(data)
                    self._watch.feed(CONSOLE, data, self.now)
            elif data is not None or self._ended:
                console = None

    def complaint(self, exit_code: Callable[[float], int | None]) -> tuple[str, str] | None:
        """What the log says of a guest that has failed or gone; None where it says nothing.

        What is under way may still come, for a second at most.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended, _LAST_WORDS)
            code = exit_code(_EXIT) if self._ended else None
            return self._watch.complaint(self.now, self._ended, code)

    def join(self) -> None:
        """Wait until the machine's end of the port is closed and everything is in the file."""
        self._thread.join()
        self._stream.close()

    def _look(self, data: bytes) -> None:
        if self._handover is not None and not self._handed_over:
            self._tail = (self._tail + data)[-_TAIL - len(data) :]
            self._handed_over = self._handover.search(self._tail) is not None

    def _drain(self) -> None:
        while data := self._stream.read(3600.0):
            with self._changed:
                self._look(data)
                self._watch.feed(SERIAL, data, self.now)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
