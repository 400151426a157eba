"""The registers of a vTPM, asked from outside: of a real swtpm, without a machine, and of what is none."""

from __future__ import annotations

import hashlib
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from labkit.errors import VmError
from labkit.toolchain.toolchain import Toolchain
from labkit.vm.vtpm import BANKS, PCR_COUNT, read_pcrs

_INIT, _SET_DATA = 2, 16
_STARTUP, _EXTEND, _WITH_SESSIONS, _NO_SESSIONS = 0x144, 0x182, 0x8002, 0x8001
_PASSWORD = struct.pack(">IIHBH", 9, 0x40000009, 0, 0, 0)


@dataclass(frozen=True)
class Vtpm:
    """A swtpm that runs as QEMU starts one: its control channel, and how it is told commands."""

    toolchain: Toolchain
    control: socket.socket
    data: socket.socket

    def spawn(
        self, arguments: Sequence[str], descriptors: Sequence[int], log: Path
    ) -> subprocess.Popen[bytes]:
        """A second one, in the folder of its log."""
        return subprocess.Popen(
            self.toolchain.swtpm.argv(*arguments),
            pass_fds=descriptors,
            cwd=log.parent,
            env=self.toolchain.swtpm.environ(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def command(self, tag: int, code: int, body: bytes) -> None:
        self.data.sendall(struct.pack(">HII", tag, 10 + len(body), code) + body)
        answer = self.data.recv(4096)
        assert struct.unpack_from(">HII", answer)[2] == 0

    def extend(self, number: int, **digests: bytes) -> None:
        found = b"".join(struct.pack(">H", BANKS[bank][0]) + digest for bank, digest in digests.items())
        self.command(
            _WITH_SESSIONS,
            _EXTEND,
            struct.pack(">I", number) + _PASSWORD + struct.pack(">I", len(digests)) + found,
        )


@pytest.fixture
def vtpm(toolchain: Toolchain, tmp_path: Path) -> Iterator[Vtpm]:
    (tmp_path / "state").mkdir()
    setup = toolchain.swtpm_setup
    subprocess.run(
        setup.argv("--tpm2", "--tpmstate", "state", "--pcr-banks", "sha256,sha384"),
        env=setup.environ(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    control, its = socket.socketpair()
    data, its_data = socket.socketpair()
    found = Vtpm(toolchain, control, data)
    arguments = ["socket", "--tpm2", "--tpmstate", "dir=.", "--ctrl", f"type=unixio,clientfd={its.fileno()}"]
    process = found.spawn(arguments, [its.fileno()], tmp_path / "state/log")
    with control, data, its, its_data:
        socket.send_fds(control, [struct.pack(">I", _SET_DATA)], [its_data.fileno()])
        assert control.recv(4) == bytes(4)
        control.sendall(struct.pack(">II", _INIT, 0))
        assert control.recv(4) == bytes(4)
        found.command(_NO_SESSIONS, _STARTUP, bytes(2))
        yield found
    process.kill()
    process.wait(10)


def test_every_register_of_both_banks_is_read_and_the_vtpm_goes_on(vtpm: Vtpm, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    digest = {"sha256": hashlib.sha256(b"one").digest(), "sha384": hashlib.sha384(b"one").digest()}
    expected = {
        bank: {number: bytes(size) for number in range(17)}
        | dict.fromkeys(range(17, 23), b"\xff" * size)
        | {23: bytes(size)}
        for bank, (_, size) in BANKS.items()
    }
    for number in (0, 7, 8, 15):
        vtpm.extend(number, **digest)
        for bank, banks in expected.items():
            banks[number] = hashlib.new(bank, banks[number] + digest[bank]).digest()
    # QEMU has made its end non-blocking.
    vtpm.control.setblocking(False)
    assert read_pcrs(vtpm.control, vtpm.spawn, work) == expected
    vtpm.extend(23, sha384=digest["sha384"])
    expected["sha384"][23] = hashlib.sha384(bytes(48) + digest["sha384"]).digest()
    assert read_pcrs(vtpm.control, vtpm.spawn, work) == expected
    assert len(expected["sha256"]) == PCR_COUNT
    assert list(work.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "the vTPM is gone"),
        (bytes(15), "the vTPM is gone"),
        (struct.pack(">IIII", 9, 0, 4, 4) + b"abcd", r"refused its state \(0x9\)"),
        (struct.pack(">IIII", 0, 0, 5, 4) + b"abcd", "refused its state"),
        (struct.pack(">IIII", 0, 0, (1 << 20) + 1, (1 << 20) + 1), "refused its state"),
        (struct.pack(">IIII", 0, 0, 4, 4) + b"abc", "the vTPM is gone"),
    ],
)
def test_what_does_not_answer_as_a_swtpm_does_is_one_sentence(
    answer: bytes, why: str, tmp_path: Path
) -> None:
    def spawn(*_: object) -> subprocess.Popen[bytes]:
        raise AssertionError("nothing is to be copied")

    control, its = socket.socketpair()
    with control, its:
        its.sendall(answer)
        its.shutdown(socket.SHUT_WR)
        with pytest.raises(VmError, match=why) as refused:
            read_pcrs(control, spawn, tmp_path)
    assert "swtpm.log" in refused.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_does_not_take_the_state_is_said(tmp_path: Path) -> None:
    def spawn(arguments: Sequence[str], descriptors: Sequence[int], log: Path) -> subprocess.Popen[bytes]:
        """It takes its data connection, and refuses the first part of the state."""
        answers = f"printf '\\0\\0\\0\\0\\0\\0\\0\\11' >&{descriptors[0]}; exec sleep 600"
        return subprocess.Popen(["bash", "-c", answers], pass_fds=descriptors, cwd=log.parent)

    control, its = socket.socketpair()
    with control, its:
        its.sendall(2 * (struct.pack(">IIII", 0, 0, 4, 4) + b"abcd"))
        with pytest.raises(VmError, match=r"a copy of it refused its state \(0x9\)"):
            read_pcrs(control, spawn, tmp_path)
    assert list(tmp_path.iterdir()) == []
