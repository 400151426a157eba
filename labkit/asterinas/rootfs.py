"""A root file system for an Asterinas kernel that comes without one: busybox, and an init of upstream's kind.

Its init does what the development container's does at the end: it runs the arguments behind ``--`` on a
terminal of their own, which gives the shell job control, and powers off behind them. Never tried on a real
Asterinas; the programs make the system calls that upstream's make there.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from labkit.asterinas.terminal import terminal_program
from labkit.files import keep_whole
from labkit.guest import Entry, cpio_archive
from labkit.guest.cpio import directory as cpio_directory
from labkit.guest.cpio import file as cpio_file
from labkit.guest.cpio import link as cpio_link

# Links for what init needs; it asks busybox for the others itself.
_EARLY = ("sh", "mkdir", "mount", "poweroff", "stty")

_INIT = """#!/bin/sh
export PATH=/bin:/sbin HOME=/ TERM=dumb
/bin/busybox --install -s /bin 2>/dev/null
# Asterinas fills /dev by itself; Linux is asked to, and has no console before.
[ -c /dev/null ] || { mount -t devtmpfs dev /dev; exec </dev/console >/dev/console 2>&1; }
mount -t proc none /proc 2>/dev/null
mount -t sysfs none /sys 2>/dev/null
[ $# -gt 0 ] || set -- sh -l
# Asterinas has this one too.
[ -e /dev/pts/ptmx ] || { mkdir -p /dev/pts; mount -t devpts dev /dev/pts; } 2>/dev/null
cd /
own-terminal /bin/sh -c 'exec "$@"' sh "$@"
poweroff -f
"""


def asterinas_entries(busybox: bytes, init: str = _INIT) -> list[Entry]:
    """The files of the root file system around a static ``busybox``."""
    folders = ("bin", "dev", "etc", "proc", "root", "sbin", "sys", "tmp", "ext2", "exfat")
    return [
        *(cpio_directory(name) for name in folders),
        *(cpio_link(f"bin/{name}", "busybox") for name in _EARLY),
        cpio_file("bin/busybox", busybox, 0o755),
        cpio_file("bin/own-terminal", terminal_program(), 0o755),
        cpio_file("etc/group", b"root:x:0:\n"),
        cpio_file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n"),
        cpio_file("init", init.encode(), 0o755),
    ]


def build_asterinas_initramfs(busybox: Path, folder: Path) -> Path:
    """Write the root file system into ``folder``, compressed as the kernel wants it, named by its content."""
    data = gzip.compress(cpio_archive(asterinas_entries(busybox.read_bytes())), mtime=0)
    path = folder / f"asterinas-{hashlib.sha256(data).hexdigest()[:16]}.cpio.gz"
    keep_whole(path, data)
    return path
