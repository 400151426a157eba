"""The workers on this machine: whose they are, and what they know."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import forkserver

import pytest

from labkit.errors import MissingComponent
from labkit.studies.cluster import connect, local_cluster


def test_workers_are_nobody_elses_and_have_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reaches a scheduler runs code as its owner, and every account reaches a port of this machine."""
    from distributed import Client

    forkserver.ensure_running()  # it is older than the variable
    monkeypatch.setenv("LABKIT_TEST_WORD", "later")
    with local_cluster(1) as cluster:
        with Client(cluster, set_as_default=False) as client:
            assert client.submit(os.getenv, "LABKIT_TEST_WORD").result(timeout=60) == "later"
        for address in (cluster.scheduler_address, cluster.scheduler_address.replace("tls", "tcp")):
            with pytest.raises(MissingComponent, match="No Dask scheduler answers"):
                connect(address, 2.0)


@pytest.mark.parametrize(
    "address", ["nonsense", "http://127.0.0.1:1", "tcp://127.0.0.1:9", "tcp://", ":::", "tls://127.0.0.1:9"]
)
def test_an_address_that_is_none_is_one_sentence(address: str) -> None:
    with pytest.raises(MissingComponent) as caught:
        connect(address, 0.5)
    assert address in caught.value.message
    assert "\n" not in caught.value.message


def test_a_web_server_is_not_waited_for() -> None:
    """The port of Dask's dashboard, for example."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(MissingComponent, match="what is there is something else"):
                connect(f"tcp://127.0.0.1:{server.server_port}", 0.2)
        finally:
            server.shutdown()
            thread.join()
