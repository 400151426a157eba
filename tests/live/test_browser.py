"""Chapters and tools in real browsers give what was committed, and what the command line gives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.attest import LabAuthority
from tests.attest.conftest import NOW, report
from tests.live.conftest import CHAPTERS, REPOSITORY, Server
from tests.measure.firmware import image
from tests.measure.logs import ccel

pytestmark = pytest.mark.browser

READY = 180_000
"""Milliseconds: how long Python may take to load on a busy machine."""


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield found
        found.close()


def begin(browser: Any, server: Server, chapter: str) -> Any:
    page = browser.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(f"{server.address}/{chapter}.html")
    page.click(".live-begin")
    page.locator(".live-status", has_text="Python is ready").wait_for(timeout=READY)
    return page


def plain(outputs: list[dict[str, Any]]) -> list[Any]:
    """Outputs without what numbers them; neighbouring pieces of one stream are one."""
    found: list[Any] = []
    for output in outputs:
        kind = output["output_type"]
        if kind == "stream":
            text = "".join(output["text"])
            if found and found[-1][0] == output["name"]:
                found[-1] = (output["name"], found[-1][1] + text)
            else:
                found.append((output["name"], text))
        elif kind == "error":
            found.append((kind, output["ename"], output["evalue"]))
        else:
            data = {
                mime: "".join(value) if isinstance(value, list) else value
                for mime, value in output["data"].items()
                if "labkit" not in mime
            }
            found.append(("data", data))
    return found


def committed(chapter: str) -> list[Any]:
    notebook = json.loads((REPOSITORY / f"notebooks/{chapter}.ipynb").read_text())
    return [plain(cell["outputs"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


COLLECT = """window.labkit.runAll().then((ok) => window.labkit.cells
    .filter((cell) => !cell.source.startsWith("# Parameters")).map((cell) => cell.outputs ?? []))"""


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_cell_gives_what_was_committed(browser: Any, server: Server, chapter: str) -> None:
    page = begin(browser, server, chapter)
    assert [plain(outputs) for outputs in page.evaluate(COLLECT)] == committed(chapter)
    assert {address.split("/")[2] for address in page.asked} == {server.address.split("/")[2]}
    stamps = page.locator(".live-stamp").all_inner_texts()
    assert set(stamps) == {"ran in your browser"}
    page.close()


def test_an_endless_loop_is_stopped_and_the_next_cell_runs(browser: Any, server: Server) -> None:
    page = begin(browser, server, CHAPTERS[1])
    editor = page.locator(".live-editor").first
    editor.fill("while True: pass")
    page.locator(".live-run").first.click()
    page.locator(".live-stamp", has_text="running").wait_for()
    page.locator(".live-stop").click()
    page.locator(".live-stamp", has_text="stopped").wait_for()
    editor.fill("print(6 * 7)")
    page.locator(".live-run").first.click()
    page.locator(".live-output pre", has_text="42").wait_for(timeout=READY)
    page.close()


def test_an_output_cannot_act_on_the_page(browser: Any, server: Server) -> None:
    page = begin(browser, server, CHAPTERS[1])
    hostile = (
        'from IPython.display import HTML\nHTML(\'<img src=x onerror="document.title=1">'
        '<script>document.title=1</script><iframe src="https://example.org"></iframe>'
        '<a href="javascript:document.title=1">x</a>'
        '<div style="position:fixed;inset:0;background:url(https://example.org/x)">over</div>\')'
    )
    page.locator(".live-editor").first.fill(hostile)
    page.locator(".live-run").first.click()
    page.locator(".live-output .rich", has_text="over").wait_for()
    shown = page.locator(".live-output .rich").first
    assert shown.locator("img, script, iframe, a[href]").count() == 0
    assert page.title() != "1"
    box, frame = shown.locator("div", has_text="over").last.bounding_box(), shown.bounding_box()
    assert box["x"] >= frame["x"] - 1
    assert box["y"] >= frame["y"] - 1
    assert [
        address for address in page.asked if not address.startswith((server.address, "data:", "blob:"))
    ] == []
    page.close()


def test_a_cell_by_keys_and_the_notebook_as_edited(browser: Any, server: Server) -> None:
    page = begin(browser, server, CHAPTERS[1])
    editor = page.locator(".live-editor").first
    editor.fill("print('typed')")
    editor.press("Control+Enter")
    page.locator(".live-output pre", has_text="typed").wait_for()
    with page.expect_download() as download:
        page.get_by_text("Download the notebook").click()
    notebook = json.loads(Path(download.value.path()).read_text())
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert first["source"] == "print('typed')"
    assert first["metadata"]["labkit"]["ran"] == "in a browser"
    page.get_by_text("Reset all cells").click()
    assert editor.input_value() != "print('typed')"
    page.close()


def test_a_second_page_loads_python_from_the_cache(browser: Any, server: Server) -> None:
    context = browser.new_context()
    page = context.new_page()
    for chapter in CHAPTERS:
        server.asked.clear()
        page.goto(f"{server.address}/{chapter}.html")
        page.click(".live-begin")
        page.locator(".live-status", has_text="Python is ready").wait_for(timeout=READY)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        page.reload()
        page.click(".live-begin")
        page.locator(".live-status", has_text="Python is ready").wait_for(timeout=READY)
    server.asked.clear()
    page.goto(f"{server.address}/{CHAPTERS[0]}.html")
    page.click(".live-begin")
    page.locator(".live-status", has_text="Python is ready").wait_for(timeout=READY)
    assert [path for path in server.asked if path.endswith(".wasm")] == []
    context.close()


def _files(folder: Path) -> dict[str, list[Path]]:
    """Inputs for each tool, good and bad."""
    good = {
        "measure": [image()],
        "eventlog": [ccel().encode(), ccel().encode() + bytes(64)],
        "quote": [LabAuthority.create(NOW).quote(report(), version) for version in (4, 5)],
    }
    bad = [b"", b"\0", b"{}", b"[1]", b"\xff" * 4096, b"not what it should be\n", bytes(70_000)]
    found: dict[str, list[Path]] = {}
    for tool, contents in good.items():
        contents = [*contents, *(data[: len(data) // 2] for data in contents)]
        contents += [data[:40] + b"\x55" + data[41:] for data in contents]
        found[tool] = []
        for number, data in enumerate([*contents, *bad]):
            path = folder / f"{tool}-{number}.bin"
            path.write_bytes(data)
            found[tool].append(path)
    return found


ARGUMENTS = {
    "measure": ["measure"],
    "eventlog": ["eventlog"],
    "quote": ["quote", "inspect"],
}


@pytest.mark.parametrize("tool", sorted(ARGUMENTS))
def test_a_tool_says_what_the_command_line_says(
    browser: Any, server: Server, tmp_path: Path, tool: str
) -> None:
    page = browser.new_page()
    page.goto(f"{server.address}/tools.html")
    box = page.locator(f'[data-tool="{tool}"]')
    different = []
    for path in _files(tmp_path)[tool]:
        argv = [sys.executable, "-m", "labkit", *ARGUMENTS[tool], path.name, "--json"]
        peer = subprocess.run(argv, capture_output=True, text=True, cwd=path.parent)
        box.locator("input").set_input_files(str(path))
        page.locator(f'[data-tool="{tool}"][data-file="{path.name}"]').wait_for(timeout=READY)
        shown = box.locator("pre").inner_text().strip()
        wanted = (peer.stdout or peer.stderr).strip()
        if shown != wanted:
            different.append((path.name, shown[:200], wanted[:200]))
    assert different == []
    page.close()
