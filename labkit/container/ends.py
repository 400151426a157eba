"""Why a container did not start, and what somebody else did to one that ran."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError, MissingComponent, StorageError, UsageError, VmError
from labkit.show import one_line

if TYPE_CHECKING:
    from docker import DockerClient

REMOVED = "the container was removed from outside while it ran (docker rm -f)"
KILLED = "the container was killed from outside (docker kill)"
STOPPED = "the container was stopped from outside (docker stop)"
UNTOLD = (
    "the container was stopped from outside (podman stop), or a program that is not the engine's ended it: "
    "Podman writes down neither"
)
MEMORY = "the kernel killed the container because memory ran out"
_KILLED_BY = {130: "SIGINT", 137: "SIGKILL", 143: "SIGTERM"}
# Engines write down who ended a container after they did it: in seconds, how long that may take.
_UNTIL_WRITTEN = 3
_LAST_WORDS = frozenset({"destroy", "oom", "remove", "stop"})
# What keeps an engine from starting a container besides the causes that `start_refusal` tells apart.
_REFUSALS = (
    (
        r"exec format error|does not match the (?:detected )?host platform|image operating system",
        "The image is for another kind of processor or system than this machine.",
        "Take an image for linux/amd64, on an x86-64 machine.",
    ),
    (
        r"apparmor",
        "AppArmor keeps the engine from starting the container.",
        "`sudo aa-status` shows its profiles; `sudo systemctl restart apparmor docker` loads the engine's "
        "again.",
    ),
    (
        r"seccomp",
        "The engine cannot set the container's seccomp filter on this kernel.",
        "Update the engine and its libseccomp; --as-documented runs without the filter.",
    ),
    (
        r"selinux|relabel",
        "SELinux keeps the engine from the source tree.",
        "Put the tree into your home with --source, and see `sudo ausearch -m avc -ts recent`.",
    ),
    (
        r"newuidmap|newgidmap|subuid|subgid|user namespace|userns|potentially insufficient uids|lchown",
        "The engine cannot make the container's users: its user namespace is not set up.",
        "Give this user a range in /etc/subuid and /etc/subgid (`man subuid`), and allow user namespaces "
        "(kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns).",
    ),
    (
        r"cgroup",
        "The engine cannot make a control group for the container.",
        "Use an engine that fits the kernel's cgroup version (`docker info` shows it); in a container, give "
        "it --cgroupns=host.",
    ),
    (
        r"mounts denied|not shared from the host|bind source path does not exist"
        r"|error while creating mount source|statfs .*no such file",
        "The engine does not see the source tree: it runs in a virtual machine or in a snap of its own.",
        "Share the tree's folder with it, name a tree in a shared folder with --source, or use an engine "
        "that runs on this machine itself (a snap sees no hidden folders).",
    ),
    (
        r"cannot allocate memory|out of memory|resource temporarily unavailable|too many open files",
        "The machine, or a limit of the engine's, has no more memory, processes or files for the container.",
        "End other containers, or raise the engine's limits.",
    ),
    (
        r"iptables|failed to set up container networking|could not find an available.*address pool"
        r"|failed to create endpoint",
        "The engine cannot make the container's network.",
        "Restart the engine: a firewall that was loaded anew takes its rules away.",
    ),
)
_NO_MAKE = ("executable file not found", "stat make", "`make` not found", "executable file `make`")


def ended_from_outside(
    client: DockerClient, container: str, since: int, code: int | None, *, podman: bool = False
) -> str:
    """What somebody else did to a container that has ended, in a clause; empty where it ended by itself.

    since: when it was started, in seconds since 1970. code: its exit status, where the engine told it.
    """
    import docker
    import requests

    refusals = (docker.errors.APIError, requests.exceptions.RequestException)
    try:
        state = client.api.inspect_container(container).get("State") or {}
    except docker.errors.NotFound:
        return REMOVED
    except refusals:
        state = {}
    events: list[Any] = []
    until = int(time.time()) + (_UNTIL_WRITTEN if code is None or code in _KILLED_BY else 1)
    with contextlib.suppress(*refusals, ValueError):
        for event in client.api.events(
            since=since, until=until, filters={"container": container}, decode=True
        ):
            events.append(event)
            if _action(event) in _LAST_WORDS:
                break
    return told(state, events, code, podman=podman)


def told(state: dict[str, Any], events: list[Any], code: int | None, *, podman: bool = False) -> str:
    """What a container's state and the engine's events say about its end; pure.

    Podman (4.3.1) has an event for a kill, and none for a stop, which is SIGTERM and after some time SIGKILL.
    """
    said = _told(state, events, code, podman=podman)
    return said.replace("docker ", "podman ") if podman else said


def _told(state: dict[str, Any], events: list[Any], code: int | None, *, podman: bool) -> str:
    actions = [_action(event) for event in events]
    if state.get("OOMKilled") or "oom" in actions:
        return MEMORY
    if state.get("Removing") or state.get("Status") == "removing" or {"destroy", "remove"} & set(actions):
        return REMOVED
    if "stop" in actions:
        return STOPPED
    if "kill" in actions:
        return KILLED
    if podman and code in (137, 143):
        return UNTOLD
    if code in _KILLED_BY:
        return f"the container was ended by {_KILLED_BY[code]}: from outside, or because memory ran out"
    return ""


def _action(event: Any) -> str:
    return str(event.get("Action") or event.get("status") or "")


def start_refusal(said: str) -> LabkitError:
    """What the engine's refusal of a container means."""
    words = said.lower()
    if "no space left on device" in words:
        return StorageError(
            "The disk of the container engine is full.",
            "Free some space there (`docker system df` shows what takes it), then try again.",
        )
    if "port is already allocated" in words or "address already in use" in words:
        return UsageError("A port of the host is taken.", "End the program that has it, then try again.")
    if "error gathering device information" in words or (
        "no such file or directory" in words and "/dev/kvm" in words
    ):
        return MissingComponent(
            "There is no /dev/kvm on this machine, which the container needs.",
            "`labkit verify` says why; an ordinary guest runs without it (--no-kvm).",
        )
    if "/dev/kvm" in words and "permission denied" in words:
        return MissingComponent(
            "The engine may not hand over /dev/kvm to the container.",
            "Join the group kvm and log in again; an ordinary guest runs without it (--no-kvm).",
        )
    if "setrlimit" in words or "rlimit type" in words:
        return MissingComponent(
            f"The engine may not set the limits of a container here: {own_words(said)}.",
            'Lower them in containers.conf, such as default_ulimits = ["nofile=1000:1000", '
            '"nproc=1000:1000"].',
        )
    for pattern, sentence, remedy in _REFUSALS:
        if re.search(pattern, words):
            return MissingComponent(sentence, remedy)
    if "unable to apply caps" in words or "operation not permitted" in words:
        return MissingComponent(
            "The engine may not start a privileged container on this machine.",
            "Run it labkit's own way, without --as-documented, which needs no privileges.",
        )
    if any(sign in words for sign in _NO_MAKE):
        return MissingComponent(
            "The image has no `make`: it is not a development image of Asterinas.",
            "Name the one that `labkit asterinas profiles` shows.",
        )
    return VmError(
        f"The engine cannot start the container: {own_words(said)}.",
        "Its log says more (`journalctl -u docker`, or `podman logs`).",
    )


def own_words(said: str, limit: int = 240) -> str:
    """The engine's words in one line, without what the client library and the HTTP status put around them."""
    inside = re.search(r'Error(?: for [^:]*://\S+)?: [A-Z][\w ]* \("?(.*?)"?\)$', said, re.DOTALL)
    text = inside[1] if inside else said
    return one_line(text.strip(), limit).rstrip(".")
