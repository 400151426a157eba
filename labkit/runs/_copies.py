"""What copies of a run's directory have: other programs' files, other names, line ends, a folder around."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from labkit.files import printable

_MOST_NEIGHBOURS = 1000
_MARK = b"\xef\xbb\xbf"


def spelled_otherwise(missing: str, added: Iterable[str]) -> str | None:
    """The added name that is the missing one but for capital letters, or for how accents are written."""
    return next((name for name in added if _folded(name) == _folded(missing)), None)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def copied_as_text(data: bytes, sha256: str) -> bool:
    """The data are those of this digest, but for line ends and a byte order mark."""
    bare = data.removeprefix(_MARK)
    unix = bare.replace(b"\r\n", b"\n")
    return any(hashlib.sha256(other).hexdigest() == sha256 for other in {bare, unix} - {data})


def where_instead(named: Path, wanted: str) -> str | None:
    """What to name instead of a directory that has no ``wanted``; None where nothing near has one.

    wanted: a file or folder that a directory of the kind has.
    """
    if named.is_file():
        if named.suffix.lower() in (".zip", ".tar", ".tgz", ".gz", ".xz", ".zst", ".7z"):
            return "Unpack it, and name the folder with the run."
        return f"Name the folder: {named.parent}." if (named.parent / wanted).exists() else None
    near = []
    with suppress(OSError):
        for number, inner in enumerate(named.iterdir()):
            if number == _MOST_NEIGHBOURS:
                return None
            if not inner.is_symlink() and (inner / wanted).exists():
                near.append(inner)
    return f"Name the folder in it: {named / printable(near[0].name)}." if len(near) == 1 else None
