"""Kernels of the archive: by hash, whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import MissingComponent
from labkit.settings import Settings
from labkit.toolchain.archive import BEFORE_CLAMP, ArchivedKernel, fetch_kernel
from labkit.toolchain.toolchain import modules_of


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ArchivedKernel]:
    """A folder laid out as the archive's, with a package that has a kernel and a module."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not there")
    root = tmp_path_factory.mktemp("archive")
    tree = root / "tree"
    for name in ("boot/vmlinuz-1-test", "lib/modules/1-test/kernel/a.ko"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"x")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
    )
    (root / "pool").mkdir()
    package = root / "pool/x.deb"
    subprocess.run(["dpkg-deb", "--build", tree, package], check=True, capture_output=True)
    data = package.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    return root, ArchivedKernel("1-test", "1", "pool/x.deb", len(data), sha256, "2026")


@pytest.fixture(scope="module")
def server(archive: tuple[Path, ArchivedKernel]) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(archive[0]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache", state_dir=tmp_path / "state")


def test_a_kernel_is_fetched_once_with_its_modules(
    archive: tuple[Path, ArchivedKernel], server: str, settings: Settings
) -> None:
    kernel = fetch_kernel(archive[1], settings, servers=[f"{server}/none", server])
    assert kernel.read_bytes() == b"x"
    modules = modules_of(kernel)
    assert modules is not None
    assert (modules / "kernel/a.ko").is_file()
    assert fetch_kernel(archive[1], settings, servers=[]) == kernel


CHANGES: tuple[dict[str, Any], ...] = ({"sha256": "0" * 64}, {"size": 10}, {"path": "pool/none.deb"})


@pytest.mark.parametrize("change", CHANGES, ids=["hash", "size", "path"])
def test_what_is_not_exactly_the_package_is_not_kept(
    archive: tuple[Path, ArchivedKernel], server: str, settings: Settings, change: dict[str, Any]
) -> None:
    with pytest.raises(MissingComponent, match="No server that answers"):
        fetch_kernel(replace(archive[1], **change), settings, servers=[server, "http://127.0.0.1:1"])
    assert list((settings.cache_dir / "kernels").iterdir()) == []


def test_the_kernel_before_the_fix_is_pinned_by_its_hash() -> None:
    assert BEFORE_CLAMP.sha256.startswith("efe19f60")
    assert BEFORE_CLAMP.path.endswith(f"{BEFORE_CLAMP.release}_{BEFORE_CLAMP.version}_amd64.deb")
