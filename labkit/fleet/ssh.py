"""Asks hosts for their facts over ssh: the collector goes in by standard input, and nothing stays there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labkit import process
from labkit.errors import DataError, MissingComponent, UsageError
from labkit.fleet._read import UnreadHost
from labkit.fleet.collector import collector_source
from labkit.host import load

_AT_ONCE = 32
_SECONDS = 90.0
_LIMIT = 16 << 20
# BatchMode: a question for a password would wait for ever, many times.
_SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15")
_HOST = re.compile(r"(?:[\w.-]+@)?[A-Za-z0-9_\[][\w.:\]-]*")


def _read_hosts(path: Path) -> tuple[str, ...]:
    """The hosts of a file, one a line, as ssh takes them; ``#`` begins a comment.

    Raises:
        DataError: a line is not a host, or there is none.
    """
    hosts = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        word = line.partition("#")[0].strip()
        if word and not _HOST.fullmatch(word):
            raise DataError(
                f"{path}, line {number}: {word[:60]!r} is not a host.", "Write HOST or USER@HOST."
            )
        hosts += [word] if word else []
    if not hosts:
        raise DataError(f"{path} names no host.", "Write one per line.")
    return tuple(dict.fromkeys(hosts))


def collect_hosts(
    listed: Path, folder: Path, on_progress: Callable[[str], None] = lambda text: None
) -> list[UnreadHost]:
    """Save the facts of each host as ``HOST.json`` in ``folder``; those that did not answer, with the reason.

    listed: a file with one host in each line.

    Raises:
        UsageError: there is no ssh on this machine.
        DataError: a line is not a host, or there is none.
    """
    hosts = _read_hosts(listed)
    folder.mkdir(parents=True, exist_ok=True)
    program = collector_source().encode()

    def ask(host: str) -> UnreadHost | None:
        return _ask(host, program, folder)

    lost = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for host, answer in zip(hosts, pool.map(ask, hosts), strict=True):
            on_progress(f"{host}: {answer.why if answer else 'collected'}")
            lost += [answer] if answer else []
    return lost


def _ask(host: str, program: bytes, folder: Path) -> UnreadHost | None:
    try:
        done = process.run([*_SSH, "--", host, "python3", "-I", "-"], timeout=_SECONDS, stdin=program)
    except MissingComponent as error:
        raise UsageError(
            "There is no ssh here.", "Install an ssh client, or save the facts on the hosts."
        ) from error
    if not done.ok:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = "no answer in time" if done.timed_out else said[-1][:200] if said else f"status {done.status}"
        return UnreadHost(host, f"ssh: {why}")
    path = folder / f"{re.sub(r'[^A-Za-z0-9_.@-]', '_', host)}.json"
    draft = path.with_name(f".{path.name}")
    try:
        if len(done.stdout) > _LIMIT:
            raise ValueError("its answer is too long")
        json.loads(done.stdout)
        draft.write_bytes(done.stdout)
        load(draft)
    except (ValueError, DataError) as error:
        draft.unlink(missing_ok=True)
        return UnreadHost(host, f"its answer holds no facts: {error}")
    draft.replace(path)
    return None
