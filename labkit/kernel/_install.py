"""The kernelspec: how Jupyter finds the kernel, and how it starts and interrupts it."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import StorageError

NAME, DISPLAY_NAME = "tdvm", "TDVM shell"
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


def kernelspec(display_name: str = DISPLAY_NAME, guest: str | None = None) -> dict[str, Any]:
    """What ``kernel.json`` holds; it starts this very Python. ``guest``: as for ``labkit boot --guest``."""
    return {
        "argv": [sys.executable, "-m", "labkit.kernel", "-f", "{connection_file}"],
        "display_name": display_name,
        "language": "bash",
        "interrupt_mode": "message",
        "metadata": {"supported_encryption": ["curve"]},
        **({"env": {"LABKIT_GUEST": guest}} if guest else {}),
    }


def install(user: bool = False, prefix: str | None = None) -> Installed:
    """Write the kernelspecs for this Python's environment, for this ``user``, or below another ``prefix``.

    Raises:
        StorageError: the folder cannot be written.
    """
    where = None if user else prefix or sys.prefix
    own = _install(NAME, kernelspec(), user, where)
    return Installed(own, _install(_ASTERINAS[0], kernelspec(_ASTERINAS[1], "asterinas"), user, where))


def _install(name: str, spec: dict[str, Any], user: bool, prefix: str | None) -> Path:
    from jupyter_client.kernelspec import KernelSpecManager

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        (source / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n")
        shutil.copyfile(Path(__file__).with_name("logo.svg"), source / "logo-svg.svg")
        try:
            return Path(KernelSpecManager().install_kernel_spec(folder, name, user=user, prefix=prefix))
        except OSError as error:
            raise StorageError(
                f"The kernelspec cannot be written: {error}.", "Try `labkit kernel install --user`."
            ) from error
