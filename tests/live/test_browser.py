"""Chapters and tools in real browsers give what was committed, and what the command line gives."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.attest import LabAuthority
from labkit.host import collect, save
from labkit.runs import Run
from tests.attest.conftest import NOW, report
from tests.host.hosts import HOSTS, build
from tests.live.conftest import CHAPTERS, REPOSITORY, Server
from tests.live.tabs import Tab
from tests.measure.firmware import image
from tests.measure.logs import ccel

pytestmark = pytest.mark.browser

READY = 180_000
"""Milliseconds: how long Python may take to load on a busy machine."""

COURSE = "05-inside-tdx", "06-why-asterinas", "01-verify-the-host"
"""Chapters of which most cells need no machine; the others are run in Firefox only, for time."""


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
    """The code cells of a chapter."""
    notebook = json.loads((REPOSITORY / f"notebooks/{chapter}.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


BEGIN = """(document.querySelector(".live-begin").click(), new Promise((resolve) => {
    const look = () => (window.labkit ? resolve(true) : setTimeout(look, 20)); look(); }))"""
RUN_ALL = """window.labkit.runAll().then((ok) =>
    [ok, window.labkit.cells.map((cell) => cell.runs ? cell.outputs : null)])"""


@pytest.mark.parametrize(
    ("tab", "chapter"),
    [*(("firefox", name) for name in CHAPTERS), *(("chromium", name) for name in CHAPTERS if name in COURSE)],
    indirect=["tab"],
)
def test_every_cell_gives_what_was_committed_or_says_what_it_needs(
    tab: Tab, server: Server, chapter: str
) -> None:
    tab.open(f"{server.address}/{chapter}.html")
    tab.evaluate(BEGIN)
    ok, found = tab.evaluate(RUN_ALL)
    assert ok, [output for outputs in found for output in outputs or () if output["output_type"] == "error"]
    cells = committed(chapter)
    different = [
        (cell["source"], plain(outputs))
        for cell, outputs in zip(cells, found, strict=True)
        if outputs is not None
        and "nbval-ignore-output" not in cell["metadata"].get("tags", ())
        and plain(outputs) != plain(cell["outputs"])
    ]
    assert different == []
    stamps = tab.evaluate("[...document.querySelectorAll('.live-stamp')].map((node) => node.textContent)")
    assert stamps == ["ran in your browser"] * sum(outputs is not None for outputs in found)
    notes = tab.evaluate("document.querySelectorAll('.live-machine').length")
    assert notes == found.count(None)
    assert tab.asked() == {server.address}


ENDLESS = """(async () => {
    const [cell] = window.labkit.cells;
    cell.editor.value = "print('begun')\\nwhile True: pass";
    const ended = window.labkit.run(cell), waits = window.labkit.run(window.labkit.cells[1]);
    while (!cell.outputs?.length) await new Promise((resolve) => setTimeout(resolve, 20));
    document.querySelector(".live-stop").click();
    const found = [await ended, await waits, cell.output.textContent];
    cell.editor.value = "print(6 * 7)";
    return [...found, await window.labkit.run(cell), cell.output.textContent];
})()"""


def test_an_endless_loop_is_stopped_and_the_next_cell_runs(tab: Tab, server: Server) -> None:
    tab.open(f"{server.address}/{COURSE[1]}.html")
    tab.evaluate(BEGIN)
    stopped, waited, said, again, shown = tab.evaluate(ENDLESS)
    assert (stopped, waited, again) == (False, False, True)
    assert said.startswith("stopped")
    assert "42" in shown


def choose(page: Any, question: str, choice: int) -> Any:
    """Run the cell that asks, and record an answer; the form."""
    cell = f"window.labkit.cells.find((cell) => cell.source.includes({question!r}))"
    page.evaluate(f"window.labkit.run({cell})")
    form = page.locator(".live-question").last
    form.get_by_role("radio").nth(choice).check()
    form.get_by_role("button", name="Record").click()
    form.locator(".rich").wait_for()
    return form


BYTE_CODE = """(async () => {
    for (let tries = 0; tries < 900; tries += 1) {
        for (const name of await caches.keys())
            for (const { url } of await (await caches.open(name)).keys())
                if (url.includes("compiled.zip")) return true;
        await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return false;
})()"""


def test_two_tabs_load_python_once_and_keep_the_predictions_of_both(chromium: Any, server: Server) -> None:
    context = chromium.new_context()
    one = begin(context, server, COURSE[1])
    one.evaluate("window.labkit.run(window.labkit.cells[1])")
    assert one.evaluate(BYTE_CODE)
    server.asked.clear()
    two = begin(context, server, COURSE[1])
    assert [path for path in server.asked if "/pyodide/" in path or ".zip" in path] == []
    two.evaluate("(window.labkit.cells[0].editor.value = 'import ssl; print(ssl.__spec__.origin)', 0)")
    two.evaluate("window.labkit.run(window.labkit.cells[0])")
    assert "ssl.pyc" in two.locator(".live-output").first.inner_text()
    choose(one, "06.honest", 1)
    one.close()
    two.evaluate("window.labkit.run(window.labkit.cells[3])")
    assert two.locator(".live-question").first.get_by_role("radio").nth(1).is_checked()
    choose(two, "06.length", 0)
    journal = two.evaluate("localStorage.getItem('labkit:journal')").splitlines()
    assert [json.loads(line)["id"] for line in journal] == ["06.honest", "06.length"]
    context.close()


def test_an_output_cannot_act_on_the_page(chromium_context: Any, server: Server) -> None:
    page = begin(chromium_context, server, COURSE[1])
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


def test_a_cell_by_keys_and_the_notebook_as_edited_where_nothing_is_stored(
    chromium: Any, server: Server
) -> None:
    context = chromium.new_context()
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied'); } })"
    )
    page = begin(context, server, COURSE[1])
    assert "stores nothing" in page.locator(".live-status").inner_text()
    editor = page.get_by_role("textbox", name="Code of cell 1", exact=True)
    editor.fill("print('typed')")
    editor.press("Shift+Enter")
    page.get_by_role("region", name="Output of cell 1, from your browser").get_by_text("typed").wait_for()
    assert page.evaluate("document.activeElement.ariaLabel") == "Code of cell 2"
    assert page.get_by_role("button", name="Run cell 2", exact=True).is_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the notebook").click()
    notebook = json.loads(Path(download.value.path()).read_text())
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert first["source"] == "print('typed')"
    assert first["metadata"]["labkit"]["ran"] == "in a browser"
    nbformat.validate(notebook)
    page.get_by_role("button", name="Reset all cells").click()
    assert editor.input_value() != "print('typed')"
    context.close()


def test_what_a_browser_lacks_is_said(chromium: Any, live_run: Run, server: Server) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto((live_run.directory / "site" / f"{COURSE[0]}.html").as_uri())
    assert "a web server" in page.locator(".live-page").inner_text()
    page.add_init_script("delete window.WebAssembly")
    for name, click in ((f"{COURSE[0]}.html", True), ("tools.html", False)):
        page.goto(f"{server.address}/{name}")
        if click:
            page.click(".live-begin")
        else:
            page.locator("input").first.set_input_files(__file__)
        page.get_by_text("no WebAssembly").first.wait_for()
    context.close()


ARGUMENTS = {
    "verify": ["verify", "--root", "nothing", "--kernel-log"],
    "facts": ["verify", "--from"],
    "measure": ["measure"],
    "eventlog": ["eventlog"],
    "quote": ["quote", "inspect"],
}
BAD = [b"", b"\0", b"{}", b"[1]", b"\xff" * 4096, b"not what it should be\n", bytes(70_000)]


def _good(folder: Path) -> dict[str, list[bytes]]:
    logs = sorted((REPOSITORY / "tests/host/logs").glob("*.log"))
    facts = []
    for host in HOSTS[:: len(HOSTS) // 10]:
        save(collect(build(host, folder / host.name)), folder / "facts.json")
        facts.append((folder / "facts.json").read_bytes())
    return {
        "verify": [path.read_bytes() for path in logs[:: len(logs) // 14]],
        "facts": facts,
        "measure": [image()],
        "eventlog": [ccel().encode(), ccel().encode() + bytes(64)],
        "quote": [LabAuthority.create(NOW).quote(report(), version) for version in (4, 5)],
    }


@pytest.fixture(scope="module")
def inputs_of_tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """For each tool files by name: good ones, good ones that are cut or have another byte, and bad ones."""
    found = {}
    for tool, good in _good(tmp_path_factory.mktemp("good")).items():
        known, position = list(good), 40
        while len(known) < 20 - len(BAD):
            for data in good:
                known += [
                    data[: len(data) * 40 // position // 2],
                    data[:position] + b"\x55" + data[position + 1 :],
                ]
            position += 77
        found[tool] = {f"{tool}-{number}.bin": data for number, data in enumerate([*known, *BAD])}
    return found


PEER = """
import contextlib, io, json, sys
from labkit.cli import main

def say(words):
    out, err, sys.argv = io.StringIO(), io.StringIO(), ["labkit", *words, "--json"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            return end.code or 0, out.getvalue() or err.getvalue()
    return 0, out.getvalue() or err.getvalue()

print(json.dumps([say(words) for words in json.load(sys.stdin)]))
"""


@pytest.fixture(scope="module")
def said(inputs_of_tools: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the command line says of each file, all in one process, to save its starts."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "nothing").mkdir()
    words = []
    for tool, files in inputs_of_tools.items():
        for name, data in files.items():
            (folder / name).write_bytes(data)
            words.append([*ARGUMENTS[tool], name])
    argv = [sys.executable, "-c", PEER]
    done = subprocess.run(argv, input=json.dumps(words), capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    answers = iter(json.loads(done.stdout))
    return {tool: {name: next(answers) for name in files} for tool, files in inputs_of_tools.items()}


DROP = """(async ([tool, files]) => {
    const box = document.querySelector(`[data-tool="${tool}"]`), input = box.querySelector("input");
    const found = [];
    for (const [name, data] of files) {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name));
        input.files = transfer.files;
        input.dispatchEvent(new Event("change"));
        while (box.dataset.file !== name) await new Promise((resolve) => setTimeout(resolve, 10));
        found.push([Number(box.dataset.code), box.querySelector("pre").textContent]);
    }
    return found;
})"""


def test_a_tool_says_what_the_command_line_says(
    tab: Tab, server: Server, said: dict[str, dict[str, Any]], inputs_of_tools: Any
) -> None:
    tab.open(f"{server.address}/tools.html")
    for name, given in inputs_of_tools.items():
        files = [[file, base64.b64encode(data).decode()] for file, data in given.items()]
        shown = tab.evaluate(f"{DROP}({json.dumps([name, files])})")
        assert len(files) >= 20
        assert dict(zip(given, shown, strict=True)) == said[name]
    assert tab.asked() == {server.address}
