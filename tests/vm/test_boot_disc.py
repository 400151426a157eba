"""A boot disc made by programs that are played: which words they get, and which discs are kept."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import MissingComponent
from labkit.settings import Settings
from labkit.toolchain.loader import Loader
from labkit.vm.boot_disc import build_boot_disc, loader_image

from ..toolchain.stubs import write_program

LINKER = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
MADE = "usr/bin/grub-mkimage"
# Which word follows -o or -i is the file to make.
MAKES = """for word; do [ "$last" = -o ] && file=$word; [ "$last" = -i ] && file=$word; last=$word; done"""


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    tree = tmp_path / "tree"
    write_program(tree / LINKER, 'shift 3; exec "$@"')
    write_program(tree / MADE, f'{MAKES}; echo "$*" >"$file"; echo "$*" >>{tmp_path}/made')
    write_program(tree / "usr/bin/mformat", f'{MAKES}; head -c 4096 /dev/zero >"$file"')
    write_program(tree / "usr/bin/mmd", "")
    write_program(tree / "usr/bin/mcopy", 'cat "$3" >>"$2"')
    return Loader(tree)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings.load(), cache_dir=tmp_path / "cache")


def test_the_loader_is_made_once_and_measures(loader: Loader, settings: Settings, tmp_path: Path) -> None:
    image = loader_image(loader, settings)
    assert image == loader_image(loader, settings)
    (made,) = (tmp_path / "made").read_text().splitlines()
    assert "-O x86_64-efi -p (cd0)/boot/grub" in made
    assert " tpm " in made


def test_a_disc_has_the_loader_and_the_files_and_is_made_once(
    loader: Loader, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "kernel").write_bytes(b"a kernel")
    made = build_boot_disc(
        loader,
        {"/boot/kernel": tmp_path / "kernel"},
        {"/boot/grub/grub.cfg": b"a menu", "/boot/grub/more": b"x"},
        settings,
    )
    data = made.path.read_bytes()
    for part in (b"a kernel", b"a menu", b"GRUB.CFG;1", b"KERNEL.;1", b"LABKIT", made.loader):
        assert part in data
    os.utime(made.path, (1, 1))
    again = build_boot_disc(
        loader,
        {"/boot/kernel": tmp_path / "kernel"},
        {"/boot/grub/grub.cfg": b"a menu", "/boot/grub/more": b"x"},
        settings,
    )
    assert again == made
    assert made.path.stat().st_mtime > 1, "it counts as used"
    assert [path.suffix for path in made.path.parent.iterdir() if path != made.path] == [".efi"]


def test_the_discs_used_longest_ago_go_and_what_a_killed_process_left(
    loader: Loader, settings: Settings
) -> None:
    folder = settings.cache_dir / "discs"
    old, new = folder / "tmpold", folder / "tmpnew"
    for left in (old, new):
        left.mkdir(parents=True)
    discs = []
    for number in range(6):
        disc = build_boot_disc(loader, {}, {"/boot/grub/grub.cfg": bytes([number])}, settings)
        os.utime(disc.path, (1000 + number, 1000 + number))
        discs.append(disc.path)
    os.utime(discs[0])
    os.utime(old, (1, 1))
    seventh = build_boot_disc(loader, {}, {"/boot/grub/grub.cfg": b"one more"}, settings)
    assert sorted(folder.glob("*.iso")) == sorted([*discs[:1], *discs[2:], seventh.path])
    assert (old.exists(), new.exists()) == (False, True)


def test_a_program_that_fails_is_quoted(loader: Loader, settings: Settings) -> None:
    write_program(loader.tree / MADE, "echo first >&2; echo the last line >&2; exit 3")
    with pytest.raises(MissingComponent, match="grub-mkimage says 'the last line'"):
        loader_image(loader, settings)
    write_program(loader.tree / MADE, "exit 3")
    with pytest.raises(MissingComponent, match="grub-mkimage says 'nothing'"):
        loader_image(loader, settings)
