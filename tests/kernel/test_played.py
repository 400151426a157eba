"""A kernel and its session with a guest that is played: what is asked of it, and what Jupyter is told."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from jupyter_client.session import Session
from traitlets.config import Configurable

from labkit.console import CommandResult, Listener
from labkit.errors import BootFailed, CommandTimeout, GuestGone, UsageError
from labkit.kernel import session as sessions
from labkit.kernel.jupyter import TdvmKernel
from labkit.kernel.magics import MAGICS, help_text
from labkit.kernel.session import GuestSession
from labkit.settings import Settings, Trust, Ui
from labkit.vm.launch import Snapshot


@dataclass
class Shown:
    """A result that shows itself."""

    text: str
    verdict: str = "ACCEPTED"

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<p>{self.text}"


@dataclass
class PlayedGuest:
    """A TDVM, its machine and its console in one: what was asked, and what it is to answer."""

    number: int
    run_dir: Path
    reseeds: bool = True
    keep_in: Path | None = None
    headline: str = "[EMULATED] platform emulated, trust none"
    measurements: Any = field(default_factory=lambda: Shown("registers"))
    stdin: str = ""
    is_bash: bool = True
    log: list[str] = field(default_factory=list)
    answers: list[CommandResult | Exception] = field(default_factory=list)
    during: Callable[[Listener], None] = lambda listener: None

    @property
    def machine(self) -> PlayedGuest:
        return self

    @property
    def console(self) -> PlayedGuest:
        return self

    @property
    def spec(self) -> Any:
        return SimpleNamespace(guest=SimpleNamespace(reseeds=self.reseeds))

    @property
    def timeline(self) -> Any:
        return Shown("stages")

    def ask(self, command: str, seconds: float, *, bare: bool = False) -> CommandResult:
        words = command.split()
        self.log.append(f"{'bare' if bare else 'ask'} {'prelude' if 'read()' in words else command}")
        return self._next(command)

    def run(
        self,
        command: str,
        timeout: float | None = None,
        listener: Listener | None = None,
        *,
        aside: bool = False,
    ) -> CommandResult:
        self.log.append(f"{'aside' if aside else 'run'} {command}")
        if listener is not None:
            self.during(listener)
        return self._next(command)

    def _next(self, command: str) -> CommandResult:
        answer = self.answers.pop(0) if self.answers else result()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def explain(self, gone: GuestGone) -> GuestGone:
        return GuestGone(f"explained: {gone.message}")

    def save(self, snapshot: Snapshot) -> None:
        self.log.append(f"save {snapshot.memory.name} {snapshot.variables.name}")
        snapshot.memory.touch()

    def interrupt(self) -> None:
        self.log.append("interrupt")

    def kill(self) -> None:
        self.log.append("kill")

    def abandon(self) -> None:
        self.log.append("abandon")

    def record(self) -> None:
        self.log.append("record")


def result(status: int = 0, raw: bytes = b"", *, ended: bool = False) -> CommandResult:
    return CommandResult("", exit_status=status, raw=raw, seconds=0.0, shell_ended=ended)


class World:
    """Where guests come from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(cache_dir=folder / "cache", state_dir=folder / "state", ui=Ui.AUTO)
        self.session = GuestSession(self.settings)
        self.guests: list[PlayedGuest] = []
        self.headline = "[EMULATED] platform emulated, trust none"
        self.fails: Exception | None = None
        self.reseeds = True
        self.keeps = False
        self.first: list[CommandResult | Exception] = []
        self.nonces: list[bytes] = []
        self.attested: Any = None

    def boot(self, *_: object) -> PlayedGuest:
        if self.fails is not None:
            raise self.fails
        run_dir = self.folder / f"run{len(self.guests)}"
        run_dir.mkdir()
        (run_dir / "console.log").write_text("the boot")
        guest = PlayedGuest(len(self.guests), run_dir, self.reseeds, run_dir if self.keeps else None)
        guest.answers += self.first
        self.guests.append(guest)
        return guest

    def resume(self, before: PlayedGuest, snapshot: Snapshot) -> PlayedGuest:
        before.log.append(f"left for {snapshot.memory.parent.name}")
        return self.boot()

    def attest(self, guest: PlayedGuest, nonce: bytes) -> Any:
        self.nonces.append(nonce)
        return self.attested


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.setattr(sessions, "choose_platform", lambda name, settings: world)
    return world


NOBODY = Listener()


def test_a_guest_is_booted_once_and_told_what_the_kernel_needs(world: World) -> None:
    session = world.session
    assert (session.alive, session.run_dir, session.replaced) == (False, None, 0)
    assert session.headline(0.0) == ""
    session.interrupt()
    session.abandon()
    for _ in range(2):
        session.run("echo a", NOBODY)
    (guest,) = world.guests
    assert guest.log == ["bare prelude", "run echo a", "run echo a"]
    assert guest.stdin == "/dev/cell"
    assert (session.alive, session.run_dir) == (True, guest.run_dir)
    assert session.headline(0.0) == world.headline
    session.interrupt()
    session.abandon()
    session.close()
    assert guest.log[-3:] == ["interrupt", "kill", "abandon"]
    assert not session.alive
    with pytest.raises(GuestGone, match="shutting down"):
        session.tdvm()


@pytest.mark.parametrize(("status", "stdin"), [(0, "/dev/cell"), (1, "/dev/null")])
def test_another_guests_dev_is_asked_whether_it_takes_a_file(world: World, status: int, stdin: str) -> None:
    world.reseeds, world.keeps, world.first = False, True, [result(status)]
    world.session.tdvm()
    (guest,) = world.guests
    assert guest.stdin == stdin
    assert guest.log == ["ask : <>/dev/cell", "bare prelude", "record"]


def test_a_guest_that_cannot_be_told_is_not_kept(world: World) -> None:
    world.first = [CommandTimeout("no")]
    with pytest.raises(CommandTimeout):
        world.session.tdvm()
    assert world.guests[0].log[-1] == "abandon"
    assert not world.session.alive
    world.fails = BootFailed("no memory")
    fresh = GuestSession(world.settings)
    with pytest.raises(BootFailed):
        fresh.tdvm()
    assert fresh.headline(30.0) == world.headline


def test_a_shell_that_ended_is_told_again(world: World) -> None:
    world.first = [result(), result(3, ended=True)]
    assert world.session.run("exit 3", NOBODY).exit_status == 3
    assert world.guests[0].log == ["bare prelude", "run exit 3", "bare prelude"]


def test_a_guest_that_is_gone_is_explained_and_replaced(world: World) -> None:
    world.first = [result(), GuestGone("it ended")]
    with pytest.raises(GuestGone, match="explained: it ended") as gone:
        world.session.run("poweroff", NOBODY)
    assert gone.value.remedy == "The next cell starts in a fresh TDVM."
    assert world.guests[0].log[-1] == "abandon"
    assert (world.session.replaced, world.session.alive) == (1, False)
    assert world.session.query("echo") == ""
    assert world.session.replaced == 2


def test_a_question_runs_aside_and_may_stay_without_an_answer(world: World) -> None:
    world.first = [result(), result(0, b"a\xff"), CommandTimeout("no")]
    assert world.session.query("compgen -c") == "a\ufffd"
    assert world.session.query("compgen -c") == ""
    asked = world.guests[0].log[1]
    assert asked.startswith("aside (\\unset -f command ")
    assert "; compgen -c\n)" in asked
    assert world.session.alive


def test_a_guest_is_attested_for_a_nonce_or_a_fresh_one(world: World) -> None:
    world.attested = "evidence"
    measured, evidence = cast(Any, world.session.attest(b"mine"))
    assert (str(measured), evidence) == ("registers", "evidence")
    for _ in range(2):
        world.session.attest(None)
    assert world.nonces[0] == b"mine"
    assert len(set(world.nonces)) == 3


def test_a_state_is_saved_with_its_log_and_gone_back_to(world: World) -> None:
    session = world.session
    for name in ("", ".a", "a/b", "-", "a" * 41):
        with pytest.raises(UsageError, match="is not a name for a snapshot"):
            session.save(name)
    with pytest.raises(UsageError, match="There is no snapshot one"):
        session.restore("one")
    assert world.guests == []
    for _ in range(2):
        session.save("one")
    (folder,) = world.folder.glob("cache/snapshots/.kernel.*/one")
    assert (folder / "console.log").read_text() == "the boot"
    assert (folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o077) == (0o700, 0o055)
    assert world.guests[0].log[1:] == ["save memory vars.fd"] * 2
    (world.guests[0].run_dir / "snapshot-console.log").write_text("before")
    session.save("two")
    assert (folder.with_name("two") / "console.log").read_text() == "before"
    session.restore("one")
    assert world.guests[0].log[-2:] == ["left for one", "abandon"]
    assert world.guests[1].log == ["bare prelude"]
    assert session.run_dir == world.guests[1].run_dir
    world.guests[1].answers = []
    world.fails = BootFailed("it is damaged")
    with pytest.raises(BootFailed):
        session.restore("one")
    assert session.run_dir == world.guests[1].run_dir
    session.close()
    assert not folder.parent.exists()


def test_a_state_that_cannot_be_saved_leaves_nothing(world: World) -> None:
    (world.session.tdvm().run_dir / "console.log").unlink()
    with pytest.raises(IndexError):
        world.session.save("one")
    assert list(world.folder.glob("cache/snapshots/.kernel.*/*")) == []


class Application(Configurable):
    """What the kernel's process is to the kernel."""

    starting: Any = None


class Wire(Session):
    """Jupyter's session without its sockets: what was sent is kept, and replies are taken from a list."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.replies: list[str] = []
        self.on_sent: Callable[[str], None] = lambda kind: None

    def send(self, stream: Any, msg_or_type: Any, content: Any = None, *_: Any, **__: Any) -> Any:
        self.sent.append((msg_or_type, content))
        self.on_sent(msg_or_type)

    def recv(self, *_: object, **__: object) -> Any:
        return b"", {"content": {"value": self.replies.pop(0)}}

    def poll(self, timeout: int = 0, *_: object) -> bool:
        """A reply is there once it was asked for."""
        return timeout > 0 and bool(self.replies)


class Front:
    """A kernel as the front end sees it."""

    def __init__(self, world: World, *, booted: bool = True) -> None:
        self.wire = Wire()
        self.boot: Future[Any] = Future()
        if booted:
            self.boot.set_result(None)
        application = Application()
        self.starting = application.starting = SimpleNamespace(
            session=world.session, boot=self.boot, progress=[]
        )
        made: Any = TdvmKernel(parent=application, session=self.wire, log=logging.getLogger("tests"))
        made.stdin_socket = self.wire
        self.kernel = made

    def run(self, code: str, *, silent: bool = False, stdin: bool = False) -> dict[str, Any]:
        """One cell's reply; what was published meanwhile is in ``sent``."""
        self.wire.sent.clear()
        reply = asyncio.run(self.kernel.do_execute(code, silent, True, None, stdin))
        assert isinstance(reply, dict)
        return reply

    def interrupt(self) -> None:
        """The stop button, which Jupyter hears in another thread."""
        with pytest.raises(StopIteration):
            self.kernel.interrupt_request(None, None, None).send(None)

    def text(self, name: str = "stdout") -> str:
        return "".join(c["text"] for kind, c in self.wire.sent if kind == "stream" and c["name"] == name)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.wire.sent]


def says(*parts: bytes) -> Callable[[Listener], None]:
    def during(listener: Listener) -> None:
        for part in parts:
            assert listener.output is not None
            listener.output(part)

    return during


@pytest.fixture
def front(world: World) -> Front:
    front = Front(world)
    front.run(":")
    return front


def test_a_cell_has_one_reply_and_its_output(world: World, front: Front) -> None:
    (guest,) = world.guests
    guest.during = says(b"one\n", b"two\n")
    reply = front.run("echo one; echo two")
    assert (reply["status"], reply["payload"], reply["user_expressions"]) == ("ok", [], {})
    assert front.text() == "one\ntwo\n"
    assert front.kinds() == ["stream"]
    guest.answers = [result(3)]
    reply = front.run("exit status")
    assert (reply["status"], reply["ename"], reply["evalue"]) == ("error", "ExitStatus", "3")
    assert reply["traceback"] == ["exit status 3"]
    assert front.kinds() == ["stream", "error"]
    guest.answers = [result(130)]
    assert front.run("kill -INT $$")["traceback"] == ["exit status 130"]


def test_a_silent_cell_publishes_nothing_and_is_not_remembered(world: World, front: Front) -> None:
    (guest,) = world.guests
    guest.during = says(b"one\n")
    guest.answers = [result(3)]
    assert front.run("echo one", silent=True)["status"] == "error"
    assert front.wire.sent == []
    assert front.run("%snapshot here", silent=True)["status"] == "ok"
    assert front.wire.sent == []
    assert [entry[2] for entry in history(front, "tail")] == [":"]


def history(front: Front, kind: str, **words: Any) -> list[Any]:
    reply = asyncio.run(front.kernel.do_history(kind, words.pop("output", False), True, **words))
    found: list[Any] = reply["history"]
    return found


def test_cells_that_were_run_are_found_again(front: Front) -> None:
    for number, code in enumerate(["a", "b", "a"], 1):
        front.kernel.execution_count = number
        front.run(code)
    assert history(front, "tail", n=2) == [(0, 2, "b"), (0, 3, "a")]
    assert history(front, "range", start=1, stop=3, output=True) == [(0, 1, ("a", None)), (0, 2, ("b", None))]
    assert history(front, "search", pattern="a", unique=True) == [(0, 3, "a")]
    assert len(history(front, "search")) == 4


def test_a_defect_is_a_reply_too(world: World, front: Front) -> None:
    world.guests[0].answers = [RuntimeError("a bug")]
    reply = front.run("echo")
    assert (reply["ename"], reply["traceback"]) == (
        "RuntimeError",
        ["A defect in labkit: RuntimeError('a bug')"],
    )
    assert front.run("echo")["status"] == "ok"


def test_what_a_cell_left_of_its_shell_is_said(world: World, front: Front) -> None:
    (guest,) = world.guests
    guest.answers = [result(4, ended=True)]
    front.run("exit 4")
    assert "the shell ended with status 4" in front.text("stderr")
    front.run("exec >/dev/null")
    assert "redirection by `exec` ended" in front.text("stderr")
    open_document = "cat <<EOF\na"
    guest.answers = [result(), result(0, b"\n0"), result(0, b"0")]
    front.run(open_document)
    assert "no line is just EOF" in front.text("stderr")
    guest.answers = [result(), result(0, b"\n0"), result(0, b"1")]
    front.run(open_document)
    assert front.text("stderr") == ""
    front.run("echo 'a' | cat")
    assert front.text("stderr") == ""
    assert guest.log[-1] == "run echo 'a' | cat", "nothing is asked of a cell without a here-document"


def test_a_new_guest_is_said_once(world: World, front: Front) -> None:
    world.guests[0].answers = [GuestGone("it ended")]
    reply = front.run("poweroff")
    assert (reply["ename"], reply["evalue"]) == ("GuestGone", "explained: it ended")
    front.run("echo a")
    assert front.text("stderr").startswith("[a fresh TDVM was started")
    front.run("echo b")
    assert front.text("stderr") == ""


def test_a_person_sees_how_far_the_boot_is_and_what_came_of_it(world: World) -> None:
    front = Front(world, booted=False)
    front.starting.progress += ["firmware (0.0 s)", "kernel (1.0 s)"]
    threading.Timer(0.15, front.boot.set_result, [None]).start()
    front.run("echo", stdin=True)
    assert front.text() == "firmware (0.0 s)\nkernel (1.0 s)\n"
    assert [kind for kind in front.kinds() if kind != "stream"] == ["clear_output", "display_data"]
    front.run("echo", stdin=True)
    assert front.kinds() == []
    alone = Front(world, booted=True)
    alone.run("echo")
    assert alone.kinds() == []


def test_an_interrupt_while_the_guest_boots_ends_the_wait(world: World) -> None:
    front = Front(world, booted=False)

    def interrupt(kind: str) -> None:
        if kind == "stream":
            front.interrupt()

    front.wire.on_sent = interrupt
    front.starting.progress.append("firmware (0.0 s)")
    reply = front.run("echo", stdin=True)
    assert reply["ename"] == "Interrupted"
    assert world.guests == []


def test_the_third_interrupt_ends_the_guest(world: World, front: Front) -> None:
    (guest,) = world.guests

    def during(listener: Listener) -> None:
        for _ in range(3):
            front.interrupt()

    front.interrupt()
    assert guest.log[-1] == "run :", "no cell is running"
    guest.during = during
    guest.answers = [result(130)]
    reply = front.run("trap '' INT")
    assert guest.log[-3:] == ["interrupt", "interrupt", "kill"]
    assert reply["traceback"] == ["exit status 130 (interrupted)"]
    assert front.text("stderr").count("in spite of Ctrl-C") == 1
    assert [c for kind, c in front.wire.sent if kind == "interrupt_reply"] == [{"status": "ok"}] * 3
    guest.during = lambda listener: front.interrupt()
    front.run("sleep 1")
    assert guest.log[-1] == "interrupt"
    assert front.text("stderr") == ""


def test_a_guest_asks_the_person_where_there_is_one(world: World, front: Front) -> None:
    (guest,) = world.guests
    given: list[str | None] = []

    def during(listener: Listener) -> None:
        assert listener.ask is not None
        given.append(listener.ask("Name: ", True))

    guest.during = during
    front.run("read name")
    assert given == [None]
    assert "nobody can answer here" in front.text("stderr")
    front.wire.replies = ["me", "\x04"]
    front.run("read name", stdin=True)
    assert ("input_request", {"prompt": "The TDVM asks: Name: ", "password": True}) in front.wire.sent
    front.run("read name", stdin=True)
    assert given == [None, "me", None]

    def interrupted(listener: Listener) -> None:
        front.interrupt()
        during(listener)

    guest.during = interrupted
    front.run("read name", stdin=True)
    assert given[3:] == [None]


def test_a_list_as_a_parameter_needs_a_bash(world: World, front: Front) -> None:
    (guest,) = world.guests
    code = "# Parameters\nnames=(a b)"
    assert front.run(code)["status"] == "ok"
    guest.is_bash = False
    assert front.run("# Parameters\nname=a")["status"] == "ok"
    asked = list(guest.log)
    reply = front.run(code)
    assert reply["evalue"].startswith("The parameter names is a list or a mapping")
    assert guest.log == asked


def test_completion_and_help_of_magics_ask_no_guest(world: World, front: Front) -> None:
    asked = len(world.guests[0].log)
    complete = asyncio.run(front.kernel.do_complete("%sn", 3))
    assert (complete["matches"], complete["cursor_start"], complete["cursor_end"]) == (["%snapshot"], 0, 3)
    assert asyncio.run(front.kernel.do_complete("%", 1))["matches"] == [m for m in MAGICS if m[0] == "%"]
    inspected = asyncio.run(front.kernel.do_inspect("%tdvm", 2))
    assert (inspected["found"], inspected["data"]) == (True, {"text/plain": help_text()})
    assert asyncio.run(front.kernel.do_is_complete("%tdvm")) == {"status": "complete"}
    assert len(world.guests[0].log) == asked


def test_a_question_without_an_answer_has_a_reply(world: World, front: Front) -> None:
    world.guests[0].answers = [RuntimeError("a bug")] * 3
    complete = asyncio.run(front.kernel.do_complete("ec", 2))
    assert (complete["matches"], complete["cursor_start"], complete["cursor_end"]) == ([], 2, 2)
    assert asyncio.run(front.kernel.do_is_complete("ls"))["status"] == "unknown"
    assert asyncio.run(front.kernel.do_inspect("ls", 1))["found"] is False
    waiting = Front(world, booted=False)
    assert asyncio.run(waiting.kernel.do_is_complete("ls"))["status"] == "unknown"


def test_the_end_and_what_a_kernel_says_of_itself(world: World, front: Front) -> None:
    assert world.headline in front.kernel.banner
    assert front.kernel.finish_metadata(None, {"a": 1}, None) == {
        "a": 1,
        "labkit": {"headline": world.headline},
    }
    assert asyncio.run(front.kernel.do_shutdown(True)) == {"status": "ok", "restart": True}
    assert world.guests[0].log[-2:] == ["kill", "abandon"]
    assert not world.session.alive


def test_what_a_guest_shows_is_looked_at(world: World, front: Front) -> None:
    (guest,) = world.guests

    def during(listener: Listener) -> None:
        assert listener.display is not None
        listener.display("application/json", b"[1]")
        listener.display("text/html", b"<script>")

    guest.during = during
    front.run("display application/json")
    (shown, _) = (content for kind, content in front.wire.sent)
    assert shown["data"]["application/json"] == [1]
    assert front.text("stderr").startswith("display: text/html from the guest is not shown")
    assert front.text("stderr").endswith("\n")


def test_an_interrupt_that_does_not_reach_the_guest_has_a_reply(world: World, front: Front) -> None:
    (guest,) = world.guests

    def gone() -> None:
        raise GuestGone("it ended")

    cast(Any, guest).interrupt = gone
    guest.during = lambda listener: front.interrupt()
    front.run("sleep 1")
    (reply,) = [content for kind, content in front.wire.sent if kind == "interrupt_reply"]
    assert (reply["status"], reply["ename"], reply["evalue"]) == ("error", "GuestGone", "it ended")


def test_the_boot_and_the_evidence_of_the_guest_are_results(world: World, front: Front) -> None:
    world.attested = SimpleNamespace(
        headline="[EMULATED] trust none",
        verdict="VERIFIED\nand more",
        trust=Trust.NONE,
        appraisal=Shown("ACCEPTED"),
        _repr_html_=lambda: "<p>evidence",
    )
    front.run("%timeline")
    ((kind, content),) = front.wire.sent
    assert kind == "execute_result"
    assert "<p>stages" in content["data"]["text/html"]
    front.run("%attest 00FF")
    ((_, content),) = front.wire.sent
    assert world.nonces == [b"\0\xff"]
    text = content["data"]["text/plain"].splitlines()
    assert text[0] == "[EMULATED] trust none"
    assert text[3:] == ["quote VERIFIED", "registers"]
    assert "evidence" in content["data"]["text/html"]
    front.run("%predict 03.first What will it say?")
    front.run("%attest", stdin=True)
    assert front.kinds() == ["stream", "clear_output", "execute_result"]
    front.run("%outcome 03.first | because")
    assert "ACCEPTED, trust none" in front.wire.sent[-1][1]["data"]["text/plain"]
