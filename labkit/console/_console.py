"""A framed shell over a byte stream: every command gets exactly one answer, whatever it prints.

A command travels as one line, ``eval $'...'``, in which everything but printable ASCII is an octal
escape, so that neither the terminal nor the shell's parser can trip over it. Its standard input is no
terminal, and all three descriptors are put back behind it. When the shell reads its next line, its
prompt, a record with the command's number, says so: a hint that anybody could print. Only then is the
question sent that asks for the exit status under a fresh nonce: while a command runs, the nonce
is nowhere in the guest. What is typed rests on nothing that a command can redefine (``_dialect``), and an
answer without the proof that the command began, or that it ended as the shell says, is not an answer: the
command is sent again where it never began, and else the shell is given up, which is said. A prompt
that the command took away is missed after 0.3 s: a ping, a line without any secret, waits in the terminal's
queue until the shell reads again. A shell that neither prompts nor answers has lost its terminal, and that is
said. Works with busybox ``sh``, from 1.35 on, and bash; a shell that cannot print records as prompts
gets the question at once, behind the command.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from labkit.console._command import TICK, CommandResult, Listener, Output, gone, short, silent, unknown
from labkit.console._dialect import TERMINAL, Dialect, may_end_shell, may_trace, open_documents
from labkit.console._exchange import FAREWELL, INTERRUPTED, CommandEnd, ShellExchange, new_nonce
from labkit.console._waiting import REPEATS, Step, next_step
from labkit.console.frames import Ask, Display, End, Exit, Frame, Reader, Ready, Text, ansi_c_quote, lines
from labkit.console.stream import Stream
from labkit.errors import CommandTimeout, GuestGone, UsageError
from labkit.show import clean

# A canonical-mode terminal cuts lines at 4095 bytes (Linux N_TTY; the same on Asterinas).
_LINE = 3900
_GRACE = 2.0
_SILENCE = 12.0
"""Seconds in which a shell that reads its terminal must have answered, on a machine at rest."""
_DISHONEST = "gives answers that prove nothing, something has redefined its own commands"


class Console:
    """Runs commands in the guest's shell, one at a time."""

    def __init__(
        self,
        stream: Stream,
        output_limit: int = 1 << 20,
        stdin: str = "/dev/null",
        *,
        lone: bool = False,
        patience: float = 1.0,
    ) -> None:
        """Speak over ``stream``; keep at most ``output_limit`` bytes of a command's output.

        ``stdin`` is what commands have as standard input: a file of the guest that is created empty
        where it is missing. lone: no other shell follows one that ends. patience: how many times
        as long as on a machine at rest a shell may be silent, and labkit's own commands may take.
        """
        self._stream = stream
        self._limit = output_limit
        self.stdin = stdin
        self._patience = patience
        self._silence = _SILENCE * patience
        self._reader = Reader()
        self._events: deque[Frame] = deque()
        self._dialect = Dialect(lone=lone)
        self._number = 0
        self._status = 0
        self._flags = ""
        self._prompts = True
        self._interrupts = False
        self._current: ShellExchange | None = None
        self._writing = threading.Lock()

    def handshake(self, timeout: float) -> None:
        """Find the shell: ask until it answers, since what is typed before it listens is lost.

        timeout: seconds on a machine at rest.

        Raises:
            CommandTimeout: no answer came.
            GuestGone: the stream ended.
        """
        timeout *= self._patience
        deadline = time.monotonic() + timeout
        dialect = self._dialect
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
                    self._exchange(b"PS1=" if answer.printed else b"", self._silence)
                    return
            dialect.loud = not dialect.loud
        raise CommandTimeout(
            f"The guest's shell did not answer within {timeout:g} s.",
            "Look at console.log in the run directory for what the guest was doing.",
        )

    def state(self) -> str:
        """What is known of the shell, as JSON: the console of a resumed guest can ``go_on`` with it."""
        return json.dumps(
            {
                "dialect": self._dialect.state(),
                "number": self._number,
                "status": self._status,
                "flags": self._flags,
                "prompts": self._prompts,
            }
        )

    def go_on(self, state: str) -> None:
        """Know the shell without a ``handshake``: it is as it was when the ``state`` of its console was had.

        Raises:
            ValueError: it is not a state.
        """
        try:
            kept = json.loads(state)
            self._dialect = Dialect.of(kept["dialect"])
            self._number, self._status = int(kept["number"]), int(kept["status"])
            self._flags, self._prompts = str(kept["flags"]), bool(kept["prompts"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not the state of a console") from error

    def run(
        self,
        command: str,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
        *,
        listener: Listener | None = None,
        aside: bool = False,
        bare: bool = False,
    ) -> CommandResult:
        """Run one command (any text but NUL, any number of lines) and wait for its end.

        ``on_output`` receives raw output as it arrives; a ``listener`` can do more. A command that is
        still running after ``timeout`` seconds is interrupted. ``aside``: the next command's ``$?`` is
        that of the command before this one. ``bare``: it reads and prints nothing, and its descriptors are
        left as they are.

        Raises:
            CommandTimeout: the time ran out.
            GuestGone: the guest ended, or its shell lost its terminal; what it had printed is in the message.
            VmError: the shell cannot say what became of the command; it takes others.
            UsageError: the command holds a NUL, which no shell can take.
        """
        if "\0" in command:
            raise UsageError("The command holds a NUL character.", "Remove it; a shell cannot take one.")
        listener = listener or Listener(output=on_output)
        output = Output(self._limit, listener.output)
        started = time.monotonic()
        try:
            answer = self._run(command, timeout, output, listener, bare)
        except OSError as error:
            raise gone(output) from error
        seconds = time.monotonic() - started
        if answer is None:
            raise CommandTimeout(
                f"The command {short(command)!r} did not end within {timeout:g} s.",
                "Give it more time, or see whether it waits for input.",
            )
        if not aside:
            self._status = answer.status
        if answer.ended and not answer.status and not may_end_shell(command):
            raise unknown(command, "the shell ended, and a new one answers")
        return CommandResult(command, answer.status, output.kept(), seconds, output.dropped, answer.ended)

    def ask(self, command: str, seconds: float, *, bare: bool = False) -> CommandResult:
        """Run a command of labkit's own: it leaves ``$?`` as it was.

        seconds: how long it may take on a machine at rest. bare: it reads and prints nothing.

        Raises:
            As ``run``.
        """
        return self.run(command, seconds * self._patience, aside=True, bare=bare)

    def _run(
        self, command: str, timeout: float | None, output: Output, listener: Listener, bare: bool
    ) -> CommandEnd | None:
        """Run a command; its end is believed by its proof, or where the shell shows that it is honest."""
        dialect = self._dialect
        # Where a here-document is open, the proof behind the text would be a part of it.
        closed = open_documents(command) == []
        # Tracing would show the machinery: it is off between commands, and on again inside the next.
        traced = "".join(sorted(set(self._flags) & {"v", "x"})).encode()
        if traced:
            self._exchange(b"{ \\set +xv; } 2>/dev/null", self._silence)
        number = self._next()
        before, head = dialect.head(number, self._status, traced)
        tail = dialect.tail(number, command) if closed else b""
        line = self._upload(ansi_c_quote(head, command, tail), b"" if bare else self._redirections)
        if line is None:
            return CommandEnd(INTERRUPTED)
        traces = bool(traced) or may_trace(command)
        line = dialect.begin(number) + b";" + before + line
        answer = self._exchange(line, timeout, output, listener, number, traces=traces)
        if answer is None or answer.ended or answer.finished:
            pass
        elif self._interrupts:
            answer = replace(answer, status=answer.status or INTERRUPTED)
        else:
            self._see_that_it_is_honest(command, output)
            if closed and not answer.status:
                raise unknown(command, "the shell gives answers that prove nothing")
        if dialect.after(command):
            self._exchange(dialect.repair(), self._silence)
        return answer

    def _see_that_it_is_honest(self, command: str, output: Output) -> None:
        """Have the shell fail on purpose, by a name that no command can take: a folder is not a program."""
        for attempt in ("as it is", "guarded", "repaired"):
            if attempt == "guarded":
                self._dialect.guarded = True
            elif attempt == "repaired":
                self._exchange(self._dialect.repair(), self._silence)
            answer = self._exchange(self._dialect.evaluate(b"/", b" 2>|/dev/null"), self._silence)
            if answer is not None and answer.status in (126, 127):
                if attempt == "as it is" and self._proves():
                    return
                if attempt != "as it is":
                    raise unknown(command, "the shell's own commands were redefined")
        raise silent(_DISHONEST, output)

    def _proves(self) -> bool:
        """A text without a command comes to its end, and can say so: nobody took the name that does."""
        number = self._next()
        line = self._upload(ansi_c_quote(b"", "", self._dialect.tail(number, "")), self._redirections)
        if line is None:
            return False
        answer = self._exchange(self._dialect.begin(number) + b";" + line, self._silence, number=number)
        return answer is not None and answer.finished

    @property
    def job_control(self) -> bool:
        """The shell gives each command the terminal, so that Ctrl-C reaches it; as of the last command."""
        return "m" in self._flags

    @property
    def is_bash(self) -> bool:
        """The shell is bash, as the handshake found."""
        return self._dialect.bash

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

    @property
    def _redirections(self) -> bytes:
        # In this order both are the terminal, and both are saved.
        both = b" >/dev/tty 2>&1" if self._dialect.muted else b" 2>&1 >&2"
        return b" <>" + self.stdin.encode() + both

    def _upload(self, quoted: list[bytes], redirections: bytes) -> bytes | None:
        """Return the line that runs the quoted command; a long one is stored in the guest first.

        None where an interrupt came in between.
        """
        parts = lines(quoted, _LINE)
        if len(parts) == 1:
            return self._dialect.evaluate(b"$'" + parts[0] + b"'", redirections)
        for index, part in enumerate(parts):
            answer = self._exchange(self._dialect.part(b"$'" + part + b"'", index > 0), self._silence)
            if answer is None or self._interrupts:
                return None
        return self._dialect.evaluate(self._dialect.parts, redirections)

    def _exchange(
        self,
        line: bytes,
        timeout: float | None,
        output: Output | None = None,
        listener: Listener | None = None,
        number: int | None = None,
        *,
        repair: bool = True,
        traces: bool = False,
    ) -> CommandEnd | None:
        """Have the shell run one line; None in time-out, after an interrupt.

        number: that of the line, where it begins with it already.
        """
        begins = number is None
        number = self._next() if number is None else number
        exchange = ShellExchange(
            number, output or Output(self._limit), listener or Listener(), time.monotonic(), traces
        )
        self._current = exchange
        dialect = self._dialect
        try:
            alive = dialect.alive(number - 1) if self._prompts else b""
            self._write(alive + (dialect.begin(number) + b";" if begins else b"") + line + b"\n")
            if not self._prompts:
                self._ask(exchange)
            elif self._dialect.muted:
                self._write(dialect.ping(exchange.number))
            answer = self._wait(exchange, timeout)
            if answer is None:
                self.interrupt()
                self._wait(exchange, _GRACE)
                return None
        finally:
            self._current = None
            self._interrupts = bool(exchange.interrupted)
        self._flags = answer.flags
        # After a shell that nothing follows there is nobody to talk to.
        if repair and not (answer.ended and exchange.ending is not None and not exchange.nonce):
            self._put_in_order(exchange, answer)
        return answer

    def _next(self) -> int:
        self._number += 2
        return self._number

    def _put_in_order(self, exchange: ShellExchange, answer: CommandEnd) -> None:
        """Repair what the command did to the prompt and the terminal."""
        interrupted = self._interrupts
        if answer.ended:
            self._dialect.muted = self._dialect.guarded = False
        if self._prompts and answer.ended:
            self._write(self._dialect.setup() + b"\n")
        if exchange.printed and self._prompts and not self._dialect.muted:
            self._dialect.muted = True
            self._exchange(self._dialect.mute(), self._silence, repair=False)
        elif exchange.interrupted or (exchange.pings and not self._dialect.muted):
            # A late Ctrl-C makes the shell print a newline, and a prompt of the command's own may
            # stand behind the answer: have them here, not in the next command.
            self._exchange(b"", self._silence, repair=False)
        if exchange.is_echoed:
            self._exchange(b"\\command stty " + TERMINAL, self._silence, repair=False)
        self._interrupts = interrupted

    def _wait(self, exchange: ShellExchange, timeout: float | None) -> CommandEnd | None:
        """Read until the answer; None in time-out."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            while self._events:
                if answer := self._take(exchange, self._events.popleft()):
                    said = b"" if answer.ended and exchange.farewell == FAREWELL else exchange.farewell
                    exchange.output.add(exchange.held + said + exchange.without_echo(self._dialect))
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
                    data = exchange.untraced(data, self._dialect) if exchange.traces else data
                    exchange.output.add(exchange.without_farewell(data) if self.is_bash else data)
            case Ready():
                return self._ready(exchange, event)
            case Exit(status) if self._dialect.lone:
                # Believed once the shell is gone.
                exchange.ending = status
            case End():
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
            self._dialect.bash |= event.bash
            return exchange.end(event)
        # A number that is prompted twice is that of a line that has ended without setting its own.
        if current or exchange.seen > 1 or event.number is None or event.ended is not None:
            self._ask(exchange)
        return None

    def _ask(self, exchange: ShellExchange) -> None:
        first = not exchange.nonce
        exchange.nonce = exchange.nonce or new_nonce()
        exchange.asked = exchange.asked or time.monotonic()
        dialect = self._dialect
        if first and self._prompts and not exchange.pings and not self._dialect.muted:
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
        self._write(b"LABKIT_ANSWER=$'" + lines(ansi_c_quote(line), _LINE)[0] + b"'\n")

    def _ping(self, exchange: ShellExchange) -> None:
        self._write(self._dialect.ping(exchange.number))

    def _write(self, data: bytes) -> None:
        with self._writing:
            self._stream.write(data)
