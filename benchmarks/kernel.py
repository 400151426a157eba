"""The kernel beside a shell kernel on pexpect (bash_kernel) and a local Python kernel (ipykernel)."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from _report import report
from jupyter_client.manager import KernelManager

from labkit.kernel.installing import install

ROUNDS = {
    "trivial": 100,
    "ten lines": 100,
    "seq 10000": 5,
    "sleep": 5,
    "loop": 5,
    "flood": 5,
    "restart": 3,
    "start": 3,
}
QUICK = ("trivial", "ten lines", "seq 10000")
INTERRUPTED = ("sleep", "loop", "flood")
SHELL = {
    "trivial": "true",
    "ten lines": "true\n" * 10,
    "seq 10000": "seq 10000",
    "sleep": "echo go; sleep 60",
    "loop": "echo go; while :; do :; done",
}
CELLS = {
    "tdvm": {**SHELL, "flood": "echo go; yes"},
    # Without a flood: bash_kernel publishes every line of it by itself.
    "bash": SHELL,
    "python3": {
        "trivial": "pass",
        "ten lines": "pass\n" * 10,
        "seq 10000": "for number in range(1, 10001): print(number)",
        "sleep": "import time; print('go', flush=True); time.sleep(60)",
        "loop": "print('go', flush=True)\nwhile True: pass",
        "flood": "print('go', flush=True)\nwhile True: print('y')",
    },
}
BASH_KERNEL = {
    "argv": [sys.executable, "-m", "bash_kernel", "-f", "{connection_file}"],
    "display_name": "Bash",
    "language": "bash",
}


class Kernel:
    """One running kernel and a client that measures it."""

    def __init__(self, name: str) -> None:
        began = time.perf_counter()
        self.cells = CELLS[name]
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel(stderr=open(os.devnull, "w"))  # noqa: PTH123, SIM115
        self._connect()
        self.seconds("trivial")
        self.start = time.perf_counter() - began

    def _connect(self) -> None:
        self.client: Any = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def seconds(self, cell: str) -> float:
        """From the request until both the reply and the idle message are there."""
        began = time.perf_counter()
        self.client.execute_interactive(
            self.cells[cell],
            timeout=60,
            allow_stdin=False,
            stop_on_error=False,
            output_hook=lambda message: None,
        )
        return time.perf_counter() - began

    def interrupt(self, cell: str) -> float:
        """From the press of the button until the reply."""
        pressed = 0.0

        def watch(message: dict[str, Any]) -> None:
            nonlocal pressed
            if message["msg_type"] == "stream" and not pressed:
                pressed = time.perf_counter()
                threading.Thread(target=self.manager.interrupt_kernel).start()

        self.client.execute_interactive(
            self.cells[cell], timeout=60, allow_stdin=False, stop_on_error=False, output_hook=watch
        )
        return time.perf_counter() - pressed

    def restart(self) -> float:
        """From the request until a cell has run in the fresh kernel.

        A client that is kept sends its first question to the old kernel and asks again only a second later.
        """
        began = time.perf_counter()
        self.client.stop_channels()
        self.manager.restart_kernel(now=False)
        self._connect()
        self.seconds("trivial")
        return time.perf_counter() - began

    def close(self) -> None:
        """Shut the kernel down."""
        self.client.stop_channels()
        self.manager.shutdown_kernel()
        self.manager.cleanup_resources()


@contextmanager
def kernelspecs() -> Iterator[list[str]]:
    """The names of the kernels that there are, ours first."""
    with tempfile.TemporaryDirectory() as prefix:
        install(prefix=prefix)
        names = ["tdvm", "python3"]
        if importlib.util.find_spec("bash_kernel") is None:
            print("bash_kernel is not installed: no comparison with it (pip install bash_kernel)")
        else:
            folder = Path(prefix, "share/jupyter/kernels/bash")
            folder.mkdir(parents=True)
            (folder / "kernel.json").write_text(json.dumps(BASH_KERNEL))
            names.append("bash")
        os.environ["JUPYTER_PATH"] = f"{prefix}/share/jupyter"
        yield names


def _row(what: str, names: list[str], measured: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Medians in milliseconds, the quickest of ours, and the median of the paired ratios."""
    title = f"interrupt a {what}" if what in INTERRUPTED else what
    row: dict[str, Any] = {"what": title, "tdvm best ms": 1000 * min(measured["tdvm"][what])}
    for name in names:
        row[f"{name} ms"] = 1000 * median(measured[name][what]) if measured[name][what] else "-"
    for peer in names[1:]:
        pairs = list(zip(measured["tdvm"][what], measured[peer][what], strict=False))
        row[f"tdvm / {peer}"] = median(ours / theirs for ours, theirs in pairs) if pairs else "-"
    return row


def main() -> None:
    """Measure all kernels in turn, round by round, so that whatever slows the machine slows all."""
    measured: dict[str, dict[str, list[float]]] = {}
    with kernelspecs() as names, ExitStack() as running:
        Kernel("tdvm").close()  # the first boot leaves the snapshot
        kernels: dict[str, Kernel] = {}
        for name in names:
            measured[name] = {what: [] for what in ROUNDS}
            for _ in range(ROUNDS["start"]):
                kernel = Kernel(name)
                measured[name]["start"].append(kernel.start)
                kernel.close()
            kernels[name] = Kernel(name)
            running.callback(kernels[name].close)
        for what in QUICK:
            for _ in range(ROUNDS[what]):
                for name, kernel in kernels.items():
                    measured[name][what].append(kernel.seconds(what))
        for name, kernel in kernels.items():
            for what in INTERRUPTED:
                for _ in range(ROUNDS[what] if what in kernel.cells else 0):
                    try:
                        measured[name][what].append(kernel.interrupt(what))
                    except TimeoutError:
                        print(f"{name} never replied to an interrupted {what}")
                        kernel.restart()
            measured[name]["restart"] += [kernel.restart() for _ in range(ROUNDS["restart"])]
    rows = [_row(what, names, measured) for what in ROUNDS]
    report("kernel", rows)


if __name__ == "__main__":
    main()
