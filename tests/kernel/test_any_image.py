"""The kernel on a guest that is not labkit's own: the stand-in for Asterinas, whose shell is on hvc0."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.settings import Settings
from labkit.toolchain.toolchain import Toolchain

from ..asterinas import standin
from .client import Frontend

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def frontend(
    kernelspec: str, toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Frontend]:
    """A kernel whose guest the environment names."""
    if toolchain.modules is None or not shutil.which("script"):
        pytest.skip("the stand-in needs the guest kernel's modules, and script(1) on this machine")
    folder: Path = tmp_path_factory.mktemp("standin")
    guest = {
        "LABKIT_KERNEL": str(standin.elf(toolchain, folder)),
        "LABKIT_INITRD": str(standin.initramfs(toolchain, folder)),
    }
    frontend = Frontend(**{**os.environ, **guest})
    yield frontend
    frontend.close()


def test_cells_run_in_the_guest_with_state_status_and_interrupts(frontend: Frontend) -> None:
    assert frontend.run("cd /tmp; x=kept; tty </proc/self/fd/2").text() == "/dev/pts/0\n"
    assert frontend.run("echo $x; pwd; printf 'ä\\tö\\n'").text() == "kept\n/tmp\nä\tö\n"
    assert frontend.run("(exit 7)").error == ("ExitStatus", "7")
    assert frontend.run("read -r line; echo $line", answer=lambda prompt, hidden: "typed").text() == "typed\n"
    assert "EMULATED" in frontend.client.kernel_info(reply=True)["content"]["banner"]


def test_a_parameter_that_its_shell_has_not_is_refused_by_its_name(frontend: Frontend) -> None:
    """Cells as papermill injects them; the stand-in's shell is busybox'."""
    for cell in ("# Parameters\nword='x'\nsizes=(1 2)\n", "# Parameters\ndeclare -A sizes=([a]=1)\n"):
        name, said = frontend.run(cell).error
        assert name == "UsageError"
        assert said.startswith("The parameter sizes is a list or a mapping")
    assert frontend.run("# Parameters\nword='x y'\n").status == "ok"
    assert frontend.run("echo $word").text() == "x y\n"


def test_states_are_saved_and_restored(frontend: Frontend) -> None:
    frontend.run("x=before")
    assert frontend.run("%snapshot one").status == "ok"
    frontend.run("x=after")
    assert frontend.run("%restore one").status == "ok"
    assert frontend.run("echo $x").text() == "before\n"


def test_what_was_not_measured_is_not_attested(frontend: Frontend) -> None:
    name, words = frontend.run("%attest").error
    assert name in ("UsageError", "VmError")
    assert "no firmware measured anything" in words


def test_the_end_of_the_shell_is_said_and_the_next_cell_has_another(frontend: Frontend) -> None:
    cell = frontend.run("exit 3")
    assert cell.error[0] == "GuestGone"
    assert frontend.run("echo again").text() == "again\n"


def test_the_environment_names_the_guest() -> None:
    names = {"LABKIT_KERNEL": "k", "LABKIT_INITRD": "/i", "LABKIT_ISO": "", "LABKIT_PROFILE": "0.18.1"}
    settings = Settings.load({"HOME": "/", **names})
    assert settings.kernel == Path("k").absolute()
    assert (settings.initrd, settings.iso, settings.profile) == (Path("/i"), None, "0.18.1")
    assert Settings.load({"HOME": "/"}).kernel is None
