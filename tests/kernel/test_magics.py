"""Cells that are not for the guest's shell, and the history of those that are: no guest needed."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.errors import UsageError
from labkit.kernel.host import ALLOW, HostPermission
from labkit.kernel.magics import MAGICS, CellOutcome, Context, MagicCall, call, find, help_text
from labkit.kernel.output import Publisher
from labkit.kernel.pulse import Pulse
from labkit.learn.ask import Notebook
from labkit.settings import Settings, Ui


class Desk:
    """What a magic may use, and what it has said."""

    def __init__(
        self, session: Any = None, answers: list[str | None] | None = None, state: Path | None = None
    ) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[tuple[str, bool]] = []
        self.answers = answers
        self.context = Context(
            session, Publisher(lambda kind, content: self.sent.append((kind, content)), 10_000)
        )
        self.context.permission = HostPermission({ALLOW: "1"})
        if state is not None:
            self.context.predictions = Notebook(Settings.load({}, state_dir=state, ui=Ui.STATIC))
        if answers is not None:
            self.context.ask = self._ask

    def _ask(self, prompt: str, hidden: bool) -> str | None:
        self.asked.append((prompt, hidden))
        assert self.answers is not None
        return self.answers.pop(0)

    def run(self, code: str) -> CellOutcome:
        magic = find(code)
        assert magic is not None, code
        outcome = call(magic, self.context)
        self.context.publisher.close()
        return outcome

    def text(self, name: str = "stdout") -> str:
        return "".join(
            content["text"] for kind, content in self.sent if kind == "stream" and content["name"] == name
        )


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("%%host\necho a", MagicCall("host", "", "echo a", "%%host\necho a")),
        ("\n\n%%host  a b \nx\ny", MagicCall("host", "a b", "x\ny", "\n\n%%host  a b \nx\ny")),
        ("%attest 00FF", MagicCall("attest", "00FF", "")),
        ("%tdvm \n \n", MagicCall("tdvm", "", "")),
        ("%tdvm\nls", None),
        ("%%tdvm", None),
        ("%host\n", None),
        ("%nothing", None),
        ("echo %tdvm", None),
        (" %tdvm", None),
        ("%", None),
        ("", None),
    ],
)
def test_which_cells_are_magics(code: str, found: MagicCall | None) -> None:
    assert find(code) == found


def test_every_magic_is_in_the_list() -> None:
    text = help_text()
    for magic in MAGICS.values():
        assert f"\n{magic.use:<26}{magic.help}\n" in text
    assert Desk().run("%tdvm").page == text


def test_a_cell_of_the_host_has_its_arguments_its_two_streams_and_its_status() -> None:
    desk = Desk()
    outcome = desk.run('%%host one "two\necho "$0 $1 $2"; echo bad >&2; exit 7')
    assert (outcome.status, desk.text(), desk.text("stderr")) == (7, 'bash one "two\n', "bad\n")
    assert Desk().run("%%host\ntrue").status == 0
    # One that a signal ended has a status all the same.
    assert Desk().run("%%host\nkill -9 $$").status == 256 - 9
    stopped = Desk()
    stopped.context.interrupted = threading.Event()
    stopped.context.interrupted.set()
    assert stopped.run("%%host\nsleep 100").status == 130


def test_a_cell_of_the_host_says_what_it_prints_while_it_runs(tmp_path: Path) -> None:
    desk, go = Desk(), tmp_path / "go"
    os.mkfifo(go)
    publish = desk.context.publisher.publish

    def heard(kind: str, content: dict[str, Any]) -> None:
        publish(kind, content)
        if "first" in content["text"]:
            # What waits for a writer goes on only after its first line was seen.
            go.write_text("now")

    desk.context.publisher.publish = heard
    stopper = threading.Timer(60, desk.context.interrupted.set)
    stopper.start()
    outcome = desk.run(f"%%host\necho first; cat {go}; printf '\\303'; sleep .3; printf '\\244'")
    stopper.cancel()
    assert (outcome.status, desk.text()) == (0, "first\nnowä")


def test_errors_of_the_host_may_be_cut_anywhere() -> None:
    desk = Desk()
    begin, rest = r"printf 'a \033[3'", r"printf '1mred\033[0m \033]0;title\007\303'"
    desk.run(f"%%host\nexec >&2; {begin}; sleep .3; {rest}")
    assert desk.text("stderr") == "a \x1b[31mred\x1b[0m \ufffd"


def test_a_person_sees_that_a_silent_cell_goes_on() -> None:
    clock = [0.0]
    sent: list[tuple[str, str]] = []
    publisher = Publisher(lambda kind, content: sent.append((kind, content["data"]["text/plain"])), 10)
    silent, talking = (Pulse("Running", publisher, lambda: clock[0]) for _ in range(2))
    talking.beat(silent=False)
    for clock[0] in (0.5, 1.0, 1.5, 2.0):
        silent.beat(silent=True)
        talking.beat(silent=True)
    clock[0] = 2.5
    silent.end(well=True)
    talking.end(well=True)
    assert sent == [
        ("display_data", "Running 1 s: running …"),
        ("update_display_data", "Running 2 s: running …"),
        ("update_display_data", "✔ Running: 2.5 s"),
    ]


@pytest.mark.parametrize("argument", ["0", "zz", "0x00"])
def test_report_data_is_hexadecimal(argument: str) -> None:
    with pytest.raises(UsageError, match="not hexadecimal"):
        Desk().run(f"%attest {argument}")


def test_snapshots_have_names() -> None:
    done: list[tuple[str, str]] = []
    session = SimpleNamespace(
        save=lambda name: done.append(("save", name)), restore=lambda name: done.append(("restore", name))
    )
    for magic in ("snapshot", "restore"):
        with pytest.raises(UsageError, match=f"%{magic} needs a name"):
            Desk(session).run(f"%{magic}")
        shown = Desk(session).run(f"%{magic} one")
        assert "one" in (shown.data or {})["text/plain"]
    assert done == [("save", "one"), ("restore", "one")]


def test_the_boot_log_is_shown_with_what_came_before_a_snapshot(tmp_path: Path) -> None:
    session = SimpleNamespace(tdvm=lambda: SimpleNamespace(run_dir=tmp_path))
    assert Desk(session).run("%console").status == 0
    (tmp_path / "console.log").write_bytes(b"after\x1b[2J\xff\n")
    desk = Desk(session)
    desk.run("%console")
    assert desk.text() == "after\ufffd\n"
    (tmp_path / "snapshot-console.log").write_text("before\n\n")
    desk = Desk(session)
    desk.run("%console")
    assert desk.text().splitlines() == [
        "before",
        "[here a snapshot was made, and this TDVM was resumed from it]",
        "after\ufffd",
    ]


@pytest.mark.parametrize(
    ("said", "kept"), [("1", "yes"), ("2", "no"), (" yes ", "yes"), ("", None), (None, None)]
)
def test_a_prediction_is_asked_for_and_kept(said: str | None, kept: str | None, tmp_path: Path) -> None:
    desk = Desk(answers=[said], state=tmp_path)
    outcome = desk.run("%predict 03.first Does it hold? | yes | no")
    assert desk.asked == [("Your prediction (1 to 2): ", False)]
    ((kind, content),) = desk.sent
    assert kind == "display_data"
    assert "Does it hold?\n  1. yes\n  2. no" in content["data"]["text/plain"]
    assert "<ol" in content["data"]["text/html"]
    assert (outcome.data is None) is (kept is None)
    desk.context.said = "it held"
    told = desk.run("%outcome 03.first | because it must")
    text = (told.data or {})["text/plain"]
    assert "it held" in text
    assert "because it must" in text
    assert kept is None or kept in text


@pytest.mark.parametrize("said", ["0", "3", "-1", "maybe"])
def test_what_is_not_offered_is_not_an_answer(said: str) -> None:
    with pytest.raises(UsageError, match="is not offered"):
        Desk(answers=[said]).run("%predict 03.first Does it hold? | yes | no")


def test_where_nobody_answers_a_question_is_only_shown(tmp_path: Path) -> None:
    desk = Desk()
    outcome = desk.run("%predict 03.first Why?")
    assert "Why?" in (outcome.data or {})["text/plain"]
    assert desk.sent == []
    free = Desk(answers=["1"], state=tmp_path)
    free.run("%predict 03.second How many?")
    assert free.asked == [("Your prediction: ", False)]


def test_an_outcome_is_that_of_a_cell() -> None:
    with pytest.raises(UsageError, match="No cell has said"):
        Desk().run("%outcome 03.first | why")
    with pytest.raises(UsageError, match="last line that a cell printed"):
        Desk().run("%outcome 03.first it held | why")
    with pytest.raises(UsageError, match="%predictions needs a name"):
        Desk().run("%predictions")


def test_a_person_is_told_what_takes_some_seconds_and_nothing_of_it_stays() -> None:
    order: list[str] = []
    session = SimpleNamespace(save=lambda name: order.append(f"saved {name}"))
    desk = Desk(session, answers=[])
    desk.context.publisher.publish = lambda kind, content: order.append(content.get("text", kind))
    desk.run("%snapshot a")
    assert order == ["saving the TDVM …\n", "saved a", "clear_output"]
    assert desk.context.publisher.last_line == "", "%outcome does not take it for a result"
    nobody = Desk(session)
    nobody.run("%snapshot b")
    assert nobody.sent == []
