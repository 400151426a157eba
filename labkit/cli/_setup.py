"""``labkit setup``: what the emulated platform needs, shown and installed."""

from __future__ import annotations

import sys

import click

from labkit.cli._common import emit, json_option, note
from labkit.settings import Settings
from labkit.toolchain import install_toolchain, toolchain_inventory


@click.command("setup", epilog="Example: labkit setup --check")
@click.option("--check", is_flag=True, help="Only show what there is; exit status 1 if something is missing.")
@click.option("--user", is_flag=True, help="Leave the system alone, also as root: unpack into the cache.")
@json_option
def command(check: bool, user: bool, as_json: bool) -> None:
    """Show what the emulated platform needs, and install what is missing.

    As root the programs are installed as packages; otherwise they are downloaded and unpacked into the
    cache. The guest's kernel and busybox are always only unpacked. Exit status 0: complete, 1: not.
    """
    settings = Settings.load()
    if check:
        found = toolchain_inventory(settings)
    else:
        found = install_toolchain(settings, note, system=False if user else None)
    emit(found, as_json)
    sys.exit(0 if found.complete else 1)
