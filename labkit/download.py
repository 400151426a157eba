"""The one way to download a whole file: bounded in size, checked against its hash, nothing half-fetched kept.

What is read in parts, and goes on where it broke off, is ``labkit.asterinas._remote``.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from labkit.errors import DataError, MissingComponent
from labkit.files import printable

PROXY = "Look at http_proxy, https_proxy and no_proxy in the environment."
PROXY_PASSWORD = "Put it into http_proxy and https_proxy: http://NAME:PASSWORD@HOST:PORT."
"""What to do about a proxy that does not do its part."""

_SECONDS = 60.0
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Pin:
    """What a downloaded file must be: its hash in hexadecimal, and no more than ``largest`` bytes."""

    algorithm: str
    digest: str
    largest: int

    def fits(self, path: Path) -> bool:
        """Whether the file has this hash."""
        if not path.is_file() or path.stat().st_size > self.largest:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest() == self.digest


def download(address: str, pin: Pin, target: Path) -> None:
    """Download into ``target``, which appears whole, or not at all; its folder must be there.

    Raises:
        MissingComponent: nobody answers at ``address``, or not with a file.
        DataError: what came is not the pinned file.
        OSError: ``target`` cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
        part = Path(folder) / "part"
        with part.open("wb") as file:
            for block in _blocks(address, pin.largest):
                file.write(block)
        if not pin.fits(part):
            raise DataError(
                f"What came from {address} is not the file that labkit pins.",
                "Check who serves your downloads, then run this again.",
            )
        part.replace(target)


def proxy_of(address: str) -> str | None:
    """Through which proxy the environment leads to an address, without its password; None for directly."""
    try:
        parts = urlsplit(address)
        direct = proxy_bypass(parts.hostname or "")
    except ValueError:
        return None
    named = getproxies_environment()
    proxy = named.get(parts.scheme) or named.get("all") or ""
    shown = re.sub(r"^[a-z0-9+]*://", "", proxy, flags=re.IGNORECASE).rpartition("@")[2].rstrip("/")
    return None if direct or not proxy else printable(shown)


def asks_for_a_password(said: str) -> bool:
    """Whether the words of a failure are those of a proxy that wants to know who asks."""
    return re.search(r"Proxy Authentication|(?<![:\d])407\b", said) is not None


def _blocks(address: str, largest: int) -> Iterator[bytes]:
    left = largest + 1
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            while left > 0 and (block := answer.read(min(_BLOCK, left))):
                left -= len(block)
                yield block
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it is the answer as well
        proxy = proxy_of(address)
        if proxy and asks_for_a_password(str(error)):
            raise MissingComponent(f"The proxy {proxy} asks for a password.", PROXY_PASSWORD) from error
        if proxy:
            raise MissingComponent(
                f"{address} does not answer with a file through the proxy {proxy}.", PROXY
            ) from error
        raise MissingComponent(
            f"{address} does not answer with a file.", "Check the network connection."
        ) from error
