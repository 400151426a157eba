"""Cells that run on the user's own machine: asked for once in a notebook, since it may come from anybody."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from labkit.errors import LabkitError, UsageError
from labkit.files import read_named
from labkit.later import spare_iri_grammar

ALLOW = "LABKIT_ALLOW_HOST"
"""Set to 1, cells may run on the host without being asked about, as ``labkit run --allow-host`` sets it."""

REFUSAL = "This cell would run on the host, outside of the TDVM, and nobody allowed it."

_QUESTION = (
    "This notebook wants to run cells (%%host) on your own machine, with your rights, not in the TDVM.\n"
    "Allow it for this notebook? [y/N] "
)
_SESSION = "JPY_SESSION_NAME"
_LARGEST = 64 << 20

Ask = Callable[[str, bool], "str | None"]
"""Asks the person in front of the notebook for a line; None where nobody answers."""


class HostPermission:
    """Whether the cells of one notebook may run on the host. It is asked once, and the answer is kept."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """environ: that of the kernel."""
        self._environ = environ
        self._answer: bool | None = None

    def require(self, code: str, ask: Ask | None) -> None:
        """Let a cell pass, or refuse it.

        Nobody is asked about cells of labkit's own notebooks, of a notebook that this user has signed
        (`jupyter trust`), or where the environment allows it.

        Raises:
            UsageError: it was not allowed, or there is nobody to ask.
        """
        if self._environ.get(ALLOW) == "1" or self._answer:
            return
        if code.strip() in own_cells() or _is_signed(self._environ.get(_SESSION, ""), code):
            return
        if self._answer is None and ask is not None:
            said = ask(_QUESTION, False)
            self._answer = None if said is None else said.strip().lower() in ("y", "yes")
        if not self._answer:
            raise UsageError(
                REFUSAL,
                "Read what it does. Then answer yes where JupyterLab asks, sign the notebook with "
                "`jupyter trust`, or run it with `labkit run --allow-host`.",
            )


@lru_cache(maxsize=1)
def own_cells() -> frozenset[str]:
    """The ``%%host`` cells of the notebooks of labkit's own repository; who runs it trusts them."""
    folder = Path(__file__).resolve().parents[2] / "notebooks"
    found: set[str] = set()
    for path in sorted(folder.glob("*.ipynb")) if folder.is_dir() else ():
        try:
            found |= set(_host_cells(json.loads(read_named(path, _LARGEST))))
        except (ValueError, LabkitError):
            continue
    return frozenset(found)


def _host_cells(document: object) -> list[str]:
    cells = document.get("cells") if isinstance(document, dict) else None
    sources = [cell.get("source") for cell in cells or () if isinstance(cell, dict)]
    texts = ["".join(map(str, text)) if isinstance(text, list) else str(text) for text in sources]
    return [text.strip() for text in texts if text.lstrip("\n").startswith("%%host")]


def _is_signed(session: str, code: str) -> bool:
    """The notebook of this kernel, as Jupyter names it, holds this very cell and is signed by the user."""
    path = Path(session)
    if not (session and path.is_file()):
        return False
    spare_iri_grammar()
    import nbformat
    from nbformat.sign import NotebookNotary

    try:
        document = json.loads(read_named(path, _LARGEST))
        if code.strip() not in _host_cells(document):
            return False
        notary = NotebookNotary()
        with contextlib.closing(notary.store):
            return bool(notary.check_signature(nbformat.from_dict(document)))
    except Exception:
        return False
