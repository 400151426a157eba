"""One container of the documented flow, from its creation to its removal, with its terminal and its logs."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from labkit.asterinas import Profile
from labkit.bootlog.asterinas import BootLogReader, BootReport
from labkit.bootlog.exit_codes import Layer
from labkit.console import Console
from labkit.container import _cleanup
from labkit.container.attached import AttachedStream, LogTail
from labkit.container.container import LABEL, Creation
from labkit.container.ends import ended_from_outside, start_refusal, told
from labkit.container.engine import Engine, unreachable
from labkit.container.owner import new_name
from labkit.errors import MissingComponent, VmError
from labkit.process import Companion

if TYPE_CHECKING:
    from docker import DockerClient

_POLL = 0.1
_LAST_WORDS = 3.0
"""Seconds that a run goes on behind a line after which it cannot succeed: the lines behind it say why."""

_LOG_LIMIT = 16 << 20
_START_SECONDS = 120


class ContainerSession:
    """A container that runs ``make``. Use it as a context manager: the container is gone afterwards.

    It is gone as well when this process is killed, since a companion process removes it then.
    """

    def __init__(self, client: DockerClient, engine: Engine, container: str, reader: BootLogReader) -> None:
        """Take over a created container; ``start_session`` is the usual way here."""
        assert engine.address is not None
        self._client = client
        self.container = container
        self._address = engine.address
        self._podman = engine.kind == "Podman"
        socket = engine.address.removeprefix("unix://")
        self._companion = Companion((sys.executable, "-I", "-S", _cleanup.__file__, socket, container))
        self._reader = reader
        self._log: BinaryIO | None = None
        self._room = _LOG_LIMIT
        self._tails: dict[str, LogTail] = {}
        self._started = 0.0
        self._since = 0
        self._stream: AttachedStream | None = None
        self._ended = False
        self.exit_code: int | None = None
        self.outside = ""
        self.published: dict[str, str] = {}

    @property
    def now(self) -> float:
        """Seconds since the container was started."""
        return time.monotonic() - self._started

    def start(self, creation: Creation, profile: Profile, source: Path, log: Path) -> None:
        """Attach to the container's terminal and start it; ``log`` receives what the terminal prints.

        Raises:
            LabkitError: the engine cannot start it.
        """
        import docker
        import requests

        self._log = log.open("wb", buffering=0)
        self._tails = {entry.stream: LogTail(source / entry.name) for entry in profile.logs}
        self._client.api.timeout = _START_SECONDS
        try:
            # Podman prepares the container here, and says here why it cannot be started.
            attached = self._client.api.attach_socket(
                self.container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            )
        except (docker.errors.APIError, requests.exceptions.RequestException) as error:
            raise start_refusal(self._why(error)) from error
        # At v0.9.0 a TD's QEMU takes Ctrl-C for itself: its console has no signal=off.
        interruptible = not (profile.tdx and profile.version == "0.9.0")
        self._stream = AttachedStream(attached._sock, self._heard, interruptible=interruptible)
        self._attached = attached
        self._started, self._since = time.monotonic(), int(time.time())
        try:
            self._client.api.start(self.container)
        except (docker.errors.APIError, requests.exceptions.RequestException) as error:
            raise start_refusal(self._why(error)) from error
        if creation.input:
            self._stream.write(creation.input.encode())

    def follow(
        self, stop: Callable[[], bool], on_progress: Callable[[str], None], limit: float | None = None
    ) -> None:
        """Read the logs until ``stop`` says so, the container ends, the boot has failed, or time is up.

        ``limit``: seconds since the start, instead of the deadlines of the stages.
        """
        said, told = "", False
        while not self._ended:
            self._listen(_POLL)
            if self._reader.stage != said:
                said = self._reader.stage
                on_progress(f"{said} ({self.now:.1f} s)")
            fatal = self._reader.fatal_at
            if stop() or (fatal is not None and self.now > fatal + _LAST_WORDS):
                return
            if not told:
                told = True
                self.published = self.ports()
                if self.published:
                    pairs = ", ".join(f"{here} → {there}" for here, there in self.published.items())
                    on_progress(f"ports of this machine → ports of the container: {pairs}")
            if self.now > limit if limit is not None else self._reader.overdue(self.now):
                return

    def run_to_end(self) -> tuple[int, bytes]:
        """Start the container and wait for its end; its exit status, and all it printed.

        Raises:
            LabkitError: the engine cannot start it, or went away.
        """
        import docker

        try:
            self._client.api.start(self.container)
        except docker.errors.APIError as error:
            raise start_refusal(str(error.explanation or error)) from error
        status = self._exit_code(timeout=None)
        return status, bytes(self._client.api.logs(self.container))

    def console(self, output_limit: int, timeout: float) -> Console:
        """The framed console of the guest's shell.

        Raises:
            CommandTimeout: the shell does not answer.
            GuestGone: the run ended.
        """
        assert self._stream is not None
        console = Console(self._stream, output_limit)
        console.handshake(timeout)
        # The guest's terminal echoes what is typed; its own first answer still shows the line that ends that.
        console.run("stty -echo", timeout)
        return console

    def send_line(self, line: str) -> None:
        """Type a line into the terminal; a run that has ended does not hear it."""
        assert self._stream is not None
        with contextlib.suppress(OSError):
            self._stream.write(line.encode() + b"\n")

    def drain(self, seconds: float) -> None:
        """Read on until the container has ended, at most ``seconds``."""
        deadline = time.monotonic() + seconds
        while not self._ended and time.monotonic() < deadline:
            self._listen(_POLL)

    def ports(self) -> dict[str, str]:
        """Address on this machine → port of the container, for every port that the engine published."""
        import docker
        import requests

        with contextlib.suppress(docker.errors.APIError, requests.exceptions.RequestException):
            settings = self._client.api.inspect_container(self.container).get("NetworkSettings") or {}
            return {
                f"{place.get('HostIp') or '127.0.0.1'}:{place['HostPort']}": port.partition("/")[0]
                for port, places in sorted((settings.get("Ports") or {}).items())
                for place in places or ()
                if place.get("HostPort")
            }
        return {}

    def report(self, *, hung: bool, limit: float | None = None) -> BootReport:
        """Judge the run by everything that it left."""
        self._read_tails()
        return self._reader.finish(
            self.now, self.exit_code, Layer.MAKE, hung=hung, outside=self.outside, limit=limit
        )

    @property
    def fresh_logs(self) -> tuple[Path, ...]:
        """The log files that this run has written."""
        return tuple(tail.path for tail in self._tails.values() if tail.fresh)

    def close(self) -> None:
        """Remove the container, whatever it does; may be called twice."""
        self._companion.release()
        if self._stream is not None:
            self._stream.close()
            self._attached.close()
            self._stream = None
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> ContainerSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self, timeout: float) -> None:
        assert self._stream is not None
        data = self._stream.read(timeout)
        self._read_tails()
        if data == b"":
            self._ended = True
            self.exit_code = self._exit_code()

    def _heard(self, data: bytes) -> None:
        self._reader.feed("terminal", data, self.now)
        if self._log is not None and self._room > 0:
            self._log.write(data[: self._room])
            self._room -= len(data)

    def _read_tails(self) -> None:
        for stream, tail in self._tails.items():
            while data := tail.new():
                self._reader.feed(stream, data, self.now)

    def _why(self, error: Exception) -> str:
        """The engine's own words; Podman tells some of them only to who asks for the container's state."""
        import docker
        import requests

        told = str(getattr(error, "explanation", None) or error)
        with contextlib.suppress(docker.errors.APIError, requests.exceptions.RequestException):
            state = self._client.api.inspect_container(self.container).get("State") or {}
            return f"{told} {state.get('Error') or ''}".strip()
        return told

    def _exit_code(self, timeout: float | None = 20) -> int:
        import docker
        import requests

        gone = VmError(
            "The container engine went away while the run was going on.",
            "Start it again: labkit removes at its next start what the run left there.",
        )
        if unreachable(self._address):
            raise gone
        try:
            code = int(self._client.api.wait(self.container, timeout=timeout)["StatusCode"])
            self.outside = ended_from_outside(
                self._client, self.container, self._since, code, podman=self._podman
            )
        except docker.errors.NotFound:
            self.outside, code = told({"Removing": True}, [], None, podman=self._podman), 137
        except (requests.exceptions.RequestException, docker.errors.APIError) as error:
            if unreachable(self._address):
                raise gone from error
            self.outside = ended_from_outside(
                self._client, self.container, self._since, None, podman=self._podman
            )
            code = 137
        return code


def start_session(
    client: DockerClient, engine: Engine, creation: Creation, reader: BootLogReader
) -> ContainerSession:
    """Create the container, and its companion that removes it.

    Raises:
        MissingComponent: there is no such image.
        LabkitError: the engine refuses the container.
    """
    import docker

    api = client.api
    host = api.create_host_config(**creation.host)
    try:
        made = api.create_container(**creation.config, host_config=host, name=new_name())
    except docker.errors.ImageNotFound as error:
        raise MissingComponent(
            f"The engine has no image {creation.config['image']}.", "Name another with --image."
        ) from error
    except docker.errors.APIError as error:
        raise start_refusal(str(error.explanation or error)) from error
    try:
        return ContainerSession(client, engine, made["Id"], reader)
    except BaseException:  # without its companion nobody would remove it
        with contextlib.suppress(docker.errors.APIError):
            api.remove_container(made["Id"], force=True, v=True)
        raise


def run_once(
    client: DockerClient,
    engine: Engine,
    image: str,
    words: Sequence[str],
    *,
    kvm: bool = False,
    binds: Sequence[str] = (),
    capabilities: Sequence[str] = (),
) -> tuple[int, bytes]:
    """Run a program in a container without privileges or network; its exit status, and all it printed.

    binds: what is mounted. capabilities: what it may, besides nothing.

    Raises:
        LabkitError: the engine cannot start it.
    """
    host = {"network_mode": "none", "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
    devices: dict[str, Any] = {"devices": ["/dev/kvm"]} if kvm else {}
    devices |= {"binds": list(binds), "cap_add": list(capabilities)}
    creation = Creation(
        config={"image": image, "command": list(words), "entrypoint": [], "labels": {LABEL: "toolbox"}},
        host={**host, **devices},
        command_line=shlex.join(("docker", "run", image, *words)),
    )
    with start_session(client, engine, creation, BootLogReader()) as session:
        return session.run_to_end()
