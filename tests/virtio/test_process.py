"""The process of the devices: a connection as QEMU's, the owner's commands, and every way to end."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from labkit.errors import UsageError, VmError
from labkit.virtio import Disk, wire
from labkit.virtio.attached import Attached, Wire, check_devices
from labkit.virtio.devices import Device, Entropy
from labkit.virtio.process import arguments
from labkit.virtio.wire import Request
from tests.virtio.guest import AVAILABLE, DESCRIPTORS, GUEST, SIZE, USED, USER

COMMAND = (sys.executable, "-P", "-m", "labkit.virtio")


@dataclass
class Served:
    """An entropy device's process, QEMU's place in it, and the owner's."""

    process: subprocess.Popen[bytes]
    qemu: socket.socket
    device: Attached

    def ask(self, request: int, payload: bytes = b"", *descriptors: int) -> bytes:
        """Send a message that wants an answer; the payload of that."""
        data = bytearray(wire.message(request, payload, reply=False))
        data[4] |= 8
        socket.send_fds(self.qemu, [bytes(data)], descriptors)
        header = wire.read_header(self.qemu.recv(wire.HEADER.size, socket.MSG_WAITALL))
        assert header.request == request
        return self.qemu.recv(header.size, socket.MSG_WAITALL)


@pytest.fixture
def served() -> Iterator[Served]:
    with ExitStack() as stack:
        mine, owner = socket.socketpair()
        qemu, its = socket.socketpair()
        stack.enter_context(qemu)
        qemu.settimeout(30)
        with owner, its:
            words = arguments("test", owner.fileno(), [its.fileno()], [None])
            process = subprocess.Popen([*COMMAND, *words], pass_fds=(owner.fileno(), its.fileno()))
        stack.callback(process.wait, 30)
        stack.callback(process.kill)
        connection = Wire(mine)
        stack.callback(connection.close)
        yield Served(process, qemu, Attached(Entropy(), 0, connection))


def connect(served: Served, entries: int = 8) -> tuple[int, int, int]:
    """Hand over memory and a queue, as QEMU does; the memory's descriptor, kick and call."""
    memory = os.memfd_create("guest")
    os.ftruncate(memory, SIZE)
    kick, call = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
    table = struct.pack("<IIQQQQ", 1, 0, GUEST, SIZE, USER, 0)
    served.ask(Request.SET_MEM_TABLE, table, memory)
    served.ask(Request.SET_VRING_NUM, struct.pack("<II", 0, entries))
    served.ask(Request.SET_VRING_BASE, struct.pack("<II", 0, 0))
    addresses = struct.pack("<IIQQQQ", 0, 0, USER + DESCRIPTORS, USER + USED, USER + AVAILABLE, 0)
    served.ask(Request.SET_VRING_ADDR, addresses)
    served.ask(Request.SET_VRING_CALL, wire.number(0), call)
    served.ask(Request.SET_VRING_KICK, wire.number(0), kick)
    return memory, kick, call


def offer(memory: int, place: int, size: int) -> None:
    os.pwrite(memory, struct.pack("<QIHH", GUEST + place, size, 2, 0), DESCRIPTORS)
    os.pwrite(memory, struct.pack("<HHH", 0, 1, 0), AVAILABLE)


def wait(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 30)[0])


def test_a_queue_is_served_and_the_lie_is_told_once(served: Served) -> None:
    memory, kick, call = connect(served)
    served.device.lie("length", 65536)
    offer(memory, 0x4000, 64)
    os.eventfd_write(kick, 1)
    assert wait(call)
    assert struct.unpack("<HHII", os.pread(memory, 12, USED)) == (0, 1, 0, 65536)
    record = served.device.record()
    assert os.pread(memory, 64, 0x4000) == record.served
    assert [exchange.told for exchange in record.lies] == ["id 0, length 65536"]
    os.eventfd_read(call)
    os.pwrite(memory, struct.pack("<HHHH", 0, 2, 0, 0), AVAILABLE)
    os.eventfd_write(kick, 1)
    assert wait(call)
    assert [exchange.lie for exchange in served.device.record().exchanges] == ["length", None]
    # QEMU takes the queue back, and hears how far it came.
    assert served.ask(Request.GET_VRING_BASE, struct.pack("<II", 0, 0)) == struct.pack("<II", 0, 2)


def test_a_guest_that_breaks_its_queue_loses_its_device_alone(served: Served) -> None:
    memory, kick, _ = connect(served)
    offer(memory, SIZE - 1, 64)
    os.eventfd_write(kick, 1)
    served.ask(Request.GET_FEATURES)
    while not (broken := served.device.record().broken):
        assert served.process.poll() is None
    assert "not in the guest's memory" in broken


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 64,
        wire.message(Request.SET_MEM_TABLE, struct.pack("<II", 1 << 30, 0)),
        wire.message(Request.SET_MEM_TABLE, struct.pack("<IIQQQQ", 1, 0, 0, 1 << 40, 0, 0)),
        wire.message(Request.SET_VRING_NUM, b"short"),
    ],
    ids=["noise", "endless-table", "no-descriptor", "short"],
)
def test_a_message_that_is_none_ends_the_connection_and_not_the_process(served: Served, sent: bytes) -> None:
    served.qemu.sendall(sent)
    with contextlib.suppress(ConnectionResetError):
        assert served.qemu.recv(1) == b""
    assert served.device.record().broken
    assert served.process.poll() is None


def test_the_process_ends_with_its_owners_connection(served: Served) -> None:
    served.device._wire.close()
    assert served.process.wait(30) == 0


def test_an_owner_is_told_that_the_process_was_killed(served: Served) -> None:
    served.process.kill()
    served.process.wait(30)
    with pytest.raises(VmError, match="is gone"):
        served.device.record()


OWNER = """
import socket, subprocess, sys
mine, owner = socket.socketpair()
its, _ = socket.socketpair()
from labkit.virtio.process import arguments
words = arguments("test", owner.fileno(), [its.fileno()], [None])
command = [sys.executable, "-P", "-m", "labkit.virtio", *words]
process = subprocess.Popen(command, pass_fds=(owner.fileno(), its.fileno()))
owner.close()
print(process.pid, flush=True)
sys.stdin.read()
"""


def test_the_process_does_not_outlive_a_killed_owner() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    process = os.pidfd_open(int(owner.stdout.readline()))
    owner.kill()
    owner.communicate(timeout=30)
    assert wait(process)
    os.close(process)


@pytest.mark.parametrize(
    ("name", "value"), [("status", None), ("nonsense", None), ("length", -1), ("length", 1 << 32)]
)
def test_a_lie_that_the_device_does_not_know_is_refused(served: Served, name: str, value: int | None) -> None:
    with pytest.raises(UsageError):
        served.device.lie(name, value)


def test_devices_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="too many"):
        check_devices([Entropy()] * 17)
    with pytest.raises(UsageError, match="cannot be attached"):
        check_devices([Disk(b"short")])


@pytest.mark.parametrize("device", [Entropy(), Disk()])
def test_a_device_names_the_lies_that_it_can_tell(device: Device) -> None:
    class NoWire(Wire):
        def __init__(self) -> None:
            self.asked: list[object] = []

        def ask(self, command: dict[str, Any]) -> dict[str, Any]:
            self.asked.append(command)
            return {}

    no_wire = NoWire()
    attached = Attached(device, 0, no_wire)
    assert all(meaning for meaning in attached.lies.values())
    for name in attached.lies:
        attached.lie(name)
    assert len(no_wire.asked) == len(attached.lies) > 0
    assert "length" in attached.lies
