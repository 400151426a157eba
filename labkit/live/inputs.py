"""What a live page is made of besides labkit: packages of the npm registry, pinned by version and hash.

They are fetched once and kept in the cache; a site is built from there without a network.
"""

from __future__ import annotations

import base64
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labkit.download import Pin, download
from labkit.errors import DataError, MissingComponent, StorageError

_LARGEST = 64 << 20
_REGISTRY = "https://registry.npmjs.org"


@dataclass(frozen=True)
class NpmInput:
    """One package: its address in the registry, the SHA-512 of its archive, and the files that are used.

    folder: where the files go below ``live/`` of a site. source: where its source can be had.
    """

    name: str
    version: str
    sha512: str
    files: tuple[str, ...]
    folder: str
    licence: str
    source: str

    @property
    def path(self) -> str:
        """The archive's path in the registry."""
        return f"{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"

    @property
    def pin(self) -> Pin:
        """What the archive must be."""
        return Pin("sha512", base64.b64decode(self.sha512).hex(), _LARGEST)


INPUTS = (
    NpmInput(
        "pyodide",
        "314.0.7",
        "0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A==",
        (
            "pyodide.mjs",
            "pyodide.asm.mjs",
            "pyodide.asm.wasm",
            "python_stdlib.zip",
            "pyodide-lock.json",
        ),
        "pyodide",
        "MPL-2.0",
        "https://github.com/pyodide/pyodide",
    ),
    NpmInput(
        "@noble/ciphers",
        "2.4.0",
        "AnjFn0Jv92laAkvMrghlFZq4qQCIN/4DxFV/eooqtC2YTjB7kBeLMS2T9KJX4Dn+ZVXLOwK0lSgqDtx9gvxtiw==",
        ("aes.js", "utils.js", "_polyval.js", "LICENSE"),
        "noble",
        "MIT",
        "https://github.com/paulmillr/noble-ciphers",
    ),
    NpmInput(
        "dompurify",
        "3.4.18",
        "ofe3wI/uNm68HInABYFJYqQxRw1EaKAjNdrFVKqjUY+UZurvNd2L/HuQe097s/4RivWiZyP6tT7aoT8atjfhwg==",
        ("dist/purify.es.mjs", "LICENSE"),
        "dompurify",
        "Apache-2.0 or MPL-2.0",
        "https://github.com/cure53/DOMPurify",
    ),
)


def fetch_inputs(cache: Path, on_progress: Callable[[str], None] = lambda text: None) -> dict[str, Path]:
    """The archives by package name, fetched into ``cache`` where they are not there yet.

    Raises:
        MissingComponent: one is not there, and no registry answers.
        DataError: what a registry sent is not the pinned archive.
        StorageError: the cache cannot be written.
    """
    found = {}
    for wanted in INPUTS:
        path = cache / f"{wanted.folder}-{wanted.version}.tgz"
        if not wanted.pin.fits(path):
            on_progress(f"fetching {wanted.name} {wanted.version}")
            _fetch(wanted, path)
        found[wanted.name] = path
    return found


def unpack(wanted: NpmInput, archive: Path, target: Path) -> None:
    """Put the files that are used into ``target``.

    Raises:
        DataError: the archive lacks one.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for name in wanted.files:
            try:
                member = tar.extractfile(f"package/{name}")
            except KeyError:
                member = None
            if member is None:
                raise DataError(f"{archive.name} has no {name}.", "Remove it, and run this again.")
            with member, (target / Path(name).name).open("wb") as file:
                shutil.copyfileobj(member, file)


def licences() -> str:
    """Whose work the pages hold, under which licence, and where its source can be had."""
    lines = [f"{one.name} {one.version}: {one.licence}. Source: {one.source}" for one in INPUTS]
    return "\n".join(
        [
            "What runs in these pages, besides labkit itself (Apache-2.0):",
            "",
            *lines,
            "CPython, in pyodide: PSF-2.0, see python-licence.txt. Source: https://github.com/python/cpython",
            "Python packages in python.zip: their licences are in its folder licences/.",
            "",
            "Licences that come with a package stand in its folder. The text of MPL-2.0: https://mozilla.org/MPL/2.0/",
            "",
        ]
    )


def _fetch(wanted: NpmInput, path: Path) -> None:
    registry = os.environ.get("NPM_CONFIG_REGISTRY", _REGISTRY).rstrip("/")
    if not registry.startswith("https://"):
        registry = _REGISTRY
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download(f"{registry}/{wanted.path}", wanted.pin, path)
    except MissingComponent as error:
        raise MissingComponent(
            f"{wanted.name} {wanted.version} is not in the cache, and the npm registry does not answer.",
            "Check the network connection, and run this again; a site without --live needs none.",
        ) from error
    except DataError as error:
        raise DataError(
            f"What the npm registry sent is not {wanted.name} {wanted.version} as labkit pins it.",
            "Check who serves your packages, then run this again.",
        ) from error
    except OSError as error:
        raise StorageError(
            f"{path.parent} cannot be written: {error.strerror}.",
            "Set LABKIT_CACHE_DIR to a folder that can.",
        ) from error
