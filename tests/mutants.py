"""How strong the tests are: ``./lab mutants [PACKAGE...]`` changes lines at random and runs the tests.

A mutant is one small change of one line: a comparison turned, a number off by one, a condition negated, an
operator or a constant exchanged, a ``raise``, ``continue`` or ``break`` taken away. It is killed when a test
fails. The sample is drawn by a fixed seed, at most one a line. Survivors are printed with their line and the
change, to be judged by a person: equivalent, only wording, or a missing test. Each mutant is tried in a copy
of the repository, so that a run that is cut short leaves nothing behind.

Which tests reach a statement is measured first, once a package, and only those are run. All are run for a
statement that is also reached outside of a test function: while a module is imported, by a fixture, in
another process. A survivor that none of them reaches is called unreached: only tests that boot, or those of
another package, may kill it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
from coverage import Coverage, CoverageData
from coverage.exceptions import CoverageException

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = (
    "console",
    "bootlog",
    "host",
    "measure",
    "attest",
    "kernel",
    "runs",
    "vm",
    "asterinas",
    "container",
    "tdx",
)
# What tests take most of their time to load, and no mutant is in.
_LIBRARIES = ("bs4", "click.testing", "cryptography.x509", "dcap_qvl", "docker", "hypothesis", "jsonschema")
# It ends what it finds in /proc: changed, it may end every process of the machine.
_NEVER_CHANGED = "_guard.py"
# A change that goes on for ever, or keeps all it reads, ends here.
_SECONDS = 60
_BYTES = 6 << 30
_QUICK = "not vm and not docker and not browser"
_COVERAGE = """[run]
source = labkit
data_file = {data}
dynamic_context = test_function
parallel = true
patch = subprocess
sigterm = true
"""
_COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult}


@dataclass(frozen=True)
class Mutant:
    """One change: the file, the line, and the line's expression before and after.

    ``statement`` has the first and the last line of the statement that is changed, without what stands in its
    blocks; ``called`` says that it is in a function, not run by an import.
    """

    path: Path
    line: int
    start: int
    end_line: int
    end: int
    before: str
    after: str
    statement: tuple[int, int]
    called: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before}  →  {self.after}"

    def apply(self, text: str) -> str:
        """The source with the change."""
        lines = text.splitlines(keepends=True)
        first = lines[self.line - 1].encode()
        last = lines[self.end_line - 1].encode()
        new = first[: self.start] + self.after.encode() + last[self.end :]
        return "".join([*lines[: self.line - 1], new.decode(), *lines[self.end_line :]])


def _changed(node: ast.AST) -> str | None:
    """The source of a changed node; None where there is nothing to change."""
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARISONS:
            return ast.unparse(ast.Compare(left, [_COMPARISONS[type(operator)]()], [right]))
        case ast.BoolOp(op=operator, values=values):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            return f"({ast.unparse(ast.BoolOp(other, values))})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"({ast.unparse(operand)})"
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
            if not isinstance(left, ast.JoinedStr) and not isinstance(right, ast.JoinedStr):
                return f"({ast.unparse(ast.BinOp(left, _ARITHMETIC[type(operator)](), right))})"
        case ast.Constant(value=bool() as value):
            return str(not value)
        case ast.Constant(value=int() as value):
            return str(value + 1)
        case ast.Raise() | ast.Continue() | ast.Break():
            return "pass"
    return None


@dataclass(frozen=True)
class _Place:
    """Where a node stands: see ``Mutant``."""

    statement: tuple[int, int] = (0, 0)
    called: bool = False

    def within(self, node: ast.AST, parent: ast.AST) -> _Place:
        """The place of a child."""
        if not isinstance(node, ast.stmt):
            return self
        called = self.called or isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef)
        body = getattr(node, "body", None)
        last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
        return _Place((node.lineno, last), called)


def _nodes(tree: ast.AST, place: _Place = _Place()) -> Iterator[tuple[ast.AST, _Place]]:
    """All nodes but those of annotations and docstrings, with their places."""
    for node in ast.iter_child_nodes(tree):
        inner = place.within(node, tree)
        if isinstance(node, ast.AnnAssign):
            if node.value:
                yield from _nodes(ast.Expression(node.value), inner)
            continue
        if isinstance(node, ast.arg) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        yield node, inner
        yield from _nodes(node, inner)


def mutants(path: Path) -> list[Mutant]:
    """Every change of a file that this module knows."""
    text = (REPOSITORY / path).read_text()
    found = []
    for node, where in _nodes(ast.parse(text)):
        after = _changed(node)
        if after is None or not hasattr(node, "lineno"):
            continue
        before = ast.get_source_segment(text, node) or ""
        assert isinstance(node, ast.expr | ast.stmt)
        if node.end_lineno and node.end_col_offset and before:
            place = (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
            found.append(Mutant(path, *place, " ".join(before.split()), after, where.statement, where.called))
    return found


def _modules(package: str) -> list[Path]:
    """A package's modules, or the one module of this name (``attest/appraisal``, ``process``)."""
    place = REPOSITORY / "labkit" / package
    return [module for module in [place.with_suffix(".py")] if module.is_file()] or sorted(place.glob("*.py"))


def _tests(package: str) -> list[str]:
    """The tests of a package, or of a module that is in none."""
    first = package.partition("/")[0]
    own = f"tests/{first}"
    return [own if (REPOSITORY / own).is_dir() else f"tests/test_{first}.py", "tests/test_values.py"]


def sample(package: str, count: int, seed: int) -> list[Mutant]:
    """``count`` mutants of a package, or of one module (``attest/appraisal``), at most one a line."""
    chance = random.Random(f"{seed} {package}")
    by_line: dict[tuple[Path, int], list[Mutant]] = {}
    for path in _modules(package):
        if path.name == _NEVER_CHANGED:
            continue
        for mutant in mutants(path.relative_to(REPOSITORY)):
            by_line.setdefault((mutant.path, mutant.line), []).append(mutant)
    lines = chance.sample(sorted(by_line), min(count, len(by_line)))
    return [chance.choice(by_line[line]) for line in lines]


class Trial:
    """The tests of one package, in a copy of the repository, and the lines that each of them reaches."""

    def __init__(self, copy: Path, tests: list[str]) -> None:
        self._copy = copy
        self._tests = tests
        self._reached: dict[str, dict[int, list[str]]] = {}
        self._seconds = 0

    def measure(self) -> bool:
        """See which tests reach which lines; False where a test fails without any change."""
        settings, data = self._copy / ".mutants.ini", self._copy / ".mutants.data"
        settings.write_text(_COVERAGE.format(data=data))
        began = time.monotonic()
        if not self._passes(self._tests, coverage=Coverage(config_file=str(settings))):
            return False
        self._seconds = _SECONDS + 2 * int(time.monotonic() - began)
        for part in sorted(self._copy.glob(f"{data.name}.*")):
            one = CoverageData(str(part))
            # A process that was killed may leave half a file.
            with contextlib.suppress(CoverageException):
                one.read()
            for name in one.measured_files():
                lines = self._reached.setdefault(name, {})
                for line, contexts in one.contexts_by_lineno(name).items():
                    lines.setdefault(line, []).extend(contexts)
            part.unlink(missing_ok=True)  # a process that ends late takes its own away
        return True

    def reaching(self, mutant: Mutant) -> set[str]:
        """The tests that reach the statement; "" for what is no test."""
        lines = self._reached.get(str(self._copy / mutant.path), {})
        first, last = mutant.statement
        contexts = {name for line in range(first, last + 1) for name in lines.get(line, ())}
        # Whoever imports a module first is not the only one who needs it.
        return contexts if mutant.called or not contexts else {""}

    def survives(self, mutant: Mutant) -> bool:
        """No test fails with the change, and none of them is run in vain."""
        path = self._copy / mutant.path
        contexts = self.reaching(mutant)
        original = path.read_text()
        path.write_text(mutant.apply(original))
        try:
            tests = sorted(filter(None, map(self._node, contexts)))
            passes = not tests or self._passes(tests, self._seconds)
            return passes and ("" not in contexts or self._passes(self._tests, self._seconds))
        finally:
            path.write_text(original)

    def _node(self, context: str) -> str | None:
        """``tests/measure/test_log.py::test_it`` of the name ``tests.measure.test_log.test_it``."""
        module, _, function = context.rpartition(".")
        path = Path(*module.split(".")).with_suffix(".py") if module else None
        return f"{path}::{function}" if path and (self._copy / path).is_file() else None

    def _passes(self, tests: list[str], seconds: int = 0, coverage: Coverage | None = None) -> bool:
        """Run tests in a process of their own, which has what they need of other projects already."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(seconds)
                resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
                status = self._run(tests, coverage)
            finally:
                os._exit(status)
        return os.waitpid(child, 0)[1] == 0

    def _run(self, tests: list[str], coverage: Coverage | None) -> int:
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(quiet, number)
        os.chdir(self._copy)
        os.environ.update(PYTHONPATH=str(self._copy), PYTHONDONTWRITEBYTECODE="1")
        sys.dont_write_bytecode = True
        sys.path[:] = [str(self._copy), *(place for place in sys.path if place not in ("", str(REPOSITORY)))]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "labkit")]:
            del sys.modules[name]
        if coverage is not None:
            coverage.start()
        options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:nbval", "-m", _QUICK]
        options += ["--hypothesis-profile", "mutants"]
        # A plugin that is loaded already cannot have its assertions rewritten, and need not.
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        status = int(pytest.main([*options, *tests]))
        if coverage is not None:
            coverage.stop()
            coverage.save()
        return status


def main() -> int:
    """Print the survivors and a row a package; 1 where a package is below nine in ten."""
    parser = argparse.ArgumentParser(prog="./lab mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "packages",
        nargs="*",
        metavar="PACKAGE",
        help=f"of labkit, or a module such as attest/appraisal; by default {', '.join(PACKAGES)}",
    )
    parser.add_argument("-n", type=int, default=30, dest="count", help="mutants of each package (default 30)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--tests", action="append", metavar="PATH", help="tests to run instead of the package's own"
    )
    given = parser.parse_args()
    if unknown := [name for name in given.packages if not _modules(name)]:
        parser.error(f"there is no package or module {', '.join(unknown)} in labkit/: name one without .py")
    status = 0
    sys.modules.setdefault("rfc3987_syntax", cast(ModuleType, None))  # see tests/conftest.py
    for name in _LIBRARIES:
        import_module(name)
    with tempfile.TemporaryDirectory(prefix="labkit-mutants-") as folder:
        copy = Path(folder) / "labkit-copy"
        ignored = shutil.ignore_patterns(
            ".venv", ".git", "runs", "site", "__pycache__", ".*_cache", ".hypothesis"
        )
        shutil.copytree(REPOSITORY, copy, ignore=ignored, symlinks=True)
        # Only the folder directly below the repository may be called runs.
        for package_folder in ("labkit/runs", "tests/runs"):
            shutil.copytree(REPOSITORY / package_folder, copy / package_folder, dirs_exist_ok=True)
        for package in given.packages or PACKAGES:
            tests = given.tests or _tests(package)
            drawn = sample(package, given.count, given.seed)
            trial = Trial(copy, tests)
            if not trial.measure():
                print(f"{package:12} its tests fail without any change", flush=True)
                status = 1
                continue
            alive = []
            for mutant in drawn:
                if trial.survives(mutant):
                    alive.append(mutant)
                    mark = "survives " if trial.reaching(mutant) else "unreached"
                    print(f"{mark} {mutant}", flush=True)
            killed = len(drawn) - len(alive)
            unreached = sum(not trial.reaching(mutant) for mutant in alive)
            print(f"{package:12} {killed} of {len(drawn)} killed, {unreached} unreached", flush=True)
            status |= killed < 0.9 * len(drawn)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
