"""Every end of a shell or of a guest is one clear reply, and the next cell runs."""

from __future__ import annotations

import pytest

from .client import Frontend

pytestmark = pytest.mark.vm


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("exit", 0),
        ("exit 7", 7),
        ("exec true", 0),
        ("exec cat", 0),
        ("exec sleep 0.4", 0),
        ("set -e; echo a; false; echo b", 1),
        ("trap 'echo bye' EXIT; exit 3", 3),
        ("kill -9 $$", 137),
        ("kill -STOP $$", 147),
        ("kill -HUP $$", 129),
    ],
)
def test_the_end_of_the_shell_is_said_and_a_new_one_answers(
    frontend: Frontend, code: str, status: int
) -> None:
    frontend.run("x=5")
    cell = frontend.run(code)
    assert cell.error == (("ExitStatus", str(status)) if status else ("", ""))
    assert f"the shell ended with status {status}" in cell.text("stderr")
    after = frontend.run("echo ok $x; read y")
    assert after.text() == "ok\n"
    assert "nobody can answer" in after.text("stderr")


def test_a_full_disk_is_an_error_of_the_command(frontend: Frontend) -> None:
    cell = frontend.run("dd if=/dev/zero of=/tmp/fill bs=1M")
    assert cell.error == ("ExitStatus", "1")
    assert "No space left on device" in cell.text()
    assert frontend.run("echo ok; cat <<E\nx\nE").text() == "ok\nx\n"
    assert frontend.run("rm /tmp/fill; echo y >/tmp/y; cat /tmp/y").text() == "y\n"


def test_a_fork_bomb_leaves_a_shell_that_answers(frontend: Frontend) -> None:
    frontend.run("bomb() { bomb | bomb & }; bomb")
    assert "ok\n" in frontend.run("echo ok").text()
    frontend.run("kill -9 -1")
    assert "/etc/hostname\n" in frontend.run("ls /etc/hostname").text()


@pytest.mark.parametrize("code", ["poweroff -f", "echo last; echo c >/proc/sysrq-trigger", "reboot -f"])
def test_the_end_of_the_guest_is_said_and_the_next_cell_gets_another(frontend: Frontend, code: str) -> None:
    cell = frontend.run(code)
    assert cell.error[0] == "GuestGone"
    assert "The next cell starts in a fresh TDVM" in cell.reply["traceback"][0]
    after = frontend.run("echo ok", timeout=180)
    assert after.text() == "ok\n"
    assert "a fresh TDVM was started" in after.text("stderr")


@pytest.mark.parametrize("code", ["set -n", "stty inlcr </dev/tty", "readonly _LK"])
def test_a_shell_that_may_not_answer_any_more_is_given_up_or_answers_truly(
    frontend: Frontend, code: str
) -> None:
    cell = frontend.run(code)
    # bash lives on after each of these; another shell may be lost, which is said.
    assert cell.error[0] in ("", "GuestGone")
    assert frontend.run("echo ok").text() == "ok\n"
    assert frontend.run("false").error[0] != ""


def test_a_thief_of_the_terminals_input_is_noticed(frontend: Frontend) -> None:
    frontend.run("setsid sh -c 'while :; do head -c 4000; done' </dev/tty >/dev/null 2>&1 & sleep 0.3")
    cells = [frontend.run(f"echo victim {number}") for number in range(4)]
    for number, cell in enumerate(cells):
        # A line reaches the shell or the thief: then it is said, and never passed off as done.
        assert cell.error[0] == "GuestGone" or cell.text().endswith(f"victim {number}\n"), cell
    assert frontend.run("echo ok").text().endswith("ok\n")
