"""Views of the TDX model, from plain data: static SVG or HTML, and text.

Everything shown by the model is EMULATED, and each view says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labkit.settings import Trust
from labkit.show._text import columns, stamp
from labkit.show._view import View
from labkit.show.colours import BAD, BLUE, DIM, GOOD, PINK, PURPLE, UNSURE, ink
from labkit.show.explorer import ExploredView, ListedPart
from labkit.show.markup import Markup, badge, element, join, table
from labkit.show.measure import section_table
from labkit.show.svg import picture

_COLOURS = {
    "TDR": PURPLE,
    "TDCX": UNSURE,
    "TDVPR": PINK,
    "EPT": BLUE,
    "REG": GOOD,
    "RSVD": DIM,
}
_FONT = "12px ui-monospace, monospace"
_ROWS = 60


def _text(x: float, y: float, words: object, colour: str = "currentColor", anchor: str = "start") -> Markup:
    return element("text", words, x=x, y=y, fill=colour, text_anchor=anchor)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = DIM) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour)


def _framed(title: str, *body: object) -> Markup:
    head = element("div", element("b", title), " ", badge(Trust.NONE))
    return element("div", head, *body, style="overflow-x:auto")


def _titled(title: str, text: str) -> str:
    return f"{stamp(Trust.NONE)}{title}\n{text}"


def _state_colour(state: str) -> str:
    if "BLOCKED" in state:
        return BAD
    if "PENDING" in state:
        return UNSURE
    return GOOD if "MAPPED" in state else DIM


def sept_walk(rows: Sequence[Mapping[str, Any]], gpa: int) -> ExploredView:
    """A Secure EPT walk: one box a level, from the root to the entry where it ends."""
    title = f"Secure EPT walk of guest address {gpa:#x}"
    parts = []
    for place, row in enumerate(rows):
        x, y = 10 + place * 165, 10
        colour = _state_colour(row["state"])
        box = element(
            "rect", x=x, y=y, width=140, height=70, rx=4, fill="none", stroke=colour, stroke_width=2
        )
        parts += [box, _text(x + 8, y + 18, f"level {row['level']}: {row['size']}")]
        parts.append(_text(x + 8, y + 36, f"entry {row['index']}"))
        parts.append(_text(x + 8, y + 54, row["state"], colour))
        if row["page"] is not None:
            parts.append(_text(x + 8, y + 88, f"{row['page']:#x}", DIM))
        if place + 1 < len(rows):
            parts.append(_line(x + 140, y + 35, x + 165, y + 35))
    svg = picture(20 + 165 * len(rows), 110, title, *parts, font=_FONT)
    text = columns(
        [
            ("level", "size", "index", "entry", "state", "page"),
            *((r["level"], r["size"], r["index"], r["entry"], r["state"], _hex(r["page"])) for r in rows),
        ]
    )
    walk = _framed(title, svg)
    return ExploredView(walk, _titled(title, text), title, tuple(_level(row, gpa) for row in rows))


def _level(row: Mapping[str, Any], gpa: int) -> ListedPart:
    """One level of a walk in words: which bits of the address lead to its entry, and where that leads."""
    low = 12 + 9 * row["level"]
    leads = "nothing" if row["page"] is None else f"the page at {row['page']:#x}"
    facts = [
        ("one entry covers", row["size"]),
        ("bits of the address", f"{low + 8} to {low}: {gpa >> low & 511:#011b} is entry {row['index']}"),
        ("entry", row["entry"]),
        ("state", row["state"]),
        ("it leads to", leads),
    ]
    label = f"level {row['level']}, entry {row['index']}: {row['state']}"
    return ListedPart(label, join([badge(Trust.NONE), section_table((), facts)]))


def _hex(value: int | None) -> str:
    return "-" if value is None else f"{value:#x}"


def pamt_map(rows: Sequence[Mapping[str, Any]]) -> View:
    """Which physical pages are in use, as what, by whom; one row a run of equal pages."""
    title = "PAMT: physical pages in use"
    shown = rows[:_ROWS]
    if not shown:
        none = "no page is in use"
        return View(_framed(title, element("div", none)), _titled(title, none))
    widest = max(row["pages"] for row in shown)
    parts = []
    for place, row in enumerate(shown):
        y = 20 * place
        width = 4 + 200 * row["pages"] / widest
        fill = _COLOURS.get(row["type"], DIM)
        parts.append(_text(5, y + 15, f"{row['start']:#x}"))
        parts.append(element("rect", x=120, y=y + 4, width=f"{width:.0f}", height=13, fill=fill))
        words = f"{row['pages']} × {row['type']}" + (f" of TD {row['owner']:#x}" if row["owner"] else "")
        parts.append(_text(130 + round(width), y + 15, words))
    svg = picture(560, 20 * len(shown) + 8, title, *parts, font=_FONT)
    cells = [(f"{r['start']:#x}", r["pages"], r["type"], _hex(r["owner"] or None)) for r in shown]
    text = columns([("start", "pages", "type", "owner"), *cells]) + _more(rows)
    return View(_framed(title, svg), _titled(title, text))


def _more(rows: Sequence[object]) -> str:
    return f"\n… {len(rows) - _ROWS} more" if len(rows) > _ROWS else ""


def page_life(rows: Sequence[Mapping[str, Any]], page: int) -> View:
    """What happened to one physical page, in order."""
    title = f"Life of physical page {page:#x}"
    head = ("step", "event", "answer", "becomes")
    cells = [
        (r["step"], r["name"], r["answer"] if r["kind"] == "SEAMCALL" else "", r["becomes"]) for r in rows
    ][:_ROWS]
    text = columns([head, *cells]) + _more(rows)
    return View(_framed(title, table(cells, head)), _titled(title, text))


def memory_lines(rows: Sequence[Mapping[str, Any]]) -> View:
    """Cache lines as they lie in the DIMM: ciphertext and the bits stored beside it."""
    title = "Memory lines on the bus"
    head = ("address", "ciphertext", "TD owner", "MAC", "poison")
    cells = [
        (
            f"{r['address']:#x}",
            r["ciphertext"][:32] + "…",
            r["owner"],
            r["mac"] or "-",
            "yes" if r["poison"] else "no",
        )
        for r in rows
    ]
    return View(_framed(title, table(cells, head)), _titled(title, columns([head, *cells])))


def sequence(rows: Sequence[Mapping[str, Any]], title: str = "Calls") -> View:
    """A sequence diagram of host, TDX module and guest; errors in red, runs of equal calls joined."""
    # Between two lanes there is room for the longest words of an arrow.
    lanes = {"host": 70, "module, memory": 350, "guest": 630}
    shown = rows[:_ROWS]
    height = 40 + 26 * len(shown)
    parts = []
    for name, x in lanes.items():
        parts += [_text(x, 16, name, anchor="middle"), _line(x, 24, x, height - 4)]
    lanes["module"] = lanes["memory"] = lanes.pop("module, memory")
    lines = []
    for place, row in enumerate(shown):
        start, end, words, answer = _arrow(row)
        y = 44 + 26 * place
        colour = BAD if row["error"] else GOOD if answer else DIM
        x1, x2 = lanes[start], lanes[end]
        parts.append(_line(x1, y, x2, y, colour))
        tip = 6 if x2 > x1 else -6
        points = f"{x2},{y} {x2 - tip},{y - 4} {x2 - tip},{y + 4}"
        parts.append(element("polygon", points=points, fill=colour))
        parts.append(_text((x1 + x2) / 2, y - 5, words, anchor="middle"))
        if answer:
            parts.append(_text(650, y + 4, answer, colour))
        lines.append((f"lp{row['lp']}", f"{start} -> {end}", words, answer))
    svg = picture(930, height, title, *parts, font=_FONT)
    return View(_framed(title, svg), _titled(title, columns(lines) + _more(rows)))


def _arrow(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """From, to, label and answer of an event."""
    times = f" ×{row['times']}" if row.get("times", 1) > 1 else ""
    kind = row["kind"]
    if kind == "SEAMCALL":
        return "host", "module", row["name"] + times, row["answer"]
    if kind == "TDCALL":
        return "guest", "module", row["name"] + times, row["answer"]
    if kind == "EXIT":
        return "guest", "host", "TD exit" + times, f"{row['answer']}, reason {int(row['status'], 0) & 0xFFFF}"
    if kind == "WRITE":
        return "host", "memory", f"writes {row['size']} bytes at {row['address']:#x}{times}", ""
    if kind in ("LOAD", "STORE"):
        return "guest", "memory", f"{kind.lower()} at {row['address']:#x}{times}", ""
    return "module", "guest", f"{kind} at {row['address']:#x}{times}", ""


def attacks(rows: Sequence[Mapping[str, Any]]) -> View:
    """A table of attacks: goal, last answer of the machine, verdict, reason."""
    title = "Attacks by the host"
    head = ("attack", "answer", "verdict", "why")
    cells = [(r["name"], r["status"] or "-", r["verdict"], r["why"]) for r in rows]
    coloured = [
        (c[0], element("code", c[1]), element("b", c[2], style=ink(_verdict_colour(str(c[2])))), c[3])
        for c in cells
    ]
    return View(_framed(title, table(coloured, head)), _titled(title, columns([head, *cells])))


def _verdict_colour(verdict: str) -> str:
    return BAD if verdict.startswith("NOT") else GOOD


def frame(row: Mapping[str, Any], number: int, total: int) -> View:
    """One step of a replayed trace: the event, and the state of module, TDs and vCPUs after it."""
    start, end, words, answer = _arrow(row)
    title = f"step {number + 1} of {total}: {words}"
    line = f"{start} -> {end}   {answer}".rstrip()
    state = [("module", row["module"])]
    state += [
        (
            f"TD {td['tdr']:#x}",
            f"KeyID {td['keyid']}, {td['life']}, {td['op']}, {td['pages']} pages, "
            f"{td['mapped']} mapped, epoch {td['epoch']}",
        )
        for td in row["tds"]
    ]
    state += [
        (f"vCPU {v['tdvpr']:#x}", v["state"] + (f", bound to LP {v['lp']}" if v["lp"] >= 0 else ""))
        for v in row["vcpus"]
    ]
    colour = BAD if row["error"] else GOOD
    body = join([element("div", line, style=ink(colour)), table(state)])
    return View(_framed(title, body), _titled(title, f"{line}\n{columns(state)}"))


def frames(rows: Sequence[Mapping[str, Any]]) -> list[View]:
    """Every step of a replayed trace."""
    return [frame(row, number, len(rows)) for number, row in enumerate(rows)]
