"""The statement about a run: a canonical document that a quote binds, from the run directory alone.

Its digest is SHA-512 over a domain tag and the statement as JSON (keys sorted, no spaces, ASCII). The tag
keeps a digest of a run from ever being a digest of anything else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.errors import DataError
from labkit.files import FolderEntry, entries, printable, read_below
from labkit.runs.record import Run

FOLDER = "attestation"
"""Where the evidence lies below the run directory."""

STATEMENT = f"{FOLDER}/statement.json"
TAG = b"labkit attested run, version 1\0"

_REMEDY = "Take an untouched copy of the run."
_TIMES = ("papermill", "execution")


def make_statement(run: Run, boot: Mapping[str, Any], attested: int) -> dict[str, Any]:
    """What is said about a run: its chapters, versions, every file, the boot that vouches, and the time.

    boot: inputs and expected registers of the TDVM that is asked for the quote. attested: seconds since 1970.

    Raises:
        DataError: the directory holds what is not a regular file, or a notebook that does not parse.
    """
    return {
        "format": 1,
        "attested": attested,
        "status": run.status,
        "versions": dict(run.versions),
        "chapters": [
            {
                "name": chapter.name,
                "source_sha256": chapter.source_sha256,
                "parameters": chapter.parameters,
                "status": chapter.status,
                "notebook": chapter.output,
                "canonical_sha256": canonical_notebook(read_file(run.directory, chapter.output))
                if chapter.output
                else None,
                "results": list(chapter.results),
            }
            for chapter in run.chapters
        ],
        "boot": dict(boot),
        "files": digest_files(run.directory),
    }


def encode(statement: Mapping[str, Any]) -> bytes:
    """The one way to write a statement."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest(statement: bytes) -> bytes:
    """The 64 bytes of report data that stand for an encoded statement."""
    return hashlib.sha512(TAG + statement).digest()


def canonical_notebook(data: bytes) -> str:
    """SHA-256 of an executed notebook without times of execution.

    Sources, outputs, order, ids, tags and kernel all count; what papermill and Jupyter note about when
    something ran does not.

    Raises:
        DataError: this is not a notebook.
    """
    try:
        document = json.loads(data)
        document["metadata"] = _lasting(document["metadata"])
        for cell in document["cells"]:
            cell["metadata"] = _lasting(cell["metadata"])
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError("An executed notebook does not parse.", _REMEDY) from error
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def digest_files(directory: Path) -> dict[str, str]:
    """SHA-256 of every file of a run, by relative path; that of the evidence is made later.

    A folder that holds nothing is there as well, with a slash behind its name and no digest.

    Raises:
        DataError: there is a link, a socket or the like, or a file that cannot be read or is far too large.
    """
    found: dict[str, str] = {}
    for entry in entries(directory, skip=FOLDER):
        found |= digest_entry(directory, entry)
    return found


def digest_entry(directory: Path, entry: FolderEntry) -> dict[str, str]:
    """Name and SHA-256 of one thing below a run's directory, as ``digest_files`` has them.

    Raises:
        DataError: it is a link, a socket or the like, or a file that cannot be read or is far too large.
    """
    if entry.empty:
        return {f"{entry.name}/": ""}
    if entry.kind:
        raise DataError(f"{printable(entry.name)} is {entry.kind}, no regular file.", _REMEDY)
    return {entry.name: hashlib.sha256(read_file(directory, entry.name)).hexdigest()}


def read_file(directory: Path, relative: str) -> bytes:
    """The bytes of a regular file below a directory.

    Raises:
        DataError: it is missing, no regular file, or not to be read.
    """
    return read_below(directory, relative)


def _lasting(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in _TIMES}
