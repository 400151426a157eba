from __future__ import annotations

import itertools
import json
import random
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import process
from labkit.bootlog.asterinas import BootLogReader, BootOutcome, BootReport, Goal, classify
from labkit.bootlog.exit_codes import Layer
from labkit.bootlog.failures import FAILURES, HANGS, Failure, FailureKind, Hang
from labkit.toolchain.toolchain import Toolchain


@dataclass(frozen=True)
class Run:
    """A recorded run, and what must be said about it."""

    outcome: BootOutcome
    stages: tuple[str, ...]
    exit_code: int | None = None
    failure: str | None = None
    remedy: str = ""
    hung: bool = False
    goal: Goal = Goal.ANY


KERNEL = ("ostd", "thread", "initramfs", "init")
RUNS = {
    "01": Run(BootOutcome.BOOTED, ("firmware", "grub", *KERNEL, "prompt")),
    "02": Run(BootOutcome.BOOTED, ("firmware", "efi-stub", *KERNEL, "prompt")),
    "03": Run(BootOutcome.BOOTED, (*KERNEL, "prompt")),
    "04": Run(BootOutcome.BOOTED, (*KERNEL, "smoke"), 33, goal=Goal.SMOKE),
    "05": Run(BootOutcome.BOOTED, ("thread", "initramfs", "init", "prompt"), 33),
    "06": Run(BootOutcome.PANIC, KERNEL, 65, "init-ended", "init="),
    "07": Run(BootOutcome.PANIC, (), None, "low-memory", "4096 MiB", hung=True),
    "08": Run(BootOutcome.PANIC, ("ostd",), None, "framebuffer", "OVMF", hung=True),
    "09": Run(BootOutcome.FAILED, ("efi-stub", *KERNEL), 33, "initrd-argument", "ELF"),
    "10": Run(
        BootOutcome.HANG, ("firmware", "grub", "ostd"), None, "smp-without-x2apic", "one CPU", hung=True
    ),
    "11": Run(BootOutcome.HANG, ("firmware", "grub"), None, "grub-2.06", "2.12", hung=True),
}
STREAMS = {"hvc0": "console", "ttyS0": "serial"}


@cache
def streams_of(folder: Path, number: str) -> dict[str, bytes]:
    files = sorted(folder.glob(f"{number}-*.log"))
    return {STREAMS[path.suffixes[-2].removeprefix(".")]: path.read_bytes() for path in files}


def check(report: BootReport, run: Run) -> None:
    assert report.outcome is run.outcome, report
    assert report.failure == run.failure
    assert run.remedy in report.remedy
    assert tuple(stage.name for stage in report.timeline.stages[1:]) == run.stages
    assert report.stage == (run.stages[-1] if run.stages else "start")


@pytest.mark.data
def test_every_recorded_run_is_in_the_table(shared_data: Path) -> None:
    numbers = {path.name[:2] for path in (shared_data / "boot-logs").glob("*.log")}
    assert numbers == set(RUNS)


@pytest.mark.data
@pytest.mark.parametrize("number", RUNS)
def test_recorded_runs_whole(shared_data: Path, number: str) -> None:
    run = RUNS[number]
    streams = streams_of(shared_data / "boot-logs", number)
    for order in itertools.permutations(streams):
        report = classify(
            {name: streams[name] for name in order}, run.exit_code, goal=run.goal, hung=run.hung
        )
        check(report, run)


@pytest.mark.data
@given(number=st.sampled_from(sorted(RUNS)), seed=st.integers(0, 1 << 32))
def test_recorded_runs_in_random_chunks(shared_data: Path, number: str, seed: int) -> None:
    chance = random.Random(seed)
    run, streams = RUNS[number], dict(streams_of(shared_data / "boot-logs", number))
    reader, now = BootLogReader(run.goal), 0.0
    longest = chance.choice((1, 7, 300, 5000))
    while streams:
        name = chance.choice(sorted(streams))
        size = chance.randint(1, longest)
        piece, rest = streams[name][:size], streams.pop(name)[size:]
        now += 0.125
        reader.feed(name, piece, now)
        if rest:
            streams[name] = rest
    report = reader.finish(now, run.exit_code, hung=run.hung)
    check(report, run)
    timeline = report.timeline.stages
    assert all(a.start + a.seconds == b.start for a, b in itertools.pairwise(timeline))
    assert report.timeline.seconds == pytest.approx(now)


@pytest.mark.data
@given(data=st.data())
def test_a_log_cut_anywhere_claims_nothing_that_has_not_come(shared_data: Path, data: st.DataObject) -> None:
    number = data.draw(st.sampled_from(sorted(RUNS)))
    run, streams = RUNS[number], streams_of(shared_data / "boot-logs", number)
    cut = {name: text[: data.draw(st.integers(0, len(text)))] for name, text in streams.items()}
    report = classify(cut, goal=run.goal)
    assert set(names(report)) <= set(run.stages)
    if run.outcome is BootOutcome.BOOTED:
        assert report.outcome in (BootOutcome.RUNNING, BootOutcome.BOOTED)
        assert report.failure is None
    else:
        assert not report.booted
    ended = classify(cut, 33, goal=run.goal)
    assert ended.booted is (report.outcome is BootOutcome.BOOTED)


@pytest.mark.data
def test_a_log_cut_before_the_prompt_is_a_hang_once_its_deadline_has_passed(shared_data: Path) -> None:
    for number, stage in (("10", "ostd"), ("11", "grub"), ("03", "init")):
        streams = {
            name: text.replace(b"\n~ # ", b"\n")
            for name, text in streams_of(shared_data / "boot-logs", number).items()
        }
        reader = BootLogReader()
        for name, text in streams.items():
            reader.feed(name, text, 5.0)
        deadline = reader.deadline()
        assert deadline is not None
        assert not reader.overdue(deadline - 0.1)
        assert reader.finish(deadline - 0.1).outcome is BootOutcome.RUNNING
        report = reader.finish(deadline)
        assert report.outcome is BootOutcome.HANG
        assert report.stage == stage


# The wording of other versions, written after the reference.
V0_9_0 = """\
   Compiling ostd v0.9.0 (/root/asterinas/ostd)
xorriso 1.5.4 : RockRidge filesystem manipulator
BdsDxe: loading Boot0002 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x3,0x0)\r
\x1b[2J\x1b[01;01HBdsDxe: starting Boot0002 "UEFI Misc Device"\r
WARNING: no console will be available to OS\r
error: no suitable video mode found.\r
[EFI stub] Relocations applied.
[EFI stub] Exiting EFI boot services.
[EFI stub] Entering Asterinas entrypoint at 0x8001200
Intel TDX initialized\r
td gpaw: 52, td attributes: SEPT_VE_DISABLE\r
[kernel] OSTD initialized. Preparing components.\r
[kernel] Spawn init thread\r
[kernel] unpacking the initramfs.cpio.gz to rootfs ...\r
[kernel] rootfs is ready\r
\x1b[36m[kernel] Hello world from kernel!\x1b[0m\r
"""
V0_18_1_SERIAL = """\
BdsDxe: loading Boot0002 "UEFI QEMU DVD-ROM QM00005 "\r
[EFI stub] Loaded with offset 0x7d4bc000\r
[EFI stub] Processing 132 memory map entries
[EFI stub] Accepting pending pages
[EFI stub] Entering the Asterinas entry point at 0x8001200
OSTD initialized. Preparing components.\r
Spawn the first kernel thread\r
[kernel] unpacking initramfs.cpio.gz to rootfs ...\r
[kernel] initramfs is ready\r
[kernel] running /init as the init process\r
"""
ALL_BUT_THE_END = ("firmware", "efi-stub", "tdx", "ostd", "thread", "initramfs", "init")


def names(report: BootReport) -> tuple[str, ...]:
    return tuple(stage.name for stage in report.timeline.stages[1:])


def test_the_words_of_0_9_0() -> None:
    log = V0_9_0.encode()
    report = classify({"stdout": log + b"~ # "})
    assert report.booted
    assert names(report) == ("build", "image", "firmware", "grub", *ALL_BUT_THE_END[1:], "prompt")
    assert classify({"stdout": log + b"Successfully booted.\n"}, 0, Layer.MAKE, Goal.SMOKE).booted


def test_the_words_of_0_18_1() -> None:
    report = classify({"serial": V0_18_1_SERIAL.encode(), "console": b"~ # "})
    assert report.booted
    assert names(report) == (*ALL_BUT_THE_END, "prompt")


def test_success_needs_code_and_marker_and_no_panic() -> None:
    booted = b"Successfully booted.\n"
    assert classify({"console": booted}, 33, goal=Goal.SMOKE).booted
    assert classify({"console": booted}, 65, goal=Goal.SMOKE).outcome is BootOutcome.FAILED
    assert classify({"console": b""}, 33, goal=Goal.SMOKE).outcome is BootOutcome.FAILED
    assert classify({"console": b"~ # "}, 33, goal=Goal.SMOKE).outcome is BootOutcome.FAILED
    panic = b"[     0.771] \x1b[31mERROR \x1b[0m: Uncaught panic:\n\tboom\n\tat kernel/src/x.rs:1\n"
    report = classify({"console": booted, "serial": panic}, 33, goal=Goal.SMOKE)
    assert report.outcome is BootOutcome.PANIC
    assert "boom at kernel/src/x.rs:1" in report.sentence


def test_the_error_that_make_prints_counts_and_not_its_own_status() -> None:
    def after(number: int) -> str:
        text = f"make: *** [Makefile:330: run] Error {number}\n".encode()
        return classify({"stdout": text}, 2, Layer.MAKE).sentence

    assert "failed or panicked" in after(1)
    assert "QEMU or the host" in after(2)
    assert "OSDK" in after(7)


@pytest.mark.parametrize(
    "line",
    [
        "[Error]: the OSDK versions do not match",
        "cp: cannot stat 'test/build/initramfs.cpio.gz': No such file",
    ],
)
def test_a_command_that_failed_before_a_guest_spoke_is_no_guest(line: str) -> None:
    text = f"{line}\nmake: *** [Makefile:330: run_kernel] Error 1\n".encode()
    sentence = classify({"stdout": text}, 2, Layer.MAKE).sentence
    assert ("before a guest said anything" in sentence, "guest ran" in sentence) == (True, False)
    guest = b"Spawn the first kernel thread\n"
    assert "guest ran" in classify({"stdout": guest + text}, 2, Layer.MAKE).sentence


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("[Makefile:330: run] Fehler 1", "failed or panicked"),
        ("[Makefile:330：run] 错误 1", "failed or panicked"),
        ("[Makefile:330: run] Segmentation fault (core dumped)", "signal (Segmentation fault"),
        (
            "[Makefile:12: build] Segmentation fault (core dumped)",
            "target 'build' failed (Segmentation fault",
        ),
    ],
)
def test_makes_words_in_other_languages_and_signals(end: str, said: str) -> None:
    assert said in classify({"stdout": f"make: *** {end}\n".encode()}, 2, Layer.MAKE).sentence


SIGNS = {
    "vm-type-upstream": "qemu-system-x86_64: vm-type TDX not supported by KVM",
    "vm-type-canonical": "qemu-system-x86_64: vm-type tdx not supported by KVM",
    "vm-type-mvp": "qemu-system-x86_64: vm-type X86_TDX_VM not supported by KVM",
    "memfd": "qemu-system-x86_64: failed to create memfd with flags 0x0: Bad address",
    "qemu-without-tdx": "qemu-system-x86_64: -object: Parameter 'qom-type' does not accept value 'tdx-guest'",
    "no-kvm": "Could not access KVM kernel module: No such file or directory",
    "kvm-permission": "Could not access KVM kernel module: Permission denied",
    "kvm": "qemu-system-x86_64: failed to initialize kvm: Operation not permitted",
    "cpu-host": "qemu-system-x86_64: CPU model 'host' requires KVM or HVF",
    "td-init": "qemu-system-x86_64: KVM_TDX_INIT_VM failed: Invalid argument",
    "td-memory": "qemu-system-x86_64: KVM_TDX_INIT_MEM_REGION failed Invalid argument",
    "not-resettable": "qemu-system-x86_64: cpus are not resettable, terminating",
    "register-dump": "RAX=0000000000000000 RBX=0000000000000000 RCX=0000000000000000",
    "port-taken": "qemu-system-x86_64: Could not set up host forwarding rule 'tcp::10027-:22'",
    "firmware-missing": "qemu: could not load PC BIOS '/root/ovmf/release/OVMF.fd'",
    "machine-type": 'qemu-system-x86_64: unsupported machine type: "q36"',
    "kernel-missing": "qemu: error reading initrd a/initramfs.cpio: Failed to open file",
    "host-memory": "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory",
    "disk-full": "cp: error writing 'x.iso': No space left on device",
    "image-tag": "manifest for asterinas/asterinas:0.4.2_tdx not found: manifest unknown",
    "multiboot-64": "qemu-system-x86_64: Cannot load x86-64 image, give a 32bit one.",
    "no-target": "make: *** No rule to make target 'run'.  Stop.",
    "tool-missing": "/bin/sh: 1: nix-build: not found",
    "offline": "error: failed to download from `index`",
    "build-killed": "  process didn't exit successfully: `rustc` (signal: 9, SIGKILL: kill)",
    "debug-port-taken": "qemu-system-x86_64: -gdb tcp::1234: Failed to find an available port: Address "
    "already in use",
    "build-failed": "error: could not compile `ostd` (lib) due to 2 previous errors",
    "firmware-db": "!!!! X64 Exception Type - 01(#DB - Debug)  CPU Apic ID - 00000000 !!!!",
    "firmware-pf": "!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!",
    "firmware-exception": "!!!! X64 Exception Type - 0D(#GP - General Protection)",
    "seabios-cdrom": "Boot failed: Could not read from CDROM (code 0009)",
    "firmware-secure-boot": 'BdsDxe: failed to start Boot0002 "UEFI QEMU" from PciRoot(0x0): Access Denied',
    "firmware-assert": "ASSERT [PlatformPei] /build/edk2/OvmfPkg/MemDetect.c(930): ((BOOLEAN)(0==1))",
    "grub-prompt": "   Minimal BASH-like line editing is supported. For the first word, TAB",
    "firmware-no-medium": 'BdsDxe: failed to load Boot0002 "UEFI QEMU DVD-ROM" from PciRoot(0x0): Not Found',
    "disk-locked": "qemu-system-x86_64: -drive "
    "if=none,format=raw,id=x0,file=./test/initramfs/build/ext2.img: Failed "
    'to get "write" lock',
    "screen-port-taken": "qemu-system-x86_64: -display vnc=0.0.0.0:42: Failed to find an available port: "
    "Address already "
    "in use",
    "kvm-emulation": "KVM internal error. Suberror: 1",
    "grub-memory": "error: ../../grub-core/kern/mm.c:552:out of memory.",
    "grub-kernel": "error: you need to load the kernel first.",
    "panic-without-words": "Printing stack trace:\n   1: fn 0xffffffff883c5140 - pc 0xffffffff883c51a9 / "
    "registers:",
    "firmware-menu": "Press any key to enter the Boot Manager Menu.",
    "low-memory": "ERROR: Uncaught panic:\n\tCannot handle kernel page fault: RawPageFaultInfo {",
    "framebuffer": "Uncaught panic:\n\tboom\n\tat /root/k/comps/framebuffer/src/framebuffer.rs:106",
    "init-ended": "Uncaught panic:\n\tThe init process terminates with code 32512",
    "td-info": "Uncaught panic:\n\tIntel TDX not initialized, Failed to get TD info: X",
    "dma-conversion": "Uncaught panic:\n\tcannot convert gpa 0x1000 to shared for DMA",
    "stub-panic": "[PANIC]: panicked while loading",
    "panic": "panicked at /root/asterinas/ostd/src/x.rs:3:5:\nboom",
    "linux-panic": "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs",
    "initrd-argument": "sh: can't open 'initrd=initrd': No such file or directory",
    "illegal-instruction": "Illegal instruction",
    "wrong-processor": "exec /usr/bin/make: exec format error",
    "old-library": "qemu-system-x86_64: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found "
    "(required by x)",
    "qemu-missing": "/bin/sh: 1: qemu-system-x86_64: not found",
    "qemu-option": "qemu-system-x86_64: -device vhost-user-x,foo=1: Property 'x.foo' not found",
    "qemu-screen": "qemu-system-x86_64: gtk initialization failed",
    "hugepages": "qemu-system-x86_64: -object memory-backend-file: os_mem_prealloc: Insufficient free "
    "host memory pages available",
    "vhost": "qemu-system-x86_64: -device vhost-vsock-pci,guest-cid=3: vhost-vsock: failed to "
    "open vhost device: /dev/vhost-vsock: No such file or directory",
    "tap": "qemu-system-x86_64: could not configure /dev/net/tun (tap0): Operation not permitted",
    "vsock-taken": "qemu-system-x86_64: -device vhost-vsock-pci,guest-cid=3: vhost-vsock: unable to set "
    "guest cid: Address already in use",
    "processes": "make: fork: Resource temporarily unavailable",
    "open-files": "error: failed to open file: Too many open files (os error 24)",
    "read-only": "cp: cannot create regular file 'x.iso': Read-only file system",
    "certificate-clock": "fatal: unable to access 'https://github.com/x/': SSL certificate problem: "
    "certificate is not yet valid",
    "certificate": "fatal: unable to access 'https://github.com/x/': SSL certificate problem: unable to "
    "get local issuer certificate",
    "proxy": "fatal: unable to access 'https://github.com/x/': Received HTTP code 407 from proxy "
    "after CONNECT",
    "rate-limit": "error: unable to download 'https://api.github.com/x': HTTP error 429",
    "nix-sandbox": "error: cloning builder process: Operation not permitted",
    "nix-hash": "error: hash mismatch in fixed-output derivation '/nix/store/x.drv':",
    "toolchain": "error: toolchain 'nightly-2025-12-06-x86_64-unknown-linux-gnu' is not installed",
    "osdk-missing": "error: no such command: `osdk`",
    "lock-file": "error: the lock file /root/asterinas/Cargo.lock needs to be updated but --locked "
    "was passed to prevent this",
    "build-memory": "collect2: fatal error: ld terminated with signal 9 [Killed]",
    "toolchain-age": "error: package `mdbook v0.5.0` cannot be built because it requires rustc 1.88 or newer",
    "compiler-crash": "error: internal compiler error: compiler/rustc_middle/src/ty/mod.rs:1: unexpected",
    "osdk-panic": "thread 'main' panicked at osdk/src/commands/build/grub.rs:137:29:\nboom",
    "source-missing": "error: could not find `Cargo.toml` in `/root/asterinas` or any parent directory",
    "source-owner": "fatal: detected dubious ownership in repository at '/root/asterinas'",
    "cargo-permission": "error: failed to open: /root/.cargo/.package-cache",
    "server": "fatal: unable to access 'https://git.example/x/': The requested URL returned error: 502",
    "nix-setup": "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused",
    "kvm-run": "error: kvm run failed Bad address",
    "kvm-processor": "qemu-system-x86_64: kvm_init_vcpu: kvm_arch_init_vcpu failed (0): Invalid argument",
    "qemu-crash": "Bail out! ERROR:../hw/core/cpu.c:1:f: assertion failed: (x)",
    "osdk-age": "error: unexpected argument '--grub-boot-protocol' found",
    "crate-changed": "error: failed to verify the checksum of `spin v0.9.8`",
    "kvm-busy": "qemu-system-x86_64: failed to initialize kvm: Device or resource busy",
    "td-keyids": "qemu-system-x86_64: KVM_TDX_INIT_VM failed: No space left on device",
    "td-machine": "qemu-system-x86_64: TDX VM requires kernel_irqchip to be split",
    "tsm-permission": "sh: can't create /sys/kernel/config/tsm/report/r/inblob: Operation not permitted",
}


def test_every_known_failure_has_a_sign_in_the_table_above() -> None:
    assert sorted(SIGNS) == sorted(row.id for row in FAILURES), "SIGNS holds the lines that show each failure"


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row.id)
def test_each_known_failure_is_recognized_and_gets_its_remedy(row: Failure) -> None:
    report = classify({"stdout": f"before\r\n\x1b[31m{SIGNS[row.id]}\x1b[0m\r\nafter\n".encode()}, 2)
    assert report.failure == row.id
    assert report.remedy == row.remedy
    assert report.reference == row.reference
    assert report.outcome is (BootOutcome.PANIC if row.kind is FailureKind.PANIC else BootOutcome.FAILED)
    assert row.sentence in report.sentence
    assert row.remedy in str(report)


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        ("No bootable device.", "seabios-cdrom"),
        ("Boot failed: not a bootable disk", "seabios-cdrom"),
        ("grub rescue> ", "grub-prompt"),
        ("failed to register layer: write /usr/lib/x: no space left on device", "disk-full"),
        ("open /var/lib/x: too many open files", "open-files"),
        ("mkdir /work: read-only file system", "read-only"),
        ("error: override toolchain 'nightly-2025-12-06' is not installed", "toolchain"),
        (
            'error: "/r/lib/rustlib/src/rust/library/Cargo.lock" does not exist, unable to build with the '
            "standard library, try:",
            "toolchain",
        ),
        ("       error: unable to download 'https://x/y.tar.gz': Timeout was reached (28)", "offline"),
        ("error: component download failed for rustc-x: could not download file from 'https://x'", "offline"),
        ('error: failed to select a version for the requirement `tdx-guest = "^0.3"`', "lock-file"),
        ("error: the group 'nixbld' specified in 'build-users-group' does not exist", "nix-setup"),
        ("error: opening lock file '/nix/var/nix/db/big-lock': Permission denied", "nix-setup"),
        ("error: builder for '/nix/store/a.drv' failed due to signal 9 (Killed)", "build-killed"),
        ("qemu-system-x86_64: failed to initialize kvm: Cannot allocate memory", "kvm"),
        ("qemu-system-x86_64: pflash with kvm requires KVM readonly memory support", "td-machine"),
        (
            'qemu-system-x86_64: -object {"qom-type":"tdx-guest"}: Parameter \'quote-generation-socket\' is '
            "unexpected",
            "qemu-option",
        ),
        ("/bin/sh: 1: cmake: not found", "tool-missing"),
        ("make[1]: clang: No such file or directory", "tool-missing"),
        ("wget: unable to resolve host address 'github.com'", "offline"),
        (
            "curl: (7) Failed to connect to github.com port 443 after 21 ms: Couldn't connect to server",
            "offline",
        ),
        (
            "curl: (35) OpenSSL SSL_connect: Connection reset by peer in connection to github.com:443",
            "offline",
        ),
        (
            "fatal: unable to access 'https://github.com/x/': Failed to connect to github.com port 443: "
            "No route to host",
            "offline",
        ),
        ("error: unable to download 'https://api.github.com/repos/x': HTTP error 403", "rate-limit"),
        ("The panic handler panicked when it printed the above: boom", "panic"),
    ],
)
def test_the_words_that_other_programs_have_for_the_same(line: str, failure: str) -> None:
    assert classify({"stdout": f"{line}\n".encode()}, 1).failure == failure


@pytest.mark.parametrize(
    "why", ["Attempted to kill init! exitcode=0x00000100", "No working init found. Try passing init= option."]
)
def test_the_panic_of_a_linux_is_told_in_its_own_words(why: str) -> None:
    text = f"[ 1.2] Kernel panic - not syncing: {why}\r\n[ 1.3] CPU: 0 PID: 1 Comm: swapper/0\r\n"
    said = classify({"serial": text.encode()}).sentence
    assert f"panicked: {why}" in said
    assert "swapper" not in said


def test_a_boot_that_stands_behind_a_known_failure_is_told_by_it() -> None:
    text = SIGNS["firmware-secure-boot"].encode() + b"\n"
    report = classify({"serial": text}, hung=True)
    assert (report.outcome, report.failure) == (BootOutcome.HANG, "firmware-secure-boot")
    assert "Secure Boot is on" in report.sentence


def test_no_two_failures_have_one_id_and_all_have_words() -> None:
    rows: list[Failure | Hang] = [*FAILURES, *HANGS]
    assert len({row.id for row in rows}) == len(rows)
    assert len(FAILURES) >= 12
    assert all(row.sentence and row.remedy[-1] in ".?" and row.reference for row in rows)


def test_what_the_user_prints_behind_the_prompt_is_no_failure_of_the_boot() -> None:
    typed = b"~ # cat log\r\nNo space left on device\r\nIllegal instruction\r\nSuccessfully booted.\r\n~ # "
    report = classify({"console": typed}, 33)
    assert report.booted
    assert report.failure is None
    assert names(report) == ("prompt",)


def test_a_panic_of_a_build_script_is_no_panic_of_the_kernel() -> None:
    for thread in ("'main'", "'main' (4711)", "'<unnamed>' (7)"):
        text = f"thread {thread} panicked at osdk/build.rs:4:5:\nboom\n".encode()
        report = classify({"stdout": text}, 2, Layer.MAKE)
        assert report.outcome is BootOutcome.FAILED, thread


def test_source_code_that_the_compiler_quotes_is_no_word_of_the_kernel() -> None:
    text = b' --> ostd/src/panic.rs:10:5\n   |\n10 |     early_println!("Uncaught panic:");\n'
    report = classify({"stdout": text + b"make: *** [Makefile:9: kernel] Error 101\n"}, 2, Layer.MAKE)
    assert (report.outcome, report.failure) == (BootOutcome.FAILED, None)


def test_a_network_that_came_back_is_not_why_a_build_failed() -> None:
    text = b"warning: spurious network error (3 tries remaining): Could not resolve host: index.crates.io\n"
    report = classify({"stdout": text + b"error: could not compile `ostd` (lib)\n"}, 2, Layer.MAKE)
    assert report.failure == "build-failed"


def test_a_page_fault_later_than_the_memory_map_is_no_lack_of_memory() -> None:
    log = b"OSTD initialized. Preparing components.\nUncaught panic:\n\tCannot handle kernel page fault: X\n"
    assert classify({"serial": log}).failure == "panic"


def test_an_endless_line_costs_bounded_memory_and_hides_no_marker() -> None:
    reader = BootLogReader()
    for _ in range(200):
        reader.feed("serial", b"\x1b[1;1Hx" * 5000, 1.0)
    reader.feed("serial", b"OSTD initialized. Preparing components.", 2.0)
    reader.feed("serial", b"y" * 20000, 3.0)
    assert reader.stage == "ostd"
    assert sum(len(state.rest) for state in reader._streams.values()) < 10_000


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.binary(max_size=300)), max_size=20))
def test_whatever_comes_is_judged(pieces: list[tuple[str, bytes]]) -> None:
    reader = BootLogReader()
    for second, (stream, data) in enumerate(pieces):
        reader.feed(stream, data, float(second))
    report = reader.finish(30.0, 1)
    assert not report.booted
    json.dumps(report.to_dict())
    assert "\x1b" not in str(report)
    assert "<script" not in report._repr_html_()


NIX = """\
make -C test/initramfs
make[1]: Entering directory '/root/asterinas/test/initramfs'
nix-build ./nix -A initramfs
error: builder for '/nix/store/x-busybox.drv' failed with exit code 1
make[1]: *** [Makefile:41: build/initramfs.cpio.gz] Error 1
make[1]: Leaving directory '/root/asterinas/test/initramfs'
make: *** [Makefile:216: initramfs] Error 2
"""


def test_a_build_that_fails_in_a_nested_make_is_no_guest_that_failed() -> None:
    report = classify({"terminal": NIX.encode()}, 2, Layer.MAKE)
    assert report.outcome is BootOutcome.FAILED
    assert "build/initramfs.cpio.gz" in report.sentence
    assert "before a guest was started" in report.sentence
    assert "guest ran" not in report.sentence
    assert "builder for '/nix/store/x-busybox.drv' failed" in report.sentence
    assert "Leaving directory" not in report.sentence


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("make: *** [Makefile:230: run_kernel] Error 1\n", 2, "the guest ran and failed"),
        ("make: *** [run] Error 1\n", 2, "the guest ran and failed"),
        ("make: *** [Makefile:230: run_kernel] Error 2\n", 2, "a problem of QEMU"),
        (
            "make[1]: *** [Makefile:9: run_kernel] Error 1\nmake: *** [Makefile:2: ci] Error 2\n",
            2,
            "the guest ran",
        ),
        (
            "BdsDxe: starting Boot0001\nmake: *** [contract.mk:20: launch] Error 1\n",
            2,
            "the guest ran and failed",
        ),
        ("make: *** [Makefile:12: kernel] Error 101\n", 2, "target 'kernel' failed (status 101)"),
        ("make: *** [Makefile:12: kernel] Terminated\n", 2, "target 'kernel' failed (Terminated)"),
        ("Makefile:12: *** missing separator.  Stop.\n", 2, "make stopped before a guest was started: miss"),
        ("make: *** No targets specified and no makefile found.  Stop.\n", 2, "make stopped before a guest"),
        ("MemoryError\nmake: *** [Makefile:2: kernel] Error 1\n", 2, "the last line was 'MemoryError'"),
        ("make: *** [Makefile:12: run] Terminated\n", 2, "ended by a signal (Terminated)"),
        ("make: [Makefile:3: clean] Error 1 (ignored)\n", 0, "a code of success is not enough"),
    ],
)
def test_the_failed_target_of_make_tells_a_build_from_a_guest(text: str, code: int, words: str) -> None:
    assert words in classify({"terminal": text.encode()}, code, Layer.MAKE).sentence


def test_a_panic_whose_message_was_lost_is_a_panic() -> None:
    log = "OSTD initialized. Preparing components.\n" + "Presented by the Asterinas developers\n"
    log += "Printing stack trace:\n   1: fn 0xffffffff883c5140 - pc 0xffffffff883c51a9 / registers:\n\n"
    log += "     rax                0x1; rdx    0x4000001000070\n"
    report = classify({"serial": log.encode()}, hung=True)
    assert (report.outcome, report.failure) == (BootOutcome.PANIC, "panic-without-words")
    assert "message of the panic was lost" in report.sentence
    assert "fn 0x" not in report.sentence
    assert "rax" not in report.sentence
    whole = log.replace("Printing", "Uncaught panic:\n\tboom\nPrinting")
    report = classify({"serial": whole.encode()}, hung=True)
    assert (report.failure, "boom" in report.sentence) == ("panic", True)
    bare = classify({"serial": b"Printing stack trace:\nnobody's words\n"}, hung=True)
    assert "nobody's words" not in bare.sentence


def test_a_stage_of_tools_lasts_while_they_speak() -> None:
    reader = BootLogReader(first_stage="container")
    for second in range(0, 3000, 100):
        reader.feed("terminal", b"downloading\n", float(second))
        assert not reader.overdue(second + 100.0)
    assert reader.overdue(2900.0 + 301.0)
    assert not reader.overdue(2900.0 + 299.0)
    reader.feed("terminal", b"BdsDxe: starting Boot0001\n", 3000.0)
    reader.feed("terminal", b"noise\n", 3100.0)
    assert reader.overdue(3121.0)


def test_the_time_that_was_given_is_named_when_it_is_over() -> None:
    reader = BootLogReader()
    reader.feed("serial", b"BdsDxe: starting Boot0001\n", 1.0)
    report = reader.finish(20.0, hung=True, limit=20.0)
    assert report.outcome is BootOutcome.HANG
    assert "the 20 s that were given for the boot are over" in report.sentence
    assert "--timeout" in report.remedy


def test_what_somebody_else_did_explains_the_end() -> None:
    reader = BootLogReader()
    reader.feed("serial", b"BdsDxe: starting Boot0001\n~ # ", 1.0)
    report = reader.finish(
        20.0, 137, Layer.MAKE, outside="the container was killed from outside (docker kill)"
    )
    assert report.outcome is BootOutcome.FAILED
    assert report.sentence == "Failed in stage prompt: the container was killed from outside (docker kill)."


def test_two_machines_on_one_disk_end_as_a_locked_disk(toolchain: Toolchain, tmp_path: Path) -> None:
    """QEMU's own words, from two that boot nothing; both are gone in any case."""
    image = tmp_path / "ext2.img"
    image.write_bytes(bytes(1 << 20))
    words = ["-M", "q35", "-m", "32", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio"]
    words += ["-drive", f"file={image},format=raw,if=none,id=disk", "-device", "virtio-blk-pci,drive=disk"]
    first = subprocess.Popen(
        toolchain.qemu.argv(*words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=toolchain.qemu.environ(),
    )
    try:
        assert first.stdin is not None
        assert first.stdout is not None
        assert b"QMP" in first.stdout.readline()
        first.stdin.write(b'{"execute": "qmp_capabilities"}\n')
        first.stdin.flush()
        assert b"return" in first.stdout.readline()  # it greets before it opens the disk, and answers after
        second = process.run(toolchain.qemu.argv(*words), env=toolchain.qemu.environ(), timeout=30)
    finally:
        first.kill()
        first.communicate()
    report = classify({"stdout": second.stdout, "stderr": second.stderr}, second.status)
    assert (report.failure, second.status) == ("disk-locked", 1), second


CONSEQUENCES = """build-failed build-memory certificate debug-port-taken firmware-exception grub-kernel
grub-prompt kvm linux-panic not-resettable panic panic-without-words processes qemu-option read-only
register-dump stub-panic"""


@pytest.mark.parametrize("name", [name for name in SIGNS if name != "disk-full"])
def test_of_two_failures_the_cause_is_told_whichever_comes_first_and_of_two_causes_the_first(
    name: str,
) -> None:
    """What is printed when something dies says less than a line that names a reason."""

    def failure(*order: str) -> str | None:
        return classify({"stdout": "\n".join(SIGNS[one] for one in order).encode()}, 2).failure

    consequence = name in CONSEQUENCES.split()
    assert failure(name, "disk-full") == ("disk-full" if consequence else name)
    assert failure("disk-full", name) == "disk-full"
    if consequence and not name.startswith("panic"):
        assert failure(name, "panic") == failure("panic", name) == name


def test_the_lines_that_say_why_are_few_and_each_is_there_once() -> None:
    lines = (f"cp: error writing 'x{number}.iso': No space left on device\n" for number in range(30))
    report = classify({"stdout": "".join(line + line for line in lines).encode()}, 2)
    assert len(report.lines) == 12
    assert len(set(report.lines)) == 12
    assert report.lines[0] == "cp: error writing 'x0.iso': No space left on device"


FATAL = """dma-conversion firmware-db firmware-exception firmware-menu firmware-pf framebuffer grub-kernel
grub-memory grub-prompt init-ended initrd-argument kvm-emulation linux-panic low-memory not-resettable panic
panic-without-words seabios-cdrom stub-panic td-info"""


def test_the_wait_ends_at_a_line_after_which_no_boot_succeeds_and_at_no_other() -> None:
    """QEMU may stay behind such a line, with a guest that does nothing."""
    ended = set()
    for name, sign in SIGNS.items():
        reader = BootLogReader()
        reader.feed("stdout", f"{sign}\n".encode(), 3.0)
        if reader.fatal_at is not None:
            ended.add(name)
        # Nobody knows QEMU's end yet, and the verdict is there all the same.
        hang = classify({"stdout": f"{sign}\n".encode()}, hung=True).outcome is BootOutcome.HANG
        assert hang == (name not in FATAL.split()), name
    assert ended == set(FATAL.split()), "FATAL names the failures after whose lines no boot succeeds"


def test_a_report_is_json_and_what_is_not_known_is_null() -> None:
    log = b"OSTD initialized. Preparing components.\n" + SIGNS["disk-full"].encode()
    document = classify({"stdout": log}, 2).to_dict()
    assert json.loads(json.dumps(document)) == document
    row = next(row for row in FAILURES if row.id == "disk-full")
    told = {key: document[key] for key in ("outcome", "failure", "remedy", "reference", "exit_code")}
    assert told == {
        "outcome": "FAILED",
        "failure": row.id,
        "remedy": row.remedy,
        "reference": row.reference,
        "exit_code": 2,
    }
    assert document["lines"] == [SIGNS["disk-full"]]
    assert [stage["name"] for stage in document["stages"]][-1] == document["stage"] == "ostd"
    good = classify({"console": b"~ # "}, 33).to_dict()
    assert good["outcome"] == "BOOTED"
    assert {good[key] for key in ("failure", "remedy", "reference")} == {None}


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row.id)
def test_a_line_ends_the_wait_by_itself_or_only_behind_a_panic(row: Failure) -> None:
    reader = BootLogReader()
    last = SIGNS[row.id].splitlines()[-1] if row.id == "td-info" else SIGNS[row.id]
    if row.id in ("dma-conversion", "framebuffer", "init-ended", "low-memory"):
        # The panic itself has ended the wait; without one such a line is anybody's.
        reader.feed("stdout", f"{last.splitlines()[-1]}\n".encode(), 3.0)
        assert (reader.failure, reader.fatal_at) == (None, None)
        assert not row.fatal
        # Nor does it count behind a failure that is not a panic.
        for line in (SIGNS["register-dump"], last.splitlines()[-1]):
            reader.feed("stdout", f"{line}\n".encode(), 4.0)
        assert reader.failure is not None
        assert reader.failure.id == "register-dump"
    else:
        reader.feed("stdout", f"{last}\n".encode(), 3.0)
        reader.feed("stdout", f"{last}\n".encode(), 4.0)
        assert reader.fatal_at == (3.0 if row.id in FATAL.split() else None)
        assert reader.failure is row


@pytest.mark.parametrize(
    ("code", "layer", "words"),
    [
        (0, Layer.QEMU, "a code of success is not enough"),
        (33, Layer.QEMU, "a code of success is not enough"),
        (65, Layer.QEMU, "that the guest failed or panicked"),
        (1, Layer.QEMU, "a problem of QEMU or the host"),
        (0, Layer.MAKE, "a code of success is not enough"),
        (1, Layer.MAKE, "that the guest ran and failed or panicked"),
        (2, Layer.MAKE, "a problem of QEMU or the host"),
        (5, Layer.MAKE, "that OSDK failed before QEMU"),
        (12, Layer.MAKE, "that OSDK failed before QEMU"),
        (4, Layer.MAKE, "that the run did not work"),
        (130, Layer.MAKE, "that the run did not work"),
    ],
)
def test_what_an_exit_code_means_depends_on_whose_it_is(code: int, layer: Layer, words: str) -> None:
    assert words in classify({"stdout": b"nothing known\n"}, code, layer).sentence


def test_an_error_of_make_does_not_outlive_a_run_that_succeeds() -> None:
    log = b"make: *** [Makefile:330: run] Error 1\nSuccessfully booted.\n"
    assert classify({"stdout": log}, 0, Layer.MAKE, Goal.SMOKE).booted


def test_each_stage_has_its_start_and_its_length() -> None:
    reader = BootLogReader()
    reader.feed("serial", b"BdsDxe: loading Boot0002\n", 2.0)
    reader.feed("serial", b"OSTD initialized. Preparing components.\n", 5.0)
    reader.feed("console", b"~ # ", 11.5)
    stages = [(each.name, each.start, each.seconds) for each in reader.finish(12.0).timeline.stages]
    assert stages[-2:] == [("ostd", 5.0, 6.5), ("prompt", 11.5, 0.5)]
    assert stages[-3] == ("firmware", 2.0, 3.0)


def test_a_failure_is_seen_wherever_it_stands_in_a_line_that_does_not_end() -> None:
    for before in range(0, 12_000, 397):
        reader = BootLogReader()
        reader.feed("stdout", b"x" * before + SIGNS["no-kvm"].encode() + b"y" * 9000, 1.0)
        assert reader.finish(2.0, 1).failure == "no-kvm", before


@pytest.mark.parametrize(("between", "counts"), [(0, True), (58, True), (59, False)])
def test_a_reason_counts_in_the_59_lines_behind_a_panic(between: int, counts: bool) -> None:
    noise = "".join(f"  register {number}\n" for number in range(between))
    log = f"Uncaught panic:\n{noise}\tThe init process terminates with code 32512\n"
    report = classify({"serial": log.encode()})
    assert (report.outcome, report.failure == "init-ended") == (BootOutcome.PANIC, counts)


@pytest.mark.parametrize(
    ("rest", "there"),
    [
        (b"~ # ", True),
        (b"~ # " + b"x" * 252, True),
        (b"~ # " + b"x" * 253, False),
        (b"\x1b[6n~ # ", True),
        (b" ~ # ", False),
        (b"~ #", False),
    ],
)
def test_a_prompt_needs_no_end_of_line_but_the_beginning_of_one(rest: bytes, there: bool) -> None:
    reader = BootLogReader()
    reader.feed("console", b"noise\n" + rest, 1.0)
    assert (reader.stage == "prompt", reader.reached) == (there, there)


def test_patience_stretches_each_deadline_and_the_goal_ends_them() -> None:
    deadlines = []
    for patience in (1.0, 2.5):
        reader = BootLogReader(Goal.PROMPT, patience=patience)
        reader.feed("serial", b"OSTD initialized. Preparing components.\n", 7.0)
        deadlines.append((reader.deadline() or 0.0) - 7.0)
        reader.feed("serial", b"Successfully booted.\n", 8.0)
        assert (reader.reached, reader.deadline() is None) == (False, False)
        reader.feed("console", b"~ # ", 9.0)
        assert (reader.reached, reader.deadline(), reader.overdue(1e9)) == (True, None, False)
    assert deadlines[1] == 2.5 * deadlines[0] > 0
    panicked = BootLogReader()
    panicked.feed("serial", b"Uncaught panic:\n", 1.0)
    assert panicked.deadline() is None


@pytest.mark.parametrize(
    ("goal", "smoke", "prompt"),
    [(Goal.ANY, True, True), (Goal.PROMPT, False, True), (Goal.SMOKE, True, False)],
)
def test_a_run_has_reached_its_own_goal_and_no_other(goal: Goal, smoke: bool, prompt: bool) -> None:
    assert classify({"console": b"Successfully booted.\n"}, 0, Layer.MAKE, goal).booted is smoke
    assert classify({"console": b"~ # "}, goal=goal).booted is prompt
    assert classify({"console": b"~ # "}, 65, goal=goal).outcome is BootOutcome.FAILED


def test_the_first_error_line_of_the_inner_make_is_told_and_its_last_words() -> None:
    text = "error: one\nplain\nmake[2]: *** [x.mk:1: all] Error 3\nmake: *** [Makefile:2: kernel] Error 2\n"
    said = classify({"stdout": text.encode()}, 2, Layer.MAKE).sentence
    assert "target 'all' failed (status 3)" in said
    assert "the last error was 'error: one'" in said
    assert (
        "the last line was 'plain'"
        in classify({"stdout": b"plain\nmake: *** [M:2: k] Error 2\n"}, 2, Layer.MAKE).sentence
    )
    assert "it printed nothing" in classify({"stdout": b"\n \n"}).sentence
