"""The check of an attested run, offline, from its directory alone: what was changed, and who vouches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.attest import (
    Policy,
    QuoteVerdict,
    appraise,
    make_tdreport,
    parse_collateral,
    parse_quote,
    parse_tdreport,
    verify_quote,
)
from labkit.attest.verify import Anchor
from labkit.errors import DataError, LabkitError, UsageError
from labkit.files import entries, left_by_others, printable
from labkit.measure import parse_log
from labkit.runs._contradictions import contradictions
from labkit.runs._copies import copied_as_text, spelled_otherwise, where_instead
from labkit.runs.record import RECORD
from labkit.runs.statement import (
    FOLDER,
    STATEMENT,
    canonical_notebook,
    digest,
    digest_entry,
    encode,
    read_file,
)
from labkit.settings import Trust
from labkit.show import clean, columns, stamp
from labkit.show.markup import join, pre, table

_NAMES = frozenset(
    {
        "collateral.json",
        "eventlog.EMULATED.bin",
        "quote.EMULATED.bin",
        "root.der",
        "statement.json",
        "tdreport.EMULATED.bin",
    }
)
_QUOTE = f"{FOLDER}/quote.EMULATED.bin"


@dataclass(frozen=True)
class Alteration:
    """One thing that is not as attested: where, and what about it."""

    where: str
    what: str

    def to_dict(self) -> dict[str, str]:
        """The fields under their names."""
        return {"where": self.where, "what": self.what}


@dataclass(frozen=True)
class RunCheck:
    """The outcome of a check; ``root_sha256`` is the fingerprint of the root that vouches.

    named: the caller named the root. Otherwise it came with the directory, and whoever made the directory
    may have made it.
    """

    directory: Path
    alterations: tuple[Alteration, ...]
    root_sha256: str
    named: bool
    anchor: Anchor | None
    trust: Trust
    attested: int | None

    @property
    def intact(self) -> bool:
        """Everything is as it was attested."""
        return not self.alterations

    def to_dict(self) -> dict[str, Any]:
        """The document of ``labkit check --json``."""
        return {
            "verdict": "INTACT" if self.intact else "ALTERED",
            "alterations": [item.to_dict() for item in self.alterations],
            "attested": self.attested,
            "root_sha256": self.root_sha256,
            "root": "named" if self.named else "from the directory",
            "anchor": self.anchor.value if self.anchor else None,
            "trust": self.trust.value,
            "stamp": self.trust.stamp,
            "run_dir": str(self.directory),
        }

    def __repr__(self) -> str:
        return f"RunCheck({'INTACT' if self.intact else 'ALTERED'}, {len(self.alterations)} alterations)"

    def __str__(self) -> str:
        return clean(
            "\n".join(
                [self._headline(), *([columns(self._rows())] if self.alterations else []), *self._notes()]
            )
        )

    def _repr_html_(self) -> str:
        return join([pre(self._headline()), table(self._rows()), pre("\n".join(self._notes()))])

    def _headline(self) -> str:
        if self.intact:
            return f"{stamp(self.trust)}INTACT: every file is as it was attested."
        count = len(self.alterations)
        return f"{stamp(self.trust)}ALTERED: {count} {'finding' if count == 1 else 'findings'}."

    def _rows(self) -> list[tuple[str, str]]:
        return [(item.where, item.what) for item in self.alterations]

    def _notes(self) -> list[str]:
        notes = [f"Root that vouches: SHA-256 {self.root_sha256 or 'none'}"]
        if not self.named:
            notes.append("It came with the directory: compare it with what the author published elsewhere.")
        if self.trust is Trust.NONE:
            other = "" if self.anchor is Anchor.INTEL else " The root is not Intel's."
            notes.append(f"No TDX hardware stands behind this: trust none.{other}")
        return notes


def check_run(directory: Path, root: bytes | None = None, now: int | None = None) -> RunCheck:
    """Check that a run directory is what was attested.

    root: the root certificate (DER) to believe; without it, the one in the directory, which the outcome says.
    now: the time to verify for; without it, the time of the attestation.

    Raises:
        UsageError: the directory holds no attested run.
    """
    if not (directory / FOLDER).is_dir() or (directory / FOLDER).is_symlink():
        remedy = where_instead(directory, FOLDER) or "Make one with labkit run --attest."
        raise UsageError(f"There is no attested run in {directory}.", remedy)
    check = _Check(directory)
    check.run(root, now)
    return RunCheck(
        directory=directory,
        alterations=tuple(check.found),
        root_sha256=check.root_sha256,
        named=root is not None,
        anchor=check.anchor,
        trust=check.trust,
        attested=check.attested,
    )


def _added(name: str) -> str:
    return "was added" + (", as file managers and unpackers do: remove it" if left_by_others(name) else "")


def _in_bytes(data: bytes, expected: str) -> str:
    as_text = " in its line ends or its first bytes alone: it was copied as text"
    return f"was changed{as_text if copied_as_text(data, expected) else ''}"


class _Check:
    """The steps of one check; each adds what it finds."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.found: list[Alteration] = []
        self.root_sha256 = ""
        self.anchor: Anchor | None = None
        self.trust = Trust.NONE
        self.attested: int | None = None

    def run(self, root: bytes | None, now: int | None) -> None:
        evidence = self._evidence()
        text = evidence.get("statement.json", b"")
        statement = self._statement(text)
        if statement is None:
            return
        self._files(statement)
        boot = statement["boot"]
        whole = evidence.keys() >= _NAMES
        for name, expected in boot["evidence"].items():
            if name in evidence and hashlib.sha256(evidence[name]).hexdigest() != expected:
                self._add(f"{FOLDER}/{name}", _in_bytes(evidence[name], expected))
                whole = False
        own = evidence.get("root.der", b"")
        self.root_sha256 = hashlib.sha256(root or own).hexdigest() if root or own else ""
        if root is not None and own != root:
            self._add(f"{FOLDER}/root.der", "is not the root that you named: another party attested this run")
        if not whole:
            self._add(_QUOTE, "was not verified, since other evidence is not as it was")
        elif self._is_of_this_run(evidence["quote.EMULATED.bin"], digest(text)):
            self._verify(evidence, statement, root or own, now)

    def _add(self, where: str, what: str) -> None:
        # A name is one line, whatever was put into it.
        self.found.append(Alteration(printable(where), printable(what)))

    def _evidence(self) -> dict[str, bytes]:
        try:
            there = {entry.name for entry in entries(self.directory / FOLDER)}
        except DataError as error:
            self._add(FOLDER, error.message)
            there = set()
        for name in sorted(there - _NAMES):
            self._add(f"{FOLDER}/{name}", _added(name))
        evidence = {}
        for name in sorted(_NAMES):
            try:
                evidence[name] = read_file(self.directory, f"{FOLDER}/{name}")
            except DataError as error:
                self._add(f"{FOLDER}/{name}", error.message)
        return evidence

    def _statement(self, text: bytes) -> dict[str, Any] | None:
        """The statement, if it is one in its one spelling; its shape is checked before anything uses it."""
        statement = None
        try:
            statement = json.loads(text)
            shaped = (
                encode(statement) == text
                and statement["format"] == 1
                and all(isinstance(value, str) for value in statement["files"].values())
                and all(isinstance(value, str) for value in statement["boot"]["evidence"].values())
                and len(statement["boot"]["rtmr"]) == 4
                and isinstance(statement["chapters"], list)
                and all(
                    isinstance(part[key], str | None)
                    for part in statement["chapters"]
                    for key in ("notebook", "canonical_sha256")
                )
            )
            attested, stated = int(statement["attested"]), dict(statement)
            policy_of(statement["boot"], bytes(64))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            shaped = False
        if not shaped and isinstance(statement, dict) and statement.get("format") not in (1, None):
            self._add(
                STATEMENT,
                "is of another format than this labkit's: it was changed, or another labkit wrote it",
            )
            return None
        if not shaped:
            self._add(STATEMENT, "is not a statement as labkit writes it: it was changed")
            return None
        self.attested = attested
        return stated

    def _files(self, statement: Mapping[str, Any]) -> None:
        there, odd = self._digests()
        expected = statement["files"]
        canonical = {part["notebook"]: part["canonical_sha256"] for part in statement["chapters"]}
        # Of several files with one content the first in order gives the name.
        swapped = {value: name for name, value in sorted(expected.items(), reverse=True)}
        added = sorted(there.keys() - expected.keys())
        for name in sorted((expected.keys() | there.keys()) - odd):
            if name not in there:
                other = spelled_otherwise(name, added)
                here = f"; {other} has its name but for capital letters or accents" if other else ""
                self._add(name, f"is missing{here}")
            elif name not in expected:
                # A folder that stands empty because its files are missing was not added.
                if not name.endswith("/") or not any(other.startswith(name) for other in expected):
                    self._add(name, _added(name))
            elif there[name] != expected[name]:
                other = swapped.get(there[name])
                what = (
                    f"is now a copy of {other}" if other else self._changed(name, expected[name], canonical)
                )
                self._add(name, what)

    def _digests(self) -> tuple[dict[str, str], set[str]]:
        """Digests of all files, and the names of what has none; each of those is a finding by itself."""
        there: dict[str, str] = {}
        odd = set()
        try:
            for entry in entries(self.directory, skip=FOLDER):
                try:
                    there |= digest_entry(self.directory, entry)
                except DataError as error:
                    self._add(entry.name, error.message)
                    odd.add(entry.name)
        except DataError as error:
            self._add("files", error.message)
        return there, odd

    def _changed(self, name: str, expected: str, canonical: Mapping[str | None, str | None]) -> str:
        try:
            data = read_file(self.directory, name)
            if canonical.get(name) is None or copied_as_text(data, expected):
                return _in_bytes(data, expected)
            same = canonical_notebook(data) == canonical[name]
        except DataError:
            return "was changed and is not a notebook any more"
        return (
            "was changed, but its cells and outputs read the same"
            if same
            else "was changed in cells or outputs"
        )

    def _is_of_this_run(self, raw: bytes, wanted: bytes) -> bool:
        """Whether verification can say more: the quote parses and is about this statement."""
        try:
            quote = parse_quote(raw)
        except DataError as error:
            self._add(_QUOTE, error.message)
            return False
        if quote.report_data != wanted:
            self._add(_QUOTE, "is a quote of another run, or this run's statement was changed")
            self._add(STATEMENT, "is not the statement that was quoted")
            return False
        return True

    def _verify(
        self,
        evidence: Mapping[str, bytes],
        statement: Mapping[str, Any],
        root: bytes,
        now: int | None,
    ) -> None:
        wanted = digest(evidence["statement.json"])
        try:
            collateral = parse_collateral(evidence["collateral.json"])
            when = self.attested if now is None else now
            verdict = verify_quote(evidence["quote.EMULATED.bin"], collateral, when or 0, root)
            log = parse_log(evidence["eventlog.EMULATED.bin"])
            outcome = appraise(policy_of(statement["boot"], wanted), verdict, log)
        except LabkitError as error:
            self._add(_QUOTE, error.message)
            return
        self.anchor, self.trust = verdict.anchor, outcome.trust
        for finding in outcome.findings:
            self._add(_QUOTE, f"{finding.register}: {finding.why}")
        for what in _loose_ends(verdict, evidence["tdreport.EMULATED.bin"], evidence["quote.EMULATED.bin"]):
            self._add(*what)
        with suppress(DataError):  # that it is missing or was changed is told already
            record = read_file(self.directory, RECORD)
            if hashlib.sha256(record).hexdigest() == statement["files"].get(RECORD):
                for what in contradictions(statement, record, log, outcome.trust):
                    self._add(*what)


def _loose_ends(verdict: QuoteVerdict, report: bytes, quote: bytes) -> Iterator[tuple[str, str]]:
    """What neither signature nor statement covers: padding, and the report that the quote was made of."""
    if verdict.padding:
        yield _QUOTE, "has bytes behind its end"
    try:
        same = _same_body(report, quote)
    except LabkitError as error:
        yield f"{FOLDER}/tdreport.EMULATED.bin", error.message
    else:
        if not same:
            yield f"{FOLDER}/tdreport.EMULATED.bin", "is not the report behind the quote"


def _same_body(data: bytes, quote: bytes) -> bool:
    """Everything in the report follows from the quote: made again from it, it is the same to the byte."""
    parse_tdreport(data)
    body = parse_quote(quote)
    made = make_tdreport(
        mrtd=body.mrtd,
        rtmr=body.rtmr,
        report_data=body.report_data,
        td_attributes=int.from_bytes(body.td_attributes, "little"),
    )
    return made.encode() == data


def policy_of(boot: Mapping[str, Any], report_data: bytes) -> Policy:
    """What the quote must say by the statement: the boot's registers and the statement's digest.

    Raises:
        ValueError, KeyError, TypeError: the statement is damaged.
    """
    zero, one, two, three = (bytes.fromhex(value) if value else None for value in boot["rtmr"])
    return Policy(
        allow_lab=True,
        report_data=report_data,
        mrtd=(bytes.fromhex(boot["mrtd"]),),
        rtmr=(zero, one, two, three),
    )
