"""``labkit asterinas toolbox``: the image with a TDX-capable QEMU, and programs run in it."""

from __future__ import annotations

import sys

import click

from labkit.cli._common import emit, json_option, note


@click.command("toolbox", epilog="Example: labkit asterinas toolbox labkit boot --exec 'uname -a'")
@click.argument("words", metavar="[PROGRAM ARGUMENT...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--base", metavar="REF", help="The Debian 13 image to build on; debian:trixie-slim by default.")
@click.option("--mirror", metavar="URL", help="Where the Debian packages come from.")
@click.option("--kvm", is_flag=True, help="Hand /dev/kvm to the program.")
@json_option
def command(words: tuple[str, ...], base: str | None, mirror: str | None, kvm: bool, as_json: bool) -> None:
    """Build labkit's toolbox image, or run PROGRAM in a container of it.

    The image holds a QEMU that knows TDX, TDVF, swtpm and labkit with its guest: the emulated platform
    boots in it, and TDX command lines can be tried against a real TDX-capable QEMU. PROGRAM has no
    privileges and no network.
    """
    from labkit.container.toolbox import TOOLBOX_BASE, build_toolbox, run_in_toolbox

    if not words:
        emit(build_toolbox(note, base or TOOLBOX_BASE, mirror), as_json)
        return
    status, output = run_in_toolbox(words, kvm)
    click.echo(output, nl=False)
    sys.exit(status)


command.allow_interspersed_args = False
