"""JupyterLab in a real browser: the kernel is chosen, boots, runs, completes, asks, is interrupted."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from labkit.settings import Settings
from tests.jupyterlab import OPEN, chromium_page, picture, served

pytestmark = [pytest.mark.vm, pytest.mark.browser]


@pytest.fixture(scope="module")
def address(
    kernelspec: str, vm_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A JupyterLab whose TDVM has no snapshot yet, so that the first boot is from power-on."""
    root = tmp_path_factory.mktemp("lab")
    (root / "work").mkdir()
    (root / "cache").mkdir()
    (root / "cache/packages").symlink_to(vm_settings.cache_dir / "packages")
    environment = {**os.environ, "LABKIT_CACHE_DIR": str(root / "cache"), "LABKIT_UI": "auto"}
    environment |= {"JUPYTER_CONFIG_DIR": str(root / "config"), "HOME": str(root)}
    words = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--allow-root",
        *OPEN,
        f"--ServerApp.root_dir={root / 'work'}",
    ]
    settings = root / "config/lab/user-settings/@jupyterlab"
    for name, words_of_it in {
        # No question about news, which would stand in the pictures.
        "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
        # Every cell is drawn, also one that a busy machine has not brought into view yet.
        "notebook-extension/tracker": '{"windowingMode": "none"}',
    }.items():
        file = settings / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(words_of_it)
    with served(words, environment, root) as address:
        yield address


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    with chromium_page() as page:
        page.goto(f"{address}lab")
        yield page


def run(page: Any, code: str) -> Any:
    """Type a cell at the end of the notebook, run it, and return the place of its output."""
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cell = cells.nth(cells.count() - 1)
    cell.locator(".cm-content").click()
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")
    return cell.locator(".jp-OutputArea")


def test_the_kernel_is_chosen_in_the_launcher_and_shows_its_boot(page: Any) -> None:
    card = page.locator('.jp-LauncherCard[data-category="Notebook"][title="TDVM shell"]')
    card.wait_for()
    picture(page, "launcher")
    card.click()
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    # JupyterLab drops what is run before it has a kernel.
    page.get_by_text("TDVM shell | Idle").wait_for()
    output = run(page, "uname -a")
    # A line of progress while the TDVM boots, or the timeline where it has come up meanwhile.
    output.get_by_text("firmware").first.wait_for()
    picture(page, "booting")
    output.get_by_text("Linux tdvm").wait_for()
    assert output.get_by_text("firmware (").count() == 0
    assert "EMULATED" in output.inner_text()
    assert output.locator('div[style*="margin-left"]').count() >= 4
    picture(page, "uname")


def test_tab_completes(page: Any) -> None:
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cell = cells.nth(cells.count() - 1)
    cell.locator(".cm-content").click()
    page.keyboard.type("unam")
    page.keyboard.press("Tab")
    page.locator(".jp-Completer-item", has_text="uname").wait_for()
    picture(page, "completer")
    page.keyboard.press("Enter")
    cell.locator(".cm-content", has_text="uname").wait_for()
    page.keyboard.type(" -r; cat /etc/host")
    page.keyboard.press("Tab")
    page.locator(".jp-Completer-item", has_text="/etc/hostname").wait_for()
    page.keyboard.press("Enter")
    cell.locator(".cm-content", has_text="cat /etc/hostname").wait_for()
    page.keyboard.press("Shift+Enter")
    cell.locator(".jp-OutputArea").get_by_text("cloud").wait_for()


def test_the_stop_button_interrupts(page: Any) -> None:
    output = run(page, "echo started; sleep 600")
    output.get_by_text("started").wait_for()
    page.locator('[data-command="notebook:interrupt-kernel"]').first.click()
    output.get_by_text("exit status 130").wait_for()
    picture(page, "interrupted")


def test_a_cell_asks_and_is_answered(page: Any) -> None:
    output = run(page, "read -p 'Your name? ' name; echo \"Hello, $name.\"")
    box = output.locator("input")
    box.wait_for()
    picture(page, "asked")
    box.fill("Ada")
    box.press("Enter")
    output.get_by_text("Hello, Ada.").wait_for()
    # The picture of the README.
    picture(page, "kernel", ".jp-NotebookPanel")


def test_the_boot_log_is_shown(page: Any) -> None:
    output = run(page, "%console")
    output.get_by_text("Linux version").first.wait_for()
    picture(page, "console")


def test_markup_of_the_guest_stays_text(page: Any) -> None:
    output = run(page, "echo '<img src=x onerror=\"document.title=1\"><b>bold</b>'")
    output.get_by_text("<b>bold</b>").wait_for()
    assert output.locator("b, img").count() == 0
