"""The facts files of a folder, each diagnosed as `labkit verify --from` would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import DataError, UsageError
from labkit.host import Facts, HostVerdict, diagnose, load
from labkit.show import one_line

COMPARED = {
    "cpu": "cpu.name",
    "microcode": "cpu.microcode",
    "bios": "bios.version",
    "kernel": "kernel.release",
    "module": "module.version",
    "qemu": "qemu.version",
}
"""What hosts of one fleet should have alike, and the fact that says it."""


@dataclass(frozen=True)
class FleetHost:
    """One host: its verdict, the reason, what to do next, and the versions that are compared."""

    host: str
    verdict: HostVerdict
    reason: str | None
    next_action: str | None
    attestation: str
    versions: dict[str, str]
    emulated: bool = False


@dataclass(frozen=True)
class UnreadHost:
    """A file that holds no host's facts, and why."""

    host: str
    why: str


def read_fleet(folder: Path) -> Iterator[FleetHost | UnreadHost]:
    """Diagnose every ``*.json`` below a folder, in the order of the names; a host is called as its file.

    Raises:
        UsageError: there is no such folder, or no facts file in it.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", "Name a folder with facts files.")
    # What is no file is named too: a host that is left out would look like one that is well.
    paths = sorted(path for path in folder.rglob("*.json") if not path.is_dir())
    if not paths:
        raise UsageError(
            f"There is no facts file in {folder}.", "Save some with `labkit verify --save FOLDER/HOST.json`."
        )
    for path in paths:
        name = one_line(str(path.relative_to(folder).with_suffix("")))
        try:
            yield fleet_host(name, load(path))
        except DataError as error:
            yield UnreadHost(name, one_line(error.message))
        except OSError as error:
            yield UnreadHost(name, error.strerror or "it cannot be read")


def fleet_host(name: str, facts: Facts) -> FleetHost:
    """The verdict about one host of a fleet."""
    report = diagnose(facts)
    values = {word: facts.get(fact).value for word, fact in COMPARED.items()}
    return FleetHost(
        name,
        report.verdict,
        report.reason,
        report.next_action,
        report.attestation.verdict.value,
        {word: str(value) for word, value in values.items() if value is not None},
        facts.emulated,
    )
