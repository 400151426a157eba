"""Logs of machines that are no TDX hosts, and of hosts that lost TDX later."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from labkit.host import HostReport, diagnose
from labkit.host.log import read_log, read_log_file
from labkit.host.model import Facts

UP = "virt/tdx: module initialized"
START = "virt/tdx: BIOS enabled: private KeyID range [64, 128)"
VERSION = "Linux version 6.17.0-8-generic (b@h) (x86_64-linux-gnu-gcc-15 (Ubuntu) 15.2.0) #8-Ubuntu SMP"
CMDLINE = "Command line: BOOT_IMAGE=/vmlinuz ro kvm_intel.tdx=1"


def judged(*messages: str) -> HostReport:
    text = "".join(f"[{number:12.6f}] {message}\n" for number, message in enumerate(messages))
    return diagnose(Facts(log=read_log(io.BytesIO(text.encode()), "log")))


MACHINES = {
    "arm64": (
        "PLATFORM_NOT_TDX",
        "aarch64",
        VERSION.replace("x86_64", "aarch64"),
        "Kernel command line: ro kvm_intel.tdx=1",
    ),
    "arm64 without its compiler": (
        "PLATFORM_NOT_TDX",
        "arm64",
        "Booting Linux on physical CPU 0x0000000000 [0x481fd010]",
        "Linux version 6.17.0 (mockbuild@x) (gcc (GCC) 15.2.1) #1 SMP",
    ),
    "riscv": ("PLATFORM_NOT_TDX", "riscv64", VERSION.replace("x86_64-linux", "riscv64-linux")),
    "s390": ("PLATFORM_NOT_TDX", "s390x", VERSION.replace("x86_64-linux", "s390x-linux")),
    "AMD with SEV": ("PLATFORM_NOT_TDX", "AMD", VERSION, "kvm_amd: SEV-SNP enabled (ASIDs 1 - 99)"),
    "AMD without SEV": ("PLATFORM_NOT_TDX", "AMD", VERSION, "kvm_amd: Nested Paging enabled"),
    "a guest of SEV": (
        "PLATFORM_NOT_TDX",
        "AMD",
        VERSION,
        "Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP",
    ),
    "a virtual machine": ("INSIDE_VM", "KVM", VERSION, CMDLINE, "Hypervisor detected: KVM"),
    "WSL": (
        "INSIDE_VM",
        "Hyper-V",
        "Linux version 6.6.87.2-microsoft-standard-WSL2 (root@x) (gcc) #1 SMP",
        "Hypervisor detected: Microsoft Hyper-V",
    ),
    "a domain of Xen": ("INSIDE_VM", "Xen", VERSION, "Hypervisor detected: Xen PV"),
    "a TD": ("INSIDE_TD_GUEST", "", VERSION, "Hypervisor detected: KVM", "tdx: Guest detected"),
    "a TD's attributes": ("INSIDE_TD_GUEST", "", VERSION, "tdx: Attributes: SEPT_VE_DISABLE"),
    "a TD's controls": ("INSIDE_TD_GUEST", "", VERSION, "tdx: TD_CTLS: PENDING_VE_DISABLE"),
}  # fmt: skip


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_that_is_no_host_is_named(name: str) -> None:
    reason, word, *messages = MACHINES[name]
    report = judged(*messages)
    assert (report.verdict, report.reason) == ("NOT_READY", reason)
    assert word in report.summary


def test_a_module_of_amds_on_an_intel_machine_says_nothing() -> None:
    report = judged(VERSION, CMDLINE, "kvm_amd: SVM not supported by CPU 0, not amd or hygon", START, UP)
    assert report.verdict == "READY"


def test_a_success_line_outweighs_a_hypervisor() -> None:
    """The two cannot be of one boot: that is no reason to call a host a virtual machine."""
    assert judged(VERSION, "Hypervisor detected: KVM", START, UP).verdict == "READY"


@pytest.mark.parametrize(
    ("name", "said"),
    [("INTEL(R) XEON(R) PLATINUM 8592+", True), ("Intel 06/cf", True), ("Intel(R) Core(TM) Ultra 7", False)],
)
def test_firmware_is_looked_at_first_where_the_cpu_exists_with_tdx(name: str, said: bool) -> None:
    cpu = f"smpboot: CPU0: {name} (family: 0x6, model: 0xcf, stepping: 0x2)"
    report = judged(VERSION.replace("6.17", "7.1"), cpu, "virt/tdx: TDX not supported by the host platform")
    assert report.reason == "PLATFORM_NOT_TDX"
    assert ("BIOS" in (report.next_action or "")) is said


def test_a_kernel_older_than_any_with_tdx_is_named() -> None:
    report = judged(
        "Linux version 3.10.0-1160.el7.x86_64 (m@b) (gcc) #1 SMP", CMDLINE, "x86/tme: enabled by BIOS"
    )
    assert (report.verdict, report.reason) == ("NOT_READY", "KERNEL_NO_TDX")
    # Vendors have brought TDX to younger ones.
    assert (
        judged("Linux version 5.10.134-16.an8.x86_64 (m@b) (gcc) #1 SMP", CMDLINE).verdict == "INDETERMINATE"
    )


def test_a_module_that_kvm_is_told_to_leave_alone_starts_no_tds() -> None:
    off = "Command line: BOOT_IMAGE=/vmlinuz ro nohibernate kvm_intel.tdx=0"
    report = judged(VERSION.replace("6.17", "7.1"), off, START, "virt/tdx: TDX-Module initialized")
    assert (report.verdict, report.reason) == ("NOT_READY", "KVM_PARAM_OFF")
    # Before 7.1 it is KVM that starts the module: its success says that the parameter was on.
    assert judged(VERSION, off, START, UP).verdict == "READY"


@pytest.mark.parametrize(
    "line", ["virt/tdx: TDX module shut down", "virt/tdx: module update failed: -5", "virt/tdx: TDX disabled"]
)
def test_what_the_kernel_says_after_the_success_is_said(line: str) -> None:
    report = judged(VERSION, START, UP, line)
    assert report.verdict == "READY"
    assert line in report.summary
    assert "nothing that was read" not in report.summary
    assert "cold boot" in (report.next_action or "").lower()


def test_an_unknown_word_before_silence_is_quoted() -> None:
    report = judged(VERSION, CMDLINE, START, "virt/tdx: module metadata read failed (-5)")
    assert (report.verdict, report.reason) == ("NOT_READY", "INIT_NOT_CONFIRMED")
    assert "metadata read failed" in report.summary


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"%PDF-1.7\n", "pdftotext"),
        (b"{\\rtf1\\ansi " + UP.encode() + b"\\par}", "rich-text"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (b"\xff\xd8\xff\xe0", "picture"),
    ],
)
def test_a_document_of_an_office_is_named(data: bytes, word: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(data + bytes(64))
    report = diagnose(Facts(log=read_log_file(tmp_path / "log", "log")))
    assert (report.verdict, report.reason) == ("INDETERMINATE", "LOG_UNREADABLE")
    assert word in report.summary
