"""A boot disc whose loader measures what it reads: GRUB in an EFI partition, kernel and initrd beside it.

The disc is an ISO 9660 image with an El Torito entry for UEFI, as the images of Asterinas are; it is known to
boot from such a CD-ROM drive.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit import process
from labkit.errors import MissingComponent, StorageError
from labkit.settings import Settings
from labkit.toolchain.loader import Loader

# `tpm` measures; the others are what a boot from a disc needs besides GRUB's core.
_MODULES = ("tpm", "iso9660", "normal", "linux")
_PREFIX = "(cd0)/boot/grub"
_KEPT = 6
"""How many discs are kept."""

_REMEDY = "Run `labkit setup`; if that changes nothing, delete the packages in the cache."


@dataclass(frozen=True)
class BootDisc:
    """A boot disc. loader: GRUB as the firmware starts and measures it (a PE image)."""

    path: Path
    loader: bytes


def loader_image(loader: Loader, settings: Settings) -> bytes:
    """GRUB with what a measured boot needs, as one PE image; the same modules give the same bytes.

    Raises:
        MissingComponent: it cannot be made.
    """
    modules = hashlib.sha256(" ".join(_MODULES).encode()).hexdigest()[:8]
    path = settings.cache_dir / "discs" / f"{loader.tree.name}-{modules}.efi"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / "grub.efi"
            words = ("-d", loader.modules, "-O", "x86_64-efi", "-p", _PREFIX, "-o", made, *_MODULES)
            _run(loader, "grub-mkimage", *words)
            made.replace(path)
    return path.read_bytes()


def build_boot_disc(
    loader: Loader, files: Mapping[str, Path], texts: Mapping[str, bytes], settings: Settings
) -> BootDisc:
    """A disc with copies of ``files`` and with ``texts``, by their paths on it; GRUB reads its ``grub.cfg``.

    Raises:
        MissingComponent: it cannot be made.
        StorageError: the cache cannot be written.
    """
    contents = {**{name: path.read_bytes() for name, path in files.items()}, **texts}
    folder = settings.cache_dir / "discs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        image = loader_image(loader, settings)
        parts = [image, *(part for name, data in contents.items() for part in (name.encode(), data))]
        digests = b"".join(hashlib.sha256(part).digest() for part in parts)
        path = folder / f"{hashlib.sha256(digests).hexdigest()[:32]}.iso"
        if path.exists():
            os.utime(path)
            return BootDisc(path, image)
        _sweep(folder)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work) / "disc.iso"
            _write_iso(made, _efi_partition(loader, image, Path(work)), contents)
            made.replace(path)
    except OSError as error:
        raise StorageError(
            f"The cache {folder} cannot be written: {error.strerror}.",
            "Free some space, or set LABKIT_CACHE_DIR to a folder on a larger disk.",
        ) from error
    return BootDisc(path, image)


def _efi_partition(loader: Loader, image: bytes, folder: Path) -> bytes:
    """A FAT file system with the loader where UEFI looks for it on a removable disk."""
    source, target = folder / "BOOTX64.EFI", folder / "esp.img"
    source.write_bytes(image)
    _run(loader, "mformat", "-i", target, "-C", "-f", "2880", "-N", "0", "::")
    _run(loader, "mmd", "-i", target, "::/EFI", "::/EFI/BOOT")
    _run(loader, "mcopy", "-i", target, source, "::/EFI/BOOT/BOOTX64.EFI")
    return target.read_bytes()


def _write_iso(path: Path, partition: bytes, files: Mapping[str, bytes]) -> None:
    from pycdlib import PyCdlib

    iso = PyCdlib()
    iso.new(interchange_level=3, vol_ident="LABKIT")
    made: set[str] = set()
    for name, data in files.items():
        plain = name.upper()
        parents = [str(parent) for parent in reversed(Path(plain).parents) if str(parent) != "/"]
        for parent in parents:
            if parent not in made:
                iso.add_directory(parent)
                made.add(parent)
        plain += ";1" if "." in plain.rpartition("/")[2] else ".;1"
        iso.add_fp(io.BytesIO(data), len(data), plain)
    iso.add_fp(io.BytesIO(partition), len(partition), "/EFI.IMG;1")
    iso.add_eltorito("/EFI.IMG;1", platform_id=0xEF, boot_load_size=len(partition) // 512)
    iso.write(str(path))
    iso.close()


def _run(loader: Loader, name: str, *words: str | Path) -> None:
    program = loader.program(name)
    done = process.run(program.argv(*words), env=program.environ(), timeout=60)
    if not done.ok:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise MissingComponent(
            f"The boot disc cannot be made: {name} says {said[-1] if said else 'nothing'!r}.", _REMEDY
        )


def _sweep(folder: Path) -> None:
    """Remove the discs used longest ago."""
    discs = sorted(folder.glob("*.iso"), key=lambda path: path.stat().st_mtime)
    for path in discs[: max(0, len(discs) - _KEPT + 1)]:
        path.unlink(missing_ok=True)
    for leftover in folder.glob("tmp*"):
        if leftover.is_dir() and leftover.stat().st_mtime < folder.stat().st_mtime - 3600:
            shutil.rmtree(leftover, ignore_errors=True)
