"""Removes one container when its owner is gone, by whatever end; a program that imports nothing of labkit.

Called as ``python _cleanup.py SOCKET ID``: it waits for the end of standard input, which the kernel closes
for an owner that was killed too, and then tells the engine behind the Unix socket to remove the container.
"""

from __future__ import annotations

import signal
import socket
import sys

_TRIES = 5
_SECONDS = 30.0


def remove(path: str, container: str) -> bool:
    """Whether the engine has answered that the container is gone."""
    request = f"DELETE /containers/{container}?force=1&v=1 HTTP/1.0\r\nHost: engine\r\n\r\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
        engine.settimeout(_SECONDS)
        engine.connect(path)
        engine.sendall(request.encode())
        status = engine.recv(64).split(b" ")[1:2]
    return status in ([b"204"], [b"404"])


def main(path: str, container: str) -> int:
    """Wait for the owner's end, then remove the container."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for _ in range(_TRIES):
        try:
            if remove(path, container):
                return 0
        except OSError:
            continue
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
