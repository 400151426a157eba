"""``labkit boot``: boot a TDVM, show how long each stage took, run commands in it, shut it down."""

from __future__ import annotations

import json
from pathlib import Path

import click

from labkit.cli._common import json_option, note
from labkit.settings import Settings

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--platform", type=click.Choice(["auto", "hardware", "emulated"]), default="auto", show_default=True
)
@click.option(
    "--guest", metavar="linux|asterinas[:VERSION]", help="What boots; Asterinas from `asterinas images`."
)
@click.option(
    "--loader", is_flag=True, help="Through a boot loader that measures command line, kernel and initrd."
)
@click.option("--cold", is_flag=True, help="Boot from power-on; neither use nor make a snapshot.")
@click.option("--exec", "commands", multiple=True, metavar="CMD", help="Run CMD in the guest; repeatable.")
@click.option("--memory", type=int, metavar="MIB", help="The guest's memory.")
@click.option("--smp", type=int, default=1, metavar="N", help="The guest's virtual CPUs.")
@click.option("--append", default="", metavar="ARGS", help="Add to the kernel's command line.")
@click.option("--kernel", type=_FILE, help="Boot this kernel: a bzImage or an ELF, of Asterinas or Linux.")
@click.option("--initrd", type=_FILE, help="Boot with this initrd instead of labkit's.")
@click.option("--firmware", type=_FILE, help="Boot this TDVF instead of the distribution's.")
@click.option("--iso", type=_FILE, help="Boot this ISO image.")
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
    as_json: bool,
) -> None:
    """Boot a TDVM, print its timeline, run each CMD in it, and shut it down.

    A kernel or ISO is recognized by its content, and gets the machine that it needs. Exits with the status
    of the last CMD.

    Example: labkit boot --exec 'uname -a'
    """
    from labkit.platforms import BootRequest, choose_platform

    request = BootRequest(memory, append, kernel, initrd, firmware, cold, iso, profile, smp, guest, loader)
    chosen = choose_platform(platform, Settings.load())
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
