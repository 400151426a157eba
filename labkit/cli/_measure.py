"""``labkit measure``: TDVF sections and MRTD of a firmware file."""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import emit, json_option, note, read_input
from labkit.files import printable
from labkit.measure import PageOrder, measure_firmware
from labkit.measure.tdvf import join_firmware


@click.command("measure")
@click.argument("firmware", type=click.Path(path_type=Path))
@click.option(
    "--order", type=click.Choice([order.value for order in PageOrder]), help="Only this page order."
)
@click.option("--vars", "variables", type=click.Path(path_type=Path), help="Variable store of a split image.")
@json_option
def command(firmware: Path, order: str | None, variables: Path | None, as_json: bool) -> None:
    """Show the TDVF sections of FIRMWARE and the MRTD of a TD built from it.

    Two page orders are in use among VMMs; without --order both values are shown.

    Example: labkit measure /usr/share/ovmf/OVMF.fd --order single-pass
    """
    image = read_input(firmware)
    if variables is not None:
        whole = join_firmware(image, read_input(variables))
        if whole == image:
            note(f"{printable(firmware)} is a whole image: --vars was not used.")
        image = whole
    orders = (PageOrder(order),) if order else tuple(PageOrder)
    emit(measure_firmware(image, str(firmware), orders), as_json)
