"""Small real notebooks for the tests of the book."""

from __future__ import annotations

import json
from pathlib import Path

DAEMON = "import subprocess\ndaemon = subprocess.Popen(['setsid', 'sleep', '1000'])"


def markdown(text: str) -> dict[str, object]:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(text: str, *tags: str) -> dict[str, object]:
    return {
        "cell_type": "code",
        "metadata": {"tags": list(tags)} if tags else {},
        "source": text,
        "outputs": [],
        "execution_count": None,
    }


def parameters(text: str) -> dict[str, object]:
    return code(text, "parameters")


def write_notebook(path: Path, *cells: dict[str, object], kernel: str = "python3") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": kernel, "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        },
        "cells": [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells, 1)],
    }
    path.write_text(json.dumps(notebook, indent=1) + "\n")
    return path
