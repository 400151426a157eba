"""A software model of the TDX module and its platform; everything in it is EMULATED.

``Platform`` is the machine: SEAMCALL, TDCALL, memory. ``Vmm`` builds and runs TDs on it as a correct host
does, ``HostileVmm`` attacks them. ``docs/tdx-model.md`` says what is modelled, what is not, and the sources.
"""

from __future__ import annotations

from labkit.tdx import _iago as iago
from labkit.tdx._answers import Td
from labkit.tdx._force import force_entry_state, force_op_state
from labkit.tdx._ghci import Vmcall, VmcallStatus, accept, extend, report, vmcall
from labkit.tdx._hostile import ATTACKS, HostileVmm, attack
from labkit.tdx._inspect import line_metadata, page_life, pamt_map, sept_walk, sequence, storyboard
from labkit.tdx._leaves import LEAVES, SEAMCALLS, Leaf
from labkit.tdx._machine import PlatformConfig
from labkit.tdx._params import Tdmr, TdParams
from labkit.tdx._phys import Integrity, Read
from labkit.tdx._platform import MODELLED, Platform
from labkit.tdx._replay import replay, steps
from labkit.tdx._report import ModelReport
from labkit.tdx._result import GuestException, Load, Program, Result, Store, Tdcall, TdExit
from labkit.tdx._states import LifeCycle, OpState, PageType, Septe
from labkit.tdx._status import Operand, Status, decode, meaning
from labkit.tdx._trace import Event, Trace, compare
from labkit.tdx._victim import Verdict
from labkit.tdx._vmm import Order, Section, Vmm

__all__ = [
    "ATTACKS",
    "LEAVES",
    "MODELLED",
    "SEAMCALLS",
    "Event",
    "GuestException",
    "HostileVmm",
    "Integrity",
    "Leaf",
    "LifeCycle",
    "Load",
    "ModelReport",
    "OpState",
    "Operand",
    "Order",
    "PageType",
    "Platform",
    "PlatformConfig",
    "Program",
    "Read",
    "Result",
    "Section",
    "Septe",
    "Status",
    "Store",
    "Td",
    "TdExit",
    "TdParams",
    "Tdcall",
    "Tdmr",
    "Trace",
    "Verdict",
    "Vmcall",
    "VmcallStatus",
    "Vmm",
    "accept",
    "attack",
    "compare",
    "decode",
    "extend",
    "force_entry_state",
    "force_op_state",
    "iago",
    "line_metadata",
    "meaning",
    "page_life",
    "pamt_map",
    "replay",
    "report",
    "sept_walk",
    "sequence",
    "steps",
    "storyboard",
    "vmcall",
]
