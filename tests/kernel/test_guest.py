"""Completion, inspection and syntax, against busybox and bash on the host: it never runs what was typed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit import process
from labkit.kernel.guest import complete, inspect, is_complete, word_at
from labkit.toolchain.toolchain import Toolchain

Run = Callable[[str], str]


@pytest.fixture(params=["busybox", "bash"])
def run(request: pytest.FixtureRequest, toolchain: Toolchain, tmp_path: Path) -> Run:
    """Runs scripts in a folder with a few files, as the guest's shell would."""
    for name in ("plain.txt", "with space", "quo'te", "do$llar", "-dash", "new\nline", "ünï"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inner").touch()
    words: list[str | Path] = [toolchain.busybox, "sh", "-c"]
    if request.param == "bash":
        words = [toolchain.bash or pytest.skip("no static bash here"), "--norc", "-c"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLOUR": "green"}
    return lambda script: process.run([*words, script], cwd=tmp_path, env=environment).text


@pytest.mark.parametrize(
    ("code", "matches"),
    [
        ("cat pl", ["plain.txt"]),
        ("cat fol", ["folder/"]),
        ("cat folder/", ["folder/inner"]),
        ("cat wi", ["with\\ space"]),
        ("cat 'wi", ["'with space"]),
        ('cat "do', ['"do\\$llar']),
        ('cat "do\\$ll', ['"do\\$llar']),
        ("cat do\\$ll", ["do\\$llar"]),
        ('echo "\\\\$COLO', ["COLOUR"]),
        ("cat quo", ["quo\\'te"]),
        ("cat new", ["$'new\\nline'"]),
        ("cat ü", ["ünï"]),
        ("cat ~/pl", ["~/plain.txt"]),
        ('cat "~/pl', []),
        ("folder/in", ["folder/inner"]),
        ("cat <pl", ["plain.txt"]),
        ("cat x; cat pl", ["plain.txt"]),
        ("echo $COLO", ["COLOUR"]),
        ("echo ${COLO", ["COLOUR"]),
        ('echo "a $COLO', ["COLOUR"]),
        ("echo '$COLO", []),
        ("unali", ["unalias"]),
        ("x=1 unali", ["unalias"]),
        ("if unali", ["unalias"]),
        ("true | unali", ["unalias"]),
        ("cat nothing-like-this", []),
        ("", []),
    ],
)
def test_what_fits_is_found(run: Run, code: str, matches: list[str]) -> None:
    found, _ = complete(code, len(code), run)
    assert found == matches


def test_the_words_replaced_are_those_before_the_cursor(run: Run) -> None:
    assert complete("cat pl more", 6, run) == (["plain.txt"], 4)
    assert complete("echo $COLO", 10, run) == (["COLOUR"], 6)
    assert complete("gre", 3, run, ["greet"])[0].count("greet") == 1


_TYPED = [
    "$(touch PWNED)",
    "`touch PWNED`",
    "x$(touch PWNED)",
    "'",
    '"',
    "${x:=$(touch PWNED)}",
    ";touch PWNED;",
]


@pytest.mark.parametrize(
    "code", [f"{lead}{bad}{tail}" for bad in _TYPED for lead in ("", "ls ", 'ls "') for tail in ("", "a")]
)
def test_what_is_typed_is_never_run(run: Run, tmp_path: Path, code: str) -> None:
    complete(code, len(code), run)
    inspect(code, len(code), run)
    is_complete(code, run)
    assert not (tmp_path / "PWNED").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.sampled_from(
            [*"'\"`$(){}[];|&<> \n\\*?~=#", "touch PWNED", "x", "é", "$(touch PWNED)", "-x", "%"]
        ),
        max_size=8,
    )
)
def test_no_text_whatever_is_run_or_breaks_the_questions(run: Run, tmp_path: Path, pieces: list[str]) -> None:
    code = "".join(pieces)
    matches, start = complete(code, len(code), run)
    assert 0 <= start <= len(code)
    assert all(isinstance(match, str) for match in matches)
    inspect(code, len(code), run)
    assert is_complete(code, run) in ("complete", "incomplete", "invalid")
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", "complete"),
        ("ls -l", "complete"),
        ("cat <<E\nx\nE", "complete"),
        ("echo a << 1", "incomplete"),
        ("cat <<E\nx", "incomplete"),
        ("echo \\", "incomplete"),
        ("echo \\\\", "complete"),
        ("if true", "incomplete"),
        ("echo ${x", "incomplete"),
        ("fi", "invalid"),
        ("echo )", "invalid"),
    ],
)
def test_the_shell_says_whether_a_cell_is_whole(run: Run, code: str, status: str) -> None:
    assert is_complete(code, run) == status


def test_a_guest_that_does_not_answer_leaves_it_open() -> None:
    assert is_complete("ls", lambda script: "") == "unknown"
    assert complete("ls", 2, lambda script: "")[0] == []
    assert inspect("ls", 2, lambda script: "") == ""


def test_a_word_is_inspected(run: Run) -> None:
    assert inspect("echo $COLOUR", 9, run) in ("COLOUR='green'", "COLOUR=green")
    assert "shell builtin" in inspect("cd /tmp", 1, run)
    assert inspect("nothing-like-this", 4, run) == ""


def test_the_word_at_the_cursor() -> None:
    word = word_at("a=1 cat 'x y' \"z $b", 19)
    assert (word.text, word.quote, word.command, word.variable) == ("z $b", '"', False, "b")


def test_what_can_be_no_name_is_not_asked_for() -> None:
    asked: list[str] = []

    def run(script: str) -> str:
        asked.append(script)
        return "x is /bin/x"

    for code in ("", "  ", "x" * 201, "a\0b"):
        assert inspect(code, len(code), run) == ""
    assert asked == []
    assert inspect("x" * 200, 200, run) != ""


@pytest.mark.parametrize(
    ("code", "text", "quote"),
    [
        ('echo "a\\"b c', 'a"b c', '"'),
        ('echo "a\\$b', "a$b", '"'),
        ('echo "a\\\\', "a\\", '"'),
        ('echo "a\\n', "a\\n", '"'),
        ('echo "a\\', "a\\", '"'),
        ("echo 'a\\'b", "a\\b", ""),
        ("echo a\\ b", "a b", ""),
    ],
)
def test_a_backslash_protects_what_the_shell_says_it_does(code: str, text: str, quote: str) -> None:
    word = word_at(code, len(code))
    assert (word.text, word.quote) == (text, quote)


def test_an_applet_without_a_path_is_asked_for_its_help() -> None:
    """As busybox' own shell says it."""
    said = {"type": "tee is a busybox applet", "busybox": "Usage: tee"}
    found = inspect("tee", 1, lambda script: next((v for k, v in said.items() if script.count(k)), ""))
    assert found == "tee is a busybox applet\n\nUsage: tee"
