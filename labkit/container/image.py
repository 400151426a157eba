"""Where the container's image comes from: it is there, it is pulled, loaded from a file, or built."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.bootlog.asterinas import BootLogReader
from labkit.container.ends import own_words
from labkit.container.engine import Engine
from labkit.errors import LabkitError, MissingComponent, StorageError, UsageError
from labkit.show import one_line

if TYPE_CHECKING:
    from docker import DockerClient

Progress = Callable[[str], None]

_UNPACKED = 3
"""How much larger than its compressed layers an image is on the disk: Debian images measure 2.5 to 3."""

_TELL_SECONDS = 5.0
_CANCEL_SECONDS = 30.0
_INTERMEDIATE = re.compile(r"---> Running in ([0-9a-f]{12,64})")
_BUILDER_SPEAKS = re.compile(r"(?i)(?:step \d| ?--->|--> |removing intermediate|removed intermediate)")
_LAYER = re.compile(r"---> ([0-9a-f]{12,64})\s*$")


@dataclass(frozen=True)
class ImageStore:
    """The images of an engine; what is done with them is told to ``on_progress``."""

    client: DockerClient
    engine: Engine
    on_progress: Progress = lambda text: None

    def has(self, reference: str) -> bool:
        """The engine has the image."""
        import docker

        try:
            self.client.images.get(reference)
        except docker.errors.ImageNotFound:
            return False
        return True

    def pull(self, reference: str) -> None:
        """Pull an image; says how large it is and how far the download has come.

        Raises:
            MissingComponent: there is no such image, or its registry does not answer.
            StorageError: it will not fit, or did not.
        """
        import docker
        import requests

        repository, tag = docker.utils.parse_repository_tag(reference)
        self.on_progress(f"pulling {reference}")
        progress = _Progress(reference, self.engine, self.on_progress)
        try:
            with _hanging_up(self.client):
                stream = self.client.api.pull(repository, tag=tag or "latest", stream=True, decode=True)
                for event in _events(stream):
                    progress.take(event)
        except (docker.errors.APIError, requests.exceptions.RequestException, _EngineError) as error:
            raise pull_refusal(reference, str(error)) from error

    def load(self, archive: Path) -> str:
        """Load an image from a file of ``docker save``; its reference.

        Raises:
            UsageError: the file cannot be read, or holds no image.
            StorageError: it did not fit.
        """
        import docker
        import requests

        self.on_progress(f"loading an image from {archive}")
        try:
            with _hanging_up(self.client), archive.open("rb") as file:
                images = self.client.images.load(file)
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise _storage(str(error)) or UsageError(
                f"{archive} is not an image that the engine can load: {own_words(str(error), 120)}.",
                "Give a file that `docker save` has written.",
            ) from error
        except OSError as error:  # after the others: an error of the engine is an OSError too
            why = error.strerror or one_line(str(error))
            raise UsageError(f"{archive} cannot be read: {why}.", "Check the path.") from error
        if not images:
            raise UsageError(f"{archive} holds no image.", "Give a file that `docker save` has written.")
        return str((images[0].tags or [images[0].id])[0])

    def build(
        self,
        context: Path | Mapping[str, bytes],
        tag: str,
        *,
        dockerfile: str = "Dockerfile",
        arguments: Mapping[str, str] | None = None,
        target: str = "",
    ) -> None:
        """Build an image; each step is said, unchanged steps come from the engine's cache.

        context: a folder, or files by name. target: the stage to stop at; empty for the last. A build that
        is cancelled leaves nothing: its container and the layers that it had made are removed.

        Raises:
            MissingComponent: a step failed, or the Dockerfile needs BuildKit.
            StorageError: the disk is full.
        """
        import docker
        import requests

        before = {image["Id"] for image in self.client.api.images(all=True)}
        made = _Made(self.client, before)
        spoken = BootLogReader()
        what = (
            {"path": str(context)}
            if isinstance(context, Path)
            else {"fileobj": _archive(context), "custom_context": True}
        )
        try:
            with _hanging_up(self.client):
                stream = self.client.api.build(
                    **what,
                    dockerfile=dockerfile,
                    tag=tag,
                    buildargs=dict(arguments or {}),
                    labels={"labkit": "image"},
                    network_mode=None if self.engine.bridge else "host",
                    target=target,
                    rm=True,
                    forcerm=True,
                    decode=True,
                )
                for event in _events(stream):
                    text = event.get("stream", "").strip()
                    made.note(text)
                    if not _BUILDER_SPEAKS.match(text):
                        spoken.feed("step", f"{text}\n".encode(), 0.0)
                    if text.startswith(("Step ", "STEP ")):
                        self.on_progress(one_line(text, 120))
        except (docker.errors.APIError, requests.exceptions.RequestException, _EngineError) as error:
            made.remove()
            raise build_refusal(tag, str(error), spoken) from error
        except BaseException:
            made.remove()
            raise


@contextlib.contextmanager
def _hanging_up(client: DockerClient) -> Iterator[None]:
    """Close the connections that were made inside: the engine cancels what its client has left."""
    made: list[Any] = []

    def keep(response: Any, *args: object, **kwargs: object) -> None:
        made.append(response)

    hooks = client.api.hooks["response"]
    hooks.append(keep)
    try:
        yield
    finally:
        hooks.remove(keep)
        for response in made:
            response.close()


class _Made:
    """What a build has made so far, so that a cancelled one can take it back."""

    def __init__(self, client: DockerClient, before: set[str]) -> None:
        self._client = client
        self._before = before
        self._containers: list[str] = []
        self._layers: list[str] = []

    def note(self, text: str) -> None:
        if match := _INTERMEDIATE.search(text):
            self._containers.append(match[1])
        elif match := _LAYER.search(text):
            self._layers.append(match[1])

    def remove(self) -> None:
        import docker
        import requests

        refusals = (docker.errors.APIError, requests.exceptions.RequestException)
        deadline = time.monotonic() + _CANCEL_SECONDS
        for container in self._containers[-1:]:
            while time.monotonic() < deadline:
                try:
                    self._client.api.remove_container(container, force=True, v=True)
                except docker.errors.NotFound:
                    break
                except refusals:
                    time.sleep(0.1)  # the engine is removing it
        known = {identity.removeprefix("sha256:")[:12] for identity in self._before}
        for layer in (*reversed(self._layers), *self._unnamed(refusals)):
            if layer[:12] not in known:
                with contextlib.suppress(*refusals):
                    self._client.api.remove_image(layer)

    def _unnamed(self, refusals: tuple[type[Exception], ...]) -> list[str]:
        """Layers without a name that came meanwhile: Podman does not tell them in its stream."""
        with contextlib.suppress(*refusals):
            images = self._client.api.images(all=True, filters={"dangling": True, "label": "labkit=image"})
            return [
                image["Id"].removeprefix("sha256:") for image in images if image["Id"] not in self._before
            ]
        return []


class _EngineError(Exception):
    """The engine reported an error inside a stream of events."""


def _events(stream: Iterator[Any]) -> Iterator[dict[str, Any]]:
    for event in stream:
        if "error" in event:
            raise _EngineError(str(event["error"]))
        yield event


class _Progress:
    """Follows a pull: how much there is, how much has come, and whether it can fit."""

    def __init__(self, reference: str, engine: Engine, on_progress: Progress) -> None:
        self._reference = reference
        self._root = engine.root
        self._say = on_progress
        self._layers: dict[str, tuple[int, int]] = {}
        self._told = 0.0

    def take(self, event: Mapping[str, Any]) -> None:
        detail = event.get("progressDetail") or {}
        if event.get("status") != "Downloading" or not detail.get("total"):
            return
        self._layers[event["id"]] = (detail.get("current", 0), detail["total"])
        here, total = (sum(numbers) for numbers in zip(*self._layers.values(), strict=True))
        free = shutil.disk_usage(self._root).free if self._root else None
        if free is not None and (total - here) * _UNPACKED > free:
            raise StorageError(
                f"{self._reference} needs about {total * _UNPACKED / 1e9:.1f} GB in {self._root}, "
                f"where {free / 1e9:.1f} GB are free.",
                "Free some space there (`docker system df` shows what takes it), then try again.",
            )
        if time.monotonic() - self._told > _TELL_SECONDS or here == total:
            self._told = time.monotonic()
            self._say(f"  {here / 1e6:.0f} of {total / 1e6:.0f} MB so far known")


def _archive(files: Mapping[str, bytes]) -> io.BytesIO:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    data.seek(0)
    return data


def _storage(said: str) -> LabkitError | None:
    full = "no space left on device" in said.lower() or "disk quota exceeded" in said.lower()
    return _full_disk() if full else None


def _full_disk() -> LabkitError:
    return StorageError(
        "The disk of the container engine is full.",
        "Free some space there (`docker system df` shows what takes it), then try again.",
    )


_BY_FILE = "Or load the image from a file with --image-file."
# What keeps a pull from coming, besides that there is no such image.
_REGISTRY = (
    (
        r"toomanyrequests|rate limit|\b429\b",
        "The registry of {} was asked too often from this network.",
        f"Wait an hour, or log in (`docker login`), which raises the limit. {_BY_FILE}",
    ),
    (
        r"not yet valid|has expired",
        "The certificate of the registry of {} is not valid at the time that this machine's clock shows.",
        "Set the clock (`timedatectl`), then try again.",
    ),
    (
        r"x509|certificate|tls: ",
        "The engine does not accept the certificate of the registry of {}.",
        f"Behind a proxy that opens TLS, give the engine the proxy's certificate. {_BY_FILE}",
    ),
    (
        r"proxyconnect|proxy authentication|\b407\b",
        "The engine's proxy does not let it reach the registry of {}.",
        f"Look at the engine's own settings for a proxy (`docker info` shows them). {_BY_FILE}",
    ),
    (
        r"no matching manifest|image operating system|does not match the specified platform",
        "The image {} is not made for this machine's processor.",
        "Take an image for linux/amd64, on an x86-64 machine.",
    ),
    (
        r"no basic auth|authentication required|incorrect username|credential",
        "The registry of {} asks for a login that the engine does not have, or that is wrong.",
        f"Run `docker login`, or `docker logout` where an old one is in the way. {_BY_FILE}",
    ),
    (
        r"invalid reference|must be lowercase|invalid repository name",
        "{} is not the name of an image.",
        "Write it as registry/name:tag, in small letters.",
    ),
    (
        r"server gave http response",
        "The registry of {} speaks plain HTTP, which the engine does not take.",
        "Name it among insecure-registries in the engine's settings, or use one with TLS.",
    ),
    (
        r"failed to register layer|lchown|insufficient uids|unpacking failed",
        "The engine cannot unpack the image {}.",
        "Give this user a range in /etc/subuid and /etc/subgid (`man subuid`), and look at the engine's log.",
    ),
    (
        r"short-name|unqualified-search",
        "The engine does not know in which registry {} lies.",
        "Write the whole name, as in docker.io/asterinas/asterinas:TAG.",
    ),
)


def pull_refusal(reference: str, said: str) -> LabkitError:
    """What the engine's refusal to pull an image means."""
    if full := _storage(said):
        return full
    words = said.lower()
    for pattern, sentence, remedy in _REGISTRY:
        if re.search(pattern, words):
            return MissingComponent(sentence.format(reference), remedy)
    if re.search(
        r"manifest unknown|not found|manifest for|access denied|unauthorized|no matching manifest", words
    ):
        return MissingComponent(
            f"There is no image {reference} in its registry, or it is not public.",
            "Name another with --image, load one with --image-file, or build it with --build-image.",
        )
    return MissingComponent(
        f"The registry of {reference} does not answer.",
        "Check the network connection, or load the image from a file with --image-file.",
    )


def build_refusal(tag: str, said: str, step: BootLogReader) -> LabkitError:
    """What the end of a build means, from the engine's words and those of the step that failed."""
    known = step.failure
    if known is not None and known.id == "disk-full":
        return _full_disk()
    if full := _storage(said):
        return full
    if "requires buildkit" in said.lower() or "the --mount option" in said.lower():
        return MissingComponent(
            f"The Dockerfile of {tag} needs BuildKit.",
            "Build it with `docker buildx build`, then give it with --image.",
        )
    if known is not None:
        return MissingComponent(f"The image {tag} could not be built: {known.sentence}.", known.remedy)
    last = f" Its last words: {step.last_line}" if step.last_line else ""
    return MissingComponent(
        f"The image {tag} could not be built: {own_words(said)}.{last}",
        "The step that failed is the last one named above.",
    )
