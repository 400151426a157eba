"""A front end for tests: one cell in, one answer out."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_core.paths import jupyter_runtime_dir
from jupyter_core.utils import ensure_event_loop

_NUMBERS = itertools.count()


@dataclass
class Cell:
    """What came of one cell."""

    reply: dict[str, Any]
    seconds: float
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return str(self.reply["status"])

    @property
    def error(self) -> tuple[str, str]:
        """Name and value of the error; empty strings where there is none."""
        return self.reply.get("ename", ""), self.reply.get("evalue", "")

    def text(self, name: str = "stdout") -> str:
        return "".join(c["text"] for kind, c in self.messages if kind == "stream" and c["name"] == name)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.messages]


class Frontend:
    """A running kernel and its client."""

    def __init__(self, kernel: str = "tdvm", **environment: str) -> None:
        sockets = Path(jupyter_runtime_dir()) / f"kernel-{next(_NUMBERS)}"
        self.manager = KernelManager(kernel_name=kernel, transport="ipc", ip=str(sockets))
        if environment:
            self.manager.start_kernel(env=environment)
        else:
            self.manager.start_kernel()
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=180)

    def run(
        self,
        code: str,
        timeout: float = 60,
        answer: Callable[[str, bool], str] | None = None,
        on_stream: Callable[[str], None] | None = None,
        **options: Any,
    ) -> Cell:
        """Run a cell, and assert that it gets exactly one reply and one idle message."""
        messages: list[tuple[str, dict[str, Any]]] = []

        def output(message: dict[str, Any]) -> None:
            if message["msg_type"] not in ("status", "execute_input"):
                messages.append((message["msg_type"], message["content"]))
            if on_stream is not None and message["msg_type"] == "stream":
                on_stream(message["content"]["text"])

        def stdin(message: dict[str, Any]) -> None:
            assert answer is not None
            content = message["content"]
            self.client.input(answer(content["prompt"], content["password"]))

        began = time.monotonic()
        options.setdefault("stop_on_error", False)
        reply = self.client.execute_interactive(
            code,
            timeout=timeout,
            output_hook=output,
            stdin_hook=stdin,
            allow_stdin=answer is not None,
            **options,
        )
        seconds = time.monotonic() - began
        assert not self.client.shell_channel.msg_ready()
        return Cell(reply["content"], seconds, messages)

    def interrupted(self, code: str, when: str, timeout: float = 60) -> tuple[Cell, float]:
        """Run a cell and interrupt it once it has printed ``when``: the cell, and how long it then took."""
        seen, pressed = "", 0.0

        def watch(text: str) -> None:
            nonlocal seen, pressed
            seen += text
            if when in seen and not pressed:
                pressed = time.monotonic()
                threading.Thread(target=self.interrupt).start()

        cell = self.run(code, timeout, on_stream=watch)
        assert pressed, "the cell ended before it could be interrupted"
        return cell, time.monotonic() - pressed

    def interrupt(self) -> None:
        """Press the stop button, in a thread that has no event loop to leave behind."""
        self.manager.interrupt_kernel()
        if threading.current_thread() is not threading.main_thread():
            ensure_event_loop().close()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()
        self.manager.cleanup_resources()

    def interrupt_and_wait(self) -> None:
        """Press the stop button, and wait until the kernel has heard it."""
        self.client.control_channel.send(self.client.session.msg("interrupt_request", {}))
        assert self.client.get_control_msg(timeout=30)["content"]["status"] == "ok"
