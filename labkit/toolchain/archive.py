"""Kernels of the Debian archive by version and hash, for comparing an old one with a mended one.

They are unpacked in a folder of their own: no boot takes one that was not asked for.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.download import PROXY, Pin, download, proxy_of
from labkit.errors import DataError, MissingComponent, StorageError
from labkit.settings import Settings
from labkit.toolchain.apt import Apt, unpack

_SNAPSHOT = "https://snapshot.debian.org"


@dataclass(frozen=True)
class ArchivedKernel:
    """A package of the archive: its release of Linux, version, path in the archive, bytes, and SHA-256.

    archive: ``debian``, or ``debian-security``. snapshot: a time at which snapshot.debian.org had it.
    """

    release: str
    version: str
    path: str
    size: int
    sha256: str
    snapshot: str
    archive: str = "debian"


BEFORE_CLAMP = ArchivedKernel(
    release="6.1.0-50-cloud-amd64",
    version="6.1.176-1",
    path="pool/main/l/linux-signed-amd64/linux-image-6.1.0-50-cloud-amd64_6.1.176-1_amd64.deb",
    size=26_484_304,
    sha256="efe19f605b6f54a8352e68d85a629abb2d30b72a085faef603a9152590baa791",
    snapshot="20261101T000000Z",
)
"""A kernel of Debian 12 before "hwrng: virtio: clamp device-reported used.len at copy_data()"."""

AFTER_CLAMP = ArchivedKernel(
    release="6.1.0-56-cloud-amd64",
    version="6.1.192-2",
    path="pool/updates/main/l/linux-signed-amd64/linux-image-6.1.0-56-cloud-amd64_6.1.192-2_amd64.deb",
    size=26_713_492,
    sha256="e7d02b943971edcb8790e256c02cfab3bca6c3d37c1bf25392a57c71300615ee",
    snapshot="20261120T000000Z",
    archive="debian-security",
)
"""A kernel of Debian 12 with it."""


def _find(wanted: ArchivedKernel, settings: Settings) -> Path | None:
    """The kernel, where it has been fetched; its modules are beside it."""
    kernel = _tree(wanted, settings) / "boot" / f"vmlinuz-{wanted.release}"
    return kernel if kernel.is_file() else None


def fetch_kernel(
    wanted: ArchivedKernel,
    settings: Settings,
    on_progress: Callable[[str], None] = lambda text: None,
    servers: Sequence[str] | None = None,
) -> Path:
    """The kernel, fetched where it is not there: from this system's mirror, Debian's, or its snapshots.

    servers: addresses below which the archive is looked for, in the place of these.

    Raises:
        MissingComponent: no server has it, or none answers.
        StorageError: the disk is full, or the cache cannot be written.
    """
    if (found := _find(wanted, settings)) is not None:
        return found
    tree = _tree(wanted, settings)
    addresses = (
        _addresses(wanted, settings) if servers is None else (f"{one}/{wanted.path}" for one in servers)
    )
    on_progress(f"fetching Linux {wanted.version} of Debian 12: {wanted.size / 1e6:.0f} MB")
    try:
        tree.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tree.parent, prefix=".fetch-") as folder:
            package = Path(folder) / Path(wanted.path).name
            if not any(_download(address, wanted, package) for address in addresses):
                first = PROXY if proxy_of(_SNAPSHOT) else "Check the network connection."
                raise MissingComponent(
                    f"No server that answers has Linux {wanted.version} of Debian 12.",
                    f"{first} The mirrors drop old kernels, and snapshot.debian.org keeps them.",
                )
            new = Path(folder) / "tree"
            unpack([package], new)
            with contextlib.suppress(FileExistsError):
                new.rename(tree)
    except OSError as error:
        raise StorageError(
            f"{tree.parent} cannot be written: {error.strerror}.",
            "Free some space, or set LABKIT_CACHE_DIR to another folder.",
        ) from error
    found = _find(wanted, settings)
    if found is None:
        shutil.rmtree(tree, ignore_errors=True)
        raise MissingComponent(f"The package of Linux {wanted.version} has no kernel.", "Report this.")
    return found


def _tree(wanted: ArchivedKernel, settings: Settings) -> Path:
    return settings.cache_dir / "kernels" / wanted.version


def _addresses(wanted: ArchivedKernel, settings: Settings) -> Iterator[str]:
    mirror = Apt(settings.cache_dir, lambda text: None).mirror("Debian") if shutil.which("apt-get") else None
    if mirror and mirror.startswith(("http://", "https://")):
        beside = mirror.rstrip("/").rpartition("/")[0]
        yield f"{beside}/{wanted.archive}/{wanted.path}"
    yield f"https://deb.debian.org/{wanted.archive}/{wanted.path}"
    yield f"{_SNAPSHOT}/archive/{wanted.archive}/{wanted.snapshot}/{wanted.path}"


def _download(address: str, wanted: ArchivedKernel, target: Path) -> bool:
    """Whether the server sent exactly this package."""
    try:
        download(address, Pin("sha256", wanted.sha256, wanted.size), target)
    except (MissingComponent, DataError):
        return False
    return True
