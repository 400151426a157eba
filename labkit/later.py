"""What is loaded late, or never: most who import a package need the least of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, cast


def later(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of ``package`` (PEP 562): ``modules`` has the module of it for each name.

    A name that is its own module stands for the module itself.
    """

    def find(name: str) -> Any:
        if name in modules:
            module = import_module(f"{package}.{modules[name]}")
            return module if modules[name] == name else getattr(module, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


def spare_iri_grammar() -> None:
    """Have jsonschema go without its grammar of IRIs: 3 s of every start, and no notebook holds one.

    To be called before nbformat is loaded, and whatever loads that.
    """
    sys.modules.setdefault("rfc3987_syntax", cast(ModuleType, None))
