"""Who copied from whom, from the prints of all results of one assignment.

Where a variant says whose an answer is, only the one who handed it in is named a copier. Where it cannot be
told (the same quote twice, the same signing key twice), both are named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from labkit.course.grading import Graded


@dataclass(frozen=True)
class Copies:
    """Flags by student, and for copiers the sentence that voids their marks."""

    flags: Mapping[str, tuple[str, ...]]
    void: Mapping[str, str]


def find_copies(results: Iterable[Graded]) -> Copies:
    """Compare every result with all others; the order of results does not matter."""
    rows = sorted(results, key=lambda row: row.student)
    sources: dict[str, dict[str, str]] = defaultdict(dict)
    owners = {row.prints.owner: row.student for row in rows}
    wholes = _index((row.prints.whole, row.student) for row in rows)
    expected = _index(
        (f"{key} {value}", row.student) for row in rows for key, value in row.prints.expected.items()
    )
    work = _index((f"{key} {value}", row.student) for row in rows for key, value in row.prints.work.items())
    full = {row.student: {entry.question: entry.full for entry in row.marks} for row in rows}
    names = {row.student for row in rows}
    flags: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        found = sources[row.student]
        prints = row.prints
        if prints.challenge in names and prints.challenge != row.student:
            found.setdefault(prints.challenge, "its challenge")
        if prints.challenge and prints.challenge not in names:
            flags[row.student].append("forged")  # its challenge is that of nobody here
        if prints.evidence in owners and owners[prints.evidence] != row.student:
            found.setdefault(owners[prints.evidence], "its evidence")
        for key, value in sorted(prints.given.items()):
            _add(found, row.student, expected.get(f"{key} {value}", ()), f"the answer to {key}")
        for key, value in sorted(prints.work.items()):
            # Only one of them has the variant that the work fits.
            if not full[row.student].get(key):
                fitting = [name for name in work.get(f"{key} {value}", ()) if full[name].get(key)]
                _add(found, row.student, fitting, f"the work for {key}")
        if not found and prints.given_whole:
            _add(found, row.student, wholes.get(prints.given_whole, ()), "all of its answers")
    void = {}
    for student, found in sources.items():
        flags[student] += [f"copied:{other}" for other in sorted(found)]
        if found:
            what = " and ".join(f"{found[other]} from {other}" for other in sorted(found))
            void[student] = f"Copied: {what}."
    for label, pairs in (
        ("copied", _index((row.prints.quote, row.student) for row in rows)),
        ("same-key", _index((row.prints.root, row.student) for row in rows)),
    ):
        for students in pairs.values():
            # Where the variant has told whose it is, the owner did not copy, and the copier is named already.
            unclear = [student for student in students if not sources[student]]
            for one in unclear:
                flags[one] += [f"{label}:{other}" for other in unclear if other != one]
    return Copies({name: tuple(dict.fromkeys(found)) for name, found in flags.items()}, void)


def _add(found: dict[str, str], student: str, others: Iterable[str], what: str) -> None:
    candidates = [other for other in others if other != student]
    # An answer that several others have too points at nobody.
    if len(candidates) == 1:
        found.setdefault(candidates[0], what)


def _index(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = defaultdict(list)
    for value, student in pairs:
        if value:
            index[value].append(student)
    return index
