"""Real guests under real QEMU: nothing outlives its owner, and a resumed guest is one of its own."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import BootFailed, CommandTimeout, GuestGone
from labkit.guest.reseed import renewal
from labkit.settings import Settings
from labkit.toolchain.toolchain import Toolchain
from labkit.vm import BootSpec, Hypervisor, VirtualMachine, boot
from labkit.vm.booting import SnapshotStore, resume
from labkit.vm.launch import Snapshot
from labkit.vm.rundir import running, stop

from .conftest import TCG

pytestmark = pytest.mark.vm


def processes_of(run_dir: Path) -> list[str]:
    """Command names of the processes that mention a run directory and are not zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if run_dir.name.encode() in words:
            found.append(words.partition(b"\0")[0].decode())
    return found


def test_the_guest_answers_and_its_kernel_log_stays_apart(guest: VirtualMachine) -> None:
    assert guest.console.run("uname -s", timeout=20).output == "Linux\n"
    guest.console.run("echo 'a message of the kernel' > /dev/kmsg", timeout=20)
    assert guest.console.run("echo clean", timeout=20).output == "clean\n"


def test_no_emulated_cpu_promises_quick_copies_of_single_bytes(guest: VirtualMachine) -> None:
    flags = guest.console.run("grep -m 1 flags /proc/cpuinfo").output.split()
    assert "lm" in flags
    assert not {"erms", "fsrm"} & set(flags)


def test_exit_is_a_status_and_a_new_shell_answers(guest: VirtualMachine) -> None:
    result = guest.console.run("exit 7", timeout=20)
    assert (result.exit_status, result.shell_ended, result.output) == (7, True, "")
    assert guest.console.run("set -e; false", timeout=20).exit_status == 1
    assert guest.console.run("exec sh -c 'exit 5'", timeout=20).exit_status == 5
    assert guest.console.run("echo on", timeout=20).output == "on\n"


def test_no_byte_of_a_large_output_is_lost(guest: VirtualMachine) -> None:
    seen = bytearray()
    guest.console.run("seq 20000", timeout=60, on_output=seen.extend)
    assert seen == "".join(f"{number}\n" for number in range(1, 20001)).encode()


def test_a_guest_whose_output_nobody_reads_waits_and_answers_its_monitor(guest: VirtualMachine) -> None:
    # Far more than the socket takes; what is read meanwhile is not lost either.
    guest.console.run("head -c 1500000 /dev/zero >/dev/tty & sleep 0.5", timeout=60)
    with guest.paused() as memory:
        assert len(memory.read(0, 4096)) == 4096
    read = guest.console.run("wait", timeout=120)
    assert read.exit_status == 0
    assert (guest.run_dir / "shell.log").read_bytes().count(b"\0") == 1_500_000


def test_a_command_that_takes_too_long_is_interrupted(guest: VirtualMachine) -> None:
    with pytest.raises(CommandTimeout):
        guest.console.run("sleep 1000", timeout=0.5)
    assert guest.console.run("echo ok", timeout=20).output.strip() == "ok"


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("poweroff -f; sleep 100", "The guest ended"),
        ("echo c > /proc/sysrq-trigger; sleep 100", "The guest's kernel panicked: sysrq triggered crash."),
    ],
)
def test_the_end_of_the_guest_ends_the_command_and_a_panic_is_called_one(
    guest: VirtualMachine, end: str, said: str
) -> None:
    with pytest.raises(GuestGone) as gone:
        guest.console.run(f"echo 1 > /proc/sys/kernel/sysrq; {end}", timeout=60)
    assert said in guest.explain(gone.value).message


def test_closing_leaves_logs_and_nothing_else(guest: VirtualMachine) -> None:
    guest.console.run("echo something", timeout=20)
    guest.power_off()
    guest.close()
    assert processes_of(guest.run_dir) == []
    kept = {path.name for path in guest.run_dir.iterdir()}
    logs = {"argv.json", "console.log", "qemu.log", "shell.log", "swtpm.log"}
    # A resumed machine keeps the log of the boot that its snapshot was made of as well.
    assert kept - {"snapshot-console.log"} == logs
    assert b"something" in (guest.run_dir / "shell.log").read_bytes()


def test_a_machine_goes_on_after_each_of_many_snapshots(guest: VirtualMachine, tmp_path: Path) -> None:
    # QEMU's end of a snapshot races with what follows it, the more so on a busy machine.
    snapshot = Snapshot(tmp_path / "memory", tmp_path / "vars.fd")
    with busy_processors():
        for number in range(10):
            guest.save(snapshot)
            assert guest.console.run(f"echo {number}", timeout=30).output == f"{number}\n"


@contextmanager
def busy_processors() -> Iterator[None]:
    """Twice as many loops as processors."""
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def test_resumed_siblings_share_no_randomness(
    spec: BootSpec, toolchain: Toolchain, vm_settings: Settings
) -> None:
    with ExitStack() as stack:
        boot(spec, Hypervisor(toolchain, vm_settings, TCG))[0].close()
        with ThreadPoolExecutor(3) as pool:
            started = pool.map(lambda _: boot(spec, Hypervisor(toolchain, vm_settings, TCG))[0], range(3))
            siblings = [stack.enter_context(machine) for machine in started]
        assert all(machine.resumed for machine in siblings)
        read = "dd if=/dev/urandom bs=16 count=1 2>/dev/null | base64; cat /proc/sys/kernel/random/uuid"
        drawn = [machine.console.run(read, timeout=20).output for machine in siblings]
    assert len(set(drawn)) == 3
    assert len({line for text in drawn for line in text.split()}) == 6


def test_a_resumed_guest_has_the_time_of_today(guest: VirtualMachine) -> None:
    guest_time = int(guest.console.run("date +%s", timeout=20).output)
    host_time = int(subprocess.run(["date", "+%s"], capture_output=True, check=True).stdout)
    assert abs(guest_time - host_time) < 30


def test_a_guest_is_renewed_without_the_program_that_waits_for_it(guest: VirtualMachine) -> None:
    assert guest.console.run("pidof labkit-reseed", timeout=20).exit_status == 0
    quick, sure = renewal(1_000_000_000)
    for command in (quick, sure):
        renewed = guest.console.run(command, timeout=20)
        date = int(guest.console.run("date +%s", timeout=20).output)
        assert (renewed.exit_status, renewed.output) == (0, ""), command
        assert 0 <= date - 1_000_000_000 < 30, command
        assert guest.console.run("date -s @1700000000", timeout=20).exit_status == 0
    assert "_done" not in guest.console.run("set", timeout=20).output


@pytest.mark.parametrize("loss", ["kill -9 $(pidof labkit-reseed)", "rm /etc/seed /etc/seeded"])
def test_a_guest_that_lost_what_waits_at_the_pipe_is_renewed_when_it_is_resumed(
    guest: VirtualMachine, toolchain: Toolchain, vm_settings: Settings, tmp_path: Path, loss: str
) -> None:
    guest.console.run(f"{loss}; date -s @1000000000", timeout=20)
    saved = Snapshot(tmp_path / "memory", tmp_path / "vars.fd")
    guest.save(saved)
    with resume(guest.spec, Hypervisor(toolchain, vm_settings, TCG), saved)[0] as again:
        assert int(again.console.run("date +%s", timeout=20).output) > 1_700_000_000
        assert again.console.run("echo on", timeout=20).output == "on\n"


def test_a_resumed_shell_is_known_by_what_its_console_knew(
    guest: VirtualMachine, toolchain: Toolchain, vm_settings: Settings, tmp_path: Path
) -> None:
    # A fresh console would not know that `eval` is taken, nor which status the next command sees.
    guest.console.run("eval() { :; }; exit() { :; }; word=kept; (exit 3)", timeout=20)
    assert guest.console.run("sh -c 'exit 5'", timeout=20).exit_status == 5
    saved = Snapshot(tmp_path / "memory", tmp_path / "vars.fd")
    guest.save(saved)
    hypervisor = Hypervisor(toolchain, vm_settings, TCG)
    with resume(guest.spec, hypervisor, saved)[0] as again:
        assert again.console.run("echo $? $word", timeout=20).output == "5 kept\n"


def test_a_resumed_shell_is_looked_for_where_nothing_is_known_of_it(
    guest: VirtualMachine, toolchain: Toolchain, vm_settings: Settings, tmp_path: Path
) -> None:
    guest.console.run("word=kept", timeout=20)
    left_behind = vm_settings.state_dir / "tdvms" / "00000000-000000" / "work"
    left_behind.mkdir(parents=True)
    saved = Snapshot(tmp_path / "memory", tmp_path / "vars.fd")
    guest.save(saved)
    hypervisor = Hypervisor(toolchain, vm_settings, TCG)
    for nonsense in ("", "{}", "[1]", '{"status": 0, "shell": {"dialect": {"loud": 1}, "number": 1}}'):
        saved.shell.write_text(nonsense)
        with resume(guest.spec, hypervisor, saved)[0] as again:
            assert again.console.run("echo $word", timeout=20).output == "kept\n", nonsense
    assert not left_behind.exists(), "a machine that starts removes what a killed one left"


def test_a_resumed_guest_keeps_its_tpm(guest: VirtualMachine) -> None:
    read = "cat /sys/class/tpm/tpm0/pcr-sha384/9"
    pcr = guest.console.run(read, timeout=20).output.strip()
    assert re.fullmatch(r"[0-9A-F]{96}", pcr)
    assert pcr != "0" * 96


def test_resumed_machines_share_the_memory_that_they_have_not_written(
    spec: BootSpec, toolchain: Toolchain, vm_settings: Settings, guest: VirtualMachine
) -> None:
    with boot(spec, Hypervisor(toolchain, vm_settings, TCG))[0] as sibling:
        assert guest.resumed or sibling.resumed
        memory = shared_memory(sibling)
        before = memory.read_bytes()
        # What one writes, to its memory and its files, neither another nor the snapshot sees.
        guest.console.run("dd if=/dev/urandom of=/tmp/mine bs=1M count=4 2>/dev/null", timeout=60)
        assert sibling.console.run("ls /tmp", timeout=20).output == ""
        assert memory.read_bytes() == before


def shared_memory(machine: VirtualMachine) -> Path:
    """The file that a resumed machine maps as its memory (proc(5), smaps)."""
    smaps = Path(f"/proc/{machine._launched.qemu.pid}/smaps").read_text()
    (found,) = set(re.findall(r"^\S+ rw-p .* (/\S+/memory\.ram)$", smaps, re.MULTILINE))
    return Path(found)


@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 1 << 20), Path.unlink])
def test_a_snapshot_without_its_whole_memory_is_forgotten(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    store, folder = SnapshotStore(tmp_path, "key"), tmp_path / "key"
    assert store.find(2 << 20) is None
    folder.mkdir()
    (folder / "memory.ram").touch()
    os.truncate(folder / "memory.ram", 2 << 20)
    assert store.find(2 << 20) is not None
    damage(folder / "memory.ram")
    assert store.find(2 << 20) is None
    assert not folder.exists()


def test_a_damaged_snapshot_is_replaced_by_a_boot_from_power_on(
    spec: BootSpec, toolchain: Toolchain, vm_settings: Settings, tmp_path: Path
) -> None:
    boot(spec, Hypervisor(toolchain, vm_settings, TCG))[0].close()
    shutil.copytree(vm_settings.cache_dir / "snapshots", tmp_path / "snapshots")
    settings = replace(vm_settings, cache_dir=tmp_path)
    for memory in tmp_path.glob("snapshots/*/memory"):
        os.truncate(memory, 1 << 20)
    said: list[str] = []
    machine, timeline = boot(spec, Hypervisor(toolchain, settings, TCG), on_progress=said.append)
    with machine:
        assert not machine.resumed
        # The first code of Linux 7.2 prints nothing.
        stub = ["efi-stub"] if b"EFI stub: " in (machine.run_dir / "console.log").read_bytes() else []
        names = [stage.name for stage in timeline.stages]
        assert names == ["firmware", *stub, "kernel", "init", "shell"]
    assert any("cannot be resumed" in line for line in said)


def test_a_kernel_that_panics_is_a_failed_boot_that_says_why(
    spec: BootSpec, toolchain: Toolchain, vm_settings: Settings, tmp_path: Path
) -> None:
    empty = tmp_path / "initrd"
    empty.write_bytes(b"")
    # Without the firmware, which takes half of a boot and has no part in this.
    broken = replace(spec, initrd=empty, firmware=None)
    with pytest.raises(BootFailed, match=r"stage kernel: .*root fs"):
        boot(broken, Hypervisor(toolchain, vm_settings, TCG), cold=True)
    assert running(vm_settings) == []


def test_a_qemu_that_refuses_is_quoted(spec: BootSpec, toolchain: Toolchain, vm_settings: Settings) -> None:
    with pytest.raises(BootFailed, match=r"QEMU did not start: .*[Cc][Pp][Uu]"):
        VirtualMachine.start(replace(spec, cpus=100_000), Hypervisor(toolchain, vm_settings, TCG))


def test_running_machines_are_listed_and_can_be_stopped(guest: VirtualMachine, vm_settings: Settings) -> None:
    (listed,) = running(vm_settings)
    assert listed.id == guest.run_dir.name
    assert listed.owner_pid == os.getpid()
    waiting = ThreadPoolExecutor(1).submit(guest.console.run, "sleep 100", 60)
    assert stop(vm_settings, listed.id) == [listed]
    with pytest.raises(GuestGone):
        waiting.result()
    guest.close()
    assert running(vm_settings) == []


def test_a_killed_guard_leaves_nothing_either(guest: VirtualMachine) -> None:
    for pid in guards_of(guest.run_dir):
        os.kill(pid, signal.SIGKILL)
    guest.close()
    assert processes_of(guest.run_dir) == []
    assert not (guest.run_dir / "work").exists()


def guards_of(run_dir: Path) -> list[int]:
    return [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if b"labkit-guard" in (words := read_or_nothing(folder / "cmdline"))
        and run_dir.name.encode() in words
    ]


def test_nothing_outlives_an_owner_that_is_killed_after_one_of_its_guards(
    vm_environment: dict[str, str], spec: BootSpec
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", BOOT_AND_WAIT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=vm_environment,
    )
    assert owner.stdout is not None
    run_dir = Path(owner.stdout.readline().decode().strip())
    watched = wait_for_guard(run_dir)
    os.kill(guards_of(run_dir)[0], signal.SIGKILL)
    owner.kill()
    owner.communicate(timeout=30)
    assert watched.wait(30)
    assert processes_of(run_dir) == []
    assert not (run_dir / "work").exists()


BOOT_AND_WAIT = """
import sys
from labkit.platforms import BootRequest, choose_platform
from labkit.settings import Settings
tdvm = choose_platform("emulated", Settings.load()).boot(BootRequest(memory=256))
print(tdvm.run_dir, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_an_owner_that_is_killed(
    vm_environment: dict[str, str], number: signal.Signals, guest: VirtualMachine
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", BOOT_AND_WAIT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=vm_environment,
    )
    assert owner.stdout is not None
    run_dir = Path(owner.stdout.readline().decode().strip())
    guards = [word for word in processes_of(run_dir) if word == "sh"]
    assert guards == ["sh", "sh"]
    watched = wait_for_guard(run_dir)
    owner.send_signal(number)
    owner.communicate(timeout=30)
    assert watched.wait(30)
    assert processes_of(run_dir) == []
    assert not (run_dir / "work").exists()
    assert processes_of(guest.run_dir) != []


def test_nothing_outlives_an_owner_that_is_killed_in_the_middle_of_a_boot(
    vm_environment: dict[str, str], vm_settings: Settings
) -> None:
    words = ["boot", "--platform", "emulated", "--cold", "--memory", "256"]
    owner = subprocess.Popen(
        [sys.executable, "-m", "labkit", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=vm_environment,
        text=True,
    )
    assert owner.stderr is not None
    assert any(line.startswith(("efi-stub", "kernel")) for line in owner.stderr)
    (run_dir,) = [Path(vm.run_dir) for vm in running(vm_settings) if vm.owner_pid == owner.pid]
    watched = wait_for_guard(run_dir)
    owner.kill()
    owner.communicate(timeout=30)
    assert watched.wait(30)
    assert processes_of(run_dir) == []
    assert not (run_dir / "work").exists()


def wait_for_guard(run_dir: Path) -> threading.Event:
    """An event that is set when the last process of a run has ended, told by the kernel (pidfd_open(2))."""
    done = threading.Event()
    pids = [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if run_dir.name.encode() in read_or_nothing(folder / "cmdline")
    ]
    descriptors = [os.pidfd_open(pid) for pid in pids]

    def wait() -> None:
        for descriptor in descriptors:
            select.select([descriptor], [], [], 30)
            os.close(descriptor)
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    return done


def read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_no_socket_is_left_in_the_file_system(guest: VirtualMachine) -> None:
    for path in guest.run_dir.rglob("*"):
        assert not path.is_socket()
