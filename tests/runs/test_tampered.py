"""What `labkit check` says of each alteration, word by word; no virtual machine made these runs."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.attest import LabAuthority, make_tdreport
from labkit.attest.verify import Anchor
from labkit.errors import UsageError
from labkit.measure import rtmrs
from labkit.runs import check_run
from labkit.runs.statement import FOLDER, encode
from labkit.settings import Trust
from tests.measure.logs import tcg_log
from tests.runs.attested import NOW, attested, made
from tests.runs.test_received import CHAPTER, RECORD

QUOTE, REPORT = f"{FOLDER}/quote.EMULATED.bin", f"{FOLDER}/tdreport.EMULATED.bin"
STATEMENT, LOG = f"{FOLDER}/statement.json", f"{FOLDER}/eventlog.EMULATED.bin"
COLLATERAL, ROOT = f"{FOLDER}/collateral.json", f"{FOLDER}/root.der"
NOTEBOOK = "executed/00-first.ipynb"
LINE = "console=ttyS0"  # of the log, to which the firmware added a word
ENDED = 1_767_323_105  # when the record says that its run ended
NOT_VERIFIED = (QUOTE, "was not verified, since other evidence is not as it was")


@pytest.fixture(scope="module")
def authority() -> LabAuthority:
    return LabAuthority.create(NOW)


@pytest.fixture(scope="module")
def pristine(authority: LabAuthority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attested(tmp_path_factory.mktemp("runs") / "run", authority)


@pytest.fixture
def sent(pristine: Path, tmp_path: Path) -> Path:
    shutil.copytree(pristine, tmp_path / "run")
    return tmp_path / "run"


def found(directory: Path) -> list[tuple[str, str]]:
    return [(item.where, item.what) for item in check_run(directory).alterations]


def flip(name: str, at: int = -1) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        data = bytearray((run / name).read_bytes())
        data[at] ^= 1
        (run / name).write_bytes(data)

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def add(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).write_text("")

    return change


def edit(change: Callable[[str], str]) -> Callable[[Path], None]:
    def edited(run: Path) -> None:
        (run / NOTEBOOK).write_text(change((run / NOTEBOOK).read_text()))

    return edited


def timed(text: str) -> str:
    document = json.loads(text)
    document["cells"][0]["metadata"]["execution"] = {"iopub.status.busy": "2026-01-02T03:04:05.000000Z"}
    return json.dumps(document)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: None, []),
        (remove(NOTEBOOK), [(NOTEBOOK, "is missing")]),
        (add("executed/more"), [("executed/more", "was added")]),
        (edit(lambda text: text.replace('"1"', '"2"')), [(NOTEBOOK, "was changed in cells or outputs")]),
        (
            edit(lambda text: text + "\n"),
            [(NOTEBOOK, "was changed, but its cells and outputs read the same")],
        ),
        (edit(timed), [(NOTEBOOK, "was changed, but its cells and outputs read the same")]),
        (edit(lambda text: "{}"), [(NOTEBOOK, "was changed and is not a notebook any more")]),
        (flip("run.json"), [("run.json", "was changed")]),
        (
            lambda run: shutil.copy(run / "run.json", run / NOTEBOOK),
            [(NOTEBOOK, "is now a copy of run.json")],
        ),
        (add(f"{FOLDER}/more"), [(f"{FOLDER}/more", "was added")]),
        (flip(LOG), [(LOG, "was changed"), NOT_VERIFIED]),
        (flip(COLLATERAL), [(COLLATERAL, "was changed"), NOT_VERIFIED]),
        (flip(ROOT), [(ROOT, "was changed"), NOT_VERIFIED]),
        (flip(REPORT, 0x80), [(REPORT, "is not the report behind the quote")]),
        (flip(REPORT), [(REPORT, "The reserved bytes at offset 960 are not zero.")]),
        (flip(STATEMENT, 0), [(STATEMENT, "is not a statement as labkit writes it: it was changed")]),
        (
            lambda run: (run / QUOTE).write_bytes((run / QUOTE).read_bytes() + bytes(8)),
            [(QUOTE, "has bytes behind its end")],
        ),
    ],
)
def test_each_alteration_has_its_words(
    change: Callable[[Path], None], said: list[tuple[str, str]], sent: Path
) -> None:
    change(sent)
    outcome = check_run(sent)
    assert found(sent) == said
    assert outcome.intact is (not said)
    count = {0: "INTACT: every file is as it was attested.", 1: "ALTERED: 1 finding."}
    assert str(outcome).startswith(f"[EMULATED] {count.get(len(said), f'ALTERED: {len(said)} findings.')}")
    for where, what in said:
        assert any(where in line and what in line for line in str(outcome).splitlines()), where
        assert where in outcome._repr_html_()


@pytest.mark.parametrize("name", [QUOTE, REPORT, STATEMENT, LOG, COLLATERAL, ROOT])
def test_evidence_that_is_missing_is_named_and_nothing_is_verified(name: str, sent: Path) -> None:
    remove(name)(sent)
    said = dict(found(sent))
    assert name in said
    assert check_run(sent).anchor is None
    assert ("SHA-256 none" in str(check_run(sent))) is (name in (ROOT, STATEMENT))
    if name != STATEMENT:
        assert said[QUOTE] == NOT_VERIFIED[1] or name == QUOTE


def test_every_byte_of_the_evidence_counts(sent: Path) -> None:
    source = random.Random(7)
    for path in sorted((sent / FOLDER).iterdir()):
        data = path.read_bytes()
        for at in {0, len(data) - 1, *(source.randrange(len(data)) for _ in range(6))}:
            path.write_bytes(data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :])
            assert not check_run(sent).intact, (path.name, at)
        path.write_bytes(data)
    assert check_run(sent).intact


def test_another_runs_quote_is_named(sent: Path, authority: LabAuthority, tmp_path: Path) -> None:
    other = attested(tmp_path / "other", authority, {"attested": NOW + 1})
    for name in (QUOTE, REPORT):
        shutil.copy(other / name, sent / name)
    assert found(sent) == [
        (QUOTE, "is a quote of another run, or this run's statement was changed"),
        (STATEMENT, "is not the statement that was quoted"),
    ]


@pytest.mark.parametrize(
    ("changes", "register"),
    [({"mrtd": b"\x12" * 48}, "MRTD"), ({"rtmr": (bytes(48),) * 4}, "RTMR0"), ({"td_attributes": 1}, "")],
)
def test_a_quote_of_another_boot_is_named_by_its_register(
    changes: dict[str, object], register: str, sent: Path, authority: LabAuthority
) -> None:
    statement = (sent / STATEMENT).read_bytes()
    report = made(statement)
    words = {
        "mrtd": report.mrtd,
        "rtmr": report.rtmr,
        "report_data": report.report_data,
        "td_attributes": 1 << 28,
    }
    other = make_tdreport(**(words | changes))  # type: ignore[arg-type]
    (sent / QUOTE).write_bytes(authority.quote(other))
    (sent / REPORT).write_bytes(other.encode())
    said = found(sent)
    assert {where for where, _ in said} == {QUOTE}
    assert any(what.startswith(register) for _, what in said), said
    assert not any("report behind" in what for _, what in said)


def test_who_names_the_root_finds_another_party(sent: Path, authority: LabAuthority) -> None:
    stranger = LabAuthority.create(NOW)
    own, named = check_run(sent), check_run(sent, authority.root_der)
    fingerprint = hashlib.sha256(authority.root_der).hexdigest()
    assert (own.root_sha256, own.named, named.named, named.intact) == (fingerprint, False, True, True)
    assert ("came with the directory" in str(own), "came with the directory" in str(named)) == (True, False)
    assert f"Root that vouches: SHA-256 {fingerprint}" in str(own)
    assert own.to_dict()["root"] == "from the directory"
    assert named.to_dict()["root"] == "named"
    other = check_run(sent, stranger.root_der)
    assert other.root_sha256 == hashlib.sha256(stranger.root_der).hexdigest()
    said = {item.where: item.what for item in other.alterations}
    assert said[ROOT] == "is not the root that you named: another party attested this run"
    assert QUOTE in said
    assert other.trust is Trust.NONE


def test_a_check_has_a_time_and_takes_that_of_the_attestation(sent: Path, authority: LabAuthority) -> None:
    assert check_run(sent).attested == NOW
    assert check_run(sent, now=NOW).intact
    late = check_run(sent, authority.root_der, NOW + 100 * 365 * 86400)
    assert [item.where for item in late.alterations] == [QUOTE]


def test_what_a_statement_says_of_the_boot_may_be_open_and_not_wrong(
    authority: LabAuthority, tmp_path: Path
) -> None:
    """A register that is None in the statement is any; all others are compared."""
    registers = [value.hex() for value in rtmrs(tcg_log())]
    open_ = attested(tmp_path / "open", authority, boot_change={"rtmr": [None, *registers[1:]]})
    assert check_run(open_).intact
    for number in range(4):
        rtmr = [*registers[:number], "11" * 48, *registers[number + 1 :]]
        wrong = attested(tmp_path / f"{number}", authority, boot_change={"rtmr": rtmr})
        assert [what.partition(":")[0] for _, what in found(wrong)] == [f"RTMR{number}"]
    wrong = attested(tmp_path / "mrtd", authority, boot_change={"mrtd": "12" * 48})
    assert [what.partition(":")[0] for _, what in found(wrong)] == ["MRTD"]


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": {"run.json": 1}},
        {"files": {"run.json": ["x"]}},
        {"chapters": {}},
        {"chapters": [{}]},
        {"chapters": ["x"]},
        {"attested": "soon"},
        {"attested": None},
        {"boot": {}},
        {"boot": []},
    ],
)
def test_a_statement_of_another_shape_is_none(
    change: dict[str, object], authority: LabAuthority, tmp_path: Path
) -> None:
    sent = attested(tmp_path / "run", authority, change)
    assert found(sent) == [(STATEMENT, "is not a statement as labkit writes it: it was changed")]
    assert check_run(sent).attested is None


@pytest.mark.parametrize(
    "change",
    [{"rtmr": ["11" * 48] * 3}, {"rtmr": ["zz"] * 4}, {"mrtd": "1"}, {"mrtd": None}, {"evidence": {"x": 1}}],
)
def test_a_boot_of_another_shape_is_none(
    change: dict[str, object], authority: LabAuthority, tmp_path: Path
) -> None:
    sent = attested(tmp_path / "run", authority, boot_change=change)
    assert found(sent) == [(STATEMENT, "is not a statement as labkit writes it: it was changed")]


OTHER_CHAPTER = [{"name": "00-first", "status": "passed", "notebook": None, "canonical_sha256": None}]


@pytest.mark.parametrize(
    ("change", "boot_change", "where", "words"),
    [
        ({}, {"trust": "none", "stamp": "EMULATED"}, "", ""),
        ({}, {"trust": "hardware", "stamp": ""}, STATEMENT, "says more of its boot than the quote"),
        ({}, {"trust": "none", "stamp": ""}, STATEMENT, "says more of its boot than the quote"),
        ({}, {"command_line": LINE}, "", ""),
        ({}, {"command_line": f"{LINE} init=/evil"}, STATEMENT, "another command line than the one"),
        ({"status": "failed"}, {}, "run.json", "another status than the statement"),
        ({"chapters": []}, {}, "run.json", "other chapters than the statement"),
        ({"chapters": OTHER_CHAPTER}, {}, "run.json", "other chapters than the statement"),
        ({"attested": ENDED - 1}, {}, "run.json", "ended after it was attested"),
    ],
)
def test_parts_that_contradict_one_another_are_named(
    change: dict[str, object],
    boot_change: dict[str, object],
    where: str,
    words: str,
    tmp_path: Path,
) -> None:
    made_then = LabAuthority.create(ENDED - 1000)
    sent = attested(tmp_path / "run", made_then, {"attested": ENDED} | change, boot_change, now=ENDED - 9)
    said = found(sent)
    assert [place for place, _ in said] == ([where] if where else [])
    assert all(words in what for _, what in said)


@pytest.mark.parametrize("text", ["{}", "[]", '{"status": "passed", "chapters": 5}', "no record"])
def test_a_record_that_was_attested_as_something_else_is_named(
    text: str, authority: LabAuthority, tmp_path: Path
) -> None:
    sent = attested(tmp_path / "run", authority, record=text)
    assert [where for where, _ in found(sent)][:1] == ["run.json"]


def test_a_record_that_claims_hardware_is_named(authority: LabAuthority, tmp_path: Path) -> None:
    claim = {"trust": "hardware", "stamp": None}
    for record in (RECORD | claim, RECORD | {"chapters": [CHAPTER | claim]}):
        sent = attested(tmp_path / str(len(list(tmp_path.iterdir()))), authority, record=json.dumps(record))
        assert found(sent) == [("run.json", "claims TDX hardware, which the quote does not show")]


def test_a_statement_in_another_spelling_is_none(sent: Path) -> None:
    document = json.loads((sent / STATEMENT).read_bytes())
    assert encode(document) == (sent / STATEMENT).read_bytes()
    (sent / STATEMENT).write_text(json.dumps(document, indent=1))
    assert found(sent) == [(STATEMENT, "is not a statement as labkit writes it: it was changed")]


def test_a_directory_without_evidence_is_refused_and_a_link_to_some_too(sent: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no attested run"):
        check_run(tmp_path)
    (sent / FOLDER).rename(tmp_path / "elsewhere")
    (sent / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="no attested run"):
        check_run(sent)


def test_the_outcome_is_told_as_json(sent: Path) -> None:
    document = check_run(sent).to_dict()
    assert (document["verdict"], document["alterations"], document["run_dir"]) == ("INTACT", [], str(sent))
    assert repr(check_run(sent)) == "RunCheck(INTACT, 0 alterations)"
    remove(NOTEBOOK)(sent)
    outcome = check_run(sent)
    assert outcome.to_dict()["alterations"] == [{"where": NOTEBOOK, "what": "is missing"}]
    assert outcome.to_dict()["verdict"] == "ALTERED"
    assert repr(outcome) == "RunCheck(ALTERED, 1 alterations)"
    assert "trust none" in str(outcome)
    assert "The root is not Intel's" in str(outcome)
    assert "The root is not Intel's" not in str(replace(outcome, anchor=Anchor.INTEL))
    assert "trust none" not in str(replace(outcome, trust=Trust.HARDWARE))
