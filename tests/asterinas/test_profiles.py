from __future__ import annotations

import dataclasses
import json

import pytest

from labkit.asterinas import Profile
from labkit.asterinas.versions import DOCUMENTED, PROFILES, RECOMMENDED
from labkit.bootlog.failures import FAILURES
from labkit.errors import MissingComponent, UsageError
from labkit.host import Facts, HostReport, diagnose
from labkit.host.kvm_generation import Generation, generation_of
from labkit.host.model import Fact, KernelLog, LogLine, LogState


def test_the_documented_profile_is_the_documented_command() -> None:
    documented = Profile.named("0.9.0-tdx")
    assert documented.name == DOCUMENTED
    assert documented.tag == "v0.9.0"
    assert documented.image == "asterinas/asterinas:0.9.0-tdx"
    assert documented.make() == ("make", "run", "INTEL_TDX=1")
    assert documented.make(auto_test="boot") == ("make", "run", "INTEL_TDX=1", "AUTO_TEST=boot")
    assert documented.privileges == ("--privileged", "--network=host", "--device=/dev/kvm")
    assert documented.generation is Generation.MVP
    assert [log.name for log in documented.logs] == ["qemu.log"]


def test_the_recommended_profile_has_both_forms() -> None:
    plain, td = Profile.named(RECOMMENDED), Profile.named(f"{RECOMMENDED}-tdx")
    assert plain.make() == ("make", "run_kernel")
    assert td.make(SMP="1") == ("make", "run_kernel", "INTEL_TDX=1", "SMP=1")
    assert [log.stream for log in td.logs] == ["console", "serial"]
    assert td.features.quotes
    assert not plain.features.quotes
    assert td.tdx_object is not None
    assert json.loads(td.tdx_object)["quote-generation-socket"]["cid"] == "1"


def test_every_row_is_complete_and_consistent() -> None:
    for name, row in PROFILES.items():
        assert name == row.name == (f"{row.version}-tdx" if row.tdx else row.version)
        assert row.tdx is (row.generation is not None) is (row.tdx_object is not None)
        assert ("INTEL_TDX", "1") in row.variables if row.tdx else not row.variables
        assert set(row.failures) <= {failure.id for failure in FAILURES} | {"handover-smp"}
        assert row.stages[-1] == "prompt"
        assert json.loads(json.dumps(row.to_dict()))["name"] == name
        assert row.tag in str(row)
        has = [word for word, here in dataclasses.asdict(row.features).items() if here]
        assert ("one CPU, no TDX" in str(row)) is (not has)
        assert ("several CPUs" in str(row)) is ("smp" in has)
        assert row.image in row._repr_html_()
        with pytest.raises(dataclasses.FrozenInstanceError):
            row.tag = "main"  # type: ignore[misc]


def test_what_a_version_can_do_grows_and_only_a_td_has_reports() -> None:
    """Reports with the first version, several CPUs in a TD from 0.15 on, quotes and RTMRs from 0.18 on."""
    for row in PROFILES.values():
        has = dataclasses.asdict(row.features)
        newer = tuple(int(part) for part in row.version.split("."))
        assert has == {
            "report": row.tdx,
            "quotes": row.tdx and newer >= (0, 18),
            "rtmr": row.tdx and newer >= (0, 18),
            "smp": not row.tdx or newer >= (0, 15),
        }, row.name


def test_an_unknown_name_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        Profile.named("0.9.0_tdx")
    assert "Did you mean 0.9.0-tdx?" in caught.value.message
    assert all(name in caught.value.remedy for name in PROFILES)


@pytest.mark.parametrize(
    ("generation", "name"),
    [
        (Generation.MVP, "0.9.0-tdx"),
        (Generation.CANONICAL, "0.16.0-tdx"),
        (Generation.UPSTREAM, "0.18.1-tdx"),
        (None, "0.18.1"),
    ],
)
def test_the_generation_of_the_host_chooses(generation: Generation | None, name: str) -> None:
    assert Profile.choose(generation).name == name
    assert Profile.choose(generation, tdx=False).name == "0.18.1"
    assert Profile.choose(generation, name="0.9.0").name == "0.9.0"


def test_a_td_of_another_generation_is_refused_with_the_one_that_works() -> None:
    with pytest.raises(UsageError) as caught:
        Profile.choose(Generation.UPSTREAM, name="0.9.0-tdx")
    assert "one generation" in caught.value.message
    assert caught.value.remedy == "Use 0.18.1-tdx."
    with pytest.raises(UsageError, match="boots a TD"):
        Profile.choose(Generation.UPSTREAM, tdx=False, name="0.18.1-tdx")


def test_a_td_without_tdx_is_refused_with_the_ordinary_form() -> None:
    with pytest.raises(MissingComponent) as caught:
        Profile.choose(None, name="0.9.0-tdx")
    assert caught.value.remedy == "Use 0.9.0, the ordinary guest."
    with pytest.raises(MissingComponent, match="No profile can start a TD"):
        Profile.choose(None, tdx=True)


@pytest.mark.parametrize(
    ("release", "types", "messages", "generation"),
    [
        ("6.2.0-mvp30v3+1-generic", None, "", Generation.MVP),
        (None, None, "x86: cpu\ntdx: TDX module initialized.\n", Generation.MVP),
        ("6.8.0-1010-intel", None, "virt/tdx: module initialized", Generation.CANONICAL),
        ("6.17.0-8-generic", None, "", Generation.UPSTREAM),
        ("6.14.0-intel", 1 << 5 | 1, "", Generation.UPSTREAM),
        ("6.8.0-45-generic", None, "", None),
        ("6.8.0-45-generic", 1, "tdx: TDX module initialized. not", None),
        (None, None, "", None),
    ],
)
def test_generations(release: str | None, types: int | None, messages: str, generation: object) -> None:
    assert generation_of(release, types, messages) is generation


def _ready(release: str, **more: str) -> HostReport:
    """A host that is READY by its parameter and a success line."""
    facts = {
        "kernel.release": Fact("test", release),
        "kvm.param.tdx": Fact("test", "Y"),
        "kvm.intel_module": Fact("test", True),
        "kvm.device": Fact("test", True),
        **{name: Fact("test", value) for name, value in more.items()},
    }
    line = LogLine("virt/tdx: module initialized", 1.0)
    return diagnose(
        Facts(facts, KernelLog(LogState.READ, "test", (line,), first_seconds=0.0, from_boot=True))
    )


def test_a_report_of_a_host_chooses() -> None:
    report = _ready("6.17.0-8-generic")
    assert report.host.verdict == "READY", report
    assert Profile.choose(report).name == "0.18.1-tdx"
    assert Profile.choose(_ready("6.8.0-1010-intel")).name == "0.16.0-tdx"
    with pytest.raises(UsageError, match="Canonical"):
        Profile.choose(_ready("6.8.0-1010-intel"), name="0.18.1-tdx")


def test_a_host_that_is_not_ready_starts_no_td() -> None:
    report = diagnose(Facts({"cpu.vendor": Fact("test", "AuthenticAMD")}))
    assert Profile.choose(report).name == "0.18.1"
    with pytest.raises(MissingComponent, match=r"this host is NOT_READY|this host is INDETERMINATE"):
        Profile.choose(report, name="0.18.1-tdx")
