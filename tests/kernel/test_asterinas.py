"""The kernelspec of Asterinas where no kernel of it is in the cache: nothing boots."""

from __future__ import annotations

from .client import Frontend


def test_without_a_kernel_a_cell_names_the_command_that_gets_one(kernelspec: str) -> None:
    frontend = Frontend("tdvm-asterinas")
    try:
        cell = frontend.run("uname -s")
        assert cell.status == "error"
        assert cell.error[1] == "There is no kernel of Asterinas in the cache."
        shown = "\n".join(cell.reply["traceback"])
        assert shown.endswith("in the cache. `labkit asterinas fetch` gets one."), shown
    finally:
        frontend.close()
