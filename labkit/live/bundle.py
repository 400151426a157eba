"""The Python that a page loads: labkit's modules and a few pure packages in one reproducible zip."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import labkit
from labkit.errors import DataError

PACKAGES = ("attest", "cli", "host", "learn", "measure", "show", "tdx")
"""Packages of labkit that need no machine."""

DISTRIBUTIONS = ("click", "pyasn1", "pyasn1_modules")
"""Pure Python, from the locked environment."""

_BROWSER = ("compiled.py", "lab.py", "runner.py", "shims.py")
_ASN1 = ("__init__", "rfc2459", "rfc3280", "rfc5280")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_COMPILED = (".so", ".pyd", ".dylib")


def write_bundle(path: Path) -> None:
    """Write the zip.

    Raises:
        DataError: a package is not there or has a compiled part.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, data in sorted({**dict(_own()), **dict(_others())}.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            file.writestr(entry, data)


def _own() -> Iterator[tuple[str, bytes]]:
    root = Path(labkit.__file__).parent
    for path in root.glob("*.py"):
        if path.name != "lab.py":
            yield f"labkit/{path.name}", path.read_bytes()
    for package in PACKAGES:
        for path in (root / package).rglob("*"):
            if path.suffix in (".py", ".csv", ".json") and "__pycache__" not in path.parts:
                yield f"labkit/{path.relative_to(root)}", path.read_bytes()
    for name in _BROWSER:
        yield f"labkit_browser/{name}", (root / "live/browser" / name).read_bytes()


def _others() -> Iterator[tuple[str, bytes]]:
    for name in DISTRIBUTIONS:
        try:
            files = metadata.distribution(name).files or []
        except metadata.PackageNotFoundError as error:
            raise DataError(
                f"The package {name} is not installed.", "Run `./lab`, which installs it."
            ) from error
        if compiled := [str(file) for file in files if file.suffix in _COMPILED]:
            raise DataError(
                f"The package {name} has a compiled part ({compiled[0]}) and runs in no browser.",
                "Install the versions of requirements.lock.",
            )
        for file in files:
            if file.suffix != ".py" or ".." in file.parts or file.parts[0].endswith((".dist-info", "bin")):
                continue
            if name == "pyasn1_modules" and file.stem not in _ASN1:
                continue
            yield str(file), file.read_binary()
        for file in files:
            if file.name.upper().startswith(("LICENSE", "LICENCE")):
                yield f"licences/{name}/{file.name}", file.read_binary()
