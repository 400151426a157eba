"""What the documentation site adds to the pages in docs/: reference pages that are made from the code.

Links that lead out of docs/ (to notebooks, to the licence) are shown as the path they name: the site is read
without the repository as well.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

from labkit import errors
from labkit.asterinas.versions import PROFILES
from labkit.bootlog.failures import FAILURES, HANGS
from labkit.cli import labkit as command_line
from labkit.host import CHECKS, REASONS
from labkit.tdx.leaves import LEAVES

# Section, then its pages in order; what is not named here follows in the order of its file names.
SECTIONS = {
    "Start": ["index.md", "glossary.md", "facts.md"],
    "How to": ["studies.md", "teaching.md", "students.md", "contributing.md"],
    "Reference": [
        "cli.md",
        "reference/verbs.md",
        "reference/exit-codes.md",
        "reference/checks.md",
        "reference/asterinas-failures.md",
        "reference/leaves.md",
        "reference/notebook-verbs.md",
        "reference/names.md",
    ],
    "Explanation": ["architecture.md", "host-verification.md", "tdx-model.md", "asterinas.md"],
    "Decisions": [],
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages in their sections."""
    root = Path(config.docs_dir)
    there = {str(path.relative_to(root)) for path in root.rglob("*.md")} | _generated(root).keys()
    there = {name for name in there if not name.startswith(("_site/", "changes/"))}
    nav: list[dict[str, Any]] = []
    for title, names in SECTIONS.items():
        pages = [name for name in names if name in there]
        if title == "Decisions":
            pages = sorted(name for name in there if name.startswith("decisions/"))
        nav.append({title: list(pages)})
    placed = {name for section in nav for names in section.values() for name in names}
    nav[1]["How to"] += sorted(there - placed)
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    for name, text in _generated(Path(config.docs_dir)).items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show a link that leads out of docs/ as the path that it names."""
    folder = Path(config.docs_dir, page.file.src_uri).parent

    def mended(match: re.Match[str]) -> str:
        text, target = match[1], match[2].partition("#")[0]
        if re.match(r"[a-z]+:", match[2]) or not target:
            return match[0]
        path = (folder / target).resolve()
        inside = path.is_relative_to(Path(config.docs_dir).resolve())
        return match[0] if inside else f"{text} (`{target.removeprefix('../')}`)"

    return re.sub(r"(?<!!)\[([^\]\n]+)\]\(([^)\s]+)\)", mended, markdown)


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Leave the navigation as ``on_config`` made it."""
    return nav


def _generated(docs: Path) -> dict[str, str]:
    root = docs.parent
    return {
        "index.md": _front(root / "README.md"),
        "contributing.md": (root / "CONTRIBUTING.md").read_text(),
        "reference/verbs.md": _verbs(),
        "reference/exit-codes.md": f"# Errors and exit codes\n\n```text\n{errors.__doc__}\n```\n",
        "reference/checks.md": _checks(),
        "reference/asterinas-failures.md": _failures(),
        "reference/leaves.md": _leaves(),
        "reference/notebook-verbs.md": "# The verbs of the notebooks\n\n::: labkit.lab\n",
        "reference/names.md": _names(root / "labkit"),
    }


def _front(readme: Path) -> str:
    """The README, its pictures and pages found from here."""
    return re.sub(r"\]\(docs/", "](", readme.read_text())


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _table(head: list[str], rows: list[list[object]]) -> str:
    lines: list[Sequence[object]] = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in lines) + "\n"


def _verbs() -> str:
    parts = ["# The verbs, as `--help` shows them\n"]

    def walk(command: click.Command, context: click.Context, name: str) -> None:
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None
                walk(found, click.Context(found, context, child), f"{name} {child}")
            return
        parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")

    walk(command_line, click.Context(command_line, info_name="labkit"), "labkit")
    return "\n".join(parts)


def _names(labkit: Path) -> str:
    """The promised names of each package, with the first sentence that each says of itself."""
    parts = [
        "# Promised names\n\nWhat a second team may build on; nothing of it changes within a major version "
        "([decision 37](../decisions/0037-three-kinds-of-names.md)).\n"
    ]
    for path in sorted(labkit.glob("*/__init__.py")):
        package = import_module(f"labkit.{path.parent.name}")
        rows: list[list[object]] = [
            [f"`{name}`", _first_sentence(getattr(package, name))] for name in getattr(package, "__all__", ())
        ]
        if rows:
            parts.append(f"## labkit.{path.parent.name}\n\n{inspect.getdoc(package)}\n")
            parts.append(_table(["name", "what it is"], rows))
    return "\n".join(parts)


def _first_sentence(named: object) -> str:
    """Of a value, which has no words of its own, its type."""
    told = inspect.isclass(named) or inspect.isroutine(named) or inspect.ismodule(named)
    words = inspect.getdoc(named) if told else None
    return (words or f"a value of type {type(named).__name__}").partition("\n")[0]


def _checks() -> str:
    checks = _table(
        ["check", "what it asks", "expected", "reason code", "rule from"],
        [[check.id, check.title, check.expected, check.reason, check.source] for check in CHECKS],
    )
    reasons = _table(
        ["reason code", "part", "what it says", "what to do"],
        [[row.code, row.track, row.summary, row.next_action] for row in REASONS.values()],
    )
    return f"# Host checks, reasons and remedies\n\n## Checks\n\n{checks}\n## Reasons\n\n{reasons}"


def _failures() -> str:
    failures = _table(
        ["failure", "kind", "what it says", "what to do", "where it is known from"],
        [[row.id, row.kind, row.sentence, row.remedy, row.reference] for row in FAILURES],
    )
    hangs = _table(
        ["hang", "what it says", "what to do", "where it is known from"],
        [[row.id, row.sentence, row.remedy, row.reference] for row in HANGS],
    )
    versions = _table(
        ["profile", "version", "as a TD", "image", "QEMU", "KVM it needs"],
        [
            [
                row.name,
                row.version,
                "yes" if row.tdx else "no",
                row.images[0],
                row.qemu,
                row.generation or "any",
            ]
            for row in PROFILES.values()
        ],
    )
    return f"# Asterinas: versions and failures\n\n{versions}\n## Failures\n\n{failures}\n## Hangs\n\n{hangs}"


def _leaves() -> str:
    rows: list[list[object]] = [
        [leaf.name, leaf.number, "guest" if leaf.guest else "host", leaf.purpose] for leaf in LEAVES.values()
    ]
    return "# TDX leaves that are modelled\n\n" + _table(
        ["leaf", "number", "called by", "what it does"], rows
    )
