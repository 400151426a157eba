"""What a run will be, decided before anything is started: profile, source, image, container, ports."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labkit.asterinas import Profile
from labkit.asterinas.versions import PROFILES
from labkit.container.container import Creation, Options, creation
from labkit.container.dockerfile import build_from_source
from labkit.container.engine import Engine, connect, find_engine
from labkit.container.image import ImageStore
from labkit.container.owner import sweep
from labkit.container.source import SourceTree, fetch_source, given_source, tree_version
from labkit.errors import MissingComponent, UsageError
from labkit.host import HostReport, verify
from labkit.settings import Settings
from labkit.show import columns
from labkit.toolchain import find_toolchain
from labkit.vm.accel import choose_accelerator
from labkit.vm.spec import Accel

Progress = Callable[[str], None]

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
    profile, why_profile = profile_of(request, report)
    engine = find_engine()
    client = connect(engine)
    try:
        for name in sweep(client):
            on_progress(f"removed {name}, whose owner is gone")
        kvm, why_kvm = _kvm(profile, request, settings, on_progress)
        source = (
            given_source(request.source, profile)
            if request.source
            else fetch_source(profile, settings, on_progress)
        )
        image = choose_image(ImageStore(client, engine, on_progress), profile, source, request)
    finally:
        client.close()
    make = profile.make(
        auto_test="boot" if request.auto_test else None, **request.make_variables(td=profile.tdx, kvm=kvm)
    )
    host_network = not request.as_documented and not engine.bridge
    options = Options(
        image=image,
        source=source.path,
        kvm=kvm,
        host_network=host_network,
        ports=_free_ports(profile) if host_network else {},
        as_documented=request.as_documented,
        keep_groups=engine.kind == "Podman" and engine.rootless,
    )
    _check_fixed_port(profile, shares_host=host_network or request.as_documented)
    why = [*why_profile, why_kvm]
    if host_network:
        why.append("it shares the host's network because the engine has no bridge")
    if profile.public_port and (request.as_documented or host_network):
        screen = _VNC + options.ports["VNC_PORT"] if host_network else profile.public_port
        why.append(f"the guest's screen listens on all interfaces of this machine, port {screen}")
    return ContainerPlan(
        profile, engine, source, image, make, creation(profile, options, make), tuple(why), profile.tdx
    )


def profile_of(request: RunRequest, host: HostReport) -> tuple[Profile, list[str]]:
    """The profile, and why that one: by its name, by what make is asked for, by the version of a given tree.

    Raises:
        UsageError: name, tree and variables of make do not fit each other.
        MissingComponent: a TD is asked for, by whatever way, where none can run.
    """
    name, wants_td, why = request.profile, _asks_for_td(request.variables), []
    version = tree_version(request.source) if request.source else None
    if version and name is None and version in PROFILES:
        name = version
        why.append(f"the source tree is version {version}")
    if wants_td and name and not name.endswith("-tdx"):
        name = f"{name}-tdx"
        why.append("make is asked for a TD")
    chosen = Profile.choose(host, wants_td, name)
    if version and version != chosen.version:
        form = f"{version}-tdx" if chosen.tdx else version
        if form in PROFILES:
            raise UsageError(
                f"The source tree {request.source} is version {version}, and the profile is {chosen.name}.",
                f"Use --profile {form}, or a tree of {chosen.version}.",
            )
        why.append(f"the source tree is version {version}, which labkit has no profile of")
    return chosen, [_why_profile(chosen, request, host), *why]


def _asks_for_td(variables: Mapping[str, str]) -> bool | None:
    """What make is told about TDX; None where nothing."""
    told = variables.get("INTEL_TDX")
    if told == "1" or variables.get("SCHEME") == "tdx":
        return True
    return None if told is None else False


def choose_image(images: ImageStore, profile: Profile, source: SourceTree, request: RunRequest) -> str:
    """The reference of the image that runs; it is there afterwards.

    Raises:
        UsageError, MissingComponent, StorageError: it cannot be loaded, built or pulled.
    """
    if request.image_file:
        loaded = images.load(request.image_file)
        return request.image or loaded
    documented = profile.documented_image if request.as_documented else profile.image
    reference = request.image or documented
    if request.build_image:
        build_from_source(images, profile, source, reference)
    elif not images.has(reference):
        images.pull(reference)
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
    found = choose_accelerator(toolchain, settings, on_progress)
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
