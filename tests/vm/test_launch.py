"""Why a vTPM could not be made, where the program that makes it does not tell."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from labkit.errors import BootFailed, StorageError
from labkit.vm.launch import no_vtpm

SAID = (
    "Starting vTPM manufacturing as root:root\nTPM is listening on Unix socket.\nEnding vTPM manufacturing\n"
)


def test_its_own_words_are_told_without_those_that_it_always_says(tmp_path: Path) -> None:
    refused = no_vtpm(SAID + "TPM2_GetCapability failed: 0x101\nAuthoring the TPM state failed.\n", tmp_path)
    assert isinstance(refused, BootFailed)
    assert refused.message.endswith("says: TPM2_GetCapability failed: 0x101; Authoring the TPM state failed.")
    assert no_vtpm(SAID, tmp_path).message.endswith("says: nothing")


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    refused = no_vtpm("/usr/bin/swtpm exit with status 256: ", tmp_path)
    assert isinstance(refused, StorageError)
    assert "has no locks" in refused.message
    assert "LABKIT_STATE_DIR" in refused.remedy


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    refused = no_vtpm(SAID, tmp_path)
    assert isinstance(refused, StorageError)
    assert "The disk is full" in refused.message
