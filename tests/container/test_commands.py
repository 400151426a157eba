"""Commands for the guest of the documented flow: what could not be run is no success."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from labkit.cli import labkit
from labkit.errors import CommandTimeout, GuestGone, VmError

ANSWER = SimpleNamespace(output="", exit_status=0)


@dataclass
class Booted:
    """A run whose guest came up, and whose shell answers with ``answers`` in turn."""

    answers: list[Any]
    taken: list[str] = field(default_factory=list)

    def __enter__(self) -> Booted:
        return self

    def __exit__(self, *_: object) -> None: ...

    def wait(self, on_progress: object) -> bool:
        return True

    def run(self, line: str, timeout: float | None) -> Any:
        self.taken.append(line)
        answer = self.answers.pop(0)
        if isinstance(answer, VmError):
            raise answer
        return answer

    def close(self) -> Any:
        return SimpleNamespace(booted=True)


@pytest.mark.parametrize(
    ("answers", "status", "left"),
    [
        ([ANSWER, ANSWER], 0, ""),
        ([ANSWER, GuestGone("The guest ended.", "")], 0, ""),
        ([CommandTimeout("The shell does not answer.", "")], 1, "Not run: 2 of the commands."),
        ([ANSWER, CommandTimeout("The shell does not answer.", "")], 1, "Not run: 1 of the commands."),
        ([GuestGone("The guest ended.", "")], 1, "Not run: 1 of the commands."),
    ],
)
def test_a_command_that_could_not_be_run_is_no_success(
    monkeypatch: pytest.MonkeyPatch, answers: list[Any], status: int, left: str
) -> None:
    run = Booted(list(answers))
    monkeypatch.setattr("labkit.container.flow.start_run", lambda *_: run)
    words = ["asterinas", "run", "--exec", "one", "--exec", "two"]
    done = CliRunner().invoke(labkit, words)
    assert done.exit_code == status
    assert run.taken == ["one", "two"][: len(answers)]
    assert left in done.output
    assert ("Not run" in done.output) == bool(left)


def test_a_line_that_was_typed_to_a_silent_shell_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Booted([ANSWER, CommandTimeout("The shell does not answer.", "")])
    monkeypatch.setattr("labkit.container.flow.start_run", lambda *_: run)
    done = CliRunner().invoke(labkit, ["asterinas", "run"], input="one\ntwo\nthree\n")
    assert done.exit_code == 1
    assert run.taken == ["one", "two"]
