"""Fixtures for every test."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import hypothesis
import pytest

from labkit.errors import MissingComponent
from labkit.settings import Settings
from labkit.toolchain import find_toolchain
from labkit.toolchain.toolchain import Toolchain
from tests import vectors

# jsonschema reads a grammar of IRIs for 3 s in every process, and no test has one.
sys.modules.setdefault("rfc3987_syntax", cast(ModuleType, None))
# A busy machine is not a failure: no example has a time limit.
hypothesis.settings.register_profile("labkit", deadline=None)
# `./lab mutants` runs each test many times.
hypothesis.settings.register_profile("mutants", deadline=None, max_examples=20, database=None)
hypothesis.settings.load_profile("labkit")


def pytest_configure() -> None:
    """Hear Ctrl-C, and let the programs that tests start hear it.

    A shell without job control starts what it puts in the background with SIGINT ignored, and whatever
    that starts inherits it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that ``./lab test`` would never run: it finds files that boot by their marks' words."""
    for item in items:
        if any(map(item.get_closest_marker, ("vm", "docker", "browser"))) and not _shows_its_mark(item.path):
            raise pytest.UsageError(f"{item.path}: write `pytest.mark.` and the mark's name into this file.")


@cache
def _shows_its_mark(file: Path) -> bool:
    return re.search(r"mark\.(vm|docker|browser)", file.read_text(encoding="utf-8")) is not None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let files run side by side, but each by itself, and those one by one that share something costly.

    The container tests share an engine, the kernel's tests a boot from power-on, and the tests of runs a
    run of five notebooks with its site.

    ``--dist loadgroup`` does nothing under pytest 9.2: xdist 3.8 writes groups where pytest no longer looks.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder = file.rpartition("/")[0]
            return folder if folder in ("tests/container", "tests/kernel", "tests/runs") else file

    return Files(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of ``vectors.csv`` and nothing else, so that a test needs no file that a clone cannot have.

    They come from the folder beside the repository, or from what ``./lab vectors`` has brought.
    """
    places = (Path(__file__).resolve().parents[2] / "shared" / "data", vectors.folder())
    own = tmp_path_factory.mktemp("vectors")
    for vector in vectors.table():
        source = next((place / vector.file for place in places if (place / vector.file).is_file()), None)
        if source is None:
            pytest.skip(f"{vector.file} of another project is not there: ./lab vectors brings it")
        target = own / vector.file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return own


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    """The real programs of the emulated platform."""
    try:
        return find_toolchain(Settings.load())
    except MissingComponent as error:
        pytest.skip(f"the emulated platform is not set up: {error.message}")


@pytest.fixture(scope="session")
def vm_settings(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with the real packages, but with caches and run directories of this session's own."""
    own = tmp_path_factory.mktemp("labkit")
    (own / "cache").mkdir()
    (own / "cache/packages").symlink_to(Settings.load().cache_dir / "packages")
    # QEMU and swtpm split their options at commas, and shells split words at spaces.
    return Settings(cache_dir=own / "cache", state_dir=own / "state, here")


@pytest.fixture(scope="session")
def vm_environment(vm_settings: Settings) -> dict[str, str]:
    """The same for programs that a test starts."""
    return {
        **os.environ,
        "LABKIT_CACHE_DIR": str(vm_settings.cache_dir),
        "LABKIT_STATE_DIR": str(vm_settings.state_dir),
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were not run for want of an engine or of vectors, lest they be taken for passed."""
    skipped = terminalreporter.stats.get("skipped", ())
    for marker, what in (("docker", "with a container engine"), ("data", "with vectors of other projects")):
        missing = [report for report in skipped if marker in report.keywords]
        if missing:
            reasons = sorted({str(report.longrepr[2]).removeprefix("Skipped: ") for report in missing})
            terminalreporter.write_line(f"{len(missing)} tests {what} were skipped: {'; '.join(reasons)}")


@pytest.fixture(scope="session")
def toolchain_busybox(toolchain: Toolchain) -> Path:
    """The guest's static busybox, which runs on the host as well."""
    return toolchain.busybox


@pytest.fixture(scope="session")
def toolchain_kernel(toolchain: Toolchain) -> Path:
    """The Linux of the emulated platform's guest."""
    return toolchain.kernel
