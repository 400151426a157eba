"""A run for the tools of a CI, JUnit's XML and a summary in Markdown; and what its reader does next."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from labkit.learn.journal import work_folder
from labkit.runs.record import Chapter, Run
from labkit.runs.source import repository
from labkit.show import clean, stamp

_NEXT = """
Read the pages:          {page}
Work through them:       {work}
See what you predicted:  {progress}"""


def junit(run: Run) -> str:
    """The run as a JUnit test suite: a test case a chapter, its failure with the cell that failed."""
    suite = ET.Element(
        "testsuite",
        name="labkit run",
        tests=str(len(run.chapters)),
        failures=str(len(run.failed)),
        errors="0",
        skipped="0",
        time=f"{run.seconds:.3f}",
        timestamp=run.started,
    )
    if run.reported.trust:
        properties = ET.SubElement(suite, "properties")
        for name, value in (("trust", run.reported.trust.value), ("stamp", run.reported.trust.stamp)):
            ET.SubElement(properties, "property", name=name, value=value)
    for chapter in run.chapters:
        case = ET.SubElement(
            suite,
            "testcase",
            classname="labkit",
            name=chapter.name,
            file=chapter.source,
            time=f"{chapter.seconds:.3f}",
        )
        if chapter.status != "passed":
            failure = ET.SubElement(case, "failure", message=_sentence(chapter))
            failure.text = _sentence(chapter)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def summary(run: Run) -> str:
    """The run as Markdown, for the page that a CI shows beside a change."""
    passed = len(run.chapters) - len(run.failed)
    told = run.reported.trust
    trust = f" {stamp(told)}Trust: {told.value}." if told else ""
    lines = [
        f"## labkit: {passed} of {len(run.chapters)} chapters passed",
        "",
        f"{run.seconds:.0f} s on {_cell(run.host.get('os', ''))}.{trust}",
        "",
        "| chapter | result | seconds | why |",
        "|---|---|---:|---|",
    ]
    for chapter in run.chapters:
        mark = "✓ passed" if chapter.status == "passed" else f"✗ {chapter.status}"
        why = _cell(_sentence(chapter)) if chapter.status != "passed" else ""
        lines.append(f"| {_cell(chapter.name)} | {mark} | {chapter.seconds:.1f} | {why} |")
    return "\n".join(lines) + "\n"


def _sentence(chapter: Chapter) -> str:
    return clean(str(chapter.failure or chapter.status))


def _cell(text: object) -> str:
    """Text that stays in its cell and is not markup."""
    line = " ".join(str(text).split())
    for char in "\\`*_[]<>|":
        line = line.replace(char, f"\\{char}")
    return line


def next_steps(index: Path, here: Path) -> str:
    """What to do after a run, in words that work where it was started."""
    tree = repository(here)
    if folder := work_folder(here):
        words = f"labkit notebooks open {folder}", f"labkit progress {folder}"
    elif tree and (tree / "lab").is_file() and (tree / "labkit").is_dir():
        words = "./lab notebook", ".venv/bin/labkit progress work"
    else:
        words = "labkit notebooks copy my-lab && labkit notebooks open my-lab", "labkit progress my-lab"
    return _NEXT.format(page=index.absolute().as_uri(), work=words[0], progress=words[1])
