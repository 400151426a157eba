"""``labkit asterinas``: the versions of Asterinas, and its documented flow in a container."""

from __future__ import annotations

import click

from labkit.cli._lazy import LazyGroup

# verb -> module that defines `command`, as in labkit.cli.
_VERBS = {
    "fetch": "labkit.cli._asterinas_fetch",
    "images": "labkit.cli._asterinas_images",
    "profiles": "labkit.cli._asterinas_profiles",
    "run": "labkit.cli._asterinas_run",
    "toolbox": "labkit.cli._asterinas_toolbox",
}


@click.command("asterinas", cls=LazyGroup, modules=_VERBS, epilog="Example: labkit asterinas run --auto-test")
def command() -> None:
    """Asterinas: its kernels, its versions, and its documented flow in a container."""
