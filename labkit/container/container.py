"""The development container: from a profile to Docker's create arguments, as data.

labkit's own way hands over the source, ``/dev/kvm`` where the profile needs it, and nothing else. The
documented way is spelled exactly as the document does, and chosen explicitly.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.asterinas import Profile
from labkit.container.source import check_mountable
from labkit.errors import UsageError

SOURCE = "/root/asterinas"
"""Where the documented images expect the source tree."""

LABEL = "labkit"

# What a build as root needs on files of another owner; everything else of Docker's default set is dropped.
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")
_NO_RESTART = {"Name": "no", "MaximumRetryCount": 0}
_FIRST_PORT = 20022


@dataclass(frozen=True)
class Options:
    """How to run the container.

    kvm: hand over /dev/kvm. host_network: without a network of its own; ports: make variable → host port
    there. as_documented: exactly the documented flags, and the image's own command. keep_groups: a rootless
    Podman hands a device over only with the groups of its user.
    """

    image: str
    source: Path
    kvm: bool = False
    host_network: bool = False
    ports: Mapping[str, int] = field(default_factory=dict)
    as_documented: bool = False
    keep_groups: bool = False


@dataclass(frozen=True)
class Creation:
    """What docker-py is told: arguments of ``create_container``, and of ``create_host_config``.

    command_line: the ``docker`` command that means the same. input: what is typed into the container's
    terminal once it runs; empty where the command does all.
    """

    config: dict[str, Any]
    host: dict[str, Any]
    command_line: str
    input: str = ""


def creation(profile: Profile, options: Options, make: Sequence[str]) -> Creation:
    """The container for one run of ``make``.

    Raises:
        UsageError: the source's path cannot be mounted.
    """
    check_mountable(options.source)
    build = _documented if options.as_documented else _restricted
    return build(profile, options, make)


def guest_ports(profile: Profile) -> dict[str, int]:
    """The make variables that pin the guest's ports, and the port of the container that each one takes."""
    return {name: _FIRST_PORT + number for number, name in enumerate(profile.port_variables)}


def published_ports(profile: Profile) -> dict[int, int]:
    """Ports of the container that can be told beforehand → ports of the guest behind them."""
    pinned = guest_ports(profile)
    if pinned:
        return dict(zip(pinned.values(), profile.guest_ports, strict=True))
    return {profile.host_port: profile.guest_ports[0]} if profile.host_port else {}


def _documented(profile: Profile, options: Options, make: Sequence[str]) -> Creation:
    flags = (*profile.privileges, "-v", f"{options.source}:{SOURCE}")
    return Creation(
        config={"image": options.image, "tty": True, "stdin_open": True, "detach": False},
        host=_host_arguments(flags),
        command_line=shlex.join(("docker", "run", "-it", *flags, options.image)),
        input=f"cd {SOURCE} && {shlex.join(make)}; exit\n",
    )


def _restricted(profile: Profile, options: Options, make: Sequence[str]) -> Creation:
    ports = {} if options.host_network else published_ports(profile)
    flags = [
        "--cap-drop=ALL",
        *(f"--cap-add=CAP_{name}" for name in _CAPABILITIES),
        "--security-opt=no-new-privileges",
        *(["--network=host"] if options.host_network else []),
        *(["--device=/dev/kvm"] if options.kvm else []),
        *(["--group-add=keep-groups"] if options.kvm and options.keep_groups else []),
        *(f"--publish=127.0.0.1::{port}" for port in ports),
        *("-v", f"{options.source}:{SOURCE}"),
    ]
    pins = options.ports if options.host_network else guest_ports(profile)
    words = [*make, *(f"{name}={port}" for name, port in pins.items())]
    return Creation(
        config={
            "image": options.image,
            "command": words,
            "working_dir": SOURCE,
            "entrypoint": [],
            "tty": True,
            "stdin_open": True,
            "detach": False,
            "labels": {LABEL: "asterinas"},
            "ports": list(ports) or None,
        },
        host=_host_arguments(flags),
        command_line=shlex.join(
            (
                *("docker", "run", "-it", *flags, f"--label={LABEL}=asterinas"),
                *(f"--workdir={SOURCE}", "--entrypoint=", options.image, *words),
            )
        ),
    )


def _host_arguments(flags: Sequence[str]) -> dict[str, Any]:
    """The meaning of the flags in docker-py's words; the documented ones and labkit's own are known."""
    host: dict[str, Any] = {"restart_policy": _NO_RESTART}
    words = iter(flags)
    for flag in words:
        name, _, value = flag.partition("=")
        if name in ("-v", "--volume"):
            host.setdefault("binds", []).append(value or next(words))
        elif name == "--device":
            host.setdefault("devices", []).append(value)
        elif name == "--group-add":
            host.setdefault("group_add", []).append(value)
        elif name == "--privileged":
            host["privileged"] = True
        elif name == "--network":
            host["network_mode"] = value
        elif name == "--cap-drop":
            host.setdefault("cap_drop", []).append(value)
        elif name == "--cap-add":
            host.setdefault("cap_add", []).append(value)
        elif name == "--security-opt":
            host.setdefault("security_opt", []).append(value)
        elif name == "--publish":
            address, _, port = value.partition("::")
            host.setdefault("port_bindings", {})[int(port)] = (address,)
        else:
            raise UsageError(
                f"The container option {flag} is not known.", "Name one that docs/asterinas.md lists."
            )
    return host
