from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.console import Console, Listener
from labkit.errors import CommandTimeout, GuestGone, UsageError

from .conftest import Terminal


@pytest.mark.parametrize(
    ("command", "status", "output"),
    [
        ("echo hello", 0, "hello\n"),
        ("printf 'no newline'", 0, "no newline"),
        ("false", 1, ""),
        ("exit_status() { return 42; }; exit_status", 42, ""),
        ("cat <<END\nheredoc\twith tab\nEND", 0, "heredoc\twith tab\n"),
        ("echo 'single' \"double\" `echo back` \\\\ !bang", 0, "single double back \\ !bang\n"),
        ("printf 'é→😀\\n'", 0, "é→😀\n"),
        ("for i in 1 2 3\ndo\n  echo $i\ndone", 0, "1\n2\n3\n"),
        ("", 0, ""),
        ("# only a comment", 0, ""),
    ],
)
def test_a_command_gives_its_output_and_status(
    console: Console, command: str, status: int, output: str
) -> None:
    result = console.run(command, timeout=10)
    assert (result.exit_status, result.output) == (status, output)


@pytest.mark.parametrize("broken", ["if 'x", "echo $(", "case x in", "cat <<END\nno end", "((", "}"])
def test_what_does_not_parse_is_answered_and_the_next_command_runs(console: Console, broken: str) -> None:
    console.run(broken, timeout=10)
    assert console.run("echo still here", timeout=10).output == "still here\n"


def test_variables_functions_and_the_last_status_last(console: Console) -> None:
    console.run("x=5; f() { echo $((x + 1)); }; cd /tmp")
    assert console.run("f; pwd").output == "6\n/tmp\n"
    console.run("(exit 9)")
    assert console.run("echo $?").output == "9\n"


@pytest.mark.parametrize("jobs", [1, 5])
def test_background_jobs_that_end_between_commands_do_not_end_the_shell(console: Console, jobs: int) -> None:
    last = ""
    for number in range(jobs):
        command = f"x={number}; sleep 0.2 & echo $!"
        result = console.run(command, timeout=10)
        assert not result.shell_ended
        last = result.output.strip()
        deadline = time.monotonic() + 10
        while not _has_ended(last):
            assert time.monotonic() < deadline
        # The end of a job interrupts the shell's reading. Newer shells announce it before the next output.
        assert console.run("echo x=$x", timeout=10).output.endswith(f"x={number}\n")


def _has_ended(process: str) -> bool:
    """No such process any more, or one that only waits for its parent."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_command_cannot_eat_the_question_behind_it(console: Console) -> None:
    assert console.run("read line; echo got $line", timeout=10).output == "got\n"
    assert console.run("cat", timeout=10).exit_status == 0


def test_a_long_command_arrives_whole(console: Console) -> None:
    text = "x'\\é\t" * 4000
    result = console.run(f"cat <<'END'\n{text}\nEND", timeout=30)
    assert result.raw.decode() == text + "\n"


def test_a_frame_that_is_printed_by_the_command_is_output(console: Console) -> None:
    result = console.run("printf '\\036deadbeefdeadbeef:0\\036after'; (exit 3)", timeout=10)
    assert result.exit_status == 3
    assert result.raw == b"\x1edeadbeefdeadbeef:0\x1eafter"


def test_the_nonce_is_not_to_be_found_while_the_command_runs(console: Console) -> None:
    # The shell's memory, environment and command line, searched for anything that looks like a nonce.
    search = "strings -n 16 /proc/$$/environ /proc/$$/cmdline | grep -cE '[0-9a-f]{16}'"
    assert console.run(search, timeout=10).output.strip() == "0"


def test_escape_sequences_and_controls_do_not_reach_the_reader(console: Console) -> None:
    result = console.run("printf '\\033[31mred\\033[0m \\033]0;title\\007\\001end\\r\\n'")
    assert result.output == "red end\n"


def test_a_flood_is_read_to_its_end_and_kept_within_bounds(terminal: Terminal) -> None:
    console = Console(terminal, output_limit=1000)
    console.handshake(10)
    seen = bytearray()
    result = console.run("seq 50000", timeout=60, on_output=seen.extend)
    assert seen == "".join(f"{number}\n" for number in range(1, 50001)).encode()
    assert len(result.raw) < 1100
    assert result.raw.startswith(b"1\n2\n")
    assert result.raw.endswith(b"49999\n50000\n")
    assert result.dropped > 200_000


def test_a_time_out_interrupts_and_leaves_a_usable_shell(console: Console) -> None:
    with pytest.raises(CommandTimeout, match="did not end within"):
        console.run("sleep 100", timeout=0.3)
    assert console.run("echo ok", timeout=10).output == "ok\n"


# What is interrupted is another process than the shell. A loop of the shell itself is interrupted in the
# tests of the kernel, in bash.
@pytest.mark.parametrize("command", ["sleep 100", "sh -c 'while :; do :; done'", "yes"])
@pytest.mark.parametrize("noflsh", [True, False])
def test_an_interrupt_ends_a_command_with_130(toolchain_busybox: Path, command: str, noflsh: bool) -> None:
    started = threading.Event()
    with closing(Terminal(toolchain_busybox, noflsh)) as terminal:
        console = Console(terminal)
        console.handshake(10)

        def interrupt() -> None:
            started.wait(60)
            console.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        tells = f"env echo started; {command}"
        result = console.run(tells, timeout=90, on_output=lambda data: started.set())
        thread.join()
        assert result.exit_status == 130
        after = console.run("echo next", timeout=10)
        assert after.output.strip() == "next"


def test_the_end_of_the_shell_is_the_end_of_a_stream_without_a_guest(console: Console) -> None:
    with pytest.raises(GuestGone, match="last words"):
        console.run("echo last words; exit 3", timeout=10)


def test_a_nul_is_refused(console: Console) -> None:
    with pytest.raises(UsageError):
        console.run("echo \0")


def test_a_terminal_that_never_answers_is_given_up() -> None:
    class Silent:
        def read(self, timeout: float) -> bytes | None:
            return None

        def write(self, data: bytes) -> None:
            pass

    with pytest.raises(CommandTimeout, match="did not answer"):
        Console(Silent()).handshake(0.01)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300))
def test_any_text_comes_back_as_it_was_sent(console: Console, text: str) -> None:
    quoted = text.replace("'", "'\\''")
    assert console.run(f"printf %s '{quoted}'", timeout=20).raw == text.encode()


class Gone:
    """The stream of a guest that has ended."""

    def read(self, timeout: float) -> bytes | None:
        return b""

    def write(self, data: bytes) -> None:
        raise BrokenPipeError


def test_an_interrupt_of_a_guest_that_is_gone_says_so() -> None:
    with pytest.raises(GuestGone):
        Console(Gone()).interrupt()


def test_what_a_command_shows_reaches_who_listens_and_nobody_else(console: Console) -> None:
    shown: list[tuple[str, bytes]] = []
    command = "printf '\\036=image/png;aGVsbG8=\\037'; echo text"
    listener = Listener(display=lambda mime, data: shown.append((mime, data)))
    result = console.run(command, timeout=10, listener=listener)
    assert (result.output, 0 <= result.seconds <= 10) == ("text\n", True)
    assert shown == [("image/png", b"hello")]
    assert console.run(command, timeout=10).output == "text\n"
    assert len(shown) == 1


def test_an_echo_that_a_command_leaves_on_is_switched_off_and_is_no_output(console: Console) -> None:
    assert console.run("stty echo </dev/tty", timeout=10).exit_status == 0
    assert console.run("echo one", timeout=10).output == "one\n"
    assert " -echo " in console.run("stty -a </dev/tty", timeout=10).output
