"""``labkit asterinas``: the documented container flow, and what is known of each version."""

from __future__ import annotations

import click

from labkit.cli._common import emit, json_option


@click.group()
def command() -> None:
    """Asterinas: the versions that labkit knows, and the documented container flow.

    Example: labkit asterinas profiles
    """


@command.command()
@click.argument("name", required=False)
@json_option
def profiles(name: str | None, as_json: bool) -> None:
    """List the profiles of the known versions, or show all of the one called NAME.

    Example: labkit asterinas profiles 0.9.0-tdx
    """
    from labkit.asterinas import PROFILES, ProfileTable, profile

    if name is not None:
        emit(profile(name), as_json)
    else:
        emit(ProfileTable(tuple(PROFILES.values())), as_json)
