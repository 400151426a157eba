"""Find what was changed in four attested run directories."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from labkit.attest import LabAuthority, make_tdreport
from labkit.course._forms import LineOfText, Table
from labkit.course.draw import Draw
from labkit.course.exercises._quotes import NOW, MadeUp, events_of
from labkit.course.model import Exercise, Question, Variant, check_answers, solve_by_answers
from labkit.measure import rtmrs
from labkit.runs.statement import digest as statement_digest
from labkit.runs.statement import encode as encode_statement

_RUNS = ("run-1", "run-2", "run-3", "run-4")
_SEPT_VE_DISABLE = 1 << 28
_STATEMENT = "attestation/statement.json"
_QUOTE = "attestation/quote.EMULATED.bin"
_INTACT = "nothing"


def _notebook(draw: Draw) -> bytes:
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "execution_count": number,
            "id": f"cell-{number}",
            "metadata": {},
            "outputs": [{"name": "stdout", "output_type": "stream", "text": f"{draw.word()}\n"}],
            "source": f"print({draw.word()!r})",
        }
        for number in (1, 2, 3)
    ]
    document = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(document, indent=1) + "\n").encode()


def _run(draw: Draw, authority: LabAuthority, collateral: bytes) -> dict[str, bytes]:
    """A small attested run, as labkit lays one out; nothing ran, and the registers are made up."""
    files = {
        # Not .ipynb: nbgrader's autograde leaves out every notebook that is not the assignment's.
        f"executed/{draw.word()}.json": _notebook(draw),
        f"results/{draw.word()}.csv": "".join(
            f"{draw.word()},{draw.below(1000)}\n" for _ in range(5)
        ).encode(),
        "run.json": json.dumps({"format": 1, "status": "passed", "note": draw.word()}, indent=1).encode(),
    }
    machine = MadeUp(draw.bytes(48), events_of(draw.child("events"), f"run={draw.word()}"))
    evidence = {
        "collateral.json": collateral,
        "root.der": authority.root_der,
        "eventlog.EMULATED.bin": machine.log.encode(),
    }
    registers = machine.registers
    statement = encode_statement(
        {
            "format": 1,
            "attested": NOW,
            "status": "passed",
            "versions": {},
            "chapters": [],
            "boot": {
                "platform": "made up for an exercise",
                "trust": "none",
                "stamp": "EMULATED",
                "mrtd": registers["MRTD"],
                "rtmr": [registers[f"RTMR{number}"] for number in range(4)],
                "evidence": {name: hashlib.sha256(data).hexdigest() for name, data in evidence.items()},
            },
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
    )
    report = make_tdreport(
        mrtd=machine.mrtd,
        rtmr=rtmrs(machine.log),
        report_data=statement_digest(statement),
        td_attributes=_SEPT_VE_DISABLE,
    )
    evidence |= {
        "quote.EMULATED.bin": authority.quote(report),
        "tdreport.EMULATED.bin": report.encode(),
        "statement.json": statement,
    }
    return files | {f"attestation/{name}": data for name, data in evidence.items()}


def _edit_output(files: dict[str, bytes], draw: Draw) -> str:
    name = next(name for name in sorted(files) if name.startswith("executed/"))
    document = json.loads(files[name])
    document["cells"][draw.below(3)]["outputs"][0]["text"] = f"{draw.word()}\n"
    files[name] = (json.dumps(document, indent=1) + "\n").encode()
    return name


def _edit_table(files: dict[str, bytes], draw: Draw) -> str:
    name = next(name for name in sorted(files) if name.endswith(".csv"))
    files[name] = files[name].replace(b",", b",1", 1)
    del draw
    return name


def _add_file(files: dict[str, bytes], draw: Draw) -> str:
    name = f"results/{draw.word()}.csv"
    files[name] = b"extra,1\n"
    return name


def _edit_statement(files: dict[str, bytes], draw: Draw) -> str:
    """The careful one: a file is changed, and the statement with it; only the quote tells."""
    name = _edit_output(files, draw)
    statement: dict[str, Any] = json.loads(files[_STATEMENT])
    statement["files"][name] = hashlib.sha256(files[name]).hexdigest()
    files[_STATEMENT] = encode_statement(statement)
    return _STATEMENT


def _edit_log(files: dict[str, bytes], draw: Draw) -> str:
    name = "attestation/eventlog.EMULATED.bin"
    files[name] = files[name].replace(b"initrd", b"initrx", 1)
    del draw
    return name


_WAYS = (_edit_output, _edit_table, _add_file, _edit_statement, _edit_log, None)


def _make(draw: Draw) -> Variant:
    authority = LabAuthority.create(NOW)
    collateral = authority.collateral(NOW).text.encode()
    files: dict[str, bytes] = {}
    signed: set[str] = set()
    changed = {}
    for run, way in zip(_RUNS, draw.sample(_WAYS, len(_RUNS)), strict=True):
        part = draw.child(run)
        made = _run(part, authority, collateral)
        changed[run] = way(made, part.child("change")) if way else _INTACT
        files |= {f"{run}/{name}": data for name, data in made.items()}
        signed |= {f"{run}/{name}" for name in made if name.startswith("attestation/")}
    return Variant(
        parameters={"runs": list(_RUNS)},
        files=files,
        expected={"changed": changed, "careful": _careful(changed)},
        signed=frozenset(signed),
    )


def _careful(changed: dict[str, str]) -> str:
    return next((run for run, name in changed.items() if name == _STATEMENT), _INTACT)


EXERCISE = Exercise(
    name="run-dirs",
    title="Find what was changed in four attested runs",
    chapter="flow",
    questions=(
        Question(
            "changed",
            "In each run, which file was changed or added? (its path in the run, or nothing)",
            4,
            Table(_RUNS, LineOfText()),
            (
                "`labkit check run-1` compares files with the statement, and the statement with the quote.",
                "Where the statement itself is not what was quoted, answer attestation/statement.json.",
                "One of the runs may be as it was attested: then answer nothing.",
            ),
            unique=True,
        ),
        Question(
            "careful",
            "In which run did somebody change the statement as well? (run-1 to run-4, or nothing)",
            1,
            LineOfText((*_RUNS, _INTACT)),
            (
                "In that run every file fits the statement, and still `labkit check` finds a fault.",
                "REPORTDATA in the quote is the digest of the statement.",
            ),
        ),
    ),
    make=_make,
    check=check_answers,
    solve=solve_by_answers,
)
