"""Binary layouts as tables: fields side by side, decoded to bytes and joined back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Any

from labkit.show import columns
from labkit.show.fields import FieldSpan, field_view


@dataclass(frozen=True)
class FieldView:
    """One field of a structure as it stands in its bytes. ``note`` says what the value means."""

    name: str
    offset: int
    value: bytes
    note: str = ""

    @property
    def span(self) -> FieldSpan:
        """The form in which ``labkit.show`` takes it."""
        return FieldSpan(self.name, self.offset, self.value, self.note)


class Layout:
    """Fields side by side: their names and sizes in bytes, in order."""

    def __init__(self, *fields: tuple[str, int]) -> None:
        self.names = tuple(name for name, _ in fields)
        self._struct = Struct("".join(f"{size}s" for _, size in fields))
        self._sizes = tuple(size for _, size in fields)
        self.size = self._struct.size

    def __add__(self, other: Layout) -> Layout:
        return Layout(*zip(self.names + other.names, self._sizes + other._sizes, strict=True))

    def decode(self, data: bytes, offset: int = 0) -> dict[str, bytes]:
        """Cut ``data`` into fields; the caller has checked the length."""
        return dict(zip(self.names, self._struct.unpack_from(data, offset), strict=True))

    def encode(self, owner: Any) -> bytes:
        """Join the attributes of ``owner`` that the fields are named after.

        Raises:
            ValueError: an attribute has not the length of its field.
        """
        values: list[bytes] = [getattr(owner, name) for name in self.names]
        for name, value, size in zip(self.names, values, self._sizes, strict=True):
            if len(value) != size:
                raise ValueError(f"{name} has {len(value)} bytes, not {size}")
        return b"".join(values)

    def zeros(self) -> dict[str, bytes]:
        """Every field filled with zeros."""
        return self.decode(bytes(self.size))

    def views(self, owner: Any, notes: dict[str, str]) -> list[FieldView]:
        """The fields of ``owner`` with their offsets, for tables and hex maps."""
        return placed([(name, getattr(owner, name)) for name in self.names], notes)


# What a TDREPORT and the body of a quote share: the TDX module's part, and the TD's.
SEAM_FIELDS = Layout(
    ("tee_tcb_svn", 16),
    ("mr_seam", 48),
    ("mr_signer_seam", 48),
    ("seam_attributes", 8),
)
TD_FIELDS = Layout(
    ("td_attributes", 8),
    ("xfam", 8),
    ("mrtd", 48),
    ("mr_config_id", 48),
    ("mr_owner", 48),
    ("mr_owner_config", 48),
    ("rtmr0", 48),
    ("rtmr1", 48),
    ("rtmr2", 48),
    ("rtmr3", 48),
)


def placed(fields: Iterable[tuple[str, bytes]], notes: dict[str, str]) -> list[FieldView]:
    """Give consecutive fields their offsets and their meanings."""
    found, offset = [], 0
    for name, value in fields:
        found.append(FieldView(name, offset, value, notes.get(name, "")))
        offset += len(value)
    return found


def as_text(fields: Iterable[FieldView]) -> str:
    """A table of fields for the terminal; long values are cut."""
    rows = [("offset", "size", "field", "value", "")]
    for field in fields:
        shown = field.value.hex()
        shown = shown if len(shown) <= 96 else f"{shown[:93]}…"
        rows.append((str(field.offset), str(len(field.value)), field.name, shown, field.note))
    return columns(rows)


def as_html(fields: Iterable[FieldView]) -> str:
    """A table of fields with a coloured hex map."""
    return field_view([field.span for field in fields])
