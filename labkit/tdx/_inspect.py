"""Plain data about a platform, for views: nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from labkit.errors import UsageError
from labkit.tdx._platform import Platform
from labkit.tdx.recording import steps
from labkit.tdx.sept import entry_page, entry_state
from labkit.tdx.states import TRAITS, PageType, Septe
from labkit.tdx.trace import Event, Trace

_LEVELS = ("4 KiB", "2 MiB", "1 GiB", "512 GiB", "256 TiB")
# Leaves whose R8 or RCX is a physical page that the call gives to a TD, and what the page becomes.
_GIVES = {
    "TDH.MNG.CREATE": ("rcx", "TDR"),
    "TDH.MNG.ADDCX": ("rcx", "TDCX"),
    "TDH.VP.CREATE": ("rcx", "TDVPR"),
    "TDH.VP.ADDCX": ("rcx", "TDCX"),
    "TDH.MEM.SEPT.ADD": ("r8", "EPT"),
    "TDH.MEM.PAGE.ADD": ("r8", "REG, MAPPED"),
    "TDH.MEM.PAGE.AUG": ("r8", "REG, PENDING"),
    "TDH.MEM.PAGE.RELOCATE": ("r8", "REG, moved here"),
    "TDH.PHYMEM.PAGE.RECLAIM": ("rcx", "NDA"),
}


def sept_walk(platform: Platform, tdr: int, gpa: int) -> list[dict[str, Any]]:
    """The walk from the root to the entry that maps, or fails to map, a private address.

    One row a level: level, size, index (0-511), entry (64 bits), state, page (physical address or None).
    """
    tdcs = platform.tdrs[_tdr(platform, tdr)].tdcs
    rows: list[dict[str, Any]] = []
    level = tdcs.sept.top
    while True:
        page, index, reached = tdcs.sept.walk(gpa, level)
        if reached != level:
            return rows
        entry = page.entries[index]
        state = entry_state(entry)
        target = entry_page(entry) << 12
        rows.append(
            {
                "level": level,
                "size": _LEVELS[level],
                "index": index,
                "entry": f"{entry:#018x}",
                "state": state.name,
                "page": None if state in (Septe.FREE, Septe.REMOVED) else target,
            }
        )
        if level == 0 or state is not Septe.NL_MAPPED:
            return rows
        level -= 1


def _tdr(platform: Platform, tdr: int) -> int:
    if tdr >> 12 not in platform.tdrs:
        raise UsageError(
            f"There is no TD with its TDR at {tdr:#x}.", "Use the address given to TDH.MNG.CREATE."
        )
    return tdr >> 12


def pamt_map(platform: Platform) -> list[dict[str, Any]]:
    """Pages in use in address order, neighbours of one type and owner joined.

    One row a run: start (address), pages (4 KiB each), type, owner (TDR address, 0 for a TDR itself).
    """
    rows: list[dict[str, Any]] = []
    for pfn, count, kind, owner in _entries(platform):
        start = pfn << 12
        last = rows[-1] if rows else None
        if last and (last["type"], last["owner"]) == (kind, owner) and _end(last) == start:
            last["pages"] += count
        else:
            rows.append({"start": start, "pages": count, "type": kind, "owner": owner})
    return rows


def _end(run: dict[str, Any]) -> int:
    return int(run["start"] + run["pages"] * 4096)


def _entries(platform: Platform) -> list[tuple[int, int, str, int]]:
    return sorted(
        (pfn << 9 * level, 1 << 9 * level, entry.type.name, entry.owner << 12)
        for level, size in enumerate(platform.pamt.sizes)
        for pfn, entry in size.items()
        if entry.type is not PageType.NDA
    )


def line_metadata(platform: Platform, address: int, count: int = 4) -> list[dict[str, Any]]:
    """Ciphertext, owner bit, MAC and poison of lines as they lie in the DIMM."""
    first = address & ~63
    return [platform.memory.bus_read(first + 64 * i).to_dict() for i in range(count)]


def page_life(trace: Trace, page: int) -> list[dict[str, Any]]:
    """What happened to a physical page: calls that gave or took it, host writes to it.

    One row an event: step, event, becomes (what the page is afterwards, empty where it did not change).
    """
    rows = []
    for step, event in enumerate(trace.events):
        becomes = None
        register, kind = _GIVES.get(event.name, ("", ""))
        if event.kind == "SEAMCALL" and register and event.regs.get(register) == page:
            becomes = kind if not event.status >> 63 else ""
        elif event.name == "TDH.MEM.PAGE.REMOVE" and event.out.get("rcx") == page and not event.status >> 63:
            becomes = "NDA"
        elif event.kind == "WRITE" and event.address & ~0xFFF == page:
            becomes = ""
        if becomes is not None:
            rows.append({"step": step, **event.to_dict(), "becomes": becomes})
    return rows


def sequence(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Events as plain data, with runs of the same call and answer on one processor joined: times."""
    rows: list[dict[str, Any]] = []
    for event in events:
        row = event.to_dict()
        last = rows[-1] if rows else None
        same = ("kind", "lp", "name", "answer")
        if last and all(last[key] == row[key] for key in same):
            last["times"] += 1
        else:
            rows.append({**row, "times": 1})
    return rows


def storyboard(trace: Trace, limit: int = 200) -> list[dict[str, Any]]:
    """The replayed trace step by step, runs of the same call joined: the event and the state after it.

    At most limit steps. Each has the keys of sequence, and module, tds (tdr, keyid, life cycle, operation
    state, pages, epoch) and vcpus.
    """
    board: list[dict[str, Any]] = []
    for event, platform in steps(trace):
        row = sequence([event])[0] | _state(platform)
        last = board[-1] if board else None
        if last and all(last[key] == row[key] for key in ("kind", "lp", "name", "answer")):
            board[-1] = row | {"times": last["times"] + 1}
        elif len(board) == limit:
            break
        else:
            board.append(row)
    return board


def _state(platform: Platform) -> dict[str, Any]:
    return {
        "module": platform.dead or platform.sys_state.name,
        "tds": [
            {
                "tdr": pfn << 12,
                "keyid": tdr.hkid,
                "life": "FATAL" if tdr.fatal else tdr.lifecycle.name,
                "op": tdr.tdcs.op_state.name,
                "pages": tdr.children,
                "epoch": tdr.tdcs.epoch,
                "mapped": sum(TRAITS[entry_state(entry)].readable for _, _, entry in tdr.tdcs.sept.leaves()),
            }
            for pfn, tdr in platform.tdrs.items()
        ],
        "vcpus": [
            {"tdvpr": pfn << 12, "state": vp.state.name, "lp": vp.lp} for pfn, vp in platform.vps.items()
        ],
    }
