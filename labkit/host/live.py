"""Facts that only the running machine can give: its log, KVM's own answer, QEMU's, Docker's, the MSRs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from threading import Thread

from labkit.errors import MissingComponent
from labkit.host.log import MAX_BYTES, read_log
from labkit.host.model import UNREAD_LOG, Fact, KernelLog, LogState, Missing
from labkit.process import Completed, run

# linux/kvm.h: KVM_CHECK_EXTENSION is _IO(0xAE, 0x03); KVM_CAP_VM_TYPES is 235, bit 5 is KVM_X86_TDX_VM.
_KVM_CHECK_EXTENSION = 0xAE03
_KVM_CAP_VM_TYPES = 235
# Intel SDM vol. 4, Intel TDX module specification; see the check table for what the bits mean.
MSRS: dict[int, str] = {
    0x3A: "IA32_FEATURE_CONTROL",
    0x87: "IA32_MKTME_KEYID_PARTITIONING",
    0xA0: "SGX and MCHECK status",
    0xCE: "PLATFORM_INFO",
    0x500: "IA32_SGX_SVN_STATUS",
    0x503: "SGX debug mode",
    0x981: "IA32_TME_CAPABILITY",
    0x982: "IA32_TME_ACTIVATE",
    0x1400: "IA32_SEAMRR_PHYS_BASE",
    0x1401: "IA32_SEAMRR_PHYS_MASK",
}
_QEMUS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm", "/usr/bin/kvm")
_DOCKER = Path("/var/run/docker.sock")
_PROGRAM_SECONDS = 5.0  # a cold cache on a slow disk; the usual answer takes hundredths


class Programs:
    """Questions to programs, asked side by side from the start: they cost what the slowest costs."""

    def __init__(self) -> None:
        self._facts: dict[str, Fact] = {}
        jobs: list[Callable[[], dict[str, Fact]]] = [_qemu_objects, _qemu_version, _docker]
        self._threads: list[Thread] = []
        for job in jobs:
            thread = Thread(target=self._do, args=(job,))
            try:
                thread.start()
            except RuntimeError:  # there are no threads, as in a browser, or no more of them
                self._do(job)
            else:
                self._threads.append(thread)

    def _do(self, job: Callable[[], dict[str, Fact]]) -> None:
        # Without files or processes to be had, the question stays open.
        with suppress(OSError):
            self._facts |= job()

    def facts(self) -> dict[str, Fact]:
        """Their answers, once all are there."""
        for thread in self._threads:
            thread.join()
        return self._facts


def live_facts(intel: bool) -> dict[str, Fact]:
    """What the running kernel answers; only Intel CPUs are asked for MSRs."""
    return {**_kvm(), **_msrs(intel), "login.groups": _groups()}


def _denied(source: str, error: OSError) -> Fact:
    states = {PermissionError: Missing.DENIED, FileNotFoundError: Missing.ABSENT}
    return Fact(source, missing=states.get(type(error), Missing.UNKNOWN), why=error.strerror or str(error))


def _kvm() -> dict[str, Fact]:
    path, source = "/dev/kvm", f"ioctl KVM_CHECK_EXTENSION({_KVM_CAP_VM_TYPES}) on /dev/kvm"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        gone = Fact(source, missing=Missing.ABSENT, why="there is no /dev/kvm")
        return {"kvm.device": Fact(path, False, "not there"), "kvm.vm_types": gone}
    except OSError as error:
        return {"kvm.device": _denied(path, error), "kvm.vm_types": _denied(source, error)}
    device = Fact(path, True, "opens for this login")
    if not os.access(path, os.R_OK | os.W_OK):
        device = Fact(path, missing=Missing.DENIED, why="this login may read it, but not write to it")
    try:
        from fcntl import ioctl

        types = ioctl(descriptor, _KVM_CHECK_EXTENSION, _KVM_CAP_VM_TYPES)
    except OSError as error:
        return {"kvm.device": device, "kvm.vm_types": _denied(source, error)}
    finally:
        os.close(descriptor)
    return {"kvm.device": device, "kvm.vm_types": Fact(source, types, f"{types:#x}")}


def _qemu_path() -> str | None:
    return next(filter(None, map(shutil.which, _QEMUS)), None)


def _ask(argv: list[str]) -> Completed | None:
    try:
        done = run(argv, timeout=_PROGRAM_SECONDS)
    except MissingComponent:
        return None
    return done if done.ok else None


def _qemu_objects() -> dict[str, Fact]:
    path = _qemu_path()
    if path is None:
        lost = Fact("PATH", missing=Missing.ABSENT, why="no qemu-system-x86_64")
        return {"qemu.path": lost, "qemu.tdx": lost}
    source = f"{path} -object help"
    done = _ask([path, "-object", "help"])
    facts = {"qemu.path": Fact("PATH", path, path)}
    if done is None or "memory-backend-ram" not in done.text:
        facts["qemu.tdx"] = Fact(source, missing=Missing.UNKNOWN, why="it gave no list of objects")
        return facts
    able = "tdx-guest" in done.text.split()
    facts["qemu.tdx"] = Fact(source, able, "tdx-guest" if able else "no tdx-guest in the list")
    return facts


def _qemu_version() -> dict[str, Fact]:
    path = _qemu_path()
    done = _ask([path, "-version"]) if path else None
    line = done.text.partition("\n")[0].strip()[:200] if done else ""
    name, _, version = line.partition(" version ")
    if not name.startswith("QEMU") or not version:
        return {"qemu.version": Fact("qemu -version", missing=Missing.UNKNOWN, why="no version line")}
    return {"qemu.version": Fact(f"{path} -version", version, line)}


def _docker() -> dict[str, Fact]:
    if not _DOCKER.exists():
        return {"docker.engine": Fact(str(_DOCKER), missing=Missing.ABSENT, why="no Docker engine listens")}
    import re
    import socket  # both only where there is an engine to ask

    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(0.5)
            connection.connect(str(_DOCKER))
            connection.sendall(b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n")
            answer = b""
            while len(answer) < 1 << 16 and (part := connection.recv(1 << 14)):
                answer += part
    except OSError as error:
        return {"docker.engine": _denied(str(_DOCKER), error)}
    match = re.search(rb'"Version"\s*:\s*"([\w.+~-]{1,60})"', answer)
    if match is None:
        return {"docker.engine": Fact(str(_DOCKER), missing=Missing.UNKNOWN, why="no version in its answer")}
    version = match[1].decode()
    return {"docker.engine": Fact(f"{_DOCKER} GET /version", version, version)}


def _groups() -> Fact:
    try:
        import grp
    except ImportError:
        return Fact("groups of this login", missing=Missing.UNKNOWN, why="there are no groups here")
    names = []
    for number in sorted({*os.getgroups(), os.getegid()}):
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    wanted = tuple(
        name for name in ("kvm", "sgx", "sgx_prv", "adm", "systemd-journal", "docker") if name in names
    )
    return Fact("groups of this login", wanted, " ".join(wanted) or "none that matters here")


def _msrs(intel: bool) -> dict[str, Fact]:
    cpus = sorted(int(path.parent.name) for path in Path("/dev/cpu").glob("[0-9]*/msr"))
    if not intel or not cpus:
        why = "the module msr is not loaded: `sudo modprobe msr`" if intel else "not an Intel CPU"
        return {_key(number): _no_msr(number, Missing.ABSENT, why) for number in MSRS}
    read: dict[int, dict[int, int | None]] = {number: {} for number in MSRS}
    for cpu in cpus:
        try:
            descriptor = os.open(f"/dev/cpu/{cpu}/msr", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if isinstance(error, PermissionError):
                return {
                    _key(number): _no_msr(number, Missing.DENIED, "only root may read it") for number in MSRS
                }
            continue
        for number in MSRS:
            try:
                read[number][cpu] = int.from_bytes(os.pread(descriptor, 8, number), "little")
            except OSError:
                read[number][cpu] = None
        os.close(descriptor)
    return {_key(number): msr_fact(number, values) for number, values in read.items()}


def _key(number: int) -> str:
    return f"msr.{number:#x}"


def _no_msr(number: int, state: Missing, why: str) -> Fact:
    return Fact(f"MSR {number:#x} {MSRS[number]}", missing=state, why=why)


def msr_fact(number: int, values: dict[int, int | None]) -> Fact:
    """One register over all CPUs: its different values; EIO (#GP) means that the CPU has no such register."""
    different: dict[int, list[int]] = {}
    for cpu, value in values.items():
        if value is not None:
            different.setdefault(value, []).append(cpu)
    source = f"MSR {number:#x} {MSRS[number]}"
    if not different:
        return Fact(source, raw="EIO", missing=Missing.ABSENT, why="EIO: the CPU has no such register")
    if len(different) == 1:
        raw = f"{next(iter(different)):#x} on {len(values)} CPUs"
    else:
        raw = "; ".join(
            f"{value:#x} on CPU {cpus[0]} and {len(cpus) - 1} more" for value, cpus in different.items()
        )
    return Fact(source, tuple(f"{value:#x}" for value in sorted(different)), raw)


def live_log() -> KernelLog:
    """The kernel log of the running machine: the ring buffer, else the journal."""
    ring = _ring_buffer()
    if ring.state is LogState.READ and (ring.from_boot or ring.lines):
        return ring
    journal = _journal()
    return journal if journal.state is LogState.READ else ring


def _ring_buffer() -> KernelLog:
    source = "/dev/kmsg"
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return KernelLog(LogState.UNREADABLE, source, why=f"{source}: {error.strerror}")
    records, size = [], 0
    try:
        while size < MAX_BYTES:
            try:
                record = os.read(descriptor, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # the record was overwritten meanwhile; the next read gives the oldest one left
            if not record:
                break
            records.append(record.partition(b"\n")[0] + b"\n")
            size += len(record)
    except OSError as error:
        return KernelLog(LogState.UNREADABLE, source, why=f"{source}: {error.strerror}")
    finally:
        os.close(descriptor)
    return read_log(BytesIO(b"".join(records)), source)


def _journal() -> KernelLog:
    source = "journalctl -k -b"
    try:
        done = run(
            ["journalctl", "-k", "-b", "-o", "short-monotonic", "--no-pager", "-q"], timeout=_PROGRAM_SECONDS
        )
    except MissingComponent:
        return UNREAD_LOG
    if not done.ok or not done.stdout.strip():
        return KernelLog(LogState.UNREADABLE, source, why="the journal shows this login no kernel messages")
    return read_log(BytesIO(done.stdout), source)
