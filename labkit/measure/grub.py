"""What a GRUB with its ``tpm`` module measures, by its rules and from files alone.

GRUB 2.12, module ``tpm``: each command goes into PCR 8 as its words with one space between them, quotes gone;
the kernel's command line goes there as well, as the words behind ``linux``; each file that is read goes into
PCR 9 by its content. ``grub_cmd:`` and ``kernel_cmdline:`` stand in an event's description only. In a TD the
same events go through the firmware's CC protocol into RTMR2 (GRUB's source; never tried). Found by hashing
the events of real boots.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from labkit.errors import UsageError

KERNEL_PATH, INITRD_PATH, CONFIG_PATH = "/boot/kernel", "/boot/initrd", "/boot/grub/grub.cfg"

# What GRUB's scanner leaves alone outside quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_./:,=@%+~^-]+")
_CHANGED = ("'", '"', "\\")
# In an image of GRUB, where its core says it.
_VERSION = re.compile(rb"\0GNU GRUB  version %s\0(\d)\.(\d\d)")


class What(StrEnum):
    """What an event of GRUB's measures."""

    CONFIG = "configuration"
    COMMAND = "command"
    KERNEL = "kernel"
    LINE = "command line"
    INITRD = "initrd"


@dataclass(frozen=True)
class LoaderEvent:
    """One event: what it measures, the name by which a log shows it, the bytes that are hashed.

    data: None where they are the kernel's or the initrd's content.
    """

    what: What
    name: str
    data: bytes | None = None


def check_command_line(command_line: str) -> None:
    """Refuse what would reach the kernel in another form than it was written.

    Raises:
        UsageError: GRUB puts a backslash before quotes and backslashes.
    """
    if any(sign in command_line for sign in _CHANGED):
        raise UsageError(
            "The boot loader cannot hand over quotes and backslashes in a command line as they are.",
            "Leave them out.",
        )


def grub_commands(command_line: str, initrd: bool) -> list[list[str]]:
    """The commands of the boot, as words."""
    with_initrd = [["initrd", INITRD_PATH]] if initrd else []
    return [["linux", KERNEL_PATH, *command_line.split()], *with_initrd, ["boot"]]


def grub_config(command_line: str, initrd: bool = True) -> bytes:
    """The ``grub.cfg`` that boots a kernel with this command line, and nothing else.

    Raises:
        UsageError: see ``check_command_line``.
    """
    check_command_line(command_line)
    lines = [" ".join(_quoted(word) for word in words) for words in grub_commands(command_line, initrd)]
    return "".join(f"{line}\n" for line in lines).encode()


def load_options(command_line: str, loader: bytes) -> bytes:
    """The load options that the kernel's stub finds and has measured, as GRUB ``loader`` makes them.

    They end without a NUL under GRUB 2.12, and with one under 2.14; found by hashing what boots measured.
    """
    words = " ".join([f"BOOT_IMAGE={KERNEL_PATH}", *command_line.split()])
    version = _VERSION.search(loader)
    end = "\0" if version and (int(version[1]), int(version[2])) >= (2, 14) else ""
    return f"{words}{end}".encode("utf-16-le", "surrogatepass")


def loader_events(command_line: str, initrd: bool = True) -> Iterator[LoaderEvent]:
    """The events of a boot with ``grub_config``, in their order.

    The configuration is read twice: to see whether it is there, and to run it.
    """
    config = grub_config(command_line, initrd)
    yield LoaderEvent(What.CONFIG, CONFIG_PATH, config)
    yield LoaderEvent(What.CONFIG, CONFIG_PATH, config)
    for words in grub_commands(command_line, initrd):
        yield LoaderEvent(What.COMMAND, f"grub_cmd: {words[0]}", " ".join(words).encode())
        if words[0] == "linux":
            yield LoaderEvent(What.KERNEL, KERNEL_PATH)
            yield LoaderEvent(What.LINE, "kernel_cmdline:", " ".join(words[1:]).encode())
        elif words[0] == "initrd":
            yield LoaderEvent(What.INITRD, INITRD_PATH)


def event_name(data: bytes) -> str:
    """The name of a logged event: a command's first word, or the path of a file without its device."""
    text = data.decode("utf-8", "replace").rstrip("\0")
    if found := re.match(r"(grub_cmd: \S+|kernel_cmdline:)", text):
        return found[1]
    return re.sub(r"^\([^)]*\)", "", text)


def _quoted(word: str) -> str:
    return word if _PLAIN.fullmatch(word) else f"'{word}'"
