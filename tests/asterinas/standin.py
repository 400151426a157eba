"""A stand-in for an Asterinas image: a real Linux guest that speaks, on the same ports, as the real logs do.

Nothing in it is Asterinas. Its kernel is the guest's Linux; its init loads the drivers of the virtio console,
prints the stages' lines with the colours of the real logs, runs the arguments behind ``--`` under ``script``
on hvc0, and ends QEMU with code 33 by the same port. A note behind the kernel's file holds the sentence by
which the real one is recognized.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lz4.block
import zstandard

from labkit.asterinas.rootfs import asterinas_entries
from labkit.guest import Entry, cpio_archive
from labkit.guest.cpio import directory as cpio_directory
from labkit.guest.cpio import file as cpio_file
from labkit.measure import silence_stub
from labkit.toolchain.toolchain import Toolchain

SIGN = b"\nStand-in, no Asterinas. OSTD initialized. Preparing components.\n"
_MODULES = (
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/char/virtio_console.ko",
)

_INIT = r"""#!/bin/sh
export PATH=/bin HOME=/ TERM=dumb
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts -o mode=600 devpts /dev/pts
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_console; do
    insmod /modules/$module.ko 2>/dev/null
done
CONSOLE=hvc0
for word in $(cat /proc/cmdline); do
    case $word in console=*) CONSOLE=${word#console=} ;; standin.*) eval "${word#standin.}" ;; esac
done
tries=0
while [ ! -c /dev/$CONSOLE ] && [ $tries -lt 50 ]; do tries=$((tries + 1)); sleep 0.1; done
printf 'OSTD initialized. Preparing components.\r\n' >/dev/ttyS0
[ "$hang" != ostd ] || while :; do sleep 1000; done
both() { printf '%s\r\n' "$1" >/dev/ttyS0; printf '%s\n' "$1" >/dev/$CONSOLE; }
both 'Spawn the first kernel thread'
both '[kernel] unpacking initramfs.cpio.gz to rootfs ...'
both '[kernel] rootfs is ready'
exec 3>/dev/$CONSOLE
printf '\033[38;2;87;180;249mP\033[39m\033[38;2;1;1;1mresented\033[39m by the Asterinas developers\n' >&3
printf 'mount: mounting /dev/vda on /ext2 failed: No such file or directory\n' >/dev/$CONSOLE
[ "$panic" != init ] || {
    both '[     0.771] ERROR : Uncaught panic:'
    both '	The init process terminates with code 32512'
    both '	at /root/asterinas/kernel/src/init.rs:108'
    debug-exit-20
}
cd /
cat >/bin/on-console <<'END'
#!/bin/sh
script -q -c "$*" /dev/null
debug-exit-10
END
chmod 755 /bin/on-console
[ $# -gt 0 ] || set -- sh -l
exec setsid -c on-console "$@" </dev/$CONSOLE >/dev/$CONSOLE 2>&1
"""


def initramfs(toolchain: Toolchain, folder: Path) -> Path:
    """The stand-in's root file system."""
    assert toolchain.modules is not None
    modules = {Path(name).name: _module(toolchain.modules / "kernel" / name) for name in _MODULES}
    plain = asterinas_entries(toolchain.busybox.read_bytes(), _INIT)
    entries = [
        *(entry for entry in plain if entry.path != "bin/script"),
        cpio_file("bin/debug-exit-10", debug_exit(0x10), 0o755),
        cpio_file("bin/debug-exit-20", debug_exit(0x20), 0o755),
        *program(Path(shutil.which("script") or "/usr/bin/script")),
        cpio_directory("modules"),
        *(cpio_file(f"modules/{name}", data) for name, data in modules.items() if data),
    ]
    path = folder / "initramfs.cpio.gz"
    path.write_bytes(gzip.compress(cpio_archive(entries), compresslevel=1, mtime=0))
    return path


def program(path: Path) -> list[Entry]:
    """A program of this machine with its libraries: busybox of the distribution has no ``script``."""
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    libraries = [Path(word) for word in listed.split() if word.startswith("/")]
    folders = {str(parent)[1:] for library in libraries for parent in library.parents if parent != Path("/")}
    return [
        *(cpio_directory(folder) for folder in sorted(folders)),
        *(cpio_file(str(library)[1:], library.read_bytes(), 0o755) for library in libraries),
        cpio_file(f"bin/{path.name}", path.read_bytes(), 0o755),
    ]


def debug_exit(value: int) -> bytes:
    """A static program that writes one byte to the port of QEMU's isa-debug-exit, as the real kernel does."""
    code = (
        b"\xbf\xf4\0\0\0\xbe\x01\0\0\0\xba\x01\0\0\0\xb8\xad\0\0\0\x0f\x05"  # ioperm(0xf4, 1, 1)
        + bytes([0xB0, value, 0xE6, 0xF4])  # mov al, value; out 0xf4, al
        + b"\xbf\0\0\0\0\xb8\x3c\0\0\0\x0f\x05"  # exit(0)
    )
    base, headers = 0x400000, 64 + 56
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    size = headers + len(code)
    return elf + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


def bzimage(toolchain: Toolchain, folder: Path) -> Path:
    """The Linux bzImage, with the sign appended."""
    path = folder / "aster-standin.bzImage"
    path.write_bytes(toolchain.kernel.read_bytes() + SIGN)
    return path


def elf(toolchain: Toolchain, folder: Path) -> Path:
    """The Linux ELF that the bzImage holds, with the sign appended; QEMU enters it by its PVH note."""
    data = toolchain.kernel.read_bytes()
    path = folder / "aster-standin.elf"
    path.write_bytes(vmlinux(data) + SIGN)
    return path


def _module(path: Path) -> bytes:
    """A kernel module, compressed or not; empty where the kernel has it built in."""
    packed = path.with_name(f"{path.name}.xz")
    if packed.exists():
        return lzma.decompress(packed.read_bytes())
    return path.read_bytes() if path.exists() else b""


def vmlinux(bzimage: bytes) -> bytes:
    """The ELF inside a bzImage, whose payload is compressed as its header says (Linux boot protocol 2.08)."""
    setup = (bzimage[0x1F1] + 1) * 512
    offset = int.from_bytes(bzimage[0x248:0x24C], "little")
    length = int.from_bytes(bzimage[0x24C:0x250], "little")
    payload = bzimage[setup + offset : setup + offset + length]
    if payload[:6] == b"\xfd7zXZ\x00":
        return lzma.decompress(payload[:-4])
    if payload[:4] == b"\x02\x21\x4c\x18":
        return b"".join(_lz4_blocks(payload[4:-4]))
    return zstandard.ZstdDecompressor().decompressobj().decompress(payload[:-4])


def _lz4_blocks(data: bytes) -> Iterator[bytes]:
    """The blocks of LZ4's legacy frame, of up to 8 MiB each (lz4 doc/lz4_Frame_format.md)."""
    while data:
        size = int.from_bytes(data[:4], "little")
        yield lz4.block.decompress(data[4 : 4 + size], uncompressed_size=8 << 20)
        data = data[4 + size :]


GRUB = """\
serial --unit=0
terminal_output serial
set timeout=0
menuentry "{name}" {{
    linux /boot/{name}-osdk SHELL=/bin/sh PATH=/bin init=/init console={console} -- sh -l
    initrd /boot/initramfs.cpio.gz
}}
"""


def iso(toolchain: Toolchain, folder: Path, console: str = "hvc0", name: str = "asterinas") -> Path:
    """A GRUB rescue ISO of the stand-in, as OSDK makes one; of another name, it passes for no Asterinas."""
    tree = folder / "iso"
    (tree / "boot/grub").mkdir(parents=True)
    shutil.copyfile(toolchain.kernel, tree / f"boot/{name}-osdk")
    shutil.copyfile(initramfs(toolchain, folder), tree / "boot/initramfs.cpio.gz")
    (tree / "boot/grub/grub.cfg").write_text(GRUB.format(console=console, name=name))
    path = folder / "aster-standin.iso"
    made = subprocess.run(["grub-mkrescue", "-o", path, tree], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr.decode()
    return path


def speaker(text: bytes, value: int | None, machine: int = 62) -> bytes:
    """A multiboot ELF that prints a text on ttyS0, then ends QEMU by the debug port, or halts for ever.

    Like OSDK's kernels it is a 64-bit ELF with a multiboot header; ``machine`` is the processor it claims.
    """
    base, start = 0x100000, 64 + 56
    header = struct.pack("<III", 0x1BADB002, 0, 0x100000000 - 0x1BADB002)
    loop = (
        b"\xac\x84\xc0\x74\x14\x88\xc4"  # lodsb; test al, al; jz end; mov ah, al
        b"\x66\xba\xfd\x03\xec\xa8\x20\x74\xfb"  # until the port is free: in al, 0x3fd; test al, 0x20
        b"\x88\xe0\x66\xba\xf8\x03\xee\xeb\xe7"  # mov al, ah; out 0x3f8, al; jmp
    )
    end = bytes([0xB0, value, 0xE6, 0xF4]) if value is not None else b""
    halt = b"\xfa\xf4\xeb\xfd"
    entry = base + start + len(header)
    code = loop + end + halt
    message = entry + 5 + len(code)
    body = header + b"\xbe" + struct.pack("<I", message) + code + text.replace(b"\0", b"") + b"\0"
    size = start + len(body)
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    return elf + struct.pack("<IIQQQQQQ", 1, 7, 0, base, base, size, size, 0x1000) + body + bytes(1024)


def silent(toolchain: Toolchain) -> bytes:
    """The Linux bzImage as an Asterinas: with the sign, and with an EFI stub that has nothing measured."""
    return silence_stub(toolchain.kernel.read_bytes()) + SIGN
