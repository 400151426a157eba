"""How boots of Linux end before there is a shell, and what is said of each."""

from __future__ import annotations

import pytest

from labkit.bootlog.timeline import GuestType
from labkit.guest.types import LINUX, SHELL_PROMPT

KERNEL = "[    0.000000] Linux version 6.12.38+deb13-amd64 (a@b) #1 SMP\r\n"
PANIC = "[    2.4] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n"
EARLY = "PANIC: early exception 0x0e IP 10:ffffffff81000110 error 0 cr2 0xffff888000000000"
KILLED = "[    1.4] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\r\n"


def complaint(guest: GuestType, text: str, now: float = 2.0) -> tuple[str, str]:
    tracker = guest.watch()
    tracker.feed("serial", text.encode(), 1.0)
    said = tracker.complaint(now, False, None)
    assert said is not None, "the boot is still waited for"
    assert not tracker.reached
    return said


@pytest.mark.parametrize(
    ("cause", "panic", "remedy"),
    [
        ("Initramfs unpacking failed: write error", PANIC, "--memory"),
        ("Initramfs unpacking failed: compression method zstd not configured", PANIC, "initrd"),
        ('VFS: Cannot open root device "vda1" or unknown-block(0,0): error -6', PANIC, "root="),
        ("Failed to execute /init (error -8)", PANIC, "x86-64"),
        ("init[1]: segfault at 0 ip 0000000000401000 sp 00007ffe error 4", KILLED, "x86-64"),
        ("BUG: kernel NULL pointer dereference, address: 0000000000000008", KILLED, "console.log"),
        ("device-mapper: verity: 254:1: data block 17 is corrupted", KILLED, "image"),
    ],
)
def test_a_panic_is_told_with_what_came_before_it(cause: str, panic: str, remedy: str) -> None:
    later = "[    1.2] BUG: unable to handle page fault\r\n"
    said, action = complaint(LINUX, f"{KERNEL}[    1.1] {cause}\r\n{later}{panic}")
    assert said.endswith(f"Before that: {cause}.")
    assert remedy in action


def test_a_cause_without_a_failure_is_none() -> None:
    tracker = LINUX.watch()
    text = f"{KERNEL}[ 1.1] Initramfs unpacking failed: junk\r\nlabkit: init\r\nlabkit: shell\r\n"
    tracker.feed("serial", text.encode(), 1.0)
    assert tracker.reached
    assert tracker.complaint(2.0, False, None) is None


@pytest.mark.parametrize(
    ("guest", "text", "said"),
    [
        (LINUX, "\r\nOut of memory while allocating z_stream\r\n\r\n -- System halted\r\n", "Out of memory"),
        (LINUX, "\r\ncrc error\r\n\r\n -- System halted\r\n", "crc error"),
        (LINUX, f"{KERNEL}[ 4.4] reboot: System halted\r\n", "System halted"),
        (SHELL_PROMPT, f"{KERNEL}{EARLY}\r\n", "early exception 0x0e"),
        (LINUX, "UEFI Interactive Shell v2.2\r\nEDK II\r\nShell> ", "UEFI Interactive Shell v2.2"),
        (
            SHELL_PROMPT,
            "Boot failed: not a bootable disk\r\n\r\nNo bootable device.\r\n",
            "No bootable device",
        ),
        (
            SHELL_PROMPT,
            "error: no device: 1.\r\nEntering rescue mode...\r\ngrub rescue> ",
            "rescue mode",
        ),
        (SHELL_PROMPT, "start_image() returned Not Found\r\n", "Not Found"),
        (SHELL_PROMPT, "Failed to execute Debian (\\EFI\\Linux\\x.efi): Not Found\r\n", "Not Found"),
        (
            SHELL_PROMPT,
            f"{KERNEL}ALERT!  UUID=1-2 does not exist.  Dropping to a shell!\r\n\r\n(initramfs) ",
            "UUID=1-2 does not exist",
        ),
        # The shell of an initial root file system is none that somebody asked for.
        (SHELL_PROMPT, f"{KERNEL}[ 9.1] dracut: Warning: Could not boot.\r\n\r\n:/# ", "Could not boot"),
        (
            SHELL_PROMPT,
            f'{KERNEL}You are in emergency mode. After logging in, type "journalctl -xb" to view\r\n',
            "emergency mode",
        ),
    ],
)
def test_what_can_only_stand_still_is_not_waited_for(guest: GuestType, text: str, said: str) -> None:
    message, remedy = complaint(guest, text)
    assert said in message
    assert remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("BdsDxe: No bootable option or device was found.\r\n", "No bootable option"),
        ("Welcome to GRUB!\r\nerror: out of memory.\r\n\r\nPress any key to continue...", "out of memory"),
        (
            "Welcome to GRUB!\r\nerror: bad shim signature.\r\nerror: you need to load the kernel first.\r\n",
            "Before that: bad shim signature",
        ),
        (
            f"{KERNEL}Mounting boot media: failed. \r\ninitramfs emergency recovery shell launched.\r\n~ # ",
            "Before that: Mounting boot media: failed",
        ),
        (
            f"{KERNEL}mount: /new_root: can't find UUID=1-2.\r\n"
            "You are now being dropped into an emergency shell.\r\n[rootfs ]# ",
            "can't find UUID=1-2",
        ),
        (f"{KERNEL}An error occurred in stage 1 of the boot process, which\r\n", "stage 1"),
        (f"{KERNEL}Unable to find a medium containing a live file system\r\n(yes): ", "live file system"),
        (
            f"{KERNEL}[ 5.1] systemd[1]: Failed to load SELinux policy.\r\n"
            "[ 5.2] systemd[1]: Freezing execution.\r\n",
            "SELinux",
        ),
        (f"{KERNEL}Ignition has failed. Please ensure your config is valid.\r\n:/# ", "Ignition"),
    ],
)
def test_other_systems_words_for_a_boot_that_stands_still(text: str, said: str) -> None:
    message, remedy = complaint(SHELL_PROMPT, text)
    assert said in message
    assert remedy


@pytest.mark.parametrize(
    "text",
    [
        "Gave up waiting for suspend/resume device\r\nroot@d:~# ",
        "[FAILED] Failed to start systemd-modules-load.service - Load Kernel Modules.\r\nroot@d:~# ",
        "vm login: root (automatic login)\r\n\r\nvm:~# ",
        # Asked for, by rd.break.
        "Entering emergency mode. Exit the shell to continue.\r\n\r\nswitch_root:/# ",
    ],
)
def test_what_only_sounds_so_ends_no_boot(text: str) -> None:
    tracker = SHELL_PROMPT.watch()
    tracker.feed(
        "serial", f"Welcome to GRUB!\r\nerror: no suitable video mode found.\r\n{KERNEL}{text}".encode(), 1.0
    )
    assert tracker.complaint(2.0, False, None) is None
    assert tracker.reached


def test_the_words_of_a_dead_end_mean_nothing_behind_the_shell() -> None:
    tracker = SHELL_PROMPT.watch()
    tracker.feed("serial", f"{KERNEL}/ # ".encode(), 1.0)
    tracker.feed("serial", b"cat log\r\nYou are in emergency mode\r\n/ # ", 2.0)
    assert tracker.reached
    assert tracker.complaint(3.0, False, None) is None


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (f"{KERNEL}\r\nDebian GNU/Linux 13 vm ttyS0\r\n\r\nvm login: ", "logs in by itself"),
        (f"{KERNEL}Please unlock disk vda3_crypt: ", "asks nothing"),
        (f"{KERNEL}Press Enter to continue.\r\n", "logs in by itself"),
        ("UEFI Interactive Shell v2.2\r\nShell> ", "nothing to boot"),
        (f"{KERNEL}[ 1.0] virtio_blk\r\n", "LABKIT_PATIENCE"),
    ],
)
def test_a_guest_that_waits_for_somebody_is_told_by_its_question(text: str, remedy: str) -> None:
    message, action = complaint(SHELL_PROMPT, text, now=1e6)
    assert repr(text.rstrip().rpartition("\n")[2]) in message
    assert remedy in action
