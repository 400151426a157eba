"""An attested run without a virtual machine: a made-up boot, quoted by a lab authority of the tests' own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from labkit.attest import LabAuthority, make_tdreport
from labkit.attest.tdreport import TdReport
from labkit.measure import rtmrs
from labkit.runs import publish
from labkit.runs.record import read_record
from labkit.runs.statement import FOLDER, digest, encode, make_statement
from tests.measure.logs import tcg_log
from tests.runs.test_received import RECORD, write

NOW = 1_760_000_000
MRTD = b"\x11" * 48


def attested(
    folder: Path,
    authority: LabAuthority,
    change: dict[str, Any] | None = None,
    boot_change: dict[str, Any] | None = None,
) -> Path:
    """A run directory that is intact; what its statement says otherwise, also of the boot, is signed."""
    (folder / "executed").mkdir(parents=True)
    notebook = new_notebook(cells=[new_code_cell("1", id="one")])
    nbformat.write(notebook, folder / "executed/00-first.ipynb")
    write(folder, RECORD)
    run = publish(read_record(folder))
    log = tcg_log()
    evidence = {
        "collateral.json": authority.collateral(NOW).text.encode(),
        "root.der": authority.root_der,
        "eventlog.EMULATED.bin": log.encode(),
    }
    boot = {
        "mrtd": MRTD.hex(),
        "rtmr": [value.hex() for value in rtmrs(log)],
        "evidence": {name: hashlib.sha256(data).hexdigest() for name, data in evidence.items()},
    }
    statement = encode(make_statement(run, boot | (boot_change or {}), NOW) | (change or {}))
    report = made(statement)
    evidence |= {
        "quote.EMULATED.bin": authority.quote(report),
        "tdreport.EMULATED.bin": report.encode(),
        "statement.json": statement,
    }
    (folder / FOLDER).mkdir()
    for name, data in evidence.items():
        (folder / FOLDER / name).write_bytes(data)
    return folder


def made(statement: bytes) -> TdReport:
    return make_tdreport(
        mrtd=MRTD, rtmr=rtmrs(tcg_log()), report_data=digest(statement), td_attributes=1 << 28
    )
