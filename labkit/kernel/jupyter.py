"""The Jupyter kernel whose cells run in a TDVM: every request gets exactly one reply."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import zmq
from ipykernel.kernelbase import Kernel

from labkit import __version__
from labkit.console import Listener, open_documents
from labkit.errors import LabkitError, UsageError
from labkit.kernel import guest, magics, rich
from labkit.kernel._history import History
from labkit.kernel._start import Starting
from labkit.kernel.host import HostPermission
from labkit.kernel.output import INTERVAL, Publisher
from labkit.learn.ask import Notebook
from labkit.settings import Ui
from labkit.show import clean

T = TypeVar("T")

_NO_INPUT = (
    "read: nobody can answer here, this front end sends no input. "
    "Use `echo TEXT | { read NAME; ...; }` or a here-document.\n"
)
_NEW_SHELL = "[the shell ended with status {}; a new one answers, without its variables and functions]\n"
_NEW_TDVM = "[a fresh TDVM was started: the variables and files of the old one are gone]\n"
_EXEC = "[the redirection by `exec` ended with this cell: the next one prints here again]\n"
_DOCUMENT = "[the here-document never ended, no line is just {}: the rest of the cell went into it]\n"
_STUBBORN = "[the command goes on in spite of Ctrl-C; interrupt once more to end the whole TDVM]\n"
_FORCE = 3
"""The interrupt of one cell that ends the guest: what ignores Ctrl-C can be ended no other way."""


class TdvmKernel(Kernel):  # type: ignore[misc, unused-ignore]
    """Runs cells in the shell of a TDVM of its own."""

    implementation = "labkit"
    implementation_version = __version__
    language_info = {  # noqa: RUF012 (a trait of the base class)
        "name": "bash",
        "version": "",
        "mimetype": "text/x-sh",
        "file_extension": ".sh",
        "codemirror_mode": "shell",
        "pygments_lexer": "bash",
    }
    help_links: list[dict[str, str]] = []  # noqa: RUF012
    # The base class sleeps before each reply for the sake of Python's output, and here is none.
    _execute_sleep = 0.0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._base: Any = self  # the base class has no types
        self._guest: Starting = cast(Any, self.parent).starting
        self._cells = History()
        self._host_permission = HostPermission(os.environ)
        self._predictions = Notebook(self._guest.session.settings)
        self._said = ""
        self._lost = 0
        self._greeted = False
        self._interrupts = 0
        self._cell: magics.Context | None = None

    @property
    def banner(self) -> str:  # type: ignore[override]
        """What a console shows at its start."""
        headline = self._guest.session.headline(5.0) or "The platform is not known yet."
        what = f"labkit {__version__}: cells run in the shell of a TDVM"
        return f"{what}\n{headline}\n%tdvm lists what else there is.\n"

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Any = None,
        cell_id: Any = None,
    ) -> dict[str, Any]:
        """Run one cell; whatever happens, one reply."""
        publisher = Publisher(self._publish(silent), self._guest.session.settings.output_limit, self._log)
        context = magics.Context(
            self._guest.session,
            publisher,
            self._predictions,
            permission=self._host_permission,
            said=self._said,
        )
        self._cell, self._interrupts = context, 0
        error: tuple[str, str, list[str]] | None = None
        outcome = magics.CellOutcome()
        try:
            await self._booted(publisher, context, interactive=allow_stdin and not silent)
            # Like Python's own kernel, this one runs cells in its main thread; interrupts come in another.
            outcome = self._run(code, context, allow_stdin)
            if outcome.status:
                word = " (interrupted)" if outcome.status == 130 and self._interrupts else ""
                error = "ExitStatus", str(outcome.status), [f"exit status {outcome.status}{word}"]
        except LabkitError as problem:
            error = type(problem).__name__, problem.message, [str(problem)]
        except InterruptedError:
            error = "Interrupted", "the cell was not run", ["Interrupted while the TDVM was booting."]
        except Exception as problem:
            # The protocol's edge: a defect of ours must not leave the client without its reply.
            self.log.exception("a cell failed inside the kernel")
            error = type(problem).__name__, str(problem), [f"A defect in labkit: {problem!r}"]
        finally:
            self._cell = None
            publisher.close()
        self._said = outcome.said or publisher.last_line or self._said
        if store_history and not silent:
            self._cells.add(self.execution_count, code)
        return self._reply(outcome, error, silent)

    async def do_complete(self, code: str, cursor_pos: int) -> dict[str, Any]:
        """Complete with what the guest knows; in doubt, with nothing."""
        nothing: tuple[list[str], int] = [], cursor_pos
        if code.startswith("%") and "\n" not in code:
            matches, start = [name for name in magics.MAGICS if name.startswith(code[:cursor_pos])], 0
        else:
            functions = self._cells.functions()
            matches, start = self._query(
                lambda run: guest.complete(code, cursor_pos, run, functions), nothing
            )
        return {
            "status": "ok",
            "matches": matches,
            "cursor_start": start,
            "cursor_end": cursor_pos,
            "metadata": {},
        }

    async def do_is_complete(self, code: str) -> dict[str, Any]:
        """Ask the guest's shell whether it would wait for more."""
        if magics.find(code):
            return {"status": "complete"}
        status = self._query(lambda run: guest.is_complete(code, run), "unknown")
        return {"status": status, **({"indent": ""} if status == "incomplete" else {})}

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        """Say what the word at the cursor is."""
        if code.startswith("%"):
            text = magics.help_text()
        else:
            text = self._query(lambda run: guest.inspect(code, cursor_pos, run), "")
        data = {"text/plain": clean(text)} if text else {}
        return {"status": "ok", "found": bool(text), "data": data, "metadata": {}}

    async def do_history(
        self,
        hist_access_type: str,
        output: bool,
        raw: bool,
        session: int | None = None,
        start: int | None = None,
        stop: int | None = None,
        n: int | None = None,
        pattern: str | None = None,
        unique: bool = False,
    ) -> dict[str, Any]:
        """Answer from this kernel's memory."""
        match hist_access_type:
            case "tail":
                entries = self._cells.tail(n, output)
            case "range":
                entries = self._cells.range(start, stop, output)
            case _:
                entries = self._cells.search(pattern, n, unique, output)
        return {"status": "ok", "history": entries}

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:
        """End the guest; a restarted kernel is a new process with a fresh guest."""
        self._guest.session.abandon()
        self._guest.session.close()
        return {"status": "ok", "restart": restart}

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Interrupt the running cell; called in the control thread."""
        content: dict[str, Any] = {"status": "ok"}
        try:
            self._interrupt()
        except LabkitError as error:
            content = {
                "status": "error",
                "ename": type(error).__name__,
                "evalue": error.message,
                "traceback": [],
            }
        self._wire.send(stream, "interrupt_reply", content, parent, ident=ident)

    def finish_metadata(self, parent: Any, metadata: Any, reply_content: Any) -> Any:
        """Say in the reply what the cell ran on."""
        metadata["labkit"] = {"headline": self._guest.session.headline(0.0)}
        return metadata

    @property
    def _wire(self) -> Any:
        """Jupyter's session, which signs messages; it is there once the kernel serves."""
        return self.session

    def _interrupt(self) -> None:
        cell = self._cell
        if cell is None:
            return
        self._interrupts += 1
        cell.interrupted.set()
        if self._interrupts >= _FORCE:
            self._guest.session.abandon()
        else:
            if self._interrupts == _FORCE - 1:
                cell.publisher.text(_STUBBORN, "stderr")
            self._guest.session.interrupt()

    def _run(self, code: str, context: magics.Context, allow_stdin: bool) -> magics.CellOutcome:
        magic = magics.find(code)
        publisher = context.publisher
        if name := guest.untranslatable(code):
            session = self._guest.session
            if not session.tdvm().machine.console.is_bash:
                raise UsageError(
                    f"The parameter {name} is a list or a mapping, and this guest's shell has neither.",
                    "Pass it as text, or use labkit's own guest, whose shell is bash.",
                )
        parent, ident = (
            self._base.get_parent("shell"),
            self._base._get_shell_context_var(self._base._shell_parent_ident),
        )

        def ask(prompt: str, hidden: bool) -> str | None:
            publisher.flush()
            return self._input(prompt, hidden, parent, ident, context.interrupted)

        def asked_by_the_guest(prompt: str, hidden: bool) -> str | None:
            if not allow_stdin:
                publisher.flush()
                publisher.text(_NO_INPUT, "stderr")
                return None
            # A guest may ask for "Password for root@host:", and the person should know who asks.
            return ask(f"The TDVM asks: {prompt}", hidden)

        if magic is not None:
            context.ask = ask if allow_stdin else None
            return magics.call(magic, context)

        def display(mime: str, data: bytes) -> None:
            shown, refused = rich.bundle(mime, data)
            if shown is None:
                publisher.text(refused + "\n", "stderr")
            else:
                publisher.add("display_data", {"data": shown, "metadata": {}, "transient": {}})

        listener = Listener(publisher.output, publisher.tick, asked_by_the_guest, display)
        result = self._guest.session.run(code, listener)
        if result.shell_ended:
            publisher.text(_NEW_SHELL.format(result.exit_status), "stderr")
        elif guest.redirects_shell(code):
            publisher.text(_EXEC, "stderr")
        if (names := open_documents(code)) and guest.is_complete(
            code, self._guest.session.query
        ) == "incomplete":
            publisher.text(_DOCUMENT.format(", ".join(names)), "stderr")
        return magics.CellOutcome(result.exit_status)

    async def _booted(self, publisher: Publisher, context: magics.Context, interactive: bool) -> None:
        """Wait for the TDVM; where a person looks on, show how far it is, and at the end what it is."""
        session, starting = self._guest.session, self._guest
        if self._greeted and session.alive and session.replaced == self._lost:
            return
        interactive = interactive and session.settings.ui is not Ui.STATIC
        said = 0
        while not starting.boot.done():
            await asyncio.wait([asyncio.wrap_future(starting.boot)], timeout=INTERVAL)
            if context.interrupted.is_set():
                raise InterruptedError
            if interactive:
                lines, said = starting.progress[said:], len(starting.progress)
                publisher.text("".join(f"{line}\n" for line in lines))
                publisher.tick()
        tdvm = session.tdvm()
        replaced = session.replaced
        if replaced > self._lost:
            publisher.text(_NEW_TDVM, "stderr")
        self._lost, self._greeted = replaced, True
        if interactive:
            if said:
                publisher.add("clear_output", {"wait": True})
            text = f"{tdvm.headline}\n{tdvm.timeline}"
            data = magics.bundle(text, tdvm.headline, tdvm.timeline)
            publisher.add("display_data", {"data": data, "metadata": {}, "transient": {}})

    def _query(self, ask: Callable[[guest.Run], T], otherwise: T) -> T:
        if not self._guest.boot.done():
            return otherwise
        try:
            return ask(self._guest.session.query)
        except LabkitError:
            return otherwise
        except Exception:
            # As for cells: no request stays without its reply.
            self.log.exception("a question to the guest failed inside the kernel")
            return otherwise

    def _input(
        self, prompt: str, hidden: bool, parent: Any, ident: Any, interrupted: threading.Event
    ) -> str | None:
        """Ask the front end for a line; None after an interrupt."""
        while self.stdin_socket.poll(0):
            self.stdin_socket.recv_multipart()  # replies to questions of earlier cells
        content = {"prompt": prompt, "password": hidden}
        self._wire.send(self.stdin_socket, "input_request", content, parent, ident=ident)
        while not interrupted.is_set():
            if self.stdin_socket.poll(50, zmq.POLLIN):
                _, reply = self._wire.recv(self.stdin_socket)
                if reply is not None:
                    value = reply["content"].get("value", "")
                    return None if value == "\x04" else str(value)
        return None

    def _publish(self, silent: bool) -> Callable[[str, dict[str, Any]], None]:
        parent = self._base.get_parent("shell")

        def publish(kind: str, content: dict[str, Any]) -> None:
            if not silent:
                topic = self._base._topic(kind)
                self._wire.send(self.iopub_socket, kind, content, parent, ident=topic)

        return publish

    def _reply(
        self, outcome: magics.CellOutcome, error: tuple[str, str, list[str]] | None, silent: bool
    ) -> dict[str, Any]:
        count = self.execution_count
        if error is not None:
            ename, evalue, traceback = error
            content = {"ename": ename, "evalue": evalue, "traceback": traceback}
            if not silent:
                self._base.send_response(self.iopub_socket, "error", content)
            return {"status": "error", "execution_count": count, **content}
        if outcome.data is not None and not silent:
            result = {"execution_count": count, "data": outcome.data, "metadata": {}}
            self._base.send_response(self.iopub_socket, "execute_result", result)
        pages = [{"source": "page", "data": {"text/plain": outcome.page}, "start": 0}] if outcome.page else []
        return {"status": "ok", "execution_count": count, "payload": pages, "user_expressions": {}}

    def _log(self) -> str:
        run_dir = self._guest.session.run_dir
        return str(run_dir / "shell.log") if run_dir else "gone"
