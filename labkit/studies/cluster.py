"""Worker processes on this machine, by way of dask.distributed, for nobody but who started them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver, resource_tracker, set_forkserver_preload
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from labkit.errors import MissingComponent
from labkit.process import scratch_folder, unseen_script
from labkit.show import one_line

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

# Behind it stand two names that multiprocessing makes, and a socket's path has at most 107 bytes (unix(7)).
_LONGEST_FOLDER = 70


@contextlib.contextmanager
def local_cluster(workers: int, modules: Sequence[str] = ()) -> Iterator[LocalCluster]:
    """A ``LocalCluster`` of ``workers`` processes with a thread each, which have loaded ``modules``.

    It speaks TLS with keys made for it: every account of this machine reaches its ports, and who reaches a
    Dask scheduler runs code as its owner. Whoever calls this imports Dask inside, while the workers start.

    Raises:
        MissingComponent: the workers cannot be reached, or do not start.
    """
    _require_loopback()
    method = _start_method()
    if method == "forkserver":
        # It loads what the workers need, once for all of them, while this process loads Dask.
        set_forkserver_preload(["labkit.studies._fork_server", "distributed", *modules])
        # It never hears Ctrl-C, not even before its first line. It ends with its owner, which does.
        resource_tracker.ensure_running()  # where that has to start it, it lets Ctrl-C through again
        with _ctrl_c_held_back():
            forkserver.ensure_running()
    with _no_sweeping():
        import dask
        from distributed import LocalCluster

    _quiet()

    settings = {
        "distributed.worker.multiprocessing-method": method,
        # What Dask watches about itself, many times a second, in every process; nobody looks at it here.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
        # And its pages, which every account of this machine could read without a key.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    with (
        unseen_script(),
        scratch_folder("labkit-workers-") as scratch,
        dask.config.set({**settings, "temporary-directory": str(scratch)}),
    ):
        # Ctrl-C waits for the cluster: one that is half there cannot be ended.
        pressed: list[int] = []
        with _on_ctrl_c(lambda number, _frame: pressed.append(number)), _started_or_said():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # any port: a second cluster has one of its own
                security=True,
                silence_logs=logging.CRITICAL,
                local_directory=str(scratch),
                memory_limit=0,  # what needs memory is bounded where it runs
                preload=["labkit.studies._preload"],
                # Workers are forks of a process that may be older than what was set here since.
                env=dict(os.environ),
            )
        try:
            if pressed:
                raise KeyboardInterrupt
            yield cluster
        finally:
            with _on_ctrl_c(signal.SIG_IGN), contextlib.suppress(Exception):
                _close(cluster)


def _close(cluster: LocalCluster) -> None:
    """End the workers. What breaks off is tried once more, else they outlive even this process.

    With Python 3.14 the connection to the scheduler breaks where this comes right behind the start.
    """
    from distributed.core import Status

    try:
        cluster.close(timeout=10)
    except OSError:
        cluster.status = Status.running  # another close would wait for the one that gave up
        cluster.close(timeout=10)


def _require_loopback() -> None:
    """Refuse at once what Dask would wait a minute for."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        raise MissingComponent(
            f"Nothing reaches 127.0.0.1, through which the workers are spoken to: {error.strerror or error}.",
            "As root: `ip link set lo up`.",
        ) from error


@contextlib.contextmanager
def _started_or_said() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise MissingComponent(
            f"The workers on this machine did not start: {one_line(str(error), 200).rstrip('.')}.",
            "Close other programs, or take fewer workers: -j 1.",
        ) from error


@contextlib.contextmanager
def _no_sweeping() -> Iterator[None]:
    """Look for no garbage for a while: what is loaded stays."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def connect(address: str, patience: float) -> Client:
    """A client of a scheduler that exists, whose TLS settings are those of Dask's own configuration.

    Raises:
        MissingComponent: nobody answers there within ``patience`` seconds.
    """
    from distributed import Client

    _quiet()
    try:
        # In a thread, since a notebook has a loop of its own in this one.
        with ThreadPoolExecutor(1) as alone:
            kind = alone.submit(asyncio.run, _ask_kind(address, patience)).result()
        if kind != "Scheduler":
            raise OSError(f"a {kind} does")
        return Client(address, timeout=patience, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise MissingComponent(
            f"No Dask scheduler answers at {address}: {str(error) or 'what is there is something else'}.",
            "Start one with `dask scheduler`, and workers with `dask worker ADDRESS`.",
        ) from error


@contextlib.contextmanager
def _on_ctrl_c(handler: Any) -> Iterator[None]:
    """Another handler for a while; only the main thread is told of Ctrl-C, and may say what it does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Ctrl-C comes when this is over; a process that is started in it hears none until it says so."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _ask_kind(address: str, patience: float) -> str:
    """What kind of Dask's servers is there; Dask's own client would wait for ever for a web server."""
    from distributed.comm.core import connect as call
    from distributed.security import Security

    async def asked() -> str:
        comm = await call(address, timeout=patience, **Security().get_connection_args("client"))
        try:
            await comm.write({"op": "identity", "reply": True})
            return str((await comm.read())["type"])
        finally:
            comm.abort()

    return await asyncio.wait_for(asked(), patience + 1)


def _quiet() -> None:
    """Let Dask say nothing of lost connections; what matters of them is said by who uses it.

    Dask gives levels to some of its loggers when it is imported, so this comes after.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _start_method() -> str:
    """How workers start: as forks of one process that imports Dask, where the path of its socket fits."""
    return "forkserver" if len(os.fsencode(gettempdir())) <= _LONGEST_FOLDER else "spawn"
