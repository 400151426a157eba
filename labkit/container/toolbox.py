"""The TDVM toolbox: an image with a TDX-capable QEMU, TDVF, swtpm and labkit, built from a Dockerfile."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import labkit
from labkit.container.engine import connect, find_engine
from labkit.container.image import ImageStore, Progress
from labkit.container.session import run_once
from labkit.errors import MissingComponent

TAG = f"labkit-toolbox:{labkit.__version__}"
TOOLBOX_BASE = "debian:trixie-slim"
_PACKAGE = Path(labkit.__file__).parent
_NEEDED = ("click", "cryptography", "dcap-qvl")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Toolbox:
    """The toolbox image: its tag, its QEMU, and the object types of TDX that the QEMU knows."""

    tag: str
    qemu: str
    objects: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The image as JSON types."""
        return {"tag": self.tag, "qemu": self.qemu, "objects": list(self.objects)}

    def __str__(self) -> str:
        return f"{self.tag}: {self.qemu}, with {', '.join(self.objects) or 'no TDX'}"


def build_toolbox(
    on_progress: Progress, base: str = TOOLBOX_BASE, mirror: str | None = None, target: str = "toolbox"
) -> Toolbox:
    """Build the image; unchanged steps come from the engine's cache.

    base: a Debian 13. mirror: where its packages come from. target: ``qemu`` leaves labkit out.

    Raises:
        MissingComponent: no engine, no base image, or a step failed.
        StorageError: the disk is full.
    """
    engine = find_engine()
    client = connect(engine, timeout=600)
    tag = TAG if target == "toolbox" else f"{TAG}-{target}"
    try:
        images = ImageStore(client, engine, on_progress)
        if not images.has(base):
            _pull_base(images, base)
        arguments = {"BASE": base, **({"MIRROR": mirror} if mirror else {})}
        images.build(_context(), tag, arguments=arguments, target=target)
        _, said = run_once(
            client, engine, tag, ("sh", "-c", "qemu-system-x86_64 --version; qemu-system-x86_64 -object help")
        )
    finally:
        client.close()
    text = said.decode("utf-8", "replace")
    version = re.search(r"QEMU emulator version (\S+)", text)
    return Toolbox(
        tag,
        f"QEMU {version[1]}" if version else "no QEMU",
        tuple(re.findall(r"^\s*(tdx\S*)", text, re.MULTILINE)),
    )


def run_in_toolbox(words: Sequence[str], kvm: bool = False) -> tuple[int, bytes]:
    """Run a program in a container of the toolbox, without privileges or network; its status and output.

    Raises:
        MissingComponent: no engine, or the image has not been built.
    """
    engine = find_engine()
    client = connect(engine, timeout=600)
    try:
        if not ImageStore(client, engine).has(TAG):
            raise MissingComponent("The toolbox image is not there.", "Build it: `labkit asterinas toolbox`.")
        return run_once(client, engine, TAG, words, kvm=kvm)
    finally:
        client.close()


def _pull_base(images: ImageStore, base: str) -> None:
    try:
        images.pull(base)
    except MissingComponent as error:
        raise MissingComponent(
            f"The base image {base} cannot be pulled: {error.message}",
            "Make one of packages: mmdebstrap --variant=minbase trixie - http://deb.debian.org/debian"
            f" | docker import - {base}",
        ) from error


def _context() -> dict[str, bytes]:
    """The files that the Dockerfile copies, by name."""
    suffixes = {".py", ".pyi", ".typed"}
    files = {
        f"labkit/{path.relative_to(_PACKAGE)}": path.read_bytes()
        for path in sorted(_PACKAGE.rglob("*"))
        if path.is_file() and path.suffix in suffixes
    }
    return {
        **files,
        "Dockerfile": (_PACKAGE / "asterinas/toolbox/Dockerfile").read_bytes(),
        "ca.crt": _CERTIFICATES.read_bytes() if _CERTIFICATES.is_file() else b"",
        "requirements.txt": "".join(f"{line}\n" for line in _requirements()).encode(),
    }


def _requirements() -> list[str]:
    """What the verbs of the emulated platform need, at the versions that are installed here."""
    from importlib import metadata

    return [f"{name}=={metadata.version(name)}" for name in _NEEDED]
