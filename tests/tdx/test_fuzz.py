"""The fuzzer over the recording: a thousand sequences; ``python -m tests.tdx.fuzz`` plays more."""

from __future__ import annotations

import pytest

from labkit.tdx import PageType
from tests.tdx import fuzz
from tests.tdx.invariants import check
from tests.tdx.worlds import launched


@pytest.mark.parametrize("start", range(0, 1000, 100))
def test_no_invariant_breaks(start: int) -> None:
    for seed in range(start, start + 100):
        fuzz.play(seed)


def test_the_alphabet_is_that_of_the_recording() -> None:
    calls = fuzz.alphabet()
    assert len(calls["seamcall"]) > 60
    assert len(calls["tdcall"]) > 15
    assert calls["access"][0]["gpa"]


def test_sequences_get_somewhere() -> None:
    """A fuzzer whose calls are all refused at the door finds nothing."""
    answers = [answer for seed in range(200) for answer in _played(seed).answers]
    done = {answer[0] for answer in answers if len(answer) == 3 and answer[1] == 0}
    assert len(done) > 30
    assert any(answer[0] in ("load", "store") for answer in answers)
    assert any("exit" in answer for answer in answers)


def _played(seed: int) -> fuzz.Fuzzer:
    fuzzer = fuzz.Fuzzer(seed)
    fuzzer.run()
    return fuzzer


def test_the_invariants_can_break() -> None:
    host, td = launched()
    check(host.platform)
    host.platform.pamt.claim(td.tdr + 0x100000 >> 12, PageType.REG, td.tdr >> 12)
    with pytest.raises(AssertionError, match="nothing uses"):
        check(host.platform)
    host, td = launched()
    host.platform.locks.acquire(("PAGE", td.tdr >> 12), exclusive=False)
    with pytest.raises(AssertionError, match="a lock outlived"):
        check(host.platform)


def test_a_failure_names_its_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(seed: int) -> None:
        assert seed < 7, "broken"

    monkeypatch.setattr(fuzz, "play", broken)
    with pytest.raises(AssertionError, match="broken"):
        fuzz.main(["9", "--seed", "5"])
    assert "seed 7" in capsys.readouterr().err
    assert fuzz.main(["2"]) == 0
