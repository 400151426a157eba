"""The guests that the emulated platform knows: what their boot logs say, stage by stage."""

from __future__ import annotations

from labkit.bootlog.timeline import GuestType, Mark
from labkit.guest.initramfs import INIT_MARKER, NO_PORT, SHELL_MARKER

# Deadlines are for TCG on a busy machine, some ten times what two idle cores need.
LINUX = GuestType(
    name="linux-busybox",
    first_stage="firmware",
    marks=(
        Mark("efi-stub", r"^EFI stub: ", 90),
        Mark("kernel", r"^\[ *\d+\.\d+\](?: *\[ *[TC]\d+\])? Linux version ", 60),
        Mark("init", rf"^{INIT_MARKER}$", 90),
        Mark("shell", rf"^{SHELL_MARKER}$", 60),
    ),
    failures=(
        rf"^({NO_PORT})$",
        r"Kernel panic - not syncing: (.*)",
        r"^EFI stub: ERROR: (.*)",
        r"^(error: .*)",
        r"BdsDxe: (failed to .*)",
        r"^(Press any key to enter the Boot Manager Menu)",
        r"(!!!! X64 Exception Type.*)",
        r"(ASSERT.*)",
    ),
)
"""Debian's kernel, started by its EFI stub, with labkit's busybox initramfs."""

SHELL_PROMPT = GuestType(
    name="other",
    first_stage="firmware",
    marks=(
        Mark("grub", r"Welcome to GRUB!|^ *Booting `", 120),
        Mark("kernel", r"Linux version ", 120),
        Mark("shell", r"^[^#$]{0,60}[#$] $", 300),
    ),
    # GRUB's complaint about the video mode is harmless.
    failures=tuple(pattern for pattern in LINUX.failures if "error: " not in pattern),
    reseeds=False,
    handover=r"Linux version ",
)
"""Any image: nothing is known of it but that a shell's prompt appears on its console in the end."""
