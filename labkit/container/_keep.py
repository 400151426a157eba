"""The kernel that a run of the documented flow built, kept in the cache for labkit's own machines."""

from __future__ import annotations

from pathlib import Path

from labkit.asterinas import KernelCache
from labkit.asterinas.boot_image import BootImage, ImageKind
from labkit.asterinas.kept import KeptImage
from labkit.errors import LabkitError, NotAKernel
from labkit.settings import Settings

_LARGEST_KERNEL, _MOST = 128 << 20, 64


def keep_built(bundle: Path, version: str, origin: str, settings: Settings) -> KeptImage | None:
    """The newest kernel below ``bundle``, one that firmware can start before any other; None without one.

    What cannot be kept is left where it is: the run itself went well.
    """
    images = [image for path in _newest(bundle) if (image := _recognized(path)) is not None]
    for image in sorted(images, key=_rank):
        try:
            data = _kernel_in(image.path) if image.kind is ImageKind.ISO else image.path.read_bytes()
            return KernelCache(settings).keep(data, version, origin, efi=image.efi)
        except (LabkitError, OSError):
            continue
    return None


def _rank(image: BootImage) -> int:
    return [ImageKind.BZIMAGE, ImageKind.ISO, ImageKind.MULTIBOOT, ImageKind.PVH].index(image.kind)


def _newest(bundle: Path) -> list[Path]:
    found = [path for path in bundle.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[:_MOST]


def _recognized(path: Path) -> BootImage | None:
    try:
        image = BootImage.recognize(path)
    except NotAKernel:
        return None
    large = image.kind is not ImageKind.ISO and path.stat().st_size > _LARGEST_KERNEL
    return image if image.asterinas and not large else None


def _kernel_in(iso: Path) -> bytes:
    # Loaded here: the readers of an ISO take long to import, and only a run that has ended needs them.
    from labkit.asterinas.fetch import kernel_in

    return kernel_in(iso)
