"""Facts that files cannot show: MSRs, KVM's own answer, QEMU, SEAMCALL codes; and what contradicts what."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from labkit.errors import DataError
from labkit.host import REASONS, Facts, collect, diagnose, load, save
from labkit.host.checks import CHECKS
from labkit.host.codes import leaves as leaf_names
from labkit.host.codes import statuses as status_names
from labkit.host.live import msr_fact
from labkit.host.model import Fact, Missing, Value
from labkit.host.remedies import REMEDIES
from labkit.host.seamcall import decode
from tests.host.hosts import BY_NAME, build


@cache
def host(name: str) -> Facts:
    with TemporaryDirectory() as folder:
        return collect(build(BY_NAME[name], Path(folder)))


def add(facts: Facts, **values: Value) -> Facts:
    """The facts with more: ``msr_0x982="0x1"`` stands for the fact ``msr.0x982``."""
    items = dict(facts.items)
    for key, value in values.items():
        name = key.replace("_", ".", 1)
        entry: Value = (value,) if name.startswith("msr.") and isinstance(value, str) else value
        items[name] = Fact(name, entry, str(value))
    return replace(facts, items=items)


GOOD_MSRS = {"msr_0x982": "0x3", "msr_0x87": "0x2000000020", "msr_0x1401": "0xc00"}


@pytest.mark.parametrize(
    ("base", "values", "reason"),
    [
        ("silent", GOOD_MSRS, "INIT_NOT_CONFIRMED"),
        ("silent", {**GOOD_MSRS, "msr_0x982": "0x1"}, "TME_OFF"),
        ("silent", {**GOOD_MSRS, "msr_0x87": "0x100000020"}, "NO_KEYIDS"),
        ("silent", {**GOOD_MSRS, "msr_0x1401": "0x400"}, "BIOS_NOT_ENABLED"),
        ("silent", {"msr_0x1401": ("0x400", "0xc00")}, "BIOS_NOT_ENABLED"),
        ("good-6.17", GOOD_MSRS, None),
        ("log-unreadable-7.1", {"kvm_vm_types": 0x21}, None),
        ("log-unreadable-7.1", {"kvm_vm_types": 0x1}, "LOG_UNREADABLE"),
        ("good-6.17", {"qemu_tdx": False}, "QEMU_NO_TDX"),
        ("good-6.17", {"qemu_tdx": True, "qemu_version": "10.1.0", "kvm_vm_types": 0x21}, None),
        ("good-6.8-intel", {"qemu_tdx": True, "qemu_version": "10.1.0", "kvm_vm_types": 0x5},
         "QEMU_KVM_ABI_MISMATCH"),
        ("good-6.17", {"qemu_tdx": True, "qemu_version": "8.2.2 (Debian 1:8.2.2+ds-0ubuntu1.4+tdx1.1)",
                       "kvm_vm_types": 0x21}, "QEMU_KVM_ABI_MISMATCH"),
        ("good-6.8-intel", {"qemu_tdx": True, "qemu_version": "8.2.2+tdx1.1", "kvm_vm_types": 0x5}, None),
    ],
)  # fmt: skip
def test_facts_decide(base: str, values: dict[str, Value], reason: str | None) -> None:
    report = diagnose(add(host(base), **values))
    assert report.reason == reason, report.summary


def test_silence_with_good_msrs_suspects_what_msrs_cannot_show() -> None:
    summary = diagnose(add(host("silent"), **GOOD_MSRS)).summary
    assert "SEAM loader" in summary
    assert "0x1401" not in diagnose(host("silent")).summary


def test_kvm_device_that_this_login_may_not_open() -> None:
    facts = host("good-6.17")
    denied = Fact("/dev/kvm", missing=Missing.DENIED, why="Permission denied")
    report = diagnose(replace(facts, items={**facts.items, "kvm.device": denied}))
    assert (report.verdict, report.reason) == ("NOT_READY", "DEV_KVM_PERMISSION")
    assert report.host.verdict == "READY"
    assert "initialised, but" in report.summary


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "QGS_DOWN"),
        ({"service_qgsd": "running"}, "QGS_NO_VSOCK"),
        ({"service_qgsd": "running", "qgs_port": 4050}, "PCCS_DOWN"),
        ({"service_qgsd": "running", "qgs_port": 4050, "service_pccs": "running"}, "NOT_REGISTERED"),
        ({"service_qgsd": "running", "qgs_port": 4050, "service_pccs": "running", "registration": True,
          "msr_0xce": "0x8000000"}, "PRE_PRODUCTION"),
        ({"service_qgsd": "running", "qgs_port": 4050, "service_pccs": "running", "registration": True,
          "msr_0xce": "0x0", "msr_0xa0": "0x1861"}, "MCHECK_ERROR"),
        ({"service_qgsd": "running", "qgs_port": 4050, "service_pccs": "running", "registration": True,
          "msr_0xce": "0x0", "msr_0xa0": "0x0"}, None),
        ({"sgx_enclave": False}, "SGX_OFF"),
        ({"msr_0x3a": "0x20005"}, "SGX_OFF"),
    ],
)  # fmt: skip
def test_attestation_is_a_verdict_of_its_own(values: dict[str, Value], reason: str | None) -> None:
    quoting: dict[str, Value] = {
        "service_qgsd": "stopped", "qgs_port": 0, "qcnl_pccs": "https://localhost:8081",
        "service_pccs": "stopped", "registration": False,
    }  # fmt: skip
    report = diagnose(add(host("good-6.17"), **{**quoting, **values}))
    assert report.attestation.reason == reason
    assert report.attestation.verdict == ("NOT_READY" if reason else "READY")
    assert report.verdict == "READY"


@pytest.mark.parametrize(
    ("base", "values", "words"),
    [
        ("bios", {}, "only the start"),
        ("no-module", {"msr_0x1401": "0xc00"}, "proves no module"),
        ("good-6.17", {"kvm_vm_types": 0x5}, "old out-of-tree"),
        ("good-6.17", {"kvm_vm_types": 0x21, "qemu_tdx": False}, "QEMU does not know it"),
        ("asked-off-7.1", {}, "without KVM"),
        ("good-6.17", {"msr_0x982": ("0x1", "0x3")}, "differs between CPUs"),
        ("good-6.17", {"kernel_release": "6.18.0"}, "another kernel"),
        ("good-6.17", {"power_state": "freeze mem disk"}, "`disk`"),
        ("good-6.17", {"cpu_flags": ("hypervisor",)}, "another machine"),
        ("no-module", {}, "tdx_host_platform"),
        ("no-module", {"kvm_param.tdx": True}, "parameter is Y, but the log has a failure"),
    ],
)
def test_contradictions_are_shown(base: str, values: dict[str, Value], words: str) -> None:
    report = diagnose(add(host(base), **values))
    (entry,) = [entry for entry in report.contradictions if words in entry.text]
    assert entry.evidence
    assert entry.text in str(report)
    assert words.replace("`", "") in report._repr_html_().replace("`", "").replace("&#x27;", "'")


def test_a_pccs_whose_certificate_is_not_checked_is_remarked() -> None:
    said = "use_secure_cert=false: the PCCS's certificate is not checked."
    remarks = {
        secure: diagnose(add(host("good-6.17"), qcnl_secure=secure)).remarks for secure in (False, True)
    }
    assert (said in remarks[False], said in remarks[True]) == (True, False)


def test_a_consistent_host_has_no_contradiction() -> None:
    facts = add(host("good-6.17"), kvm_vm_types=0x21, qemu_tdx=True, qemu_version="10.1.0", **GOOD_MSRS)
    assert diagnose(facts).contradictions == ()


@pytest.mark.parametrize(
    ("leaf", "status", "words"),
    [
        ("0x0000000000000022", "0xc000050500000000", "TDH.SYS.RD failed with TDX_SYS_NOT_READY"),
        ("33", "0xc000090000000000", "TDH.SYS.INIT failed with TDX_INCORRECT_CPUID_VALUE"),
        ("0x21", "0xc000092100000122", "MSR 0x122 (IA32_TSX_CTRL"),
        ("0x2d", "0xc000010000000007", "operand 7"),
        ("0x2d", "0xc000010000000007", "kernel and module do not fit each other"),
        ("0x23", "0xc0000a0200000000", "TDX_TDMR_OUTSIDE_CMRS"),
        ("0x99", "0xdead000000000000", "leaf 0x99 failed with status 0xdead000000000000"),
        ("0x21", "0xc000050100000000", "no cause is on record"),
    ],
)
def test_seamcalls_are_decoded(leaf: str, status: str, words: str) -> None:
    assert words in str(decode(leaf, status))


@pytest.mark.parametrize(
    ("status", "tsx"),
    [("0xc000092100000122", True), ("0xc000092100000123", False), ("0xc000010000000122", False)],
)
def test_tsx_is_only_to_be_switched_where_its_msr_is_refused(status: str, tsx: bool) -> None:
    assert ("tsx=" in decode("0x21", status).action) is tsx


def test_the_seamcall_table_agrees_with_the_modules_own() -> None:
    def column(name: str, value: str) -> dict[str, int]:
        with (Path(__file__).parents[1] / "facts/tdx-module" / name).open(newline="") as file:
            return {row["name"]: int(row[value], 0) for row in csv.DictReader(file)}

    leaves, statuses = column("leaves.csv", "number"), column("status.csv", "value")
    assert {name: number for number, name in leaf_names().items()}.items() <= leaves.items()
    for upper, name in status_names().items():
        assert name not in statuses or statuses[name] >> 32 == upper, name
    assert len(set(status_names().values()) & set(statuses)) > 150


def test_msrs_of_all_cpus_are_compared() -> None:
    same = msr_fact(0x982, {0: 3, 1: 3})
    assert (same.value, same.raw) == (("0x3",), "0x3 on 2 CPUs")
    assert msr_fact(0x982, {0: 3, 1: 1}).value == ("0x1", "0x3")
    gone = msr_fact(0x1401, {0: None, 1: None})
    assert (gone.value, gone.missing, gone.raw) == (None, "absent", "EIO")


def test_a_cpu_without_seam_registers_is_no_platform() -> None:
    facts = add(host("log-from-later"), msr_0x3a="0x5")
    items = {**facts.items, "msr.0x1401": msr_fact(0x1401, {0: None})}
    assert diagnose(replace(facts, items=items)).reason == "PLATFORM_NOT_TDX"


def test_the_table_of_checks_is_sound() -> None:
    ids = [check.id for check in CHECKS]
    assert len(set(ids)) == len(ids)
    for index, check in enumerate(CHECKS):
        assert set(check.needs) <= set(ids[:index]), f"{check.id} needs a later check"
        assert check.expected
        assert check.settle
        assert check.source
    unproved = ["NO_INIT_LINES", "EMPTY_LOG", "LOG_UNREADABLE"]
    assert [check.reason for check in CHECKS if not check.track] + unproved == list(REASONS), (
        "REASONS has the reasons of CHECKS, in their order: it is their precedence"
    )


def test_the_remedies_cover_the_fifteen_problems() -> None:
    assert sorted(REMEDIES) == list(range(1, 16))
    for remedy in REMEDIES.values():
        assert remedy.steps
        assert remedy.signs
        assert all(link.startswith("https://github.com/") for link in remedy.links)
        assert remedy.links
    named = {number for row in REASONS.values() for number in row.problems}
    assert named == set(REMEDIES)


def test_an_empty_value_is_saved_as_one(tmp_path: Path) -> None:
    facts = Facts({"power.state": Fact("/sys/power/state", "")})
    save(facts, tmp_path / "facts.json")
    assert load(tmp_path / "facts.json").get("power.state").value == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "labkit-host-facts/2"}, "format"),
        ({"facts": {"cpu.vendor": {"source": "x"}}}, "either a value or a reason"),
        ({"facts": {"cpu.vendor": {"source": "x", "value": "a", "missing": "absent"}}}, "either a value or"),
    ],
)
def test_facts_of_another_format_or_that_contradict_themselves_are_refused(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    document = host("good-6.17").to_dict()
    missing = next(item for item in Missing)
    text = json.dumps({**document, **change}).replace('"absent"', json.dumps(missing.value))
    (tmp_path / "facts.json").write_text(text)
    with pytest.raises(DataError, match=said):
        load(tmp_path / "facts.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "not a JSON object"),
        ("{}", "format"),
        ('{"format":' + "[" * 100_000, "nested too deeply"),
        ("\xff", "UTF-8"),
        ("{", "line 1, column 2"),
    ],
)
def test_what_is_no_facts_file_is_refused_in_our_words(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=said) as refused:
        load(tmp_path / "facts.json")
    assert not any(
        word in str(refused.value) for word in ("object is not", "decode", "NoneType", "recursion")
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"log": {', '"log": {}, "log": {', "stands in it twice"),
        ('"boots": 1', '"boots": 1' + "0" * 40, "count"),
        ('"boots": 1', '"boots": Infinity', "Infinity"),
        ('"lines": [', '"lines": [[1, "x", 1, 2], ', "seconds, text and count"),
        ('"lines": [', '"lines": [' + '[1, "x", 1],' * 5001, "more than 5000"),
        ('"state": "read"', '"state": "said"', "state"),
        ('"facts": {', '"facts": {"a": "x", ', "not a JSON object"),
        ('"facts": {', '"facts": {"msr.0x982": {"source": "s", "value": ["１"]}, ', "MSR"),
        ('"facts": {', '"facts": {"kvm.vm_types": {"source": "s", "value": 1' + "0" * 30 + "}, ", "64 bits"),
    ],
)
def test_hostile_facts_are_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = json.dumps(host("good-6.17").to_dict())
    assert old in text
    (tmp_path / "facts.json").write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=said):
        load(tmp_path / "facts.json")


def test_no_fact_forges_a_line_of_the_report(tmp_path: Path) -> None:
    facts = add(host("good-6.17"), cpu_vendor="Evil\nREADY \x1b[2J", dmi_vendor="a\r\nREADY")
    save(facts, tmp_path / "facts.json")
    report = diagnose(load(tmp_path / "facts.json"))
    assert report.reason == "PLATFORM_NOT_TDX"
    for text in (str(report), report.text(verbose=True), report.text(short=True)):
        assert not any(line.lstrip(" ✔").startswith("READY") for line in text.splitlines())
        assert "\x1b" not in text
