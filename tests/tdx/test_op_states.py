"""Every leaf in every operation state: a TD is brought there and the leaf is called."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from labkit.errors import NotModelled
from labkit.tdx import MODELLED
from labkit.tdx.leaves import LEAVES
from labkit.tdx.states import OpState
from labkit.tdx.status import Status
from tests.tdx.worlds import (
    BLOCKED,
    EMPTY_BLOCKED,
    FREE,
    LARGE_BLOCKED,
    MAPPED,
    NOT_THERE,
    SPLIT_BLOCKED,
    World,
    rows,
    uninitialized,
)

_FIELD = 0x1110000300000017
_GPR = 0x1000000300000000

# Registers with which each leaf succeeds in the prepared world, if its state allows it.
_REGS: dict[str, Callable[[World], dict[str, int]]] = {
    "TDH.VP.ENTER": lambda w: {"rcx": w.ready},
    "TDH.MNG.ADDCX": lambda w: {"rcx": w.page(), "rdx": w.tdr},
    "TDH.MEM.PAGE.ADD": lambda w: {"rcx": FREE, "rdx": w.tdr, "r8": w.page(), "r9": w.vmm.host_page()},
    "TDH.MEM.SEPT.ADD": lambda w: {"rcx": NOT_THERE | 1, "rdx": w.tdr, "r8": w.page()},
    "TDH.VP.ADDCX": lambda w: {"rcx": w.page(), "rdx": w.bare},
    "TDH.MEM.PAGE.RELOCATE": lambda w: {"rcx": BLOCKED, "rdx": w.tdr, "r8": w.page()},
    "TDH.MEM.PAGE.AUG": lambda w: {"rcx": FREE, "rdx": w.tdr, "r8": w.page()},
    "TDH.MEM.RANGE.BLOCK": lambda w: {"rcx": MAPPED, "rdx": w.tdr},
    "TDH.VP.CREATE": lambda w: {"rcx": w.page(), "rdx": w.tdr},
    "TDH.MNG.RD": lambda w: {"rcx": w.tdr, "rdx": _FIELD},
    "TDH.MEM.RD": lambda w: {"rcx": MAPPED, "rdx": w.tdr},
    "TDH.MNG.WR": lambda w: {"rcx": w.tdr, "rdx": _FIELD},
    "TDH.MEM.WR": lambda w: {"rcx": MAPPED, "rdx": w.tdr, "r8": 1},
    "TDH.MEM.PAGE.DEMOTE": lambda w: {"rcx": LARGE_BLOCKED | 1, "rdx": w.tdr, "r8": w.page()},
    "TDH.MR.EXTEND": lambda w: {"rcx": MAPPED, "rdx": w.tdr},
    "TDH.MR.FINALIZE": lambda w: {"rcx": w.tdr},
    "TDH.VP.FLUSH": lambda w: {"rcx": w.ready},
    "TDH.MNG.INIT": lambda w: {"rcx": w.tdr, "rdx": w.params()},
    "TDH.VP.INIT": lambda w: {"rcx": w.complete},
    "TDH.MEM.PAGE.PROMOTE": lambda w: {"rcx": SPLIT_BLOCKED | 1, "rdx": w.tdr},
    "TDH.MEM.SEPT.RD": lambda w: {"rcx": MAPPED, "rdx": w.tdr},
    "TDH.VP.RD": lambda w: {"rcx": w.ready, "rdx": _GPR},
    "TDH.MEM.PAGE.REMOVE": lambda w: {"rcx": BLOCKED, "rdx": w.tdr},
    "TDH.MEM.SEPT.REMOVE": lambda w: {"rcx": EMPTY_BLOCKED | 1, "rdx": w.tdr},
    "TDH.MEM.TRACK": lambda w: {"rcx": w.tdr},
    "TDH.MEM.RANGE.UNBLOCK": lambda w: {"rcx": BLOCKED, "rdx": w.tdr},
    "TDH.VP.WR": lambda w: {"rcx": w.ready, "rdx": _GPR, "r8": 1, "r9": 1},
    "TDH.EXPORT.UNBLOCKW": lambda w: {"rcx": w.write_blocked(), "rdx": w.tdr},
}
# Where the checks pass and the modelled part still ends in an answer of its own.
_PASSES_AS = {"TDH.MNG.WR": Status.METADATA_FIELD_NOT_WRITABLE}


def _expected() -> list[tuple[str, OpState, bool]]:
    return [
        (row["name"], state, row[state.name] == "1") for row in rows("op_states.csv") for state in OpState
    ]


def _regs(world: World, name: str) -> dict[str, int]:
    if name in _REGS:
        return _REGS[name](world)
    leaf = LEAVES[name]
    return {leaf.register: world.ready if leaf.handle == "V" else world.tdr}


@pytest.mark.parametrize(("name", "state", "allowed"), _expected())
def test_cell(name: str, state: OpState, allowed: bool) -> None:
    world = World().bring_to(state)
    regs = _regs(world, name)
    if allowed and name not in MODELLED:
        with pytest.raises(NotModelled):
            world.platform.seamcall(name, **regs)
        return
    result = world.platform.seamcall(name, **regs)
    if not allowed:
        assert result.status == Status.OP_STATE_INCORRECT
    else:
        assert result.status == _PASSES_AS.get(name, Status.SUCCESS)


@pytest.mark.parametrize("name", ["TDH.MNG.ADDCX", "TDH.MNG.INIT"])
def test_uninitialized_without_force(name: str) -> None:
    host, td = uninitialized()
    assert host.platform.seamcall("TDH.MR.FINALIZE", rcx=td.tdr).name == "OP_STATE_INCORRECT"
    regs = {"rcx": host.page(), "rdx": td.tdr}
    if name == "TDH.MNG.INIT":
        regs = {"rcx": td.tdr, "rdx": host._staging}
    assert host.platform.seamcall(name, **regs).ok


def test_every_cell_is_there() -> None:
    assert len(_expected()) == 48 * 11
