"""A small world of packages: stand-ins for apt and dpkg that need neither network nor root."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

TDX_METADATA = uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le


def flash(size: int, *, tdx: bool) -> bytes:
    """A flash image, with or without the TDX metadata entry where OVMF keeps it."""
    body = bytearray(b"\xff" * size)
    if tdx:
        body[-162 : -162 + 16] = TDX_METADATA
    return bytes(body)


def write_firmware(
    root: Path, suffix: str = "", *, size: int = 8192, tdx: bool = True, image: bool = True
) -> None:
    """Write an OVMF build as a package lays it out: code, variables and both in one file."""
    folder = root / "usr/share/OVMF"
    folder.mkdir(parents=True, exist_ok=True)
    variables, code = bytes(4096), flash(size, tdx=tdx)
    (folder / f"OVMF_CODE{suffix}.fd").write_bytes(code)
    (folder / f"OVMF_VARS{suffix}.fd").write_bytes(variables)
    if image:
        (root / "usr/share/ovmf").mkdir(exist_ok=True)
        (root / "usr/share/ovmf/OVMF.fd").write_bytes(variables + code)


def write_program(path: Path, text: str = "echo version 1") -> None:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def write_guest(root: Path, release: str, *, busybox: bool = True) -> None:
    """Write a kernel, its modules and busybox as their packages lay them out."""
    (root / "boot").mkdir(parents=True, exist_ok=True)
    (root / "boot" / f"vmlinuz-{release}").write_bytes(b"MZ")
    (root / "usr/lib/modules" / release).mkdir(parents=True, exist_ok=True)
    if busybox:
        write_program(root / "usr/bin/busybox")
        write_program(root / "usr/bin/bash-static")


@dataclass(frozen=True)
class World:
    """The stand-ins' folder, what ``dpkg-deb`` unpacks from, and a record of every call."""

    bin: Path
    content: Path
    record: Path

    def calls(self, word: str) -> list[str]:
        """The recorded calls that contain ``word``."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return [line for line in lines if word in line]

    def real_installs(self) -> list[str]:
        """The calls of apt-get that would have changed the system."""
        return [
            call for call in self.calls(" install ") if not re.search("--(download-only|print-uris)", call)
        ]

    def break_apt(self, message: str, status: int = 100) -> None:
        """Make every apt-get end with this message."""
        write_program(self.bin / "apt-get", f"echo '{message}' >&2; exit {status}")


def build(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    grub: str = "2.12-9",
    mirror: str = "Debian|Debian|main|http://mirror/debian/",
) -> World:
    """Put a system in place that has nothing of the emulated platform.

    grub: the version that its package sources offer. mirror: what they say of themselves.
    """
    world = World(folder / "bin", folder / "content", folder / "record")
    monkeypatch.setenv("PATH", str(world.bin))
    (folder / "system").mkdir()
    monkeypatch.setattr("labkit.toolchain.toolchain.SYSTEM", folder / "system")
    write_program(
        world.bin / "apt-cache",
        "for name; do :; done\ncase $name in linux-image-cloud-amd64)"
        ' echo "Depends: linux-image-6.1.0-9-cloud-amd64 (= 6.1.9-1)";;'
        f" grub-efi-amd64-bin) echo 'Version: {grub}';; esac",
    )
    write_program(
        world.bin / "apt-get",
        f"""echo "$*" >>{world.record}
for word; do case $word in
    Dir::State::lists=*) lists=${{word#*=}};;
    Dir::Cache=*) cache=${{word#*=}};;
esac; done
case " $* " in
    *" update "*) : >"$lists/main_Packages";;
    *" indextargets "*) echo '{mirror}';;
    *" --print-uris "*) echo "'http://x/a.deb' a.deb 1000000 SHA256:0";;
    *" --download-only "*) : >"$cache/archives/programs_1_amd64.deb"; : >"$cache/archives/libc6_2_amd64.deb";;
    *" download "*grub-efi*) : >loader_1_amd64.deb;;
    *" download "*) : >guest_1_amd64.deb;;
    *" install "*) /bin/cp -r {world.content}/programs_1_amd64.deb/. {folder}/system
        /bin/cp {folder}/system/usr/bin/* {world.bin};;
esac""",
    )
    write_program(world.bin / "dpkg-deb", f'/bin/cp -r {world.content}/"${{2##*/}}"/. "$3"')
    programs = world.content / "programs_1_amd64.deb"
    for name in ("qemu-system-x86_64", "swtpm", "swtpm_setup"):
        write_program(programs / "usr/bin" / name)
    write_firmware(programs)
    write_guest(world.content / "guest_1_amd64.deb", "6.1.0-9-cloud-amd64")
    loader = world.content / "loader_1_amd64.deb"
    (loader / "usr/lib/grub/x86_64-efi").mkdir(parents=True)
    for name in ("grub-mkimage", "mformat", "mcopy"):
        write_program(loader / "usr/bin" / name)
    return world
