"""The bundle for a bug report: what it holds, and what it must not."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from labkit.errors import UsageError
from labkit.fleet.bug_report import make_bundle
from labkit.host import diagnose, load
from labkit.settings import Settings
from tests.host.hosts import BY_NAME, build

SECRETS = ("frigate7", "alice", "10.1.2.3", "aa:bb:cc:dd:ee:ff", "1b4e28ba-2fa1-11d2-883f-0016d3cca427")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    run = tmp_path / "state/tdvms/20260102-030405-abcdef"
    run.mkdir(parents=True)
    (run / "console.log").write_text(f"boot of {' '.join(SECRETS)}\n")
    (run / "shell.log").write_text("my password is xyzzy\n")
    return Settings(tmp_path / "cache", tmp_path / "state")


def test_a_bundle_says_what_is_in_it_and_names_nobody(settings: Settings, tmp_path: Path) -> None:
    root = build(BY_NAME["good-6.17"], tmp_path / "root")
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/hostname").write_text("frigate7\n")
    (root / "etc/passwd").write_text("alice:x:1000:1000::/home/alice:/bin/sh\n")
    bundle = make_bundle(tmp_path / "report.tar.gz", settings, root)
    assert bundle.path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(bundle.path) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    folder = tmp_path / "out/labkit-report"
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert set(found) == {"README.txt", *bundle.contents}
    assert all(name in found["README.txt"] for name in bundle.contents)
    everything = "\n".join(found.values())
    assert not [secret for secret in (*SECRETS, "xyzzy") if secret in everything]
    assert diagnose(load(folder / "facts.json")).verdict.value == "READY"


def test_a_file_that_is_there_is_not_written_over(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "report.tar.gz").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        make_bundle(tmp_path / "report.tar.gz", settings, tmp_path)
    assert (tmp_path / "report.tar.gz").read_text() == "mine"
