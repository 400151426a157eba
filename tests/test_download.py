"""A download is whole and as pinned, or nothing of it is there."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from labkit.download import Pin, asks_for_a_password, download, proxy_of
from labkit.errors import DataError, LabkitError, MissingComponent

CONTENT = b"as pinned" * 20_000
PIN = Pin("sha256", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "there").write_bytes(CONTENT)
    (tmp_path / "mine").mkdir()
    return tmp_path


def test_what_fits_is_kept_whole(folder: Path) -> None:
    download((folder / "there").as_uri(), PIN, folder / "mine/file")
    assert (folder / "mine/file").read_bytes() == CONTENT
    assert PIN.fits(folder / "mine/file")
    assert [path.name for path in (folder / "mine").iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (CONTENT + b"x", DataError),
        (CONTENT[:-1], DataError),
        (b"y" * len(CONTENT), DataError),
        (None, MissingComponent),
    ],
    ids=["too long", "cut off", "another", "none"],
)
def test_of_what_does_not_fit_nothing_is_kept(
    folder: Path, content: bytes | None, error: type[LabkitError]
) -> None:
    (folder / "there").unlink()
    if content is not None:
        (folder / "there").write_bytes(content)
    with pytest.raises(error):
        download((folder / "there").as_uri(), PIN, folder / "mine/file")
    assert list((folder / "mine").iterdir()) == []
    assert not PIN.fits(folder / "mine/file")


@pytest.mark.parametrize(
    ("environ", "address", "proxy"),
    [
        ({}, "http://a.org/x", None),
        ({"http_proxy": "http://p:3128"}, "http://a.org/x", "p:3128"),
        ({"http_proxy": "http://p:3128"}, "https://a.org/x", None),
        ({"HTTPS_PROXY": "p:3128"}, "https://a.org/x", "p:3128"),
        ({"all_proxy": "socks5h://p:1080/"}, "https://a.org/x", "p:1080"),
        ({"http_proxy": "http://me:geh@im@p:3128"}, "http://a.org/x", "p:3128"),
        ({"http_proxy": "http://p", "no_proxy": "a.org"}, "http://b.a.org/x", None),
        ({"http_proxy": "http://p", "no_proxy": "*"}, "http://a.org/x", None),
        ({"http_proxy": "a\nb"}, "http://a.org/x", "a\\nb"),
        ({"http_proxy": "http://p"}, "http://[::1/x", None),
    ],
)
def test_the_proxy_of_an_address_is_named_without_its_password(
    environ: dict[str, str], address: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(address) == proxy


def test_a_proxy_that_does_not_answer_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(MissingComponent, match=r"through the proxy 127\.0\.0\.1:9\..*http_proxy"):
        download("http://example.org/x", PIN, folder / "mine/file")


class Stern(BaseHTTPRequestHandler):
    """A proxy that lets nobody through who has no password."""

    def do_GET(self) -> None:
        self.send_error(407)

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""


@pytest.fixture
def stern() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Stern) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def fresh_opener() -> Iterator[None]:
    """urllib asks once in the life of a process which proxy there is."""
    urllib.request.install_opener(None)
    yield
    urllib.request.install_opener(None)


def test_a_proxy_that_asks_for_a_password_is_named(
    folder: Path, stern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{stern}")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(MissingComponent, match=rf"^The proxy {stern} asks for a password\."):
        download("http://example.org/x", PIN, folder / "mine/file")
    assert list((folder / "mine").iterdir()) == []


@pytest.mark.parametrize(
    ("said", "asks"),
    [
        ("Tunnel connection failed: 407 Proxy Authentication Required", True),
        ("Err:1 http://deb/x  407  authentication needed", True),
        ("cannot connect to 127.0.0.1:407", False),
        ("port 14070", False),
    ],
)
def test_a_proxy_that_asks_for_a_password_is_known_by_its_words(said: str, asks: bool) -> None:
    assert asks_for_a_password(said) is asks
