"""What a function hands out does not change behind its back: a dataclass is frozen, or its state is named."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "labkit"
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))

# What grows or moves while it works: objects of the TDX module, a dialogue, a cell under way.
STATE = {
    "attest": {"_Found"},
    "console": {"Dialect", "Listener", "ShellExchange"},
    "course": {"ModelMachine", "Work"},
    "kernel": {"CellOutcome", "Context", "GuestSession", "History", "Publisher", "Pulse", "Starting"},
    "studies": {"_State"},
    "tdx": {"Call", "Event", "KotEntry", "Log", "Lp", "Td", "VeInfo"},
}


def _dataclasses(package: str) -> Iterator[tuple[str, bool]]:
    """Names, and whether they are frozen."""
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
                words = ast.unparse(decorator)
                if isinstance(node, ast.ClassDef) and words.startswith("dataclass"):
                    yield node.name, "frozen=True" in words


@pytest.mark.parametrize("package", PACKAGES)
def test_values_are_frozen(package: str) -> None:
    assert {name for name, frozen in _dataclasses(package) if not frozen} == STATE.get(package, set())
