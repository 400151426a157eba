"""The live pages in Chromium against their limits: how soon the first cell has run, how much a tab takes.

To show that nothing but the site is needed, run it where there is only loopback, as root:
``unshare -n sh -c 'ip link set lo up && exec python benchmarks/live.py'``. The committed chapters are
published; nothing boots. Memory is the PSS of the browser's renderer processes after chapter 05 was run
whole. On a machine with other work, the processor time of the browser says what the wait would be without it.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _report import report
from playwright.sync_api import sync_playwright

from labkit.learn.copies import course_folder
from labkit.live import make_live
from labkit.runs import Run, publish
from labkit.runs.collecting import collect_host
from labkit.runs.record import Chapter
from labkit.settings import Settings

CHAPTERS = ("05-inside-tdx", "06-why-asterinas")
FIRST, LATER, MEMORY, SIZE = 8.0, 3.0, 400.0, 20.0  # seconds, seconds, MB, MB
WAIT = 180_000
RESTED = """(async () => {
    for (let tries = 0; tries < 600; tries += 1) {
        for (const name of await caches.keys())
            for (const { url } of await (await caches.open(name)).keys())
                if (url.includes("compiled.zip")) return;
        await new Promise((resolve) => setTimeout(resolve, 200));
    }
})()"""


def site(folder: Path) -> Path:
    """The committed chapters, published live."""
    then, chapters = "2026-01-02T03:04:05+00:00", []
    for name in CHAPTERS:
        shutil.copy(course_folder() / f"{name}.ipynb", folder)
        chapter = Chapter(name, name, name, "0" * 64, "python3", {}, "passed", then, 1.0)
        chapters.append(replace(chapter, output=f"{name}.ipynb"))
    run = publish(Run(folder, "passed", then, then, 1.0, collect_host(), {}, None, tuple(chapters)))
    make_live(run, Settings.load())
    return folder / "site"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves quietly, as any static host does."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def first_cell(page: Any, address: str, chapter: str) -> float:
    """Seconds from the click to the end of the chapter's second cell, the first that imports labkit."""
    page.goto(f"{address}/{chapter}.html")
    start = time.perf_counter()
    page.click(".live-begin")
    page.wait_for_function("window.labkit?.cells")
    page.evaluate(
        "window.labkit.run(window.labkit.cells[0]).then(() => window.labkit.run(window.labkit.cells[1]))"
    )
    return time.perf_counter() - start


def descendants() -> Iterator[Path]:
    """The folder in /proc of each process that descends from this one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    for pid in parents:
        above = pid
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid() != pid:
            yield Path(f"/proc/{pid}")


def renderers() -> int:
    """PSS of the browser's renderers, in kB."""
    total = 0
    for process in descendants():
        with contextlib.suppress(OSError):
            if b"--type=renderer" in (process / "cmdline").read_bytes():
                total += int((process / "smaps_rollup").read_text().partition("\nPss:")[2].split()[0])
    return total


def processor_time() -> float:
    """Seconds that the browser has computed, in all its processes."""
    ticks = 0
    for process in descendants():
        with contextlib.suppress(OSError):
            ticks += sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(address: str) -> list[dict[str, Any]]:
    """The figures of a site that is served."""
    asked: set[str] = set()
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = browser.new_context()
        context.on("request", lambda request: asked.add("/".join(request.url.split("/")[:3])))
        page = context.new_page()
        page.set_default_timeout(WAIT)
        before = processor_time()
        first = first_cell(page, address, CHAPTERS[0])
        computed = processor_time() - before
        assert page.evaluate("window.labkit.runAll()")
        page.evaluate(RESTED)  # what a reader's first page does while it is read
        memory = renderers() / 1000
        page.close()
        page = context.new_page()
        page.set_default_timeout(WAIT)
        before = processor_time()
        later = first_cell(page, address, CHAPTERS[1])
        computed_later = processor_time() - before
        browser.close()
    return [
        {"what": "first cell after the click (s)", "found": first, "limit": FIRST},
        {"what": "processor time of the browser meanwhile (s)", "found": computed, "limit": FIRST},
        {"what": "the same on a later page (s)", "found": later, "limit": LATER},
        {"what": "processor time meanwhile (s)", "found": computed_later, "limit": LATER},
        {"what": "memory of the tab (MB)", "found": memory, "limit": MEMORY},
        {"what": "addresses asked besides the site", "found": float(len(asked - {address})), "limit": 0.0},
    ]


def main() -> int:
    """Measure; 1 where a limit is not kept."""
    with TemporaryDirectory() as name:
        folder = site(Path(name))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        handler = functools.partial(Handler, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            rows = measure(f"http://127.0.0.1:{server.server_port}")
            server.shutdown()
    rows.append({"what": "the site (MB)", "found": size, "limit": SIZE})
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    rows.append({"what": "network interfaces besides loopback", "found": float(len(others)), "limit": 99.0})
    report("live", rows)
    return 0 if all(row["found"] <= row["limit"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
