"""The Linux guest of the emulated platform: an initramfs of busybox and bash, and its command line."""

from __future__ import annotations

import hashlib
from pathlib import Path

from labkit.files import write_whole
from labkit.guest import _reseed
from labkit.guest._cpio import Entry, archive, character_device, directory, file, link

COMMAND_LINE = "console=ttyS0 panic=-1 no_timer_check"
"""Command line of the guest's kernel; what the user appends comes behind it."""

SHELL_PORT = "ttyS1"
"""The serial port of the framed shell. The kernel's messages go to ttyS0 and never mix with it."""

INIT_MARKER = "labkit: init"
"""What the guest's init prints first, on the boot log."""

SHELL_MARKER = "labkit: shell"
"""What the guest prints, on the boot log, when its shell port is open."""

# Links for what init needs; it asks busybox for the others itself.
_EARLY = ("sh", "mount", "stty", "setsid", "cat", "echo", "sleep")

_INIT = f"""#!/bin/sh
export PATH=/bin:/sbin HOME=/root TERM=dumb LANG=C.UTF-8
mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
echo '{INIT_MARKER}'
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs security /sys/kernel/security
mount -t tmpfs -o mode=1777 tmp /tmp
/bin/busybox --install -s /bin
hostname tdvm
ip link set lo up
stty -F /dev/{SHELL_PORT} 115200 -echo -onlcr -icrnl -ixon icanon isig noflsh susp undef quit undef
exec setsid -c serve-shell </dev/{SHELL_PORT} >/dev/{SHELL_PORT} 2>&1
"""

# A shell that ends is followed by a new one. The new one learns how the old one ended, so that the
# frame still waiting in the terminal's queue reports it: `exit 7` is status 7 and not silence.
# This script leads the session: a terminal is hung up, and its queue lost, when its leader ends.
# Job control makes the new shell the terminal's foreground, which a killed one could not give back, and
# a stopped one is followed by a new one too.
_SERVE_SHELL = """#!/bin/sh
set -m
trap : INT
cd /root
echo '{marker}' >/dev/console
export PS1= PS2= {environment}
while :; do
    {start}
    export LABKIT_ENDED=$?
done
"""

# Without a line editor: the terminal is nobody's to change. History is the front end's.
_BASH = ("SHELL=/bin/bash HISTFILE=", "bash --noprofile --norc --noediting +H -i")
# A busybox shell greets on standard output before it reads shellrc: that greeting is no command's output.
_ASH = ("ENV=/etc/shellrc", "sh -i 3>&1 >/dev/null")


def build_initramfs(busybox: Path, folder: Path, bash: Path | None = None) -> Path:
    """Write the guest's initramfs into ``folder``, named by its content; a file that is there stays."""
    data = initramfs(busybox.read_bytes(), bash.read_bytes() if bash else None)
    path = folder / f"initramfs-{hashlib.sha256(data).hexdigest()[:16]}.cpio"
    if not path.exists():
        write_whole(path, data)
    return path


def initramfs(busybox: bytes, bash: bytes | None = None) -> bytes:
    """The guest's initramfs around a static ``busybox``; deterministic, uncompressed.

    bash: a static bash, the shell of the guest; without it that is busybox' own.
    """
    return archive(_entries(busybox, bash))


def is_own_initramfs(data: bytes) -> bool:
    """An initramfs says what labkit's own says, so that its boot can be followed and its shell found."""
    return INIT_MARKER.encode() in data and SHELL_MARKER.encode() in data


def _entries(busybox: bytes, bash: bytes | None) -> list[Entry]:
    environment, start = _BASH if bash else _ASH
    serve = _SERVE_SHELL.format(marker=SHELL_MARKER, environment=environment, start=start)
    folders = ("bin", "dev", "etc", "proc", "root", "sbin", "sys", "tmp")
    return [
        *(directory(name) for name in folders),
        *(link(f"bin/{name}", "busybox") for name in _EARLY),
        character_device("dev/console", 5, 1),
        file("bin/busybox", busybox, 0o755),
        *([file("bin/bash", bash, 0o755)] if bash else []),
        file("bin/labkit-reseed", _reseed.program(), 0o755),
        file("bin/serve-shell", serve.encode(), 0o755),
        file("etc/group", b"root:x:0:\n"),
        file("etc/hostname", b"tdvm\n"),
        file("etc/passwd", f"root:x:0:0:root:/root:/bin/{'bash' if bash else 'sh'}\n".encode()),
        file("etc/shellrc", b"exec >&3 3>&-\n"),
        file("init", _INIT.encode(), 0o755),
    ]
