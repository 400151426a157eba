"""A framed shell over a byte stream: every command gets exactly one answer, whatever it prints.

A command travels as one line, ``eval $'...'``, in which everything but printable ASCII is an octal
escape, so that neither the terminal nor the shell's parser can trip over it. Its standard input is no
terminal, and all three descriptors are put back behind it. When the shell reads its next line, its
prompt, a record with the command's number, says so: a hint that anybody could print. Only then is the
question sent that asks for the exit status under a fresh nonce: while a command runs, the nonce
is nowhere in the guest. A prompt that the command took away is missed after 0.3 s: a ping, a
line without any secret, waits in the terminal's queue until the shell reads again. A shell that
neither prompts nor answers has lost its terminal, and that is said. Works with busybox ``sh`` on
Linux and, by its documented limits, on Asterinas; a shell that cannot print records as prompts gets the
question at once, behind the command.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from labkit.console._command import TICK, CommandResult, Listener, Output, gone, silent
from labkit.console._frames import Ask, CommandEnd, Display, Frame, Reader, Ready, Text, ansi_c_quote, lines
from labkit.errors import CommandTimeout, GuestGone, UsageError
from labkit.show import clean

# A canonical-mode terminal cuts lines at 4095 bytes (Linux N_TTY; the same on Asterinas).
_LINE = 3900
_GRACE = 2.0
_SILENCE = 12.0
"""Seconds in which a shell that reads its terminal must have answered."""
_PINGS = (0.3, 1.0, 3.0, 10.0, 30.0, *range(60, 2400, 60))
"""When a running command's shell is asked whether it reads again; unread pings must fit in 4 kB."""
_REPEATS = (0.5, 1.5, 4.0, 8.0)
"""When an unanswered question is asked again."""
_CTRL_C = (0.2, 0.6, 1.4)
"""When Ctrl-C is sent again: one that meets the shell just as it starts a program reaches neither."""

# Without echo, busybox before 1.37 takes the end of a background job for the end of its input: EINTR ends its
# fgets(). The shell is told to go on, which it says on standard error: nobody reads that, except where the
# shell's prompt is there as well, as from 1.37 on.
# What is typed for every command is short, since a serial port takes 16 bytes at a time. The number of the
# command is in `_LK`, and a function answers a question; without it, the long form of the question does.
_SETUP = (
    rb"PS1='\036>$_LK\037' PS2=;%s() { \command printf '\036!%%s:%%s:%%s\037' "
    rb""""$1" "$2" "$-"; };\exec 2>%s;\set -o ignoreeof;\unset LABKIT_ENDED"""
)
_QUIET, _LOUD = b"/dev/null", b"&1"
_STATUS = rb'"${LABKIT_ENDED:+e}${LABKIT_ENDED:-$?}"'
# Inside the double quotes `$?` is still the command's own; the last words set it again for the question.
_PING = (
    rb"""\eval "\\command printf '\\36>%s,%s,\\37' '${_LK-}' '${LABKIT_ENDED:+e}';"""
    rb"""(\\exit ${LABKIT_ENDED:-$?})&&\\:"
"""
)
_TERMINAL = b"sane -echo -onlcr -icrnl -ixon noflsh susp undef quit undef"


class Stream(Protocol):
    """A bidirectional byte stream to a terminal in the guest."""

    def read(self, timeout: float) -> bytes | None:
        """Return what has arrived, ``b""`` at the end of the stream, ``None`` after ``timeout`` seconds."""

    def write(self, data: bytes) -> None:
        """Send all of ``data``; raises OSError when the other end is gone."""


@dataclass
class _Exchange:
    """One line that was sent, until its end is known."""

    number: int
    output: Output
    listener: Listener
    started: float = field(default_factory=time.monotonic)
    alive: bool = False
    pings: int = 0
    prompt_lost: bool = False
    nonce: bytes = b""
    asked: float = 0.0
    repeats: int = 0
    interrupted: float = 0.0
    ctrl_c: int = 0
    # What came between the shell's end of work and its answer: background output, or an echo of ours.
    late: bytearray = field(default_factory=bytearray)


class Console:
    """Runs commands in the guest's shell, one at a time."""

    def __init__(self, stream: Stream, output_limit: int = 1 << 20, stdin: str = "/dev/null") -> None:
        """Speak over ``stream``; keep at most ``output_limit`` bytes of a command's output.

        ``stdin`` is what commands have as standard input: a file of the guest that is created empty
        where it is missing.
        """
        self._stream = stream
        self._limit = output_limit
        self.stdin = stdin
        self._reader = Reader()
        self._events: deque[Frame] = deque()
        # A name that nobody redefines by chance, and that the shell shows to nobody.
        self._answerer = b"_lk" + secrets.token_hex(3).encode()
        self._setup = _SETUP % (self._answerer, _QUIET)
        self._number = 0
        self._status = 0
        self._flags = ""
        self._prompts = True
        self._current: _Exchange | None = None
        self._writing = threading.Lock()

    def handshake(self, timeout: float) -> None:
        """Find the shell: ask until it answers, since what is typed before it listens is lost.

        Raises:
            CommandTimeout: no answer within ``timeout`` seconds.
            GuestGone: the stream ended.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            # A number of its own: a shell that was saved with its prompt may show another first.
            exchange = _Exchange(secrets.randbelow(10**8) + 10**8, Output(self._limit), Listener())
            # The empty line ends whatever half of an earlier question may have arrived.
            self._write(b"\n" + self._setup + b";_LK=%d\n" % exchange.number)
            self._ask(exchange)
            self._prompts = False
            if self._wait(exchange, min(left, 0.5)) is not None:
                self._prompts = exchange.alive
                if self._prompts:
                    return
                if _LOUD in self._setup:
                    self._exchange(b"PS1=", None)
                    return
                self._setup = _SETUP % (self._answerer, _LOUD)
        raise CommandTimeout(
            f"The guest's shell did not answer within {timeout:g} s.",
            "Look at console.log in the run directory for what the guest was doing.",
        )

    def run(
        self,
        command: str,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
        *,
        listener: Listener | None = None,
        aside: bool = False,
    ) -> CommandResult:
        """Run one command (any text but NUL, any number of lines) and wait for its end.

        ``on_output`` receives raw output as it arrives; a ``listener`` can do more. A command that is
        still running after ``timeout`` seconds is interrupted. ``aside``: the next command's ``$?`` is
        that of the command before this one.

        Raises:
            CommandTimeout: the time ran out.
            GuestGone: the guest ended, or its shell lost its terminal; what it had printed is in the message.
            UsageError: the command holds a NUL, which no shell can take.
        """
        if "\0" in command:
            raise UsageError("The command holds a NUL character.", "Remove it; a shell cannot take one.")
        listener = listener or Listener(output=on_output)
        output = Output(self._limit, listener.output)
        started = time.monotonic()
        try:
            line = self._upload(ansi_c_quote(command))
            answer = (
                self._exchange(line, timeout, output, listener) if line else CommandEnd(b"", 130, False, "")
            )
        except OSError as error:
            raise gone(output) from error
        seconds = time.monotonic() - started
        if answer is None:
            raise CommandTimeout(
                f"The command {_short(command)!r} did not end within {timeout:g} s.",
                "Give it more time, or see whether it waits for input.",
            )
        if not aside:
            self._status = answer.status
        return CommandResult(command, answer.status, output.kept(), seconds, output.dropped, answer.ended)

    @property
    def job_control(self) -> bool:
        """The shell gives each command the terminal, so that Ctrl-C reaches it; as of the last command."""
        return "m" in self._flags

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

    def _upload(self, quoted: list[bytes]) -> bytes:
        """Return the line that runs the quoted command; a long one is stored in the guest first.

        Empty where an interrupt came in between.
        """
        # Tracing would show the machinery: it is off between commands, and on again inside the next.
        if traced := set(self._flags) & {"v", "x"}:
            self._exchange(b"{ \\set +xv; } 2>/dev/null", None)
            quoted = [*ansi_c_quote("\\set -" + "".join(sorted(traced)) + "\n"), *quoted]
        # In this order both are the terminal, and both are saved.
        redirections = b" <>" + self.stdin.encode() + b" 2>&1 >&2"
        status = b"(\\exit %d)&&\\:;" % self._status if self._status else b""
        parts = lines(quoted, _LINE)
        if len(parts) == 1:
            return status + b"\\eval $'" + parts[0] + b"'" + redirections
        for number, part in enumerate(parts):
            so_far = b'"$LABKIT_TEXT"' if number else b""
            answer = self._exchange(b"LABKIT_TEXT=" + so_far + b"$'" + part + b"'", None)
            if answer is None or answer.status != 0:
                return b""
        return status + b'\\eval "\\unset LABKIT_TEXT;$LABKIT_TEXT"' + redirections

    def _exchange(
        self,
        line: bytes,
        timeout: float | None,
        output: Output | None = None,
        listener: Listener | None = None,
        *,
        repair: bool = True,
    ) -> CommandEnd | None:
        """Have the shell run one line; None in time-out, after an interrupt."""
        self._number += 2
        exchange = _Exchange(self._number, output or Output(self._limit), listener or Listener())
        self._current = exchange
        try:
            # The first line makes a shell that reads its terminal prompt at once: a sign of life.
            alive = b"_LK=%d\n" % (exchange.number - 1) if self._prompts else b""
            self._write(alive + b"_LK=%d;" % exchange.number + line + b"\n")
            if not self._prompts:
                self._ask(exchange)
            answer = self._wait(exchange, timeout)
            if answer is None:
                self.interrupt()
                self._wait(exchange, _GRACE)
                return None
        finally:
            self._current = None
        self._flags = answer.flags
        if repair:
            self._put_in_order(exchange, answer)
        return answer

    def _put_in_order(self, exchange: _Exchange, answer: CommandEnd) -> None:
        """Repair what the command did to the prompt and the terminal."""
        if self._prompts and (exchange.pings or answer.ended):
            self._write(self._setup + b"\n")
        if exchange.interrupted or exchange.prompt_lost:
            # A late Ctrl-C makes the shell print a newline, and a prompt of the command's own may
            # stand behind the answer: have them here, not in the next command.
            self._exchange(b"", None, repair=False)
        if self._is_echoed(exchange):
            self._exchange(b"\\command stty " + _TERMINAL, None, repair=False)

    def _wait(self, exchange: _Exchange, timeout: float | None) -> CommandEnd | None:
        """Read until the answer; None in time-out."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            while self._events:
                if answer := self._take(exchange, self._events.popleft()):
                    exchange.output.add(self._without_echo(exchange))
                    return answer
            due = self._keep_asking(exchange)
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
                raise gone(exchange.output)
            if data:
                self._events.extend(self._reader.feed(data))

    def _take(self, exchange: _Exchange, event: Frame) -> CommandEnd | None:
        match event:
            case Text(data):
                if exchange.nonce and self._prompts:
                    exchange.late += data
                else:
                    exchange.output.add(data)
            case Ready():
                exchange.alive |= event.ended or event.number in (exchange.number - 1, exchange.number)
                self._ready(exchange, event)
            case CommandEnd(nonce=nonce) if nonce == exchange.nonce:
                return event
            case CommandEnd():
                pass  # the late answer to a question asked twice
            case Ask(prompt, hidden):
                self._answer(exchange, prompt, hidden)
            case Display(mime, data) if exchange.listener.display is not None:
                exchange.listener.display(mime, data)
        return None

    def _ready(self, exchange: _Exchange, event: Ready) -> None:
        if exchange.nonce or not self._prompts:
            return
        if event.ended or event.number == exchange.number or (event.pinged and event.number is None):
            exchange.prompt_lost = event.pinged
            self._ask(exchange)
        elif event.pinged:
            raise silent("did not get the command", exchange.output)

    def _ask(self, exchange: _Exchange) -> None:
        exchange.nonce = exchange.nonce or secrets.token_hex(8).encode()
        exchange.asked = exchange.asked or time.monotonic()
        if self._prompts and not (exchange.pings or exchange.repeats):
            self._write(b"\\" + self._answerer + b" " + exchange.nonce + b' "$?"\n')
            return
        # Functions of these names would stand in the way; without an answer they have to go.
        unset = b"\\unset -f command printf;" if exchange.repeats > 1 else b""
        question = b"\\command printf '\\36!%s:%s:%s\\37' " + exchange.nonce + b" " + _STATUS + b' "$-"\n'
        self._write(unset + question)

    def _keep_asking(self, exchange: _Exchange) -> float:
        """Send what is due; return when the next is."""
        now = time.monotonic()
        due = now + 3600.0
        if exchange.interrupted and exchange.ctrl_c < len(_CTRL_C):
            again = exchange.interrupted + _CTRL_C[exchange.ctrl_c]
            if now >= again:
                exchange.ctrl_c += 1
                self._write(b"\x03")
                # Ctrl-C empties the queue of a terminal that lacks `noflsh`.
                self._ask(exchange) if exchange.nonce else self._write(_PING)
                return now
            due = min(due, again)
        if not self._prompts:
            return due
        if exchange.nonce:
            if now >= exchange.asked + _SILENCE:
                raise silent("no longer answers", exchange.output)
            if exchange.repeats < len(_REPEATS):
                again = exchange.asked + _REPEATS[exchange.repeats]
                if now >= again:
                    exchange.repeats += 1
                    self._ask(exchange)
                    return now
                due = min(due, again)
            return min(due, exchange.asked + _SILENCE)
        if not exchange.alive and now >= exchange.started + _SILENCE:
            raise silent("no longer reads its terminal", exchange.output)
        if exchange.pings < len(_PINGS):
            ping = exchange.started + _PINGS[exchange.pings]
            if now >= ping:
                exchange.pings += 1
                self._write(_PING)
                return now
            due = min(due, ping)
        return due if exchange.alive else min(due, exchange.started + _SILENCE)

    def _answer(self, exchange: _Exchange, prompt: str, hidden: bool) -> None:
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

    def _without_echo(self, exchange: _Exchange) -> bytes:
        late = bytes(exchange.late)
        if exchange.nonce not in late:
            return late
        return b"".join(
            line
            for line in late.splitlines(keepends=True)
            if exchange.nonce not in line and b"_LK" not in line and b"LABKIT_" not in line
        )

    def _is_echoed(self, exchange: _Exchange) -> bool:
        """The terminal, or the shell's line editor, shows what is typed."""
        return any(
            exchange.nonce in line and not line.startswith(b"+ ") for line in exchange.late.splitlines()
        )

    def _write(self, data: bytes) -> None:
        with self._writing:
            self._stream.write(data)


def _short(command: str) -> str:
    return command if len(command) <= 60 else command[:57] + "..."
