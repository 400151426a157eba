"""``labkit asterinas``: the versions of Asterinas, and its documented flow in a container."""

from __future__ import annotations

from importlib import import_module

import click

# verb -> module that defines `command`, as in labkit.cli.
_VERBS = {
    "profiles": "labkit.cli._asterinas_profiles",
    "run": "labkit.cli._asterinas_run",
    "toolbox": "labkit.cli._asterinas_toolbox",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _VERBS.get(cmd_name)
        if module is None:
            return None
        command = import_module(module).command
        assert isinstance(command, click.Command)
        return command


@click.command("asterinas", cls=_Verbs, epilog="Example: labkit asterinas run --auto-test")
def command() -> None:
    """Asterinas by its documented flow, in its development container."""
