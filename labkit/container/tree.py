"""One run a source tree: its lock, and what a run as root leaves in the tree of an ordinary user."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.container.container import SOURCE
from labkit.container.engine import Engine
from labkit.container.session import run_once
from labkit.errors import LabkitError, UsageError

if TYPE_CHECKING:
    from docker import DockerClient

_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER")


class TreeLock:
    """A source tree that this process alone runs in; the kernel takes the lock back, however it ends.

    QEMU writes its logs and disk images into the tree: two runs would read each other's. The lock is on the
    folder itself, so it needs no file, and holds between users.
    """

    def __init__(self, tree: Path) -> None:
        """Take the lock.

        Raises:
            UsageError: another run has it.
        """
        self._folder: int | None = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise UsageError(
                f"Another run uses the source tree {tree}, and a tree serves one run at a time.",
                "Wait for its end, or give this run a tree of its own with --source.",
            ) from error

    def release(self) -> None:
        """Give the lock back; may be called twice."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


def foreign_entries(tree: Path, user: int) -> bool:
    """Something of root's is in a tree that is the user's."""
    if user == 0 or tree.stat().st_uid != user:
        return False
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            try:
                if Path(folder, name).lstat().st_uid == 0:
                    return True
            except OSError:
                continue
    return False


def hand_back(
    client: DockerClient, engine: Engine, image: str, tree: Path, on_progress: Callable[[str], None]
) -> None:
    """Give the user what containers made as root in his tree; a rootless engine makes nothing of root's.

    A tree that cannot be handed back is named, and is not a failure of the run.
    """
    user, group = os.getuid(), os.getgid()
    if engine.rootless or not foreign_entries(tree, user):
        return
    words = ("find", SOURCE, "-xdev", "-uid", "0", "-exec", "chown", "-h", f"{user}:{group}", "{}", "+")
    try:
        status, said = run_once(
            client, engine, image, words, binds=(f"{tree}:{SOURCE}",), capabilities=_CAPABILITIES
        )
        why = said.decode("utf-8", "replace").strip()[-200:] if status else ""
    except LabkitError as error:
        status, why = 1, error.message
    if status:
        on_progress(
            f"some files in {tree} still belong to root ({why}): `sudo chown -R {user}:{group} {tree}`"
        )
