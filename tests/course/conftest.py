"""What the tests of a course share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .nbgrader_verbs import Nbgrader, started


@pytest.fixture
def nbgrader(tmp_path: Path) -> Iterator[Nbgrader]:
    """nbgrader's verbs."""
    with started(tmp_path) as verbs:
        yield verbs
