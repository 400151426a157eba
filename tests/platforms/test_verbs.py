"""What the verbs of the notebooks ask a platform for; nothing boots."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from labkit import lab
from labkit.errors import UsageError
from labkit.platforms import BootRequest


class Recording:
    """A platform that keeps what it is asked for, and refuses it."""

    def __init__(self) -> None:
        self.asked: list[BootRequest] = []

    def boot(self, request: BootRequest, *_: object, **__: object) -> None:
        self.asked.append(request)
        raise UsageError("Nothing boots here.", "Look at what was asked.")

    predict = boot


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Recording:
    found = Recording()
    monkeypatch.setattr("labkit.platforms.choose_platform", lambda *_: found)
    return found


@pytest.mark.parametrize(
    "verb",
    [
        lab.boot,
        lambda **options: lab.policy(bytes(64), **options),
        lambda **options: lab.attest(bytes(64), None, **options),  # type: ignore[arg-type]
    ],
    ids=["boot", "policy", "attest"],
)
def test_a_verb_hands_on_all_that_describes_a_boot(verb: Callable[..., Any], platform: Recording) -> None:
    with pytest.raises(UsageError, match="Nothing boots here"):
        verb(memory=768, smp=3, append="quiet", kernel="k", initrd="i", firmware="f", loader=True)
    files = Path("k"), Path("i"), Path("f")
    assert platform.asked == [BootRequest(768, "quiet", *files, smp=3, guest="linux", loader=True)]


def test_one_boot_can_be_all_that_a_request_can_say() -> None:
    said = {field.name for field in fields(BootRequest)}
    assert said <= inspect.signature(lab.boot).parameters.keys()


def test_an_iso_and_its_version_are_handed_on(platform: Recording) -> None:
    with pytest.raises(UsageError, match="Nothing boots here"):
        lab.boot(iso="a.iso", profile="0.18.0", cold=True)
    assert platform.asked[0] == BootRequest(
        cold=True, iso=Path("a.iso"), profile="0.18.0", guest="linux", loader=False
    )


def test_several_machines_get_their_cpus(monkeypatch: pytest.MonkeyPatch, platform: Recording) -> None:
    seen: list[BootRequest] = []

    def many(_: object, request: BootRequest, *rest: object) -> None:
        seen.append(request)

    monkeypatch.setattr("labkit.platforms.many.boot_many", many)
    lab.boots(2, smp=4)
    assert (seen[0].smp, seen[0].guest) == (4, "linux")
