"""Fifty warm boots, one after the other: how long each takes until its shell answers, and what is left.

    .venv/bin/python benchmarks/boots.py [--runs 50] [--peer OTHER-TREE]

With a peer, another checkout of labkit takes turns with this one, and the table has the ratios of the pairs:
of one boot among many in a process, and of a whole ``labkit boot --exec true``. Status 1: something is left.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

from _report import report

ROOT = Path(__file__).parents[1]
WHOLE = 9
"""Whole processes of each tree."""


def boots(runs: int) -> dict[str, Any]:
    """Boot that often in this process; the seconds of each, and what is left of all of them."""
    from labkit.platforms import BootRequest, choose_platform
    from labkit.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load()
        settings = Settings(cache_dir=settings.cache_dir, state_dir=Path(folder))
        platform = choose_platform("emulated", settings)
        platform.boot(BootRequest()).close()
        before = _held()
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            with platform.boot(BootRequest()) as tdvm:
                seconds.append(time.perf_counter() - start)
                assert tdvm.run("true").exit_status == 0
                assert not tdvm.cold
        left = [*_running(folder), *(f"{name} of this process" for name in sorted(_held() - before))]
        left += [str(path) for path in Path(folder).rglob("*") if path.name in ("work", "vm.json", "lock")]
    return {"seconds": seconds, "left": left}


def _held() -> set[str]:
    """What this process holds: open files by number, threads and children by name."""
    files = {f"descriptor {path.name}" for path in Path("/proc/self/fd").iterdir()}
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    threads = {f"thread {thread.name}" for thread in threading.enumerate()}
    return files | threads | {f"child {child}" for child in children}


def _running(folder: str) -> list[str]:
    """Processes that mention the state directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if folder.encode() in words:
            found.append(f"process {path.name}: {words[:60]!r}")
    return found


def _in(tree: Path, words: list[str]) -> tuple[float, str]:
    """Run Python on another tree's labkit; its seconds and its output."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    # As users have it: a program that is compiled anew each time is slower by what is compared here.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, *words],
        env=environment,
        cwd=ROOT / "benchmarks",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return time.perf_counter() - start, done.stdout


def _row(what: str, ours: list[float], peer: list[float], goal: str) -> dict[str, Any]:
    pairs = list(zip(ours, peer, strict=bool(peer))) if peer else []
    return {
        "what": what,
        "seconds": median(ours),
        "best": min(ours),
        "peer": median(peer) if peer else "-",
        "ratio": median(mine / other for mine, other in pairs) if pairs else "-",
        "goal": goal,
    }


def main() -> int:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        print(json.dumps(boots(asked.runs)))
        return 0
    trees = [ROOT, *([asked.peer] if asked.peer else [])]
    one: dict[Path, list[float]] = {tree: [] for tree in trees}
    whole: dict[Path, list[float]] = {tree: [] for tree in trees}
    left: list[str] = []
    parts = 5
    for _ in range(parts):
        for tree in trees:
            found = json.loads(
                _in(tree, [str(Path(__file__)), "--once", "--runs", str(asked.runs // parts)])[1]
            )
            one[tree] += found["seconds"]
            left += found["left"] if tree == ROOT else []
    for _ in range(WHOLE):
        for tree in trees:
            whole[tree].append(_in(tree, ["-P", "-m", "labkit", "boot", "--exec", "true"])[0])
    peer = asked.peer
    rows = [
        _row(f"warm boot, one of {asked.runs}", one[ROOT], one[peer] if peer else [], "0.25 s"),
        _row("labkit boot --exec true", whole[ROOT], whole[peer] if peer else [], "0.7 s"),
    ]
    report("boots", rows)
    print("\n".join(left) or f"Nothing is left of {asked.runs} boots.")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
