"""The guests that the emulated platform knows: what their boot logs say, stage by stage."""

from __future__ import annotations

from labkit.bootlog.timeline import GuestType, Mark, Sign
from labkit.guest.initramfs import INIT_MARKER, NO_PORT, SHELL_MARKER

_INITRD = "Give an initrd that is whole, and packed in a way that this kernel can unpack."
_ROOT = "Name a device that the guest has with root=, and give an initrd with that device's driver."
_MEMORY = "Give the guest more memory, with --memory."
_PROGRAM = "Is it a program for x86-64, whole, with the libraries and the interpreter that it names?"
_NOTHING = "The firmware found nothing to boot, and waits in its own shell: check kernel and image."
_ASKED = "The guest asks on its console: give an image that logs in by itself there, and asks nothing."
_REPAIR = "Repair what the lines above name, and boot again."
_MEDIUM = "Check that the image is whole, and that it boots by UEFI on x86-64."

# The words of Linux' init/, fs/, kernel/ and arch/x86/boot/compressed/.
_CAUSES = (
    Sign(r"(Initramfs unpacking failed: write error.*)", _MEMORY),
    Sign(r"(Initramfs unpacking failed: .*)", _INITRD),
    Sign(r"(VFS: Cannot open root device .*)", _ROOT),
    Sign(r"(Failed to execute /\S+ \(error -\d+\))", _PROGRAM),
    Sign(r"(\S+\[1\]: segfault at .*)", _PROGRAM),
    Sign(r"traps: (\S+\[1\] (?:trap |general protection).*)", _PROGRAM),
    Sign(r"(Out of memory: Killed process .*|Out of memory and no killable processes.*)", _MEMORY),
    Sign(r"(device-mapper: verity: .*)", _MEDIUM),
    Sign(r"(BUG: .*|Oops: .*|general protection fault, .*)"),
    Sign(r"^(Out of memory while allocating .*)", _MEMORY),
    Sign(r"^((?:crc|length) error|.{0,20}-compressed data is corrupt|invalid compressed format.*)$", _MEDIUM),
)
_DEAD_ENDS = (
    Sign(r"^ ?-- (System halted)$", _MEDIUM),
    Sign(r"reboot: (System halted)"),
    Sign(r"^PANIC: (early exception 0x.*)"),
    Sign(r"^(UEFI Interactive Shell.*)", _NOTHING),
)

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
        r"^(?:BdsDxe: )?(Press any key to enter the Boot Manager Menu)",
        r"^BdsDxe: (No bootable option or device was found)",
        r"(!!!! X64 Exception Type.*)",
        r"(ASSERT.*)",
    ),
    dead_ends=_DEAD_ENDS,
    causes=_CAUSES,
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
    # The firmware's shell may still start something, by a script of the image.
    dead_ends=(
        *_DEAD_ENDS[:-1],
        # Loaders: SeaBIOS and ISOLINUX, GRUB, shim, systemd-boot.
        Sign(r"^(No bootable device|Boot failed: please change disks)", _MEDIUM),
        Sign(r"^error: (?:\S{1,120}:)?\s?(you need to load the kernel first)", _MEDIUM),
        Sign(r"^error: (?:\S{1,120}:)?\s?(out of memory|not enough memory)", _MEMORY),
        Sign(r"^(Entering rescue mode)\.\.\.", _MEDIUM),
        Sign(r"(Minimal BASH-like line editing is supported)", "GRUB found no menu: is the image whole?"),
        Sign(r"^(start_image\(\) returned .*|Something has gone seriously wrong: .*)", _MEDIUM),
        Sign(r"^((?:Error loading|Failed to execute) .*: .*)", _MEDIUM),
        # Initial root file systems: Debian's, dracut's; then systemd.
        Sign(r"^(ALERT! .*Dropping to a shell)", _ROOT),
        Sign(r"(Warning: Could not boot|dracut: FATAL: .*)", _ROOT),
        # Alpine's, Arch's and NixOS'; of live systems; of Flatcar and Fedora CoreOS.
        Sign(r"^(initramfs emergency recovery shell launched)", _ROOT),
        Sign(r"(You are now being dropped into an emergency shell)", _ROOT),
        Sign(r"^(An error occurred in stage [12] of the boot process)", _ROOT),
        Sign(r"(Unable to find a medium containing a live file system|Can not mount /dev/loop\d.*)", _MEDIUM),
        Sign(r"^(Ignition has failed)", _REPAIR),
        Sign(r"systemd\[1\]: (Freezing execution)", _REPAIR),
        Sign(r"(The root filesystem on .* requires a manual fsck)", "Repair the image's file system."),
        Sign(r"(You are in (?:emergency|rescue) mode)", _REPAIR),
    ),
    questions=(
        Sign(r"(?i)(\blogin|\bpassword\b.{0,60}|\b(?:passphrase|unlock disk)\b.{0,120})[:!]$", _ASKED),
        Sign(r"(Press Enter (?:to continue|for maintenance)|or (?:type|press) Control-D)", _ASKED),
        Sign(r"^(Shell)>$", _NOTHING),
    ),
    causes=(
        *_CAUSES,
        Sign(r"^error: (?:\S{1,120}:)?\s?(.{0,200}not found|bad shim signature)", _MEDIUM),
        Sign(
            r"(Timed out waiting for device \S+|mount: /new_root: .*|Mounting (?:root|boot media):? failed)",
            _ROOT,
        ),
        Sign(r"(Failed to (?:mount API filesystems|load SELinux policy|start up manager))", _REPAIR),
    ),
    reseeds=False,
    handover=r"Linux version ",
)
"""Any image: nothing is known of it but that a shell's prompt appears on its console in the end."""
