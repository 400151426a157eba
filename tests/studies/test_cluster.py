"""The workers on this machine: whose they are, and what they know."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from labkit.course.course import init_course
from labkit.errors import MissingComponent
from labkit.studies.cluster import connect, local_cluster
from tests.workers import workers_of


def test_workers_are_nobody_elses_and_have_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reaches a scheduler runs code as its owner, and every account reaches a port of this machine."""
    from distributed import Client

    forkserver.ensure_running()  # it is older than the variable
    monkeypatch.setenv("LABKIT_TEST_WORD", "later")
    with local_cluster(1) as cluster:
        with Client(cluster, set_as_default=False) as client:
            assert client.submit(os.getenv, "LABKIT_TEST_WORD").result(timeout=60) == "later"
            loaded = client.submit(lambda: list(sys.modules)).result(timeout=60)
            swept = client.submit(lambda: (gc.isenabled(), gc.get_freeze_count() > 0)).result(timeout=60)
        assert swept == (True, True)  # of garbage that is its own
        assert "prometheus_client" not in loaded  # half of what a worker loaded after its fork
        server: Any = cluster.scheduler
        pages = f"http://127.0.0.1:{server.http_server.port}"
        for page in ("health", "metrics", "json/identity.json", "info/main/workers.html"):
            with pytest.raises(HTTPError, match="404") as refused:
                urlopen(f"{pages}/{page}", timeout=30)
            refused.value.close()
        for address in (cluster.scheduler_address, cluster.scheduler_address.replace("tls", "tcp")):
            with pytest.raises(MissingComponent, match="No Dask scheduler answers"):
                connect(address, 2.0)


def test_no_worker_is_left_where_the_end_comes_right_behind_the_start() -> None:
    """There, with Python 3.14, the first try to end them breaks off."""
    with local_cluster(2):
        assert len(workers_of(os.getpid())) == 2
    assert workers_of(os.getpid()) == []


def test_ctrl_c_while_the_fork_server_starts_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed = iter([signal.SIGINT])
    monkeypatch.setattr(forkserver, "ensure_running", lambda: signal.raise_signal(next(pressed)))
    with pytest.raises(KeyboardInterrupt), local_cluster(1):
        pytest.fail("it went on")


STARTS = """
import signal
from multiprocessing import forkserver, util
from labkit.studies import cluster
spawn = util.spawnv_passfds
def spawned(path, args, passed):
    if any("forkserver" in str(word) for word in args):
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        print("blocked")
        raise SystemExit
    return spawn(path, args, passed)
util.spawnv_passfds = spawned
with cluster.local_cluster(1):
    pass
"""


def test_the_fork_server_starts_with_ctrl_c_blocked_also_where_it_is_the_first_of_its_kind() -> None:
    ran = subprocess.run([sys.executable, "-c", STARTS], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("blocked\n", "")


SCRIPT = """
import os
from distributed import Client
from labkit.studies.cluster import local_cluster
print("run", __file__)
with local_cluster(1) as cluster, Client(cluster) as client:
    assert client.submit(os.getpid).result(timeout=60) != os.getpid()
print("still", __file__)
"""


def test_a_script_that_starts_workers_is_not_run_by_them(tmp_path: Path) -> None:
    """Without that line about its name that few know; each worker would wait for workers of its own."""
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == (f"run {script}\nstill {script}\n", 0), done.stderr


def test_a_loopback_that_is_down_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr("socket.create_connection", unreachable)
    with (
        pytest.raises(
            MissingComponent, match=r"Nothing reaches 127\.0\.0\.1.*unreachable.*ip link set lo up"
        ),
        local_cluster(1),
    ):
        pass


def test_workers_that_do_not_start_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Cluster failed to start: a port is taken")

    monkeypatch.setattr("distributed.LocalCluster", broken)
    with pytest.raises(MissingComponent, match=r"did not start: .*a port is taken\."), local_cluster(1):
        pass


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


@pytest.mark.parametrize("verb", ["grade", "sweep"])
def test_workers_start_before_dask_is_loaded_here(verb: str, notebook: Path, tmp_path: Path) -> None:
    """Both take about as long: one behind the other doubled the wait for the first result."""
    words = ["sweep", str(notebook), "-p", "size", "1,2", "--output", str(tmp_path / "out")]
    if verb == "grade":
        (tmp_path / "roster.csv").write_text("id\nada\n")
        course = init_course(tmp_path / "roster.csv", tmp_path / "course")
        words = ["grade", "refusals", str(tmp_path), "--course", str(course.folder)]
    program = (
        "import sys\nfrom multiprocessing import forkserver\nfrom labkit.cli import labkit\n"
        "forkserver.ensure_running = lambda: sys.exit(10 + ('distributed' in sys.modules))\n"
        f"labkit({words!r})"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 10
