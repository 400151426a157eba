"""The documented flow as one verb: profile, source, image, container, boot log, shell, verdict."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from labkit.asterinas import KeptImage, Profile, choose_profile
from labkit.bootlog import BootLogReader, BootReport, Goal
from labkit.console import CommandResult, Console
from labkit.container._container import Creation, Options, creation
from labkit.container._dockerfile import build_from_source
from labkit.container._engine import Engine, connect, find_engine
from labkit.container._image import has_image, load_image, pull_image
from labkit.container._keep import keep_built
from labkit.container._owner import sweep
from labkit.container._session import ContainerSession, start_session
from labkit.container._source import SourceTree, fetch_source, given_source
from labkit.errors import GuestGone, MissingComponent, StorageError, UsageError, VmError
from labkit.guest import build_initramfs
from labkit.host import HostReport, HostVerdict, verify
from labkit.settings import Settings, Trust
from labkit.show import badge, columns, join, pre, stamp, table
from labkit.toolchain import find_toolchain
from labkit.vm import Accel, choose_accelerator

Progress = Callable[[str], None]

_HANDSHAKE = 60.0
_POWER_OFF = 30.0
_VNC = 5900


@dataclass(frozen=True)
class RunRequest:
    """What the user asks for; None and empty mean that labkit decides.

    memory: MiB. variables: of make, besides the documented ones. kvm: hand over /dev/kvm and use it.
    timeout: seconds until the boot must be over, besides the deadlines of its stages.
    """

    profile: str | None = None
    as_documented: bool = False
    auto_test: bool = False
    image: str | None = None
    image_file: Path | None = None
    build_image: bool = False
    source: Path | None = None
    memory: int | None = None
    smp: int | None = None
    kvm: bool | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None

    def make_variables(self, *, td: bool, kvm: bool) -> dict[str, str]:
        """The variables of make that the request asks for."""
        words = {} if td or kvm else {"ENABLE_KVM": "0"}
        if self.memory is not None:
            words["MEM"] = f"{self.memory}M"
        if self.smp is not None:
            words["SMP"] = str(self.smp)
        return {**words, **self.variables}


@dataclass(frozen=True)
class ContainerPlan:
    """What will be run, and why so; nothing has been started."""

    profile: Profile
    engine: Engine
    source: SourceTree
    image: str
    make: tuple[str, ...]
    creation: Creation
    why: tuple[str, ...]
    td: bool

    def __str__(self) -> str:
        return columns(self.rows())

    def rows(self) -> list[tuple[str, str]]:
        """The plan in two columns."""
        return [
            ("profile", self.profile.name),
            ("source", str(self.source)),
            ("engine", self.engine.detail),
            ("container", self.creation.command_line),
            ("in it", " ".join(self.make)),
            *(("because", reason) for reason in self.why),
        ]


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
        return {
            "platform": "container",
            "trust": self.trust.value,
            "stamp": self.trust.stamp,
            "rehearsal": self.trust is not Trust.HARDWARE,
            "why": "; ".join(plan.why),
            "booted": self.booted,
            "verdict": report.pop("outcome"),
            **report,
            "profile": plan.profile.name,
            "image": plan.image,
            "make": list(plan.make),
            "container": plan.creation.command_line,
            "engine": plan.engine.to_dict(),
            "source": plan.source.to_dict(),
            "commands": [result.to_dict() for result in self.commands],
            "kept": self.kept.to_dict() if self.kept else None,
            "run_dir": str(self.run_dir),
        }

    def __repr__(self) -> str:
        return f"RunResult({self.plan.profile.name}, {self.report.outcome}, trust={self.trust.value})"

    def __str__(self) -> str:
        kept = "\nkept  the kernel, for `labkit boot --guest asterinas`" if self.kept else ""
        return f"{self.headline}\n{self.report}\nlogs  {self.run_dir}{kept}"

    def _repr_html_(self) -> str:
        head = join([badge(self.trust), pre(self.headline)])
        return join([head, table(self.plan.rows()), self.report._repr_html_()])


def plan_run(
    request: RunRequest,
    settings: Settings,
    on_progress: Progress = lambda text: None,
    host: HostReport | None = None,
) -> ContainerPlan:
    """Decide what to run; fetches the source and the image where they are missing.

    Raises:
        UsageError, MissingComponent: the request cannot work here; the message names what can.
        DataError, StorageError: of the source or the image.
    """
    report = host or verify()
    td = True if dict(request.variables).get("INTEL_TDX") == "1" else None
    profile = choose_profile(report, name=request.profile)
    engine = find_engine()
    client = connect(engine)
    try:
        if not (engine.address or "").startswith("unix:"):
            raise UsageError(
                f"The engine at {engine.address} is not on this machine, and cannot mount the source.",
                "Run labkit where the engine is.",
            )
        for name in sweep(client):
            on_progress(f"removed {name}, whose owner is gone")
        kvm, why_kvm = _kvm(profile, request, settings, on_progress)
        source = (
            given_source(request.source, profile)
            if request.source
            else fetch_source(profile, settings, on_progress)
        )
        image = _image(client, engine, profile, source, request, on_progress)
    finally:
        client.close()
    td = profile.tdx or bool(td)
    make = profile.make(
        auto_test="boot" if request.auto_test else None, **request.make_variables(td=td, kvm=kvm)
    )
    host_network = not request.as_documented and not engine.bridge
    options = Options(
        image=image,
        source=source.path,
        kvm=kvm,
        host_network=host_network,
        ports=_free_ports(profile) if host_network else {},
        as_documented=request.as_documented,
    )
    _check_fixed_port(profile, shares_host=host_network or request.as_documented)
    why = [_why_profile(profile, request, report), why_kvm]
    if host_network:
        why.append("it shares the host's network because the engine has no bridge")
    if profile.public_port and (request.as_documented or host_network):
        screen = _VNC + options.ports["VNC_PORT"] if host_network else profile.public_port
        why.append(f"the guest's screen listens on all interfaces of this machine, port {screen}")
    return ContainerPlan(
        profile, engine, source, image, make, creation(profile, options, make), tuple(why), td
    )


class ContainerRun:
    """A run of the documented flow. Use it as a context manager, or call ``close`` for its result."""

    def __init__(
        self, plan: ContainerPlan, request: RunRequest, settings: Settings, host: HostReport
    ) -> None:
        """Create and start the container.

        Raises:
            LabkitError: the engine cannot start it.
        """
        self.plan = plan
        self.commands: list[CommandResult] = []
        self._request = request
        self._settings = settings
        self._host = host
        self._goal = Goal.SMOKE if request.auto_test else Goal.PROMPT
        self._reader = BootLogReader(self._goal, first_stage="container")
        self._console: Console | None = None
        self._result: RunResult | None = None
        self._hung = False
        self.run_dir = _new_run_dir(settings)
        self._client = connect(plan.engine, timeout=120)
        self._session: ContainerSession = start_session(
            self._client, plan.engine, plan.creation, self._reader
        )
        try:
            self._session.start(plan.creation, plan.profile, plan.source.path, self.run_dir / "console.log")
        except BaseException:
            self._end()
            raise

    def wait(self, on_progress: Progress = lambda text: None) -> bool:
        """Follow the boot to its goal, its failure or its deadline; whether it got there."""
        wants_end = self._request.auto_test
        self._session.follow(
            lambda: not wants_end and self._reader.reached, on_progress, self._request.timeout
        )
        ended = self._session.exit_code is not None
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
            self._console = self._session.console(self._settings.output_limit, _HANDSHAKE)
        return self._console

    def close(self) -> RunResult:
        """End the guest the documented way, remove the container, judge the run; may be called twice."""
        if self._result is not None:
            return self._result
        try:
            if self._session.exit_code is None and self._reader.reached and not self._request.auto_test:
                self._session.send_line(self.plan.profile.power_off)
                self._session.drain(_POWER_OFF)
            report = self._session.report(hung=self._hung)
        finally:
            self._end()
        trust = _trust(self.plan, self._reader, self._host)
        self._result = RunResult(
            self.plan, report, trust, tuple(self.commands), self.run_dir, self._keep(report)
        )
        text = json.dumps(self._result.to_dict(), indent=2)
        (self.run_dir / "result.json").write_text(text + "\n")
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
        else:
            self._end()

    def _end(self) -> None:
        self._session.close()
        self._client.close()
        for log in self.plan.profile.logs:
            path = self.plan.source.path / log.name
            if path.is_file() and path.stat().st_size < 16 << 20:
                shutil.copyfile(path, self.run_dir / log.name)


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
    return ContainerRun(plan, request, settings, host)


def _image(
    client: Any,
    engine: Engine,
    profile: Profile,
    source: SourceTree,
    request: RunRequest,
    on_progress: Progress,
) -> str:
    if request.image_file:
        loaded = load_image(client, request.image_file, on_progress)
        return request.image or loaded
    reference = request.image or profile.image
    if request.build_image:
        build_from_source(client, engine, profile, source, reference, on_progress)
    elif not has_image(client, reference):
        pull_image(client, engine, reference, on_progress)
    return reference


def _kvm(
    profile: Profile, request: RunRequest, settings: Settings, on_progress: Progress
) -> tuple[bool, str]:
    if profile.tdx:
        return True, "a TD needs KVM"
    if request.kvm is not None:
        return request.kvm, f"KVM is {'on' if request.kvm else 'off'} because it was asked for"
    try:
        toolchain = find_toolchain(settings)
    except MissingComponent:
        return False, "without KVM, since the emulated platform is not set up to try it"
    initrd = build_initramfs(toolchain.busybox, settings.cache_dir / "guest", toolchain.bash)
    found = choose_accelerator(toolchain, initrd, settings, on_progress)
    if found.kind is Accel.KVM:
        return True, f"with KVM: {found.why}"
    return False, f"without KVM: {found.why}"


def _why_profile(profile: Profile, request: RunRequest, host: HostReport) -> str:
    if request.profile:
        return f"profile {profile.name} was asked for"
    if profile.tdx:
        return f"profile {profile.name} fits this host, which is READY for TDX"
    reason = f" ({host.reason})" if host.reason else ""
    return f"profile {profile.name}, without TDX: this host is {host.verdict.value}{reason}"


def _check_fixed_port(profile: Profile, *, shares_host: bool) -> None:
    """A profile with a fixed port cannot share the host's network with whoever has that port."""
    if profile.host_port is None or not shares_host:
        return
    with socket.socket() as probe:
        try:
            probe.bind(("", profile.host_port))
        except OSError as error:
            raise UsageError(
                f"Port {profile.host_port}, which profile {profile.name} always takes, is in use.",
                "End the program that has it, most likely another run of the same version.",
            ) from error


def _free_ports(profile: Profile) -> dict[str, int]:
    """Make variables and free ports of the host; QEMU counts the ports of screens from 5900."""
    ports = {name: _free_port() for name in profile.port_variables}
    return {**ports, "VNC_PORT": _free_port() - _VNC} if profile.public_port else ports


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


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
