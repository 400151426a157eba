"""Kernels of Asterinas in the cache: each in a folder of its own, with where it came from."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from labkit.asterinas.boot_image import BootImage
from labkit.errors import MissingComponent, NotAKernel, StorageError, UsageError
from labkit.settings import Settings
from labkit.show import columns, one_line
from labkit.show.markup import join, pre, table

UNKNOWN = "unknown"
"""The version of a kernel that nothing names."""

FETCH = "`labkit asterinas fetch` gets one."

_KERNEL, _RECORD = "kernel", "image.json"
_NAMED = 16
"""Digits of its hash that name the folder of a kernel."""
_VERSION = re.compile(r"v?([0-9]{1,9}(?:\.[0-9]{1,9})*)([-+.~]\w.*)?", re.ASCII)
_FIELDS = ("version", "kind", "sha256", "origin", "kept")


@dataclass(frozen=True)
class KeptImage:
    """A kernel in the cache.

    version: of Asterinas, or ``unknown``. kind: its form, as ``ImageKind`` has it. origin: where it was
    found. kept: when, in seconds since 1970. One whose record is lost has no sha256.
    """

    version: str
    kind: str
    sha256: str
    origin: str
    kept: int
    path: Path

    @cached_property
    def problem(self) -> str:
        """Why it cannot be used, in a sentence, empty where it can; the kernel is read for it, once."""
        if not self.sha256:
            return f"{self.path.parent} has no whole record of the kernel in it."
        try:
            found = hashlib.sha256(self.path.read_bytes()).hexdigest()
        except OSError as error:
            return f"{self.path} cannot be read: {error.strerror}."
        same = found == self.sha256
        return "" if same else f"{self.path} is not what was kept there: its hash is another one."

    @property
    def remedy(self) -> str:
        """What to do about a problem."""
        return f"Remove {self.path.parent}, then run `labkit asterinas fetch`."

    def to_dict(self) -> dict[str, Any]:
        """The image as JSON types."""
        return {**asdict(self), "path": str(self.path), "problem": self.problem or None}

    def __repr__(self) -> str:
        return f"KeptImage({self.version}, {self.kind}, {self.sha256[:12]})"

    def __str__(self) -> str:
        return f"Asterinas {self.version}, {self.kind}, sha256 {self.sha256}\n  from {self.origin}"


@dataclass(frozen=True)
class ImageTable:
    """The kernels in the cache, the newest version first."""

    images: tuple[KeptImage, ...]

    def to_dict(self) -> list[dict[str, Any]]:
        """The images as JSON types."""
        return [image.to_dict() for image in self.images]

    def __repr__(self) -> str:
        return f"ImageTable({len(self.images)} images)"

    def __str__(self) -> str:
        return "\n".join([columns([_HEAD, *self._rows()]), *self._problems()]) if self.images else _NONE

    def _repr_html_(self) -> str:
        if not self.images:
            return pre(_NONE)
        return join([table(self._rows(), head=_HEAD), *map(pre, self._problems())])

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                f"{image.version}{' (not usable)' if image.problem else ''}",
                image.kind,
                image.sha256[:16] or image.path.parent.name[:16],
                image.origin,
            )
            for image in self.images
        ]

    def _problems(self) -> list[str]:
        return [f"{image.problem} {image.remedy}" for image in self.images if image.problem]


_HEAD = ("version", "kind", "sha256", "origin")
_NONE = f"There is no Asterinas in the cache. {FETCH}"


@dataclass(frozen=True)
class GuestHere:
    """Whether a guest can boot here; true where it can. sentence: which one it is, or why there is none."""

    there: bool
    sentence: str

    def __bool__(self) -> bool:
        return self.there

    def __str__(self) -> str:
        return self.sentence


def parse_guest(guest: str) -> tuple[str, str | None]:
    """The name of a guest (``linux``, ``asterinas``, ``asterinas:VERSION``) in parts.

    Raises:
        UsageError: there is no such guest.
    """
    name, _, version = guest.partition(":")
    if name not in ("linux", "asterinas") or (version and name == "linux"):
        raise UsageError(f"There is no guest {guest!r}.", "Name linux, asterinas, or asterinas:VERSION.")
    return name, version or None


@dataclass(frozen=True)
class KernelCache:
    """The kernels of Asterinas that this user's labkit keeps."""

    settings: Settings

    def table(self) -> ImageTable:
        """The kernels in the cache, the newest version first; also those that cannot be used."""
        images = [_load(folder) for folder in self._folder.glob("[!.]*") if folder.is_dir()]
        return ImageTable(
            tuple(sorted(images, key=lambda image: (_order(image.version), image.kept), reverse=True))
        )

    def find(self, version: str | None = None) -> KeptImage:
        """The kernel of a version, or of the newest there is.

        Raises:
            MissingComponent: it is not in the cache, or is damaged there.
        """
        images = [image for image in self.table().images if image.sha256]
        fitting = [image for image in images if version in (None, image.version, f"v{image.version}")]
        if not fitting:
            there = ", ".join(dict.fromkeys(image.version for image in images))
            raise MissingComponent(
                f"There is no kernel of Asterinas {version or ''}".rstrip()
                + " in the cache"
                + (f", which has {there}." if there else "."),
                f"`labkit asterinas fetch {version}` gets it." if version else FETCH,
            )
        image = fitting[0]
        if image.problem:
            raise MissingComponent(image.problem, image.remedy)
        return image

    def keep(self, data: bytes, version: str, origin: str, *, efi: bool = True) -> KeptImage:
        """Keep a kernel in the cache, whole or not at all; one that is there and can be used stays.

        efi: only one that UEFI firmware can start will do.

        Raises:
            NotAKernel: it is not a kernel of Asterinas that can boot.
            StorageError: the cache cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        folder = self._folder / digest[:_NAMED]
        new = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            new.mkdir(parents=True, exist_ok=True)
            (new / _KERNEL).write_bytes(data)
            image = BootImage.recognize(new / _KERNEL)
            if not image.asterinas or (efi and not image.efi):
                raise NotAKernel(f"What {origin} holds is {image.why}.", "A kernel of Asterinas is needed.")
            record = dict(
                zip(_FIELDS, (version, image.kind.value, digest, origin, int(time.time())), strict=True)
            )
            (new / _RECORD).write_text(json.dumps(record, indent=2) + "\n")
            if not folder.is_dir() or _load(folder).problem:
                shutil.rmtree(folder, ignore_errors=True)
                new.rename(folder)
        except OSError as error:
            raise StorageError(
                f"The cache {folder.parent} cannot be written: {error.strerror}.",
                "Free some space, or set LABKIT_CACHE_DIR to a folder that you may write to.",
            ) from error
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return _load(folder)

    def guest(self, name: str) -> GuestHere:
        """Whether a guest of this name can boot here.

        Raises:
            UsageError: there is no such guest.
        """
        kind, version = parse_guest(name)
        if kind == "linux":
            return GuestHere(True, "Linux, labkit's own")
        try:
            image = self.find(version)
        except MissingComponent as error:
            return GuestHere(False, f"{error.message} {error.remedy}")
        return GuestHere(
            True, f"Asterinas {image.version} (SHA-256 {image.sha256[:16]}…), from {image.origin}"
        )

    @property
    def _folder(self) -> Path:
        return self.settings.cache_dir / "asterinas" / "images"


def _load(folder: Path) -> KeptImage:
    """The image of a folder, as its record has it."""
    path = folder / _KERNEL
    try:
        record = json.loads((folder / _RECORD).read_text())
        version, kind, digest, origin = (one_line(str(record[name])) for name in _FIELDS[:-1])
        kept = int(record["kept"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        digest = ""
    # Whoever swaps the kernel can swap the hash beside it, but it names the folder too.
    if digest[:_NAMED] != folder.name:
        return KeptImage(UNKNOWN, UNKNOWN, "", UNKNOWN, 0, path)
    return KeptImage(version, kind, digest, origin, kept, path)


def _order(version: str) -> tuple[tuple[int, ...], bool]:
    """Versions in their order, candidates before the release; what is no version before all of them."""
    found = _VERSION.fullmatch(version)
    return (tuple(map(int, found[1].split("."))), not found[2]) if found else ((), False)
