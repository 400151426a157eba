"""The engine, the images and the source trees of the tests of the documented flow; each made once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labkit.container.engine import Engine, connect, find_engine
from labkit.container.image import ImageStore
from labkit.container.toolbox import build_toolbox
from labkit.errors import LabkitError
from tests.container.engines import NoEngine, environ, own_engine, pulled_or_made

CONTRACT = Path(__file__).parents[1] / "contract/asterinas"
BASE = "labkit-test-base:trixie"
IMAGE = "labkit-test-contract:1"


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine that answers, else one that is started for this session."""
    found = find_engine()
    if found.answers:
        yield found
        return
    # A Unix socket's path is short: not below pytest's own folder.
    folder = Path("/tmp") / f"labkit-test-engine-{os.getpid()}"
    folder.mkdir()
    try:
        with own_engine(folder) as own:
            yield own.engine
    except NoEngine as error:
        pytest.skip(f"no container engine: {found.detail}, and {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def docker_environ(engine: Engine) -> Iterator[None]:
    """This process and what it starts find the engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", environ(engine)["DOCKER_HOST"])
        yield


@pytest.fixture(scope="session")
def base_image(engine: Engine, docker_environ: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Debian 13."""
    client = connect(engine)
    try:
        if not client.images.list(name=BASE):
            pulled_or_made(tmp_path_factory.mktemp("base"), engine, BASE)
    except NoEngine as error:
        pytest.skip(str(error))
    finally:
        client.close()
    return BASE


@pytest.fixture(scope="session")
def qemu_image(base_image: str) -> str:
    """The lower half of the toolbox: a QEMU that knows TDX, TDVF, swtpm."""
    said: list[str] = []
    try:
        return build_toolbox(said.append, base_image, target="qemu").tag
    except LabkitError as error:
        pytest.skip(f"the toolbox image cannot be built: {error}")


@pytest.fixture(scope="session")
def contract_image(engine: Engine, qemu_image: str) -> str:
    """The stand-in for the development image: tests/contract/asterinas says what it is."""
    client = connect(engine, timeout=600)
    try:
        context = {"Dockerfile": (CONTRACT / "Dockerfile").read_bytes()}
        ImageStore(client, engine).build(context, IMAGE, arguments={"BASE": qemu_image})
    finally:
        client.close()
    return IMAGE


def contract_tree(folder: Path, version: str) -> Path:
    """The stand-in's source tree of one version."""
    tree = folder / f"tree-{version}"
    shutil.copytree(CONTRACT / "source", tree)
    for makefile in tree.glob("Makefile.*"):
        makefile.unlink()
    shutil.copyfile(CONTRACT / f"source/Makefile.{version}", tree / "Makefile")
    (tree / "VERSION").write_text(f"{version}\n")
    return tree


@dataclass(frozen=True)
class Ran:
    """What ``labkit asterinas run`` did."""

    status: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """Its JSON document."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document


class Flow:
    """Runs the verb on the contract image, as a user does, in source trees of its own."""

    def __init__(self, image: str, folder: Path) -> None:
        self.image = image
        self.folder = folder

    def __call__(
        self, *words: str, version: str = "0.18.1", fault: str = "", stdin: str = "", as_json: bool = True
    ) -> Ran:
        done = subprocess.run(
            [*self.argv(*words, version=version, fault=fault), *(["--json"] if as_json else [])],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=170,
            env=self.environ,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    @property
    def environ(self) -> dict[str, str]:
        """Where its records go."""
        return {**os.environ, "LABKIT_STATE_DIR": str(self.folder / "state")}

    def argv(self, *words: str, version: str = "0.18.1", fault: str = "") -> list[str]:
        """The command line of one run, in a tree of its own."""
        tree = contract_tree(Path(tempfile.mkdtemp(dir=self.folder)), version)
        argv = [sys.executable, "-m", "labkit", "asterinas", "run", "--source", str(tree)]
        argv += ["--image", self.image, "--profile", version, *words]
        return [*argv, "--make", f"CONTRACT_FAULT={fault}"] if fault else argv


@pytest.fixture(scope="session")
def flow(contract_image: str, tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """The verb on the contract image."""
    return Flow(contract_image, tmp_path_factory.mktemp("flow"))
