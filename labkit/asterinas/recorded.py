"""What was seen of a real Asterinas once, elsewhere: shown as recorded, never as something that ran here.

Each fact is from boots of v0.18.0 whose logs were kept (`docs/facts.md`), or counted in its sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labkit.errors import UsageError
from labkit.show import columns
from labkit.show.markup import element, join, mark, table

STAMP = "RECORDED"
"""The word that every such fact carries."""

VERSION = "0.18.0"
COMMIT = "253be4750"

_MACHINE = "QEMU 7.2 without KVM, two processors"
_WHEN = "in 2026, after the tag of 3 June"
_BOOTED = f"seen of Asterinas {VERSION} (commit {COMMIT}) under {_MACHINE}, {_WHEN}"
_READ = "counted in the sources of Asterinas 0.18.1 (tag of 18 August 2026)"


@dataclass(frozen=True)
class Recorded:
    """Facts about a real Asterinas under one topic; ``source`` says where and when they were seen."""

    topic: str
    source: str
    rows: tuple[tuple[str, ...], ...]

    @property
    def headline(self) -> str:
        """One line: the stamp, and whose facts these are."""
        return f"[{STAMP}, not run here] {self.source}"

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON types."""
        return {"stamp": STAMP, "topic": self.topic, "source": self.source, "rows": [*map(list, self.rows)]}

    def __getitem__(self, name: str) -> str:
        """The fact of a name."""
        return next(row[1] for row in self.rows if row[0] == name)

    def __repr__(self) -> str:
        return f"Recorded({self.topic})"

    def __str__(self) -> str:
        return f"{self.headline}\n{columns(self.rows)}"

    def _repr_html_(self) -> str:
        said = element("p", mark(f"{STAMP}, not run here"), f" {self.source}")
        return join([said, table(self.rows)])


def _seen(topic: str, *rows: tuple[str, ...]) -> Recorded:
    return Recorded(topic, _BOOTED, rows)


_ALL = (
    _seen(
        "boot",
        ("OSTD initialized. Preparing components.", "the framework is up"),
        ("Spawn the first kernel thread", "the kernel proper begins"),
        ("[kernel] unpacking initramfs.cpio.gz to rootfs ...", "the initramfs becomes the root file system"),
        ("[kernel] rootfs is ready", "the first program follows"),
        ("~ #", "the prompt"),
    ),
    _seen(
        "times",
        ("directly, without firmware", "1.3 s"),
        ("ISO through OVMF and GRUB, multiboot2", "4.5 s"),
        ("ISO through OVMF and GRUB, EFI stub", "5.1 s"),
        ("from a snapshot", "0.8 s"),
    ),
    _seen(
        "memory",
        ("directly, without firmware", "4096 MiB at least; with 2048 it panics on the ACPI tables"),
        ("through OVMF", "1024 MiB are enough"),
    ),
    _seen(
        "inside",
        ("uname -a", "Linux (none) 5.13.0 …"),
        ("a word that says Asterinas", "none anywhere in the guest"),
        ("pipes, here-documents, jobs, traps, fifos", "work"),
        ("Ctrl-C", "works, exit status 130, where the shell has a terminal of its own"),
        ("Ctrl-Z", "is echoed, and the command goes on"),
        ("dmesg", "none"),
        ("/sys/devices/virtual/misc, /dev/tdx_guest", "none outside a TD"),
        ("a driver for the TPM", "none: the guest cannot read its own registers"),
    ),
    _seen(
        "ends",
        ("exit 3", "the machine ends; QEMU's status is 33, whatever the number was"),
        ("poweroff -f", "the machine ends; QEMU's status is 33"),
        ("poweroff", "the prompt again"),
        ("the first program ends", "panic: The init process terminates with code …; QEMU's status is 65"),
    ),
    _seen(
        "measured",
        ("boot", "kernel", "command line", "initramfs"),
        ("multiboot2 through GRUB", "not measured", "not measured", "not measured"),
        ("EFI stub through GRUB", "RTMR1", "not measured", "not measured"),
        ("EFI stub by QEMU's -kernel", "RTMR1", "not measured", "not measured"),
        ("EFI stub through GRUB with its module tpm", "RTMR1, RTMR2", "RTMR2", "RTMR2"),
    ),
    Recorded(
        "boundary",
        _READ,
        (
            ("lines with the word unsafe, kernel services", "4, all of them comments"),
            ("lines with the word unsafe, OSTD", "1195 (557 at version 0.9.0)"),
            ("system calls in its compatibility table", "243 to 244 (176 at version 0.9.0)"),
        ),
    ),
)

_TOPICS = {recorded.topic: recorded for recorded in _ALL}


def recorded_asterinas(topic: str) -> Recorded:
    """What was recorded of a real Asterinas under a topic.

    Raises:
        UsageError: there is no such topic.
    """
    if topic not in _TOPICS:
        raise UsageError(f"Nothing is recorded about {topic!r}.", f"There are: {', '.join(_TOPICS)}.")
    return _TOPICS[topic]
