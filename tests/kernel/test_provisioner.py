"""Whatever front end starts the kernel, no other user of the machine reads what it publishes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from labkit.kernel.installing import kernelspec


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelManager]:
    """As a front end makes one: the kernelspec is ours, but for the program, which boots nothing."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    manager: Any = KernelManager()
    spec = {
        **kernelspec(provisioned=True),
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    }
    manager._kernel_spec = KernelSpec(**spec)
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


def test_what_a_kernel_publishes_is_read_with_its_key_only(manager: Any) -> None:
    assert manager.transport == "tcp"
    stranger: Any = zmq.Context.instance().socket(zmq.SUB)
    stranger.subscribe(b"")
    stranger.connect(f"tcp://{manager.ip}:{manager.iopub_port}")
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        said: list[str] = []
        for code in ("print('secret')", "1 + 1"):
            reply = client.execute_interactive(
                code, timeout=60, output_hook=lambda message: said.append(str(message["content"]))
            )
            assert reply["content"]["status"] == "ok"
        assert "secret" in "".join(said)
        assert stranger.poll(500) == 0
    finally:
        client.stop_channels()
        stranger.close(linger=0)
