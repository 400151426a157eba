"""The documented flow as one verb: profile, source, image, container, boot log, shell, verdict."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from labkit.asterinas.kept import KeptImage
from labkit.bootlog.asterinas import BootLogReader, BootReport, Goal
from labkit.console import CommandResult, Console
from labkit.container._keep import keep_built
from labkit.container.engine import connect
from labkit.container.plan import ContainerPlan, RunRequest, plan_run
from labkit.container.session import ContainerSession, start_session
from labkit.container.tree import TreeLock, hand_back
from labkit.errors import GuestGone, StorageError, VmError
from labkit.host import HostReport, HostVerdict, verify
from labkit.settings import Settings, Trust
from labkit.show import stamp
from labkit.show.markup import badge, join, pre, table

Progress = Callable[[str], None]

_HANDSHAKE = 60.0
_POWER_OFF = 30.0
_LOG_LIMIT = 16 << 20


@dataclass(frozen=True)
class RunResult:
    """What a run came to. trust is hardware only for a TD that showed itself on a host that is READY.

    kept: the kernel that was built, in the cache.
    """

    plan: ContainerPlan
    report: BootReport
    trust: Trust
    commands: tuple[CommandResult, ...]
    run_dir: Path
    kept: KeptImage | None = None
    ports: Mapping[str, str] = field(default_factory=dict)

    @property
    def booted(self) -> bool:
        """The run reached its goal, and nothing speaks against it."""
        return self.report.booted

    @property
    def headline(self) -> str:
        """One line: the platform, what it may be trusted for, and why."""
        kind = "a TD" if self.trust is Trust.HARDWARE else "a rehearsal without TDX"
        name = self.plan.profile.name
        return f"{stamp(self.trust)}platform container, trust {self.trust.value}: {kind}, profile {name}"

    def to_dict(self) -> dict[str, Any]:
        """The run with the keys of ``labkit boot``, and those of its report."""
        plan, report = self.plan, self.report.to_dict()
        verdict = report.pop("outcome")
        return {
            **report,
            **_described(plan, self.trust, self.run_dir),
            "booted": self.booted,
            "verdict": verdict,
            "commands": [result.to_dict() for result in self.commands],
            "kept": self.kept.to_dict() if self.kept else None,
            "ports": dict(self.ports),
        }

    def __repr__(self) -> str:
        return f"RunResult({self.plan.profile.name}, {self.report.outcome}, trust={self.trust.value})"

    def __str__(self) -> str:
        kept = "\nkept  the kernel, for `labkit boot --guest asterinas`" if self.kept else ""
        return f"{self.headline}\n{self.report}\nlogs  {self.run_dir}{kept}"

    def _repr_html_(self) -> str:
        head = join([badge(self.trust), pre(self.headline)])
        return join([head, table(self.plan.rows()), self.report._repr_html_()])


class ContainerRun:
    """A run of the documented flow. Use it as a context manager, or call ``close`` for its result."""

    def __init__(
        self,
        plan: ContainerPlan,
        request: RunRequest,
        settings: Settings,
        host: HostReport,
        on_progress: Progress = lambda text: None,
    ) -> None:
        """Create and start the container.

        Raises:
            LabkitError: the engine cannot start it.
        """
        self.plan = plan
        self.commands: list[CommandResult] = []
        self._request = request
        self._ended = False
        self._on_progress = on_progress
        self._settings = settings
        self._host = host
        self._goal = Goal.SMOKE if request.auto_test else Goal.PROMPT
        self._reader = BootLogReader(self._goal, first_stage="container")
        self._console: Console | None = None
        self._result: RunResult | None = None
        self._hung = False
        self._timed_out = False
        self._session: ContainerSession | None = None
        self._lock = TreeLock(plan.source.path)
        try:
            self.run_dir = _new_run_dir(settings)
            _write(
                self.run_dir,
                unfinished(plan, self.run_dir, "The run has not ended, or was killed.", "RUNNING"),
            )
            self._client = connect(plan.engine, timeout=120)
        except BaseException:
            self._lock.release()
            raise
        try:
            self._session = start_session(self._client, plan.engine, plan.creation, self._reader)
            self._session.start(plan.creation, plan.profile, plan.source.path, self.run_dir / "console.log")
        except BaseException as error:
            self._end(error)
            raise

    def wait(self, on_progress: Progress = lambda text: None) -> bool:
        """Follow the boot to its goal, its failure or its deadline; whether it got there."""
        wants_end, session, limit = self._request.auto_test, self._running, self._request.timeout
        session.follow(lambda: not wants_end and self._reader.reached, on_progress, limit)
        ended = session.exit_code is not None
        self._timed_out = not ended and limit is not None and session.now > limit
        self._hung = not ended and not self._reader.reached and self._reader.fatal_at is None
        return self._reader.reached and (ended or not wants_end) and self._reader.fatal_at is None

    def run(
        self, command: str, timeout: float | None = 60.0, on_output: Callable[[bytes], None] | None = None
    ) -> CommandResult:
        """Run a command in the guest's shell; see ``labkit.vm.Console.run``."""
        result = self.console.run(command, timeout, on_output)
        self.commands.append(result)
        return result

    @property
    def console(self) -> Console:
        """The framed console on the container's terminal.

        Raises:
            CommandTimeout: the shell does not answer.
            VmError: the guest has not booted, or its run has ended.
        """
        if self._result is not None or not self._reader.reached:
            raise VmError("The guest's shell is not there.", "Boot it first.")
        if self._console is None:
            self._console = self._running.console(self._settings.output_limit, _HANDSHAKE)
        return self._console

    def interrupt(self) -> None:
        """Send Ctrl-C to the command that runs in the guest; the machine goes on."""
        if self._console is not None:
            self._console.interrupt()

    @property
    def _running(self) -> ContainerSession:
        assert self._session is not None
        return self._session

    def close(self) -> RunResult:
        """End the guest the documented way, remove the container, judge the run; may be called twice."""
        if self._result is not None:
            return self._result
        session = self._running
        try:
            if session.exit_code is None and self._reader.reached and not self._request.auto_test:
                session.send_line(self.plan.profile.power_off)
                session.drain(_POWER_OFF)
            limit = self._request.timeout if self._timed_out else None
            report = session.report(hung=self._hung, limit=limit)
        except BaseException as error:
            self._end(error)
            raise
        trust = _trust(self.plan, self._reader, self._host)
        self._result = RunResult(
            self.plan,
            report,
            trust,
            tuple(self.commands),
            self.run_dir,
            self._keep(report),
            session.published,
        )
        self._end(None)
        return self._result

    def _keep(self, report: BootReport) -> KeptImage | None:
        if not report.booted:
            return None
        plan = self.plan
        bundle = plan.source.path / plan.profile.bundle
        origin = f"built by {plan.image} from {plan.source.path}"
        return keep_built(bundle, plan.profile.version, origin, self._settings)

    def __enter__(self) -> ContainerRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or (isinstance(error, GuestGone) and self._result is None):
            self.close()
        elif self._result is None:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """Remove the container, keep the logs and the result, give the tree back: at every end, once."""
        if self._ended:
            return
        self._ended = True
        try:
            if self._session is not None:
                self._session.close()
                keep_logs(self._session.fresh_logs, self.run_dir)
            said = "The run was interrupted." if isinstance(error, KeyboardInterrupt) else str(error)
            document = self._result.to_dict() if self._result else unfinished(self.plan, self.run_dir, said)
            _write(self.run_dir, document)
            plan = self.plan
            hand_back(self._client, plan.engine, plan.image, plan.source.path, self._on_progress)
        finally:
            self._client.close()
            self._lock.release()


def start_run(
    request: RunRequest, settings: Settings, on_progress: Progress = lambda text: None
) -> ContainerRun:
    """Plan a run and start its container; everything is said before it is done.

    Raises:
        LabkitError: see ``plan_run`` and ``ContainerRun``.
    """
    host = verify()
    plan = plan_run(request, settings, on_progress, host)
    on_progress(str(plan))
    return ContainerRun(plan, request, settings, host, on_progress)


def unfinished(plan: ContainerPlan, run_dir: Path, said: str, verdict: str = "FAILED") -> dict[str, Any]:
    """What is recorded of a run that has no verdict: why, with the keys of a result."""
    return {
        **_described(plan, Trust.NONE, run_dir),
        "booted": False,
        "verdict": verdict,
        "sentence": said,
        "error": said,
        "commands": [],
    }


def _described(plan: ContainerPlan, trust: Trust, run_dir: Path) -> dict[str, Any]:
    """What every result says of the run that was planned."""
    return {
        "platform": "container",
        "trust": trust.value,
        "stamp": trust.stamp,
        "rehearsal": trust is not Trust.HARDWARE,
        "why": "; ".join(plan.why),
        "profile": plan.profile.name,
        "image": plan.image,
        "make": list(plan.make),
        "container": plan.creation.command_line,
        "engine": plan.engine.to_dict(),
        "source": plan.source.to_dict(),
        "run_dir": str(run_dir),
    }


def _write(run_dir: Path, document: Mapping[str, Any]) -> None:
    (run_dir / "result.json").write_text(json.dumps(document, indent=2) + "\n")


def keep_logs(logs: tuple[Path, ...], run_dir: Path) -> None:
    """Copy the logs of this run; what an earlier one left in the tree is not this one's."""
    for path in logs:
        if path.is_file() and path.stat().st_size < _LOG_LIMIT:
            shutil.copyfile(path, run_dir / path.name)


def _trust(plan: ContainerPlan, reader: BootLogReader, host: HostReport) -> Trust:
    shown = "tdx" in reader.stages
    return Trust.HARDWARE if plan.td and shown and host.verdict is HostVerdict.READY else Trust.NONE


def _new_run_dir(settings: Settings) -> Path:
    name = time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(3)
    path = settings.state_dir / "runs" / name
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise StorageError(
            f"The state directory {settings.state_dir} cannot be written: {error.strerror}.",
            "Set LABKIT_STATE_DIR to a directory that can.",
        ) from error
    return path
