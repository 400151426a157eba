"""What a person is told while they wait, and what is expected of the next time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labkit.learn import wait as module
from labkit.learn.wait import waiting
from labkit.settings import Settings, Ui
from labkit.show import View


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings.load(), cache_dir=tmp_path, ui=Ui.LIVE)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []

    class Place:
        def show(self, view: View, widget: Any = None) -> None:
            texts.append(view.text)

    monkeypatch.setattr(module, "Place", Place)
    monkeypatch.setattr(module, "_TICK", 0.001)
    return texts


def wait(settings: Settings, shown: list[str], *steps: str) -> str:
    """The last text before the end."""
    with waiting("Boot", "warm", settings, {"firmware": "cold"}) as step:
        for text in steps:
            step(text)
        before = len(shown)
        while len(shown) < before + 3:
            pass
    return shown[-2]


def test_a_step_tells_what_it_turned_out_to_be(settings: Settings, shown: list[str]) -> None:
    (settings.cache_dir / "durations.json").write_text('{"warm": 1, "cold": 50}')
    assert "of about 1 s" in wait(settings, shown)
    assert "of about 50 s" in wait(settings, shown, "firmware (0.2 s)")
    assert '"warm": 0.' in (settings.cache_dir / "durations.json").read_text()
    assert '"cold": 0.' in (settings.cache_dir / "durations.json").read_text()


def test_a_stage_that_goes_on_is_not_named_again(settings: Settings, shown: list[str]) -> None:
    said = wait(
        settings, shown, "firmware (0.2 s)", "kernel (3.1 s)", "kernel goes on (15 s), and may for 9 s more"
    )
    assert said.endswith("✔ firmware · kernel …")
