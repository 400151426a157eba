"""A framed shell over a byte stream: every command gets exactly one answer, whatever it prints.

A command travels as one line, ``eval $'...'``, in which everything but printable ASCII is an octal
escape, so that neither the terminal nor the shell's parser can trip over it. Its standard input is no
terminal, and all three descriptors are put back behind it. When such a line has ended is known by the shell
(``_shell``). What is typed rests on nothing that a command can redefine (``_dialect``), and an
answer without the proof that the command began, or that it ended as the shell says, is not an answer: the
command is sent again where it never began, and else the shell is given up, which is said. Works with
busybox ``sh``, from 1.35 on, and bash.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

from labkit.console._command import CommandResult, Listener, Output, dishonest, gone, short, unknown
from labkit.console._dialect import (
    joins,
    marks_its_end,
    may_end_shell,
    may_fix_prompts,
    may_trace,
    open_documents,
)
from labkit.console._exchange import INTERRUPTED, CommandEnd
from labkit.console._shell import LINE, Shell
from labkit.console.frames import ansi_c_quote, lines
from labkit.console.stream import Stream
from labkit.errors import CommandTimeout, UsageError

_SILENCE = 12.0
"""Seconds in which a shell that reads its terminal must have answered, on a machine at rest."""


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
        self.stdin = stdin
        self._limit = output_limit
        self._patience = patience
        self._shell = Shell(stream, output_limit, _SILENCE * patience, lone=lone)
        self._status = 0

    def handshake(self, timeout: float) -> None:
        """Find the shell.

        timeout: seconds on a machine at rest.

        Raises:
            CommandTimeout: no answer came.
            GuestGone: the stream ended.
        """
        self._shell.find(timeout * self._patience)

    def state(self) -> str:
        """What is known of the shell, as JSON: the console of a resumed guest can ``go_on`` with it."""
        return json.dumps({"status": self._status, "shell": self._shell.state()})

    def go_on(self, state: str) -> None:
        """Know the shell without a ``handshake``: it is as it was when the ``state`` of its console was had.

        Raises:
            ValueError: it is not a state.
        """
        try:
            kept = json.loads(state)
            status = int(kept["status"])
            self._shell.go_on(kept["shell"])
            self._status = status
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not the state of a console") from error

    def interrupt(self) -> None:
        """Send Ctrl-C to the running command; may be called from another thread.

        Raises:
            GuestGone: the guest ended.
        """
        self._shell.interrupt()

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
        shell, dialect = self._shell, self._shell.dialect
        # Where a here-document or a command is open, the proof behind the text would be a part of it.
        joined = joins(command)
        closed = open_documents(command) == [] and not joined
        # Tracing would show the machinery: it is off between commands, and on again inside the next.
        traced = "".join(sorted(set(shell.flags) & {"v", "x"})).encode()
        if traced:
            shell.tell(b"{ \\set +xv; } 2>/dev/null")
        number = shell.next_number()
        before, head = dialect.head(number, self._status, traced)
        tail = dialect.tail(number, command) if closed else b"\n" if joined else b""
        line = self._upload(ansi_c_quote(head, command, tail), b"" if bare else self._redirections)
        if line is None:
            return CommandEnd(INTERRUPTED)
        traces = bool(traced) or may_trace(command)
        line = dialect.begin(number) + b";" + before + line
        answer = shell.exchange(
            line, timeout, output, listener, number, traces=traces, marks=marks_its_end(command)
        )
        if answer is None or answer.ended or answer.finished:
            pass
        elif shell.interrupted:
            answer = replace(answer, status=answer.status or INTERRUPTED)
        else:
            self._see_that_it_is_honest(command, output)
            if closed and not answer.status:
                raise unknown(command, "the shell gives answers that prove nothing")
        if dialect.after(command):
            shell.tell(dialect.repair())
        if dialect.bash and not dialect.muted and may_fix_prompts(command):
            shell.tell(dialect.fixed)
        return answer

    def _see_that_it_is_honest(self, command: str, output: Output) -> None:
        """Have the shell fail on purpose, by a name that no alias can take: this is not a program.

        A folder is none either, but with ``shopt -s autocd`` its name is a command.
        """
        shell = self._shell
        for attempt in ("as it is", "guarded", "repaired"):
            if attempt == "guarded":
                shell.dialect.guarded = True
            elif attempt == "repaired":
                shell.tell(shell.dialect.repair())
            answer = shell.tell(shell.dialect.evaluate(b"/dev/null", b" 2>|/dev/null"))
            if answer is not None and answer.status in (126, 127) and self._proves():
                if attempt == "as it is":
                    return
                raise unknown(command, "the shell's own commands were redefined")
        raise dishonest(output)

    def _proves(self) -> bool:
        """A text without a command comes to its end, and can say so: nobody took the name that does."""
        shell = self._shell
        number = shell.next_number()
        line = self._upload(ansi_c_quote(b"", "", shell.dialect.tail(number, "")), self._redirections)
        if line is None:
            return False
        answer = shell.tell(shell.dialect.begin(number) + b";" + line, number)
        return answer is not None and answer.finished

    @property
    def job_control(self) -> bool:
        """The shell gives each command the terminal, so that Ctrl-C reaches it; as of the last command."""
        return "m" in self._shell.flags

    @property
    def is_bash(self) -> bool:
        """The shell is bash, as the handshake found."""
        return self._shell.dialect.bash

    @property
    def _redirections(self) -> bytes:
        # In this order both are the terminal, and both are saved.
        both = b" >/dev/tty 2>&1" if self._shell.dialect.muted else b" 2>&1 >&2"
        return b" <>" + self.stdin.encode() + both

    def _upload(self, quoted: list[bytes], redirections: bytes) -> bytes | None:
        """Return the line that runs the quoted command; a long one is stored in the guest first.

        None where an interrupt came in between.
        """
        shell, dialect = self._shell, self._shell.dialect
        parts = lines(quoted, LINE)
        if len(parts) == 1:
            return dialect.evaluate(b"$'" + parts[0] + b"'", redirections)
        for index, part in enumerate(parts):
            answer = shell.tell(dialect.part(b"$'" + part + b"'", index > 0))
            if answer is None or shell.interrupted:
                return None
        return dialect.evaluate(dialect.parts, redirections)
