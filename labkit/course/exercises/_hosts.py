"""Diagnose generated hosts: for each, the one reason why no TD starts on it, or READY."""

from __future__ import annotations

from typing import Any

from labkit.course._forms import LineOfText
from labkit.course.draw import Draw
from labkit.course.model import Exercise, Question, Variant, canonical, check_answers, solve_by_answers
from labkit.host import REASONS, Facts, diagnose
from labkit.host.model import Fact, KernelLog, LogLine, LogState, Missing, Value

_START = "virt/tdx: BIOS enabled: private KeyID range [{first}, 64)"
_S3 = "virt/tdx: Disable ACPI S3. Turn off TDX in the BIOS to use ACPI S3."
_ALLOCATED = "virt/tdx: {kb} KB allocated for PAMT"
_UP = "virt/tdx: module initialized"
_CPUS = (
    (143, "Intel(R) Xeon(R) Platinum 8480+"),
    (207, "INTEL(R) XEON(R) PLATINUM 8592+"),
    (173, "Intel(R) Xeon(R) 6972P"),
)
_FLAGS = ("tdx_host_platform", "vmx", "tme", "sgx", "sgx_lc", "movdir64b", "ss")
_OFF = {"kvm.param.tdx": False}


def _good(draw: Draw) -> dict[str, Value]:
    model, name = draw.choice(_CPUS)
    release = draw.choice(("6.16.9", "6.17.0-8-generic", "6.17.5", "6.18.2"))
    return {
        "system.os": "Linux",
        "system.machine": "x86_64",
        "kernel.release": release,
        "kernel.cmdline": f"ro nohibernate kvm_intel.tdx=1 seat={draw.word()}",
        "cpu.vendor": "GenuineIntel",
        "cpu.family": 6,
        "cpu.model": model,
        "cpu.name": name,
        "cpu.flags": _FLAGS,
        "cpu.bugs": ("tdx_pw_mce",),
        "cpu.address_bits": 52,
        "cpu.count": draw.choice((32, 64, 112, 128)),
        "guest.device": False,
        "container": False,
        "kvm.device": True,
        "kvm.intel_module": True,
        "kvm.param.tdx": True,
        "kvm.param.ept": True,
        "kvm.param.tdp_mmu": True,
        "kvm.param.enable_apicv": True,
        "kvm.param.enable_virt_at_load": True,
        "power.state": "freeze mem",
        "power.disk": "[disabled]",
        "sgx.enclave": True,
        "cgroup.tdx_capacity": 31,
        "cgroup.tdx_current": draw.below(20),
        "tdvf": ("/usr/share/ovmf/OVMF.inteltdx.fd",),
    }


# What is wrong with a host: facts that differ, and what the kernel printed after its first TDX lines.
_FAULTS: tuple[tuple[dict[str, Value], tuple[str, ...] | None], ...] = (
    ({}, (_ALLOCATED, _UP)),
    ({}, None),
    ({"cpu.flags": ("vmx", "hypervisor", "sgx"), **_OFF}, ()),
    ({"cpu.vendor": "AuthenticAMD", "cpu.name": "AMD EPYC 9654", "cpu.flags": ("svm",), **_OFF}, ()),
    ({**_OFF}, ("virt/tdx: module not loaded",)),
    (
        {**_OFF},
        (
            "virt/tdx: SEAMCALL (0x0000000000000021) failed: 0xc000092100000122",
            "virt/tdx: module initialization failed (-5)",
        ),
    ),
    ({"kernel.cmdline": "ro nohibernate", **_OFF}, ()),
    ({"kernel.cmdline": "ro nohibernate kvm_inte.tdx=1", **_OFF}, ()),
    (
        {"power.state": "freeze mem disk", "power.disk": "[platform]", "kernel.cmdline": "ro", **_OFF},
        ("virt/tdx: initialization failed: Hibernation support is enabled",),
    ),
    ({"tdvf": ()}, (_ALLOCATED, _UP)),
    ({"cgroup.tdx_capacity": 31, "cgroup.tdx_current": 31}, (_ALLOCATED, _UP)),
    ({"kernel.release": "5.15.0-91-generic", "guest.device": False, **_OFF}, ()),
    ({"cpu.flags": ("tdx_host_platform", "vmx", "sgx", "sgx_lc", "movdir64b", "ss"), **_OFF}, ()),
)
_CODES = ("READY", *(code for code in REASONS))
_HOSTS = 5


def _facts(draw: Draw, fault: tuple[dict[str, Value], tuple[str, ...] | None]) -> Facts:
    changed, messages = fault
    items = {
        name: Fact(f"facts of an exercise ({name})", value, raw=_raw(value))
        for name, value in (_good(draw) | changed).items()
    }
    items["msr.0x1401"] = Fact("MSR 0x1401", missing=Missing.DENIED, why="not read for the exercise")
    release = str(items["kernel.release"].value)
    if messages is None:  # the log was wrapped since the boot: nothing about TDX is left in it
        first = 90000.0 + draw.below(9000)
        log = KernelLog(LogState.READ, "kern.log", (), total_lines=1, first_seconds=first)
        return Facts(items, log, emulated=True)
    intel = "GenuineIntel" in str(items["cpu.vendor"].value)
    lines = [_START.format(first=draw.choice((16, 32, 48))), _S3] if messages or intel else []
    lines = [f"Linux version {release}", *lines, *messages]
    lines = [line.format(kb=draw.between(100, 900) * 1000) for line in lines]
    rows = tuple(LogLine(text, float(second)) for second, text in enumerate(lines))
    log = KernelLog(LogState.READ, "kern.log", rows, total_lines=len(rows), first_seconds=0.0, from_boot=True)
    return Facts(items, log, emulated=True)


def _raw(value: Value) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _make(draw: Draw) -> Variant:
    files: dict[str, bytes] = {}
    expected: dict[str, Any] = {}
    for number, fault in enumerate(draw.sample(_FAULTS, _HOSTS), 1):
        facts = _facts(draw.child(f"host-{number}"), fault)
        report = diagnose(facts)
        files[f"host-{number}.json"] = canonical(facts.to_dict(), indent=1)
        expected[f"host-{number}"] = report.reason or "READY"
    return Variant(parameters={"hosts": sorted(files)}, files=files, expected=expected)


EXERCISE = Exercise(
    name="hosts",
    title="Diagnose five hosts",
    chapter="01-verify-the-host",
    questions=tuple(
        Question(
            f"host-{number}",
            f"Why does no TD start on host {number}? (the reason code, or READY)",
            1,
            LineOfText(_CODES),
            (
                "Work down the table of checks in chapter 01: the first thing that failed is the reason.",
                "Look at the processor first, then at the kernel log, then at KVM's parameter.",
                f"`labkit verify --from host-{number}.json` prints the whole report; read why it is so sure.",
            ),
        )
        for number in range(1, _HOSTS + 1)
    ),
    make=_make,
    check=check_answers,
    solve=solve_by_answers,
)
