"""A run becomes a static site: plain HTML that needs no script and nothing from the network.

nbconvert renders the cells with its bare ``basic`` template; everything around them is ``labkit.show``.
What a cell's output could fetch or run is taken out and named in its place. The run may have been sent by
somebody: nothing is read or written outside its directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from labkit.errors import DataError
from labkit.files import read_below
from labkit.later import spare_iri_grammar
from labkit.learn.copies import course_folder
from labkit.process import scratch_folder
from labkit.runs.course_pages import GLOSSARY, described, others, words
from labkit.runs.record import RECORD, Chapter, Run, record_bytes, write_record
from labkit.runs.source import LARGEST_NOTEBOOK, parse_notebook
from labkit.settings import Trust
from labkit.show.sanitize import sanitize
from labkit.show.site import SEARCH, Link, chapter_page, run_index
from labkit.show.words import everything_page, glossary_page, sections

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
_IMAGES = frozenset(["image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"])
_ATTACHED = re.compile(r"(?<=[(\"'\s:=<])attachment:([^\s)\"'>]+)")
_PLAIN = re.compile(r"[\w.-]+", re.ASCII)
_MARKUP = ("text/html", "image/svg+xml")
_TAKEN = re.compile("(?:index|glossary|everything)(?:-chapter)*")


def publish(run: Run) -> Run:
    """Make or re-make the site of a run below its directory; returns the run with ``site`` set.

    The new site takes the old one's place only when it is complete.
    """
    run = replace(run, site=INDEX)
    final = run.directory / "site"
    with scratch_folder(".site-", run.directory) as scratch:
        draft = scratch / "site"
        _write_pages(run, draft)
        write_record(run)
        (draft / RECORD).write_bytes(record_bytes(run))
        if os.path.lexists(final):
            final.rename(scratch / "old")
        draft.rename(final)
    return run


def _write_pages(run: Run, folder: Path) -> None:
    (folder / "notebooks").mkdir(parents=True)
    cells = [_cells(run, chapter) for chapter in run.chapters]
    links = [
        described(Link(quote(_page_name(chapter.name)), chapter.title), found)
        for chapter, found in zip(run.chapters, cells, strict=True)
    ]
    entries = [_entry(chapter, found) for chapter, found in zip(run.chapters, cells, strict=True)]
    names = {chapter.name: link.href for chapter, link in zip(run.chapters, links, strict=True)}
    names["glossary"] = GLOSSARY
    styles = _code_styles()
    downloads = [Link(RECORD, f"{RECORD}: this run for programs")]
    listed = []
    for number, chapter in enumerate(run.chapters):
        body = chapter_body(run.directory, chapter, names)
        parts = sections(body)
        listed.append((links[number], parts))
        download = _download(run, chapter, folder)
        downloads += [download] if download else []
        page = chapter_page(
            entries[number],
            body,
            styles=styles,
            previous=links[number - 1] if number else None,
            following=links[number + 1] if number + 1 < len(links) else None,
            download=replace(download, text="notebook") if download else None,
            contents=[
                Link(f"#{part.anchor}", part.heading) for part in parts if part.heading != chapter.title
            ],
        )
        (folder / _page_name(chapter.name)).write_text(page, encoding="utf-8")
    title = f"labkit run {run.directory.name}"
    glossary = words(course_folder() / "glossary.md")
    (folder / GLOSSARY).write_text(glossary_page(glossary), encoding="utf-8")
    (folder / SEARCH).write_text(everything_page(listed, glossary, GLOSSARY), encoding="utf-8")
    index = run_index(
        {**run.to_dict(), "chapters": entries},
        links,
        downloads,
        title=title,
        others=others([chapter.name for chapter in run.chapters]) if _is_course(run) else (),
        everything=Link(SEARCH, "Search these pages"),
    )
    (folder / "index.html").write_text(index, encoding="utf-8")


def _cells(run: Run, chapter: Chapter) -> list[Any]:
    if not chapter.output:
        return []
    data = read_below(run.directory, chapter.output, LARGEST_NOTEBOOK)
    return list(parse_notebook(run.directory / chapter.output, data).cells)


def _entry(chapter: Chapter, cells: Iterable[Any]) -> dict[str, Any]:
    """A chapter as its pages show it: one that boots nothing has no report, but a model's stamp is one too.

    Only the stamp of what proves nothing is taken from an output: no output makes a chapter more trusted.
    """
    entry = chapter.to_dict()
    if entry["trust"] is None:
        shown = (output.get("data", {}) for cell in cells for output in cell.get("outputs", ()))
        if any(str(Trust.NONE.stamp) in _text(data.get("text/plain", "")) for data in shown):
            entry["trust"] = Trust.NONE.value
    return entry


def _is_course(run: Run) -> bool:
    """The guided chapters were run, and not some notebook of a person's own."""
    return (
        len({chapter.name for chapter in run.chapters} & {p.stem for p in course_folder().glob("0*.ipynb")})
        > 1
    )


def chapter_body(directory: Path, chapter: Chapter, pages: dict[str, str]) -> str:
    """The cells of an executed chapter as markup; empty where it left no notebook.

    pages: the address of each chapter's page, by which links between notebooks are kept.
    """
    if chapter.output is None:
        return ""
    spare_iri_grammar()
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    data = read_below(directory, chapter.output, LARGEST_NOTEBOOK)
    notebook = parse_notebook(directory / chapter.output, data)
    # The state of widgets would be written as a script.
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            _leave_out_attachments(cell)
        if chapter.failure is not None and cell.get("id") == chapter.failure.cell_id:
            cell.metadata["tags"] = [*cell.metadata.get("tags", ()), _FAILED]
        for output in cell.get("outputs", ()):
            # Each by itself, so that no output ends the box of its cell; inline, for the page's colours.
            data = output.get("data", {})
            for kind in _MARKUP:
                if kind in data:
                    data[kind] = make_inert(_text(data[kind]), pages)
            if "image/svg+xml" in data:
                data.setdefault("text/html", data["image/svg+xml"])
    exporter = HTMLExporter(
        template_name="basic",
        config=Config({"NbConvertBase": {"display_data_priority": _SHOWN}}),
    )
    try:
        body, _ = exporter.from_notebook_node(notebook)
    except Exception as error:  # whatever a cell holds that breaks what makes markup of it
        raise DataError(
            f"The cells of {chapter.output} cannot be shown ({type(error).__name__}).",
            "Open the notebook in JupyterLab, and repair its Markdown and outputs.",
        ) from error
    return make_inert(body, pages)


def _leave_out_attachments(cell: Any) -> None:
    """An image that the cell names and does not bring would end the whole page: it is left out, as others."""
    kept = {
        name: {kind: _text(data) for kind, data in found.items() if kind in _IMAGES}
        for name, found in cell.get("attachments", {}).items()
        if _PLAIN.fullmatch(name)
    }
    cell.attachments = {name: found for name, found in kept.items() if found}
    cell.source = _ATTACHED.sub(
        lambda named: named[0] if named[1] in cell.attachments else f"missing:{named[1]}", cell.source
    )


def _text(value: Any) -> str:
    """An output's data: text, or its lines."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value)


def make_inert(body: str, pages: dict[str, str]) -> str:
    """Foreign markup without what runs, fetches or covers; links to other notebooks lead to their pages.

    An absolute link stays, since only a person follows it; a relative one to a file that is not in
    the site becomes plain text. What is left out is named in its place.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(body, features="html.parser")
    for tag in soup.find_all(True):
        if tag.name in _ACTIVE:
            _leave_out(soup, tag, tag.name)
        elif tag.name in ("img", "image", "use") and not _local(tag):
            _leave_out(soup, tag, f"image: {tag.get('alt') or 'without description'}")
        elif tag.name == "a" and not _leads(str(tag.get("href", "")), pages):
            tag.unwrap()
    return sanitize(str(soup), lambda address: _lead(address, pages))


def _leave_out(soup: Any, tag: Any, what: str) -> None:
    note = soup.new_tag("span", attrs={"class": "left-out"})
    note.string = f"[left out: {what}]"
    tag.replace_with(note)


def _local(tag: Any) -> bool:
    sources = [str(tag[name]) for name in ("src", "href", "xlink:href", "srcset") if tag.has_attr(name)]
    return all(source.startswith(("data:image/", "#")) for source in sources)


def _leads(address: str, pages: dict[str, str]) -> bool:
    """Whether a link leads anywhere; one that does not becomes plain text."""
    try:
        scheme = urlsplit(address).scheme
    except ValueError:  # such as http://[
        return False
    return scheme in ("http", "https", "mailto") or address.startswith("#") or bool(_lead(address, pages))


def _lead(address: str, pages: dict[str, str]) -> str | None:
    """Where a relative link leads in the site; None for a file that is not in it."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    target = Path(unquote(parts.path))
    if target.suffix not in (".ipynb", ".md") or target.stem not in pages:
        return None
    return pages[target.stem] + (f"#{parts.fragment}" if parts.fragment else "")


def _page_name(chapter: str) -> str:
    """Each chapter has a page of its own, which is none of those that every site has."""
    return f"{chapter}-chapter.html" if _TAKEN.fullmatch(chapter) else f"{chapter}.html"


def _download(run: Run, chapter: Chapter, site: Path) -> Link | None:
    """Put the executed notebook into the site; the name of an emulated one says so."""
    if chapter.output is None:
        return None
    trust = chapter.reported.trust
    stamp = f".{trust.stamp}" if trust is not None and trust.stamp else ""
    name = f"{chapter.name}{stamp}.ipynb"
    (site / "notebooks" / name).write_bytes(read_below(run.directory, chapter.output, LARGEST_NOTEBOOK))
    return Link(f"notebooks/{quote(name)}", name)


def _code_styles() -> str:
    """Colours of highlighted code in both colour schemes."""
    light = _style_lines("default")
    dark = "\n".join(_style_lines("github-dark"))
    return "\n".join([*light, "@media (prefers-color-scheme: dark) {", dark, "}"])


def _style_lines(style: str) -> Iterable[str]:
    from pygments.formatters import HtmlFormatter

    rules = str(HtmlFormatter(style=style).get_style_defs(".highlight"))
    # Only the words are coloured: the background is the page's own. What is no word of the language (``err``)
    # gets no mark: in a shell's cell that is the text behind a magic.
    return [line for line in rules.splitlines() if re.match(r"\.highlight \.(?!err )\w+ ", line)]
