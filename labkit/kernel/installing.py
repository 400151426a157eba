"""The kernelspec: how Jupyter finds the kernel, and how it starts and interrupts it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from labkit.errors import StorageError
from labkit.files import write_whole
from labkit.learn.saving import EXTENSION

NAME, DISPLAY_NAME = "tdvm", "TDVM shell"
PROVISIONER = "labkit-private"
"""The entry point in ``jupyter_client.kernel_provisioners`` that starts the kernel."""
SERVER_CONFIG = "etc/jupyter/jupyter_server_config.d/labkit.json"
_ASTERINAS = "tdvm-asterinas", "TDVM shell (Asterinas)"


@dataclass(frozen=True)
class Installed:
    """Where the kernelspecs are: of labkit's own guest, and of Asterinas."""

    path: Path
    asterinas: Path

    def __str__(self) -> str:
        return (
            f"The kernel {NAME} ({DISPLAY_NAME}) is installed in {self.path}.\n"
            f"The kernel {_ASTERINAS[0]} ({_ASTERINAS[1]}) is installed in {self.asterinas}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The kernelspec as plain data."""
        other = {"name": _ASTERINAS[0], "display_name": _ASTERINAS[1], "path": str(self.asterinas)}
        return {"name": NAME, "display_name": DISPLAY_NAME, "path": str(self.path), "others": [other]}


def kernelspec(
    display_name: str = DISPLAY_NAME, guest: str | None = None, provisioned: bool = False
) -> dict[str, Any]:
    """What ``kernel.json`` holds; it starts this very Python. ``guest``: as for ``labkit boot --guest``.

    provisioned: labkit's own provisioner starts it, which encrypts its sockets. A front end whose environment
    has no labkit would not show such a kernel.
    """
    metadata: dict[str, Any] = {"supported_encryption": ["curve"]}
    if provisioned:
        metadata["kernel_provisioner"] = {"provisioner_name": PROVISIONER}
    return {
        "argv": [sys.executable, "-m", "labkit.kernel", "-f", "{connection_file}"],
        "display_name": display_name,
        "language": "bash",
        "interrupt_mode": "message",
        "metadata": metadata,
        **({"env": {"LABKIT_GUEST": guest}} if guest else {}),
    }


def install(user: bool = False, prefix: str | None = None) -> Installed:
    """Write the kernelspecs for this Python's environment, for this ``user``, or below another ``prefix``.

    Raises:
        StorageError: the folder cannot be written.
    """
    where = None if user else prefix or sys.prefix
    provisioned = where == sys.prefix and _registered()
    specs = {
        NAME: kernelspec(provisioned=provisioned),
        _ASTERINAS[0]: kernelspec(_ASTERINAS[1], "asterinas", provisioned),
    }
    installed = Installed(*(_install(name, spec, user, where) for name, spec in specs.items()))
    if where is not None:
        _extend(Path(where) / SERVER_CONFIG)
    return installed


def _extend(config: Path) -> None:
    """Have every Jupyter server of an environment save a form that is still open as its static twin."""
    with _storing():
        write_whole(config, (json.dumps(EXTENSION, indent=1) + "\n").encode())


def _registered() -> bool:
    """Jupyter finds the provisioner in this environment: labkit was installed there with its entry points."""
    return bool(entry_points(group="jupyter_client.kernel_provisioners", name=PROVISIONER))


def _install(name: str, spec: dict[str, Any], user: bool, prefix: str | None) -> Path:
    from jupyter_client.kernelspec import KernelSpecManager

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        (source / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n")
        shutil.copyfile(Path(__file__).with_name("logo.svg"), source / "logo-svg.svg")
        with _storing():
            return Path(KernelSpecManager().install_kernel_spec(folder, name, user=user, prefix=prefix))


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"The kernelspec cannot be written: {error}.", "Try `labkit kernel install --user`."
        ) from error
