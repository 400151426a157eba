"""Where the parts of an attested run contradict one another, although each is as it was attested.

A quote seals whatever the one who attests put into the directory; two parts that cannot both be true are
found here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from labkit.measure import EventLog
from labkit.measure.describe import LOAD_OPTIONS_TAG, tagged
from labkit.measure.event_types import EventType
from labkit.runs.record import RECORD
from labkit.runs.statement import STATEMENT
from labkit.settings import Trust

# What the statement says of a chapter, and how the record calls it.
_OF_A_CHAPTER = (
    ("name", "name"),
    ("source_sha256", "source_sha256"),
    ("parameters", "parameters"),
    ("status", "status"),
    ("notebook", "output"),
)


def contradictions(
    statement: Mapping[str, Any], record: bytes, log: EventLog, trust: Trust
) -> Iterator[tuple[str, str]]:
    """Place and sentence of each contradiction.

    record: the bytes of ``run.json``. trust: what the verified quote may be believed for.
    """
    boot = statement["boot"]
    if boot.get("trust", trust) != trust or boot.get("stamp", trust.stamp) != trust.stamp:
        yield STATEMENT, f"says more of its boot than the quote, which gives trust {trust.value}"
    if isinstance(line := boot.get("command_line"), str) and not _was_measured(line, log):
        yield STATEMENT, "names another command line than the one that was measured"
    try:
        yield from _of_record(statement, json.loads(record), trust)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        yield RECORD, "is not the record of a run"


def _of_record(
    statement: Mapping[str, Any], run: Mapping[str, Any], trust: Trust
) -> Iterator[tuple[str, str]]:
    chapters = run.get("chapters", [])
    if trust is Trust.NONE and any(part.get("trust") == Trust.HARDWARE for part in (run, *chapters)):
        yield RECORD, "claims TDX hardware, which the quote does not show"
    if run.get("status") != statement.get("status"):
        yield RECORD, "gives the run another status than the statement"
    said = [[part.get(name) for name, _ in _OF_A_CHAPTER] for part in statement["chapters"]]
    if said != [[part.get(name) for _, name in _OF_A_CHAPTER] for part in chapters]:
        yield RECORD, "tells of other chapters than the statement"
    finished = run.get("finished")
    if finished and datetime.fromisoformat(finished).timestamp() > statement["attested"]:
        yield RECORD, "says that the run ended after it was attested"


def _was_measured(line: str, log: EventLog) -> bool:
    """The log has no measurement of a command line by firmware, or it is of this one.

    The firmware may put the word for its initrd before or behind the line.
    """
    events = [
        event.digest()
        for event in log.events
        if event.type == EventType.EV_EVENT_TAG and (tagged(event.data) or (0,))[0] == LOAD_OPTIONS_TAG
    ]
    lines = (line, f"initrd=initrd {line}", f"{line} initrd=initrd")
    digests = [hashlib.sha384(f"{text}\0".encode("utf-16-le", "replace")).digest() for text in lines]
    return not events or any(digest in events for digest in digests)
