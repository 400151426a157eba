from __future__ import annotations

import json
import subprocess
import sys

import pytest

from labkit.asterinas.versions import PROFILES


def labkit(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "labkit", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_profiles_are_listed() -> None:
    done = labkit("asterinas", "profiles")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert names == list(PROFILES)
    rows = json.loads(labkit("asterinas", "profiles", "--json").stdout)["profiles"]
    assert [row["name"] for row in rows] == list(PROFILES)
    assert {row["generation"] for row in rows} == {"mvp", "canonical-6.8", "upstream", None}


def test_one_profile_is_shown() -> None:
    assert "make run INTEL_TDX=1 AUTO_TEST=boot" in labkit("asterinas", "profiles", "0.9.0-tdx").stdout
    assert json.loads(labkit("asterinas", "profiles", "0.9.0-tdx", "--json").stdout)["tag"] == "v0.9.0"


@pytest.mark.parametrize("words", [["asterinas", "profiles", "1.2.3"], ["boot", "--profile", "0.18.1"]])
def test_a_profile_that_does_not_fit_is_one_sentence(words: list[str]) -> None:
    done = labkit(*words)
    assert done.returncode in (64, 69)
    assert done.stdout == ""
    said, remedy = done.stderr.strip().splitlines()
    assert said.startswith("labkit: ")
    assert remedy.strip()
