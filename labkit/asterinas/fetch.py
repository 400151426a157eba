"""The kernel out of a release's ISO: found by content, checked, kept in the cache.

A release has the asset ``asterinas-nixos-VERSION-x86_64.iso``, a NixOS installer. In it lies
``nix-store.squashfs``, and in that the kernel as a store entry (the project's release workflow and
``distro/`` at v0.18.1). Never tried on the real server.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from labkit.asterinas._remote import RemoteFile
from labkit.asterinas._squashfs import MAGIC, Node, Squashfs
from labkit.asterinas.boot_image import says_asterinas
from labkit.asterinas.iso import iso_files
from labkit.asterinas.kept import UNKNOWN, KeptImage, KernelCache
from labkit.asterinas.versions import RECOMMENDED
from labkit.errors import DataError, NotInImage, UsageError
from labkit.measure.strangers import named
from labkit.settings import Settings

Progress = Callable[[str], None]

RELEASE = "https://github.com/asterinas/asterinas/releases/download/v{0}/asterinas-nixos-{0}-x86_64.iso"
_FIRST_RELEASE = (0, 17, 0)

_ENTRY = re.compile(r"osdk-bin|aster", re.IGNORECASE)
"""Store entries to look into first; the name changed from release to release."""

_LEAST, _LARGEST = 1 << 18, 64 << 20
_HEAD = 0x238
_LOOKED_AT = 1 << 15
_RELEASE_ISO = "Name the ISO of a release, asterinas-nixos-VERSION-x86_64.iso."
_DEPTH = 4


@dataclass(frozen=True)
class _Kernel:
    """A file that looks like a kernel, not yet read."""

    name: str
    size: int
    packed: int
    read: Callable[[], bytes]


def fetch_image(
    settings: Settings,
    on_progress: Progress = lambda text: None,
    *,
    version: str | None = None,
    iso: str | None = None,
    sha256: str | None = None,
) -> KeptImage:
    """Put the kernel of a version into the cache: from the project's release, or from ``iso``, file or URL.

    sha256: what the kernel's hash must be. That another kernel came from the same place before is said.

    Raises:
        UsageError: the version or the place makes no sense.
        MissingComponent: no network, no such release, a server that hands out whole files only.
        NotInImage: there is no kernel of Asterinas in it.
        DataError: the image is damaged, or the kernel is another one than it must be.
        StorageError: the cache cannot be written.
    """
    if version is not None:
        version = _checked(version, released=iso is None)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError("The hash is not a SHA-256.", "Write its 64 digits.")
    if iso is None:
        version = version or RECOMMENDED
        origin = RELEASE.format(version)
    else:
        origin = iso if _is_url(iso) else str(Path(iso).absolute())
        version = version or version_in_name(origin)
    before = next((image for image in KernelCache(settings).table().images if image.origin == origin), None)
    if before and not before.problem and _is_url(origin) and sha256 in (None, before.sha256):
        on_progress(f"it is in the cache already, from {origin}")
        return before
    with _opened(origin, settings, on_progress) as file:
        data = _found(file, origin, on_progress)
        digest = hashlib.sha256(data).hexdigest()
        demand = sha256.lower() if sha256 else None
        if demand and digest != demand:
            raise DataError(f"The kernel in {origin} has the SHA-256 {digest}.", f"{demand} was asked for.")
        image = KernelCache(settings).keep(data, version, origin)
    if before and before.sha256 != digest:
        on_progress(f"note: another kernel came from there before, with the SHA-256 {before.sha256}")
    return image


def kernel_in(path: Path) -> bytes:
    """The kernel out of a local ISO.

    Raises:
        NotInImage, DataError: there is none in it.
    """
    with _local(path) as file:
        return _found(file, str(path), lambda text: None)


def _checked(version: str, *, released: bool) -> str:
    plain = version.removeprefix("v")
    found = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", plain)
    if found is None:
        raise UsageError(f"{version!r} is not a version of Asterinas.", f"Write it as in {RECOMMENDED}.")
    if released and tuple(int(word) for word in found.groups()) < _FIRST_RELEASE:
        raise UsageError(
            f"Asterinas {plain} has no ISO among its releases; 0.17.0 is the first that has.",
            "Give an image with --iso, or let `labkit asterinas run` build one.",
        )
    return plain


def version_in_name(origin: str) -> str:
    """The version in a file's name, as the releases write it."""
    found = re.search(
        r"aster\w*-(?:nixos-)?v?([0-9]+\.[0-9]+\.[0-9]+(?:-?(?:alpha|beta|rc|dev|dirty)[0-9.]*)*)",
        origin.rpartition("/")[2].removesuffix(".iso"),
    )
    return found[1] if found else UNKNOWN


def _is_url(origin: str) -> bool:
    return re.match(r"[a-z]+://", origin) is not None


@contextlib.contextmanager
def _opened(origin: str, settings: Settings, on_progress: Progress) -> Iterator[BinaryIO]:
    if not _is_url(origin):
        with _local(Path(origin)) as file:
            yield file
        return
    key = hashlib.sha256(origin.encode()).hexdigest()[:16]
    with RemoteFile(origin, settings.cache_dir / "asterinas" / f".parts-{key}", on_progress) as remote:
        on_progress(
            f"{origin}: {remote.size / 1e6:.0f} MB, of which only what leads to the kernel is fetched"
        )
        try:
            yield cast(BinaryIO, remote)
        except (DataError, NotInImage):
            remote.forget()
            raise
        on_progress(f"{remote.fetched / 1e6:.1f} MB fetched")
        remote.forget()


def _local(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            raise UsageError(f"There is no file {path}.", "Name the ISO of a release.")
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Name the ISO of a release.") from error


def _found(file: BinaryIO, origin: str, on_progress: Progress) -> bytes:
    """The first kernel with an EFI stub that is an Asterinas."""
    files = sorted(iso_files(file), key=lambda entry: not entry[0].endswith(".squashfs"))
    end = file.seek(0, 2)
    if not files:
        files = [_taken_out(file, origin, end)]
    for path, offset, size in files:
        if offset + size > end:
            raise DataError(
                f"{origin} is cut off: it has {end} bytes, and {path} in it would end at {offset + size}.",
                "Fetch it again.",
            )
    for kernel in _kernels(file, files, on_progress):
        on_progress(f"{kernel.name}: {kernel.size / 1e6:.1f} MB, {kernel.packed / 1e6:.1f} MB of the image")
        data = kernel.read()
        if says_asterinas(data):
            return data
        on_progress(f"{kernel.name} is not Asterinas")
    raise NotInImage(
        f"There is no kernel of Asterinas with an EFI stub in {origin}.",
        "Name the ISO of a release, asterinas-nixos-VERSION-x86_64.iso, or give a kernel to `labkit boot`.",
    )


def _taken_out(file: BinaryIO, origin: str, size: int) -> tuple[str, int, int]:
    """The squashfs or the kernel that somebody took out of a release, as the only entry.

    Raises:
        DataError: it is neither, nor an ISO image.
    """
    file.seek(0)
    head = file.read(_LOOKED_AT)
    if head[:4] == MAGIC or _starts_by_firmware(head):
        return origin, 0, size
    if head[:4] == b"QFI\xfb":
        raise DataError(f"{origin} is a disk image of QEMU, not an ISO image.", _RELEASE_ISO)
    # The first 32 KiB of an ISO image are zeros.
    if found := named(head) if not head or head.strip(b"\0") else None:
        raise DataError(f"{origin} is {found[0]}, not an ISO image.", found[1] or _RELEASE_ISO)
    raise DataError(f"{origin} is not an ISO image, or its beginning is damaged.", "Fetch it again.")


def _kernels(file: BinaryIO, files: list[tuple[str, int, int]], on_progress: Progress) -> Iterator[_Kernel]:
    for path, offset, size in files:
        if size < _LEAST:
            continue
        file.seek(offset)
        head = file.read(_HEAD)
        if head[:4] == MAGIC:
            on_progress(f"{path}: a squashfs of {size / 1e6:.0f} MB")
            yield from _in_squashfs(Squashfs(file, offset))
        elif _starts_by_firmware(head) and size <= _LARGEST:
            yield _Kernel(path, size, size, partial(_slice, file, offset, size))


def _slice(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _in_squashfs(image: Squashfs) -> Iterator[_Kernel]:
    """Files that firmware can start: of the store entries with a telling name, then of the others."""
    entries = list(image.list(image.root))
    telling = [entry for entry in entries if _ENTRY.search(entry.name)]
    others = [entry for entry in entries if entry not in telling and entry.kind == "file"]
    for entry in [*telling, *others]:
        for name, node in _files(image, entry, entry.name, _DEPTH):
            size = image.file_size(node)
            if _LEAST <= size <= _LARGEST and _starts_by_firmware(image.read(node, _HEAD)):
                yield _Kernel(name, size, image.packed_size(node), partial(image.read, node, size))


def _files(image: Squashfs, node: Node, name: str, depth: int) -> Iterator[tuple[str, Node]]:
    if node.kind == "file":
        yield name, node
    elif node.kind == "directory" and depth:
        for entry in image.list(node):
            yield from _files(image, entry, f"{name}/{entry.name}", depth - 1)


def _starts_by_firmware(head: bytes) -> bool:
    """A bzImage with an EFI stub, by its first bytes."""
    return head[:2] == b"MZ" and head[0x202:0x206] == b"HdrS"
