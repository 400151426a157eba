"""The one-file collector: the code that reads a host, in a form that Python 3.8 runs with nothing installed.

It is made from labkit's modules when it is asked for, so that both read a host alike. What newer Pythons
brought and these modules use is rewritten in the syntax tree; the prelude holds what replaces it.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from labkit import __version__

_ROOTS = ("labkit.host._collect", "labkit.host.redaction")
_GENERICS = frozenset({"dict", "frozenset", "list", "set", "tuple", "type"})
_METHODS = frozenset({"readlink", "removeprefix", "removesuffix"})
_OLDEST = (3, 8)

_HEAD = '''#!/usr/bin/env python3
"""Collects the facts of this host for `labkit verify --from` (labkit {version}). Reads only.

Needs nothing but Python 3.8 or newer:

    python3 labkit-collect.py [--redact] [--root DIR] [--kernel-log FILE] [FACTS.json]

Without a file name the facts go to standard output. Made by `labkit verify --collector`; do not edit.
"""

import sys

if sys.version_info < (3, 8):
    sys.exit("labkit-collect needs Python 3.8 or newer, and this is " + sys.version.split()[0] + ".")
'''

_PRELUDE = """
import enum, os, pathlib, types


class StrEnum(str, enum.Enum):
    def __str__(self):
        return str(self.value)

    __format__ = str.__format__


def union(one, other):
    if isinstance(one, dict):
        return {**one, **other}
    if isinstance(one, (type, tuple)) or one is None:
        return (one if isinstance(one, tuple) else (one,)) + (other if isinstance(other, tuple) else (other,))
    return one | other


def union_in_place(one, other):
    if isinstance(one, (dict, set)):
        one.update(other)
        return one
    return union(one, other)


def removeprefix(text, part):
    return text[len(part):] if part and text.startswith(part) else text


def removesuffix(text, part):
    return text[:-len(part)] if part and text.endswith(part) else text


def readlink(path):
    return pathlib.Path(os.readlink(path))
"""

_TAIL = """

def _load():
    import types
    prelude = types.ModuleType("labkit_prelude")
    exec(compile(PRELUDE, "labkit_prelude", "exec"), prelude.__dict__)
    sys.modules["labkit_prelude"] = prelude
    for name, source in MODULES:
        for depth in range(1, name.count(".") + 1):
            package = ".".join(name.split(".")[:depth])
            if package not in sys.modules:
                sys.modules[package] = types.ModuleType(package)
                sys.modules[package].__path__ = []
        module = sys.modules[name] = types.ModuleType(name)
        exec(compile(source, name, "exec"), module.__dict__)


def main():
    import argparse
    import json
    import pathlib
    parser = argparse.ArgumentParser(description="Collect the facts of this host for labkit verify --from.")
    parser.add_argument("--redact", action="store_true", help="take names and addresses out")
    parser.add_argument("--root", default="/", help="read another file tree as /")
    parser.add_argument("--kernel-log", help="use this kernel log instead of the host's")
    parser.add_argument("facts", nargs="?", help="where to write them; standard output by default")
    arguments = parser.parse_args()
    _load()
    from labkit.host._collect import collect
    from labkit.host.redaction import host_names, redact
    root = pathlib.Path(arguments.root)
    facts = collect(root, pathlib.Path(arguments.kernel_log) if arguments.kernel_log else None)
    if arguments.redact:
        facts = redact(facts, host_names(root))
    text = json.dumps(facts.to_dict(), indent=1, ensure_ascii=False) + "\\n"
    if arguments.facts:
        pathlib.Path(arguments.facts).write_text(text, encoding="utf-8")
    else:
        sys.stdout.buffer.write(text.encode("utf-8"))


if __name__ == "__main__":
    main()
"""


@cache
def collector_source() -> str:
    """The collector as the text of one Python file."""
    order: list[str] = []
    for root in _ROOTS:
        _visit(root, order)
    # ASCII only, so that even Python 2 reads as far as the sentence that refuses it.
    modules = ",\n".join(f"    ({name!r}, {_lowered(name)!a})" for name in order)
    text = f"{_HEAD.format(version=__version__)}\nPRELUDE = {_PRELUDE!r}\nMODULES = (\n{modules},\n)\n{_TAIL}"
    ast.parse(text, feature_version=_OLDEST)
    return text


def _visit(name: str, order: list[str], above: tuple[str, ...] = ()) -> None:
    """Put a module behind those that it imports."""
    if name in order or name in above:
        return
    for node in _tree(name).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("labkit"):
            for alias in node.names:
                _visit(_home(str(node.module), alias.name), order, (*above, name))
    order.append(name)


@cache
def _source(name: str) -> str | None:
    parts = PurePosixPath(*name.split(".")[1:])
    for path in (f"{parts}.py", f"{parts}/__init__.py"):
        found = files("labkit").joinpath(path)
        if found.is_file():
            return found.read_text(encoding="utf-8")
    return None


def _tree(name: str) -> ast.Module:
    text = _source(name)
    assert text is not None, name
    return ast.parse(text)


def _home(module: str, name: str) -> str:
    """The module that defines what is imported from a package's front."""
    if _source(f"{module}.{name}") is not None:
        return f"{module}.{name}"
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return str(node.module)
    return module


def _lowered(name: str) -> str:
    """A module's source, such that the oldest Python runs it."""
    tree = ast.fix_missing_locations(_Lower().visit(_tree(name)))
    text = ast.unparse(tree)
    ast.parse(text, feature_version=_OLDEST)
    return text


class _Lower(ast.NodeTransformer):
    """Rewrites what Python 3.8 does not have; annotations stay as they are, since nobody evaluates them."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.generic_visit(node)
        names = ("StrEnum", "union", "union_in_place", *sorted(_METHODS))
        prelude = ast.ImportFrom("labkit_prelude", [ast.alias(n, f"_lower_{n}") for n in names], 0)
        at = next(
            (i for i, item in enumerate(node.body, 1) if getattr(item, "module", "") == "__future__"), 0
        )
        node.body.insert(at, prelude)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.ImportFrom]:
        if node.module == "enum" and any(alias.name == "StrEnum" for alias in node.names):
            rest = [alias for alias in node.names if alias.name != "StrEnum"]
            found = [ast.ImportFrom("labkit_prelude", [ast.alias("StrEnum")], 0)]
            return [*found, ast.ImportFrom("enum", rest, 0)] if rest else found
        if (node.module or "").startswith("labkit"):
            return [ast.ImportFrom(_home(str(node.module), alias.name), [alias], 0) for alias in node.names]
        return [node]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        returns, node.returns = node.returns, None
        self.generic_visit(node)
        node.returns = returns
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        return _call("union", node.left, node.right) if isinstance(node.op, ast.BitOr) else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        self.generic_visit(node)
        if not isinstance(node.op, ast.BitOr):
            return node
        old = ast.parse(ast.unparse(node.target), mode="eval").body
        return ast.Assign([node.target], _call("union_in_place", old, node.value))

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        plain = isinstance(node.value, ast.Name) and node.value.id in _GENERICS
        return node.value if plain and isinstance(node.ctx, ast.Load) else node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
            return _call(node.func.attr, node.func.value, *node.args)
        if isinstance(node.func, ast.Name) and node.func.id == "zip":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "strict"]
        return node


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(f"_lower_{name}", ast.Load()), list(arguments), [])
