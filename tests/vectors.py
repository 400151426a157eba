"""Test vectors of other projects: ``./lab vectors [--from DIR]`` brings what ``vectors.csv`` names.

Quotes, event logs and kernel logs of third parties are not part of this project. The table names each by its
public source, commit, path and SHA-256, with the truth that is expected of it. A file is only kept when its
digest fits. Files that were normalised or put together from several cannot be fetched; a folder that has them
(``--from``) is searched by digest.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit.download import Pin, download
from labkit.errors import DataError, MissingComponent
from labkit.settings import Settings

TABLE = Path(__file__).with_name("vectors.csv")


@dataclass(frozen=True)
class Vector:
    """One row: where the file lies below the vectors' folder, and where it comes from."""

    file: str
    sha256: str
    bytes: int
    source: str
    commit: str
    path: str
    change: str
    truth: str

    @property
    def url(self) -> str | None:
        """Where the file can be fetched as it is; None where it was changed since."""
        if self.change != "unchanged":
            return None
        return f"https://raw.githubusercontent.com/{self.source}/{self.commit}/{self.path}"


def table() -> tuple[Vector, ...]:
    """All rows."""
    with TABLE.open(newline="") as file:
        return tuple(Vector(**{**row, "bytes": int(row["bytes"])}) for row in csv.DictReader(file))  # type: ignore[arg-type]


def folder() -> Path:
    """Where fetched vectors are kept."""
    return Settings.load().cache_dir / "vectors"


def _candidates(given: Path, vectors: tuple[Vector, ...]) -> Iterator[bytes]:
    sizes = {vector.bytes for vector in vectors}
    for path in sorted(given.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size in sizes:
            yield path.read_bytes()


def _from_folder(given: Path, vectors: tuple[Vector, ...]) -> dict[str, bytes]:
    by_digest = {hashlib.sha256(data).hexdigest(): data for data in _candidates(given, vectors)}
    return {vector.file: by_digest[vector.sha256] for vector in vectors if vector.sha256 in by_digest}


def _fetched(vectors: tuple[Vector, ...]) -> dict[str, bytes]:
    found = {}
    for vector in vectors:
        if vector.url is None:
            continue
        with tempfile.TemporaryDirectory() as work:
            part = Path(work) / "part"
            try:
                download(vector.url, Pin("sha256", vector.sha256, vector.bytes), part)
            except MissingComponent as error:
                print(f"{error.message} {error.remedy}", file=sys.stderr)
                break
            except DataError as error:
                print(f"{error.message} It is left out.", file=sys.stderr)
            else:
                found[vector.file] = part.read_bytes()
    return found


def main() -> int:
    """Bring what is missing; 0 when all is there, 1 when something is not, each named."""
    parser = argparse.ArgumentParser(
        prog="./lab vectors", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--from", dest="given", type=Path, metavar="DIR", help="take them out of a folder")
    given: Path | None = parser.parse_args().given
    if given is not None and not given.is_dir():
        parser.error(f"there is no folder {given}: name one that holds the files")
    vectors, target = table(), folder()
    wanted = tuple(one for one in vectors if not (target / one.file).exists())
    found = _from_folder(given, wanted) if given else _fetched(wanted)
    for name, data in found.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}")
        partial.write_bytes(data)
        partial.replace(path)
    missing = [one for one in vectors if not (target / one.file).exists()]
    for one in missing:
        print(f"missing: {one.file} ({one.source or 'no public source'}; {one.change})")
    print(f"{len(vectors) - len(missing)} of {len(vectors)} vectors are in {target}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
