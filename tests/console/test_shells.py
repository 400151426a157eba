"""Whatever a cell redefines, the next one's status and output are true, on each shell a guest may have."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from labkit.console import Console, open_documents
from labkit.errors import GuestGone, VmError

from . import shells
from .conftest import Terminal

EVERY = (
    *("eval", "exit", "command", "builtin", "printf", "unset", "set", "exec", "trap", "stty", "echo", "read"),
    *("return", "export", "readonly", "alias", "unalias", "type", "test", "true", "false", "kill", "source"),
)
DEFINE_EVERY = 'for n in {}; do command eval "$n() {{ :; }}"; done'

WEDGES = {
    "eval that does nothing": "eval() { :; }",
    "eval that prints": "eval() { builtin echo stolen; }",
    "eval that passes on": 'eval() { command eval "$@"; return 0; }',
    "eval that passes on and prints": 'eval() { command eval "$@"; echo stolen; }',
    "eval and unset": "eval() { :; }; unset() { :; }",
    "eval and command": "command() { :; }; eval() { :; }",
    "eval, command, unset, builtin": "builtin() { :; }; command() { :; }; unset() { :; }; eval() { :; }",
    "exit": "exit() { echo stolen; }; false",
    "colon": ":() { echo stolen; }; false",
    "printf": "printf() { echo stolen; }",
    "command": "command() { echo stolen; }",
    "everything": DEFINE_EVERY.format(" ".join(EVERY)),
    "everything but command": DEFINE_EVERY.format(" ".join(n for n in EVERY if n != "command")),
    "aliases": "alias eval=: exit=: command=: printf=: unset=: set=: exec=: trap=: stty=: 'case=echo'",
    "readonly names of ours": "readonly LABKIT_ENDED LABKIT_TEXT PS2",
    "readonly prompt of a command": "readonly PS0='stolen '",
    "readonly prompt command": "readonly PROMPT_COMMAND='echo stolen'",
    "prompt that is not expanded": "shopt -u promptvars 2>/dev/null; :",
    "folders are commands": "shopt -s autocd 2>/dev/null; :",
    "a file that takes the prompt": ". /dev/stdin <<'E'\ntrap 'echo stolen' DEBUG\nshopt -u promptvars\nE\n:",
    "readonly prompt": "readonly PS1='me> '",
    "prompt": "PS1='me> ' PS2='more> '",
    "prompt that runs": "PS1='$(echo stolen)> '",
    "terminal and prompt": "stty inlcr </dev/tty; PS1='me> '",
    "prompt command": "PROMPT_COMMAND='echo stolen'",
    "prompt before commands": "PS0='stolen '",
    "everything readonly": "readonly $(set | sed -n 's/^\\([A-Za-z_][A-Za-z_0-9]*\\)=.*/\\1/p') 2>/dev/null",
    "no prompt": "unset PS1 PS2",
    "traps": "trap 'echo stolen' EXIT INT TERM",
    "trap on every command": "trap 'echo stolen' DEBUG 2>/dev/null; :",
    "trap on errors": "trap 'echo stolen' ERR 2>/dev/null; :",
    "posix mode": "set -o posix 2>/dev/null; :",
    "errexit": "set -e",
    "nounset": "set -u",
    "noglob": "set -f; IFS=0123456789abcdef; set -C",
    "xtrace": "set -x",
    "verbose": "set -v",
    "noexec": "set -n",
    "allexport": "set -a",
    "no path": "PATH=",
    "closed": "exec >&- 2>&- <&-",
    "to a file": "exec >/dev/null 2>&1",
    "positional": "set -- a b c",
    "posixly correct": "readonly POSIXLY_CORRECT=1 2>/dev/null; :",
    "open here-document": "cat >/dev/null <<E\nno end",
    "open quote": "echo 'no end",
}


@pytest.fixture(params=shells.WANTED + tuple(sorted(set(shells.found()) - set(shells.WANTED))))
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """How to start each shell."""
    if request.param not in shells.found():
        pytest.skip(f"there is no {request.param} here: `./lab test` fetches it")
    return shells.found()[request.param]


@pytest.fixture
def console(
    toolchain_busybox: Path, shell: tuple[str, ...], request: pytest.FixtureRequest
) -> Iterator[Console]:
    with closing(Terminal(toolchain_busybox, shell=shell)) as terminal:
        console = Console(terminal, patience=patience(request.node))
        console.handshake(10)
        yield console


def patience(test: pytest.Item) -> float:
    """What takes everything away shall not be waited for long."""
    return 1 / 6 if test.name.endswith(("-everything readonly]", "-noexec]")) else 1.0


def test_another_console_goes_on_with_the_shell_that_one_has_found(
    toolchain_busybox: Path, shell: tuple[str, ...]
) -> None:
    with closing(Terminal(toolchain_busybox, shell=shell)) as terminal:
        first = Console(terminal)
        first.handshake(10)
        assert first.run("word=kept; (exit 3)", timeout=20).exit_status == 3
        # What puts nothing in order reads and prints nothing, and leaves the status as it was.
        assert first.ask("word=$word$?", 20, bare=True).exit_status == 0
        second = Console(terminal)
        fresh = second.state()
        for key in ("number", "flags", "prompts", "dialect"):
            # What is half a state leaves nothing behind.
            half = json.loads(first.state())
            del half["shell"][key]
            half["shell"].setdefault("dialect", {})["muted"] = True
            with pytest.raises(ValueError, match="not the state"):
                second.go_on(json.dumps(half))
            assert second.state() == fresh
        second.go_on(first.state())
        assert second.is_bash == first.is_bash
        assert second.run("echo $? $word", timeout=20).output == "3 kept3\n"
        assert second.run("/bin/sh -c 'exit 4'", timeout=20).exit_status == 4


@pytest.mark.parametrize("wedge", WEDGES.values(), ids=WEDGES.keys())
def test_the_next_commands_are_true_or_the_shell_is_given_up(
    console: Console, shell: tuple[str, ...], wedge: str
) -> None:
    see_that_the_next_are_true(console, shell, wedge)


def test_a_shell_that_may_open_no_file_is_not_asked_again_and_again(console: Console) -> None:
    console.run("ulimit -n 5", timeout=30)
    # It answers, or it is given up; no other error, which would leave it for the next command.
    with contextlib.suppress(GuestGone):
        console.run("echo here", timeout=30)


def test_the_name_that_proves_the_end_cannot_be_taken_unseen(
    console: Console, shell: tuple[str, ...]
) -> None:
    ours = dict(re.findall(r"^(_LK\w+)='?(.*?)'?$", console.run("set", timeout=30).output, re.MULTILINE))
    assert len(ours) == 4
    (proof,) = (name for name, value in ours.items() if re.fullmatch(r"\d+:\d*", value))
    see_that_the_next_are_true(console, shell, f"readonly {proof}")


def see_that_the_next_are_true(console: Console, shell: tuple[str, ...], wedge: str) -> None:
    try:
        first = console.run(wedge, timeout=30)
        assert "me>" not in first.output
        assert "\x1e" not in first.output
        for number in range(2):
            told = console.run(f"/bin/echo here {number}", timeout=30)
            assert (told.exit_status, told.output.splitlines()[-1]) == (0, f"here {number}"), told.raw
            assert "me>" not in told.output
            assert console.run("/bin/sh -c 'exit 3'", timeout=30).exit_status == 3
            assert console.run("(", timeout=30).exit_status != 0
    except VmError:
        # Said, and never `ok`: the kernel starts a fresh TDVM.
        assert wedge not in MUST_WORK.get(name_of(shell), ())


# What takes nothing that the console needs, or what it can do without, on each shell.
PROMPTS = (
    WEDGES["terminal and prompt"],
    "readonly PS1='me> '",
    "PS1='me> ' PS2='more> '",
    "PS1='$(echo stolen)> '",
    "unset PS1 PS2",
)
FUNCTIONS = tuple(
    wedge for name, wedge in WEDGES.items() if name.startswith(("eval", "exit", "printf", "command"))
)
MUST_WORK = {
    "busybox 1.35": (*PROMPTS, *FUNCTIONS),
    # Without `unset` nothing can be taken away.
    "busybox 1.37": (*PROMPTS, *(wedge for wedge in FUNCTIONS if not wedge.startswith("builtin()"))),
    "bash": (
        *PROMPTS,
        *FUNCTIONS,
        WEDGES["prompt that is not expanded"],
        WEDGES["folders are commands"],
        WEDGES["a file that takes the prompt"],
    ),
}


def name_of(shell: tuple[str, ...]) -> str:
    return next(name for name, argv in shells.found().items() if argv == shell)


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ('PS1="me> "; echo one; echo two', "one\ntwo\n"),
        ("readonly PS1=x; echo r", "r\n"),
        ("PS0=stolen PROMPT_COMMAND='echo stolen'; echo r", "r\n"),
        ("readonly PS0='stolen '; echo r", "r\n"),
        ("readonly PROMPT_COMMAND='echo stolen'; echo r", "r\n"),
    ],
)
def test_a_prompt_is_no_output(console: Console, command: str, output: str) -> None:
    assert console.run(command, timeout=30).output == output
    for number in range(3):
        assert console.run(f"echo r{number}", timeout=30).output == f"r{number}\n"


def test_what_looks_like_the_mark_of_an_end_hides_no_output(console: Console) -> None:
    result = console.run("printf '\\036.\\037'; echo shown; false", timeout=30)
    assert (result.exit_status, result.output) == (1, "shown\n")


def test_a_trace_does_not_show_what_is_typed_here(console: Console) -> None:
    assert "printf" not in console.run("PS4='+ '; set -x; :", timeout=30).output


@pytest.mark.parametrize(
    "text",
    [
        *("true &&", "false &&", "true ||", "echo a |", "true && # then\n\n# nothing\n", "echo a |&"),
        *("foo()", "function foo", "for x in a b", "for x", "select x in a"),
    ],
)
def test_what_is_not_finished_is_an_error_of_the_shell(console: Console, text: str) -> None:
    result = console.run(text, timeout=30)
    assert result.exit_status
    assert "_LK" not in result.output
    assert console.run("echo on", timeout=30).output == "on\n"


@pytest.mark.parametrize(
    ("text", "status", "output"),
    [
        ("echo a \\", 0, "a\n"),
        ("echo a \\\n", 0, "a\n"),
        ("false \\", 1, ""),
        ("echo a # then &&", 0, "a\n"),
        ("echo 'a |'\nfalse # and `foo()`", 1, "a |\n"),
    ],
)
def test_what_only_looks_unfinished_has_its_status(
    console: Console, text: str, status: int, output: str
) -> None:
    result = console.run(text, timeout=30)
    assert (result.exit_status, result.output) == (status, output)


def test_what_begins_like_the_last_word_of_bash_is_output(console: Console) -> None:
    for text in ("e", "the exi", "exit\n", "exit\nexit", "exit\nexit\n", "exiting"):
        assert console.run(f"printf %s '{text}'", timeout=30).output == text
    assert console.run("printf ex; sleep 0.05; printf 'it\n'; echo on", timeout=30).output == "exit\non\n"


def test_the_status_of_the_command_before_is_there(console: Console) -> None:
    for number in (3, 0, 130):
        console.run(f"(exit {number})", timeout=30)
        assert console.run("echo $?; set -x", timeout=30).output.splitlines()[0] == str(number)
        assert "LK" not in console.run("{ set +x; } 2>/dev/null", timeout=30).output


def test_a_shell_that_nothing_follows_says_how_it_ends(
    toolchain_busybox: Path, shell: tuple[str, ...]
) -> None:
    with closing(Terminal(toolchain_busybox, shell=shell, once=True)) as terminal:
        console = Console(terminal, lone=True)
        console.handshake(10)
        assert console.run('echo "\036x9\037"; (exit 4)', timeout=30).exit_status == 4
        result = console.run("echo last; exit 5", timeout=30)
        assert (result.exit_status, result.shell_ended, result.output) == (5, True, "last\n")


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("cat <<A\nx\nA\ncat <<-'B'\n\tx\n\tB", []),
        ("cat > /tmp/cfg <<EOF\nkey=1\n  EOF\necho done", ["EOF"]),
        ("cat <<A; cat <<B\nA\n", ["B"]),
        ("cat <<\\E\nE", []),
        ("cat <<<word", []),
        ("echo $((1 << 2))", ["2"]),
        ("echo $((1 <<$x))", None),
        ("echo", []),
    ],
)
def test_here_documents_are_seen(command: str, names: list[str] | None) -> None:
    assert open_documents(command) == names
