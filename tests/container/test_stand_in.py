"""A run of the documented flow whose container is a stand-in: what becomes of it at every end."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labkit.asterinas.versions import PROFILES
from labkit.bootlog.asterinas import BootLogReader, BootOutcome, BootReport
from labkit.bootlog.exit_codes import Layer
from labkit.container import flow as runs
from labkit.container import plan as plans
from labkit.container.container import Options, creation
from labkit.container.engine import Engine
from labkit.container.flow import ContainerRun, start_run
from labkit.container.plan import ContainerPlan, RunRequest
from labkit.container.source import SourceTree
from labkit.errors import GuestGone, MissingComponent, StorageError, UsageError, VmError
from labkit.host import Facts, HostReport, collect, diagnose
from labkit.settings import Settings, Trust
from labkit.vm.spec import Accel
from tests.host.hosts import BY_NAME, build

NOT_READY = diagnose(Facts())
ENGINE = Engine(True, "a stand-in", address="unix:///nowhere", kind="Docker", version="1")
BOOTED = b"OSTD initialized. Preparing components.\n[kernel] running /init as the init process\n~ # "


class StandIn:
    """In place of a container: its log comes at once, and it says what was asked of it."""

    def __init__(self, reader: BootLogReader, log: bytes, exit_code: int | None, seconds: float) -> None:
        self._reader = reader
        self._log = log
        self.exit_code = exit_code
        self.now = seconds
        self.published = {"10022": "22"}
        self.fresh_logs: tuple[Path, ...] = ()
        self.asked: list[str] = []

    def start(self, *_: object) -> None:
        self.asked.append("start")

    def follow(self, stop: Callable[[], bool], on_progress: object, limit: float | None) -> None:
        self._reader.feed("console", self._log, 1.0)

    def send_line(self, line: str) -> None:
        self.asked.append(line)

    def drain(self, seconds: float) -> None:
        self.asked.append("drain")

    def console(self, limit: int, timeout: float) -> Any:
        class Shell:
            def run(self, command: str, timeout: float | None, on_output: object) -> str:
                return f"ran {command}"

        self.asked.append("console")
        return Shell()

    def report(self, *, hung: bool, limit: float | None = None) -> BootReport:
        return self._reader.finish(self.now, self.exit_code, Layer.MAKE, hung=hung, limit=limit)

    def close(self) -> None:
        self.asked.append("close")


class Client:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Flow:
    """What makes a run of a stand-in, and what it left."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.settings = Settings(cache_dir=folder / "cache", state_dir=folder / "state")
        self.client = Client()
        self.kept: list[str] = []
        self.sessions: list[StandIn] = []
        monkeypatch.setattr(runs, "connect", lambda engine, timeout: self.client)
        monkeypatch.setattr(runs, "hand_back", lambda *_: None)
        monkeypatch.setattr(runs, "keep_built", self._keep)
        self._monkeypatch = monkeypatch

    def _keep(self, bundle: Path, version: str, origin: str, settings: Settings) -> None:
        self.kept.append(version)

    def plan(self, profile: str = "0.18.1") -> ContainerPlan:
        row = PROFILES[profile]
        source = self.folder / "source"
        source.mkdir(exist_ok=True)
        make = row.make()
        made = creation(row, Options(image=row.image, source=source), make)
        tree = SourceTree(source, row.tag, "c" * 40)
        return ContainerPlan(row, ENGINE, tree, row.image, make, made, ("why not",), row.tdx)

    def run(
        self,
        log: bytes = BOOTED,
        *,
        exit_code: int | None = None,
        seconds: float = 1.0,
        request: RunRequest | None = None,
        profile: str = "0.18.1",
        host: HostReport = NOT_READY,
    ) -> ContainerRun:
        def session(client: object, engine: object, creation: object, reader: BootLogReader) -> StandIn:
            self.sessions.append(StandIn(reader, log, exit_code, seconds))
            return self.sessions[-1]

        self._monkeypatch.setattr(runs, "start_session", session)
        return ContainerRun(self.plan(profile), request or RunRequest(), self.settings, host)

    @property
    def asked(self) -> list[str]:
        return self.sessions[-1].asked


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flow:
    return Flow(tmp_path, monkeypatch)


def written(run: ContainerRun) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((run.run_dir / "result.json").read_text())
    return document


def test_a_booted_guest_takes_commands_and_is_ended_as_documented(flow: Flow) -> None:
    with flow.run() as run:
        assert written(run)["verdict"] == "RUNNING"
        with pytest.raises(VmError, match="not there"):
            run.run("too early")
        assert run.wait()
        assert str(run.run("uname")) == "ran uname"
        run.run("again")
        run.commands.clear()  # what the stand-in answers is not a result
    result = run.close()
    assert flow.asked == ["start", "console", run.plan.profile.power_off, "drain", "close"]
    assert (result.booted, result.trust, result.ports) == (True, Trust.NONE, {"10022": "22"})
    assert flow.kept == ["0.18.1"]
    assert written(run)["verdict"] == "BOOTED"
    assert written(run)["rehearsal"] is True
    assert flow.client.closed == 1
    assert run.close() is result
    with pytest.raises(VmError, match="not there"):
        run.run("too late")


@pytest.mark.parametrize(
    ("log", "words", "outcome", "reached"),
    [
        (b"OSTD initialized. Preparing components.\n", {}, BootOutcome.HANG, False),
        (b"make: *** [Makefile:1: run] Error 1\n", {"exit_code": 2}, BootOutcome.FAILED, False),
        (BOOTED, {"exit_code": 0}, BootOutcome.BOOTED, True),
        (BOOTED + b"\nUncaught panic:\n\tboom\n\tat a.rs:1\n", {}, BootOutcome.PANIC, False),
        # A self-test must reach its own mark and come to its end.
        (b"Successfully booted.\n", {"exit_code": 0, "auto": True}, BootOutcome.BOOTED, True),
        (b"Successfully booted.\n", {"auto": True}, BootOutcome.BOOTED, False),
        (BOOTED, {"exit_code": 0, "auto": True}, BootOutcome.FAILED, False),
    ],
)
def test_a_run_is_judged_by_how_it_ended(
    flow: Flow, log: bytes, words: dict[str, Any], outcome: BootOutcome, reached: bool
) -> None:
    request = RunRequest(auto_test=words.get("auto", False))
    run = flow.run(log, exit_code=words.get("exit_code"), request=request)
    assert run.wait() is reached
    result = run.close()
    assert result.report.outcome is outcome
    # Nobody types into a guest that has ended, was not reached, or ends by itself.
    typed = run.plan.profile.power_off in flow.asked
    assert typed is (b"~ # " in log and not words)
    assert flow.kept == (["0.18.1"] if outcome is BootOutcome.BOOTED else [])


@pytest.mark.parametrize(("seconds", "named"), [(5.1, True), (4.9, False)])
def test_the_time_that_was_given_is_named_once_it_is_over(flow: Flow, seconds: float, named: bool) -> None:
    run = flow.run(b"OSTD initialized.\n", seconds=seconds, request=RunRequest(timeout=5.0))
    assert not run.wait()
    assert ("5 s that were given" in run.close().report.sentence) is named


def ended_by(error: BaseException, run: ContainerRun, *, closed: bool = False) -> dict[str, Any]:
    """What is recorded of a run within which something was raised."""

    def within() -> None:
        with run:
            run.wait()
            if closed:
                run.close()
            raise error

    with pytest.raises(type(error)):
        within()
    return written(run)


def test_a_guest_that_is_gone_is_judged_and_other_errors_are_passed_on(flow: Flow) -> None:
    gone = GuestGone("The guest is gone.", "Boot it again.")
    assert ended_by(gone, flow.run())["verdict"] == "BOOTED"
    assert ended_by(gone, flow.run(), closed=True)["verdict"] == "BOOTED"
    assert flow.asked.count("close") == 1
    document = ended_by(ValueError("mine"), flow.run())
    assert (document["verdict"], document["error"]) == ("FAILED", "mine")
    assert flow.asked == ["start", "close"]
    assert ended_by(ValueError("mine"), flow.run(), closed=True)["verdict"] == "BOOTED"
    assert ended_by(KeyboardInterrupt(), flow.run())["error"] == "The run was interrupted."


@pytest.mark.parametrize(
    ("profile", "ready", "shown", "trust"),
    [
        ("0.18.1-tdx", True, True, Trust.HARDWARE),
        ("0.18.1-tdx", True, False, Trust.NONE),
        ("0.18.1-tdx", False, True, Trust.NONE),
        ("0.18.1", True, True, Trust.NONE),
    ],
)
def test_hardware_needs_a_td_that_showed_itself_on_a_host_that_is_ready(
    flow: Flow, tmp_path: Path, profile: str, ready: bool, shown: bool, trust: Trust
) -> None:
    host = diagnose(collect(build(BY_NAME["good-6.17"], tmp_path / "host"))) if ready else NOT_READY
    log = (b"[EFI stub] Accepting pending pages\n" if shown else b"") + BOOTED
    run = flow.run(log, profile=profile, host=host)
    run.wait()
    result = run.close()
    assert result.trust is trust
    assert (result.to_dict()["rehearsal"], "a TD" in result.headline) == (
        trust is Trust.NONE,
        trust is Trust.HARDWARE,
    )


def test_a_run_that_cannot_begin_gives_the_tree_back(flow: Flow) -> None:
    flow.settings = replace(flow.settings, state_dir=flow.folder / "file")
    (flow.folder / "file").write_text("")
    for _ in range(2):  # the lock of the first is gone
        with pytest.raises(StorageError, match="cannot be written"):
            flow.run()
    assert flow.client.closed == 0


def test_everything_is_said_before_it_is_done(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(runs, "verify", lambda: NOT_READY)
    monkeypatch.setattr(runs, "plan_run", lambda *_: flow.plan())
    monkeypatch.setattr(
        runs, "start_session", lambda client, engine, creation, reader: StandIn(reader, b"", 1, 0.0)
    )
    run = start_run(RunRequest(), flow.settings, said.append)
    run.close()
    assert "why not" in said[0]
    assert " ".join(run.plan.make) in said[0]


# ---- the plan -------------------------------------------------------------------------------------


class Found:
    def __init__(self, kind: Accel) -> None:
        self.kind = kind
        self.why = "it was tried"


@pytest.mark.parametrize(
    ("profile", "wanted", "found", "kvm", "why"),
    [
        ("0.18.1-tdx", None, None, True, "a TD needs KVM"),
        ("0.18.1", True, None, True, "KVM is on because it was asked for"),
        ("0.18.1", False, None, False, "KVM is off because it was asked for"),
        ("0.18.1", None, Accel.KVM, True, "with KVM: it was tried"),
        ("0.18.1", None, Accel.TCG, False, "without KVM: it was tried"),
        ("0.18.1", None, None, False, "without KVM, since the emulated platform is not set up to try it"),
    ],
)
def test_kvm_is_used_where_it_was_tried_or_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    profile: str,
    wanted: bool | None,
    found: Accel | None,
    kvm: bool,
    why: str,
) -> None:
    class Tools:
        busybox = bash = None

    def toolchain(settings: Settings) -> Tools:
        if found is None:
            raise MissingComponent("There is no QEMU.", "Install it.")
        return Tools()

    monkeypatch.setattr(plans, "find_toolchain", toolchain)
    monkeypatch.setattr(plans, "choose_accelerator", lambda *_: Found(found) if found else None)
    settings = Settings(cache_dir=tmp_path, state_dir=tmp_path)
    asked = RunRequest(kvm=wanted)
    assert plans._kvm(PROFILES[profile], asked, settings, lambda text: None) == (kvm, why)


def test_a_fixed_port_that_is_in_use_is_named_where_the_network_is_shared() -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        profile = replace(PROFILES["0.18.1"], host_port=port)
        plans._check_fixed_port(profile, shares_host=False)
        with pytest.raises(UsageError, match=f"Port {port}, which profile 0.18.1 always takes, is in use"):
            plans._check_fixed_port(profile, shares_host=True)
    plans._check_fixed_port(profile, shares_host=True)
    plans._check_fixed_port(replace(profile, host_port=None), shares_host=True)


@pytest.mark.parametrize("name", PROFILES)
def test_screens_are_counted_from_5900_and_only_where_there_is_one(name: str) -> None:
    profile = PROFILES[name]
    ports = plans._free_ports(profile)
    assert ports.keys() - {"VNC_PORT"} == set(profile.port_variables)
    assert ("VNC_PORT" in ports) is (profile.public_port is not None)
    if profile.public_port:
        with socket.socket() as probe:
            probe.bind(("", ports["VNC_PORT"] + 5900))
