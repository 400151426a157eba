"""Which drivers a kernel's folder of modules has for the shell's port."""

from __future__ import annotations

import lzma
from pathlib import Path

from labkit.guest.initramfs import build_initramfs, shell_port
from labkit.guest.modules import port_modules


def module(folder: Path, path: str, depends: str, *, packed: bool = False) -> bytes:
    """A file with what a module says of itself."""
    data = b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0"
    file = folder / "kernel" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(lzma.compress(data) if packed else data)
    return data


def test_each_module_comes_behind_those_that_it_needs_and_unpacked(tmp_path: Path) -> None:
    pci = module(tmp_path, "drivers/virtio/virtio_pci.ko.xz", "virtio_ring,virtio-base", packed=True)
    ring = module(tmp_path, "drivers/virtio/virtio_ring.ko", "")
    base = module(tmp_path, "drivers/virtio/virtio-base.ko", "virtio_ring")
    console = module(tmp_path, "drivers/char/virtio_console.ko", "virtio_ring")
    names = ("virtio_ring", "virtio_base", "virtio_pci", "virtio_console")
    assert port_modules(tmp_path) == tuple(zip(names, (ring, base, pci, console), strict=True))


def test_drivers_that_are_built_in_need_no_module(tmp_path: Path) -> None:
    lines = ("kernel/drivers/virtio/virtio_pci.ko", "kernel/drivers/char/virtio_console.ko")
    (tmp_path / "modules.builtin").write_text("\n".join(lines))
    assert port_modules(tmp_path) == ()


def test_without_all_drivers_the_shell_is_on_a_serial_port(tmp_path: Path) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"busybox")
    module(tmp_path, "drivers/char/virtio_console.ko", "virtio_ring")
    module(tmp_path, "drivers/virtio/virtio_pci.ko.zst", "")
    assert port_modules(tmp_path) is None
    assert port_modules(None) is None
    made = build_initramfs(busybox, tmp_path, None, tmp_path).read_bytes()
    assert (shell_port(made), b"insmod" in made) == ("ttyS1", False)


def test_an_initramfs_says_where_its_shell_is(tmp_path: Path) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"busybox")
    (tmp_path / "modules.builtin").write_text("kernel/a/virtio_pci.ko kernel/b/virtio_console.ko")
    assert shell_port(build_initramfs(busybox, tmp_path, None, tmp_path).read_bytes()) == "hvc0"
    assert shell_port(b"another one") is None
