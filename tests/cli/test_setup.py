from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from labkit.cli import labkit

from ..toolchain.stubs import World, build


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = build(tmp_path, monkeypatch)
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "cache"))
    return world


def test_check_shows_what_is_missing_and_changes_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(labkit, ["setup", "--check"])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == (
        "Missing: qemu, firmware, swtpm, kernel, busybox, bash. Run `labkit setup`."
    )
    assert not (tmp_path / "cache").exists()


def test_setup_prints_one_json_document_and_tells_progress_elsewhere() -> None:
    result = CliRunner().invoke(labkit, ["setup", "--user", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["complete"] is True
    names = [part["name"] for part in document["components"]]
    assert names == ["qemu", "firmware", "swtpm", "kernel", "busybox", "bash", "loader"]
    assert "fetching the package lists" in result.stderr
    assert CliRunner().invoke(labkit, ["setup", "--check"]).exit_code == 0


def test_user_leaves_the_system_alone_whoever_asks(world: World) -> None:
    assert CliRunner().invoke(labkit, ["setup", "--user"]).exit_code == 0
    assert world.real_installs() == []
