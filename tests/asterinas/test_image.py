from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.asterinas.boot_image import BootImage, ImageKind
from labkit.asterinas.iso import is_iso, read_from_iso
from labkit.errors import NotAKernel

from .standin import SIGN, speaker

GRUB = b"""\
set timeout=0
menuentry 'asterinas' {
    multiboot2 /boot/asterinas-osdk-bin SHELL=/bin/sh init=/init console=ttyS0 -- sh -l
    module2 --nounzip /boot/initramfs.cpio.gz
}
"""


def iso(files: dict[str, bytes], rock_ridge: bool = True) -> bytes:
    """A minimal ISO 9660 image: one folder below another, and files in the innermost."""
    sector = 2048

    def record(name: bytes, at: int, size: int, folder: bool, long: bytes = b"") -> bytes:
        area = b"NM" + bytes([5 + len(long), 1, 0]) + long if long and rock_ridge else b""
        body = name + (b"" if len(name) % 2 else b"\0") + area
        length = 33 + len(body)
        length += length % 2
        head = struct.pack("<BBI4xI4x7xBBBI", length, 0, at, size, 2 if folder else 0, 0, 0, 1)
        return (head[:32] + bytes([len(name)]) + body).ljust(length, b"\0")

    def folder(entries: bytes) -> bytes:
        dots = record(b"\0", 0, 0, True) + record(b"\1", 0, 0, True)
        return (dots + entries).ljust(sector, b"\0")

    contents, places, at = b"", b"", 21
    for name, data in files.items():
        places += record(name.upper().encode()[:8] + b".CFG;1", at, len(data), False, name.encode())
        contents += data.ljust(-(-len(data) // sector) * sector, b"\0")
        at += -(-len(data) // sector)
    root = record(b"\0", 18, sector, True)
    descriptor = (b"\x01CD001\x01".ljust(156, b"\0") + root).ljust(sector, b"\0")
    return b"".join(
        [
            bytes(16 * sector),
            descriptor,
            b"\xffCD001\x01".ljust(sector, b"\0"),
            folder(record(b"BOOT", 19, sector, True)),
            folder(record(b"GRUB", 20, sector, True)),
            folder(places),
            contents,
        ]
    )


def write(folder: Path, data: bytes) -> Path:
    path = folder / "image"
    path.write_bytes(data)
    return path


def test_a_multiboot_elf_is_told_by_its_header_and_asterinas_by_its_words(tmp_path: Path) -> None:
    image = BootImage.recognize(write(tmp_path, speaker(SIGN, None)))
    assert (image.kind, image.asterinas, image.direct) == (ImageKind.MULTIBOOT, True, True)
    assert "OSTD initialized" in image.why
    other = BootImage.recognize(write(tmp_path, speaker(b"hello", None, machine=3)))
    assert (other.kind, other.asterinas, other.machine) == (ImageKind.MULTIBOOT, False, 3)
    assert "nothing in it says Asterinas" in other.why


def bzimage(words: bytes = b"", efi: bool = True) -> bytes:
    head = bytearray(4096)
    head[0x202:0x206] = b"HdrS"
    if efi:
        head[:2] = b"MZ"
    return bytes(head) + words


def test_a_bzimage_of_asterinas_is_told_by_its_stub(tmp_path: Path) -> None:
    image = BootImage.recognize(
        write(tmp_path, bzimage(b"[EFI stub] Entering the Asterinas entry point at "))
    )
    assert (image.kind, image.asterinas, image.direct) == (ImageKind.BZIMAGE, True, False)
    assert BootImage.recognize(write(tmp_path, bzimage(efi=False))).direct
    assert not BootImage.recognize(write(tmp_path, bzimage(b"Linux version"))).asterinas


@pytest.mark.parametrize("rock_ridge", [True, False])
def test_an_iso_is_told_by_its_boot_loader(tmp_path: Path, rock_ridge: bool) -> None:
    path = write(tmp_path, iso({"grub": b"no", "grub.cfg" if rock_ridge else "grub": GRUB}, rock_ridge))
    image = BootImage.recognize(path)
    assert (image.kind, image.asterinas, image.console) == (ImageKind.ISO, True, "ttyS0")
    assert not image.direct
    assert read_from_iso(path, "boot/grub/grub.cfg") == GRUB
    assert read_from_iso(path, "/boot/none") is None
    assert read_from_iso(path, "boot/grub/grub.cfg/x") is None


def test_an_iso_without_a_configuration_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    image = BootImage.recognize(write(tmp_path, iso({"kernel": SIGN})))
    assert (image.kind, image.asterinas, image.console) == (ImageKind.ISO, True, None)
    assert not BootImage.recognize(write(tmp_path, iso({"kernel": b"another"}))).asterinas


def test_the_linux_of_the_guest_is_no_asterinas(toolchain_kernel: Path) -> None:
    image = BootImage.recognize(toolchain_kernel)
    assert (image.kind, image.asterinas, image.efi) == (ImageKind.BZIMAGE, False, True)


def test_what_cannot_boot_is_refused_with_what_it_is(tmp_path: Path) -> None:
    plain = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, 62) + bytes(2000)
    arm = plain[:18] + struct.pack("<H", 183) + plain[20:]
    for data, words in ((plain, "without a multiboot header"), (arm, "another processor"), (b"x", "1 bytes")):
        with pytest.raises(NotAKernel, match=words):
            BootImage.recognize(write(tmp_path, data))
    with pytest.raises(NotAKernel, match="neither an ELF"):
        BootImage.recognize(write(tmp_path, b"text" * 1000))
    with pytest.raises(NotAKernel, match="cannot be read"):
        BootImage.recognize(tmp_path / "none")
    with pytest.raises(NotAKernel, match="cannot be read"):
        BootImage.recognize(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from([speaker(SIGN, 1), bzimage(), iso({"grub.cfg": GRUB})]), data=st.data())
def test_a_damaged_image_is_told_or_refused(tmp_path: Path, start: bytes, data: st.DataObject) -> None:
    damaged = bytearray(start[: data.draw(st.integers(0, len(start)))])
    for _ in range(data.draw(st.integers(0, 20))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = write(tmp_path, bytes(damaged))
    with contextlib.suppress(NotAKernel):
        BootImage.recognize(path)
    if is_iso(path):
        read_from_iso(path, "boot/grub/grub.cfg")


MENU = b"menuentry 'asterinas' {\n    linux /boot/aster-kernel-osdk-bin console=hvc0\n}\n"


@pytest.mark.parametrize(
    ("configuration", "measures"),
    [
        (b"insmod tpm\n" + MENU, True),
        (b"# first\nset timeout=0\ninsmod part_gpt\n\ninsmod tpm\nset default=0\n" + MENU, True),
        (MENU, False),
        (MENU + b"insmod tpm\n", False),
        (b"# insmod tpm\n" + MENU, False),
        (b"if false; then\ninsmod tpm\nfi\n" + MENU, False),
        (b"menuentry 'other' {\ninsmod tpm\n}\n" + MENU, False),
        (b"insmod tpm\nrmmod tpm\n" + MENU, False),
        (b"insmod tpm\n" + MENU.replace(b"linux", b"rmmod tpm; linux"), False),
        (b"insmod tpm\nconfigfile /other.cfg\n" + MENU, False),
        (b"insmod tpm\nsource /other.cfg\n" + MENU, False),
        (b"insmod tpm\n. /other.cfg\n" + MENU, False),
        (b"configfile /other.cfg\ninsmod tpm\n" + MENU, False),
        (b"insmod tpm\nmenuentry 'x' { chainloader /EFI/other.efi }\n" + MENU, False),
    ],
)
def test_a_loader_measures_only_if_nothing_in_its_configuration_can_prevent_it(
    configuration: bytes, measures: bool, tmp_path: Path
) -> None:
    (tmp_path / "x.iso").write_bytes(iso({"grub.cfg": configuration}))
    assert BootImage.recognize(tmp_path / "x.iso").loader_measures is measures


@pytest.mark.parametrize("words", [b"menuentry 'Asterisk' {", b"menuentry 'disaster recovery' {"])
def test_a_word_that_holds_another_names_no_asterinas(words: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.iso").write_bytes(iso({"grub.cfg": words + b"\n linux /vmlinuz\n}\n"}))
    assert not BootImage.recognize(tmp_path / "x.iso").asterinas


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize(("length", "found"), [(16, True), (4, False), (0, False)])
def test_a_pvh_note_is_looked_for_in_its_segment_alone(
    tmp_path: Path, wide: bool, length: int, found: bool
) -> None:
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", 0x100000)
    at = 0x200 - 8  # the name's length and the value's stand before what is looked for
    if wide:
        head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        rows = struct.pack("<IIQQQQQQ", 1, 7, 0, 0, 0, 64, 64, 1)
        rows += struct.pack("<IIQQQQQQ", 4, 4, 0x200, 0, 0, length, length, 4)
    else:
        head = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 2, 3, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        rows = struct.pack("<IIIIIIII", 1, 0, 0, 0, 64, 64, 7, 1)
        rows += struct.pack("<IIIIIIII", 4, 0x200, 0, 0, length, length, 4, 4)
    path = tmp_path / "kernel"
    path.write_bytes((head + rows).ljust(at, b"\0") + note + bytes(4096))
    if found:
        assert BootImage.recognize(path).kind is ImageKind.PVH
    else:
        with pytest.raises(NotAKernel, match="PVH note"):
            BootImage.recognize(path)


@pytest.mark.parametrize("wide", [True, False])
def test_a_table_of_segments_that_the_file_does_not_hold_has_no_note(tmp_path: Path, wide: bool) -> None:
    size = 4096
    for missing in (1, 20, 39):
        at = size - 40 + missing
        head = (
            struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0, at, 0, 0, 64, 56, 1, 0, 0, 0)
            if wide
            else struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 2, 3, 1, 0, at, 0, 0, 52, 32, 1, 0, 0, 0)
        )
        with pytest.raises(NotAKernel, match="PVH note"):
            BootImage.recognize(write(tmp_path, head.ljust(size, b"\0")))
