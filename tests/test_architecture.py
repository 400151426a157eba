"""The rules of docs/architecture.md that a machine can check."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import sys
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest

from labkit.process import run

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = sorted((REPOSITORY / "labkit").rglob("*.py"))
PACKAGES = sorted(path.parent.name for path in (REPOSITORY / "labkit").glob("*/__init__.py"))

# The packages that may start processes; everybody else goes through labkit.process.
PROCESS_STARTERS = {"labkit.process", "labkit.vm", "labkit.course"}

# What loads jsonschema, which reads a grammar for seconds.
LOAD_JSONSCHEMA = {"nbformat", "nbconvert", "nbclient", "nbgrader", "papermill", "jsonschema"}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph("labkit", include_external_packages=True, cache_dir=None)


def _package(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _edges() -> list[tuple[str, str]]:
    graph = _graph()
    return [
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    ]


def _layers() -> list[str]:
    contracts: list[dict[str, Any]] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [name.strip().removeprefix("labkit.") for layer in layers for name in layer.split("|")]


def test_the_import_contracts_hold() -> None:
    done = run([Path(sys.executable).with_name("lint-imports")], cwd=REPOSITORY, env=dict(os.environ))
    assert done.ok, done.text


def test_every_package_has_its_layer() -> None:
    modules = {path.stem for path in (REPOSITORY / "labkit").glob("[a-z]*.py")}
    assert {*PACKAGES, *modules} - set(_layers()) == set()


def test_the_document_shows_the_layers_in_their_order() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text()
    table = text.partition("| package |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", table, re.MULTILINE)
    assert rows == _layers()


def test_the_document_names_modules_that_exist() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text()
    for package, row in re.findall(r"^\| `(\w+)/` \|(.*)", text, re.MULTILINE):
        if package in PACKAGES:
            home = REPOSITORY / "labkit" / package
            lists = re.findall(r"\(([^()]*)\)", row)
            named = {name for words in lists for name in re.findall(r"`(\w+)`", words)}
            named |= set(re.findall(r"`(_\w+)`", row))
            assert [
                n for n in sorted(named) if not ((home / f"{n}.py").exists() or (home / n).is_dir())
            ] == []


def test_no_package_reaches_into_the_private_modules_of_another() -> None:
    trespasses = [
        f"{importer} imports {imported}"
        for importer, imported in _edges()
        if imported.startswith("labkit.")
        and _package(importer) != _package(imported)
        and any(part.startswith("_") for part in imported.split("."))
    ]
    assert trespasses == []


def _bound_modules(tree: ast.Module) -> set[str]:
    """The modules of labkit that a module imports, wherever it does: late and for types only as well."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("labkit"):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("labkit")}
    return found


def _circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The sets of modules that reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for following in arrows[waiting.pop()] - seen:
                seen.add(following)
                waiting.append(following)
        return seen

    reach = {name: reached(name) for name in arrows}
    together = {frozenset(b for b in reach[a] if a in reach[b]) for a in arrows if a in reach[a]}
    return sorted(sorted(circle) for circle in together)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Neither late nor for types only: the interpreter forgives such a circle, a reader does not."""
    names = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
        for path in SOURCES
    }
    inner = {n: p for n, p in names.items() if p.name != "__init__.py"}
    arrows = {name: _bound_modules(_tree(path)) & inner.keys() - {name} for name, path in inner.items()}
    assert _circles(arrows) == []


def test_a_circle_would_be_found() -> None:
    assert _circles({"a": {"b"}, "b": {"a"}, "c": {"a"}}) == [["a", "b"]]


def test_no_two_public_classes_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        for node in _tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(REPOSITORY)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_there_is_one_way_to_run_a_program() -> None:
    starters = {_package(importer) for importer, imported in _edges() if imported == "subprocess"}
    assert starters <= PROCESS_STARTERS


def test_only_show_escapes_markup() -> None:
    users = {_package(importer) for importer, imported in _edges() if imported == "html"}
    assert users <= {"labkit.show"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_package_is_there(package: str) -> None:
    module = importlib.import_module(f"labkit.{package}")
    names = getattr(module, "__all__", [])
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(names) == len(set(names))


# Private modules that a test names, and why: none of them is imported for what it computes.
NAMED_IN_TESTS = {
    "course._inside",  # a process is found by its command line
    "runs._guard",  # a program of its own
    "studies._pool",  # a deadline is made shorter
    "studies._sweep",  # a full disk is played
}


def test_tests_name_no_private_module() -> None:
    """A test uses what is promised, or a shared module: decision 37."""
    named = {
        match
        for path in (REPOSITORY / "tests").rglob("*.py")
        for match in re.findall(r"labkit(?:\.[a-z]\w*)*\._[a-z]\w*", path.read_text())
        if path != Path(__file__)
    }
    assert {name.removeprefix("labkit.") for name in named} == NAMED_IN_TESTS


def test_chapters_and_exercises_use_what_is_promised() -> None:
    taken = set()
    for path in (REPOSITORY / "notebooks").rglob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            for module, names in re.findall(
                r"^from (labkit\.\w+) import (.+)$", "".join(cell["source"]), re.MULTILINE
            ):
                taken |= {(module, name.strip()) for name in names.split(",")}
    assert taken
    promised = {module: importlib.import_module(module) for module, _ in taken}
    assert [
        (m, n) for m, n in sorted(taken) if n not in getattr(promised[m], "__all__", dir(promised[m]))
    ] == []


def test_little_is_promised() -> None:
    """What is promised can never be taken back: a name more wants a reason."""
    count = sum(len(getattr(importlib.import_module(f"labkit.{name}"), "__all__", ())) for name in PACKAGES)
    assert count <= 120


def _named_outside() -> set[tuple[str, str]]:
    """Names of packages that other packages of labkit import from them, or that text for people names."""
    named = set()
    for path in SOURCES:
        own, tree = path.relative_to(REPOSITORY / "labkit").parts[0], _tree(path)
        packages: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "labkit":
                packages |= {alias.asname or alias.name: alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("labkit."):
                package = node.module.removeprefix("labkit.")
                named |= {(package, alias.name) for alias in node.names if package != own}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in packages
            ):
                named.add((packages[node.value.id], node.attr))
    texts = [
        *(REPOSITORY / "notebooks").rglob("*.ipynb"),
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / "labkit/course/exercises").glob("*.py"),
    ]
    for path in texts:
        text = path.read_text()
        named |= set(re.findall(r"\b(\w+)\.(\w+)\b", text))
        for package, names in re.findall(r"labkit\.(\w+) import ([\w, ]+)", text):
            named |= {(package, name.strip()) for name in names.split(",")}
    return named


def test_what_is_promised_is_used_outside_its_package() -> None:
    promised = {
        (package, name)
        for package in PACKAGES
        for name in getattr(importlib.import_module(f"labkit.{package}"), "__all__", ())
    }
    assert promised - _named_outside() == set()


def test_import_labkit_stays_cheap() -> None:
    script = "import sys; before = set(sys.modules); import labkit; print(*(set(sys.modules) - before))"
    loaded = run([sys.executable, "-c", script]).text.split()
    assert "labkit" in loaded
    assert {name.partition(".")[0] for name in loaded} <= {"labkit", *sys.stdlib_module_names}


def test_the_verbs_of_notebooks_load_no_network_and_no_engine() -> None:
    script = "import sys, labkit.lab; print(*sys.modules)"
    loaded = set(run([sys.executable, "-c", script]).text.split())
    assert "labkit.lab" in loaded
    assert loaded & {"docker", "requests", "pycdlib", "dask", "papermill", "nbgrader"} == set()


def _loads_jsonschema(node: ast.Import | ast.ImportFrom) -> bool:
    names = [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return any(name.partition(".")[0] in LOAD_JSONSCHEMA for name in names)


def test_nobody_waits_for_a_grammar_that_no_notebook_needs() -> None:
    """Before a function loads nbformat, or whatever loads that, it spares the grammar of IRIs."""
    slow, found = [], 0
    # Who imports one of them has its name in the text, and few have.
    for path in (path for path in SOURCES if any(name in path.read_text() for name in LOAD_JSONSCHEMA)):
        for function in ast.walk(_tree(path)):
            if not isinstance(function, ast.FunctionDef):
                continue
            lines = [
                node.lineno
                for node in ast.walk(function)
                if isinstance(node, ast.Import | ast.ImportFrom) and _loads_jsonschema(node)
            ]
            spared = [
                node.lineno
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "spare_iri_grammar"
            ]
            found += bool(lines)
            if lines and not (spared and min(spared) < min(lines)):
                slow.append(f"{path.relative_to(REPOSITORY)}:{function.name}")
    assert found > 5
    assert not slow
