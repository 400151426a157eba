"""What the documents say of the code is true: files that they name, verbs, exit codes, schemas."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import click
import jsonschema
import pytest

from labkit import errors
from labkit.cli import labkit as command_line
from labkit.process import run
from tests import vectors

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMAS = sorted((REPOSITORY / "docs/schemas").glob("*.json"))


def _verbs(command: click.Command, name: str) -> dict[str, click.Command]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        found: dict[str, click.Command] = {}
        for child in command.list_commands(context):
            inner = command.get_command(context, child)
            assert inner is not None
            found |= _verbs(inner, f"{name} {child}".strip())
        return found
    return {name: command}


VERBS = _verbs(command_line, "")
HIDDEN = {"refresh", "asterinas toolbox"}
"""For developers, and named in their own pages."""


def test_contributing_names_files_that_exist() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    named = {word for word in re.findall(r"`([\w./-]+/[\w./-]*)`", text) if "NN-name" not in word}
    assert len(named) > 25
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []


def test_modules_that_the_documents_name_exist() -> None:
    gone = []
    package = REPOSITORY / "labkit"
    for page in (REPOSITORY / "docs").rglob("*.md"):
        for name in re.findall(r"`(?:labkit/)?(\w+/[\w/]+\.py)`", page.read_text()):
            top = name.partition("/")[0]
            if (
                (package / top).is_dir()
                and not (package / name).exists()
                and not (REPOSITORY / name).exists()
            ):
                gone.append(f"{page.name}: {name}")
    assert gone == []


def test_contributing_answers_twelve_questions_and_more() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (\d+)\. .*? \| (.*) \|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 12
    assert all(re.search(r"`labkit/(?:\w+/)?\w+\.py`", answer) for _, answer in rows)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_in_the_contract_and_has_an_example(verb: str) -> None:
    assert "Example:" in f"{VERBS[verb].help}{VERBS[verb].epilog}"
    if verb not in HIDDEN:
        assert re.search(rf"`labkit [^`]*\b{verb.split()[0]}\b", (REPOSITORY / "docs/cli.md").read_text())


def test_every_option_of_the_contract_exists() -> None:
    text = (REPOSITORY / "docs/cli.md").read_text()
    missing = []
    for line in re.findall(r"^\| `(labkit [^`]+)`", text, re.MULTILINE):
        words = re.match(r"labkit ((?:[a-z-]+ ?)+)", line)
        assert words, line
        name = words[1].strip()
        while name and name not in VERBS:
            name = name.rpartition(" ")[0]
        assert name, f"no verb for {line}"
        options = {option for it in VERBS[name].params for option in (*it.opts, *it.secondary_opts)}
        missing += [
            f"{name} {option}" for option in re.findall(r"--[a-z][a-z0-9-]+", line) if option not in options
        ]
    assert missing == []


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - HIDDEN))
def test_every_option_is_in_the_contract(verb: str) -> None:
    rows = re.findall(rf"^\| .*`labkit {verb}\b.*$", (REPOSITORY / "docs/cli.md").read_text(), re.MULTILINE)
    known = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", " ".join(rows))) | {"--json"}
    options = [parameter for parameter in VERBS[verb].params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.hidden and not known & {*option.opts}] == []


def test_every_exit_code_of_the_errors_is_in_the_contract() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.LabkitError)}
    rows = re.findall(r"^\| ([\d, ]+) \|", (REPOSITORY / "docs/cli.md").read_text(), re.MULTILINE)
    assert codes <= {int(code) for row in rows for code in row.split(",")}


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_a_schema_is_one_and_is_named(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text()))
    assert f"docs/schemas/{path.name}" in (REPOSITORY / "docs/cli.md").read_text()


def test_the_glossary_is_in_order() -> None:
    words = re.findall(r"^## (.+)$", (REPOSITORY / "docs/glossary.md").read_text(), re.MULTILINE)
    assert words == sorted(words, key=lambda word: word.lower().lstrip("#"))
    assert len(words) == len(set(words))


def test_the_pages_link_to_what_exists() -> None:
    broken = []
    pages = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)", page.read_text()):
            path = target.partition("#")[0]
            if path and not re.match(r"[a-z]+:", target) and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(REPOSITORY)}: {target}")
    assert broken == []


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    mkdocs = Path(sys.executable).with_name("mkdocs")
    done = run(
        [mkdocs, "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"], cwd=REPOSITORY, timeout=300
    )
    assert done.ok, (done.stdout + done.stderr).decode()
    verbs = (tmp_path / "site/reference/verbs.html").read_text()
    assert "labkit quote verify" in verbs
    assert "BootRequest" in (tmp_path / "site/reference/names.html").read_text()
    assert not re.search(r'(?:src|href)="https?://[^"]*(?:fonts|cdn|unpkg)', verbs)


def test_every_vector_has_a_source_or_says_how_it_was_made() -> None:
    rows = vectors.table()
    assert len(rows) > 50
    assert [row.file for row in rows if not row.change] == []
    assert [row.file for row in rows if row.change == "unchanged" and not (row.commit and row.path)] == []
    assert {len(row.sha256) for row in rows} == {64}
    with (REPOSITORY / "tests/verdicts.csv").open(newline="") as file:
        named = {
            f"vectors/{row[key]}"
            for row in csv.DictReader(file)
            for key in ("quote", "collateral")
            if row[key]
        }
    assert named <= {row.file for row in rows}
