"""``./lab soak --minutes N``: boots, restores, kernels and runs, killed at random, short of disk and memory.

At the end no process, socket or file is left, and every error was a sentence. Prints counts and findings.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import click
from jupyter_client.manager import KernelManager

from labkit.errors import LabkitError
from tests.container.conftest import IMAGE, contract_tree
from tests.container.engines import NoEngine
from tests.container.test_run import QUICK

from .engine import own_engine_with_image
from .world import World

_GUEST = ("--platform", "emulated", "--memory", "256", "--exec", "seq 3")


def cold(world: World, random: Random) -> None:
    world.judge("cold boot", world.labkit("boot", "--cold", *_GUEST))


def restore(world: World, random: Random) -> None:
    world.judge("restore", world.labkit("boot", *_GUEST))


def run(world: World, random: Random) -> None:
    name = random.choice(["shell", "host"])
    output = world.folder / "run"
    world.judge(f"run of {name}", world.labkit("run", f"{name}.ipynb", "--output", str(output)))
    shutil.rmtree(output, ignore_errors=True)


def killed_boot(world: World, random: Random) -> None:
    kind = random.choice(["labkit", "QEMU", "vTPM", "guard of a machine"])
    cold = random.choice([("--cold",), ()])
    after = random.uniform(0, 4)
    done = world.labkit("boot", *cold, *_GUEST, "--exec", "sleep 2", kill=kind, after=after)
    world.judge("boot", done)


def killed_run(world: World, random: Random) -> None:
    kind = random.choice(
        ["labkit", "papermill", "guard of a run", "kernel", "QEMU", "vTPM", "guard of a machine"]
    )
    output = world.folder / "run"
    done = world.labkit("run", "shell.ipynb", "--output", str(output), kill=kind, after=random.uniform(0, 3))
    world.judge("run", done)
    shutil.rmtree(output, ignore_errors=True)


def kernel(world: World, random: Random) -> None:
    """A kernel with a cell or two, ended by its front end or killed."""
    manager = KernelManager(kernel_name="tdvm", transport="ipc", ip=str(world.folder / "runtime/soak"))
    kill = random.choice(["", "", "kernel", "QEMU", "vTPM", "guard of a machine"])
    manager.start_kernel(env=world.environment, stderr=subprocess.DEVNULL)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=240)
        for code in ("echo $((6 * 7))", "seq 100000 | tail -n 1", "echo again"):
            client.execute(code, stop_on_error=False)
            if kill and code.startswith("seq"):
                world.kill(kill, random.uniform(0, 0.5))
            with suppress(Exception):
                reply = client.get_shell_msg(timeout=30 if kill == "kernel" else 240)["content"]
                world.count(f"cell: {reply['status']}")
                if reply["status"] == "error" and "defect" in " ".join(reply["traceback"]):
                    world.findings.append(f"kernel (killed: {kill}): {reply['traceback']}")
            if kill == "kernel" and code.startswith("seq"):
                break
    except RuntimeError as error:
        if not kill:
            world.findings.append(f"kernel: {error}")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def full_disk(world: World, random: Random) -> None:
    """The state directory on a file system of three megabytes, nearly full."""
    if os.geteuid() != 0:
        return
    small = world.folder / "small"
    small.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", small], check=False).returncode:
        return
    try:
        (small / "ballast").write_bytes(bytes((3 << 20) - random.choice([8, 64, 700]) * 1024))
        verb = random.choice(["boot", "run"])
        if verb == "boot":
            done = world.labkit("boot", *_GUEST, LABKIT_STATE_DIR=str(small / "state"))
        else:
            done = world.labkit("run", "host.ipynb", "--output", str(small / "run"))
        world.judge(f"{verb} on a full disk", done)
    finally:
        subprocess.run(["umount", "-l", small], check=False)


def short_memory(world: World, random: Random) -> None:
    """Less address space than a machine needs; the snapshot outlives that."""
    kept = set(world.folder.glob("cache/snapshots/[!.]*"))
    limit = random.choice([600_000, 900_000, 1_200_000])
    world.judge("boot short of memory", world.labkit("boot", *_GUEST, limits=f"ulimit -v {limit}"))
    if not kept <= set(world.folder.glob("cache/snapshots/[!.]*")):
        world.findings.append("a boot short of memory threw a snapshot away")


def container(world: World, random: Random) -> None:
    """The documented flow on the tests' own image, where an engine has it."""
    if not world.has_image(IMAGE):
        return
    # A folder of its own each time: an engine that is still starting a container makes the one it mounts.
    trees = Path(tempfile.mkdtemp(prefix="trees-", dir=world.folder))
    tree = contract_tree(trees, "0.18.1")
    kill = random.choice(["", "labkit"])
    words = ("asterinas", "run", "--source", str(tree), "--image", IMAGE, "--profile", "0.18.1", *QUICK)
    world.judge("container run", world.labkit(*words, kill=kill, after=random.uniform(1, 15)))
    shutil.rmtree(trees, ignore_errors=True)


ACTIONS: dict[str, tuple[Callable[[World, Random], None], int]] = {
    "cold boot": (cold, 1),
    "restore": (restore, 3),
    "run": (run, 2),
    "boot with a kill": (killed_boot, 4),
    "run with a kill": (killed_run, 4),
    "kernel": (kernel, 4),
    "full disk": (full_disk, 1),
    "container": (container, 1),
    "short of memory": (short_memory, 1),
}


def main() -> int:
    """Soak for as long as asked; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="./lab soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="for the same order again")
    parser.add_argument(
        "--containers", action="store_true", help="start an engine and make the tests' image first (root)"
    )
    parser.add_argument("--only", choices=ACTIONS, action="append", help="only this action")
    options = parser.parse_args()
    random = Random(options.seed)
    with ExitStack() as stack:
        # A Unix socket's path is short: not below a TMPDIR that is somewhere deep.
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="labkit-soak-", dir="/tmp"))
        if options.containers:
            try:
                stack.enter_context(own_engine_with_image(Path(name) / "engine"))
            except (NoEngine, LabkitError) as error:
                click.echo(f"soak: there is no engine for containers: {error}", err=True)
                return 69
        world = World(Path(name) / "world")
        deadline = time.monotonic() + options.minutes * 60
        chosen = options.only or ACTIONS
        names = [name for name, (_, weight) in ACTIONS.items() if name in chosen for _ in range(weight)]
        while time.monotonic() < deadline:
            what = random.choice(names)
            before = len(world.findings)
            ACTIONS[what][0](world, random)
            world.count(what)
            world.look(what)
            for finding in world.findings[before:]:
                click.echo(f"soak: {finding}", err=True)
        click.echo(world.report())
    click.echo(f"seed {options.seed}", err=True)
    return 1 if world.findings else 0


if __name__ == "__main__":
    sys.exit(main())
