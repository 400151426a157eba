"""A place of its own for a soak: everything started in it can be found again, whoever its parent is."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from labkit.container.engine import Engine, connect, find_engine
from labkit.kernel.installing import install
from labkit.settings import Settings

_TOKEN = "LABKIT_SOAK"
_PATIENCE = 30.0
"""Seconds in which what was started has to be gone once its owner is."""

KINDS = {
    "labkit": rb"-m\0labkit\0",
    "papermill": rb"labkit\.runs\._execute",
    "guard of a run": rb"labkit\.runs\._guard",
    "kernel": rb"labkit\.kernel\0|ipykernel_launcher",
    "QEMU": rb"^[^\0]*qemu-system-x86_64\0",
    "vTPM": rb"^[^\0]*swtpm\0socket",
    "guard of a machine": rb"labkit-guard",
}
"""Every kind of process, by what its command line says."""


@dataclass(frozen=True)
class Done:
    """A program that has ended: its status, what it said on standard error, and whether it was killed."""

    status: int
    said: str
    killed: str = ""


@dataclass
class World:
    """Folders, environment and findings of one soak."""

    folder: Path
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    findings: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    sentences: dict[str, int] = field(default_factory=dict)
    _engine: Engine = field(default_factory=find_engine)

    def __post_init__(self) -> None:
        cache = self.folder / "cache"
        for path in (cache, self.folder / "tmp", self.folder / "runtime"):
            path.mkdir(parents=True)
        for name in ("packages", "firmware", "accelerator.json"):
            if (there := Settings.load().cache_dir / name).exists():
                (cache / name).symlink_to(there)
        install(prefix=str(self.folder / "prefix"))
        self.notebook("shell.ipynb", "tdvm", "bash", ["echo $((6 * 7))", "seq 2000 | tail -n 1", "sleep 1"])
        self.notebook("host.ipynb", "python3", "python", ["from labkit import lab", "print(6 * 7)"])

    @property
    def environment(self) -> dict[str, str]:
        """What every program of the soak inherits, its children too."""
        return {
            **os.environ,
            _TOKEN: self.token,
            "LABKIT_CACHE_DIR": str(self.folder / "cache"),
            "LABKIT_STATE_DIR": str(self.folder / "state"),
            "JUPYTER_PATH": str(self.folder / "prefix/share/jupyter"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "TMPDIR": str(self.folder / "tmp"),
        }

    def notebook(self, name: str, kernel: str, language: str, cells: Sequence[str]) -> None:
        """Write a notebook."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
        book.metadata.kernelspec = {"name": kernel, "language": language, "display_name": kernel}
        nbformat.write(book, self.folder / name)

    def count(self, what: str) -> None:
        """One more of these."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def labkit(
        self, *words: str, limits: str = "", kill: str = "", after: float = 0.0, **environment: str
    ) -> Done:
        """Run labkit; ``kill`` a process of that kind once it is there, and ``after`` some seconds more."""
        argv = [sys.executable, "-m", "labkit", *words]
        if limits:
            argv = ["sh", "-c", f'{limits}; exec "$@"', "sh", *argv]
        log = self.folder / "said"
        with log.open("wb") as said:
            program = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                env={**self.environment, **environment}, cwd=self.folder,
            )  # fmt: skip
            killed = self.kill(kill, after, program) if kill else ""
            try:
                program.wait(600)
            except subprocess.TimeoutExpired:
                self.findings.append(f"labkit {' '.join(words)} hung, killed: {killed or 'nothing'}")
                program.kill()
                program.wait()
        return Done(program.returncode, log.read_text(errors="replace"), killed)

    def kill(self, kind: str, after: float, program: subprocess.Popen[bytes] | None = None) -> str:
        """Kill a process of a kind with SIGKILL; the kind, or nothing where none came."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (program is None or program.poll() is None):
            if found := [pid for pid, words in self.processes() if re.search(KINDS[kind], words)]:
                time.sleep(after)
                try:
                    os.kill(found[-1], signal.SIGKILL)
                except ProcessLookupError:
                    return ""
                self.count(f"killed: {kind}")
                return kind
            time.sleep(0.05)
        return ""

    def processes(self) -> Iterator[tuple[int, bytes]]:
        """Living processes of this soak, with their command lines."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.token.encode() in (folder / "environ").read_bytes():
                    yield int(folder.name), (folder / "cmdline").read_bytes()
            except OSError:
                continue

    def judge(self, what: str, done: Done, expected: Sequence[int] = (0,)) -> None:
        """An end is one that was expected, or a sentence with a known status; never a traceback."""
        last = (done.said.strip().splitlines() or [""])[-1]
        where = f"{what} (killed: {done.killed})" if done.killed else what
        if "Traceback" in done.said:
            self.findings.append(f"{where}: a traceback, {last}")
        if done.status in expected or (done.killed == "labkit" and done.status == -signal.SIGKILL):
            return
        if done.status not in (1, 64, 65, 69, 70, 73) or not re.search(r"[.!?)]$", last):
            self.findings.append(f"{where}: status {done.status}, {last!r}")
        self.count(f"sentence: status {done.status}")
        # Told apart by their words: paths and numbers differ each time.
        plain = re.sub(r"\d+", "N", re.sub(r"/\S+", "PATH", last))
        self.sentences[plain] = self.sentences.get(plain, 0) + 1

    def look(self, what: str) -> None:
        """See that nothing is left."""
        deadline = time.monotonic() + _PATIENCE
        while (left := list(self.processes())) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid, words in left:
            self.findings.append(f"{what}: process {words.replace(bytes(1), b' ').decode()[:120]} is left")
            os.kill(pid, signal.SIGKILL)
        for path in self.folder.rglob("*"):
            if path.is_socket():
                self.findings.append(f"{what}: socket {path} is left")
                path.unlink()
        for path in (*self.folder.glob("state/tdvms/*/work"), *self.folder.glob("**/.scratch-*")):
            self.findings.append(f"{what}: {path.relative_to(self.folder)} is left")

        for path in (self.folder / "tmp").iterdir():
            held = [child.name for child in path.iterdir()] if path.is_dir() else path.read_bytes()[:200]
            self.findings.append(f"{what}: {path.relative_to(self.folder)} is left, and holds {held!r}")
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
        deadline = time.monotonic() + _PATIENCE
        while (boxes := self._containers()) and time.monotonic() < deadline:
            time.sleep(0.5)
        self.findings += [f"{what}: container {name} is left" for name in boxes]

    def has_image(self, image: str) -> bool:
        """A container engine answers here and has the image."""
        if not self._engine.answers:
            return False
        client = connect(self._engine)
        try:
            return bool(client.images.list(name=image))
        finally:
            client.close()

    def _containers(self) -> list[str]:
        """Containers, running or not, that have something of this soak mounted."""
        if not self._engine.answers:
            return []
        client = connect(self._engine)
        try:
            found = client.containers.list(all=True, ignore_removed=True)
            return [box.name for box in found if str(self.folder) in str(box.attrs.get("Mounts"))]
        finally:
            client.close()

    def report(self) -> str:
        """Counts, what the errors said, and findings, as JSON."""
        counts, sentences = dict(sorted(self.counts.items())), dict(sorted(self.sentences.items()))
        return json.dumps({"counts": counts, "sentences": sentences, "findings": self.findings}, indent=1)
