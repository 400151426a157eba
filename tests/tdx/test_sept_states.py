"""Every leaf on a Secure EPT entry in every state."""

from __future__ import annotations

import pytest

from labkit.errors import NotModelled
from labkit.tdx import MODELLED, Result, TdExit
from labkit.tdx.force import force_entry_state
from labkit.tdx.leaves import LEAVES
from labkit.tdx.states import TRAITS, Septe
from labkit.tdx.status import Status
from tests.tdx.worlds import EMPTY, FREE, LARGE_FREE, MIB2, World, rows

_NON_LEAF = (Septe.NL_MAPPED, Septe.NL_BLOCKED)
# Leaves whose entry is one of 2 MiB, and those that take either by the entry's kind.
_LARGE = ("TDH.MEM.SEPT.ADD", "TDH.MEM.PAGE.PROMOTE", "TDH.MEM.PAGE.DEMOTE", "TDH.MEM.SEPT.REMOVE")
_EITHER = ("TDH.MEM.RANGE.BLOCK", "TDH.MEM.RANGE.UNBLOCK", "TDH.MEM.SEPT.RD")


def _expected() -> list[tuple[str, Septe, bool]]:
    return [
        (row["name"], state, row[state.name] == "1") for row in rows("sept_allowed.csv") for state in Septe
    ]


def _reach(world: World, state: Septe, level: int, split: bool) -> int:
    """Bring an entry into a state, by leaves where there are any; returns its guest address."""
    gpa = LARGE_FREE if level else FREE
    tdr = world.tdr
    if level and state in _NON_LEAF:
        if split:
            world.aug_large(gpa)
            world.ok("TDH.MEM.PAGE.DEMOTE", rcx=gpa | 1, rdx=tdr, r8=world.page())
        else:
            gpa = EMPTY
        if state is Septe.NL_BLOCKED:
            world.ok("TDH.MEM.RANGE.BLOCK", rcx=gpa | 1, rdx=tdr)
        return gpa
    if state is Septe.FREE:
        world.vmm.tables(world.td, gpa, level)
        return gpa
    if level:
        world.aug_large(gpa)
    elif TRAITS[state].leaf and not TRAITS[state].pending:
        world.vmm.add_page(world.td, gpa, b"content")
    else:
        world.vmm.aug(world.td, gpa)
    if state in (Septe.BLOCKED, Septe.PENDING_BLOCKED) and (not level or state is Septe.PENDING_BLOCKED):
        world.ok("TDH.MEM.RANGE.BLOCK", rcx=gpa | level, rdx=tdr)
    elif state is not Septe.PENDING and (level or state is not Septe.MAPPED):
        force_entry_state(world.platform, tdr, gpa, level, state)
    assert world.state_of(gpa, level) == TRAITS[state].public
    return gpa


def _call(world: World, name: str, gpa: int, level: int, state: Septe) -> Result:
    flags = 1 if name == "TDH.MEM.SEPT.ADD" and state is Septe.NL_MAPPED else 0
    regs = {"rcx": gpa | level, "rdx": world.tdr | flags, "r8": world.page(), "r9": world.vmm.host_page()}
    return world.platform.seamcall(name, **regs)


_HOST = [cell for cell in _expected() if cell[0].startswith("TDH")]
_GUEST = [cell for cell in _expected() if cell[0].startswith("TDG")]


@pytest.mark.parametrize(("name", "state", "allowed"), _HOST)
def test_host_cell(name: str, state: Septe, allowed: bool) -> None:
    world = World()
    large = name in _LARGE or (name in _EITHER and state in _NON_LEAF)
    gpa = _reach(world, state, int(large), split=name == "TDH.MEM.PAGE.PROMOTE")
    if name not in MODELLED:
        # A leaf that takes a list of entries answers "not modelled" whatever their state is.
        states = LEAVES[name].states
        assert states
        world.bring_to(min(states))
        if allowed or name != "TDH.EXPORT.UNBLOCKW":
            with pytest.raises(NotModelled):
                _call(world, name, gpa, int(large), state)
            return
    result = _call(world, name, gpa, int(large), state)
    if allowed:
        assert result.ok, result
    elif name == "TDH.MEM.RANGE.BLOCK" and TRAITS[state].blocked:
        assert result.status == Status.GPA_RANGE_ALREADY_BLOCKED | 1
    elif name == "TDH.MR.EXTEND":
        assert result.name == "EPT_ENTRY_NOT_PRESENT"
    elif name in ("TDH.MEM.RD", "TDH.MEM.WR") and not TRAITS[state].readable:
        # The walk goes to a page that the guest could use, and there is none.
        assert result.status == Status.EPT_ENTRY_NOT_PRESENT | 1
        assert result["rdx"] == int(large) | TRAITS[state].public << 8
    else:
        assert result.status == Status.EPT_ENTRY_STATE_INCORRECT | 1
        assert result["rdx"] == int(large) | TRAITS[state].public << 8


@pytest.mark.parametrize(("name", "state", "allowed"), _GUEST)
def test_guest_cell(name: str, state: Septe, allowed: bool) -> None:
    world = World()
    level = int(state in _NON_LEAF and name == "TDG.MEM.PAGE.ACCEPT")
    gpa = _reach(world, state, level, split=False)
    world.finalize().enter()
    accept = name == "TDG.MEM.PAGE.ACCEPT"
    if allowed and not accept:
        with pytest.raises(NotModelled):
            world.platform.tdcall(name, rcx=gpa)
    elif allowed:
        assert world.platform.tdcall(name, rcx=gpa | level).ok
        assert world.platform.load(gpa, 8) == bytes(8)
    elif accept and TRAITS[state].readable:
        assert world.platform.tdcall(name, rcx=gpa).status == Status.PAGE_ALREADY_ACCEPTED
    elif accept and state in _NON_LEAF:
        assert world.platform.tdcall(name, rcx=gpa | 1).status == Status.PAGE_SIZE_MISMATCH | 1
    else:
        with pytest.raises(TdExit) as exit_:
            world.platform.tdcall(name, rcx=gpa | level)
        assert exit_.value.result.status == 48
        assert exit_.value.result["r8"] == gpa


def test_every_cell_is_there() -> None:
    assert len(_HOST) + len(_GUEST) == 22 * 16
    assert MIB2 == 512 * 0x1000
