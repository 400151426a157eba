"""``labkit asterinas run``: the documented flow in its container, from the source to the guest's shell."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labkit.cli._common import SECONDS, Whole, json_option, note
from labkit.errors import CommandTimeout, GuestGone, UsageError
from labkit.settings import Settings

if TYPE_CHECKING:
    from labkit.container.flow import ContainerRun

_TWICE = 1.0


_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("run", epilog="Example: labkit asterinas run --auto-test")
@click.option("--profile", metavar="NAME", help="The version; left out, the newest that this host can run.")
@click.option(
    "--as-documented", is_flag=True, help="Exactly the documented container: privileged, host network."
)
@click.option(
    "--auto-test", is_flag=True, help="Boot, let the guest say that it has, and end (AUTO_TEST=boot)."
)
@click.option("--exec", "commands", multiple=True, metavar="CMD", help="Run CMD in the guest; repeatable.")
@click.option("--image", metavar="REF", help="Another image than the profile's.")
@click.option("--image-file", type=_FILE, help="Load the image from this file of `docker save`.")
@click.option("--build-image", is_flag=True, help="Build the image from the source's own Dockerfile.")
@click.option("--source", type=_FOLDER, metavar="DIR", help="A source tree of yours, run as it is.")
@click.option("--memory", type=Whole(1), metavar="MIB", help="The guest's memory.")
@click.option("--smp", type=Whole(1), metavar="N", help="The guest's CPUs.")
@click.option(
    "--kvm/--no-kvm", default=None, help="Use KVM or not; left out, only where a guest boots under it."
)
@click.option("--make", "words", multiple=True, metavar="VAR=VALUE", help="Add to `make`; repeatable.")
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="How long the boot may take, build included; left out, each stage has a deadline of its own.",
)
@json_option
def command(
    profile: str | None,
    as_documented: bool,
    auto_test: bool,
    commands: tuple[str, ...],
    image: str | None,
    image_file: Path | None,
    build_image: bool,
    source: Path | None,
    memory: int | None,
    smp: int | None,
    kvm: bool | None,
    words: tuple[str, ...],
    timeout: float | None,
    as_json: bool,
) -> None:
    """Run Asterinas by its documented flow: source, container, `make run`.

    Without --auto-test the guest's shell takes the commands of --exec, or else those of standard input, a
    line each, until it ends. Exit status 0: booted, 1: not, or commands could not be run.
    """
    from labkit.container.flow import start_run
    from labkit.container.plan import RunRequest

    if auto_test and commands:
        raise UsageError(
            "--auto-test ends by itself and has no shell.", "Leave out one of --exec and --auto-test."
        )
    request = RunRequest(
        profile=profile,
        as_documented=as_documented,
        auto_test=auto_test,
        image=image,
        image_file=image_file,
        build_image=build_image,
        source=source,
        memory=memory,
        smp=smp,
        kvm=kvm,
        variables=dict(_pair(word) for word in words),
        timeout=timeout,
    )
    left = 0
    with start_run(request, Settings.load(), note) as running:
        if running.wait(note) and not auto_test:
            lines = iter(commands or _typed(as_json))
            try:
                for line in lines:
                    with _ctrl_c_for_the_guest(running, interactive=not commands and sys.stdin.isatty()):
                        answer = running.run(line, timeout=None)
                    if not as_json:
                        if commands:
                            click.echo(f"$ {line}")
                        if answer.output:
                            click.echo(answer.output, nl=not answer.output.endswith("\n"))
                        if answer.exit_status:
                            click.echo(f"[exit status {answer.exit_status}]")
            except (GuestGone, CommandTimeout) as error:
                note(str(error))
                left = isinstance(error, CommandTimeout) + len(list(lines) if commands else ())
                if left:
                    note(f"Not run: {left} of the commands.")
        result = running.close()
    click.echo(json.dumps(result.to_dict(), indent=2) if as_json else str(result))
    sys.exit(0 if result.booted and not left else 1)


def _typed(as_json: bool) -> Iterator[str]:
    """The lines of standard input, with a prompt where somebody types them."""
    asks = sys.stdin.isatty() and not as_json
    if asks:
        note("The guest's shell, a line at a time; Ctrl-D ends it.")
    while True:
        try:
            if asks:
                click.echo("tdvm# ", nl=False, err=True)
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            if not asks:
                raise
            click.echo(err=True)
            continue
        if not line:
            return
        if line.strip():
            yield line.rstrip("\n")


@contextlib.contextmanager
def _ctrl_c_for_the_guest(running: ContainerRun, *, interactive: bool) -> Iterator[None]:
    """While a command runs in an interactive shell, Ctrl-C reaches it; twice within a second ends the run."""
    if not interactive:
        yield
        return
    last = -math.inf

    def handle(number: int, frame: object) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _TWICE:
            raise KeyboardInterrupt
        last = now
        running.interrupt()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"{word!r} is not a make variable.", "Write NAME=VALUE, such as RELEASE=1.")
    return name, value
