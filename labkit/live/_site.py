"""Makes a published run live: what runs in a browser is put beside its pages, and marked pages get a button.

A page that is not marked stays as it was, without any script.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from labkit.errors import DataError
from labkit.live.bundle import write_bundle
from labkit.live.cells import needs_machine
from labkit.live.inputs import INPUTS, fetch_inputs, licences, unpack
from labkit.runs import Run
from labkit.runs.source import read_notebook
from labkit.settings import Settings
from labkit.show.markup import Markup, element
from labkit.show.site import site_page

POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src data:; "
    "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
MARK = "browser"
"""The key of a notebook's ``labkit`` metadata that says: this chapter needs no machine."""

TOOLS = (
    (
        "verify",
        "A kernel log of a host",
        "The verdict of labkit verify --kernel-log on dmesg or journalctl -k. Only the log is judged: "
        "everything else about the host is not known here.",
    ),
    ("facts", "Saved facts of a host", "The verdict of labkit verify --from on a file made with --save."),
    ("measure", "A firmware image", "The TDVF sections and MRTD, as labkit measure shows them."),
    (
        "eventlog",
        "An event log",
        "The events and the registers that they lead to: TCG, CCEL, or dstack's JSON.",
    ),
    (
        "quote",
        "A quote",
        "Every field, strictly read. Nothing is verified here: no verdict is made in a browser.",
    ),
)

_META = re.compile(r'(<meta http-equiv="Content-Security-Policy" content=")[^"]*(">)')
_HEAD_END, _MAIN_END = re.compile("</head>"), re.compile("</main>")
_CELLS = re.compile('<div class="cells">')
_ASSETS = ("python-licence.txt", "live.css", "live.js", "tools.js", "worker.js")


def make_live(run: Run, settings: Settings, on_progress: Callable[[str], None] = lambda text: None) -> None:
    """Add to the published site of ``run`` what lets its marked chapters run in a browser.

    The same run and the same labkit give the same bytes.

    Raises:
        MissingComponent, StorageError: what the browser needs is not in the cache and cannot be fetched.
        DataError: a page of the site is not one that ``publish`` made.
    """
    site = run.directory / "site"
    inputs = fetch_inputs(settings.cache_dir / "npm", on_progress)
    with tempfile.TemporaryDirectory(prefix=".live-", dir=run.directory) as name:
        draft = Path(name) / "live"
        draft.mkdir()
        for wanted in INPUTS:
            unpack(wanted, inputs[wanted.name], draft / wanted.folder)
        _shorten_lock(draft / "pyodide/pyodide-lock.json")
        write_bundle(draft / "python.zip")
        version = _version(draft)
        browser = files("labkit.live").joinpath("browser")
        for asset in _ASSETS:
            (draft / asset).write_bytes(browser.joinpath(asset).read_bytes())
        (draft / "LICENCES.txt").write_text(licences(), encoding="utf-8")
        (draft / "cells").mkdir()
        for chapter in run.chapters:
            if chapter.output is not None:
                notebook = read_notebook(run.directory / chapter.output)
                _enliven(site, draft, chapter.name, notebook, version)
        shutil.rmtree(site / "live", ignore_errors=True)
        draft.rename(site / "live")
    worker = browser.joinpath("sw.js").read_text(encoding="utf-8")
    (site / "sw.js").write_text(worker.replace("@VERSION@", version), encoding="utf-8")
    (site / "tools.html").write_text(_tools_page(version), encoding="utf-8")
    _link_tools(site / "index.html")


def _enliven(site: Path, draft: Path, name: str, notebook: Any, version: str) -> None:
    """Put the script and the cells of a marked chapter beside its page."""
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    if not notebook.metadata.get("labkit", {}).get(MARK) or language != "python":
        return
    place = element(
        "div",
        "This chapter runs in a browser where a web server serves it and scripts are allowed; on your own "
        "machine that is: python3 -m http.server",
        class_="live-page",
        data_notebook=name,
        data_python=f"python.zip?{version}",
    )
    _change(
        site / f"{name}.html",
        (_META, lambda found: f"{found[1]}{POLICY}{found[2]}"),
        (_HEAD_END, lambda found: f"{_head('live.js')}{found[0]}"),
        (_CELLS, lambda found: f"{place}{found[0]}"),
    )
    cells = {"nbformat": 4, "nbformat_minor": notebook.nbformat_minor, "metadata": notebook.metadata}
    cells["cells"] = [
        {**cell, "outputs": []} if cell.cell_type == "code" else cell for cell in notebook.cells
    ]
    code = [cell for cell in cells["cells"] if cell["cell_type"] == "code"]
    document = {"notebook": cells, "machine": needs_machine(cell["source"] for cell in code)}
    target = draft / "cells" / f"{quote(name, safe='')}.json"
    target.write_text(json.dumps(document, sort_keys=True), encoding="utf-8")


def _link_tools(index: Path) -> None:
    """Say on the first page that there are tools."""
    link = element(
        "p", element("a", "Read a kernel log, a firmware or a quote of your own", href="tools.html")
    )
    _change(index, (_MAIN_END, lambda found: f"{link}{found[0]}"))


def _change(path: Path, *changes: tuple[re.Pattern[str], Callable[[re.Match[str]], str]]) -> None:
    """Change a page in places that every page of ``publish`` has once."""
    text = path.read_text(encoding="utf-8")
    for pattern, replacement in changes:
        text, count = pattern.subn(replacement, text, count=1)
        if not count:
            raise DataError(f"{path} is not a page that labkit published.", "Publish the run again.")
    path.write_text(text, encoding="utf-8")


def _head(script: str) -> Markup:
    return Markup(
        f'<link rel="stylesheet" href="live/live.css"><script type="module" src="live/{script}"></script>'
    )


def _shorten_lock(path: Path) -> None:
    """A lock file without packages: everything that a page imports is in the zip."""
    lock = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**lock, "packages": {}}, sort_keys=True), encoding="utf-8")


def _version(folder: Path) -> str:
    """A digest of all that the service worker keeps."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:16]


def _tools_page(version: str) -> Markup:
    boxes = [
        element(
            "section",
            element("h2", title),
            element("p", words),
            element(
                "label", "Drop a file here, or choose one: ", Markup(f'<input type="file" name="{tool}">')
            ),
            element("p", class_="name"),
            element("pre", role="status"),
            class_="live-tool",
            data_tool=tool,
        )
        for tool, title, words in TOOLS
    ]
    return site_page(
        "labkit in your browser",
        element(
            "main",
            element("h1", "Read a file of your own"),
            element(
                "p",
                "The file stays in your browser: nothing is sent anywhere.",
            ),
            element(
                "p",
                "These tools work where a web server serves this page and scripts are allowed.",
                id="status",
                role="status",
                data_python=f"python.zip?{version}",
            ),
            *boxes,
            element(
                "p",
                element("a", "All chapters", href="index.html"),
                " · ",
                element("a", "Licences of what runs here", href="live/LICENCES.txt"),
            ),
        ),
        policy=POLICY,
        head=_head("tools.js"),
    )
