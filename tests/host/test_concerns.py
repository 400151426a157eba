"""What is read is judged: old modules, run-time errors, panics, kernel lines; READY in words that are so."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.host import HostReport, verify, verify_log
from labkit.host.codes import leaves, operands, statuses
from labkit.host.kvm_generation import Generation, host_generation
from labkit.host.module import ModuleVersion, of_text
from labkit.host.seamcall import CAUSES, decode
from labkit.tdx.leaves import SEAMCALLS
from labkit.tdx.status import Operand, Status
from tests.host.hosts import S3, START, UP, Host, build, cpuinfo, log

NOTHING = "nothing that was read stands in the way"
OLD = (
    "virt/tdx: TDX module: attributes 0x0, vendor_id 0x8086, major_version 1, minor_version 5, build_date "
    "20231008, build_num 595"
)
GOOD = OLD.replace("595", "744")
CPU = "smpboot: CPU0: Intel(R) Xeon(R) 6980P (family: 0x6, model: 0xad, stepping: 0x1)"


def of(*messages: str, release: str = "6.17.0-8-generic") -> HostReport:
    return verify_log(log(*messages, release=release))


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ((START, OLD, UP), "1.5 build 595, older than 1.5.06"),
        ((START, "virt/tdx: TDX module 1.5.05.00, build number 698, build date 0134d817", UP), "1.5.05"),
        ((START, "virt/tdx: Module version: 1.5.03", UP), "1.5.03"),
        ((START, UP, "KVM: unknown exit, hardware reason e0000091"), "e0000091"),
        ((START, UP, "qemu-system-x86_64: KVM_TDX_INIT_VM failed: Invalid argument"), "KVM_TDX_INIT_VM"),
        ((START, UP, "SEAMCALL (0x0000000000000015) failed: 0xc000010000000045 RCX 0x7"), "CPUID_CONFIG"),
        ((START, UP, "kvm_intel: SEAMCALL TDH_MNG_INIT failed: 0xc000010000000045, rcx 0x7"), "CPUID_CONFIG"),
        ((START, UP, "virt/tdx: SEAMCALL (0x15) failed: 0xc000010000000045"), "TDH.MNG.INIT"),
        ((START, UP, "SEAMCALL (0x0f) failed: 0xc0000b0800000001 RCX 0x0"), "TDX_TLB_TRACKING_NOT_DONE"),
        ((START, UP, "mce: [Hardware Error]: TDX private memory error. Possible kernel bug."), "poisoned"),
        ((START, UP, "Kernel panic - not syncing: Fatal machine check"), "Fatal machine check"),
        ((START, UP, "seamldr: Failed to install new TDX module -5"), "update of the TDX module"),
        ((START, UP, "seamldr: SEAMLDR.INSTALL failed. Error 8000000000060003"), "SEAMLDR.INSTALL failed"),
    ],
)
def test_ready_says_what_may_stand_in_the_way(messages: tuple[str, ...], said: str) -> None:
    report = of(*messages)
    assert report.verdict == "READY"
    assert said in report.summary
    assert NOTHING not in report.summary
    assert report.next_action
    assert report.to_dict()["concerns"][0]["action"] == report.next_action
    assert "What may keep a TD from running" in str(report)
    assert "What may keep a TD from running" in report._repr_html_()


def test_a_panic_is_shown_by_its_own_line() -> None:
    panic = "Kernel panic - not syncing: Fatal machine check"
    (concern,) = of(START, UP, panic).to_dict()["concerns"]
    assert concern["evidence"] == [{"source": "kernel log", "value": panic}]


@pytest.mark.parametrize(
    "messages",
    [
        (START, GOOD, UP),
        (START, "virt/tdx: TDX module 1.5.06.00, build number 744, build date 0134d817", UP),
        (START, "virt/tdx: TDX module 2.0.08.00, build number 882, build date 0134fed5", UP),
        (START, "virt/tdx: Module version: 1.5.24", UP),
        (START, UP, "SEAMCALL (0x1c) failed: 0xc000030000000001 RCX 0x0"),
        (START, UP, "SEAMCALL (0x06) failed: 0x8000020000000080 RCX 0x0"),
        (START, UP, "TDX requires TDP MMU.  Please enable TDP MMU for TDX."),
    ],
)
def test_what_is_good_or_harmless_does_not_spoil_ready(messages: tuple[str, ...]) -> None:
    report = of(*messages)
    assert (report.verdict, report.next_action) == ("READY", None)
    assert NOTHING in report.summary


def test_a_harmless_error_is_decoded_in_a_remark() -> None:
    (remark,) = of(START, UP, "SEAMCALL (0x1c) failed: 0xc000030000000001 RCX 0x0").remarks
    assert "TDH.PHYMEM.PAGE.RECLAIM failed with TDX_PAGE_METADATA_INCORRECT" in remark


def test_a_module_that_an_update_took_away_is_not_up() -> None:
    report = of(START, UP, "seamldr: Failed to initialize new TDX module -5", release="7.2.0")
    assert (report.verdict, report.reason) == ("NOT_READY", "MODULE_NOT_LOADED")
    assert "An update at run time took it away" in report.summary


@pytest.mark.parametrize(
    ("release", "messages", "reason", "said"),
    [
        ("6.3.0", (START, "tdx: TDX module is not loaded."), "MODULE_NOT_LOADED", ""),
        ("5.17.0", (START, "tdx: P-SEAMLDR is not loaded."), "MODULE_NOT_LOADED", ""),
        (
            "5.15.0",
            ("seam: The P-SEAMLDR is not loaded by BIOS.  Skip TDX initialization.",),
            "MODULE_NOT_LOADED",
            "",
        ),
        ("5.17.0", ("tdx: SEAMRR not enabled.",), "BIOS_NOT_ENABLED", ""),
        ("7.2.0", ("kvm_intel: TDX not supported by the host platform",), "PLATFORM_NOT_TDX", ""),
        ("6.12.48", ("kvm_intel: unknown parameter 'tdx' ignored",), "KERNEL_NO_TDX", "6.12.48 has no"),
        ("6.17.0", ("x86/cpu: VMX (outside TXT) disabled by BIOS",), "KVM_PREREQ", "VMX"),
        (
            "6.17.0",
            ("kvm_intel: VMX not enabled (by BIOS) in MSR_IA32_FEAT_CTL on CPU 0",),
            "KVM_PREREQ",
            "virtualisation",
        ),
        ("6.1.0", ("kvm: disabled by bios",), "KVM_PREREQ", "virtualisation"),
    ],
)
def test_the_wordings_of_other_series_and_of_kvm(
    release: str, messages: tuple[str, ...], reason: str, said: str
) -> None:
    report = of(*messages, release=release)
    assert (report.verdict, report.reason) == ("NOT_READY", reason)
    assert said in f"{report.summary} {report.next_action}"


@pytest.mark.parametrize(
    ("options", "messages", "reason"),
    [
        ("kvm_intel.tdx=0", (START,), "KVM_PARAM_OFF"),
        ("kvm-intel.tdx=off", (START,), "KVM_PARAM_OFF"),
        ("kvm_intel.tdx=0 kvm_intel.tdx=1", (START,), "INIT_NOT_CONFIRMED"),
        ("nohibernate", (START,), "INIT_NOT_CONFIRMED"),
        ("kvm_intel.tdx=0", (START, UP), None),
    ],
)
def test_tdx_that_the_command_line_switches_off_is_no_matter_of_the_bios(
    options: str, messages: tuple[str, ...], reason: str | None
) -> None:
    assert of(f"Command line: BOOT_IMAGE=/vmlinuz ro {options}", *messages).reason == reason


def test_ready_with_contradictions_does_not_say_that_all_is_well(tmp_path: Path) -> None:
    report = verify(build(Host("h", "READY", None, {"/sys/power/state": "freeze mem disk\n"}), tmp_path))
    assert report.verdict == "READY"
    assert "contradict" in report.summary


def test_an_old_module_that_came_up_is_not_new_enough() -> None:
    report = of(START, OLD, UP)
    assert report.check("module-version").status == "UNKNOWN"
    assert "EFI" in (report.check("module-version").fix or "")
    assert of(START, GOOD, UP).check("module-version").status == "PASS"
    silent = of(START, OLD).check("module-version")
    assert (silent.status, "older than" in silent.detail) == ("UNKNOWN", True)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.5.24", ModuleVersion(1, 5, 24)),
        ("attributes=0x0 build_date=0x1346 build_num=0x253 major_version=0x1 "
            "minor_version=0x5", ModuleVersion(1, 5, None, 595)),
        ("status=initialized", None),
        ("major_version=x minor_version=5", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_version_in_sysfs_is_read(text: str, version: ModuleVersion | None) -> None:
    assert of_text(text) == version


@pytest.mark.parametrize(
    "line",
    [
        "vmkernel.log:2026-02-02T11:26:41.630Z In(182) vmkernel: cpu25:2100108)TDX: 1133: TDH.MNG.INIT "
        "failed with "
        "status: 0xc000010000000045",
        "2026-02-02T11:26:41.630Z cpu25:2100108)WARNING: TDX: 99: TDH_MNG_INIT: status 0xc000010000000045",
        "2026-02-02T11:26:41.630Z Wa(180) vmkwarning: cpu25:2100108)TDH.MNG.INIT failed with status: "
        "0xc000010000000045",
    ],
)
def test_an_esxi_log_is_decoded(line: str) -> None:
    report = verify_log(line + "\n")
    assert report.verdict == "INDETERMINATE"
    assert (
        "TDH.MNG.INIT failed with TDX_OPERAND_INVALID (0xc000010000000045), operand 69 (CPUID_CONFIG)"
        in report.summary
    )
    assert "ESXi" in (report.next_action or "")


def test_an_esxi_log_without_a_failure_is_named() -> None:
    report = verify_log(
        "2026-02-02T11:26:41.630Z In(182) vmkernel: cpu0:2097152)TDX: 402: TDX module is up\n"
    )
    assert (report.verdict, report.reason) == ("INDETERMINATE", "NO_INIT_LINES")
    assert "ESXi" in report.summary
    assert "journalctl" not in (report.next_action or "")


def test_esxi_on_a_cpu_without_tdx() -> None:
    line = "2026-02-02T11:26:41.630Z In(182) vmkernel: VMB: 79: TDX: Unsupported on CPU (MSR_MTRRCAP = 0xd0a)"
    assert verify_log(line).reason == "PLATFORM_NOT_TDX"


@pytest.mark.parametrize(
    ("messages", "reason", "said"),
    [
        ((START, S3, "Kernel panic - not syncing: VFS: Unable to mount root "
            "fs"), "INIT_NOT_CONFIRMED", "Unable to mount"),
        (("Kernel panic - not syncing: VFS: Unable to mount root fs",), "NO_INIT_LINES", "Unable to mount"),
        ((START, "virt/tdx: module not "
            "loaded", "Kernel panic - not syncing: x"), "MODULE_NOT_LOADED", "no TDX module"),
    ],
)  # fmt: skip
def test_a_panic_for_another_reason_is_said(messages: tuple[str, ...], reason: str, said: str) -> None:
    report = of(*messages)
    assert report.reason == reason
    assert said in report.summary
    assert ("panic" in (report.next_action or "")) == (reason != "MODULE_NOT_LOADED")


@pytest.mark.parametrize(
    ("release", "cpu", "reason"),
    [
        ("6.8.0-1025-intel", CPU, "KERNEL_NO_TDX"),
        ("6.8.0-1025-intel", CPU.replace("6980P", "6731E").replace("0xad", "0xaf"), "KERNEL_NO_TDX"),
        ("6.11.0-1007-intel", CPU, None),
        ("6.17.0-8-generic", CPU, None),
        ("6.8.0-1025-intel", CPU.replace("6980P", "Platinum 8480+").replace("0xad", "0x8f"), None),
    ],
)
def test_a_xeon_6_needs_a_newer_line_than_6_8(release: str, cpu: str, reason: str | None) -> None:
    report = of(CPU if cpu is None else cpu, START, GOOD, UP, release=release)
    assert report.reason == reason
    assert report.host.verdict == "READY"
    if reason:
        assert report.launch.reason == reason
        assert "6.8 line" in report.summary
        assert "6.11-intel" in (report.next_action or "")


@pytest.mark.parametrize(
    ("release", "messages", "reason"),
    [
        ("6.2.0-mvp10v1+8-generic", ("seam: SEAMRR is not enabled by BIOS",), "BIOS_NOT_ENABLED"),
        ("6.2.0-mvp10v1+8-generic", (), "NO_INIT_LINES"),
        (
            "5.15.152.bsk.1-tdxh.1-amd64",
            ("tdx: BIOS enabled: private KeyID range [64, 128)",),
            "INIT_NOT_CONFIRMED",
        ),
        ("5.15.0-100-generic", ("tdx: BIOS enabled: private KeyID range [64, 128)",), "INIT_NOT_CONFIRMED"),
        ("6.8.0-101-generic", (START, "virt/tdx: module not loaded"), "MODULE_NOT_LOADED"),
        ("6.8.0-101-generic", (START, S3), "KERNEL_NO_TDX"),
        ("6.8.0-101-generic", (), "KERNEL_NO_TDX"),
        ("5.15.0-100-generic", (), "KERNEL_NO_TDX"),
    ],
)
def test_the_kernels_own_words_outrank_its_name(release: str, messages: tuple[str, ...], reason: str) -> None:
    assert of(*messages, release=release).reason == reason


def test_a_configuration_file_does_not_outrank_them_either(tmp_path: Path) -> None:
    files = {
        "/proc/sys/kernel/osrelease": "5.15.1-vendor\n",
        "/boot/config-5.15.1-vendor": "# CONFIG_INTEL_TDX_HOST is not set\n",
        "/sys/module/kvm_intel/parameters/tdx": None,
        "/var/log/kern.log": log("tdx: module not loaded", release="5.15.1-vendor"),
        "/sys/module/kvm_intel/parameters/ept": None,
        "/sys/module/kvm_intel/parameters/enable_apicv": None,
    }  # fmt: skip
    assert verify(build(Host("h", "NOT_READY", None, files), tmp_path)).reason == "MODULE_NOT_LOADED"


def test_the_names_are_those_of_the_model() -> None:
    assert leaves() == {number: leaf.name for number, leaf in SEAMCALLS.items()}
    assert statuses() == {status.value >> 32: f"TDX_{status.name}" for status in Status}
    assert operands() == {operand.value: operand.name for operand in Operand}
    assert set(CAUSES) <= set(statuses())


@pytest.mark.parametrize(
    ("leaf", "status", "words"),
    [
        ("0x21", "0xc000090000000000", "TDH.SYS.INIT failed with TDX_INCORRECT_CPUID_VALUE"),
        ("33", "0xc000092100000122", "MSR 0x122 (IA32_TSX_CTRL"),
        ("TDH_MNG_CREATE", "0xe000060400000000", "TDH.MNG.CREATE failed with TDX_TD_FATAL"),
        ("tdh_vp_enter", "0xc000060800000080", "TDH.VP.ENTER failed with TDX_OP_STATE_INCORRECT"),
        ("TDH_NEW_ONE", "0xc0ffee0000000000", "TDH_NEW_ONE failed with status 0xc0ffee0000000000"),
        ("0x999", "0xc000090100000000", "leaf 0x999 failed with TDX_LIMIT_CPUID_MAXVAL_SET"),
    ],
)
def test_leaf_and_status_are_decoded(leaf: str, status: str, words: str) -> None:
    call = decode(leaf, status)
    assert words in str(call)
    assert call.cause
    assert bool(call.action) == ("0xc0ffee" not in status)


def test_operands_are_named_only_where_the_status_names_one() -> None:
    assert decode("0x15", "0xc000010000000045").operand == "operand 69 (CPUID_CONFIG)"
    assert decode("0x15", "0xc000010000000333").operand == "operand 819"
    assert decode("0x21", "0xc000090200000001").operand == ""


def test_a_xeon_6_is_known_by_its_name_alone(tmp_path: Path) -> None:
    files = {"/proc/cpuinfo": cpuinfo(model=0xFFF, name="Intel(R) Xeon(R) 6731E")}
    host = build(Host("h", "READY", None, files), tmp_path)
    (host / "proc/sys/kernel/osrelease").write_text("6.8.0-1025-intel\n")
    (host / "var/log/kern.log").write_text(log(START, UP, release="6.8.0-1025-intel"))
    report = verify(host)
    assert report.launch.reason == "KERNEL_NO_TDX"
    assert not re.search(r"no support for TDX hosts", report.summary)
    assert replace(report).summary.startswith("The TDX module is initialised, but a TD cannot be started.")


RELEASES = (
    "5.15.0-100-generic",
    "6.2.0-mvp10v1+8-generic",
    "5.15.152.bsk.1-tdxh.1-amd64",
    "6.8.0-101-generic",
    "6.8.0-1025-intel",
    "6.11.0-1007-intel",
    "6.14.0-1004-intel",
    "6.17.0-8-generic",
    "7.1.0",
)


@pytest.mark.parametrize("release", RELEASES)
def test_the_table_of_generations_agrees_with_the_verdict(release: str) -> None:
    """A kernel that its own success line proves has a generation; one that cannot do TDX has none."""
    words = "tdx: TDX module initialized." if release.startswith(("5.", "6.2")) else UP
    plain = release in ("5.15.0-100-generic", "6.8.0-101-generic")
    up = verify_log(log(words, release=release))
    assert up.verdict == "READY" or plain
    silent = verify_log(log(release=release))
    assert (silent.reason == "KERNEL_NO_TDX") == plain
    assert (host_generation(silent) is None) == (plain or "tdxh" in release)
    if not plain:
        assert host_generation(up) is not None


def test_a_vendors_kernel_is_of_the_mvp_line_by_its_words() -> None:
    start = log("tdx: BIOS enabled: private KeyID range [64, 128)", release="5.15.152.bsk.1-tdxh.1-amd64")
    assert host_generation(verify_log(start)) is Generation.MVP
    guest = log("tdx: Guest detected", release="5.15.0-100-generic")
    assert host_generation(verify_log(guest)) is None
