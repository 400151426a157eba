"""JupyterLab on a learner's folder: at the first chapter, without news, with the guest's completions only."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from labkit.learn.copies import FIRST


def lab_words(
    folder: Path, more: Sequence[str], environ: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The command that opens JupyterLab on ``folder``, and the environment that it needs.

    Its settings come from a folder of configuration beside this module: JupyterLab otherwise asks about news,
    mixes words of the notebook into what the guest's shell completes, and lets every user of the machine read
    what the kernels publish.
    """
    words = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={folder}"]
    first = folder / FIRST
    if first.is_file():
        words.append(f"--LabApp.default_url=/lab/tree/{FIRST}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # In a container everybody is root, and JupyterLab asks for a confirmation then.
        words.append("--allow-root")
    own = str(Path(__file__).resolve().parent / "jupyter")
    paths = [own, *filter(None, [environ.get("JUPYTER_CONFIG_PATH")])]
    return [*words, *more], {**environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(paths)}
