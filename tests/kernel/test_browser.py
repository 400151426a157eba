"""JupyterLab in a real browser: the kernel is chosen, boots, runs, completes, asks, is interrupted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.settings import Settings

pytestmark = [pytest.mark.vm, pytest.mark.browser]

PICTURES = os.environ.get("LABKIT_PICTURES")
"""Where screenshots are kept; without it they are made and thrown away."""


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
    words = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", "--ip=127.0.0.1"]
    words += ["--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={root / 'work'}"]
    # No question about news, which would stand in the pictures.
    settings = root / "config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )
    with (root / "log").open("wb") as log:
        server = subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=root)
    try:
        yield _wait(server, Path(environment["JUPYTER_RUNTIME_DIR"]), root / "log")
    finally:
        server.terminate()
        server.wait(30)


def _wait(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        for file in runtime.glob(f"jpserver-{server.pid}.json"):
            return str(json.loads(file.read_text())["url"])
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    """A page of Debian's chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(60_000)
        page.goto(f"{address}lab")
        yield page
        browser.close()


def picture(page: Any, name: str, part: str = "") -> None:
    what = page.locator(part).first if part else page
    what.screenshot(path=str(Path(PICTURES) / f"{name}.png") if PICTURES else None)


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
