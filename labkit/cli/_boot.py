"""``labkit boot``: boot a TDVM, show how long each stage took, run commands in it, shut it down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labkit.cli._common import EXISTING, Whole, boot_options, json_option, note
from labkit.settings import Settings

if TYPE_CHECKING:
    from labkit.platforms import BootRequest, TdvmPlatform


@click.command()
@boot_options
@click.option(
    "--guest", metavar="linux|asterinas[:VERSION]", help="What boots; Asterinas from `asterinas images`."
)
@click.option(
    "--loader", is_flag=True, help="Through a boot loader that measures command line, kernel and initrd."
)
@click.option("--cold", is_flag=True, help="Boot from power-on; neither use nor make a snapshot.")
@click.option("--exec", "commands", multiple=True, metavar="CMD", help="Run CMD in the guest; repeatable.")
@click.option("--kernel", type=EXISTING, help="Boot this kernel: a bzImage or an ELF, of Asterinas or Linux.")
@click.option("--iso", type=EXISTING, help="Boot this ISO image.")
@click.option("--count", type=Whole(), metavar="N", help="Boot N TDVMs that run at once; see `labkit ps`.")
@click.option("--profile", metavar="NAME", help="The Asterinas version of the image; `asterinas profiles`.")
@json_option
def command(
    platform: str,
    guest: str | None,
    loader: bool,
    cold: bool,
    commands: tuple[str, ...],
    memory: int | None,
    smp: int,
    append: str,
    kernel: Path | None,
    initrd: Path | None,
    firmware: Path | None,
    iso: Path | None,
    profile: str | None,
    count: int | None,
    as_json: bool,
) -> None:
    """Boot a TDVM, print its timeline, run each CMD in it, and shut it down.

    A kernel or ISO is recognized by its content, and gets the machine that it needs. Exits with the status
    of the last CMD; with --count, the first such status that is not 0.

    Example: labkit boot --exec 'uname -a'
    """
    from labkit.platforms import BootRequest, choose_platform

    request = BootRequest(
        memory=memory,
        append=append,
        kernel=kernel,
        initrd=initrd,
        firmware=firmware,
        cold=cold,
        iso=iso,
        profile=profile,
        smp=smp,
        guest=guest,
        loader=loader,
    )
    chosen = choose_platform(platform, Settings.load())
    if count is not None:
        raise SystemExit(_many(chosen, request, count, commands, as_json=as_json))
    with chosen.boot(request, note) as tdvm:
        if not as_json:
            click.echo(tdvm.headline)
            click.echo(str(tdvm.timeline))
        for line in commands:
            if not as_json:
                click.echo(f"\n$ {line}")
            result = tdvm.run(line, timeout=None)
            if not as_json:
                click.echo(result.output, nl=not result.output.endswith("\n"))
        if as_json:
            click.echo(json.dumps(tdvm.to_dict(), indent=2))
        else:
            click.echo(f"\n{tdvm.measured}\nrun directory: {tdvm.run_dir}")
        status = tdvm.commands[-1].exit_status if commands else 0
    raise SystemExit(status)


def _many(
    platform: TdvmPlatform, request: BootRequest, count: int, commands: tuple[str, ...], *, as_json: bool
) -> int:
    """Boot ``count`` TDVMs and run every command in each; the first status of the last one that is not 0."""
    from labkit.platforms.many import boot_many

    with boot_many(platform, request, count, note) as tdvms:
        if not as_json:
            click.echo(f"{tdvms[0].headline}\n{tdvms}")
        for line in commands:
            if not as_json:
                click.echo(f"\n$ {line}")
            for tdvm in tdvms:
                result = tdvm.run(line, timeout=None)
                if not as_json:
                    rows = result.output.splitlines() or [f"(status {result.exit_status})"]
                    click.echo("\n".join(f"{tdvm.machine.name}  {row}" for row in rows))
        if as_json:
            click.echo(json.dumps(tdvms.to_dict(), indent=2))
        statuses = [tdvm.commands[-1].exit_status for tdvm in tdvms] if commands else []
    return next(filter(None, statuses), 0)
