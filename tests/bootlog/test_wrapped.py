"""A log of Asterinas that a tool put something around gives the report of the log itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.bootlog.asterinas import classify
from tests.host.wrappings import AROUND, around

TOOLS = (
    *(
        "BuildKit",
        "BuildKit with time",
        "ts",
        "ts in brackets",
        "minicom",
        "tio",
        "conserver",
        "docker logs -t",
    ),
    *("docker compose", "docker compose -t", "docker compose in colour", "CRI", "kubectl --prefix", "GitHub"),
    *("kubectl --prefix --timestamps", "gh run view", "GitLab", "Jenkins", "mail", "grep -n", "Windows"),
    *("serial over LAN", "compact", "svlogd", "multilog", "Windows twice", "stern with a mark"),
)
BOOT = """\
BdsDxe: starting Boot0001 "UEFI Misc Device"
Welcome to GRUB!
[kernel] OSTD initialized. Preparing components.
[kernel] Spawn the first kernel thread
[kernel] unpacking initramfs.cpio.gz to rootfs ...
[kernel] rootfs is ready
[    1.234] INFO: a line

~ # """
PANIC = (
    BOOT.removesuffix("~ # ") + "Uncaught panic:\n\tcannot run the init process\n\tat kernel/src/lib.rs:10\n"
)


@pytest.mark.parametrize("log", [BOOT, PANIC], ids=["boot", "panic"])
@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_tool_put_around_every_line_comes_off(tool: str, log: str) -> None:
    template = {**AROUND, "stern with a mark": "td-0 qemu › {l}"}[tool]
    plain = classify({"console": log.encode()})
    wrapped = classify({"console": "\n".join(around(template, log.split("\n"))).encode()})
    assert (wrapped.outcome, wrapped.stage, wrapped.failure) == (plain.outcome, plain.stage, plain.failure)


@pytest.mark.data
@pytest.mark.parametrize("tool", ["", "docker logs -t", "ts in brackets", "BuildKit"])
def test_recorded_logs(shared_data: Path, tool: str) -> None:
    for path in sorted((shared_data / "boot-logs").glob("*.log")):
        lines = path.read_bytes().decode("utf-8", "replace").split("\n")
        plain = classify({"console": path.read_bytes()}, hung=True)
        wrapped = classify({"console": "\n".join(around(AROUND.get(tool, "{l}"), lines)).encode()}, hung=True)
        assert (wrapped.outcome, wrapped.stage, wrapped.failure) == (
            plain.outcome,
            plain.stage,
            plain.failure,
        ), path
