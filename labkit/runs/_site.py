"""A run becomes a static site: plain HTML that needs no script and nothing from the network.

nbconvert renders the cells with its bare ``basic`` template; everything around them is ``labkit.show``.
What a cell's output could fetch or run is taken out and named in its place.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from labkit.runs._record import RECORD, Chapter, Run, write_record
from labkit.runs._source import read_notebook
from labkit.show import Link, chapter_page, run_index

INDEX = "site/index.html"

_FAILED = "labkit-failed"
# Best first; scripts and widget views, which need scripts, are not among them.
_SHOWN = [
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "text/latex",
    "text/plain",
]
_ACTIVE = frozenset(
    [
        "script",
        "iframe",
        "frame",
        "object",
        "embed",
        "link",
        "meta",
        "base",
        "form",
        "audio",
        "video",
        "source",
    ]
)
_FETCHES = re.compile(r"url\(\s*['\"]?\s*(?!data:|#)|@import", re.IGNORECASE)


def publish(run: Run) -> Run:
    """Make or re-make the site of a run below its directory; returns the run with ``site`` set.

    The new site takes the old one's place only when it is complete.
    """
    run = replace(run, site=INDEX)
    final = run.directory / "site"
    with tempfile.TemporaryDirectory(prefix=".site-", dir=run.directory) as name:
        draft = Path(name) / "site"
        _write_pages(run, draft)
        write_record(run)
        shutil.copyfile(run.directory / RECORD, draft / RECORD)
        if final.exists():
            final.rename(Path(name) / "old")
        draft.rename(final)
    return run


def _write_pages(run: Run, folder: Path) -> None:
    (folder / "notebooks").mkdir(parents=True)
    links = [Link(quote(_page_name(chapter.name)), chapter.title) for chapter in run.chapters]
    names = {chapter.name: link.href for chapter, link in zip(run.chapters, links, strict=True)}
    styles = _code_styles()
    downloads = [Link(RECORD, f"{RECORD}: this run for programs")]
    for number, chapter in enumerate(run.chapters):
        download = _download(run, chapter, folder)
        downloads += [download] if download else []
        page = chapter_page(
            chapter.to_dict(),
            chapter_body(run.directory, chapter, names),
            styles=styles,
            previous=links[number - 1] if number else None,
            following=links[number + 1] if number + 1 < len(links) else None,
            download=replace(download, text="notebook") if download else None,
        )
        (folder / _page_name(chapter.name)).write_text(page, encoding="utf-8")
    title = f"labkit run {run.directory.name}"
    index = run_index(run.to_dict(), links, downloads, title=title)
    (folder / "index.html").write_text(index, encoding="utf-8")


def chapter_body(directory: Path, chapter: Chapter, pages: dict[str, str]) -> str:
    """The cells of an executed chapter as markup; empty where it left no notebook.

    pages: the address of each chapter's page, by which links between notebooks are kept.
    """
    if chapter.output is None:
        return ""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    notebook = read_notebook(directory / chapter.output)
    # The state of widgets would be written as a script.
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if chapter.failure is not None and cell.get("id") == chapter.failure.cell_id:
            cell.metadata["tags"] = [*cell.metadata.get("tags", ()), _FAILED]
        for output in cell.get("outputs", ()):
            # Inline, so that a picture follows the page's colours.
            if "image/svg+xml" in output.get("data", {}):
                output.data.setdefault("text/html", output.data["image/svg+xml"])
    source = Path(notebook.metadata.get("papermill", {}).get("input_path", ""))
    exporter = HTMLExporter(
        template_name="basic",
        embed_images=True,
        config=Config({"NbConvertBase": {"display_data_priority": _SHOWN}}),
    )
    body, _ = exporter.from_notebook_node(notebook, {"metadata": {"path": str(source.parent)}})
    return make_inert(body, pages)


def make_inert(body: str, pages: dict[str, str]) -> str:
    """Take out of markup what runs or fetches; links to other notebooks lead to their pages.

    An absolute link stays, since only a person follows it; a relative one to a file that is not in
    the site becomes plain text.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(body, features="html.parser")
    for tag in soup.find_all(True):
        if tag.decomposed:
            continue
        if tag.name in _ACTIVE or (tag.name == "style" and _FETCHES.search(tag.get_text())):
            _leave_out(soup, tag, tag.name)
        elif tag.name in ("img", "image", "use") and not _local(tag):
            _leave_out(soup, tag, f"image: {tag.get('alt') or 'without description'}")
        else:
            for name in [name for name in tag.attrs if _is_active(name, str(tag[name]))]:
                del tag[name]
            if tag.name == "a" and tag.has_attr("href"):
                _lead(tag, pages)
    return str(soup)


def _leave_out(soup: Any, tag: Any, what: str) -> None:
    note = soup.new_tag("span", attrs={"class": "left-out"})
    note.string = f"[left out: {what}]"
    tag.replace_with(note)
    tag.decompose()


def _local(tag: Any) -> bool:
    sources = [str(tag[name]) for name in ("src", "href", "xlink:href", "srcset") if tag.has_attr(name)]
    return all(source.startswith(("data:image/", "#")) for source in sources)


def _is_active(name: str, value: str) -> bool:
    lower = name.lower()
    fetches = lower in ("style", "fill", "stroke", "filter", "mask", "clip-path") and _FETCHES.search(value)
    return lower.startswith("on") or lower in ("background", "ping", "srcset", "action") or bool(fetches)


def _lead(tag: Any, pages: dict[str, str]) -> None:
    href = str(tag["href"])
    parts = urlsplit(href)
    if parts.scheme in ("http", "https", "mailto") or href.startswith("#"):
        return
    target = Path(unquote(parts.path))
    if not parts.scheme and target.suffix == ".ipynb" and target.stem in pages:
        tag["href"] = pages[target.stem] + (f"#{parts.fragment}" if parts.fragment else "")
    else:
        tag.unwrap()


def _page_name(chapter: str) -> str:
    return "index-chapter.html" if chapter == "index" else f"{chapter}.html"


def _download(run: Run, chapter: Chapter, site: Path) -> Link | None:
    """Put the executed notebook into the site; the name of an emulated one says so."""
    if chapter.output is None:
        return None
    trust = chapter.reported.trust
    stamp = f".{trust.stamp}" if trust is not None and trust.stamp else ""
    name = f"{chapter.name}{stamp}.ipynb"
    shutil.copyfile(run.directory / chapter.output, site / "notebooks" / name)
    return Link(f"notebooks/{quote(name)}", name)


def _code_styles() -> str:
    """Colours of highlighted code in both colour schemes."""
    light = _style_lines("default")
    dark = "\n".join(_style_lines("github-dark"))
    return "\n".join([*light, "@media (prefers-color-scheme: dark) {", dark, "}"])


def _style_lines(style: str) -> Iterable[str]:
    from pygments.formatters import HtmlFormatter

    rules = str(HtmlFormatter(style=style).get_style_defs(".highlight"))
    # Only the words are coloured: the background is the page's own.
    return [line for line in rules.splitlines() if re.match(r"\.highlight \.\w+ ", line)]
