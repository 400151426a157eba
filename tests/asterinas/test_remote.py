"""A web server that does not do what was asked of it: each fault has a sentence of ours."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from labkit.asterinas.fetch import fetch_image
from labkit.errors import LabkitError
from labkit.settings import Settings

Answer = tuple[int, dict[str, str], bytes]
SIZE = 1 << 20


def part(**changed: str) -> Answer:
    """The first part of a file, with some of its headers changed."""
    headers = {"Content-Range": f"bytes 0-262143/{SIZE}", "ETag": '"1"'} | {
        name.replace("_", "-"): value for name, value in changed.items()
    }
    return 206, headers, bytes(262144)


@contextlib.contextmanager
def server(answer: Callable[[str], Answer]) -> Iterator[str]:
    """A server on this machine whose answer to a path is given."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def do_CONNECT(self) -> None:
            self.do_GET()

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


def refused(tmp_path: Path, url: str) -> LabkitError:
    with pytest.raises(LabkitError) as caught:
        fetch_image(Settings(cache_dir=tmp_path / "cache", state_dir=tmp_path / "state"), iso=url)
    assert caught.value.remedy
    return caught.value


FAULTS: dict[str, tuple[Answer, str]] = {
    "401": ((401, {}, b""), "name and a password"),
    "403": ((403, {}, b""), "does not let this machine"),
    "407": ((407, {}, b""), "proxy that asks for a password"),
    "410": ((410, {}, b""), "There is no http"),
    "416": ((416, {"Content-Range": "bytes */0"}, b""), "empty or shorter"),
    "429": ((429, {}, b""), "asked too often"),
    "500": ((500, {}, b""), "cannot hand it out now"),
    "502": ((502, {}, b""), "cannot hand it out now"),
    "a circle": ((302, {"Location": "/f.iso"}, b""), "from one address to the next"),
    "no address of the web": ((302, {"Location": "ftp://x/y"}, b""), "not of the web"),
    "no address": ((302, {"Location": "http://[::1/y"}, b""), "makes no sense"),
    "no size": (part(Content_Range="bytes 0-262143/*"), "does not say which part"),
    "no number": (part(Content_Range="bytes 0-262143/" + "9" * 5000), "does not say which part"),
    "no range": ((206, {}, bytes(100)), "does not say which part"),
    "several parts": ((206, {"Content-Type": "multipart/byteranges; boundary=x"}, b"--x"), "which part"),
    "another part": (part(Content_Range=f"bytes 1-262144/{SIZE}"), "other parts"),
    "too short": ((206, part()[1], b"short"), "less than it says"),
    "cut off": ((206, part()[1] | {"Content-Length": "262144"}, b"short"), "less than it says"),
    "no gzip": (part(Content_Encoding="gzip"), "makes no sense"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_answer_is_named(tmp_path: Path, fault: str) -> None:
    answer, words = FAULTS[fault]
    with server(lambda path: answer) as url:
        assert words in str(refused(tmp_path, f"{url}/f.iso"))


@pytest.mark.parametrize(
    "url", ["http://a..b/x", "http://[::1/x", "http://h:99999/x", "http://h:x/y", "ftp://h/x"]
)
def test_what_is_no_address_is_refused_before_it_is_asked(tmp_path: Path, url: str) -> None:
    error = refused(tmp_path, url)
    assert error.exit_code == 64
    assert "not a web address" in error.message


def test_a_password_in_an_address_is_not_taken_and_not_shown(tmp_path: Path) -> None:
    error = refused(tmp_path, "https://me:geheim@127.0.0.1:9/x.iso")
    assert ("geheim" in str(error), ".netrc" in error.remedy) == (False, True)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_asks_for_a_password_is_named(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(lambda path: (407, {}, b"")) as url:
        monkeypatch.setenv(f"{scheme}_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        error = refused(tmp_path, f"{scheme}://example.org/x.iso")
    assert "proxy that asks for a password" in error.message
    assert "NAME:PASSWORD" in error.remedy


def test_a_proxy_that_answers_garbage_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        place = f"127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", f"http://me:geheim@{place}/")
        monkeypatch.setenv("no_proxy", "")

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\0\xff garbage\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        error = refused(tmp_path, "http://example.org/x.iso")
        thread.join()
    assert f"through the proxy {place}." in error.message
    assert "geheim" not in str(error)


@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "no address", "http://[::1", "http://"]
)
def test_a_proxy_is_named_as_the_cause(tmp_path: Path, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    error = refused(tmp_path, "http://example.org/x.iso")
    assert "proxy" in error.message
    assert "http_proxy" in error.remedy
