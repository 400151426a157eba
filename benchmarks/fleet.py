"""Ten thousand hosts as one table, and one by one: the time of both, and the same counts."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from _report import report, seconds

from labkit.host import collect, diagnose, load, save
from labkit.process import run

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT.parent / "shared" / "data" / "host-logs"
HOSTS = 10_000


def main() -> None:
    """Make the hosts, time, compare, print, store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = _kinds(folder)
        fleet = folder / "fleet"
        fleet.mkdir()
        for number in range(HOSTS):
            (fleet / f"node{number:05}.json").write_bytes(kinds[number % len(kinds)].read_bytes())
        counted: list[Counter[tuple[str, str | None]]] = []
        ours = seconds(lambda: counted.append(_as_table(fleet)))
        peer = seconds(lambda: counted.append(_one_by_one(fleet)))
        if counted[0] != counted[1]:
            raise SystemExit(f"the table counts {counted[0]}, one by one there are {counted[1]}")
    what = f"{HOSTS} hosts of {len(kinds)} kinds as a table | one by one in one process (seconds)"
    report("fleet", [{"what": what, "ours": ours, "peer": peer, "ratio": ours / peer, "goal": "60 s"}])


def _kinds(folder: Path) -> list[Path]:
    """The facts of every host that the tests know, and of every real log that is at hand."""
    sys.path.insert(0, str(ROOT))
    from tests.host.hosts import HOSTS, build

    roots = {host.name: build(host, folder / "trees" / host.name) for host in HOSTS}
    facts = {name: collect(root) for name, root in roots.items()}
    if LOGS.is_dir():
        root = next(iter(roots.values()))
        facts |= {
            log.name: collect(root, log) for log in sorted(LOGS.iterdir()) if log.suffix in (".log", ".txt")
        }
    (folder / "kinds").mkdir()
    kinds = []
    for name, known in facts.items():
        kinds.append(folder / "kinds" / f"{name}.json")
        save(known, kinds[-1])
    return kinds


def _as_table(fleet: Path) -> Counter[tuple[str, str | None]]:
    done = run([sys.executable, "-m", "labkit", "verify", "--fleet", str(fleet), "--json"], timeout=600)
    groups = json.loads(done.stdout)["groups"]
    return Counter({(group["verdict"], group["reason"]): group["count"] for group in groups})


def _one_by_one(fleet: Path) -> Counter[tuple[str, str | None]]:
    reports = (diagnose(load(path)) for path in sorted(fleet.iterdir()))
    return Counter((report.verdict.value, report.reason) for report in reports)


if __name__ == "__main__":
    main()
