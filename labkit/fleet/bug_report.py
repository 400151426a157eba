"""One redacted bundle to attach to a bug report: this host, what is installed, how the last TDVM went."""

from __future__ import annotations

import io
import json
import os
import platform
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import __version__
from labkit.errors import UsageError
from labkit.host import collect, diagnose, redact
from labkit.host.redaction import host_names, redact_text
from labkit.runs.collecting import collect_versions
from labkit.settings import Settings
from labkit.toolchain import toolchain_inventory

_TAIL = 256 << 10
# shell.log is left out: it holds what was typed into the guest.
_LOGS = ("argv.json", "result.json", "console.log", "qemu.log", "swtpm.log")


@dataclass(frozen=True)
class ReportBundle:
    """A written bundle; ``contents``: each file's name with what it is."""

    path: Path
    contents: Mapping[str, str]
    last_run: str | None

    def to_dict(self) -> dict[str, Any]:
        """The bundle as plain data."""
        return {"bundle": str(self.path), "contents": dict(self.contents), "last_run": self.last_run}

    def __str__(self) -> str:
        lines = [f"{self.path} holds:", *(f"  {name}: {what}" for name, what in self.contents.items())]
        lines.append("Names, addresses, UUIDs and serial numbers were taken out. Read it before you send it.")
        return "\n".join(lines)


def make_bundle(path: Path, settings: Settings, root: Path = Path("/")) -> ReportBundle:
    """Write the bundle as a compressed tar archive that only its owner may read.

    root: read another file tree as the host.

    Raises:
        UsageError: the file is there already.
    """
    names = host_names(root)
    facts = redact(collect(root), names)
    files = {
        "facts.json": (json.dumps(facts.to_dict(), indent=1) + "\n", "what `labkit verify --from` reads"),
        "verify.txt": (diagnose(facts).text(verbose=True) + "\n", "the verdict about this host"),
        "versions.json": (
            json.dumps(collect_versions(), indent=1) + "\n",
            "versions of labkit and the like",
        ),
        "setup.txt": (f"{toolchain_inventory(settings)}\n", "what the emulated platform is made of"),
    }
    last = _last_run(settings)
    for name in _LOGS if last else ():
        assert last is not None
        text = _tail(last / name)
        if text is not None:
            files[f"last-run/{name}"] = (text, f"of the last TDVM, {last.name}")
    redacted = {name: (redact_text(text, names), what) for name, (text, what) in files.items()}
    contents = {name: what for name, (_, what) in redacted.items()}
    readme = [f"labkit {__version__}, Python {platform.python_version()}", ""]
    readme += [f"{name}: {what}" for name, what in contents.items()]
    everything = {
        "README.txt": "\n".join(readme) + "\n",
        **{name: text for name, (text, _) in redacted.items()},
    }
    _write(path, everything)
    return ReportBundle(path, contents, last.name if last else None)


def _last_run(settings: Settings) -> Path | None:
    folder = settings.state_dir / "tdvms"
    runs = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return runs[-1] if runs else None


def _tail(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return None


def _write(path: Path, files: Mapping[str, str]) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} is there already.", "Name another file with --output.") from None
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in files.items():
            data = text.encode("utf-8", "replace")
            info = tarfile.TarInfo(f"labkit-report/{name}")
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
