"""``labkit asterinas fetch``: the kernel out of a release's ISO, into the cache."""

from __future__ import annotations

import click

from labkit.cli._common import emit, json_option, note
from labkit.settings import Settings


@click.command("fetch", epilog="Example: labkit asterinas fetch 0.18.1")
@click.argument("version", required=False)
@click.option("--iso", metavar="FILE|URL", help="Take it from this ISO instead of the project's release.")
@click.option("--sha256", metavar="HEX", help="Refuse a kernel with another hash.")
@json_option
def command(version: str | None, iso: str | None, sha256: str | None, as_json: bool) -> None:
    """Get the kernel of Asterinas VERSION into the cache; without VERSION, of the newest known release.

    The release's ISO has more than 1 GB: only the parts that lead to the kernel are downloaded, some 10 MB.
    An interrupted download goes on where it stopped. Exit status 0: there, 1: no kernel in the image, 69: no
    network.
    """
    from labkit.asterinas.fetch import fetch_image

    emit(fetch_image(Settings.load(), note, version=version, iso=iso, sha256=sha256), as_json)
