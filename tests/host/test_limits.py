"""Where the rules and readers of the host have their edges: the last value that counts, and the next."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import DataError
from labkit.host import Facts, diagnose, live, load, save
from labkit.host.codes import leaves, operands, statuses
from labkit.host.firmware import TDVF_GUID, tdvf_fact
from labkit.host.kvm_generation import Generation, generation_of
from labkit.host.live import MSRS, live_facts, msr_fact
from labkit.host.log import MAX_REPEATS, read_log_text
from labkit.host.model import CheckStatus, Fact, KernelLog, LogLine, LogState, Missing, Value
from labkit.host.module import ModuleVersion
from labkit.host.seamcall import CAUSES, decode
from labkit.host.tree import Tree
from labkit.host.view import FactsView
from tests.host.test_facts import add, host

UP = "virt/tdx: module initialized"


def view(**values: Value) -> FactsView:
    return FactsView(add(Facts(), **values))


# Intel SDM 4, IA32_TME_ACTIVATE bit 1, IA32_MKTME_KEYID_PARTITIONING 63:32, IA32_SEAMRR_PHYS_MASK bit 11.
@pytest.mark.parametrize(
    ("values", "check", "status"),
    [
        ({"msr_0x982": "0x2"}, "tme", "PASS"),
        ({"msr_0x982": "0xfffffffffffffffd"}, "tme", "FAIL"),
        ({"msr_0x982": ("0x2", "0x0")}, "tme", "FAIL"),
        ({"msr_0x87": "0x200000000"}, "keyids", "PASS"),
        ({"msr_0x87": "0x1ffffffff"}, "keyids", "FAIL"),
        ({"msr_0x1401": "0x800"}, "bios", "PASS"),
        ({"msr_0x1401": "0xfffffffffffff7ff"}, "bios", "FAIL"),
        ({"cgroup_tdx_capacity": 5, "cgroup_tdx_current": 4}, "keyids-free", "PASS"),
        ({"cgroup_tdx_capacity": 5, "cgroup_tdx_current": 5}, "keyids-free", "FAIL"),
        ({"kvm_vm_types": 0x20, "qemu_version": "10.1.0"}, "qemu-kvm", "PASS"),
        ({"kvm_vm_types": 0x20, "qemu_version": "10.0.0"}, "qemu-kvm", "UNKNOWN"),
        ({"kvm_vm_types": 0x20, "qemu_version": "10.0.0 (+tdx1)"}, "qemu-kvm", "FAIL"),
        ({"kvm_vm_types": 0x20, "qemu_version": "9.99.0"}, "qemu-kvm", "FAIL"),
        ({"kvm_vm_types": 0x04, "qemu_version": "10.1.0"}, "qemu-kvm", "FAIL"),
        ({"kvm_vm_types": 0x04, "qemu_version": "10.0.9"}, "qemu-kvm", "UNKNOWN"),
        ({"kvm_vm_types": 0x24, "qemu_version": "10.1.0"}, "qemu-kvm", "PASS"),
        ({"kvm_vm_types": 0xDB, "qemu_version": "10.1.0"}, "qemu-kvm", "UNKNOWN"),
    ],
)
def test_a_rule_stands_at_its_bit_and_at_its_version(
    values: dict[str, Value], check: str, status: str
) -> None:
    found = {result.check.id: result for result in _asked(values)}
    assert found[check].status == status, found[check]


def _asked(values: dict[str, Value]) -> Iterator[Any]:
    # All that other checks need is there; what is asked stands beside it.
    base = host("good-6.17") if any(key.startswith(("kvm", "qemu", "cgroup")) for key in values) else None
    yield from diagnose(add(base or host("silent"), **values)).checks


@pytest.mark.parametrize(
    ("release", "param", "proved"),
    [("7.0.5", True, True), ("7.1.0", True, False), ("6.17.0", False, False), ("6.17.0", True, True)],
)
def test_the_parameter_proves_the_module_up_to_linux_7_0(release: str, param: bool, proved: bool) -> None:
    facts = add(host("log-unreadable-7.1"), kernel_release=release)
    facts = replace(facts, items={**facts.items, "kvm.param.tdx": Fact("parameter", param)})
    assert (diagnose(facts).verdict == "READY") is proved


@pytest.mark.parametrize(
    ("family", "model", "name", "vendor", "has"),
    [
        *((6, model, "", "GenuineIntel", True) for model in (0x8F, 0xCF, 0xAD, 0xAE, 0xAF, 0xDD)),
        (19, 1, "", "GenuineIntel", True),
        (6, 0x8E, "", "GenuineIntel", False),
        (6, 0x90, "", "GenuineIntel", None),
        (6, 0xB0, "", "GenuineIntel", None),
        (5, 0xFF, "", "GenuineIntel", False),
        (7, 1, "", "GenuineIntel", None),
        (6, 0x8F, "Intel(R) Core(TM) i9", "GenuineIntel", False),
        (6, 0x8F, "", "AuthenticAMD", False),
        (6, 0x8F, "", None, None),
    ],
)
def test_which_processors_have_tdx(
    family: int, model: int, name: str, vendor: str | None, has: bool | None
) -> None:
    values: dict[str, Value] = {"cpu_family": family, "cpu_model": model}
    values |= {"cpu_name": name} if name else {}
    values |= {"cpu_vendor": vendor} if vendor else {}
    assert view(**values).tdx_cpu is has
    assert view(**values).xeon_6 is ((family, model) in ((6, 0xAD), (6, 0xAE), (6, 0xAF)))


@pytest.mark.parametrize(
    ("release", "drives", "plain"),
    [
        ("6.15.9-generic", False, True),
        ("6.16.0-generic", False, False),
        ("6.8.0-41-intel", False, False),
        ("6.1.0-28-amd64", False, True),
        ("6.1.0-mvp30-generic", False, False),
    ],
)
def test_a_distributions_kernel_of_before_6_16_is_plain(release: str, drives: bool, plain: bool) -> None:
    assert (view(kernel_release=release).drives_module, view(kernel_release=release).plain_kernel) == (
        drives,
        plain,
    )


@pytest.mark.parametrize(
    ("release", "line", "drives"),
    [
        ("6.7.0", "virt/tdx: BIOS enabled: private KeyID range [32, 64)", True),
        ("6.8.0", "virt/tdx: BIOS enabled: private KeyID range [32, 64)", False),
        ("6.8.0", "tdx: BIOS enabled: private KeyID range [32, 64)", True),
        ("6.8.0", UP, True),
    ],
)
def test_the_kernels_own_words_show_that_it_starts_the_module(release: str, line: str, drives: bool) -> None:
    facts = replace(
        add(Facts(), kernel_release=release), log=KernelLog(LogState.READ, "log", (LogLine(line),))
    )
    assert FactsView(facts).drives_module is drives


@pytest.mark.parametrize(
    ("release", "types", "messages", "found"),
    [
        ("6.16.0", None, "", Generation.UPSTREAM),
        ("6.15.0", None, "", None),
        ("6.15.0", 0x20, "", Generation.UPSTREAM),
        ("6.15.0", 0x10, "", None),
        ("6.15.0", 0x40, "", None),
        ("6.8.0-41-intel", None, "", Generation.CANONICAL),
        ("6.14.0-9-intel", None, "", Generation.CANONICAL),
        ("6.7.0-41-intel", None, "", None),
        ("6.15.0-41-intel", None, "", None),
        ("6.8.0-41-generic", None, "", None),
        ("6.4.0", None, "tdx: words of its own", Generation.MVP),
        ("6.5.0", None, "tdx: words of its own", None),
        ("6.4.0", None, "tdx: Guest detected", None),
        ("6.8.0", None, "tdx: TDX module initialized.", Generation.MVP),
        (None, None, "tdx: words of its own", None),
    ],
)
def test_the_generations_of_kvm_begin_and_end_with_their_kernels(
    release: str | None, types: int | None, messages: str, found: Generation | None
) -> None:
    assert generation_of(release, types, messages) is found


@pytest.mark.parametrize(
    ("version", "old"),
    [
        (ModuleVersion(1, 5, 5), True),
        (ModuleVersion(1, 5, 6), False),
        (ModuleVersion(1, 5, None, 743), True),
        (ModuleVersion(1, 5, None, 744), False),
        # Where both are told, the patch number decides.
        (ModuleVersion(1, 5, 6, 1), False),
        (ModuleVersion(1, 5), False),
        (ModuleVersion(1, 4, 1), False),
        (ModuleVersion(2, 5, 1), False),
    ],
)
def test_a_module_is_old_below_the_first_good_release_of_its_line(version: ModuleVersion, old: bool) -> None:
    assert bool(version.older_than) is old


def test_each_status_with_a_cause_is_one_of_the_modules_and_the_others_have_that_of_their_class() -> None:
    assert CAUSES.keys() <= statuses().keys()
    said = {
        statuses()[upper].removeprefix("TDX_"): cause
        for upper in statuses()
        if (cause := decode("0x21", f"{upper << 32:#x}").cause) != "no cause is on record for this status"
    }
    classes = {
        "calls in the wrong order: kernel and module do not fit each other": 10,
        "the TD is not in the state that the call needs": 7,
        "the vCPU is not in the state that the call needs": 8,
        "the TD's key, or its KeyID, is not in the state that the call needs": 10,
        "the firmware set this up wrongly": 17,
        "the memory map does not fit the module's": 10,
        "an entry of the TD's page tables is not in the state that the call needs": 19,
    }
    counted = {cause: list(said.values()).count(cause) for cause in classes}
    assert counted == classes
    assert said["SYS_SHUTDOWN"].startswith("the module was shut down")
    assert said["SYS_NOT_READY"].endswith("too old (1.0)")
    assert said["OPERAND_BUSY"] == "busy, a retry is due"
    assert said["INCORRECT_CPUID_VALUE"].startswith("an old BIOS")
    assert said["INCONSISTENT_MSR"] == "the packages are set up differently"


@pytest.mark.parametrize(
    ("leaf", "status", "harmless"),
    [
        ("PHYMEM.PAGE.RECLAIM", "PAGE_METADATA_INCORRECT", True),
        ("MEM.PAGE.ADD", "PAGE_METADATA_INCORRECT", False),
        ("PHYMEM.PAGE.RECLAIM", "OPERAND_INVALID", False),
        ("MEM.PAGE.ADD", "OPERAND_BUSY", True),
        ("MEM.PAGE.ADD", "RND_NO_ENTROPY", True),
        ("MEM.PAGE.ADD", "TD_ASSOCIATED_PAGES_EXIST", False),
    ],
)
def test_a_retry_and_a_second_reclaim_are_harmless(leaf: str, status: str, harmless: bool) -> None:
    upper = next(number for number, name in statuses().items() if name == f"TDX_{status}")
    assert decode(f"TDH_{leaf.replace('.', '_')}", f"{upper << 32:#x}").harmless is harmless


@pytest.mark.parametrize(
    ("leaf", "status", "old"),
    [(0x22, 0xC0000505, True), (0x21, 0xC0000505, False), (0x22, 0xC0000504, False)],
)
def test_only_sys_rd_that_is_not_ready_shows_an_old_module(leaf: int, status: int, old: bool) -> None:
    assert decode(f"{leaf:#x}", f"{status << 32:#x}").module_too_old is old


def test_an_operand_is_named_where_the_status_has_one() -> None:
    number = next(number for number, name in operands().items() if name == "TDR")
    for upper, name in statuses().items():
        named = decode("0x1", f"{upper << 32 | number:#x}").operand
        with_operand = upper >> 8 & 0xFF in (1, 2, 3, 6)
        msr = name == "TDX_INCORRECT_MSR_VALUE"
        assert named == (f"operand {number} (TDR)" if with_operand else "MSR 0x80" if msr else ""), name
    init = next(number for number, name in leaves().items() if name == "TDH.MNG.INIT")
    cpuid = next(number for number, name in operands().items() if name == "CPUID_CONFIG")
    assert "CPUID settings" in decode(f"{init:#x}", f"{0xC0000100 << 32 | cpuid:#x}").cause
    assert "TD's parameters" in decode(f"{init:#x}", f"{0xC0000100 << 32 | 1:#x}").cause


def document(**changes: object) -> str:
    facts = Facts({"a": Fact("s", 1)}, read_log_text(f"[    1.0] {UP}\n", "log")).to_dict()
    for path, value in changes.items():
        place, _, name = path.rpartition("__")
        inner: Any = facts
        for step in filter(None, place.split("__")):
            inner = inner[step]
        inner[name] = value
    return json.dumps(facts)


@pytest.mark.parametrize(
    ("path", "taken", "refused", "words"),
    [
        ("facts__a__value", [2**64 - 1, -(2**64) + 1, True, "x", ["x"], [], 0], [2**64, -(2**64)], "64 bits"),
        ("facts__a__value", [], [1.5, {}], "wrong kind"),
        ("facts__a__value", [], [[1]], "not text"),
        ("facts__a__source", ["t"], [1, None, []], "not text"),
        ("facts__a__raw", [""], [1, None], "not text"),
        ("facts__a__why", [""], [1, None], "not text"),
        ("facts__a__missing", [], ["lost", 1], "does not know"),
        ("log__state", ["read", "empty", "unreadable"], ["", None, 1], "none that labkit knows"),
        (
            "log__boots",
            [0, 1, 2**53 - 1],
            [2**53, -1, True, "1", 1.0, None],
            "boots of the log is not a count",
        ),
        ("log__total_lines", [0, 2**53 - 1], [2**53, -1, False], "total_lines of the log is not a count"),
        ("log__first_seconds", [None, 0, 1.5, 2**53 - 1], [2**53, -1, True, "1"], "not a number of seconds"),
        ("log__lines", [[], [[None, "x", 1]]], [[["1", "x", 1]], [[-1, "x", 1]]], "not a number of seconds"),
        ("log__lines", [[[0, "x", 0]] * 5000], [[[0, "x", 0]] * 5001, None, "x"], "more than 5000"),
        ("log__lines", [], [[[0, "x"]], [[0, "x", 1, 1]], [{}]], "seconds, text and count"),
        ("log__lines", [], [[[0, 1, 1]]], "not text"),
        ("log__lines", [], [[[0, "x", -1]], [[0, "x", "1"]]], "not a count"),
        ("log__unread", [[], [[None, "x", 1]]], [[[1]]], "seconds, text and count"),
        ("log__machines", [[], ["a"]], [[1]], "not text"),
        ("log__why", [""], [1], "not text"),
        ("log__source", [""], [1], "not text"),
        ("log", [], [None, []], "not a JSON object"),
        ("facts", [{}], [None, []], "not a JSON object"),
        ("facts__msr.0x3a", [{"source": "s", "value": ["0x" + "f" * 16]}], [], ""),
        ("facts__msr.0x3a", [], [{"source": "s", "value": ["0x" + "f" * 17]}], "not an MSR's"),
        ("facts__msr.0x3a", [], [{"source": "s", "value": 1}, {"source": "s", "value": []}], "a list of"),
    ],
)
def test_each_value_of_saved_facts_has_its_limits(
    path: str, taken: list[object], refused: list[object], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "facts.json"
    for value in taken:
        file.write_text(document(**{path: value}))
        facts = load(file)
        save(facts, file)
        assert load(file) == facts
    for value in refused:
        file.write_text(document(**{path: value}))
        with pytest.raises(DataError, match=words):
            load(file)


def test_a_fact_is_either_there_or_missing(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    for item in Missing:
        facts = Facts({"a": Fact("s", missing=item, why="because")})
        save(facts, file)
        assert load(file) == facts
    for emulated in (True, False):
        save(Facts(emulated=emulated), file)
        assert load(file).emulated is emulated
    save(replace(Facts(), log=KernelLog(LogState.READ, "x", from_boot=True)), file)
    assert load(file).log.from_boot
    for word in (1, "true", None):
        file.write_text(document(emulated=word))
        with pytest.raises(DataError, match="emulated is neither true nor false"):
            load(file)


def test_of_a_file_only_so_much_is_read_and_of_links_so_many_followed(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * ((1 << 16) + 1))
    tree = Tree(tmp_path)
    assert len(tree.read("long")) == 1 << 16
    assert tree.read("long", 5) == "xxxxx"
    for number in range(18):
        (tmp_path / f"link{number}").symlink_to("long" if number == 0 else f"/link{number - 1}")
    assert tree.exists("link15")
    with pytest.raises(OSError, match="Too many levels"):
        tree.read("link16")
    assert not tree.exists("link16")


@pytest.mark.parametrize("target", ["../../../long", "/long", "folder/../long", "./long", "folder//../long"])
def test_links_of_a_copy_lead_inside_it(target: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "long").write_text("inside")
    (tmp_path / "long").write_text("outside")
    (root / "link").symlink_to(target)
    assert Tree(root).read("/link") == Tree(root).read("/folder/../link") == "inside"


def test_absent_means_that_its_place_is_there(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    tree = Tree(tmp_path)
    assert tree.fact("/sys/x", "/sys").missing is Missing.ABSENT
    assert tree.fact("/proc/x", "/proc").missing is Missing.UNKNOWN
    assert tree.fact("/sys", "/sys").missing is Missing.UNKNOWN
    assert tree.presence("/sys", "/sys").value is True
    assert tree.presence("/sys/x", "/sys").value is False
    assert tree.presence("/proc/x", "/proc").missing is Missing.UNKNOWN


def test_a_firmware_image_is_known_by_its_content_and_counted_once(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/OVMF"
    folder.mkdir(parents=True)
    assert tdvf_fact(Tree(tmp_path / "usr")).missing is Missing.UNKNOWN
    (folder / "OVMF.fd").write_bytes(TDVF_GUID + bytes((1 << 16) - 16))
    (folder / "early.fd").write_bytes(TDVF_GUID + bytes((1 << 16) - 15))
    (folder / "OVMF_VARS.fd").write_bytes(TDVF_GUID)
    (folder / "notes.txt").write_bytes(TDVF_GUID)
    (folder / "empty.bin").write_bytes(b"")
    (folder / "more.BIN").hardlink_to(folder / "early.fd")
    with (folder / "huge.fd").open("wb") as file:
        file.truncate((64 << 20) + 1)
    fact = tdvf_fact(Tree(tmp_path))
    assert fact.value == ("/usr/share/OVMF/OVMF.fd",)
    (folder / "OVMF.fd").unlink()
    assert tdvf_fact(Tree(tmp_path)).raw == "none of 1 firmware files has TDVF metadata"


def test_of_one_kind_of_message_so_many_different_lines_are_kept_and_all_are_counted() -> None:
    lines = [f"virt/tdx: CMR: [{number:#x}, {number + 1:#x})" for number in range(MAX_REPEATS + 3)]
    log = read_log_text("".join(f"[    1.0] {line}\n" for line in [*lines, *lines, UP]), "log")
    assert [line.text for line in log.lines] == [*lines[:MAX_REPEATS], UP]
    assert {line.count for line in log.lines[:MAX_REPEATS]} == {2}
    assert log.total_lines == 2 * len(lines) + 1


def test_lines_in_a_wrapping_that_is_not_understood_are_set_aside_three_at_most() -> None:
    lines = [f"{sign}%%virt/tdx: module not loaded" for sign in "abcde"]
    kept = read_log_text("".join(f"{line}\n" for line in [*lines, lines[0], lines[4]]), "log")
    assert [(line.text, line.count) for line in kept.unread] == [(lines[0], 2), (lines[1], 1), (lines[2], 1)]


def test_a_line_that_the_summary_quotes_is_not_said_twice_and_hides_no_other_remark() -> None:
    log = read_log_text(f"x%%{UP}\n", "log")
    report = diagnose(Facts({"cpu.bugs": Fact("s", ("tdx_pw_mce",))}, log=log))
    assert f"x%%{UP}" in report.summary
    (remark,) = report.remarks
    assert remark.startswith("`tdx_pw_mce`")


@pytest.mark.parametrize(
    ("first", "from_boot"), [("    0.000000", True), ("    0.000001", False), ("   95.000000", False)]
)
def test_a_log_is_from_boot_where_it_starts_at_second_0(first: str, from_boot: bool) -> None:
    log = read_log_text(f"[{first}] usb 1-1: x\n[  100.0] {UP}\n", "log")
    assert (log.from_boot, log.first_seconds) == (from_boot, float(first))


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("QEMU emulator version 10.1.0", "10.1.0"),
        ("QEMU emulator version ", None),
        ("qemu emulator version 1", None),
        ("", None),
    ],
)
def test_a_line_without_a_version_is_none(
    line: str, version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labkit.process import Completed

    monkeypatch.setattr(live, "run", lambda *_, **__: Completed(("qemu",), 0, line.encode() + b"\n", b""))
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    fact = live.Programs().facts()["qemu.version"]
    assert (fact.value, fact.missing is None) == (version, version is not None)


def test_the_registers_are_those_of_the_manual_and_asked_of_intel_alone() -> None:
    """Intel SDM 4 and the TDX module's specification name these."""
    assert sorted(MSRS) == [0x3A, 0x87, 0xA0, 0xCE, 0x500, 0x503, 0x981, 0x982, 0x1400, 0x1401]
    assert live_facts(intel=False)["msr.0x982"].why == "not an Intel CPU"
    mixed = msr_fact(0x982, {0: 3, 1: 1, 2: 3, 3: None})
    assert mixed.raw == "0x3 on CPU 0 and 1 more; 0x1 on CPU 1 and 0 more"
    assert mixed.value == ("0x1", "0x3")


def test_a_proof_is_never_a_failed_check() -> None:
    """On a good host no check of the host track fails, whatever else is not known."""
    report = diagnose(host("good-6.17"))
    tracks = {result.track for result in report.checks if result.status is CheckStatus.FAIL}
    assert tracks <= {"attestation"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_denied(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0)
    assert Tree(tmp_path).fact("/secret", "/").missing is Missing.DENIED


def test_half_a_cpu_model_of_the_facts_gives_way_to_that_of_the_log() -> None:
    cpu = "smpboot: CPU0: Intel(R) Xeon(R) 6980P (family: 0x6, model: 0xad, stepping: 0x1)"
    facts = Facts(log=read_log_text(f"[    0.1] {cpu}\n", "log"))
    for half in ({"cpu_family": 15}, {"cpu_model": 1}):
        assert FactsView(add(facts, **half)).cpu_model == (6, 0xAD)
    assert FactsView(add(facts, cpu_family=15, cpu_model=1)).cpu_model == (15, 1)
