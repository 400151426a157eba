"""The house rules that a machine can check: docs/architecture.md says what they are for."""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest

from labkit.process import run

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = sorted(path.parent.name for path in (REPOSITORY / "labkit").glob("*/__init__.py"))

# The rooms that may start processes; everybody else goes through labkit.process.
PROCESS_STARTERS = {"labkit.process", "labkit.vm"}


@cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph("labkit", include_external_packages=True, cache_dir=None)


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _edges() -> list[tuple[str, str]]:
    graph = _graph()
    return [
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    ]


def test_the_import_contracts_hold() -> None:
    done = run([Path(sys.executable).with_name("lint-imports")], cwd=REPOSITORY, env=dict(os.environ))
    assert done.ok, done.text


def test_every_room_has_its_place_in_the_house() -> None:
    contracts: list[dict[str, Any]] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    placed = {name.strip() for layer in layers for name in layer.split("|")}
    there = {f"labkit.{room}" for room in ROOMS}
    there |= {f"labkit.{path.stem}" for path in (REPOSITORY / "labkit").glob("[a-z]*.py")}
    assert there - placed == set()


def test_no_room_reaches_into_the_private_modules_of_another() -> None:
    trespasses = [
        f"{importer} imports {imported}"
        for importer, imported in _edges()
        if imported.startswith("labkit.")
        and _room(importer) != _room(imported)
        and any(part.startswith("_") for part in imported.split("."))
    ]
    assert trespasses == []


def test_there_is_one_way_to_run_a_program() -> None:
    starters = {_room(importer) for importer, imported in _edges() if imported == "subprocess"}
    assert starters <= PROCESS_STARTERS


def test_only_the_show_room_escapes_markup() -> None:
    assert {_room(importer) for importer, imported in _edges() if imported == "html"} <= {"labkit.show"}


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_of_a_room_is_there(room: str) -> None:
    module = importlib.import_module(f"labkit.{room}")
    names = getattr(module, "__all__", [])
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(names) == len(set(names))


def test_import_labkit_stays_cheap() -> None:
    script = "import sys; before = set(sys.modules); import labkit; print(*(set(sys.modules) - before))"
    loaded = run([sys.executable, "-c", script]).text.split()
    assert "labkit" in loaded
    assert {name.partition(".")[0] for name in loaded} <= {"labkit", *sys.stdlib_module_names}
