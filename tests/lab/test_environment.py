"""One environment, written down four times: pyproject.toml, requirements.lock, environment.yml, binder/."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from labkit.process import run
from labkit.settings import Settings
from labkit.toolchain import toolchain_inventory

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = (REPOSITORY / "requirements.lock").read_text()
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def _normal(requirement: str) -> str:
    """The normalised name of a requirement (PEP 503)."""
    name = re.match(r"[\w.-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def _locked() -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9.-]+)==(\S+)", LOCK, re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


def _direct() -> set[str]:
    return {_normal(item) for item in PROJECT["project"]["dependencies"]}


def test_every_direct_dependency_is_locked() -> None:
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = _direct() | {_normal(item) for extra in extras for item in extra}
    assert wanted <= _locked().keys()


def test_every_locked_package_has_a_hash() -> None:
    entries = re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", LOCK, flags=re.MULTILINE))
    assert len(entries) > 100
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_lock_names_no_server() -> None:
    assert re.findall(r"https?://|--(?:extra-)?index|--find-links|file:", LOCK) == []


def test_conda_and_binder_have_the_same_environment() -> None:
    canonical = (REPOSITORY / "environment.yml").read_bytes()
    assert (REPOSITORY / "binder/environment.yml").read_bytes() == canonical


def test_conda_pins_the_direct_dependencies_as_the_lock_does() -> None:
    document = YAML(typ="safe").load((REPOSITORY / "environment.yml").read_text())
    pins = next(item["pip"] for item in document["dependencies"] if isinstance(item, dict))
    pinned = {_normal(pin): pin.partition("==")[2] for pin in pins}
    # flit_core builds labkit itself in binder/postBuild.
    assert pinned.keys() == _direct() | {"flit-core"}
    assert {name for name, version in pinned.items() if version not in _locked()[name]} == set()
    (python,) = [item for item in document["dependencies"] if str(item).startswith("python=")]
    assert re.fullmatch(r"python=3\.1[1-4]", python)


def test_binder_gets_the_packages_that_setup_would_fetch(tmp_path: Path) -> None:
    components = toolchain_inventory(Settings(cache_dir=tmp_path, state_dir=tmp_path)).components
    wanted = {package for part in components for package in part.packages} - {"util-linux"}
    assert set((REPOSITORY / "binder/apt.txt").read_text().split()) == wanted


def test_binder_accepts_the_repository() -> None:
    repo2docker = Path(sys.executable).with_name("jupyter-repo2docker")
    if not repo2docker.exists():
        pytest.skip("repo2docker is not installed beside this Python")
    words = ("--no-build", "--debug", "--user-id", "1000", "--user-name", "jovyan", REPOSITORY)
    done = run([repo2docker, *words], env={**os.environ, "LC_ALL": "C.UTF-8"})
    said = (done.stdout + done.stderr).decode()
    assert done.ok, said
    assert "apt-get install --yes --no-install-recommends ovmf qemu-system-x86" in said
    assert '--file "binder/environment.yml"' in said
    assert "RUN ./binder/postBuild" in said
