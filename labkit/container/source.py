"""The source of Asterinas: a shallow checkout at the tag that fits the image, in the user's cache.

A tree that is not exactly what labkit left is never touched. What was fetched before an interruption is
not fetched again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labkit.asterinas import Profile
from labkit.errors import DataError, LabkitError, MissingComponent, StorageError, UsageError
from labkit.process import Completed, run
from labkit.settings import ASTERINAS_URL, Settings

_FETCH_SECONDS = 1800.0
_OFFLINE = re.compile(
    r"Could not resolve host|unable to access|Connection (?:refused|reset|timed out)|Failed to connect"
    r"|unreachable|does not appear to be a git repository|does not exist|Could not read from remote"
)
_NO_TAG = re.compile(r"couldn't find remote ref|Remote branch .* not found")


@dataclass(frozen=True)
class SourceTree:
    """A source tree: where, at which commit, and how it differs from the commit (names of tracked files)."""

    path: Path
    tag: str
    commit: str
    changed: tuple[str, ...] = ()
    own: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The tree as JSON types."""
        return {**asdict(self), "path": str(self.path), "changed": list(self.changed)}

    def __str__(self) -> str:
        state = f", with changes in {len(self.changed)} files" if self.changed else ""
        return f"{self.path} at {self.commit[:12] or 'no commit'}{state}"


def fetch_source(
    profile: Profile, settings: Settings, on_progress: Callable[[str], None] = lambda text: None
) -> SourceTree:
    """The source at the profile's tag, fetched once from ``settings.asterinas_url``.

    Raises:
        MissingComponent: no git, no network, or the upstream has no such tag.
        UsageError: the tree in the cache has been changed, or is something else.
        DataError: the tag is another commit than the one labkit knows.
        StorageError: the disk is full.
    """
    if shutil.which("git") is None:
        raise MissingComponent("git is not installed.", "Install git, or give a source tree with --source.")
    folder = settings.cache_dir / "asterinas"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / profile.tag
    with _locked(folder / f".{profile.tag}.lock"):
        if not path.exists():
            _fetch(profile.tag, settings.asterinas_url, folder, on_progress)
        source = _check_own(path, profile.tag)
    known = profile.commit if settings.asterinas_url == ASTERINAS_URL else None
    if known and not source.commit.startswith(known):
        raise DataError(
            f"The tag {profile.tag} is commit {source.commit[:12]}, and labkit knows it as {known}.",
            "Somebody moved the tag: find out why before you run it.",
        )
    return source


def given_source(path: Path, profile: Profile) -> SourceTree:
    """A tree of the user's, as it is; nothing in it is changed by labkit.

    Raises:
        UsageError: it is not a source tree, or a path that cannot be mounted.
    """
    path = path.absolute()
    if not (path / "Makefile").is_file():
        raise UsageError(f"{path} holds no Makefile.", "Name the root of an Asterinas source tree.")
    check_mountable(path)
    head = _git(path, "rev-parse", "HEAD") if shutil.which("git") else None
    if head is None or not head.ok:
        return SourceTree(path, profile.tag, "")
    return SourceTree(path, profile.tag, head.text.strip(), _changed(path))


def tree_version(path: Path) -> str | None:
    """The version that a tree says it is, in its file ``VERSION``; None where it does not say."""
    try:
        text = (path / "VERSION").read_text(errors="replace")
    except OSError:
        return None
    found = re.match(r"v?(\d{1,4}\.\d{1,4}\.\d{1,4})\b", text.strip())
    return found[1] if found else None


def check_mountable(path: Path) -> None:
    """Docker's short form of a mount ends a path at a colon.

    Raises:
        UsageError: the path has one.
    """
    if ":" in str(path):
        raise UsageError(f"{path} has a colon in its name, which a mount cannot take.", "Rename it.")


def _fetch(tag: str, url: str, folder: Path, on_progress: Callable[[str], None]) -> None:
    partial = folder / f".partial-{tag}"
    if not (partial / ".git/HEAD").is_file():
        shutil.rmtree(partial, ignore_errors=True)
        _must(run(("git", "init", "--quiet", partial), env=_environ()), tag, url)
    for lock in (partial / ".git").rglob("*.lock"):
        lock.unlink()
    ref = f"refs/tags/{tag}"
    if not _git(partial, "rev-parse", "--verify", "--quiet", f"{ref}^{{tree}}").ok:
        on_progress(f"fetching the source of Asterinas {tag} from {url}")
        words = ("fetch", "--quiet", "--depth=1", "--no-tags", url, f"+{ref}:{ref}")
        _must(_git(partial, *words, timeout=_FETCH_SECONDS), tag, url)
    _must(_git(partial, "checkout", "--quiet", "--force", "--detach", ref, timeout=600.0), tag, url)
    partial.rename(folder / tag)


def _check_own(path: Path, tag: str) -> SourceTree:
    remedy = f"Run it as it is with --source {path}, or move it away and labkit fetches the tag again."
    top = _git(path, "rev-parse", "--show-toplevel")
    if not top.ok or Path(top.text.strip()).resolve() != path.resolve():
        raise UsageError(f"{path} is not a checkout of labkit's.", remedy)
    head = _git(path, "rev-parse", "HEAD").text.strip()
    expected = _git(path, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}").text.strip()
    if not expected or head != expected:
        raise UsageError(f"{path} is not at {tag} any more, so labkit does not touch it.", remedy)
    if changed := _changed(path):
        names = ", ".join(changed[:3]) + (" and others" if len(changed) > 3 else "")
        raise UsageError(f"{path} has changes ({names}), so labkit does not touch it.", remedy)
    return SourceTree(path, tag, head, own=True)


def _changed(path: Path) -> tuple[str, ...]:
    status = _git(path, "status", "--porcelain", "--untracked-files=no", timeout=120.0)
    return tuple(line[3:] for line in status.text.splitlines())


def _git(path: Path, *words: str, timeout: float = 60.0) -> Completed:
    safe = ("-c", "core.hooksPath=/dev/null", "-c", f"safe.directory={path}")
    return run(("git", "-C", path, *safe, *words), timeout=timeout, env=_environ(), grace=2.0)


def _environ() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**inherited, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}


def _must(done: Completed, tag: str, url: str) -> None:
    if not done.ok:
        raise _refusal(done, tag, url)


def _refusal(done: Completed, tag: str, url: str) -> LabkitError:
    said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    if "No space left" in said:
        return StorageError(
            "The disk is full: the source of Asterinas did not fit.", "Free some space and try again."
        )
    if _NO_TAG.search(said):
        return MissingComponent(f"{url} has no tag {tag}.", "Check LABKIT_ASTERINAS_URL.")
    if done.timed_out or _OFFLINE.search(said):
        return MissingComponent(
            f"The source of Asterinas {tag} could not be fetched: {url} does not answer.",
            "Check the network connection and try again, or give a source tree with --source.",
        )
    last = said.splitlines()[-1] if said else f"exit status {done.status}"
    return MissingComponent(f"git could not fetch Asterinas {tag}: {last[:200]}", "Try again.")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two runs at once fetch once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
