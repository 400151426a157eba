"""The registers of a machine's vTPM, asked of the vTPM from outside: the guest has no part in the answer.

swtpm serves one client, QEMU. Over a second descriptor of QEMU's control connection its state is copied; a
swtpm of our own goes on from the copy and is asked for its PCRs. Nobody else may speak on that connection
meanwhile: QEMU does only when the machine starts, is reset or is saved.

Source: swtpm ``include/swtpm/tpm_ioctl.h`` (control channel); TCG TPM 2.0 Library, Part 3, TPM2_PCR_Read.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from labkit.console.stream import readable
from labkit.errors import VmError

PCR_COUNT = 24
BANKS = {"sha256": (0x000B, 32), "sha384": (0x000C, 48)}
"""The banks that labkit gives a vTPM: TPM_ALG_ID and size of a digest in bytes, by name."""

Pcrs = dict[str, dict[int, bytes]]
"""Values of PCRs, by bank and number."""

Spawn = Callable[[Sequence[str], Sequence[int], Path], "subprocess.Popen[bytes]"]
"""Starts a swtpm with these arguments and descriptors in the machine's guarded group, logging to the file."""

_INIT, _GET_STATE, _SET_STATE, _SET_DATA = 2, 12, 13, 16
_PERMANENT, _VOLATILE = 1, 2
_PCR_READ, _NO_SESSIONS = 0x017E, 0x8001
_LARGEST = 1 << 20
_TIMEOUT = 20.0
_REMEDY = "Boot again; swtpm.log in the run directory has what the vTPM said."


def read_pcrs(control: socket.socket, spawn: Spawn, work: Path) -> Pcrs:
    """Every PCR of the vTPM behind ``control``, in both banks; the machine must be paused.

    spawn: starts our own swtpm. work: a folder for its files, which are gone afterwards.

    Raises:
        VmError: the vTPM is gone, or does not answer as a swtpm does.
    """
    try:
        state = [(kind, _state(control, kind)) for kind in (_PERMANENT, _VOLATILE)]
        with contextlib.ExitStack() as undo:
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="tpm-copy-", dir=work)))
            ours, its = (undo.enter_context(end) for end in socket.socketpair())
            # Where it starts: swtpm splits its options at commas, and the folder's path may have one.
            arguments = ["socket", "--tpm2", "--tpmstate", "dir=."]
            arguments += ["--ctrl", f"type=unixio,clientfd={its.fileno()}"]
            copy = spawn(arguments, [its.fileno()], folder / "log")
            undo.callback(copy.wait)
            undo.callback(copy.kill)
            its.close()
            return _ask(ours, state)
    except (OSError, struct.error) as error:
        reason = getattr(error, "strerror", None) or "its answer is none of swtpm's"
        raise VmError(
            f"The vTPM of this machine cannot be asked for its registers: {reason}.", _REMEDY
        ) from error


def _state(control: socket.socket, kind: int) -> bytes:
    """One part of the state: result, flags, length of all, length of this answer, then the bytes."""
    control.sendall(struct.pack(">IIII", _GET_STATE, 0, kind, 0))
    result, _, total, length = struct.unpack(">IIII", _receive(control, 16))
    if result or length != total or length > _LARGEST:
        raise OSError(0, f"it refused its state ({result:#x})")
    return _receive(control, length)


def _ask(control: socket.socket, state: list[tuple[int, bytes]]) -> Pcrs:
    """Have a fresh swtpm go on from ``state``, and read its PCRs over a data connection."""
    data, its = socket.socketpair()
    with data:
        with its:
            socket.send_fds(control, [struct.pack(">I", _SET_DATA)], [its.fileno()])
            _done(control)
        for kind, blob in state:
            control.sendall(struct.pack(">IIII", _SET_STATE, 0, kind, len(blob)) + blob)
            _done(control)
        control.sendall(struct.pack(">II", _INIT, 0))
        _done(control)
        return {bank: _bank(data, *known) for bank, known in BANKS.items()}


def _done(control: socket.socket) -> None:
    (result,) = struct.unpack(">I", _receive(control, 4))
    if result:
        raise OSError(0, f"a copy of it refused its state ({result:#x})")


def _bank(data: socket.socket, algorithm: int, size: int) -> dict[int, bytes]:
    """All PCRs of one bank; an answer holds eight at most."""
    found: dict[int, bytes] = {}
    for byte in range(PCR_COUNT // 8):
        selection = bytes(0xFF if place == byte else 0 for place in range(3))
        chosen = struct.pack(">IHB", 1, algorithm, 3) + selection
        data.sendall(struct.pack(">HII", _NO_SESSIONS, 10 + len(chosen), _PCR_READ) + chosen)
        _, length, code = struct.unpack(">HII", _receive(data, 10))
        if code or length != 10 + 4 + len(chosen) + 4 + 8 * (2 + size):
            raise OSError(0, f"it has no such bank ({code:#x})")
        answer = _receive(data, length - 10)[4:]
        if not answer.startswith(chosen + struct.pack(">I", 8)):
            raise OSError(0, "it answered for other registers")
        digests = struct.iter_unpack(f">H{size}s", answer[len(chosen) + 4 :])
        found |= {8 * byte + place: value for place, (_, value) in enumerate(digests)}
    return found


def _receive(end: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes. QEMU has made its connection non-blocking, so we wait by ourselves.

    Raises:
        OSError: the other side is gone, or silent for too long.
    """
    data = b""
    deadline = time.monotonic() + _TIMEOUT
    while len(data) < size:
        left = deadline - time.monotonic()
        if left <= 0 or not readable([end.fileno()], left):
            raise OSError(0, "it is silent")
        with contextlib.suppress(BlockingIOError):
            piece = end.recv(size - len(data))
            if not piece:
                raise OSError(0, "the vTPM is gone")
            data += piece
    return data
