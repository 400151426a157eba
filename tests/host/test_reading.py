"""Reads of a host's files and of saved facts: what is not a regular file, or does not fit, is refused."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import DataError
from labkit.host import Facts, collect, diagnose, load, save, verify_log
from labkit.host.log import read_log_text
from labkit.host.model import CheckStatus, LogState
from labkit.host.tree import Tree
from tests.host.hosts import S3, START, UP, Host, build, log


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder"])
def test_what_is_no_regular_file_is_not_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc/sys").mkdir(parents=True)
    path = tmp_path / "proc/cmdline"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("cmdline")
    else:
        path.mkdir()
    with pytest.raises(OSError, match=r"regular|No such device|directory"):
        Tree(tmp_path).read("/proc/cmdline")
    fact = collect(tmp_path).get("kernel.cmdline")
    assert (fact.value, fact.missing) == (None, "unknown")


def document(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "good.json"
    save(collect(build(Host("h", "READY", None, {}), tmp_path / "host")), path)
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "labkit-host-facts/2"},
        {"format": None},
        {"facts": {"a": {"source": "s", "value": 1, "missing": "absent"}}},
        {"facts": {"a": {"source": "s"}}},
        {"facts": {"a": {"source": "s", "value": {"x": 1}}}},
        {"facts": {"a": {"source": "s", "value": 1.5}}},
        {"facts": {"a": {"source": 3, "value": 1}}},
        {"facts": {"a": {"value": 1}}},
        {"facts": {"msr.0x982": {"source": "s", "value": "0x1"}}},
        {"facts": {"msr.0x982": {"source": "s", "value": []}}},
        {"facts": {"msr.0x982": {"source": "s", "value": ["0x1ffffffffffffffff"]}}},
        {"facts": {"msr.0x982": {"source": "s", "value": ["-1"]}}},
        {"facts": []},
        {"log": {"state": "read"}},
    ],
)
def test_facts_that_contradict_the_format_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({**document(tmp_path), **change}))
    with pytest.raises(DataError, match="does not hold the facts"):
        load(path)


def test_facts_come_back_as_they_were_saved(tmp_path: Path) -> None:
    facts = Facts(log=read_log_text(f"[    1.0] {UP}\nx%%virt/tdx: module not loaded\n", "log"))
    save(facts, tmp_path / "facts.json")
    assert load(tmp_path / "facts.json") == facts
    assert load(tmp_path / "facts.json").log.unread


def test_facts_that_are_not_there_are_no_damaged_facts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "facts.json")


def test_facts_of_an_earlier_labkit_are_read(tmp_path: Path) -> None:
    old = document(tmp_path)
    del old["log"]["unread"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert diagnose(load(tmp_path / "old.json")).verdict == "READY"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (log(UP) + log(START, UP), "The log holds 2 boots; only the last one counts."),
        (f"[   95.4] usb 1-1: x\n[  100.0] {UP}\n", "The log starts 95 s after boot"),
    ],
)
def test_remarks_about_the_log(text: str, said: str) -> None:
    assert any(said in remark for remark in verify_log(text).remarks)


def test_a_whole_log_of_one_boot_needs_no_remark() -> None:
    assert verify_log(log(START, S3, UP)).remarks == ()
    assert verify_log(log(START, S3, UP)).facts.log.state is LogState.READ


def test_failed_checks_show_their_evidence_and_others_only_when_asked() -> None:
    report = verify_log(log(START, "virt/tdx: module not loaded"))
    assert report.check("module-loaded").status is CheckStatus.FAIL
    short, long = report.text(), report.text(verbose=True)
    assert "kernel log: virt/tdx: module not loaded" in short
    assert "Host: is the TDX module up?  NOT_READY MODULE_NOT_LOADED\n" in short
    assert re.search(r"^Launch: can a TD be started\?  \S+( [A-Z_]+)?$", short, re.MULTILINE)
    passed = "kernel log: virt/tdx: BIOS enabled"
    assert (passed in short, passed in long) == (False, True)
    assert "virt/tdx: BIOS enabled" in report._repr_html_()
    assert ("skipped: they need what failed" in short, "needs module-loaded" in long) == (True, True)


PAST_THE_FIRST_CHECKS = """
virt/tdx: module not loaded.
virt/tdx: frame pointer (RBP) clobber bug present, upgrade TDX module
virt/tdx: NO_RBP_MOD feature is not supported
virt/tdx: initialization failed: TDMR [0x100000000, 0x200000000): reserved areas exhausted.
virt/tdx: initialization failed: TDMRs exhausted.
virt/tdx: SEAMCALL (0x21) failed: 0xc000050500000000
tdx: SEAMCALL failed: CPU 94: leaf 33, error 0xc000092100000122.
tdx: SEAMCALL failed: leaf 254, error 0x8000000000000000.
virt/tdx: Disable ACPI S3. Turn off TDX in the BIOS to use ACPI S3.
virt/tdx: 1050644 KB allocated for PAMT
virt/tdx: CMR: [0x100000, 0x77800000)
virt/tdx: Disable Kexec. Turn off TDX in the BIOS to use KEXEC.
virt/tdx: Module version: 1.5.24
virt/tdx: Enable Dynamic PAMT
virt/tdx: PAMT: unable to find local NUMA node for PAMT of TDMR
virt/tdx: consumed TDMRs reaching limit: 60 used out of 64
"""


@pytest.mark.parametrize("line", PAST_THE_FIRST_CHECKS.strip().splitlines())
def test_what_is_said_later_proves_that_the_kernel_got_past_its_first_checks(line: str) -> None:
    assert verify_log(log(START)).check("hibernation").status is CheckStatus.UNKNOWN
    check = verify_log(log(START, line)).check("hibernation")
    assert (check.status, check.detail) == (CheckStatus.PASS, "The kernel got past this check.")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("virt/tdx: initialization failed: TDMRs exhausted.", "TDMR_RESERVED_AREAS_EXHAUSTED"),
        ("virt/tdx: initialization failed: register_memory_notifier() failed (-12)", "INIT_NOT_CONFIRMED"),
        ("tdx: SEAMCALL failed: CPU 94: leaf 33, error 0xc000092100000122.", "SEAMCALL_FAILED"),
        ("virt/tdx: SEAMCALL (34) failed: 0xc000050500000000", "MODULE_TOO_OLD"),
        ("virt/tdx: SEAMCALL (0x22) failed: 0xc000050500000000", "MODULE_TOO_OLD"),
        # The words of the patch series before upstream took them, and of Intel's own trees.
        ("tdx: SEAMCALL failed: leaf 33, error 0xc000092100000122.", "SEAMCALL_FAILED"),
        ("virt/tdx: SEAMCALL failed: TDX module not loaded.", "MODULE_NOT_LOADED"),
        ("tdx: SEAMCALL failed: TDX Module not loaded.", "MODULE_NOT_LOADED"),
        ("tdx: Failed to load TDX module.", "MODULE_NOT_LOADED"),
        ("tdx: Failed to initialize TDX module -5", "SEAMCALL_FAILED"),
        ("tdx: TDX module initialization failed (-5)", "SEAMCALL_FAILED"),
        ("tdx: Failed to initialize TDX module.  Shut it down.", "INIT_NOT_CONFIRMED"),
        ("virt/tdx: SEAMCALL failed: TDX disabled by BIOS.", "BIOS_NOT_ENABLED"),
        ("virt/tdx: [BIOS bug]: TDX isn't enabled.", "BIOS_NOT_ENABLED"),
        ("kvm_intel: Cannot enable TDX on TDX disabled platform", "INIT_NOT_CONFIRMED"),
        ("kvm_intel: Cannot enable TDX with EPT disabled", "KVM_PREREQ"),
        ("tdx: Cannot enable TDX with EPT disabled", "KVM_PREREQ"),
        ("kvm_intel: TDX requires TDP MMU.  Please enable TDP MMU for TDX.", "KVM_PREREQ"),
        ("TDX requires TDP MMU.  Please enable TDP MMU for TDX.", "KVM_PREREQ"),
        ("kvm_intel: TDX requires mmio caching.  Please enable mmio caching for TDX.", "KVM_PREREQ"),
        ("kvm_intel: TDX requires baremetal. Not Supported on VMM guest.", "INSIDE_VM"),
        ("TDX requires baremetal. Not Supported on VMM guest.", "INSIDE_VM"),
    ],
)
def test_each_failure_line_has_its_reason(line: str, reason: str) -> None:
    assert verify_log(log(START, line)).reason == reason


@pytest.mark.parametrize(
    "first",
    [
        ("tdx: SEAMRR enabled.", "tdx: TDX private KeyID range: [16, 64).", "tdx: TDX enabled by BIOS."),
        ("tdx: TDX enabled by BIOS. TDX private KeyID range: [16, 64).",),
        ("tdx: BIOS enabled: private KeyID range: [16, 64).",),
    ],
    ids=["5.19", "6.0", "6.2"],
)
def test_the_first_words_of_earlier_series_begin_one_boot(first: tuple[str, ...]) -> None:
    silent = verify_log(log(*first))
    assert (silent.reason, silent.check("keyids").status) == ("INIT_NOT_CONFIRMED", CheckStatus.PASS)
    text = log(*first, "tdx: TDX module initialized.", release="5.19.17-mvp1")
    assert (verify_log(text).verdict, read_log_text(text, "log").boots) == ("READY", 1)


@pytest.mark.parametrize(
    "line",
    [
        "kvm_intel: TDX is supported.",
        "tdx: Successfully initialized TDX module",
        "tdx: TDX module initialized.",
    ],
)
def test_each_generation_has_its_words_for_a_module_that_came_up(line: str) -> None:
    assert verify_log(log(START, line, release="6.2.16-mvp30v3+7-generic")).verdict == "READY"


def test_that_kvm_could_do_tdx_is_no_word_of_the_module() -> None:
    assert verify_log(log(START, "kvm: TDX is supported. x86 phys bits 52")).verdict == "NOT_READY"


def test_a_debugging_call_that_the_module_refuses_is_not_why_it_failed() -> None:
    refused = (
        "tdx: SEAMCALL failed: leaf 254, error 0xc000050500000000.",
        "tdx: TDDEBUGCONFIG isn't supported.",
    )
    report = verify_log(log(START, *refused, "tdx: SEAMCALL failed: leaf 33, error 0xc000092100000122."))
    assert (report.reason, "SYS.INIT" in report.summary) == ("SEAMCALL_FAILED", True), report.summary


def test_what_kvm_requires_at_run_time_takes_nothing_back() -> None:
    assert (
        verify_log(log(START, UP, "TDX requires TDP MMU.  Please enable TDP MMU for TDX.")).verdict == "READY"
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": "labkit-host-facts/2"}, "format is not"),
        ({"format": None}, "format is not"),
        ({"facts": {"a": {"source": "s", "value": True, "missing": "absent"}}}, "either a value or a reason"),
        ({"facts": {"a": {"source": "s"}}}, "either a value or a reason"),
        ({"facts": {"a": {"source": "s", "value": None}}}, "either a value or a reason"),
    ],
)
def test_facts_of_another_format_or_that_contradict_themselves_do_not_load(
    change: dict[str, Any], why: str, tmp_path: Path
) -> None:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({**document(tmp_path), **change}))
    with pytest.raises(DataError, match=why):
        load(path)
