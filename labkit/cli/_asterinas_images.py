"""``labkit asterinas images``: the kernels of Asterinas in the cache."""

from __future__ import annotations

import json

import click

from labkit.cli._common import json_option
from labkit.settings import Settings


@click.command("images", epilog="Example: labkit asterinas images --json")
@json_option
def command(as_json: bool) -> None:
    """List the kernels that `labkit boot --guest asterinas` can boot, the newest first."""
    from labkit.asterinas import KernelCache

    images = KernelCache(Settings.load()).table()
    click.echo(json.dumps(images.to_dict(), indent=2) if as_json else str(images))
