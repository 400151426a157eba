"""A container engine for the tests: the one that answers, or one that they start and end themselves."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit.container.engine import Engine, find_engine

_SECONDS = 30.0
_PLAIN: tuple[str, ...] = ()
_WAYS = (_PLAIN, ("--bridge=none", "--iptables=false"))


class NoEngine(Exception):
    """Why no engine can be started here."""


@dataclass(frozen=True)
class OwnEngine:
    """A ``dockerd`` of the tests, with everything it has below one folder."""

    process: subprocess.Popen[bytes]
    engine: Engine

    @property
    def environ(self) -> dict[str, str]:
        """What leads a program to it."""
        return environ(self.engine)

    def stop(self) -> None:
        """End it, and whatever runs in it."""
        self.process.terminate()
        self.process.wait(60)


def environ(engine: Engine) -> dict[str, str]:
    """What leads a program to the engine."""
    assert engine.address is not None
    return {**os.environ, "DOCKER_HOST": engine.address}


@contextlib.contextmanager
def own_engine(
    folder: Path, ways: tuple[tuple[str, ...], ...] = _WAYS, before: tuple[str, ...] = ()
) -> Iterator[OwnEngine]:
    """Start ``dockerd`` below ``folder``; the plain way first, then without a bridge.

    ``before``: the words that start it. What it changes of the host's network is taken back.

    Raises:
        NoEngine: it cannot be started, with its last words.
    """
    if os.geteuid() != 0:
        raise NoEngine("an engine can only be started by root")
    if shutil.which("dockerd") is None:
        raise NoEngine("dockerd is not installed")
    why = ""
    for number, way in enumerate(ways):
        here = folder / str(number)
        here.mkdir(parents=True)
        rules, had_bridge = _rules(), _BRIDGE.exists()
        process = _start(here, (*before, "dockerd"), way)
        try:
            found = _wait(process, here)
            if found is None:
                why = _last_words(here / "log")
                continue
            yield OwnEngine(process, found)
            return
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()
            unmount_below(here)
            if way == _PLAIN and not _others():
                _take_back(rules, had_bridge)
    raise NoEngine(f"dockerd does not start here: {why}")


_BRIDGE = Path("/sys/class/net/docker0")
_EMPTY = {
    b"*filter": b"*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n",
    b"*nat": b"*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n",
}


def _rules() -> bytes | None:
    """The host's packet filter, as iptables-save prints it."""
    if shutil.which("iptables-save") is None:
        return None
    return subprocess.run(["iptables-save"], capture_output=True, check=False).stdout


def _others() -> bool:
    """Another engine runs on this machine, and needs the rules and the bridge."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # a process that has just ended
            if path.read_text() == "dockerd\n":
                return True
    return False


def _take_back(rules: bytes | None, had_bridge: bool) -> None:
    if rules is not None:
        # A table that was not there had no rules; restoring what was saved would leave it as it is.
        empty = b"".join(table for name, table in _EMPTY.items() if name not in rules)
        subprocess.run(["iptables-restore"], input=rules + empty, capture_output=True, check=False)
    if not had_bridge and _BRIDGE.exists() and shutil.which("ip"):
        subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)


def _start(here: Path, program: tuple[str, ...], options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    # A test process that is killed takes its engine with it (setpriv is in Debian's util-linux).
    words = ["setpriv", "--pdeathsig", "TERM", "--", *program]
    words += ["--data-root", str(here / "data"), "--exec-root", str(here / "exec")]
    words += ["--host", f"unix://{here}/docker.sock", "--pidfile", str(here / "pid"), *options]
    with (here / "log").open("wb") as log:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _wait(process: subprocess.Popen[bytes], here: Path) -> Engine | None:
    deadline = time.monotonic() + _SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if (here / "docker.sock").exists():
            found = find_engine({"DOCKER_HOST": f"unix://{here}/docker.sock"})
            if found.answers:
                return found
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    return None


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][-300:] if lines else "it said nothing"


def unmount_below(here: Path) -> None:
    """What a killed engine leaves mounted would keep the folder from being removed."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{here}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)


def pulled_or_made(folder: Path, engine: Engine, reference: str) -> None:
    """A Debian 13 under that name: pulled where a registry answers, else made of the distribution's packages.

    Raises:
        NoEngine: neither works.
    """
    docker = ["docker", "pull", "--quiet", reference]
    if _quietly(docker, environ(engine), 120) is None:
        return
    if shutil.which("mmdebstrap") is None:
        raise NoEngine(f"{reference} cannot be pulled, and mmdebstrap is not installed")
    archive = folder / "base.tar"
    words = ["mmdebstrap", "--variant=minbase", "--include=ca-certificates", "trixie", str(archive)]
    words += ["http://deb.debian.org/debian"]
    if why := _quietly(words, dict(os.environ), 300):
        raise NoEngine(f"no base image could be made: {why}")
    if why := _quietly(["docker", "import", str(archive), reference], environ(engine), 120):
        raise NoEngine(f"the base image could not be imported: {why}")
    archive.unlink()


def _quietly(words: list[str], env: dict[str, str], timeout: float) -> str | None:
    """None where the program ended well, else its last words."""
    try:
        done = subprocess.run(words, env=env, capture_output=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[-1][-300:] if said else f"status {done.returncode}"
