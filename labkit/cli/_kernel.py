"""``labkit kernel``: the Jupyter kernel whose cells run in a TDVM."""

from __future__ import annotations

import click

from labkit.cli._common import emit, json_option
from labkit.cli._lazy import Group


@click.group(cls=Group)
def command() -> None:
    """The Jupyter kernel whose cells run in a TDVM.

    Example: labkit kernel install
    """


@command.command()
@click.option(
    "--sys-prefix", "user", flag_value="", default="", help="For this Python environment (the default)."
)
@click.option("--user", "user", flag_value="user", help="For this user, in every environment.")
@json_option
def install(user: str, as_json: bool) -> None:
    """Put the kernel where JupyterLab, VS Code, papermill and nbval find it.

    Example: labkit kernel install --sys-prefix
    """
    from labkit.kernel.installing import install as install_kernel

    emit(install_kernel(user=bool(user)), as_json)
