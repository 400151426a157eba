"""What the emulated platform is made of, found on the system or among unpacked packages in the cache.

The guest's kernel and busybox are looked for in the cache alone: whatever kernel the host has, the guest's
is the one that labkit unpacked.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from labkit import process
from labkit.errors import MissingComponent
from labkit.settings import Settings
from labkit.show import columns
from labkit.show.markup import join, pre, table

REMEDY = "Run `labkit setup`."

LOADER, LOADER_MODULES = "loader", "usr/lib/grub/x86_64-efi"
LOADER_PROGRAMS = ("grub-mkimage", "mformat", "mcopy")

# The TDX metadata entry of OVMF's table of GUIDs, which ends 32 bytes before the end of the flash
# (TDX Virtual Firmware Design Guide, "TDVF Metadata"); the table fits in the last page.
_TDX_METADATA = uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
SYSTEM = Path("/")
_FIRMWARE_FOLDERS = ("usr/share/OVMF", "usr/share/ovmf", "usr/share/edk2/x64", "usr/share/qemu")
_MULTIARCH = "lib/x86_64-linux-gnu"


@dataclass(frozen=True)
class Program:
    """How to start a program: its path, the words that always come first, variables that it needs."""

    path: Path
    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, hash=False)

    def argv(self, *words: str | Path) -> tuple[str, ...]:
        """The whole command line."""
        return (str(self.path), *self.words, *(str(word) for word in words))

    def environ(self) -> dict[str, str]:
        """The whole environment: that of this process, with what the program needs."""
        return {**os.environ, **self.env}

    @property
    def version_text(self) -> str:
        """What it says of its version, whole; asked once a process."""
        return _version_text(self.argv("--version"), tuple(self.env.items()))

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version; 0.0 where it does not say it, which counts as old."""
        found = re.search(r"version (\d+)\.(\d+)", self.version_text)
        return (int(found[1]), int(found[2])) if found else (0, 0)


@lru_cache(maxsize=8)
def _version_text(argv: tuple[str, ...], env: tuple[tuple[str, str], ...]) -> str:
    return process.run(argv, timeout=20, env={**os.environ, **dict(env)}).text


@dataclass(frozen=True)
class Firmware:
    """An OVMF build with TDVF metadata.

    code, vars: the two flash drives; a machine writes to a copy of ``vars``.
    image: both in one file, as a TD is built from it and as MRTD is computed over it.
    """

    code: Path
    vars: Path
    image: Path


@dataclass(frozen=True)
class Toolchain:
    """Everything that a boot on the emulated platform needs.

    modules: the folder of the guest kernel's modules, where its package has one. bash: the guest's shell;
    without it that is busybox' own.
    """

    qemu: Program
    swtpm: Program
    swtpm_setup: Program
    firmware: Firmware
    kernel: Path
    busybox: Path
    modules: Path | None = None
    bash: Path | None = None


@dataclass(frozen=True)
class Component:
    """One part of the emulated platform: where it is, or None, and the packages that carry it.

    optional: most boots do without it.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    path: Path | None
    optional: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The component as JSON types."""
        status = "missing" if self.path is None else "found"
        path = None if self.path is None else str(self.path)
        return {"name": self.name, "title": self.title, "status": status, "path": path}


@dataclass(frozen=True)
class Inventory:
    """Which parts of the emulated platform there are."""

    components: tuple[Component, ...]

    @property
    def missing(self) -> tuple[Component, ...]:
        """The components that are not there."""
        return tuple(part for part in self.components if part.path is None and not part.optional)

    @property
    def lacks_loader(self) -> bool:
        """The boot loader that measures is not there; only boots that ask for it need it."""
        return any(part.path is None and part.name == LOADER for part in self.components)

    @property
    def complete(self) -> bool:
        """Nothing is missing."""
        return not self.missing

    def to_dict(self) -> dict[str, Any]:
        """The inventory as JSON types."""
        return {"complete": self.complete, "components": [part.to_dict() for part in self.components]}

    def __repr__(self) -> str:
        return f"Inventory({len(self.components) - len(self.missing)} of {len(self.components)} found)"

    def __str__(self) -> str:
        return f"{columns(self._rows())}\n{self._summary()}"

    def _repr_html_(self) -> str:
        return join((table(self._rows(), head=("component", "what it is", "where")), pre(self._summary())))

    def _rows(self) -> list[tuple[str, str, str]]:
        return [(part.name, part.title, str(part.path or "missing")) for part in self.components]

    def _summary(self) -> str:
        if self.complete and self.lacks_loader:
            return f"Complete: the emulated platform can boot, but not with --loader. {REMEDY}"
        if self.complete:
            return "Complete: the emulated platform can boot."
        return f"Missing: {', '.join(part.name for part in self.missing)}. {REMEDY}"


def inventory(settings: Settings) -> Inventory:
    """Look for every component, programs and firmware on the system first; changes nothing."""
    return _look(settings).inventory()


def find(settings: Settings) -> Toolchain:
    """Everything that a boot needs; changes nothing.

    Raises:
        MissingComponent: something is not there.
    """
    found = _look(settings)
    qemu, swtpm = found.qemu, found.swtpm
    firmware, guest = found.firmware, found.guest
    if not (qemu and firmware and swtpm and guest):
        names = ", ".join(part.name for part in found.inventory().missing if part.name != "bash")
        raise MissingComponent(f"The emulated platform is not complete: {names} missing.", REMEDY)
    return Toolchain(qemu, *swtpm, firmware, guest.kernel, guest.busybox, guest.modules, guest.bash)


@dataclass(frozen=True)
class _Guest:
    kernel: Path
    busybox: Path
    modules: Path | None
    bash: Path | None


@dataclass(frozen=True)
class _Found:
    """What one look at the system and the cache found."""

    qemu: Program | None
    firmware: Firmware | None
    swtpm: tuple[Program, Program] | None
    loader: Path | None
    guest: _Guest | None

    def inventory(self) -> Inventory:
        qemu = self.qemu.path if self.qemu else None
        firmware = self.firmware.image if self.firmware else None
        swtpm = self.swtpm[0].path if self.swtpm else None
        kernel, busybox = (self.guest.kernel, self.guest.busybox) if self.guest else (None, None)
        return Inventory(
            (
                Component("qemu", "machine emulator", ("qemu-system-x86",), qemu),
                Component("firmware", "OVMF with TDVF metadata", ("ovmf",), firmware),
                Component("swtpm", "software TPM", ("swtpm", "swtpm-tools"), swtpm),
                Component("kernel", "Linux for the guest", (), kernel),
                Component("busybox", "static programs for the guest", (), busybox),
                Component("bash", "static shell for the guest", (), self.guest.bash if self.guest else None),
                Component(LOADER, "GRUB that measures what it boots", (), self.loader, optional=True),
            )
        )


def _look(settings: Settings) -> _Found:
    roots = search_roots(settings)
    return _Found(
        qemu=_program(roots, "qemu-system-x86_64"),
        firmware=find_firmware(roots, settings),
        swtpm=_swtpm(roots),
        guest=_guest(roots[1:]),
        loader=find_loader_tree(settings),
    )


def find_loader_tree(settings: Settings) -> Path | None:
    """The newest tree of unpacked packages that has the modules of GRUB and what makes images of them."""
    trees = [
        tree
        for tree in packages_dir(settings).glob(f"{LOADER}-*")
        if (tree / LOADER_MODULES).is_dir()
        and all((tree / "usr/bin" / name).exists() for name in LOADER_PROGRAMS)
    ]
    return max(trees, key=lambda tree: tree.stat().st_mtime, default=None)


def packages_dir(settings: Settings) -> Path:
    """Where packages are unpacked, a tree for each set of them."""
    return settings.cache_dir / "packages"


def search_roots(settings: Settings) -> tuple[Path, ...]:
    """The system and every whole tree of unpacked packages; a hidden tree is not whole yet."""
    trees = packages_dir(settings).glob("[!.]*/usr")
    return (SYSTEM, *sorted(usr.parent for usr in trees))


def _program(roots: Sequence[Path], name: str) -> Program | None:
    for root in roots:
        if root == SYSTEM:
            if there := shutil.which(name):
                return Program(Path(there))
        else:
            path = root / "usr/bin" / name
            if path.is_file():
                return Program(path, _data_words(root, name), _variables(root))
    return None


def _swtpm(roots: Sequence[Path]) -> tuple[Program, Program] | None:
    """The pair swtpm, swtpm_setup from one root: the second starts the first."""
    for root in roots:
        emulator, setup = _program((root,), "swtpm"), _program((root,), "swtpm_setup")
        if emulator and setup:
            return emulator, setup
    return None


def _data_words(root: Path, name: str) -> tuple[str, ...]:
    """The options that tell an unpacked program where its data is."""
    if name == "swtpm_setup":
        return ("--config", f"{root}/etc/swtpm_setup.conf")
    if name.startswith("qemu-system-"):
        return tuple(word for share in ("qemu", "seabios") for word in ("-L", f"{root}/usr/share/{share}"))
    return ()


def _variables(root: Path) -> dict[str, str]:
    """What an unpacked program needs to find its libraries, its modules and its siblings."""
    libraries = [root / "usr" / _MULTIARCH, root / _MULTIARCH]
    private = {library.parent for top in libraries for library in top.glob("*/lib*.so*")}
    return {
        "LD_LIBRARY_PATH": ":".join(str(path) for path in (*libraries, *sorted(private))),
        "PATH": f"{root}/usr/bin:{os.environ.get('PATH', os.defpath)}",
        "QEMU_MODULE_DIR": f"{root}/usr/{_MULTIARCH}/qemu",
    }


def find_firmware(roots: Sequence[Path], settings: Settings) -> Firmware | None:
    """The first flash pair with TDVF metadata of which there is a whole image too."""
    for code, variables in flash_pairs(roots):
        whole = variables.read_bytes() + code.read_bytes()
        neighbours = (path for root in roots for path in _flash_files(root, "OVMF*.fd"))
        for image in (*neighbours, assembled_image(settings, whole)):
            if image.is_file() and image.stat().st_size == len(whole) and image.read_bytes() == whole:
                return Firmware(code, variables, image)
    return None


def flash_pairs(roots: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Code and variables of each build with TDVF metadata: smaller flash first, as it boots faster.

    Builds for secure boot need a machine with SMM, which the emulated platform leaves out.
    """
    for root in roots:
        codes = _flash_files(root, "OVMF_CODE*.fd")
        for code in sorted(codes, key=lambda path: (path.stat().st_size, path.name)):
            variables = code.with_name(code.name.replace("_CODE", "_VARS"))
            plain = re.fullmatch(r"OVMF_CODE(_4M)?(\.4m)?\.fd", code.name)
            if plain and variables.is_file() and _has_tdx_metadata(code):
                yield code, variables


def _flash_files(root: Path, pattern: str) -> list[Path]:
    return [
        path
        for folder in _FIRMWARE_FOLDERS
        for path in sorted((root / folder).glob(pattern))
        if path.is_file()
    ]


def _has_tdx_metadata(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return _TDX_METADATA in file.read()


def assembled_image(settings: Settings, whole: bytes) -> Path:
    """Where the cache keeps an image that the distribution ships only in halves."""
    return settings.cache_dir / "firmware" / f"OVMF-{hashlib.sha256(whole).hexdigest()[:16]}.fd"


def _guest(trees: Sequence[Path]) -> _Guest | None:
    """The newest unpacked kernel and what came with it; the system's own kernel is its own business."""
    # In /boot until Debian 13; from 14 on beside the modules, from where it is copied when it is installed.
    kernels = [
        *(
            (path, tree, path.name.removeprefix("vmlinuz-"))
            for tree in trees
            for path in tree.glob("boot/vmlinuz-*")
        ),
        *(
            (path, tree, path.parent.name)
            for tree in trees
            for path in tree.glob("usr/lib/modules/*/vmlinuz")
        ),
    ]
    for kernel, tree, _ in sorted(kernels, key=lambda found: _version(found[2]), reverse=True):
        programs = (tree / folder / "busybox" for folder in ("usr/bin", "bin"))
        if busybox := next(filter(Path.is_file, programs), None):
            return _Guest(kernel, busybox, modules_of(kernel), _bash(tree, trees))
    return None


def modules_of(kernel: Path) -> Path | None:
    """The folder of a kernel's modules, where its package has been unpacked as a whole."""
    if kernel.name == "vmlinuz":
        return kernel.parent if (kernel.parent / "kernel").is_dir() else None
    release, tree = kernel.name.removeprefix("vmlinuz-"), kernel.parent.parent
    folders = (tree / folder / release for folder in ("usr/lib/modules", "lib/modules"))
    return next(filter(Path.is_dir, folders), None)


def _bash(own: Path, trees: Sequence[Path]) -> Path | None:
    """The static bash that came with the kernel; else that of a tree of its own."""
    places = (tree / folder / "bash-static" for tree in (own, *trees) for folder in ("usr/bin", "bin"))
    return next(filter(Path.is_file, places), None)


def _version(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]
