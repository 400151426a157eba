"""The pinned source: fetched once from a real git repository, never touched where it is somebody else's."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from labkit.asterinas import Profile
from labkit.container.source import SourceTree, fetch_source, given_source
from labkit.errors import DataError, LabkitError, MissingComponent, UsageError
from labkit.settings import ASTERINAS_URL, Settings

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

PROFILE = Profile.named("0.18.1")


def git(path: Path, *words: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    me = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    done = subprocess.run(
        ["git", "-C", str(path), *me, *words],
        env={**inherited, "GIT_CONFIG_GLOBAL": "/dev/null"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A repository with the tags v0.9.0 and v0.18.1."""
    path = tmp_path / "upstream"
    path.mkdir()
    git(path, "init", "--quiet")
    for version in ("0.9.0", "0.18.1"):
        (path / "Makefile").write_text(f"# {version}\n")
        git(path, "add", "--all")
        git(path, "commit", "--quiet", "--message", version)
        git(path, "tag", f"v{version}")
    return path


@pytest.fixture
def settings(tmp_path: Path, upstream: Path) -> Settings:
    return Settings(tmp_path / "cache", tmp_path / "state", asterinas_url=f"file://{upstream}")


def test_the_tag_is_fetched_once_and_alone(settings: Settings, upstream: Path) -> None:
    said: list[str] = []
    source = fetch_source(PROFILE, settings, said.append)
    assert (source.path / "Makefile").read_text() == "# 0.18.1\n"
    assert source.commit == git(upstream, "rev-parse", "v0.18.1^{commit}")
    assert git(source.path, "rev-list", "--count", "HEAD") == "1"
    assert len(said) == 1
    shutil.rmtree(upstream)
    assert fetch_source(PROFILE, settings, said.append) == source
    assert len(said) == 1


def test_each_version_has_a_tree_of_its_own(settings: Settings) -> None:
    old = fetch_source(Profile.named("0.9.0"), settings)
    assert (old.path / "Makefile").read_text() == "# 0.9.0\n"
    assert old.path != fetch_source(PROFILE, settings).path


def test_a_changed_tree_is_not_touched(settings: Settings) -> None:
    path = fetch_source(PROFILE, settings).path
    (path / "Makefile").write_text("mine\n")
    with pytest.raises(UsageError, match=r"has changes \(Makefile\)") as caught:
        fetch_source(PROFILE, settings)
    assert f"--source {path}" in caught.value.remedy
    assert (path / "Makefile").read_text() == "mine\n"


def test_what_a_run_builds_is_no_change(settings: Settings) -> None:
    path = fetch_source(PROFILE, settings).path
    (path / "qemu.log").write_text("built\n")
    assert fetch_source(PROFILE, settings).changed == ()


def test_another_commit_is_not_touched(settings: Settings) -> None:
    path = fetch_source(PROFILE, settings).path
    git(path, "commit", "--quiet", "--allow-empty", "--message", "mine")
    with pytest.raises(UsageError, match="any more"):
        fetch_source(PROFILE, settings)


def test_a_foreign_folder_is_not_touched(settings: Settings) -> None:
    foreign = settings.cache_dir / "asterinas/v0.18.1"
    foreign.mkdir(parents=True)
    (foreign / "precious").write_text("mine\n")
    with pytest.raises(UsageError, match="not a checkout of labkit's"):
        fetch_source(PROFILE, settings)
    assert (foreign / "precious").read_text() == "mine\n"


def test_an_interrupted_fetch_goes_on_where_it_stopped(settings: Settings, upstream: Path) -> None:
    """What was fetched is not fetched again, and a lock that a killed git left is in nobody's way."""
    whole = fetch_source(PROFILE, settings)
    partial = whole.path.with_name(".partial-v0.18.1")
    whole.path.rename(partial)
    (partial / "Makefile").unlink()
    (partial / ".git/index.lock").touch()
    shutil.rmtree(upstream)
    again = fetch_source(PROFILE, settings)
    assert again == whole
    assert (again.path / "Makefile").is_file()
    assert not partial.exists()


def test_half_a_repository_is_begun_anew(settings: Settings) -> None:
    partial = settings.cache_dir / "asterinas/.partial-v0.18.1"
    (partial / ".git").mkdir(parents=True)
    assert fetch_source(PROFILE, settings).commit


def test_two_at_once_fetch_once(settings: Settings) -> None:
    said: list[str] = []
    found: list[SourceTree] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch_source(PROFILE, settings, said.append)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert len(said) == 1


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("file:///nothing/here", "does not answer"),
        ("http://127.0.0.1:1/asterinas.git", "does not answer"),
    ],
)
def test_an_upstream_that_does_not_answer(settings: Settings, url: str, sentence: str) -> None:
    from dataclasses import replace

    with pytest.raises(MissingComponent, match=sentence) as caught:
        fetch_source(PROFILE, replace(settings, asterinas_url=url))
    assert "--source" in caught.value.remedy


def test_a_tag_that_upstream_does_not_have(settings: Settings, upstream: Path) -> None:
    git(upstream, "tag", "--delete", "v0.18.1")
    with pytest.raises(MissingComponent, match=r"has no tag v0\.18\.1"):
        fetch_source(PROFILE, settings)


def test_a_moved_tag_of_the_real_upstream_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit of v0.9.0 is known; here the real address leads to another repository."""
    known = Profile.named("0.9.0-tdx")
    assert known.commit
    monkeypatch.setattr("labkit.container.source.ASTERINAS_URL", settings.asterinas_url)
    with pytest.raises(DataError, match="labkit knows it as"):
        fetch_source(known, settings)
    assert ASTERINAS_URL.startswith("https://")


def test_a_tree_of_the_users_is_taken_as_it_is(tmp_path: Path, upstream: Path) -> None:
    (upstream / "Makefile").write_text("mine\n")
    source = given_source(upstream, PROFILE)
    assert (source.changed, source.own) == (("Makefile",), False)
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(UsageError, match="no Makefile"):
        given_source(plain, PROFILE)
    (plain / "Makefile").touch()
    assert given_source(plain, PROFILE).commit == ""


def test_without_git_the_sentence_names_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(LabkitError, match="git is not installed"):
        fetch_source(PROFILE, settings)
