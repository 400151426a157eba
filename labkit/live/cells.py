"""Which cells of a chapter can run in a browser: found in their code, so that no cell needs a mark.

A cell needs a machine when it uses a verb of ``labkit.lab`` that a browser does not have, a package of labkit
that is made for machines, or a name that such a cell defined. Nothing is run to find out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files


def needs_machine(sources: Iterable[str]) -> list[str | None]:
    """For each code cell, in their order: None where a browser can run it.

    Where it cannot, the imports of the cell, which it can: cells below need their names.
    """
    lost: set[str] = set()
    found: list[str | None] = []
    for source in sources:
        names = _Names(source)
        if names.machine or names.read & lost:
            lost |= names.bound - names.imported
            found.append("\n".join(names.imports))
        else:
            lost -= names.bound
            found.append(None)
    return found


class _Names:
    """The names that a cell reads and binds; one that is not a Python has none."""

    def __init__(self, source: str) -> None:
        self.read: set[str] = set()
        self.bound: set[str] = set()
        self.imports: list[str] = []
        self.imported: set[str] = set()
        self.machine = False
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        for node in ast.walk(tree):
            self._look(node)
        self.bound |= set(_bound(tree))
        for statement in tree.body:
            if isinstance(statement, ast.Import | ast.ImportFrom) and not _needs(statement):
                self.imports.append(ast.unparse(statement))
                self.imported |= set(_bound(statement))

    def _look(self, node: ast.AST) -> None:
        match node:
            case ast.Attribute(ast.Name("lab"), verb) if verb not in verbs():
                self.machine = True
            case ast.Import() | ast.ImportFrom() if _needs(node):
                self.machine = True
            case ast.Name(name, ast.Load()):
                self.read.add(name)


def _needs(statement: ast.Import | ast.ImportFrom) -> bool:
    """An import asks for what only a machine has."""
    names = {name.name for name in statement.names}
    if isinstance(statement, ast.Import):
        return any(map(_is_machine, names))
    if statement.module == "labkit.lab":
        return not names <= verbs()
    return any(_is_machine(f"{statement.module}.{name}") for name in names)


def _is_machine(module: str) -> bool:
    package, _, rest = module.partition(".")
    return package == "labkit" and rest.partition(".")[0] in machines()


def _bound(tree: ast.AST) -> Iterator[str]:
    """What a cell leaves behind: names that its functions bind inside are their own."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                yield name
                continue
            case ast.Lambda():
                continue
            case ast.Name(name, ast.Store() | ast.Del()):
                yield name
            case ast.alias(name, asname):
                yield asname or name.partition(".")[0]
        yield from _bound(node)


@cache
def verbs() -> frozenset[str]:
    """The verbs of ``labkit.lab`` that a browser has: those of the module that stands in for it."""
    names = (node.name for node in _browser("lab.py").body if isinstance(node, ast.FunctionDef))
    return frozenset(name for name in names if not name.startswith("_"))


@cache
def machines() -> frozenset[str]:
    """The packages of labkit that only make sense where a machine can boot."""
    for node in _browser("shims.py").body:
        match node:
            case ast.Assign([ast.Name("MACHINES")], value):
                return frozenset(ast.literal_eval(value))
    raise AssertionError("shims.py names no MACHINES")


def _browser(name: str) -> ast.Module:
    return ast.parse(files("labkit.live").joinpath("browser", name).read_text(encoding="utf-8"))
