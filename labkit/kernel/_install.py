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

NAME = "tdvm"
DISPLAY_NAME = "TDVM shell"


@dataclass(frozen=True)
class Installed:
    """Where the kernelspec is."""

    path: Path

    def __str__(self) -> str:
        return f"The kernel {NAME} ({DISPLAY_NAME}) is installed in {self.path}."

    def to_dict(self) -> dict[str, Any]:
        """The kernelspec as plain data."""
        return {"name": NAME, "display_name": DISPLAY_NAME, "path": str(self.path)}


def kernelspec() -> dict[str, Any]:
    """What ``kernel.json`` holds; it starts this very Python."""
    return {
        "argv": [sys.executable, "-m", "labkit.kernel", "-f", "{connection_file}"],
        "display_name": DISPLAY_NAME,
        "language": "bash",
        "interrupt_mode": "message",
        "metadata": {"supported_encryption": ["curve"]},
    }


def install(user: bool = False, prefix: str | None = None) -> Installed:
    """Write the kernelspec for this Python's environment, for this ``user``, or below another ``prefix``.

    Raises:
        StorageError: the folder cannot be written.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        (source / "kernel.json").write_text(json.dumps(kernelspec(), indent=1) + "\n")
        shutil.copyfile(Path(__file__).with_name("logo.svg"), source / "logo-svg.svg")
        where = None if user else prefix or sys.prefix
        try:
            path = KernelSpecManager().install_kernel_spec(folder, NAME, user=user, prefix=where)
        except OSError as error:
            raise StorageError(
                f"The kernelspec cannot be written: {error}.", "Try `labkit kernel install --user`."
            ) from error
    return Installed(Path(path))
