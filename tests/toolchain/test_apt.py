"""What apt fetches, by the real apt and a repository made here."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from labkit.toolchain.apt import Apt

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="there is no apt-get here")


def repository(folder: Path, package: str, version: str) -> Path:
    """A ``sources.list`` that offers an empty package, whatever is on this system."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = (
        f"Package: {package}\nVersion: {version}\nArchitecture: all\nMaintainer: a test\nDescription: none\n"
    )
    (tree / "DEBIAN" / "control").write_text(control)
    served = folder / "served"
    served.mkdir()
    subprocess.run(["dpkg-deb", "--build", tree, served / f"{package}.deb"], check=True, capture_output=True)
    data = (served / f"{package}.deb").read_bytes()
    (served / "Packages").write_text(
        f"{control}Filename: ./{package}.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    )
    sources = folder / "sources.list"
    sources.write_text(f"deb [trusted=yes] file:{served} ./\n")
    return sources


def test_what_the_sources_offer_is_fetched_though_a_newer_one_is_installed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    apt = Apt(state, lambda text: None, repository(tmp_path, "dpkg", "0.1"))
    apt.update()
    (fetched,) = apt.fetch_alone(("dpkg",))
    said = subprocess.run(["dpkg-deb", "--field", fetched, "Version"], capture_output=True, text=True)
    assert said.stdout == "0.1\n"
