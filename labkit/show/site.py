"""The pages of a published run: an index and a frame around each executed chapter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.settings import Trust
from labkit.show.markup import Markup, badge, element, join

# No script, nothing from the network: what a cell printed cannot change that.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

SEARCH = "everything.html"
"""The page that can be searched."""

UNFINISHED = (
    "This run has not come to its end: it was interrupted or cut off, or it still goes on. Only what is "
    "listed here has run."
)
_WHAT = "Each page is a notebook that was run: its text, its code, and what came out. "
_WORDS = {"passed": "✓ passed", "failed": "✗ failed", "interrupted": "◦ interrupted", "running": "◦ running"}


@dataclass(frozen=True)
class Link:
    """Where a page is and what it is called; ``href`` is a relative address.

    question: what a chapter answers, in one sentence. minutes: how long it takes, as it says.
    """

    href: str
    text: str
    question: str = ""
    minutes: str = ""


def chapter_page(
    chapter: Mapping[str, Any],
    body: str,
    *,
    styles: str = "",
    previous: Link | None = None,
    following: Link | None = None,
    download: Link | None = None,
    contents: Sequence[Link] = (),
) -> Markup:
    """One executed chapter.

    chapter: its entry in the run's record. body: the markup of its cells, already escaped and freed of
    scripts. styles: CSS for highlighted code. previous, following: its neighbours. contents: its headings.
    """
    failure = chapter.get("failure")
    return _page(
        f"{_prefix(chapter)}{chapter['title']}",
        styles,
        _bar("top", previous, following),
        element(
            "main",
            element("p", *_facts(chapter), *([_link(download)] if download else []), class_="facts"),
            _failure(failure, "") if failure else "",
            _contents(contents),
            element("div", Markup(body), class_="cells"),
            _bar("end", previous, following),
        ),
    )


def run_index(
    run: Mapping[str, Any],
    chapters: Sequence[Link],
    downloads: Iterable[Link] = (),
    *,
    title: str,
    others: Sequence[Link] = (),
    everything: Link | None = None,
) -> Markup:
    """The first page of a run: what ran where, when, on which platform, with which trust, with what.

    run: the run's record. chapters: the pages of its chapters, in the same order. others: chapters of the
    course that were not run. everything: the page that lists all headings and words.
    """
    entries = run["chapters"]
    passed = sum(1 for entry in entries if entry["status"] == "passed")
    summary = f"{passed} of {len(entries)} chapters passed"
    return _page(
        f"{_prefix(run)}{title}",
        "",
        element(
            "main",
            element("h1", "Confidential computing with Intel TDX and Asterinas ", _badge(run)),
            _start(chapters, everything),
            element("ol", *map(_chapter, entries, chapters), class_="chapters"),
            _not_run(others),
            element("h2", title),
            element(
                "p",
                element("span", summary, class_=f"status {run['status']}"),
                element("span", *_where(run)),
                element("span", f"{run['seconds']:.1f} s", _beside(run)),
                class_="facts",
            ),
            _trust_note(run),
            _unfinished(run),
            element("h2", "Where and when"),
            _pairs(_place(run)),
            element("h2", "With what"),
            _pairs(run["versions"].items()),
            element("h2", "Files"),
            element("ul", *(element("li", _link(link)) for link in downloads)),
        ),
    )


def plain_page(title: str, *body: object, policy: str = POLICY) -> Markup:
    """A page beside the chapters: a list of words, or of everything."""
    main = element("main", element("h1", title), *body)
    return _page(title, "", _bar("top", None, None), main, policy=policy)


def _beside(run: Mapping[str, Any]) -> str:
    """What the times of the chapters have to be read with."""
    return f", {run['jobs']} chapters at a time" if run.get("jobs", 1) > 1 else ""


def _unfinished(run: Mapping[str, Any]) -> Markup:
    if run["status"] in ("passed", "failed"):
        return Markup()
    return element("p", UNFINISHED, class_="note bad")


def _start(chapters: Sequence[Link], everything: Link | None) -> Markup:
    if not chapters:
        return Markup()
    words: list[object] = [_WHAT, "Begin with ", element("b", _link(chapters[0])), ". "]
    if everything:
        words += ["Looking for a word? ", _link(everything), "."]
    return element("p", *words)


def _not_run(others: Sequence[Link]) -> Markup:
    if not others:
        return Markup()
    items = [
        element("li", element("b", other.text), f": {other.question} " if other.question else " ")
        for other in others
    ]
    words = "Also in the course, not part of this run. Open them in JupyterLab, or name them to labkit run:"
    return join([element("p", words), element("ul", *items)])


def site_page(title: str, *body: object, policy: str, head: Markup) -> Markup:
    """Any other page of a site, with a content policy and elements of the head of its own."""
    return _page(title, "", *body, policy=policy, more=head)


def _page(title: str, styles: str, *body: object, policy: str = POLICY, more: object = "") -> Markup:
    from importlib.resources import files  # only a published site needs it, every verb would pay

    css = Markup(files("labkit.show").joinpath("site.css").read_text(encoding="utf-8") + styles)
    head = element(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", title),
        element("style", css),
        more,
    )
    return Markup(f"<!doctype html>\n{element('html', head, element('body', *body), lang='en')}\n")


def _contents(links: Sequence[Link]) -> Markup:
    """The headings of a page; nothing where there are too few to look for one."""
    if len(links) < 3:
        return Markup()
    items = element("ul", *(element("li", _link(link)) for link in links))
    folded = element("details", element("summary", "On this page"), items)
    return element("nav", folded, class_="contents", aria_label="On this page")


def _bar(where: str, previous: Link | None, following: Link | None) -> Markup:
    return element(
        "nav",
        element("span", _link(previous, "← ") if previous else "", class_="side previous"),
        element("a", "All chapters", href="index.html", class_="home"),
        element("a", "Search", href=SEARCH, class_="home"),
        element("span", _link(following, "", " →") if following else "", class_="side next"),
        class_=f"bar {where}",
    )


def _link(link: Link, before: str = "", after: str = "") -> Markup:
    return element("a", before, link.text, after, href=link.href)


def _status(word: str) -> Markup:
    return element("span", _WORDS.get(word, word), class_=f"status {word}")


def document(title: str, *body: object) -> Markup:
    """A page of the site: no script, nothing from the network."""
    return _page(title, "", *body)


def link_to(link: Link) -> Markup:
    """A link as markup."""
    return _link(link)


def status_word(word: str) -> Markup:
    """What became of a chapter or row, as a mark and a word."""
    return _status(word)


def badge_of(entry: Mapping[str, Any]) -> Markup:
    """The stamp of what a record reports; nothing where it reports none."""
    return _badge(entry)


def _badge(entry: Mapping[str, Any]) -> Markup:
    return badge(Trust(entry["trust"])) if entry.get("trust") else Markup()


def _prefix(entry: Mapping[str, Any]) -> str:
    stamp = Trust(entry["trust"]).stamp if entry.get("trust") else ""
    return f"{stamp}: " if stamp else ""


def _where(entry: Mapping[str, Any]) -> list[object]:
    words = [word for word in (entry.get("platform"), entry.get("accelerator")) if word]
    return [", ".join(words) if words else "reports no TDVM"]


def _facts(chapter: Mapping[str, Any]) -> list[Markup]:
    on_host = chapter.get("host_cells") or ()
    cells = ", ".join(map(str, on_host))
    return [
        _status(chapter["status"]),
        element("span", *_where(chapter), " ", _badge(chapter)),
        element(
            "span",
            f"{chapter['cells_run']} of {chapter['cells']} code cells ran in {chapter['seconds']:.1f} s",
        ),
        *([element("span", f"on the host, not in the TDVM: cells {cells}")] if on_host else []),
    ]


def _chapter(chapter: Mapping[str, Any], link: Link) -> Markup:
    failure = chapter.get("failure")
    name = [element("code", chapter["name"])] if chapter["name"] != link.text else []
    return element(
        "li",
        element(
            "div",
            element("a", link.text, href=link.href, class_="title"),
            _status(chapter["status"]),
            class_="head",
        ),
        element("div", element("i", link.question)) if link.question else "",
        element(
            "div",
            *name,
            *([element("span", f"time: {link.minutes}")] if link.minutes else []),
            *_facts(chapter)[1:],
            class_="facts",
        ),
        _failure(failure, link.href) if failure else "",
        class_=chapter["status"],
    )


def _failure(failure: Mapping[str, Any], page: str) -> Markup:
    what = element("code", f"{failure['ename']}: {failure['evalue']}".rstrip(": "))
    if failure["cell"] is None and failure["cell_id"] is None:
        return element("p", what, class_="note bad")
    name = f"Cell {failure['cell']}" if failure["cell"] is not None else "The parameters of this run"
    where = element("a", name, href=f"{page}#cell-id={failure['cell_id']}")
    return element(
        "p", where, " failed at ", element("code", failure["first_line"]), ": ", what, class_="note bad"
    )


def _trust_note(run: Mapping[str, Any]) -> Markup:
    if run.get("trust") == Trust.NONE:
        mixed = any(chapter.get("trust") == Trust.HARDWARE for chapter in run["chapters"])
        who = "Not every chapter ran on TDX hardware" if mixed else "No TDX hardware took part"
        words = f"{who}: what is emulated shows how things work and proves nothing."
        return element("p", _badge(run), " ", words, class_="note")
    if run.get("trust") == Trust.HARDWARE:
        return element("p", "Every chapter that reports a platform reports TDX hardware.")
    return element("p", "No chapter reported its platform, so nothing here may be trusted.", class_="note")


def _place(run: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    host, git = run["host"], run["git"]
    yield "started", run["started"]
    if run["finished"]:
        yield "finished", run["finished"]
    yield "system", f"{host['os']}, kernel {host['kernel']}"
    yield "processor", f"{host['processor']}, {host['cpus']} CPUs, {host['memory_mib']} MiB memory"
    if git:
        changed = " with changes that are not committed" if git["changed"] else ""
        yield "commit", join([element("code", git["commit"]), changed])
    given = {
        name: value
        for chapter in run["chapters"]
        for name, value in chapter["parameters"].items()
        if name != "run_dir"
    }
    if given:
        yield "parameters", ", ".join(f"{name} = {value!r}" for name, value in given.items())


def _pairs(pairs: Iterable[tuple[str, object]]) -> Markup:
    parts = [part for name, value in pairs for part in (element("dt", name), element("dd", value))]
    return element("dl", *parts, class_="pairs")
