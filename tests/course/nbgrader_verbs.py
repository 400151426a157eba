"""nbgrader's own command in the tests: loaded once for each test, forked for each verb."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# nbgrader's own command, loaded once and forked for each verb: loading it takes longer than most verbs do.
# The grammar of IRIs that jsonschema reads for 3 s is left out.
COMMANDS = """
import json, os, sys
sys.modules["rfc3987_syntax"] = None
from nbgrader.apps.nbgraderapp import main
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, path in enumerate((os.devnull, asked["output"], asked["output"])):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
        os.chdir(asked["folder"])
        os.environ.update(asked["names"])
        sys.argv = ["nbgrader", *asked["words"]]
        sys.exit(main())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nbgrader:
    """Runs nbgrader's verbs, each in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def __call__(self, folder: Path, *words: str, course: Path | None = None) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        names = {
            **os.environ,
            "PATH": path,
            "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
            "IPYTHONDIR": str(folder / "ipython"),
        }
        if course:
            names["LABKIT_COURSE"] = str(course)
        output = self._folder / f"{words[0]}.log"
        asked = {"folder": str(folder), "words": words, "names": names, "output": str(output)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(asked)}\n")
        self._process.stdin.flush()
        status = self._process.stdout.readline().strip()
        assert status == "0", f"nbgrader {words[0]}: {output.read_text()[-3000:]}"


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Nbgrader]:
    """nbgrader, ready for its verbs; what they print is kept in ``folder``."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Nbgrader(process, folder)


def scores(course: Path, name: str) -> dict[str, float]:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        return {entry.student.id: entry.score for entry in book.assignment_submissions(name)}
