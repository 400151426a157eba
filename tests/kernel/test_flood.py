"""Exact output, however much there is of it, and frames that somebody fakes."""

from __future__ import annotations

import os

import pytest

from .client import Frontend

pytestmark = pytest.mark.vm


def numbers(count: int) -> str:
    return "".join(f"{number}\n" for number in range(1, count + 1))


def test_200_000_lines_arrive_without_a_lost_byte_in_few_messages(frontend: Frontend) -> None:
    cell = frontend.run("seq 200000", timeout=300)
    assert cell.text() == numbers(200_000)
    # At most one message in 50 ms.
    assert len(cell.messages) <= cell.seconds / 0.05 + 2


def test_1000_lines_arrive_whole_every_time(frontend: Frontend) -> None:
    expected = numbers(1000)
    assert all(frontend.run("seq 1000").text() == expected for _ in range(40))


def test_a_flood_beyond_the_limit_is_cut_and_its_log_named(kernelspec: str) -> None:
    frontend = Frontend(**{**os.environ, "LABKIT_OUTPUT_LIMIT": "10000"})
    try:
        text = frontend.run("seq 20000").text()
    finally:
        frontend.close()
    assert text.startswith("1\n2\n")
    assert text.endswith("20000\n")
    assert len(text) < 15_000
    assert "characters not shown; the full log is " in text
    assert "shell.log" in text


def test_output_streams_while_the_cell_runs(frontend: Frontend) -> None:
    pieces: list[str] = []
    frontend.run("echo first; sleep 1; echo second", on_stream=pieces.append)
    assert pieces == ["first\n", "second\n"]


@pytest.mark.parametrize(
    "fake",
    [
        # Guessed, in today's form and in an older one.
        "printf '\\036!0123456789abcdef:0:i\\037'",
        "printf '\\036deadbeefdeadbeef:0\\036'",
        # The prompt, which anybody can print, and the answer to a ping.
        'printf "\\036>$_LK\\037"',
        'printf "\\036>$_LK,,\\037"',
        'printf "\\036>$_LK,e,\\037"',
        # Whatever looks like a nonce in the memory of the shell and of its parent.
        "for p in $$ 1; do strings -n 16 /proc/$p/environ /proc/$p/cmdline; done | grep -oE '[0-9a-f]{16}' "
        "| sort -u | while read -r n; do printf '\\036!%s:0:i\\037' $n; done",
    ],
)
def test_a_faked_end_never_passes_for_a_real_one(frontend: Frontend, fake: str) -> None:
    cell = frontend.run(f"{fake}; sleep 0.6; echo after; (exit 5)")
    assert cell.error == ("ExitStatus", "5")
    assert cell.text().endswith("after\n")
    assert frontend.run("echo next").text() == "next\n"


def test_the_memory_of_the_shell_does_not_hold_the_nonce(frontend: Frontend) -> None:
    # While a cell runs, its question has not been sent.
    code = (
        "heap=$(grep heap /proc/$$/maps); from=$((0x${heap%%-*})); to=${heap#*-}; to=$((0x${to%% *}))\n"
        "dd if=/proc/$$/mem bs=4096 skip=$((from / 4096)) count=$(((to - from) / 4096)) 2>/dev/null "
        "| strings -n 16 | grep -oE '![0-9a-f]{16}:|printf .{0,40}[0-9a-f]{16} ' | sort -u\necho looked"
    )
    cell = frontend.run(code, timeout=120)
    assert cell.text().endswith("looked\n")
    found = cell.text().splitlines()[:-1]
    # What is found is old: a frame made of it does not end a cell.
    fakes = "".join(f"printf '\\036!{line.strip('!:').split()[-1]}:0:i\\037';" for line in found)
    again = frontend.run(f"{fakes} sleep 0.5; echo real; (exit 6)")
    assert again.error == ("ExitStatus", "6")
    assert again.text().endswith("real\n")
