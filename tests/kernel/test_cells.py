"""What a cell may hold, and what it may do to its shell: always one reply, and the next cell works."""

from __future__ import annotations

import pytest

from .client import Frontend

pytestmark = pytest.mark.vm


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("echo 'a\tb' \"c\\\\d\" `echo e` !f", "a\tb c\\d e !f\n"),
        ("cat <<'END'\n$HOME `x` 'q'\n\tEND\nEND", "$HOME `x` 'q'\n\tEND\n"),
        ("printf 'no newline'", "no newline"),
        ("printf 'é→😀' | { while IFS= read -r c; do :; done; printf %s \"$c\"; }", "é→😀"),
        ("printf '\\360\\237'; sleep 0.2; printf '\\230\\200\\n'", "😀\n"),
        ("printf '\\377\\n'", "\ufffd\n"),
        ("printf 'a\\r\\nb\\000c\\033]0;title\\007\\033[2Kd\\n'", "a\nbcd\n"),
        ("printf '\\033[32mgreen\\033[0m\\n'", "\x1b[32mgreen\x1b[0m\n"),
        ("echo out; echo err >&2", "out\nerr\n"),
        ("", ""),
        ("# nothing", ""),
        ("(exit 3) | true", ""),
    ],
)
def test_a_cell_prints_what_it_prints(frontend: Frontend, code: str, output: str) -> None:
    cell = frontend.run(code)
    assert (cell.status, cell.text(), cell.text("stderr")) == ("ok", output, "")


def test_functions_variables_directory_and_status_last(frontend: Frontend) -> None:
    frontend.run("x=41; f() { echo $((x + 1)); }; cd /tmp; false")
    assert frontend.run("echo $?; f; pwd").text() == "1\n42\n/tmp\n"
    frontend.run("cd /root")


def test_a_status_is_an_error_with_name_and_value(frontend: Frontend) -> None:
    cell = frontend.run("echo before; (exit 7)")
    assert cell.error == ("ExitStatus", "7")
    assert cell.reply["traceback"] == ["exit status 7"]
    assert cell.kinds() == ["stream", "error"]


def test_a_nul_is_refused(frontend: Frontend) -> None:
    assert frontend.run("echo a\0b").error[0] == "UsageError"


def test_a_line_of_100_kb_arrives_whole_both_ways(frontend: Frontend) -> None:
    line = "0123456789é" * 9500
    assert frontend.run(f"echo {line}").text() == line + "\n"


def test_a_silent_cell_shows_nothing(frontend: Frontend) -> None:
    assert frontend.run("echo hidden; false", silent=True, store_history=False).messages == []


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("echo 'never closed", "2"),
        ('echo "never closed', "2"),
        ("echo $(", "1"),
        ("if true; then", "2"),
        ("}", "2"),
        ("nosuchcommand", "127"),
        ("set -u; echo $nope; set +u", "1"),
        ("stty sane", "1"),
    ],
)
def test_what_does_not_work_is_an_error_and_the_next_cell_runs(
    frontend: Frontend, code: str, status: str
) -> None:
    assert frontend.run(code).error == ("ExitStatus", status)
    frontend.run("set +u")
    assert frontend.run("echo ok").text() == "ok\n"


@pytest.mark.parametrize(
    "code",
    [
        "PROMPT_COMMAND='echo x' PS1='$ '",
        "readonly PS1='me> '",
        "eval() { :; }",
        "unset() { :; }; command() { :; }; printf() { :; }; builtin() { :; }",
        "trap 'echo trapped' DEBUG",
        "printf() { echo stolen; }",
        "command() { echo stolen; }",
        "_lk() { echo stolen; }",
        "alias printf=echo command=false eval=false unset=false",
        "exec 1>/dev/null",
        "exec 2>/dev/null",
        "exec </dev/null",
        "exec >&- 2>&-",
        "stty sane </dev/tty",
        "stty raw </dev/tty",
        "stty raw echo -isig </dev/tty",
        "stty -icanon -isig -echo min 0 </dev/tty",
        "set -x",
        "set -v",
        "set -u",
        "set -f; IFS=0123456789; set -C",
        "PATH=",
        "cd /proc/self",
        "trap 'echo trapped' INT USR1",
        "unset _LK PS1 PS2",
        "head -c 3 </dev/tty & sleep 0.1",
        "head -n 1 </dev/tty",
        "rm -f /dev/cell /dev/null",
        "yes & sleep 0.1; kill $!",
        "sleep 0.2 & (sleep 0.3; false) & :",
        "sleep 0.5; PS1=x",
        'printf "\\036>$_LK\\037"; sleep 0.5',
        "exec 3>&1 4</dev/tty 9>/dev/tty",
        "ulimit -c 0; umask 777; umask 022",
    ],
)
def test_what_a_cell_does_to_its_shell_does_not_harm_the_next_ones(fresh_shell: Frontend, code: str) -> None:
    cell = fresh_shell.run(code)
    assert cell.status == "ok", cell
    for number in range(3):
        after = fresh_shell.run(f"echo still here {number}")
        assert after.status == "ok"
        assert after.text().endswith(f"still here {number}\n"), after
        assert after.text("stderr") == ""
    last = fresh_shell.run("echo clean; (exit 4)")
    assert last.error == ("ExitStatus", "4")


@pytest.fixture
def fresh_shell(frontend: Frontend) -> Frontend:
    """The module's kernel, back in the state in which its guest was booted."""
    if "kept" not in frontend.__dict__:
        frontend.__dict__["kept"] = frontend.run("%snapshot kept")
    assert frontend.run("%restore kept").status == "ok"
    return frontend


def test_input_that_nobody_can_give_fails_at_once_with_a_hint(frontend: Frontend) -> None:
    cell = frontend.run("read -p 'Name? ' name; echo status $?")
    assert cell.text() == "status 1\n"
    assert "nobody can answer" in cell.text("stderr")
    assert cell.seconds < 5


def test_input_is_asked_for_where_somebody_can_answer(frontend: Frontend) -> None:
    asked = []

    def answer(prompt: str, hidden: bool) -> str:
        asked.append((prompt, hidden))
        return "Ada $(x) 'é' \\n"

    cell = frontend.run("read -r -p 'Name? ' name; read -rs word; echo \"<$name><$word>\"", answer=answer)
    # Who asks is said: a guest may ask for a password of the host's.
    assert asked == [("The TDVM asks: Name? ", False), ("The TDVM asks: ", True)]
    assert cell.text() == "<Ada $(x) 'é' \\n><Ada $(x) 'é' \\n>\n"
    asked.clear()
    frontend.run("%predict 99.who Who asks? | labkit | the guest", answer=answer)
    assert asked == [("Your prediction (1 to 2): ", False)], "it is not the guest that asks"


def test_read_reads_files_and_pipes_as_ever(frontend: Frontend) -> None:
    code = "echo p | { read q; echo $q; }; while read a b; do echo $b-$a; done <<E\n1 2\n3 4\nE\n"
    code += "read l </etc/hostname; echo $l"
    assert frontend.run(code).text() == "p\n2-1\n4-3\ntdvm\n"


def test_the_language_is_bash(frontend: Frontend) -> None:
    assert frontend.run("# Parameters\nn=(1 2)\necho ${n[1]}").text() == "2\n"
    assert frontend.run("declare -A m=([a]=x); echo ${m[a]} ${BASH_VERSION:+yes}").text() == "x yes\n"


def test_a_here_document_without_its_end_is_said(frontend: Frontend) -> None:
    cell = frontend.run("cat > /tmp/cfg <<EOF\nkey=1\n  EOF\necho done")
    assert "here-document never ended, no line is just EOF" in cell.text("stderr")
    assert frontend.run("cat /tmp/cfg").text() == "key=1\n  EOF\necho done\n"
    assert frontend.run("cat <<A\nx\nA\necho '<<B'").text("stderr") == ""


def test_output_that_a_cell_sends_elsewhere_for_good_is_said(frontend: Frontend) -> None:
    cell = frontend.run("exec >/tmp/elsewhere; echo hidden")
    assert (cell.status, cell.text()) == ("ok", "")
    assert "the next one prints here again" in cell.text("stderr")
    assert frontend.run("echo here; cat /tmp/elsewhere").text() == "here\nhidden\n"


def test_a_program_sees_the_end_of_input_at_once(frontend: Frontend) -> None:
    assert frontend.run("cat; wc -c; echo done").text() == "0\ndone\n"
