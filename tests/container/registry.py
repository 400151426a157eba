"""A registry that serves one image over HTTP on this machine, by the OCI distribution specification."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextlib.contextmanager
def registry_of(image: Any) -> Iterator[str]:
    """Serve an image of the engine; its reference there. Engines take 127.0.0.1 without TLS."""
    archive = tarfile.open(fileobj=io.BytesIO(b"".join(image.save())))  # noqa: SIM115

    def member(name: str) -> bytes:
        found = archive.extractfile(name)
        assert found is not None
        return found.read()

    entry = json.loads(member("manifest.json"))[0]
    config = member(entry["Config"])
    layers = [gzip.compress(member(name), mtime=0) for name in entry["Layers"]]
    blobs = {_digest(data): data for data in (config, *layers)}
    kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    parts = [{"mediaType": kind, "size": len(data), "digest": _digest(data)} for data in layers]
    kind = "application/vnd.docker.container.image.v1+json"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": kind, "size": len(config), "digest": _digest(config)},
            "layers": parts,
        }
    ).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if self.path == "/v2/":
                self._answer(200, b"{}", "application/json")
            elif "/manifests/" in self.path and name in ("1", _digest(manifest)):
                self._answer(200, manifest, _MANIFEST)
            elif "/blobs/" in self.path and name in blobs:
                self._answer(200, blobs[name], "application/octet-stream")
            else:
                self._answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', "application/json")

        do_HEAD = do_GET  # noqa: N815

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", _digest(body))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}/tiny:1"
        finally:
            server.shutdown()
            thread.join()
            archive.close()
