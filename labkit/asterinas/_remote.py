"""A file on a web server, read in parts: only what is asked for is downloaded, each part once.

Parts lie in a folder until the file has been used, so that a download that broke off goes on where it was.
"""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import requests

from labkit.download import PROXY, PROXY_PASSWORD, asks_for_a_password, proxy_of
from labkit.errors import DataError, MissingComponent, StorageError, UsageError
from labkit.files import write_whole
from labkit.show import one_line

Progress = Callable[[str], None]

PART = 1 << 18
"""Bytes of a part: a table of a squashfs takes a few, and a request costs a round trip."""

_TRIES = 4
_CONNECT, _SILENCE = 20.0, 60.0
_TELL_SECONDS = 3.0
_LATER = "Try again later: what has come is kept."
_BY_HAND = "Download the file by other means, then run `labkit asterinas fetch --iso FILE`."


class RemoteFile(io.RawIOBase):
    """A file behind ``url``, seekable. Use it as a context manager; ``forget`` removes its parts."""

    def __init__(self, url: str, folder: Path, on_progress: Progress) -> None:
        """Ask the server for the first part.

        Raises:
            UsageError: it is not a web address.
            MissingComponent: no network, no such file, or a server that hands out whole files only.
            StorageError: ``folder`` cannot be written.
        """
        self._session = requests.Session()  # first: what is refused is closed as well
        _check(url)
        self.url = url
        self.fetched = 0
        self._folder = folder
        self._on_progress = on_progress
        self._told = time.monotonic()
        self._at = 0
        self._size, self._mark = 0, ""
        try:
            first = self._ask(0)
            self._start(first)
        except BaseException:
            self._session.close()
            raise

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self._size

    def seekable(self) -> bool:
        """Any place can be read."""
        return True

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is downloaded."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Read, downloading the parts that have not come yet.

        Raises:
            MissingComponent: the server does not answer any more.
            DataError: the file changed on the server.
        """
        end = self._size if size is None or size < 0 else min(self._size, self._at + size)
        pieces = []
        while self._at < end:
            number, offset = divmod(self._at, PART)
            piece = self._part(number)[offset : offset + end - self._at]
            pieces.append(piece)
            self._at += len(piece)
        return b"".join(pieces)

    def forget(self) -> None:
        """Remove the parts: what they were for is done, or cannot be."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """End the connection; the parts stay."""
        self._session.close()
        super().close()

    def _start(self, data: bytes) -> None:
        mark = self._folder / "mark"
        try:
            kept = mark.read_text() if mark.exists() else None
            if kept is not None and kept != self._mark:
                self._on_progress(
                    "the file on the server is another one than before: its parts are fetched anew"
                )
                self.forget()
            elif kept:
                have = sum(path.stat().st_size for path in self._folder.glob("part-*"))
                self._on_progress(f"going on with {have / 1e6:.1f} MB that came before")
            self._folder.mkdir(parents=True, exist_ok=True)
            mark.write_text(self._mark)
        except OSError as error:
            raise _no_storage(self._folder, error) from error
        self._keep(0, data)

    def _part(self, number: int) -> bytes:
        path = self._folder / f"part-{number}"
        size = min(PART, self._size - number * PART)
        if path.exists() and path.stat().st_size == size:
            return path.read_bytes()
        data = self._ask(number)
        self._keep(number, data)
        return data

    def _keep(self, number: int, data: bytes) -> None:
        path = self._folder / f"part-{number}"
        try:
            write_whole(path, data)
        except OSError as error:
            raise _no_storage(self._folder, error) from error
        self.fetched += len(data)
        self._tell()

    def _tell(self, more: int = 0) -> None:
        if time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            self._on_progress(f"  {(self.fetched + more) / 1e6:.1f} MB fetched")

    def _ask(self, number: int) -> bytes:
        """One part from the server, tried a few times."""
        for attempt in range(_TRIES):
            try:
                return self._request(number)
            except (
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
            ) as error:
                if attempt == _TRIES - 1 or not self._mark:
                    raise self._silent(error) from error
                self._on_progress(f"  the connection broke off; trying again ({attempt + 1} of {_TRIES - 1})")
            except requests.TooManyRedirects as error:
                raise MissingComponent(
                    f"The server of {self.url} sends from one address to the next.", _BY_HAND
                ) from error
            except (requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema) as error:
                raise self._unspoken(error) from error
            except (requests.RequestException, ValueError) as error:
                if proxy := proxy_of(self.url):
                    raise MissingComponent(
                        f"The proxy's address {proxy} is wrong, or its answer for {self.url} makes no sense.",
                        PROXY,
                    ) from error
                raise MissingComponent(
                    f"{self.url} cannot be fetched: the server's answer makes no sense.", _BY_HAND
                ) from error
        raise AssertionError

    def _request(self, number: int) -> bytes:
        begin = number * PART
        end = begin + PART if not self._size else min(self._size, begin + PART)
        # An encoded answer has other bytes than the file.
        headers = {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        with self._session.get(
            self.url, headers=headers, stream=True, timeout=(_CONNECT, _SILENCE)
        ) as answer:
            found = re.fullmatch(
                r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", answer.headers.get("Content-Range", "")
            )
            if answer.status_code == 200:
                raise self._whole(answer.headers)
            if answer.status_code != 206:
                raise self._refused(answer.status_code)
            if found is None:
                raise MissingComponent(
                    f"The server of {self.url} does not say which part of the file it hands out.", _BY_HAND
                )
            first, last, total = (int(word) for word in found.groups())
            mark = f"{total} {answer.headers.get('ETag') or answer.headers.get('Last-Modified') or ''}"
            if self._mark and mark != self._mark:
                raise DataError(f"{self.url} changed while it was read.", "Run the command again.")
            if first != begin or last != min(end, total) - 1:
                raise MissingComponent(
                    f"The server of {self.url} hands out other parts than it is asked for.", _BY_HAND
                )
            data = self._body(answer, last - first + 1)
        self._size, self._mark = total, mark
        return data

    def _body(self, answer: requests.Response, size: int) -> bytes:
        data = bytearray()
        for piece in answer.iter_content(1 << 14):
            data += piece
            if len(data) >= size:
                break
            self._tell(len(data))
        if len(data) < size:
            raise requests.exceptions.ChunkedEncodingError("cut off")
        return bytes(data[:size])

    def _whole(self, headers: Mapping[str, str]) -> MissingComponent:
        if headers.get("Content-Type", "").startswith("text/html"):
            return MissingComponent(f"{self.url} is a web page, no file.", "Name the file itself.")
        length = headers.get("Content-Length", "")
        size = f", {int(length) / 1e6:.0f} MB" if length.isdecimal() else ""
        return MissingComponent(f"The server of {self.url} hands out the whole file only{size}.", _BY_HAND)

    def _refused(self, status: int) -> MissingComponent:
        if status in (404, 410):
            return MissingComponent(
                f"There is no {self.url}.",
                "Look up the file among the project's releases, then name it with --iso.",
            )
        said, remedy = _STATUS.get(status, ("refuses it", _BY_HAND))
        if status >= 500:
            said, remedy = "cannot hand it out now", _LATER
        return MissingComponent(f"The server of {self.url} {said} (HTTP status {status}).", remedy)

    def _unspoken(self, error: Exception) -> MissingComponent:
        """A proxy, or the address that the server sends on to, that is reached by other means than HTTP."""
        if isinstance(error, requests.exceptions.InvalidProxyURL) or "SOCKS" in str(error):
            return MissingComponent(
                f"The proxy that this machine is set to use for {self.url} speaks no HTTP.", PROXY
            )
        return MissingComponent(
            f"The server of {self.url} sends on to an address that is not of the web.", _BY_HAND
        )

    def _silent(self, error: Exception) -> MissingComponent:
        kept = f"{self.fetched / 1e6:.1f} MB are kept, and the same command goes on from there."
        if self._mark:
            return MissingComponent(f"The server of {self.url} does not answer any more.", kept)
        if isinstance(error, requests.exceptions.SSLError):
            return MissingComponent(
                f"The server of {self.url} has a certificate that this machine does not accept.",
                "Behind a proxy that opens TLS, set REQUESTS_CA_BUNDLE to its certificate.",
            )
        if isinstance(error, requests.exceptions.ProxyError) and asks_for_a_password(str(error)):
            return self._refused(407)
        if isinstance(error, requests.exceptions.ProxyError):
            return MissingComponent(
                f"The proxy that this machine is set to use does not reach {self.url}.",
                f"{PROXY} Or give a file: `labkit asterinas fetch --iso FILE`.",
            )
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            return MissingComponent(f"The server of {self.url} hands out less than it says.", _BY_HAND)
        if proxy := proxy_of(self.url):
            return MissingComponent(
                f"The server of {self.url} does not answer through the proxy {proxy}.",
                f"{PROXY} Or give a file: `labkit asterinas fetch --iso FILE`.",
            )
        return MissingComponent(
            f"The server of {self.url} does not answer.",
            "Check the network connection, or give a file: `labkit asterinas fetch --iso FILE`.",
        )


_STATUS = {
    401: ("asks for a name and a password", "Put them into ~/.netrc, or download the file by other means."),
    403: ("does not let this machine have it", _BY_HAND),
    407: ("is behind a proxy that asks for a password", PROXY_PASSWORD),
    416: ("says that the file is empty or shorter than it was", "Run the command again."),
    429: ("was asked too often", "Wait some minutes, then run the same command: what has come is kept."),
}


def _check(url: str) -> None:
    """Refuse what is no address of a file on the web.

    Raises:
        UsageError: it is none, or it holds a password.
    """
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").encode("idna"), parts.port
    except ValueError:  # UnicodeError too
        host, parts = b"", urlsplit("")
    if parts.password:
        raise UsageError(
            f"The address of a file on {parts.hostname} has a password in it, which labkit would keep.",
            "Put name and password into ~/.netrc.",
        )
    if not host or not re.match(r"https?://[^/\s]+/\S+$", url):
        raise UsageError(
            f"{one_line(url, 200)} is not a web address of a file.", "Give one that begins with https://."
        )


def _no_storage(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"The cache {folder} cannot be written: {error.strerror}.",
        "Free some space, or set LABKIT_CACHE_DIR to a folder that you may write to.",
    )
