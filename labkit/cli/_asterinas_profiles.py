"""``labkit asterinas profiles``: what is known of each version."""

from __future__ import annotations

import click

from labkit.cli._common import emit, json_option


@click.command("profiles", epilog="Example: labkit asterinas profiles 0.9.0-tdx")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the profiles of the known versions, or show all of the one called NAME."""
    from labkit.asterinas import Profile
    from labkit.asterinas.versions import PROFILES, ProfileTable

    if name is not None:
        emit(Profile.named(name), as_json)
    else:
        emit(ProfileTable(tuple(PROFILES.values())), as_json)
