"""An ISO of a release's layout, and a web server that hands it out well or badly. It holds no Asterinas."""

from __future__ import annotations

import io
import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pycdlib

SIGN = b"\nStand-in, no Asterinas. OSTD initialized. Preparing components.\n"


def stub(size: int = 1 << 20, sign: bytes = SIGN, seed: int = 7) -> bytes:
    """A file with the header of a bzImage with an EFI stub, and noise; it cannot boot."""
    data = bytearray(random.Random(seed).randbytes(size))
    data[:2], data[0x202:0x206] = b"MZ", b"HdrS"
    return bytes(data) + sign


def squashfs(
    folder: Path,
    kernel: bytes | None,
    *options: str,
    compression: str = "zstd",
    entry: str = "",
    packages: int = 5,
    twice: bool = False,
) -> bytes:
    """A NixOS store as squashfs: packages, a Linux, and the kernel as an entry of its own.

    options: more of mksquashfs. twice: the kernel has a second name.
    """
    noise = random.Random(3)
    store = folder / f"store-{compression}"
    for number in range(packages):
        package = store / f"{number:032x}-package-{number}"
        package.mkdir(parents=True)
        for file in range(8):
            (package / f"file-{file}").write_bytes(noise.randbytes(noise.choice((10, 5000, 40000))))
    (store / f"{61:032x}-linux-6.12").mkdir()
    (store / f"{61:032x}-linux-6.12/bzImage").write_bytes(stub(sign=b"Linux", seed=9))
    (store / f"{62:032x}-link").symlink_to("nowhere")
    if kernel is not None:
        path = store / (entry or f"{63:032x}-aster-kernel-osdk-bin")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(kernel)
        if twice:
            path.with_name(f"{path.name}-too").hardlink_to(path)
    image = folder / f"{compression}.squashfs"
    command: list[str | Path] = [
        "mksquashfs",
        store,
        image,
        "-comp",
        compression,
        "-all-root",
        "-noappend",
        "-quiet",
        "-no-progress",
        *options,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return image.read_bytes()


def iso(path: Path, files: dict[str, bytes]) -> Path:
    """An ISO 9660 image with Rock Ridge names; ``files`` by their names in the root."""
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, rock_ridge="1.09", vol_ident="NIXOS")
    image.add_directory("/BOOT", rr_name="boot")
    image.add_fp(io.BytesIO(b"x" * 5000), 5000, "/BOOT/README.;1", rr_name="readme")
    for number, (name, data) in enumerate(files.items()):
        image.add_fp(io.BytesIO(data), len(data), f"/FILE{number}.;1", rr_name=name)
    image.write(str(path))
    image.close()
    return path


class Server:
    """Serves one file. The attributes may be changed between requests."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ranges = True
        self.etag = '"1"'
        self.status: int | None = None
        self.page = False
        self.wrong = False
        self.cut_after: int | None = None
        self.requests = 0
        self.sent = 0


@contextmanager
def served(data: bytes) -> Iterator[tuple[str, Server]]:
    """The address of a file on a local server, and the server."""
    server = Server(data)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests += 1
            if server.status is not None:
                self.send_error(server.status)
                return
            begin, end, code = 0, len(server.data), 200
            if server.ranges and (asked := self.headers.get("Range")):
                first, last = asked.removeprefix("bytes=").split("-")
                begin, end, code = int(first), min(int(last) + 1, len(server.data)), 206
            self.send_response(code)
            if code == 206:
                shift = 1 if server.wrong else 0
                self.send_header(
                    "Content-Range", f"bytes {begin + shift}-{end - 1 + shift}/{len(server.data)}"
                )
            self.send_header("Content-Type", "text/html" if server.page else "application/octet-stream")
            self.send_header("Content-Length", str(end - begin))
            self.send_header("ETag", server.etag)
            self.end_headers()
            if server.cut_after is not None and server.requests > server.cut_after:
                self.wfile.write(server.data[begin : begin + 100])
                self.connection.close()
                return
            for at in range(begin, end, 1 << 16):
                part = server.data[at : min(end, at + (1 << 16))]
                self.wfile.write(part)
                server.sent += len(part)

        def log_message(self, *words: object) -> None:
            """Be quiet."""

        def handle(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError, ValueError):
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/asterinas-nixos-0.18.0-x86_64.iso", server
        finally:
            http.shutdown()
            thread.join()
