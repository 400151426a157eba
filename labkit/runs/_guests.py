"""Which chapters run with another guest than Linux: those that take the parameter ``guest``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labkit.errors import UsageError
from labkit.runs.source import NotebookSource
from labkit.settings import Settings

GUEST = "guest"
_LINUX = "linux"


def for_guest(
    sources: Sequence[NotebookSource], guest: Any
) -> tuple[tuple[NotebookSource, ...], tuple[str, ...]]:
    """The notebooks that boot this guest, and the names of those that cannot and are left out.

    guest: the value of the parameter; with None or Linux nothing is left out.

    Raises:
        UsageError: there is no such guest, or none of the notebooks takes one.
        MissingComponent: its kernel is not in the cache.
    """
    if guest in (None, _LINUX):
        return tuple(sources), ()
    from labkit.asterinas import KernelCache
    from labkit.asterinas.kept import parse_guest

    _, version = parse_guest(str(guest))
    booting = tuple(source for source in sources if GUEST in source.parameters)
    if not booting:
        names = ", ".join(source.name for source in sources)
        raise UsageError(
            f"{names} cannot run with another guest.", "Name a notebook that has the parameter guest."
        )
    KernelCache(Settings.load()).find(version)
    return booting, tuple(source.name for source in sources if GUEST not in source.parameters)
