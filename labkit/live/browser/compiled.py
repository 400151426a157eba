"""Byte code of the modules that a page has loaded, in an archive that is the library of later pages.

Pyodide's library is source, and to translate what it needs takes most of its start. Only this Python can make
its byte code; so it is made here, in small steps while nothing else is to be done.
"""

from __future__ import annotations

import importlib.util
import io
import marshal
import sys
import time
import zipfile
from pathlib import Path

_STEP = 0.05
_OURS = "site/"
"""Where an archive keeps what belongs below site-packages."""


class Compiler:
    """Makes one archive: the library as it was, with byte code for what is loaded of it and of ``site``.

    own: the archive that was unpacked into the folder ``site``, whose files a cell may have changed since.
    """

    def __init__(self, library: str, own: str, site: str) -> None:
        self._source, self._packages = zipfile.ZipFile(library), zipfile.ZipFile(own)
        self._made = io.BytesIO()
        self._archive = zipfile.ZipFile(self._made, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self._library = [name for name in self._source.namelist() if not name.startswith(_OURS)]
        files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
        self._loaded = {file.removeprefix(f"{library}/").removesuffix("c") for file in files}
        self._prefix, self._site = f"{library}/", Path(site)
        mine = {file.removeprefix(f"{site}/") for file in files}
        self._own = [name for name in self._packages.namelist() if name in mine]

    def step(self) -> bool:
        """Work for a twentieth of a second; whether all is done."""
        until = time.monotonic() + _STEP
        while self._library and time.monotonic() < until:
            name = self._library.pop()
            if name.endswith(".pyc"):
                continue
            data = self._source.read(name)
            self._archive.writestr(name, data)
            if name in self._loaded:
                self._archive.writestr(f"{name}c", _byte_code(data, f"{self._prefix}{name}"))
        while self._own and time.monotonic() < until:
            name = self._own.pop()
            cached = importlib.util.cache_from_source(name)
            self._archive.writestr(
                f"{_OURS}{cached}", _byte_code(self._packages.read(name), str(self._site / name))
            )
        return not self._library and not self._own

    def archive(self) -> bytes:
        """The archive, once."""
        self._archive.close()
        return self._made.getvalue()


def _byte_code(source: bytes, name: str) -> bytes:
    """A .pyc file that is taken without a look at its source (PEP 552): both come in one archive."""
    code = compile(source, name, "exec", dont_inherit=True)
    flags = (1).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(source) + marshal.dumps(code)


def unpack_own(library: str, site: str) -> None:
    """Put the byte code of site-packages where it is looked for."""
    with zipfile.ZipFile(library) as archive:
        for name in archive.namelist():
            if name.startswith(_OURS):
                target = Path(site) / name.removeprefix(_OURS)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
