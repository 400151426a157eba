"""The hostile VMM gets the answers that the specification promises."""

from __future__ import annotations

import pytest

from labkit.errors import UsageError
from labkit.tdx import ATTACKS, HostileVmm, Integrity, Load, PlatformConfig, Program, attack
from labkit.tdx.victim import Verdict

ANSWERS = {
    "alias": 0xC000030000000008,
    "steal": 0xC000030000000008,
    "remove_without_block": 0xC0000B0600000001,
    "skip_track": 0xC0000B0800000001,
    "add_after_finalize": 0xC000060800000000,
    "measure_again": 0xC000060800000000,
    "run_before_finalize": 0xC000060800000000,
    "debug_read": 0xC000060500000000,
    "reuse_keyid": 0xC000082000000000,
    "free_keyid_early": 0x8000081700000000,
    "reclaim_early": 0xC000060700000000,
    "enter_elsewhere": 0x8000070100000000,
}
OTHERS = {
    "remap": Verdict.DETECTED,
    "change_firmware": Verdict.VISIBLE,
    "pass_off_debug": Verdict.VISIBLE,
    "read_memory": Verdict.USELESS,
    "use_private_keyid": Verdict.REFUSED,
    "corrupt": Verdict.DETECTED,
    "corrupt_tables": Verdict.DETECTED,
    "swap_on_bus": Verdict.POSSIBLE,
    "replay_on_bus": Verdict.POSSIBLE,
    "drop_on_bus": Verdict.POSSIBLE,
    "lie": Verdict.POSSIBLE,
    "refuse_service": Verdict.POSSIBLE,
    "trace_pages": Verdict.POSSIBLE,
}


def test_all_attacks_are_listed() -> None:
    assert set(ATTACKS) == set(ANSWERS) | set(OTHERS)
    with pytest.raises(UsageError):
        attack("rowhammer")


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("integrity", list(Integrity))
def test_refused(name: str, integrity: Integrity) -> None:
    outcome = attack(name, PlatformConfig(integrity=integrity))
    assert outcome.verdict is Verdict.REFUSED
    assert outcome.status == ANSWERS[name]
    assert outcome.stopped


@pytest.mark.parametrize("name", OTHERS)
def test_other_outcomes(name: str) -> None:
    outcome = attack(name)
    assert outcome.verdict is OTHERS[name]
    assert outcome.why in str(outcome)
    assert outcome.to_dict()["verdict"] == outcome.verdict.value
    assert "EMULATED" in repr(outcome)


def test_only_cryptographic_integrity_notices_the_swap() -> None:
    for integrity, verdict in (
        (Integrity.LOGICAL, Verdict.POSSIBLE),
        (Integrity.CRYPTOGRAPHIC, Verdict.DETECTED),
    ):
        assert attack("swap_on_bus", PlatformConfig(integrity=integrity)).verdict is verdict


@pytest.mark.parametrize("name", ["replay_on_bus", "drop_on_bus"])
@pytest.mark.parametrize("integrity", list(Integrity))
def test_no_integrity_knows_how_old_a_line_is(name: str, integrity: Integrity) -> None:
    outcome = attack(name, PlatformConfig(integrity=integrity))
    assert outcome.verdict is Verdict.POSSIBLE
    assert not outcome.stopped


def test_corruption_ends_in_td_fatal() -> None:
    outcome = attack("corrupt")
    assert outcome.status == 0xE000060400000000
    assert any("0x6000000500000000" in answer for _, answer in outcome.steps)
    assert any("HOST WAS HERE" in answer for _, answer in outcome.steps)


def _touch(pages: list[int]) -> Program:
    for page in pages:
        yield Load(page, 1)


def test_page_trace_shows_the_order_of_pages() -> None:
    pages = [0x101000, 0x102000, 0x100000, 0x102000]
    assert HostileVmm().watch(_touch(pages), range(0x100000, 0x103000, 0x1000)) == pages
