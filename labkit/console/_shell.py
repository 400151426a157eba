"""Lines to a shell on a byte stream: each gets one end, whatever is printed meanwhile.

When the shell reads its next line, its prompt, a record with the line's number, says so: a hint that
anybody could print. Only then is the question sent that asks for the exit status under a fresh nonce:
while a line runs, the nonce is nowhere in the guest. A prompt that was taken away is missed after 0.3 s: a
ping, a line without any secret, waits in the terminal's queue until the shell reads again. A shell that
neither prompts nor answers has lost its terminal, and that is said. A shell that cannot print records as
prompts gets the question at once, behind the line.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from typing import Any

from labkit.console._command import TICK, Listener, Output, gone
from labkit.console._dialect import TERMINAL, Dialect
from labkit.console._exchange import FAREWELL, CommandEnd, ShellExchange, new_nonce
from labkit.console._waiting import REPEATS, Step, next_step
from labkit.console.frames import Ask, Display, End, Exit, Frame, Reader, Ready, Text, ansi_c_quote, lines
from labkit.console.stream import Stream
from labkit.errors import CommandTimeout, GuestGone
from labkit.show import clean

LINE = 3900
"""Bytes of a line: a terminal in canonical mode cuts at 4095 (Linux N_TTY; the same on Asterinas)."""
_GRACE = 2.0


class Shell:
    """Sends one line at a time, and waits for its end."""

    def __init__(self, stream: Stream, output_limit: int, silence: float, *, lone: bool) -> None:
        """Speak over ``stream``; keep at most ``output_limit`` bytes of a line's output.

        silence: seconds in which a shell that reads its terminal must have answered. lone: no other shell
        follows one that ends.
        """
        self._stream = stream
        self._limit = output_limit
        self._silence = silence
        self._reader = Reader()
        self._events: deque[Frame] = deque()
        self.dialect = Dialect(lone=lone)
        self.flags = ""
        """The shell's options, as ``$-`` has them."""
        self.interrupted = False
        """The last line was."""
        self._number = 0
        self._prompts = True
        self._current: ShellExchange | None = None
        self._writing = threading.Lock()

    def find(self, timeout: float) -> None:
        """Ask until the shell answers, since what is typed before it listens is lost.

        Raises:
            CommandTimeout: no answer came.
            GuestGone: the stream ended.
        """
        deadline = time.monotonic() + timeout
        dialect = self.dialect
        while (left := deadline - time.monotonic()) > 0:
            # A number of its own: a shell that was saved with its prompt may show another first.
            number = secrets.randbelow(10**8) + 10**8
            exchange = ShellExchange(number, Output(self._limit), Listener(), time.monotonic())
            # The empty line ends whatever half of an earlier question may have arrived.
            self._write(b"\n" + dialect.setup() + b"\n" + dialect.begin(number) + b"\n")
            exchange.nonce, exchange.asked = new_nonce(), time.monotonic()
            # Only the prompt counts here: the question is not repeated in its printed form.
            exchange.repeats = len(REPEATS)
            self._write(dialect.question(exchange.nonce))
            if self._wait(exchange, min(left, 0.5)) is not None:
                return
            if exchange.alive and not dialect.loud:
                continue
            if dialect.loud:
                # A shell whose prompt is not a record: the answer is printed.
                self._write(dialect.insistent_question(number, exchange.nonce))
                if (answer := self._wait(exchange, min(left, 0.5))) is not None:
                    # A shell that was only slow prompts before it prints; what it prints is had here.
                    self._prompts = not answer.printed
                    self.tell(b"PS1=" if answer.printed else b"")
                    return
            dialect.loud = not dialect.loud
        raise CommandTimeout(
            f"The guest's shell did not answer within {timeout:g} s.",
            "Look at console.log in the run directory for what the guest was doing.",
        )

    def state(self) -> dict[str, Any]:
        """What is known of the shell, as JSON can hold it."""
        return {
            "dialect": self.dialect.state(),
            "number": self._number,
            "flags": self.flags,
            "prompts": self._prompts,
        }

    def go_on(self, state: dict[str, Any]) -> None:
        """Know the shell as it was when the ``state`` was had; what is no state changes nothing."""
        dialect, number = Dialect.of(state["dialect"]), int(state["number"])
        flags, prompts = str(state["flags"]), bool(state["prompts"])
        self.dialect, self._number, self.flags, self._prompts = dialect, number, flags, prompts

    def interrupt(self) -> None:
        """Send Ctrl-C to the running command; may be called from another thread.

        Raises:
            GuestGone: the guest ended.
        """
        if (current := self._current) is not None:
            current.interrupted, current.ctrl_c = time.monotonic(), 0
        try:
            self._write(b"\x03")
        except OSError as error:
            raise GuestGone("The guest is gone.", "Boot it again.") from error

    def exchange(
        self,
        line: bytes,
        timeout: float | None,
        output: Output | None = None,
        listener: Listener | None = None,
        number: int | None = None,
        *,
        repair: bool = True,
        traces: bool = False,
        marks: bool = False,
    ) -> CommandEnd | None:
        """Have the shell run one line; None in time-out, after an interrupt.

        number: that of the line, where it begins with it already. marks: it says where its output ends.
        """
        begins = number is None
        number = self.next_number() if number is None else number
        exchange = ShellExchange(
            number, output or Output(self._limit), listener or Listener(), time.monotonic(), traces, marks
        )
        self._current = exchange
        dialect = self.dialect
        try:
            alive = dialect.alive(number - 1) if self._prompts else b""
            self._write(alive + (dialect.begin(number) + b";" if begins else b"") + line + b"\n")
            if not self._prompts:
                self._ask(exchange)
            elif self.dialect.muted:
                self._write(dialect.ping(exchange.number))
            answer = self._wait(exchange, timeout)
            if answer is None:
                self.interrupt()
                self._wait(exchange, _GRACE)
                return None
        finally:
            self._current = None
            self.interrupted = bool(exchange.interrupted)
        self.flags = answer.flags
        # After a shell that nothing follows there is nobody to talk to.
        if repair and not (answer.ended and exchange.ending is not None and not exchange.nonce):
            self._put_in_order(exchange, answer)
        return answer

    def tell(self, line: bytes, number: int | None = None, *, repair: bool = True) -> CommandEnd | None:
        """Have the shell run a line that takes no time; None in time-out, after an interrupt."""
        return self.exchange(line, self._silence, number=number, repair=repair)

    def next_number(self) -> int:
        """The number of the next line."""
        self._number += 2
        return self._number

    def _put_in_order(self, exchange: ShellExchange, answer: CommandEnd) -> None:
        """Repair what the command did to the prompt and the terminal."""
        interrupted = self.interrupted
        if answer.ended:
            self.dialect.muted = self.dialect.guarded = False
        if self._prompts and answer.ended:
            self._write(self.dialect.setup() + b"\n")
        if exchange.printed and self._prompts and not self.dialect.muted:
            self.dialect.muted = True
            self.tell(self.dialect.mute(), repair=False)
        elif exchange.interrupted or (exchange.pings and not self.dialect.muted):
            # A late Ctrl-C makes the shell print a newline, and a prompt of the command's own may
            # stand behind the answer: have them here, not in the next command.
            self.tell(b"", repair=False)
        if exchange.is_echoed:
            self.tell(b"\\command stty " + TERMINAL, repair=False)
        self.interrupted = interrupted

    def _wait(self, exchange: ShellExchange, timeout: float | None) -> CommandEnd | None:
        """Read until the answer; None in time-out."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            while self._events:
                if answer := self._take(exchange, self._events.popleft()):
                    said = b"" if answer.ended and exchange.farewell == FAREWELL else exchange.farewell
                    exchange.output.add(exchange.held + said + exchange.without_echo(self.dialect))
                    return answer
            try:
                due = self._keep_asking(exchange)
            except GuestGone:
                if exchange.ending is None:
                    raise
                return CommandEnd(exchange.ending, ended=True)
            now = time.monotonic()
            if exchange.listener.tick is not None:
                exchange.listener.tick()
                due = min(due, now + TICK)
            if deadline is not None:
                if now >= deadline:
                    return None
                due = min(due, deadline)
            data = self._stream.read(max(0.0, due - now))
            if data == b"":
                exchange.output.add(bytes(exchange.late) + self._reader.rest())
                if exchange.ending is not None:
                    return CommandEnd(exchange.ending, ended=True)
                exchange.output.add(exchange.held + exchange.farewell)
                raise gone(exchange.output)
            if data:
                self._events.extend(self._reader.feed(data))

    def _take(self, exchange: ShellExchange, event: Frame) -> CommandEnd | None:
        match event:
            case Text(data):
                if exchange.marked or (exchange.nonce and self._prompts):
                    exchange.late += data
                else:
                    data = exchange.untraced(data, self.dialect) if exchange.traces else data
                    exchange.output.add(exchange.without_farewell(data) if self.dialect.bash else data)
            case Ready():
                return self._ready(exchange, event)
            case Exit(status) if self.dialect.lone:
                # Believed once the shell is gone.
                exchange.ending = status
            case End() if exchange.marks:
                exchange.marked = True
            case Ask(prompt, hidden):
                self._answer(exchange, prompt, hidden)
            case Display(mime, data) if exchange.listener.display is not None:
                exchange.listener.display(mime, data)
            case _:
                pass  # nobody listens to it
        return None

    def _ready(self, exchange: ShellExchange, event: Ready) -> CommandEnd | None:
        current = event.number == exchange.number
        # An answer to an earlier question may still come; of a number that cannot be read nobody knows.
        exchange.printed |= event.printed and event.number in (exchange.number - 1, exchange.number, None)
        exchange.seen += event.number == exchange.number - 1
        exchange.alive |= current or bool(exchange.seen) or event.ended is not None
        if exchange.nonce:
            if event.nonce != exchange.nonce:
                return None
            self.dialect.bash |= event.bash
            return exchange.end(event)
        # A number that is prompted twice is that of a line that has ended without setting its own.
        if current or exchange.seen > 1 or event.number is None or event.ended is not None:
            self._ask(exchange)
        return None

    def _ask(self, exchange: ShellExchange) -> None:
        first = not exchange.nonce
        exchange.nonce = exchange.nonce or new_nonce()
        exchange.asked = exchange.asked or time.monotonic()
        dialect = self.dialect
        if first and self._prompts and not exchange.pings and not self.dialect.muted:
            self._write(dialect.question(exchange.nonce))
        elif first and self._prompts and not exchange.printed:
            self._write(dialect.late_question(exchange.number, exchange.nonce))
        else:
            self._write(dialect.insistent_question(exchange.number, exchange.nonce))

    def _keep_asking(self, exchange: ShellExchange) -> float:
        """Send what is due; return when the next is."""
        step, due = next_step(exchange, time.monotonic(), self._silence, prompts=self._prompts)
        match step:
            case Step.CTRL_C:
                exchange.ctrl_c += 1
                self._write(b"\x03")
                # Ctrl-C empties the queue of a terminal that lacks `noflsh`.
                self._ask(exchange) if exchange.nonce else self._ping(exchange)
            case Step.QUESTION:
                exchange.repeats += 1
                self._ask(exchange)
            case Step.PING:
                exchange.pings += 1
                self._ping(exchange)
        return due

    def _answer(self, exchange: ShellExchange, prompt: str, hidden: bool) -> None:
        """Pass on one line from whoever listens to the command that asks for it."""
        ask = exchange.listener.ask
        line = ask(clean(prompt), hidden) if ask is not None else None
        if exchange.interrupted:
            return  # nobody waits for it any more
        if line is None:
            self._write(b"LABKIT_EOF=1\n")
            return
        # A terminal takes one line of 4 kB, and so do we.
        self._write(b"LABKIT_ANSWER=$'" + lines(ansi_c_quote(line), LINE)[0] + b"'\n")

    def _ping(self, exchange: ShellExchange) -> None:
        self._write(self.dialect.ping(exchange.number))

    def _write(self, data: bytes) -> None:
        with self._writing:
            self._stream.write(data)
