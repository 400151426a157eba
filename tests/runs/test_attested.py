"""Attested runs: an untouched one is intact wherever it lies, and every tampering is found and named."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from labkit.attest import LabAuthority
from labkit.errors import DataError, UsageError
from labkit.platforms import choose_platform
from labkit.runs import Run, attest_run, check_run
from labkit.runs.runner import plan_run, run_plan
from labkit.runs.statement import canonical_notebook, digest, encode
from labkit.settings import Settings, Trust
from tests.cli.test_boot import labkit
from tests.runs.notebooks import code, parameters, write_notebook

# The runs of this module end before.
NOW = int(time.time()) + 86_400
RESULT = """
import json, pathlib
folder = pathlib.Path(run_dir, "first")
folder.mkdir()
(folder / "result.json").write_text(json.dumps({"platform": "emulated", "trust": "none"}))
print("the answer is 42")
"""

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def authority() -> LabAuthority:
    return LabAuthority.create(NOW)


@pytest.fixture(scope="module")
def runs(
    vm_settings: Settings, authority: LabAuthority, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Run]:
    """One run, attested twice by the same lab: each time by a boot and with a collateral of its own."""
    root = tmp_path_factory.mktemp("attested")
    write_notebook(root / "notebooks/00-first.ipynb", parameters("run_dir = None"), code(RESULT))
    write_notebook(root / "notebooks/01-second.ipynb", parameters("n = 3"), code("print(n)"))
    platform = choose_platform("emulated", vm_settings)
    run = run_plan(plan_run(output=root / "one", start=root))
    again = replace(run, directory=Path(shutil.copytree(run.directory, root / "two")))
    return attest_run(run, platform, authority, NOW), attest_run(again, platform, authority, NOW)


@pytest.fixture
def copy(runs: tuple[Run, Run], tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs[0].directory, tmp_path / "copy"))


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def found(directory: Path) -> dict[str, str]:
    return {item.where: item.what for item in check_run(directory).alterations}


def test_an_untouched_copy_is_intact(copy: Path, authority: LabAuthority) -> None:
    outcome = check_run(copy)
    assert (outcome.alterations, outcome.trust, outcome.attested) == ((), Trust.NONE, NOW)
    assert str(outcome).startswith("[EMULATED] INTACT")
    assert "came with the directory" in str(outcome)
    named = check_run(copy, authority.root_der)
    assert named.intact
    assert "came with the directory" not in str(named)


def test_no_state_of_labkit_is_needed(copy: Path, tmp_path: Path, vm_environment: dict[str, str]) -> None:
    empty = {
        **vm_environment,
        "LABKIT_STATE_DIR": str(tmp_path / "a"),
        "LABKIT_CACHE_DIR": str(tmp_path / "b"),
    }
    done = labkit("check", str(copy), "--json", env=empty)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["verdict"], document["stamp"], document["root"]) == (
        "INTACT",
        "EMULATED",
        "from the directory",
    )
    path = copy / "executed/00-first.ipynb"
    path.write_text(path.read_text().replace("answer is 42", "answer is 43"))
    done = labkit("check", str(copy), env=empty)
    assert done.returncode == 1
    assert "executed/00-first.ipynb" in done.stdout
    assert labkit("check", str(tmp_path), env=empty).returncode == 64


def test_a_hundred_random_tamperings_are_found(copy: Path) -> None:
    source = random.Random(5)
    pristine = {path: path.read_bytes() for path in files(copy)}
    missed = []
    for number in range(100):
        path = source.choice(sorted(pristine))
        data = bytearray(pristine[path])
        at = source.randrange(len(data) or 1)
        kind = source.choice(["flip", "insert", "delete", "remove", "swap", "add"])
        target = path
        if kind == "flip" and data:
            data[at] ^= 1 << source.randrange(8)
        elif kind == "delete" and data:
            del data[at]
        elif kind == "swap":
            data = bytearray(source.choice([it for it in pristine.values() if it != pristine[path]]))
        elif kind == "add":
            target = path.with_name(f"more-{number}")
        else:
            data.insert(at, source.randrange(256))
        if kind == "remove":
            path.unlink()
        else:
            target.write_bytes(data)
        if target.relative_to(copy).as_posix() not in found(copy):
            missed.append((kind, str(target.relative_to(copy)), at))
        target.unlink(missing_ok=True)
        path.write_bytes(pristine[path])
    assert missed == []
    assert check_run(copy).intact


def test_every_byte_of_the_evidence_counts(copy: Path) -> None:
    source = random.Random(7)
    for path in sorted((copy / "attestation").iterdir()):
        data = path.read_bytes()
        for at in {0, len(data) - 1, *(source.randrange(len(data)) for _ in range(25))}:
            path.write_bytes(data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :])
            assert not check_run(copy).intact, (path.name, at)
        path.write_bytes(data + b"\0")
        assert not check_run(copy).intact, path.name
        path.write_bytes(data)
    assert check_run(copy).intact


def test_another_runs_quote_is_named(runs: tuple[Run, Run], copy: Path) -> None:
    for name in ("quote.EMULATED.bin", "tdreport.EMULATED.bin"):
        shutil.copy(runs[1].directory / "attestation" / name, copy / "attestation" / name)
    assert found(copy) == {
        "attestation/quote.EMULATED.bin": "is a quote of another run, or this run's statement was changed",
        "attestation/statement.json": "is not the statement that was quoted",
    }


def test_a_rewritten_statement_does_not_fit_the_quote(copy: Path) -> None:
    notebook = copy / "executed/01-second.ipynb"
    notebook.write_text(notebook.read_text().replace('"3\\n"', '"4\\n"'))
    path = copy / "attestation/statement.json"
    statement = json.loads(path.read_bytes())
    statement["files"]["executed/01-second.ipynb"] = hashlib.sha256(notebook.read_bytes()).hexdigest()
    path.write_bytes(encode(statement))
    assert list(found(copy)) == ["attestation/quote.EMULATED.bin", "attestation/statement.json"]


def test_another_lab_that_attests_it_again_is_found_by_who_names_the_root(
    copy: Path, vm_settings: Settings, authority: LabAuthority, runs: tuple[Run, Run]
) -> None:
    forger = LabAuthority.create(NOW)
    (copy / "executed/01-second.ipynb").write_text((copy / "executed/00-first.ipynb").read_text())
    attest_run(replace(runs[0], directory=copy), choose_platform("emulated", vm_settings), forger, NOW)
    assert check_run(copy).intact
    outcome = check_run(copy, authority.root_der)
    assert "another party" in str(outcome)
    assert {"attestation/root.der", "attestation/quote.EMULATED.bin"} <= {
        item.where for item in outcome.alterations
    }


def test_what_changed_is_told_apart(copy: Path) -> None:
    path = copy / "executed/00-first.ipynb"
    original = path.read_text()
    document = json.loads(original)
    document["cells"][1]["metadata"]["papermill"]["duration"] = 1.0
    path.write_text(json.dumps(document))
    assert found(copy)["executed/00-first.ipynb"] == "was changed, but its cells and outputs read the same"
    path.write_text(original.replace("answer is 42", "answer is 43"))
    assert found(copy)["executed/00-first.ipynb"] == "was changed in cells or outputs"
    path.write_text("{}")
    assert "not a notebook any more" in found(copy)["executed/00-first.ipynb"]
    shutil.copy(copy / "executed/01-second.ipynb", path)
    assert found(copy)["executed/00-first.ipynb"] == "is now a copy of executed/01-second.ipynb"


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"format":1}', b"1e999", b'"\\ud800"']
)
def test_a_damaged_statement_is_named(copy: Path, text: bytes) -> None:
    (copy / "attestation/statement.json").write_bytes(text)
    assert "attestation/statement.json" in found(copy)


def test_links_are_not_followed(copy: Path) -> None:
    path = copy / "run.json"
    path.rename(copy.parent / "elsewhere")
    path.symlink_to(copy.parent / "elsewhere")
    assert any("run.json" in item.what for item in check_run(copy).alterations)


def test_a_directory_without_evidence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no attested run"):
        check_run(tmp_path)


def test_the_run_is_a_process_run_crate(copy: Path) -> None:
    graph = {
        item["@id"]: item for item in json.loads((copy / "ro-crate-metadata.json").read_text())["@graph"]
    }
    assert graph["./"]["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    actions = [item for item in graph.values() if item["@type"] == "CreateAction"]
    assert len(actions) == 2
    for item in [item for item in graph.values() if item["@type"] == "File"]:
        assert (copy / item["@id"]).is_file()
    first = next(item for item in actions if item["@id"] == "#run-00-first")
    assert {"@id": "first/result.json"} in first["result"]
    assert first["instrument"] == {"@id": "#labkit"}
    # What the validator of RO-Crates (roc-validator 0.13) asks for: required, then recommended.
    root = graph["./"]
    assert graph[root["license"]["@id"]]["name"]
    assert root.keys() >= {"name", "description", "datePublished", "license", "hasPart"}
    assert root["description"].startswith("[EMULATED] ")
    assert {entry["@id"] for entry in root["mentions"]} == {entry["@id"] for entry in actions}
    for action in actions:
        assert action.keys() >= {"name", "description", "startTime", "endTime", "object", "result"}
        assert datetime.fromisoformat(action["startTime"]) <= datetime.fromisoformat(action["endTime"])
        assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert not isinstance(graph["#run-01-second"]["result"], list)


def test_a_digest_is_of_its_domain_and_of_nothing_volatile() -> None:
    assert digest(b"{}") != hashlib.sha512(b"{}").digest()
    plain = {"metadata": {}, "cells": [{"metadata": {"tags": ["a"]}, "source": "1"}]}
    timed = {
        "metadata": {"papermill": {"end": 1}},
        "cells": [{"metadata": {"tags": ["a"], "execution": {}}, "source": "1"}],
    }
    other = {"metadata": {}, "cells": [{"metadata": {"tags": ["b"]}, "source": "1"}]}
    one, two, three = (canonical_notebook(json.dumps(it).encode()) for it in (plain, timed, other))
    assert one == two
    assert one != three
    with pytest.raises(DataError):
        canonical_notebook(b"{}")
