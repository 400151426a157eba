"""The process of one kernel: the TDVM first, then Jupyter's sockets."""

from __future__ import annotations

import gc
from typing import Any

import zmq
from ipykernel.kernelapp import IPKernelApp
from traitlets import Type

from labkit.kernel._start import Starting
from labkit.kernel.jupyter import TdvmKernel

_LAST_WORDS = 1.0


class TdvmKernelApp(IPKernelApp):  # type: ignore[misc, unused-ignore]
    """Jupyter's kernel application with our kernel in it."""

    name = "labkit-tdvm"
    kernel_class = Type(TdvmKernel, klass="ipykernel.kernelbase.Kernel")  # type: ignore[assignment]
    starting: Starting

    def init_iopub(self, context: Any) -> None:
        """Open the publishing socket without a send limit: ZeroMQ would drop what exceeds it, silently."""
        limit = context.sockopts.get(zmq.SNDHWM)
        context.sockopts[zmq.SNDHWM] = 0
        try:
            super().init_iopub(context)  # type: ignore[no-untyped-call]
        finally:
            if limit is None:
                del context.sockopts[zmq.SNDHWM]
            else:
                context.sockopts[zmq.SNDHWM] = limit


def run(starting: Starting) -> None:
    """Serve until the front end shuts the kernel down; the guest is gone afterwards."""
    app: Any = TdvmKernelApp.instance()
    app.starting = starting
    # No cell writes to this process's own streams. Redirecting them costs threads, and at shutdown ipykernel
    # can wait for what is published through a thread that has already ended.
    app.outstream_class = None
    try:
        app.initialize()
        app.start()
    finally:
        starting.session.abandon()
        starting.session.close()
        # ipykernel ends the publishing thread at exit; the control thread would wait for it for ever.
        if app.control_thread is not None:
            app.control_thread.join(_LAST_WORDS)
        # Python looks for garbage among all objects before it ends: a third of a second of a restart.
        gc.freeze()
