"""Properties that hold for every host: what is not known never helps and never harms."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.host import CHECKS, Facts, HostReport, collect, diagnose, redact
from labkit.host.host_rules import proofs
from labkit.host.log import read_log_text
from labkit.host.model import Fact, KernelLog, LogState, Missing, Value
from labkit.host.view import FactsView
from tests.host.hosts import HOSTS, build

LOGS = [path.read_text() for path in sorted((Path(__file__).parent / "logs").glob("*.log"))]
LIVE: dict[str, tuple[str, Value]] = {
    "qemu.tdx": ("tdx-guest", True),
    "qemu.version": ("QEMU emulator version 10.1.0", "10.1.0"),
    "msr.0x982": ("0x3", ("0x3",)),
    "msr.0x87": ("0x2000000020", ("0x2000000020",)),
    "msr.0x1401": ("0xc00", ("0xc00",)),
}


@cache
def facts_of(index: int) -> Facts:
    """The facts of one synthetic host, with the answers of a live machine added to every second one."""
    with TemporaryDirectory() as folder:
        facts = collect(build(HOSTS[index % len(HOSTS)], Path(folder)))
    if index < len(HOSTS):
        return facts
    items = dict(facts.items)
    types = 0x21 if facts.get("kvm.param.tdx").value else 0x1
    items |= {name: Fact(name, value, raw) for name, (raw, value) in LIVE.items()}
    items["kvm.vm_types"] = Fact("ioctl", types, f"{types:#x}")
    return replace(facts, items=items)


HOST_FACTS = st.integers(0, 2 * len(HOSTS) - 1).map(facts_of)
UNREADABLE_LOG = KernelLog(LogState.UNREADABLE, "log", why="permission denied")


def without(facts: Facts, names: set[str], how: Missing | None) -> Facts:
    """The facts with some of them gone: left out (None), or marked as missing."""
    items = {
        name: Fact(fact.source, missing=how, why="taken away") if name in names else fact
        for name, fact in facts.items.items()
        if how or name not in names
    }
    log = UNREADABLE_LOG if "log" in names else facts.log
    return replace(facts, items=items, log=log)


@st.composite
def with_gaps(draw: st.DrawFn) -> tuple[Facts, Facts, set[str]]:
    facts = draw(HOST_FACTS)
    names = draw(st.sets(st.sampled_from([*sorted(facts.items), "log"]), min_size=1, max_size=12))
    how = draw(st.sampled_from([None, Missing.DENIED, Missing.UNKNOWN]))
    return facts, without(facts, names, how), names


FAST = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FAST
@given(with_gaps())
def test_removing_a_fact_never_turns_not_ready_into_ready(case: tuple[Facts, Facts, set[str]]) -> None:
    """READY comes from a positive proof only, and a proof never appears by taking something away.

    Where a proof and a fault stand side by side (a success line, and a parameter that is N), the fault may be
    the very thing that was removed; then what is left is the proof that a log alone is READY by.
    """
    before, after, _ = case
    if diagnose(before).verdict == "NOT_READY" and diagnose(after).verdict == "READY":
        assert proofs(FactsView(before))
        assert proofs(FactsView(after))
    assert set(proofs(FactsView(after))) <= set(proofs(FactsView(before)))


@FAST
@given(with_gaps())
def test_without_a_proof_nothing_is_ever_ready(case: tuple[Facts, Facts, set[str]]) -> None:
    _, after, _ = case
    if not proofs(FactsView(after)):
        assert diagnose(after).verdict != "READY"


@FAST
@given(with_gaps())
def test_unreadable_never_becomes_fail_on_a_ready_host(case: tuple[Facts, Facts, set[str]]) -> None:
    before, after, _ = case
    if diagnose(before).verdict == "READY" and Missing.DENIED not in {f.missing for f in _only_kvm(after)}:
        assert all(r.status != "FAIL" for r in diagnose(after).checks if r.track != "attestation")


def _only_kvm(facts: Facts) -> list[Fact]:
    # /dev/kvm that this login may not open is itself the fault DEV_KVM_PERMISSION.
    return [facts.get("kvm.device")]


@given(HOST_FACTS, st.sampled_from([Missing.DENIED, Missing.UNKNOWN, None]))
@FAST
def test_a_host_of_which_nothing_can_be_read_has_no_failure(facts: Facts, how: Missing | None) -> None:
    names = {*facts.items, "log"} - {"kvm.device"}
    report = diagnose(without(facts, names | ({"kvm.device"} if how is not Missing.DENIED else set()), how))
    failed = {r.check.id for r in report.checks if r.status == "FAIL"}
    assert failed <= {"dev-kvm"}
    assert report.host.verdict == "INDETERMINATE"
    assert report.host.reason == "LOG_UNREADABLE"


NOISE = st.sampled_from(
    [
        "[    0.100000] usb 1-1: new high-speed USB device number 2 using xhci_hcd",
        "[    2.500000] systemd[1]: Hostname set to <tdx-1>.",
        "[    3.000000] EXT4-fs (sda1): mounted filesystem tdx with ordered data mode",
        "[    0.300000] smp: Brought up 2 nodes, 224 CPUs",
        "[    9.000000] audit: type=1400 msg=virt/tdx: module initialized",
        "[    9.100000] kvm: Nested Virtualization enabled",
        "[    9.200000] SGX: EPC section 0x800000-0x3ffffff",
        "[    9.300000] x86/fpu: Supporting XSAVE feature 0x001",
        "",
    ]
)


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[str, str]:
    """A log, and the same log with lines of other subsystems at other places."""
    own = draw(
        st.sampled_from([log for log in LOGS if "\n[  " in log and "wrapping: cut" not in log])
    ).splitlines()
    noise = draw(st.lists(NOISE, max_size=12))
    texts = []
    for _ in range(2):
        lines = list(own)
        for line in draw(st.permutations(noise)):
            lines.insert(draw(st.integers(1, len(lines))), line)
        texts.append("\n".join(lines) + "\n")
    return texts[0], texts[1]


def _of_log(text: str) -> HostReport:
    return diagnose(Facts(log=read_log_text(text, "log")))


@FAST
@given(shuffled())
def test_the_place_of_other_subsystems_lines_never_matters(texts: tuple[str, str]) -> None:
    one, other = map(_of_log, texts)
    assert (one.verdict, one.reason, one.summary) == (other.verdict, other.reason, other.summary)


@FAST
@given(st.binary(max_size=4000), st.sampled_from(LOGS))
def test_any_bytes_are_a_log(noise: bytes, log: str) -> None:
    text = noise.decode("utf-8", "surrogateescape")
    report = _of_log(text)
    assert report.verdict != "READY"
    assert str(_of_log(text + "\n" + log))


@FAST
@given(with_gaps())
def test_every_report_is_whole(case: tuple[Facts, Facts, set[str]]) -> None:
    report = diagnose(case[1])
    assert [r.check.id for r in report.checks] == [check.id for check in CHECKS]
    assert (report.reason is None) == (report.verdict == "READY")
    status = {r.check.id: r.status for r in report.checks}
    for result in report.checks:
        lost = any(status[need] in ("FAIL", "SKIP") for need in result.check.needs)
        assert (result.status == "SKIP") == lost
        assert (result.fix is not None) == (result.status in ("FAIL", "UNKNOWN"))


@FAST
@given(with_gaps())
def test_redaction_keeps_the_diagnosis(case: tuple[Facts, Facts, set[str]]) -> None:
    plain, hidden = diagnose(case[1]), diagnose(redact(case[1], ("node7", "alice", "example")))
    assert (plain.verdict, plain.reason) == (hidden.verdict, hidden.reason)
    assert [r.status for r in plain.checks] == [r.status for r in hidden.checks]


NAMES = sorted({*facts_of(0).items, *LIVE, "qemu.path", "kvm.vm_types", "docker.engine", "login.groups"})
VALUES = st.one_of(
    st.booleans(), st.integers(), st.text(max_size=30), st.lists(st.text(max_size=9), max_size=3).map(tuple)
)


@FAST
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=20), st.sampled_from(LOGS))
def test_facts_of_any_kind_never_break_the_diagnosis(values: dict[str, Value], log: str) -> None:
    items = {
        name: Fact(name, value, str(value)) for name, value in values.items() if not name.startswith("msr.")
    }
    report = diagnose(Facts(items, read_log_text(log, "log")))
    for text in (str(report), report.text(verbose=True), report.text(short=True)):
        assert not {"\x1b", "\x00", "\u202e"} & set(text), text
    assert report._repr_html_()
    assert report.to_dict()
