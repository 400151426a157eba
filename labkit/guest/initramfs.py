"""The Linux guest of the emulated platform: an initramfs of busybox and bash, and its command line."""

from __future__ import annotations

import hashlib
from pathlib import Path

from labkit.files import keep_whole
from labkit.guest import reseed
from labkit.guest.cpio import Entry, archive, character_device, directory, file, link, pipe
from labkit.guest.modules import Modules, port_modules

COMMAND_LINE = "console=ttyS0 panic=-1 no_timer_check"
"""Command line of the guest's kernel; what the user appends comes behind it."""

SERIAL, VIRTIO = "ttyS1", "hvc0"
"""Ports of the framed shell: the second serial port, or a virtio console, which is a hundred times as fast.

The kernel's messages go to ttyS0 and never mix with it.
"""

INIT_MARKER = "labkit: init"
"""What the guest's init prints first, on the boot log."""

NO_PORT = f"labkit: there is no {VIRTIO} for the shell"
"""What the guest prints, on the boot log, where its drivers do not fit its kernel or its machine."""

SHELL_MARKER = "labkit: shell"
"""What the guest prints, on the boot log, when its shell port is open."""

# Links for what init needs; it asks busybox for the others itself.
_EARLY = ("sh", "mount", "stty", "setsid", "cat", "echo", "sleep")

_PORT = b"\nSHELL_PORT=%s\n"

_INIT = """#!/bin/sh
export PATH=/bin:/sbin HOME=/root TERM=dumb LANG=C.UTF-8
SHELL_PORT={port}
mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
echo '{marker}'
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs security /sys/kernel/security
mount -t tmpfs -o mode=1777 tmp /tmp
/bin/busybox --install -s /bin
hostname tdvm
ip link set lo up
{reseed}
{load}{serve}"""

_SERVE = """exec setsid -c serve-shell </dev/{port} >/dev/{port} 2>&1
"""

# The port appears a moment after its driver. Each write raises an interrupt that finds nothing left to do,
# and the kernel would switch off one with a hundred thousand of those. The driver's thread is woken by each
# write as well, and need not run at once.
_LOAD = """echo Y >/sys/module/spurious/parameters/noirqdebug
for module in {modules}; do insmod /lib/$module.ko; done
for pause in 1 2 3 4 5 6 7 8 9; do
    [ -c /dev/{port} ] && break
    sleep 0.$pause
done
[ -c /dev/{port} ] || {{ echo '{no_port}'; exec sleep 9999; }}
renice -n 19 -p $(pidof khvcd) >/dev/null
"""

# A shell that ends is followed by a new one. The new one learns how the old one ended, so that the
# frame still waiting in the terminal's queue reports it: `exit 7` is status 7 and not silence.
# This script leads the session: a terminal is hung up, and its queue lost, when its leader ends.
# It sets the terminal up, too: a virtio console forgets its settings when nobody has it open.
# Job control makes the new shell the terminal's foreground, which a killed one could not give back, and
# a stopped one is followed by a new one too.
_SERVE_SHELL = """#!/bin/sh
stty 115200 -echo -onlcr -icrnl -ixon icanon isig noflsh susp undef quit undef
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
# A busybox shell greets on standard output before it reads shellrc: that greeting is not a command's output.
_ASH = ("ENV=/etc/shellrc", "sh -i 3>&1 >/dev/null")


def build_initramfs(
    busybox: Path, folder: Path, bash: Path | None = None, modules: Path | None = None
) -> Path:
    """Write the guest's initramfs into ``folder``, named by its content; a file that is there stays.

    modules: the folder of the kernel's modules; without the drivers there, the shell is on a serial port.
    """
    data = initramfs(busybox.read_bytes(), bash.read_bytes() if bash else None, port_modules(modules))
    path = folder / f"initramfs-{hashlib.sha256(data).hexdigest()[:16]}.cpio"
    keep_whole(path, data)
    return path


def initramfs(busybox: bytes, bash: bytes | None = None, modules: Modules | None = None) -> bytes:
    """The guest's initramfs around a static ``busybox``; deterministic, uncompressed.

    bash: a static bash, the shell of the guest; without it that is busybox' own.
    modules: for a virtio console; None where the kernel has none, and the shell is on a serial port.
    """
    return archive(_entries(busybox, bash, modules))


def shell_port(data: bytes) -> str | None:
    """Where the shell of an initramfs is, which says what labkit's own says; None for any other.

    Only of such a one can the boot be followed and the shell be found.
    """
    if INIT_MARKER.encode() not in data or SHELL_MARKER.encode() not in data:
        return None
    return VIRTIO if _PORT % VIRTIO.encode() in data else SERIAL


def _entries(busybox: bytes, bash: bytes | None, modules: Modules | None) -> list[Entry]:
    environment, start = _BASH if bash else _ASH
    serve = _SERVE_SHELL.format(marker=SHELL_MARKER, environment=environment, start=start)
    port, load = SERIAL, ""
    if modules is not None:
        names = " ".join(name for name, _ in modules)
        port, load = VIRTIO, _LOAD.format(modules=names, port=VIRTIO, no_port=NO_PORT)
    init = _INIT.format(
        port=port, marker=INIT_MARKER, reseed=reseed.SERVE, load=load, serve=_SERVE.format(port=port)
    )
    folders = ("bin", "dev", "etc", "lib", "proc", "root", "sbin", "sys", "tmp")
    return [
        *(directory(name) for name in folders),
        *(link(f"bin/{name}", "busybox") for name in _EARLY),
        character_device("dev/console", 5, 1),
        file("bin/busybox", busybox, 0o755),
        *([file("bin/bash", bash, 0o755)] if bash else []),
        file("bin/labkit-reseed", reseed.program(), 0o755),
        file("bin/serve-shell", serve.encode(), 0o755),
        *(file(f"lib/{name}.ko", data) for name, data in modules or ()),
        file("etc/group", b"root:x:0:\n"),
        file("etc/hostname", b"tdvm\n"),
        *(pipe(path) for path in (reseed.SEED, reseed.SEEDED)),
        file("etc/passwd", f"root:x:0:0:root:/root:/bin/{'bash' if bash else 'sh'}\n".encode()),
        file("etc/shellrc", b"exec >&3 3>&-\n"),
        file("init", init.encode(), 0o755),
    ]
