"""A software model of the TDX module and its platform; everything in it is EMULATED.

``Platform`` is the machine: SEAMCALL, TDCALL, memory. ``Vmm`` builds and runs TDs on it as a correct host
does, ``HostileVmm`` attacks them. ``docs/tdx-model.md`` says what is modelled, what is not, and the sources.
"""

from __future__ import annotations

from labkit.tdx._ghci import Vmcall, VmcallStatus, accept, extend, report, vmcall
from labkit.tdx._leaves import LEAVES, SEAMCALLS, TDCALLS, Leaf
from labkit.tdx._machine import PlatformConfig
from labkit.tdx._params import Tdmr, TdParams
from labkit.tdx._phys import BusLine, Integrity, Read
from labkit.tdx._platform import (
    MODELLED,
    GuestException,
    Load,
    Platform,
    Program,
    Result,
    Store,
    Tdcall,
    TdExit,
)
from labkit.tdx._report import ModelReport
from labkit.tdx._states import LifeCycle, OpState, PageType, Septe, SysState, VcpuState
from labkit.tdx._status import Decoded, Operand, Status, decode, meaning
from labkit.tdx._trace import Difference, Event, Trace, compare
from labkit.tdx._vmm import Order, Section, Td, Vmm

__all__ = [
    "LEAVES",
    "MODELLED",
    "SEAMCALLS",
    "TDCALLS",
    "BusLine",
    "Decoded",
    "Difference",
    "Event",
    "GuestException",
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
    "SysState",
    "Td",
    "TdExit",
    "TdParams",
    "Tdcall",
    "Tdmr",
    "Trace",
    "VcpuState",
    "Vmcall",
    "VmcallStatus",
    "Vmm",
    "accept",
    "compare",
    "decode",
    "extend",
    "meaning",
    "report",
    "vmcall",
]
