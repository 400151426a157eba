from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import NotAKernel
from labkit.guest.kernel_image import check_kernel
from labkit.guest.types import LINUX
from labkit.toolchain.toolchain import Firmware
from labkit.vm import BootSpec
from labkit.vm.qemu import Sockets, qemu_arguments
from labkit.vm.spec import Accel, TrustDomain

SPEC = BootSpec(
    Firmware(Path("/f/code.fd"), Path("/f/vars,1.fd"), Path("/f/whole.fd")),
    Path("/k/vmlinuz"),
    Path("/k/initrd"),
    "console=ttyS0 a=b",
    LINUX,
    memory=512,
)
WIRES = Sockets(boot_log=3, shell=4, control=5, tpm=6)


def following(arguments: list[str], option: str) -> list[str]:
    return [after for word, after in itertools.pairwise(arguments) if word == option]


def test_firmware_is_read_only_and_variables_are_the_machines_own() -> None:
    drives = following(qemu_arguments(SPEC, Accel.TCG, WIRES, Path("/w/vars,1.fd")), "-drive")
    assert drives == [
        "if=pflash,unit=0,format=raw,readonly=on,file=/f/code.fd",
        "if=pflash,unit=1,format=raw,file=/w/vars,,1.fd",
    ]


def test_the_boot_log_is_the_first_serial_port_and_the_shell_the_second() -> None:
    arguments = qemu_arguments(SPEC, Accel.TCG, WIRES, Path("/w/vars"))
    assert following(arguments, "-serial") == ["chardev:log", "chardev:shell"]
    assert "socket,id=log,fd=3" in arguments
    assert "socket,id=shell,fd=4" in arguments


def test_without_firmware_or_tpm_there_is_neither() -> None:
    spec = replace(SPEC, firmware=None)
    words = " ".join(qemu_arguments(spec, Accel.KVM, Sockets(3, 4, 5), Path("/w/vars")))
    assert "pflash" not in words
    assert "tpm" not in words
    assert "-accel kvm -cpu host" in words


def test_the_command_line_is_one_word() -> None:
    arguments = qemu_arguments(SPEC, Accel.TCG, WIRES, Path("/w/vars"))
    assert following(arguments, "-append") == ["console=ttyS0 a=b"]


def test_a_machine_to_resume_waits_for_its_state() -> None:
    arguments = qemu_arguments(SPEC, Accel.TCG, WIRES, Path("/w/vars"), resume=True)
    assert following(arguments, "-incoming") == ["defer"]
    # What booted is in its memory; a drive is one of its devices.
    assert not {"-kernel", "-initrd", "-append"} & set(arguments)
    disc = replace(SPEC, kernel=None, initrd=None, iso=Path("/i.iso"))
    arguments = qemu_arguments(disc, Accel.TCG, WIRES, Path("/w/vars"), resume=True)
    assert any("media=cdrom" in word for word in arguments)


def bzimage(magic: bytes = b"HdrS", mz: bytes = b"MZ", flags: int = 0x3F) -> bytes:
    image = bytearray(0x1000)
    image[:2] = mz
    image[0x202:0x206] = magic
    image[0x236:0x238] = flags.to_bytes(2, "little")
    return bytes(image)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a Linux kernel image"),
        (b"#!/bin/sh\n" * 500, "not a Linux kernel image"),
        (b"\x7fELF" + bytes(0x1000), "ELF file"),
        (bzimage(magic=b"XXXX"), "not a Linux kernel image"),
        (bzimage(mz=b"\xea\x05"), "without a 64-bit EFI stub"),
        (bzimage(flags=0), "without a 64-bit EFI stub"),
    ],
)
def test_a_file_that_firmware_cannot_start_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(content)
    with pytest.raises(NotAKernel, match=words):
        check_kernel(path)


def test_a_kernel_with_an_efi_stub_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(bzimage())
    check_kernel(path)
    with pytest.raises(NotAKernel, match="cannot be read"):
        check_kernel(tmp_path / "none")


def test_a_machine_is_told_as_plain_data() -> None:
    document = SPEC.to_dict()
    assert {key: document[key] for key in ("firmware", "kernel", "initrd", "iso", "memory", "td")} == {
        "firmware": "/f/code.fd",
        "kernel": "/k/vmlinuz",
        "initrd": "/k/initrd",
        "iso": None,
        "memory": 512,
        "td": False,
    }
    bare = replace(SPEC, firmware=None, kernel=None, initrd=None, iso=Path("/i/a.iso"), td=TrustDomain())
    document = bare.to_dict()
    told = [document[key] for key in ("firmware", "kernel", "initrd", "iso", "td")]
    assert told == [None, None, None, "/i/a.iso", True]
