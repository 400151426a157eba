"""An attested run: the digest of what the notebooks left, bound to a quote, with all that a check needs.

The notebooks run beside the TDVM, not in it. What the quote says is: a TDVM with these registers was handed
this digest at this time, and the holder of this root key says so.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit.attest import LabAuthority
from labkit.measure import PageOrder, Prediction
from labkit.platforms import BootRequest, Tdvm, TdvmPlatform
from labkit.platforms.evidence import Quoting
from labkit.runs._crate import write_crate
from labkit.runs.record import Run
from labkit.runs.site import publish
from labkit.runs.statement import FOLDER, STATEMENT, digest, encode, make_statement


def attest_run(run: Run, platform: TdvmPlatform, authority: LabAuthority, now: int) -> Run:
    """Publish a run, describe it as an RO-Crate, and bind all of it to a quote of a TDVM booted for this.

    now: seconds since 1970, the time that the statement names.

    Raises:
        DataError: the run directory holds what is not a regular file.
        VmError, MissingComponent: the TDVM does not boot or answer.
    """
    run = publish(run)
    folder = run.directory / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_crate(run, datetime.fromtimestamp(now, UTC))
    request = BootRequest()
    expected = platform.predict(request)
    with platform.boot(request) as tdvm:
        collateral = authority.collateral(now)
        known = {
            "collateral.json": collateral.text.encode(),
            "root.der": authority.root_der,
            "eventlog.EMULATED.bin": tdvm.measurements.raw_log,
        }
        statement = encode(make_statement(run, _boot(tdvm, expected, known), now))
        evidence = tdvm.evidence(digest(statement), Quoting(authority, now))
        # Written once: a collateral is signed anew each time it is made, and the statement names this one.
        files = {**replace(evidence, collateral=collateral).files(), Path(STATEMENT).name: statement}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return run


def _boot(tdvm: Tdvm, expected: Prediction, known: dict[str, bytes]) -> dict[str, Any]:
    """The boot that vouches: platform, what went in, what must come out, and the evidence known before it."""
    inputs = expected.inputs
    mrtd = expected.mrtd(PageOrder.SINGLE_PASS)
    return {
        "platform": tdvm.platform,
        "trust": tdvm.trust.value,
        "stamp": tdvm.trust.stamp,
        "memory_mib": tdvm.machine.spec.memory,
        "command_line": inputs.command_line,
        "firmware_sha384": tdvm.firmware.tdvf.sha384,
        "kernel_sha256": hashlib.sha256(inputs.kernel or b"").hexdigest(),
        "initrd_sha256": hashlib.sha256(inputs.initrd or b"").hexdigest(),
        "mrtd": mrtd.hex() if mrtd else None,
        "rtmr": [value.hex() if value else None for value in expected.rtmrs],
        "evidence": {name: hashlib.sha256(data).hexdigest() for name, data in known.items()},
    }
