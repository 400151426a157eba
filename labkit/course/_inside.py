"""What runs inside the sandbox: limits first, then the submission's code, then one line with what it said.

Nothing here is believed by the grader: the code of a submission runs in this very process and may write
anything to its output.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import sys
from pathlib import Path
from typing import IO, Any


def _limit(settings: dict[str, int]) -> None:
    if settings["uid"]:
        os.setgroups([])
        os.setresgid(settings["uid"], settings["uid"], settings["uid"])
        os.setresuid(settings["uid"], settings["uid"], settings["uid"])
    for kind, value in (
        (resource.RLIMIT_AS, settings["memory"]),
        (resource.RLIMIT_NPROC, settings["processes"]),
        (resource.RLIMIT_NOFILE, settings["files"]),
        (resource.RLIMIT_FSIZE, settings["disk"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    # The first limit says why it ends, the second ends what does not listen.
    resource.setrlimit(resource.RLIMIT_CPU, (settings["cpu"], settings["cpu"] + 1))


def _channel() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes to the grader; the code itself gets neither input nor output."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    return incoming, outgoing


def _say(outgoing: IO[bytes], document: Any) -> None:
    outgoing.write(json.dumps(document).encode() + b"\n")
    outgoing.flush()


def _source(cell: str) -> str:
    """A cell as Python; magics and ``!`` need IPython's own translation."""
    if any(line.lstrip().startswith(("%", "!")) for line in cell.splitlines()):
        from IPython.core.inputtransformer2 import TransformerManager

        return TransformerManager().transform_cell(cell)
    return cell


def _cells(incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """Run cells in one namespace; an error ends its cell, and the next one runs, as nbgrader does."""
    job = json.loads(incoming.readline())
    for name, data in job["files"].items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))
    space: dict[str, Any] = {"__name__": "__main__", "display": lambda *_args, **_more: None}
    error = ""
    for number, cell in enumerate(job["cells"], 1):
        try:
            exec(compile(_source(cell), f"<cell {number}>", "exec"), space)
        except BaseException as problem:
            error = error or f"cell {number}: {type(problem).__name__}: {problem}"
    try:
        answers = json.loads(Path(job["answers"]).read_bytes())["answers"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        answers = {}
    _say(outgoing, {"answers": answers, "error": error})


def _function(incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """Call a generator function of the submission once for each request, and relay what it yields.

    Each request gives the arguments; each yielded operation goes out as a line, its answer comes in as one.
    """
    job = json.loads(incoming.readline())
    space: dict[str, Any] = {"__name__": "submission"}
    try:
        exec(compile(job["code"], "<submission>", "exec"), space)
        function = space[job["function"]]
    except BaseException as problem:
        _say(outgoing, {"broken": f"{type(problem).__name__}: {problem}"[:300]})
        return
    _say(outgoing, {"ready": True})
    from labkit.course._remote import serve

    serve(function, incoming, outgoing)


def main() -> None:
    """Play the role that the command line names."""
    _limit(json.loads(sys.argv[2]))
    incoming, outgoing = _channel()
    sys.path.insert(0, str(Path.cwd()))
    {"cells": _cells, "function": _function}[sys.argv[1]](incoming, outgoing)
    outgoing.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
