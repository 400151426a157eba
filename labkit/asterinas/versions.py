"""What is known about each version of Asterinas that labkit runs: one row a version and form.

Read in the repository at the tags, v0.18.0 also observed under TCG; no row was run on TDX hardware. Whether
the registry still serves the older images is unverified.
"""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, replace
from typing import Any

from labkit.errors import MissingComponent, UsageError
from labkit.host import HostReport, HostVerdict
from labkit.host.kvm_generation import Generation, host_generation
from labkit.show import columns
from labkit.show.markup import join, pre, table

VNC_PORT = 5942


@dataclass(frozen=True)
class LogFile:
    """A file in the source tree that QEMU writes during a run; ``stream`` names it for the classifier."""

    name: str
    stream: str


@dataclass(frozen=True)
class Features:
    """What of TDX works inside the guest: TDREPORTs, quotes, reading and extending RTMRs, several CPUs."""

    report: bool
    quotes: bool
    rtmr: bool
    smp: bool


@dataclass(frozen=True)
class Profile:
    """One version of Asterinas in one form: as a TD, or as an ordinary guest.

    commit: of the tag, where known. images: references of the development image, the preferred one
    first, the documented one last. digest: of the first image, where known.
    target, build_target: of make. variables: of make, for a run.
    generation: of KVM, which a TD needs; None for an ordinary guest. qemu: the one in the image.
    tdx_object: QEMU's ``-object`` of the TD. firmware: its path in the image.
    logs: the files of a run besides standard output. stages: those that this version's log shows, in order.
    host_port: the one host port that is fixed, which two runs cannot share. guest_ports: forwarded ones.
    port_variables: make variables that pin the host ports. privileges: the documented container options.
    failures: ids of the known failures that belong to this version alone.
    """

    name: str
    version: str
    tdx: bool
    tag: str
    images: tuple[str, ...]
    target: str
    build_target: str
    variables: tuple[tuple[str, str], ...]
    generation: Generation | None
    qemu: str
    firmware: str
    medium: str
    protocol: str
    logs: tuple[LogFile, ...]
    stages: tuple[str, ...]
    features: Features
    guest_ports: tuple[int, ...]
    privileges: tuple[str, ...]
    bundle: str
    power_off: str = "exit"
    console: str = "hvc0"
    prompt: str = "~ # "
    commit: str | None = None
    digest: str | None = None
    tdx_object: str | None = None
    memory_backend: str | None = None
    host_port: int | None = None
    port_variables: tuple[str, ...] = ()
    public_port: int | None = None
    failures: tuple[str, ...] = ()

    @classmethod
    def named(cls, name: str) -> Profile:
        """The profile of that name.

        Raises:
            UsageError: there is none.
        """
        if name in PROFILES:
            return PROFILES[name]
        near = difflib.get_close_matches(name, PROFILES, 1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"There is no Asterinas profile {name!r}.{meant}", f"The profiles are {', '.join(PROFILES)}."
        )

    @classmethod
    def choose(
        cls, host: HostReport | Generation | None, tdx: bool | None = None, name: str | None = None
    ) -> Profile:
        """The profile for a host: the named one where it can work there, else the newest that can.

        host: a report, or the generation of its KVM (None: it cannot run TDs). tdx: as a TD or not; left out,
        a TD where the host can run one.

        Raises:
            UsageError: the name is none, or the combination cannot work; the one that can is named.
            MissingComponent: the host cannot run a TD at all.
        """
        generation, why = _ability(host)
        chosen = cls.named(name) if name else None
        if chosen is None:
            as_td = isinstance(generation, Generation) if tdx is None else tdx
            return _newest(generation, why) if as_td else PROFILES[RECOMMENDED]
        if tdx is not None and tdx != chosen.tdx:
            other = chosen.version if chosen.tdx else f"{chosen.version}-tdx"
            form = "a TD" if chosen.tdx else "an ordinary guest"
            raise UsageError(f"Profile {chosen.name} boots {form}.", f"The other form is {other}.")
        if chosen.generation is None or chosen.generation is generation:
            return chosen
        needs = f"Profile {chosen.name} starts a TD only on {chosen.generation.where}"
        if generation is None:
            raise MissingComponent(f"{needs}, and {why}.", f"Use {chosen.version}, the ordinary guest.")
        raise UsageError(
            f"{needs}, and this host has {generation.where}: QEMU and KVM must be of one generation.",
            f"Use {_BY_GENERATION[generation]}.",
        )

    @property
    def image(self) -> str:
        """The reference of the preferred image, by digest where that is known."""
        return f"{self.images[0]}@{self.digest}" if self.digest else self.images[0]

    @property
    def documented_image(self) -> str:
        """The reference that the documentation of the version names."""
        return self.images[-1]

    def make(self, *, auto_test: str | None = None, **variables: str) -> tuple[str, ...]:
        """The documented ``make`` command; ``auto_test`` (such as ``boot``) ends by itself."""
        words = {**dict(self.variables), **({"AUTO_TEST": auto_test} if auto_test else {}), **variables}
        return ("make", self.target, *(f"{name}={value}" for name, value in words.items()))

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON types."""
        row = asdict(self)
        row["image"] = self.image
        row["make"] = list(self.make())
        row["smoke_test"] = list(self.make(auto_test="boot"))
        row["generation"] = self.generation.value if self.generation else None
        return row

    def __repr__(self) -> str:
        return f"Profile({self.name})"

    def __str__(self) -> str:
        return columns(self._rows())

    def _repr_html_(self) -> str:
        return join([pre(f"Asterinas {self.name}"), table(self._rows())])

    def _rows(self) -> list[tuple[str, str]]:
        features = [_FEATURES[name] for name, has in asdict(self.features).items() if has]
        return [
            ("profile", self.name),
            ("git tag", self.tag),
            ("image", self.image),
            ("run", " ".join(self.make())),
            ("smoke test", " ".join(self.make(auto_test="boot"))),
            ("host", self.generation.where if self.generation else "any"),
            ("QEMU in the image", self.qemu),
            ("firmware", self.firmware),
            ("logs", ", ".join(log.name for log in self.logs)),
            ("console", self.console),
            ("power off", self.power_off),
            ("in the guest", ", ".join(features) or "one CPU, no TDX"),
        ]


@dataclass(frozen=True)
class ProfileTable:
    """Several profiles, one a row."""

    rows: tuple[Profile, ...]

    def to_dict(self) -> dict[str, Any]:
        """The rows as JSON types."""
        return {"profiles": [row.to_dict() for row in self.rows]}

    def __repr__(self) -> str:
        return f"ProfileTable({len(self.rows)} profiles)"

    def __str__(self) -> str:
        return columns([_HEAD, *self._cells()])

    def _repr_html_(self) -> str:
        return table(self._cells(), head=_HEAD)

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                row.name,
                row.tag,
                row.generation.value if row.generation else "any",
                row.qemu,
                row.images[0],
                " ".join(row.make()),
            )
            for row in self.rows
        ]


_FEATURES = {"report": "TDREPORTs", "quotes": "quotes", "rtmr": "RTMRs", "smp": "several CPUs"}
_HEAD = ("profile", "tag", "host KVM", "QEMU", "image", "run")

_BUILD = ("build", "image", "firmware", "grub")
_KERNEL = ("ostd", "thread", "initramfs", "init", "prompt")
_STUB = (*_BUILD, "efi-stub")
_PORTS_4 = (22, 8080, 6379, 5201)
_PORTS_7 = (*_PORTS_4, 31234, 31236, 11211)
_PORT_VARIABLES = (
    "SSH_PORT",
    "NGINX_PORT",
    "REDIS_PORT",
    "IPERF_PORT",
    "LMBENCH_TCP_LAT_PORT",
    "LMBENCH_TCP_BW_PORT",
    "MEMCACHED_PORT",
)
_ONE_LOG = (LogFile("qemu.log", "console"),)
_TWO_LOGS = (LogFile("qemu.log", "console"), LogFile("qemu-serial.log", "serial"))
_KVM = ("--privileged", "--network=host", "--device=/dev/kvm")
_ALL_DEVICES = ("--privileged", "--network=host", "-v", "/dev:/dev")
_OBJECT_MVP = "tdx-guest,sept-ve-disable=on,id=tdx,quote-generation-service=vsock:2:4050"
_OBJECT_PLAIN = "tdx-guest,sept-ve-disable=on,id=tdx0"
_OBJECT_JSON = (
    '{ "qom-type": "tdx-guest", "id": "tdx0", "sept-ve-disable": true, '
    '"quote-generation-socket": { "type": "vsock", "cid": "1", "port": "4050" } }'
)
_TDX = (("INTEL_TDX", "1"),)
_IMAGE_OVMF = "/root/ovmf/release/OVMF.fd"
_HANDOVER, _MULTIBOOT = "linux-efi-handover64", "multiboot2"
_NOTHING = Features(report=False, quotes=False, rtmr=False, smp=True)

_V0_9_0 = Profile(
    name="0.9.0-tdx",
    version="0.9.0",
    tdx=True,
    tag="v0.9.0",
    commit="76d4b180d",
    images=("asterinas/asterinas:0.9.0-tdx",),
    target="run",
    build_target="build",
    variables=_TDX,
    generation=Generation.MVP,
    qemu="Intel MVP 2023ww15 (7.2)",
    tdx_object=_OBJECT_MVP,
    memory_backend="memory-backend-memfd-private",
    firmware="/usr/share/qemu/OVMF.fd",
    medium="GRUB qcow2",
    protocol=_HANDOVER,
    logs=_ONE_LOG,
    stages=(*_STUB, "tdx", *_KERNEL),
    features=Features(report=True, quotes=False, rtmr=False, smp=False),
    guest_ports=(22,),
    host_port=10027,
    privileges=_KVM,
    bundle="target/osdk/aster-nix",
    failures=("firmware-db", "handover-smp"),
)

_V0_15_2 = replace(
    _V0_9_0,
    name="0.15.2-tdx",
    version="0.15.2",
    tag="v0.15.2",
    commit=None,
    images=("asterinas/asterinas:0.15.2-20250613-tdx",),
    generation=Generation.CANONICAL,
    qemu="intel-staging/qemu-tdx on 8.2.0",
    tdx_object=_OBJECT_PLAIN,
    memory_backend=None,
    firmware=_IMAGE_OVMF,
    features=Features(report=True, quotes=False, rtmr=False, smp=True),
    guest_ports=_PORTS_4,
    host_port=None,
    failures=(),
)

_V0_16_0 = replace(
    _V0_15_2,
    name="0.16.0-tdx",
    version="0.16.0",
    tag="v0.16.0",
    images=("asterinas/asterinas:0.16.0-20250802-tdx",),
)

_V0_16_1 = replace(
    _V0_16_0,
    name="0.16.1-tdx",
    version="0.16.1",
    tag="v0.16.1",
    images=("asterinas/asterinas:0.16.1-20250922",),
    generation=Generation.UPSTREAM,
    qemu="10.1.0-rc2",
)

_V0_18_0 = replace(
    _V0_16_1,
    name="0.18.0-tdx",
    version="0.18.0",
    tag="v0.18.0",
    commit="253be4750",
    images=("asterinas/asterinas:0.18.0-20260603",),
    target="run_kernel",
    build_target="kernel",
    qemu="10.2.1",
    tdx_object=_OBJECT_JSON,
    medium="GRUB rescue ISO",
    logs=_TWO_LOGS,
    features=Features(report=True, quotes=True, rtmr=True, smp=True),
    guest_ports=_PORTS_7,
    port_variables=_PORT_VARIABLES,
    privileges=_ALL_DEVICES,
    bundle="target/osdk/aster-kernel",
    power_off="poweroff -f",
    failures=("dma-conversion",),
)

_V0_18_1 = replace(
    _V0_18_0,
    name="0.18.1-tdx",
    version="0.18.1",
    tag="v0.18.1",
    commit=None,
    images=("asterinas/kernel-dev:0.18.1-20260805", "asterinas/dev:0.18.1-20260805"),
    bundle="target/osdk/asterinas",
    failures=(),
)


def _plain(tdx: Profile, image: str | None = None, **changes: Any) -> Profile:
    """The same version as an ordinary guest; later images serve both forms."""
    features = replace(_NOTHING, smp=True)
    return replace(
        tdx,
        name=tdx.version,
        tdx=False,
        images=(image,) if image else tdx.images,
        variables=(),
        generation=None,
        tdx_object=None,
        memory_backend=None,
        medium="GRUB rescue ISO",
        protocol=_MULTIBOOT,
        stages=(*_BUILD, *_KERNEL),
        features=features,
        host_port=None,
        failures=(),
        **changes,
    )


_ROWS = (
    _V0_9_0,
    _plain(
        _V0_9_0,
        "asterinas/asterinas:0.9.0",
        qemu="built from source",
        firmware="/usr/share/OVMF/OVMF_CODE.fd",
        guest_ports=_PORTS_4,
    ),
    _V0_15_2,
    _plain(_V0_15_2, "asterinas/asterinas:0.15.2-20250613", qemu="built from source"),
    _V0_16_0,
    _plain(_V0_16_0, "asterinas/asterinas:0.16.0-20250802", qemu="built from source"),
    _V0_16_1,
    _plain(_V0_16_1),
    _V0_18_0,
    _plain(_V0_18_0, public_port=VNC_PORT),
    _V0_18_1,
    _plain(_V0_18_1, public_port=VNC_PORT),
)

PROFILES: dict[str, Profile] = {row.name: row for row in _ROWS}
"""Every profile, by name."""

DOCUMENTED, RECOMMENDED = "0.9.0-tdx", "0.18.1"

# The newest profile whose QEMU fits the generation; for the MVP kernels that is the documented one.
_BY_GENERATION = {
    Generation.MVP: "0.9.0-tdx",
    Generation.CANONICAL: "0.16.0-tdx",
    Generation.UPSTREAM: "0.18.1-tdx",
}


# What keeps a container's own QEMU from starting a TD; the host's QEMU and firmware do not matter there.
_BLOCKING = frozenset({"KERNEL_NO_TDX", "KVM_INTEL_NOT_LOADED", "DEV_KVM_PERMISSION", "KEYIDS_EXHAUSTED"})


def _ability(host: HostReport | Generation | None) -> tuple[Generation | None, str]:
    """The generation of TDs that the host can start; without one, the reason in one clause."""
    if not isinstance(host, HostReport):
        return host, "KVM of this host has no TDX"
    if host.host.verdict is not HostVerdict.READY:
        return None, f"this host is {host.host.verdict.value} ({host.host.reason})"
    if host.launch.reason in _BLOCKING:
        return None, f"this host cannot launch one ({host.launch.reason})"
    return host_generation(host), "the generation of its KVM cannot be told"


def _newest(generation: Generation | None, why: str) -> Profile:
    if generation is None:
        raise MissingComponent(
            f"No profile can start a TD here: {why}.",
            f"Use {RECOMMENDED}, the same kernel as an ordinary guest; `labkit verify` says more.",
        )
    return PROFILES[_BY_GENERATION[generation]]
