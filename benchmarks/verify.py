"""``labkit verify`` beside ``virt-kvm-caps`` of virt-firmware, and the log reader beside ``grep``.

Both programs run from byte code, as an installed program does: pip compiles the peer when it installs it.
"""

from __future__ import annotations

import compileall
import os
import shutil
import sys
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _report import middle, paired, report

from labkit.host.log import read_log_file
from labkit.process import run

ROUNDS = 15
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
LIMIT = 0.30  # seconds that `labkit verify` may take
PEER = "virt-kvm-caps"
SIZE = 50 << 20


def peer(folder: Path) -> str | None:
    """The peer's program, if need be in a throw-away environment (GPL: run beside, never imported)."""
    found = shutil.which(PEER)
    if found:
        return found
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "virt-firmware"]
    done = run(pip, timeout=300, env=ENVIRONMENT)
    return str(folder / "bin" / PEER) if done.ok else None


def log(path: Path, template: bytes) -> Path:
    """A log of 50 MB of one kind of line."""
    block = b"".join(template % (index, index) for index in range(20_000))
    path.write_bytes(block * (SIZE // len(block) + 1))
    return path


def main() -> None:
    """Time everything in pairs."""
    rows: list[dict[str, Any]] = []
    compileall.compile_dir(Path(__file__).parents[1] / "labkit", quiet=1)
    with TemporaryDirectory() as name:
        folder = Path(name)
        verify = partial(run, [sys.executable, "-m", "labkit", "verify"], env=ENVIRONMENT)
        other = peer(folder / "peer")
        pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
        if other:
            pairs[f"labkit verify | {PEER} --tdx"] = (verify, partial(run, [other, "--tdx"], env=ENVIRONMENT))
        else:
            print(f"skipped: {PEER} is not installed and could not be", file=sys.stderr)
        pairs["labkit verify | python -c 'import click'"] = (
            verify,
            partial(run, [sys.executable, "-c", "import click"], env=ENVIRONMENT),
        )
        for kind, template in (
            ("other lines", b"[%12d.000001] usb 1-1: new high-speed USB device number %d\n"),
            ("TDX lines", b"[%12d.000001] virt/tdx: CMR: [0x0, 0x%x)\n"),
        ):
            path = log(folder / kind, template)
            pairs[f"50 MB of {kind} | grep -aic tdx"] = (
                partial(read_log_file, path, "log"),
                partial(run, ["grep", "-aic", "tdx", path]),
            )
        for pair, (ours, theirs) in pairs.items():
            mine, his, ratio = middle(paired(ours, theirs, ROUNDS if "verify" in pair else 5))
            rows.append({"ours | peer": pair, "seconds": mine, "peer": his, "ratio": ratio})
    report("verify", rows)
    slowest = max(row["seconds"] for row in rows if "verify" in row["ours | peer"])
    print(f"labkit verify: {slowest:.3f} s of {LIMIT:.2f} s allowed")


if __name__ == "__main__":
    main()
