"""A kernel that Jupyter finds, and front ends for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from jupyter_core.utils import ensure_event_loop

from labkit.kernel.installing import install
from labkit.settings import Settings

from .client import Frontend


@pytest.fixture(scope="package")
def kernelspec(vm_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of the kernel, installed where only these tests look."""
    prefix = tmp_path_factory.mktemp("prefix")
    install(prefix=str(prefix))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(prefix / "share/jupyter"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        patch.setenv("LABKIT_CACHE_DIR", str(vm_settings.cache_dir))
        patch.setenv("LABKIT_STATE_DIR", str(vm_settings.state_dir))
        patch.setenv("LABKIT_UI", "static")
        patch.setenv("LABKIT_ALLOW_HOST", "1")
        yield "tdvm"
    ensure_event_loop().close()


@pytest.fixture(scope="module")
def frontend(kernelspec: str) -> Iterator[Frontend]:
    """One kernel for a whole module."""
    frontend = Frontend()
    yield frontend
    frontend.close()


@pytest.fixture
def fresh(kernelspec: str) -> Iterator[Frontend]:
    """A kernel for one test."""
    frontend = Frontend()
    yield frontend
    frontend.close()
