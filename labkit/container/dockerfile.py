"""Build the development image from the source tree's own Dockerfile, with the arguments it documents."""

from __future__ import annotations

import re

from labkit.asterinas import Profile
from labkit.container.image import ImageStore
from labkit.container.source import SourceTree
from labkit.errors import MissingComponent

# Where the trees keep it: v0.18.1 has one for each image, the older ones a single one (tools/docker).
_PLACES = ("tools/docker/kernel-dev/Dockerfile", "tools/docker/Dockerfile")


def build_from_source(images: ImageStore, profile: Profile, source: SourceTree, tag: str) -> None:
    """Build the image ``tag`` by the Dockerfile of the source tree.

    Raises:
        MissingComponent: the tree has none that can be built as it is, or a step failed.
        StorageError: the disk is full.
    """
    place = next((place for place in _PLACES if (source.path / place).is_file()), None)
    if place is None:
        raise MissingComponent(
            f"The source of {profile.tag} has no Dockerfile that can be built as it is"
            " (v0.9.0 has a template, which its own gen_dockerfile.py fills in).",
            "Pull the image, or load it with --image-file.",
        )
    images.on_progress(f"building {tag} from {place}; the documented one takes hours")
    images.build(source.path, tag, dockerfile=place, arguments=_arguments(source))


def _arguments(source: SourceTree) -> dict[str, str]:
    """The build arguments that tools/docker/README.md of the tree names: of the image's base and of Rust."""
    found = {}
    version = source.path / "DOCKER_IMAGE_VERSION"
    if version.is_file():
        found["BASE_VERSION"] = version.read_text().strip()
    toolchain = source.path / "rust-toolchain.toml"
    if toolchain.is_file() and (
        match := re.search(r'^channel\s*=\s*"([^"]+)"', toolchain.read_text(), re.MULTILINE)
    ):
        found["ASTER_RUST_VERSION"] = match[1]
    return found
