"""Event logs of a measured boot: the TCG's crypto-agile form and its TDX form, CCEL.

Source: TCG PC Client Platform Firmware Profile 1.05, section 10; UEFI 2.10, section 38
(confidential computing).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from labkit.errors import MalformedEventLog
from labkit.files import strict_json
from labkit.measure.describe import DataCheck, data_check, describe
from labkit.measure.embedded import embedded
from labkit.measure.event_types import ALGORITHMS, SHA384, EventType, rtmr_of_pcr, type_name
from labkit.measure.strangers import QUOTE_STARTS, named
from labkit.measure.wrapping import json_document, plain_bytes, values_of
from labkit.show import columns
from labkit.show.fields import hex_map, spans
from labkit.show.markup import details, join
from labkit.show.measure import event_table

_SIGNATURE = b"Spec ID Event03\0"
# The first event of a log: register 0 or 1, EV_NO_ACTION, and the beginning of 20 zero bytes.
_STARTS = tuple(struct.pack("<II", register, 3) + bytes(4) for register in (0, 1))
_MAX_LOG = 16 << 20
_MAX_PCR = 23
_LOOKED_AT = 1 << 16
_LOG_NAMES = frozenset({"event_log", "eventlog", "cc_eventlog", "ccel", "td_eventlog"})
_REMEDY = "Read it as the guest gives it: binary_bios_measurements of the TPM, or the CCEL table's data."


RUNTIME_RTMR = 3
"""The register that the guest extends at run time; a log of the firmware has no entry of it."""


class LogFormat(StrEnum):
    """Where a log comes from, which decides what its register numbers mean."""

    TCG = "tcg"
    CCEL = "ccel"


@dataclass(frozen=True)
class LogEvent:
    """One record. ``register`` is a PCR in a TCG log; in a CCEL 0 is MRTD and 1 to 4 are RTMR0 to RTMR3.

    index: place in the log; the Spec ID header of a binary log is number 0.
    """

    index: int
    register: int
    type: int
    digests: tuple[tuple[int, bytes], ...]
    data: bytes

    @property
    def description(self) -> str:
        """One cleaned line about the event."""
        return describe(self.type, self.data)

    @property
    def extends(self) -> bool:
        """The event went into a register; EV_NO_ACTION only informs."""
        return self.type != EventType.EV_NO_ACTION

    def digest(self, algorithm: int = SHA384) -> bytes | None:
        """The digest of one bank, ``None`` if the log does not carry it."""
        return dict(self.digests).get(algorithm)

    @property
    def data_check(self) -> DataCheck:
        """Whether the data of the event belongs to its digests, in every bank."""
        if not self.extends:
            return DataCheck.UNKNOWN
        found = {data_check(self.type, self.data, number, value) for number, value in self.digests}
        if DataCheck.DIFFERS in found:
            return DataCheck.DIFFERS
        return DataCheck.MATCHES if found == {DataCheck.MATCHES} else DataCheck.UNKNOWN


@dataclass(frozen=True)
class LogHeader:
    """The Spec ID event. ``algorithms`` pairs algorithm numbers with digest sizes in bytes."""

    register: int = 0
    platform_class: int = 0
    version: tuple[int, int, int] = (2, 0, 0)
    uintn_size: int = 2
    algorithms: tuple[tuple[int, int], ...] = ((SHA384, 48),)
    vendor_info: bytes = b""

    def encode(self) -> bytes:
        """The record as it stands in a log."""
        major, minor, errata = self.version
        data = _SIGNATURE + struct.pack("<IBBBB", self.platform_class, minor, major, errata, self.uintn_size)
        data += struct.pack("<I", len(self.algorithms))
        data += b"".join(struct.pack("<HH", *pair) for pair in self.algorithms)
        data += struct.pack("<B", len(self.vendor_info)) + self.vendor_info
        return struct.pack("<II20sI", self.register, EventType.EV_NO_ACTION, b"", len(data)) + data


@dataclass(frozen=True)
class EventLog:
    """A parsed log. ``padding`` is what follows the last record: one byte value, 0x00 or 0xFF, repeated."""

    format: LogFormat
    header: LogHeader
    events: tuple[LogEvent, ...]
    padding: bytes = b""

    def register_name(self, event: LogEvent) -> str:
        """The TDX register that an event belongs to: ``MRTD`` or ``RTMR0`` to ``RTMR3``."""
        number = self.rtmr_of(event)
        return "MRTD" if number is None else f"RTMR{number}"

    def rtmr_of(self, event: LogEvent) -> int | None:
        """The RTMR that an event belongs to; None for MRTD, which no event can extend."""
        if self.format is LogFormat.TCG:
            return rtmr_of_pcr(event.register)
        return event.register - 1 if event.register >= 1 else None

    @property
    def has_runtime_events(self) -> bool:
        """Some event went into RTMR3. The firmware makes none: without one, RTMR3 is the guest's affair."""
        return any(event.extends and self.rtmr_of(event) == RUNTIME_RTMR for event in self.events)

    @property
    def banks(self) -> tuple[tuple[str, int], ...]:
        """Name and digest size in bytes of every bank of digests."""
        return tuple((ALGORITHMS[number][0], size) for number, size in self.header.algorithms)

    @property
    def derived_from(self) -> str | None:
        """``vtpm`` where RTMRs are a TPM's events read by the TDVF mapping, and no TD made them."""
        return "vtpm" if self.format is LogFormat.TCG else None

    def encode(self) -> bytes:
        """The bytes that this log was parsed from."""
        return b"".join(record for _, record in self.records())

    def records(self) -> list[tuple[str, bytes]]:
        """Header, events and padding, each by name as it stands in the log."""
        events = [(f"event {event.index}", _encode_event(event)) for event in self.events]
        padding = [("padding", self.padding)] if self.padding else []
        return [("header", self.header.encode()), *events, *padding]

    def __str__(self) -> str:
        return columns([_HEAD, *(_cells(row, 16) for row in event_rows(self))])

    def _repr_html_(self) -> str:
        rows = [_cells(row, 24) for row in event_rows(self)]
        return join([event_table(_HEAD, rows, _LEGEND), details("hex map", hex_map(spans(self.records())))])

    def __repr__(self) -> str:
        return f"EventLog({self.format.value}, {len(self.events)} events)"


_HEAD = ("#", "register", "type", "digest", "description", "text")
_MARKS = {"matches": "✓", "differs": "✗", "unknown": "–"}
_LEGEND = (
    "text: ✓ the digest is that of the description, ✗ it is not, – the log does not hold what was hashed."
)


def _cells(row: dict[str, Any], digits: int) -> tuple[str, ...]:
    register = f"{row['register']} (PCR {row['pcr']})" if "pcr" in row else row["register"]
    shown = row["digest"][:digits] + ("…" if len(row["digest"]) > digits else "")
    kind = row["type"].removeprefix("EV_")
    return (str(row["index"]), register, kind, shown, row["description"], _MARKS[row["data"]])


def parse_log(data: bytes, format: LogFormat | str | None = None) -> EventLog:  # noqa: A002
    """Read a binary TCG or CCEL log strictly, or a JSON list of events as dstack writes it.

    It may be wrapped: in hexadecimal, base64, or a JSON document that has it under ``event_log``.

    Without ``format``, a log whose only bank is SHA-384 and whose registers are all below 5 is a CCEL:
    a TPM's log always has separators in PCRs 5 to 7. Padding (0x00 or 0xFF) after the last record is kept
    apart.

    Raises:
        MalformedEventLog: a record runs past the end, an algorithm is unknown, a register does not exist,
            or something other than padding follows the last record.
    """
    if len(data) > _MAX_LOG:
        raise MalformedEventLog(f"The log has {len(data)} bytes, more than any firmware reserves.", _REMEDY)
    logs = list(dict.fromkeys(embedded(data, _STARTS)))
    if len(logs) > 1:
        raise MalformedEventLog(
            f"There are {len(logs)} different logs in it, and nothing says which is meant.",
            "Give one of them in a file of its own.",
        )
    if logs:
        data = logs[0]
    elif json_document(data) is not None:
        return _parse_json(_document(data))
    data = plain_bytes(data)
    if data[32:48] != _SIGNATURE:
        _refuse_other(data)
    header, position = _parse_header(data)
    sizes = dict(header.algorithms)
    events: list[LogEvent] = []
    while position < len(data) and not _is_padding(data, position):
        event, position = _parse_event(data, position, len(events) + 1, sizes)
        events.append(event)
    kind = LogFormat(format) if format else _guess(header, events)
    limit = 4 if kind is LogFormat.CCEL else _MAX_PCR
    for event in events:
        if event.register > limit:
            raise MalformedEventLog(
                f"Event {event.index} names register {event.register}, which does not exist.", _REMEDY
            )
    return EventLog(kind, header, tuple(events), bytes(data[position:]))


def _refuse_other(data: bytes) -> None:
    """Refuse by its name what is known for something other than an event log."""
    if data.startswith(QUOTE_STARTS):
        raise MalformedEventLog("This is a TDX quote, not an event log.", "Use `labkit quote inspect`.")
    if found := named(data):
        raise MalformedEventLog(f"This is {found[0]}, not an event log.", found[1] or _REMEDY)
    if _of_tcg_1_2(data):
        raise MalformedEventLog(
            "This log is of TCG 1.2: its digests are of SHA-1 alone, which no RTMR has.",
            "Have the firmware write the newer form, which begins with Spec ID Event03.",
        )


def _of_tcg_1_2(data: bytes) -> bool:
    """The first two records are of the form without a header: register, type, SHA-1, size, data."""
    position = 0
    for _ in range(2):
        if len(data) < position + 32:
            return False
        register, kind, size = struct.unpack_from("<II20xI", data, position)
        if register > _MAX_PCR or kind not in set(EventType):
            return False
        position += 32 + size
    return position <= len(data)


def parse_log_head(data: bytes) -> int:
    """How many bytes of ``data`` are a binary log: header and records, up to where no record follows.

    For a log in memory, where its end is not marked. A record ends the log if it is of another shape than the
    header announces, or is not whole.

    Raises:
        MalformedEventLog: there is not even a header with one record.
    """
    header, start = _parse_header(data)
    sizes, end, count = dict(header.algorithms), start, 0
    while end < len(data):
        try:
            if _is_padding_head(data, end):
                break
            event, following = _parse_event(data, end, count + 1, sizes)
        except MalformedEventLog:
            break
        if event.register > _MAX_PCR:
            break
        end, count = following, count + 1
    if not count:
        raise MalformedEventLog("No event follows the header of the log.", _REMEDY)
    return end


def _is_padding_head(data: bytes, position: int) -> bool:
    head = data[position : position + 12]
    return head.count(0x00) == len(head) or head.count(0xFF) == len(head)


def _guess(header: LogHeader, events: list[LogEvent]) -> LogFormat:
    only_sha384 = [number for number, _ in header.algorithms] == [SHA384]
    return LogFormat.CCEL if only_sha384 and all(event.register <= 4 for event in events) else LogFormat.TCG


def _is_padding(data: bytes, position: int) -> bool:
    """The record header at this place is all zeros or all ones; then so must be the rest."""
    head = data[position : position + 12]
    for filler in (0x00, 0xFF):
        if head.count(filler) == len(head):
            if data.count(filler, position) != len(data) - position:
                raise MalformedEventLog(
                    f"Bytes other than padding follow the log's end at {position:#x}.", _REMEDY
                )
            return True
    return False


def _parse_header(data: bytes) -> tuple[LogHeader, int]:
    if len(data) < 32 + 29:
        raise MalformedEventLog(f"The log has {len(data)} bytes, too few for its header.", _REMEDY)
    register, kind, digest, size = struct.unpack_from("<II20sI", data)
    end = 32 + size
    if kind != EventType.EV_NO_ACTION or digest != bytes(20) or data[32:48] != _SIGNATURE or register > 1:
        raise MalformedEventLog("The log does not begin with a Spec ID Event03 header.", _REMEDY)
    if size < 29 or end > len(data):
        raise MalformedEventLog("The header of the log runs past its end.", _REMEDY)
    platform_class, minor, major, errata, uintn = struct.unpack_from("<IBBBB", data, 48)
    (count,) = struct.unpack_from("<I", data, 56)
    table_end = 60 + 4 * count
    if not 1 <= count <= len(ALGORITHMS) or table_end + 1 > end:
        raise MalformedEventLog(f"The header of the log announces {count} algorithms.", _REMEDY)
    table = tuple(struct.iter_unpack("<HH", data[60:table_end]))
    for number, length in table:
        if ALGORITHMS.get(number, ("", -1))[1] != length:
            raise MalformedEventLog(
                f"Algorithm {number:#06x} with {length}-byte digests is unknown.", _REMEDY
            )
    if len(dict(table)) != count:
        raise MalformedEventLog("The header of the log announces an algorithm twice.", _REMEDY)
    vendor = bytes(data[table_end + 1 : end])
    if len(vendor) != data[table_end]:
        raise MalformedEventLog("The vendor information does not fill the header of the log.", _REMEDY)
    return LogHeader(register, platform_class, (major, minor, errata), uintn, table, vendor), end


def _parse_event(data: bytes, start: int, index: int, sizes: dict[int, int]) -> tuple[LogEvent, int]:
    register, kind, count = _unpack("<III", data, start, index)
    if count != len(sizes):
        # Not what is known by its length alone: a damaged log may be left with any.
        if (found := named(data[start : start + _LOOKED_AT])) and found[0] in ("IMA's list", "text"):
            raise MalformedEventLog(
                f"Behind event {index - 1}, at {start:#x}, the log goes on as {found[0]}.",
                "Give the firmware's log alone.",
            )
        raise MalformedEventLog(
            f"Event {index} has {count} digests where the log has {len(sizes)} banks.", _REMEDY
        )
    position, digests = start + 12, []
    for _ in range(count):
        (number,) = _unpack("<H", data, position, index)
        if number not in sizes:
            raise MalformedEventLog(
                f"Event {index} uses algorithm {number:#06x}, not in the header.", _REMEDY
            )
        position += 2
        (digest,) = _unpack(f"<{sizes[number]}s", data, position, index)
        digests.append((number, digest))
        position += sizes[number]
    if len(dict(digests)) != count:
        raise MalformedEventLog(f"Event {index} has two digests of one algorithm.", _REMEDY)
    (size,) = _unpack("<I", data, position, index)
    (content,) = _unpack(f"<{size}s", data, position + 4, index) if size <= len(data) else _past_end(index)
    return LogEvent(index, register, kind, tuple(digests), content), position + 4 + size


def _unpack(layout: str, data: bytes, position: int, index: int) -> tuple[Any, ...]:
    if position + struct.calcsize(layout) > len(data):
        _past_end(index)
    return struct.unpack_from(layout, data, position)


def _past_end(index: int) -> Any:
    raise MalformedEventLog(f"Event {index} runs past the end of the log: it was cut off.", _REMEDY)


def _encode_event(event: LogEvent) -> bytes:
    parts = [struct.pack("<III", event.register, event.type, len(event.digests))]
    parts += [struct.pack("<H", number) + digest for number, digest in event.digests]
    return b"".join([*parts, struct.pack("<I", len(event.data)), event.data])


def _parse_json(document: Any) -> EventLog:
    """A list of events, or a document that has one, or a wrapped binary log, inside.

    Raises:
        MalformedEventLog: it has none, or an event is none.
    """
    if isinstance(document, dict):
        inner = next(values_of(document, _LOG_NAMES), None)
        if isinstance(inner, str):
            packed = inner.strip().encode("utf-8", "replace")
            if json_document(packed) is None:
                return parse_log(plain_bytes(packed))
            inner = _document(packed)
        document = inner
    if not isinstance(document, list):
        raise MalformedEventLog("The JSON document has no event log in it.", _REMEDY)
    if not document:
        raise MalformedEventLog("The JSON list has no event in it.", _REMEDY)
    if isinstance(document[0], dict) and "recnum" in document[0]:
        raise MalformedEventLog(
            "This is a log in TCG's canonical form (CEL), whose records are not the firmware's own.", _REMEDY
        )
    events = tuple(_json_event(index, row) for index, row in enumerate(document))
    return EventLog(LogFormat.CCEL, LogHeader(register=1), events)


def _document(data: bytes) -> Any:
    try:
        return strict_json(data)
    except ValueError as error:
        raise MalformedEventLog(f"The document is not a log: {error}.", _REMEDY) from error


def _json_event(index: int, row: Any) -> LogEvent:
    """One event as dstack writes it; a run-time event without its digest is given the one it must have."""
    if not isinstance(row, dict):
        raise MalformedEventLog(f"Event {index} of the JSON list is not an object.", _REMEDY)
    register, kind, name = row.get("imr"), row.get("event_type"), row.get("event", "")
    if (
        type(register) is not int
        or not 0 <= register <= 3
        or type(kind) is not int
        or not 0 <= kind < 1 << 32
    ):
        raise MalformedEventLog(f"Event {index} of the JSON list has no register (imr) and type.", _REMEDY)
    digest, payload = (_hex_field(index, row, field) for field in ("digest", "event_payload"))
    if not isinstance(name, str) or any("\ud800" <= char <= "\udfff" for char in name):
        raise MalformedEventLog(f"Event {index} of the JSON list has a name that is not text.", _REMEDY)
    content = f"{name}:".encode() + payload if kind == EventType.DSTACK_EVENT else payload
    if not digest and kind == EventType.DSTACK_EVENT:
        digest = hashlib.sha384(kind.to_bytes(4, "little") + b":" + content).digest()
    if len(digest) != 48:
        raise MalformedEventLog(
            f"Event {index} of the JSON list has a digest of {len(digest)} bytes.", _REMEDY
        )
    return LogEvent(index, register + 1, kind, ((SHA384, digest),), content)


def _hex_field(index: int, row: dict[str, Any], field: str) -> bytes:
    value = row.get(field, "")
    try:
        return bytes.fromhex(value.removeprefix("0x"))
    except (ValueError, AttributeError):
        raise MalformedEventLog(
            f"Event {index} of the JSON list has a {field} that is not hexadecimal.", _REMEDY
        ) from None


def event_rows(log: EventLog) -> list[dict[str, Any]]:
    """The events with the keys of ``labkit eventlog``; ``pcr`` only where the log is a TPM's."""
    rows = []
    for event in log.events:
        digest = event.digest() or event.digests[0][1]
        row: dict[str, Any] = {"index": event.index, "register": log.register_name(event)}
        if log.format is LogFormat.TCG:
            row["pcr"] = event.register
        row |= {"type": type_name(event.type), "digest": digest.hex(), "description": event.description}
        rows.append({**row, "data": event.data_check.value})
    return rows
