"""What a notebook must be to be committed, as a function from a file to complaints."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
KERNELS = {"python3", "tdvm"}
SIZE = 200_000

# Paths of one machine; those every machine has, as /dev/kvm or /usr/share, are facts a chapter may show.
_OWN_PATHS = re.compile(
    rf"(?<![\w.$~}}/:-])(?:/(?:home|Users|tmp|var/tmp|mnt|builds)/[\w.-]+|{re.escape(str(ROOT))})"
)

# What a front end that does not trust a notebook leaves out: JupyterLab, VS Code, nbviewer, GitHub.
_MARKS = {
    "<script": "a script",
    "<style": "a style sheet",
    "<svg": "a picture that is not an image",
    "<iframe": "a frame",
    'src=\\"http': "an image from elsewhere",
}

# What every front end draws by itself. Of an output's types VS Code takes the first of vendors' types
# (application/vnd.*), text/html, text/markdown, image/png, image/svg+xml, application/json, text/plain
# (microsoft/vscode, extensions/ipynb/src/deserializers.ts): a vendor's type hides all others.
_DRAWN = {"text/plain", "text/html", "image/png", "image/jpeg", "application/json"}
_SCRAP = "application/scrapbook.scrap.json+json"  # a value for programs; its words are drawn


def notebooks() -> list[Path]:
    """Every committed notebook."""
    found = sorted(FOLDER.rglob("*.ipynb")) if FOLDER.is_dir() else []
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def complaints(path: Path) -> list[str]:
    """What is wrong with a notebook; an empty list where nothing is."""
    data = path.read_bytes()
    try:
        raw = json.loads(data)
        with warnings.catch_warnings():
            # Missing ids are only warned of, and put into what is validated.
            warnings.simplefilter("ignore")
            nbformat.validate(json.loads(data))
    except (ValueError, nbformat.ValidationError) as error:
        return [f"not a valid notebook: {str(error).partition(chr(10))[0]}"]
    found = [f"{len(data)} bytes are more than {SIZE}"] if len(data) > SIZE else []
    if (raw["nbformat"], raw["nbformat_minor"]) < (4, 5):
        found.append("older than format 4.5")
    found += _metadata(raw["metadata"])
    code = [cell for cell in raw["cells"] if cell["cell_type"] == "code"]
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", ())]
    if len(tagged) != 1:
        found.append(f"{len(tagged)} cells are tagged parameters")
    for number, cell in enumerate(raw["cells"], 1):
        found += [f"cell {number}: {complaint}" for complaint in _cell(cell)]
    counts = [cell["execution_count"] for cell in code if "".join(cell["source"]).strip()]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"execution counts are {counts}, not 1 to {len(counts)}: run `labkit refresh`")
    return found


def _metadata(metadata: dict[str, Any]) -> list[str]:
    kernel = metadata.get("kernelspec", {}).get("name")
    found = [] if kernel in KERNELS else [f"the kernel {kernel} is none of {sorted(KERNELS)}"]
    if "papermill" in metadata or "version" in metadata.get("language_info", {}):
        found.append("metadata of one execution are kept: run `labkit refresh`")
    return found


def _cell(cell: dict[str, Any]) -> list[str]:
    found = [] if cell.get("id") else ["no id"]
    if not "".join(cell["source"]).strip():
        found.append("it is empty")
    if "papermill" in cell["metadata"] or "execution" in cell["metadata"]:
        found.append("metadata of one execution are kept: run `labkit refresh`")
    found += [f"a path of one machine: {path}" for path in _OWN_PATHS.findall("".join(cell["source"]))]
    if cell["cell_type"] == "markdown" and re.search(r"^ +\|.*\|$", "".join(cell["source"]), re.MULTILINE):
        found.append("a table in a list: nbconvert and nbviewer show its bars")
    for output in cell.get("outputs", ()):
        text = json.dumps(output)
        if output["output_type"] == "error":
            found.append(f"an error is kept: {output['ename']}")
        found += [f"{what} is kept" for mark, what in _MARKS.items() if mark in text.lower()]
        types = set(output.get("data", ()))
        found += [f"few front ends draw {kind}" for kind in sorted(types - _DRAWN - {_SCRAP})]
        if types and not output["data"].get("text/plain"):
            found.append("markup without words: a front end that does not trust it shows nothing")
        if re.search(r"<img(?![^>]* alt=)", "".join(output.get("data", {}).get("text/html", ""))):
            found.append("a picture without words: some front ends leave it out")
        found += [f"a path of one machine: {path}" for path in _OWN_PATHS.findall(text)]
    return found
