"""Fixtures of Asterinas' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.vm import Toolchain


@pytest.fixture(scope="session")
def toolchain_kernel(toolchain: Toolchain) -> Path:
    """The Linux of the emulated platform's guest."""
    return toolchain.kernel
