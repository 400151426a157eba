"""The sandbox as an ordinary user has it: the same walls, without root's help."""

from __future__ import annotations

import json
import os
import shutil
import site
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import labkit
from labkit.course.sandbox import bubblewrap
from labkit.process import scratch_folder

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
CODE = """
import json, os, socket
def tried(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return "done"
found = {
    "secret": tried(lambda: open(SECRET)),
    "network": tried(lambda: socket.create_connection(("127.0.0.1", PORT), 2)),
    "outside": tried(lambda: open("/usr/labkit-was-here", "w")),
    "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
}
json.dump({"answers": found}, open("answers.json", "w"))
"""
RUN = """
import json, sys
from labkit.course.sandbox import Limits, SandboxTimeout, run_cells
print(json.dumps(dict(run_cells([sys.argv[1]], {}, Limits(seconds=10)).answers)))
try:
    run_cells(["while True: pass"], {}, Limits(seconds=1))
except SandboxTimeout:
    print("timeout")
"""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user"),
    pytest.mark.skipif(bubblewrap() is None, reason="bubblewrap is not installed"),
]


@contextmanager
def everybodys_python() -> Iterator[tuple[Path, Path]]:
    """A Python that everybody may run, with labkit, in a folder that everybody may enter."""
    system = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if system is None:
        pytest.skip("there is no Python outside of root's home")
    with scratch_folder("labkit-test-user-") as folder:
        folder.chmod(0o755)
        done = subprocess.run([system, "-m", "venv", "--without-pip", folder / "venv"], capture_output=True)
        if done.returncode != 0:
            pytest.skip(f"no environment can be made: {done.stderr.decode()[-200:]}")
        packages = next(folder.glob("venv/lib/python3*/site-packages"))
        paths = [str(Path(labkit.__file__).parents[1]), *site.getsitepackages()]
        (packages / "labkit-test.pth").write_text("\n".join(paths) + "\n")
        yield folder / "venv/bin/python", folder


@pytest.fixture
def python() -> Iterator[tuple[Path, Path]]:
    with everybodys_python() as made:
        yield made


def test_the_walls_are_the_same(python: tuple[Path, Path]) -> None:
    program, folder = python
    secret = folder / "secret"
    secret.write_text("another submission")
    if subprocess.run([*NOBODY, "bwrap", "--unshare-user", "--ro-bind", "/", "/", "true"]).returncode:
        pytest.skip("an ordinary user may not make namespaces here")
    if subprocess.run([*NOBODY, program, "-c", "import labkit.course.sandbox"]).returncode:
        pytest.skip("an ordinary user may not read this copy of labkit")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code = CODE.replace("SECRET", repr(str(secret))).replace("PORT", str(listener.getsockname()[1]))
        words = [*NOBODY, str(program), "-c", RUN, code]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd="/")
    assert done.returncode == 0, done.stderr
    answers, ended = done.stdout.splitlines()
    found = json.loads(answers)
    assert found.pop("processes") <= 2
    assert found == {
        "secret": "FileNotFoundError",
        "network": "ConnectionRefusedError",
        "outside": found["outside"],
    }
    assert found["outside"] != "done"
    assert ended == "timeout"
