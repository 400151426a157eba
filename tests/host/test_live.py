"""On this very machine: the same verdict for root and for nobody, nothing written, KVM and QEMU asked."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.errors import MissingComponent
from labkit.host import collect, diagnose, live
from labkit.host.model import LogState
from labkit.process import Completed

NOBODY = 65534
_CHANGES = re.compile(
    r"\b(?:open(?:at2?)?\(.*(?:O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND)|creat\("
    r"|(?:un)?link(?:at)?\(|rename(?:at2?)?\("
    r"|mkdir(?:at)?\(|rmdir\(|symlink(?:at)?\(|f?chmod(?:at)?\(|[fl]?chown(?:at)?\(|f?truncate\(|utime\w*\(|mknod(?:at)?\("
    r"|mount\(|[fl]?setxattr\(|init_module\(|finit_module\(|connect\(.*AF_INET)"
)
_TRACED = (
    "open,openat,openat2,creat,unlink,unlinkat,link,linkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,symlink,"
    "symlinkat,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,truncate,ftruncate,utimensat,mknod,mknodat,"
    "mount,setxattr,fsetxattr,init_module,finit_module,connect,write,pwrite64,writev"
)
_TRACED += ",symlink,symlinkat,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,truncate,ftruncate"
_TRACED += ",utimensat,mknod,mknodat"
_TRACED += ",mount,setxattr,fsetxattr,init_module,finit_module,connect,write,pwrite64,writev"


def test_this_machine_gets_one_of_three_verdicts_with_its_reason() -> None:
    report = diagnose(collect())
    assert (report.reason is None) == (report.verdict == "READY")
    if report.facts.get("cpu.vendor").value != "GenuineIntel":
        assert report.verdict == "NOT_READY"
        assert report.reason in ("INSIDE_VM", "PLATFORM_NOT_TDX")


def test_without_threads_processes_and_groups_a_fact_is_missing_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a browser's Python."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    def none(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "emscripten does not support processes.")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(subprocess, "Popen", none)
    monkeypatch.setitem(sys.modules, "grp", None)
    facts = collect()
    assert facts.get("login.groups").missing == facts.get("qemu.version").missing == "unknown"
    assert facts.get("docker.engine").source
    assert diagnose(facts).verdict


def test_root_and_nobody_get_the_same_verdict() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    if not (report := diagnose(collect())).reason or report.check("platform").status == "PASS":
        pytest.skip("a TDX-capable machine: what nobody may read there decides")
    code = (
        "import os, json, labkit.host as h\n"
        "h.verify()\n"  # loads what only root can load here; nothing is kept
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "r = h.verify(); print(json.dumps([r.verdict, r.reason, r.facts.log.state]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    verdict, reason, log_state = json.loads(done.stdout)
    assert (verdict, reason) == (report.verdict, report.reason)
    restricted = Path("/proc/sys/kernel/dmesg_restrict").read_text().strip() == "1"
    assert not restricted or log_state == LogState.UNREADABLE


def _changes(*words: str | Path, folder: Path) -> list[str]:
    trace = folder / "trace"
    argv = [
        "strace",
        "-f",
        "-y",
        "-o",
        trace,
        "-e",
        f"trace={_TRACED}",
        sys.executable,
        "-B",
        "-m",
        "labkit",
        *words,
    ]
    # Where coverage is measured it writes its own files, which are not those of labkit.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    return list(_suspicious(trace.read_text().splitlines()))


def _suspicious(lines: list[str]) -> Iterator[str]:
    for line in lines:
        written = re.search(r"\b(?:write|pwrite64|writev)\(\d+<([^>]*)>", line)
        if written:
            if not written[1].startswith(("pipe:", "/dev/null", "socket:", "anon_inode:")):
                yield line
        elif _CHANGES.search(line) and '"/dev/' not in line:
            yield line


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_verify_changes_nothing(tmp_path: Path) -> None:
    assert _changes("verify", folder=tmp_path) == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_trace_would_show_a_change(tmp_path: Path) -> None:
    found = _changes("verify", "--save", tmp_path / "facts.json", folder=tmp_path)
    assert any("facts.json" in line for line in found)


def _answers(stdout: bytes, status: int = 0) -> Completed:
    return Completed(("qemu",), status, stdout, b"")


OBJECTS = b"List of user creatable objects:\n  memory-backend-ram\n  sev-guest\n"


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (_answers(OBJECTS), False),
        (_answers(OBJECTS + b"  tdx-guest\n"), True),
        (_answers(OBJECTS + b"  not-tdx-guest-really\n"), False),
        (_answers(b""), None),
        (_answers(OBJECTS, status=1), None),
    ],
)
def test_qemu_is_asked_for_its_objects(
    answer: Completed, value: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(live, "run", lambda *_, **__: answer)
    assert live.Programs().facts()["qemu.tdx"].value is value


def test_no_qemu_is_unknown_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> Completed:
        raise MissingComponent("no such program")

    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(live, "run", missing)
    facts = live.Programs().facts()
    assert (facts["qemu.tdx"].value, facts["qemu.tdx"].missing) == (None, "absent")


def test_qemu_says_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    line = b"QEMU emulator version 8.2.2 (Debian 1:8.2.2+ds-0ubuntu1.4+tdx1.1)\nCopyright\n"
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(live, "run", lambda *_, **__: _answers(line))
    assert live.Programs().facts()["qemu.version"].value == "8.2.2 (Debian 1:8.2.2+ds-0ubuntu1.4+tdx1.1)"


def test_a_journal_that_shows_nothing_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "open", denied)
    monkeypatch.setattr(live, "run", lambda *_, **__: _answers(b"", status=1))
    log = live.live_log()
    assert (log.state, log.why) == (LogState.UNREADABLE, "/dev/kmsg: Operation not permitted")


def test_the_journal_stands_in_for_a_ring_buffer_that_may_not_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def denied(*_: object, **__: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "open", denied)
    line = b"[   34.317811] node7 kernel: virt/tdx: module initialized\n"
    monkeypatch.setattr(live, "run", lambda *_, **__: _answers(line))
    assert [entry.text for entry in live.live_log().lines] == ["virt/tdx: module initialized"]
