"""The stages of a boot of Asterinas: the line that begins each, in every version, and its deadline."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class StageRow:
    """A stage: the line that begins it, in every version's wording, and how long it may last (seconds)."""

    name: str
    pattern: str
    seconds: float

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """The compiled pattern; only runs of Asterinas need it."""
        return re.compile(self.pattern)


# Times are for TCG on a busy machine; the dev profile of the kernel is the slowest (18 s to the prompt).
STAGES: tuple[StageRow, ...] = (
    StageRow(
        "build",
        r"^ *(?:Compiling|Building|Downloading|Downloaded|Updating|Finished) |^make(?:\[\d+\])?: Entering",
        5400.0,
    ),
    StageRow("image", r"^xorriso |Writing to 'stdio:", 600.0),
    StageRow("firmware", r"^BdsDxe: (?:loading|starting) |^SeaBIOS ", 120.0),
    StageRow("grub", r"Welcome to GRUB!|^ *Booting `|no console will be available to OS|blind mode", 90.0),
    StageRow("efi-stub", r"^\[EFI stub\] |^EFI stub: ", 90.0),
    StageRow("tdx", r"Intel TDX initialized|\[EFI stub\] Accepting pending pages", 120.0),
    StageRow("ostd", r"OSTD initialized\. Preparing components\.", 90.0),
    StageRow("thread", r"Spawn (?:init|the first kernel) thread", 90.0),
    StageRow("initramfs", r"^\[kernel\] unpacking (?:the )?initramfs\.cpio\.gz to rootfs", 180.0),
    StageRow(
        "init",
        r"^\[kernel\] (?:rootfs|initramfs) is ready|^\[kernel\] running /init as the init process"
        r"|Hello world from kernel!|Presented by the Asterinas developers",
        240.0,
    ),
    StageRow("prompt", r"^~ # ", 0.0),
    StageRow(
        "smoke",
        r"^Successfully booted\.|^All (?:general|regression|conformance) tests passed\.|^Vsock test passed\."
        r"|^.{1,40} of .{1,40} test cases passed\.",
        0.0,
    ),
)
