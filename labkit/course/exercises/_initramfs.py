"""Why two initramfs archives of the same files differ, and what a reproducible one measures as."""

from __future__ import annotations

import hashlib

from labkit.course._forms import Hex, LineOfText, Many
from labkit.course.draw import Draw
from labkit.course.model import Exercise, Question, Variant, canonical, check_answers, solve_by_answers
from labkit.guest import Entry, cpio_archive
from labkit.guest.cpio import directory as cpio_directory
from labkit.guest.cpio import file as cpio_file
from labkit.guest.cpio import link as cpio_link

_CAUSES = ("owner", "time", "order", "content")


def _record(number: int, entry: Entry, owner: int, time: int) -> bytes:
    """One record of a cpio archive in the newc form, with owner and time as an ordinary tool writes them."""
    name = entry.path.encode() + b"\0"
    fields = (number, entry.mode, owner, owner, 1, time, len(entry.data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return head + bytes(-len(head) % 4) + entry.data + bytes(-len(entry.data) % 4)


def _ordinary(entries: list[Entry], owner: dict[str, int], time: dict[str, int]) -> bytes:
    rows = [
        _record(number, entry, owner.get(entry.path, 0), time.get(entry.path, 0))
        for number, entry in enumerate(entries, 1)
    ]
    return b"".join([*rows, _record(0, Entry("TRAILER!!!", 0), 0, 0)])


def _make(draw: Draw) -> Variant:
    files = [cpio_file(f"etc/{draw.word()}", f"{draw.word()}\n".encode()) for _ in range(6)]
    entries = [cpio_directory("etc"), *sorted(files, key=lambda entry: entry.path)]
    entries.append(cpio_link("init", entries[1].path))
    victims = draw.sample(files, 3)
    paths = {cause: victims[number].path for number, cause in enumerate(("owner", "time", "content"))}
    when = {paths["time"]: 1_700_000_000 + draw.below(10_000_000)}
    other = [
        cpio_file(entry.path, entry.data + b"#\n") if entry.path == paths["content"] else entry
        for entry in entries
    ]
    tree = [{"path": entry.path, "mode": f"{entry.mode:o}", "data": entry.data.decode()} for entry in entries]
    return Variant(
        parameters={"archives": ["one.cpio", "two.cpio"], "tree": "tree.json"},
        files={
            "one.cpio": _ordinary(entries, {}, {}),
            "two.cpio": _ordinary(other, {paths["owner"]: 1000 + draw.below(99)}, when),
            "tree.json": canonical(tree, indent=1),
        },
        expected={
            "owner": paths["owner"],
            "time": paths["time"],
            "content": paths["content"],
            "harmless": ["owner", "time"],
            "measured": hashlib.sha384(cpio_archive(entries)).hexdigest(),
        },
    )


EXERCISE = Exercise(
    name="initramfs",
    title="Two archives of one tree",
    chapter="02-build-the-environment",
    questions=(
        *(
            Question(
                key,
                f"Which file has {what} in two.cpio?",
                1,
                LineOfText(),
                (
                    "A record (newc) has a head of 110 bytes: 070701, then 13 numbers of 8 "
                    "hexadecimal digits.",
                    "The numbers are: inode, mode, uid, gid, links, mtime, size, four of devices, length of "
                    "the name, checksum.",
                ),
                unique=True,
            )
            for key, what in (
                ("owner", "a different owner"),
                ("time", "a different time"),
                ("content", "different content"),
            )
        ),
        Question(
            "harmless",
            "Which differences change the measurement, although the guest runs the same programs?",
            1,
            Many(LineOfText(_CAUSES), ordered=False),
            ("Every byte of the archive is measured. Which differences change nothing for the programs?",),
        ),
        Question(
            "measured",
            "SHA-384 of the archive that labkit writes from tree.json",
            2,
            Hex(48),
            (
                "labkit.guest has cpio_directory, cpio_file, cpio_link and cpio_archive.",
                "Directories have mode 40755, links 120777; everything else is a file.",
            ),
            unique=True,
        ),
    ),
    make=_make,
    check=check_answers,
    solve=solve_by_answers,
)
