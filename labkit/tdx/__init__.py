"""A software model of the TDX module and its platform; everything in it is EMULATED.

``Platform`` is the machine: SEAMCALL, TDCALL, memory. ``Vmm`` builds and runs TDs on it as a correct host
does, ``HostileVmm`` attacks them. ``docs/tdx-model.md`` says what is modelled, what is not, and the sources.
"""

from __future__ import annotations

from labkit.tdx import iago
from labkit.tdx._answers import Td
from labkit.tdx._inspect import line_metadata, page_life, pamt_map, sept_walk, sequence, storyboard
from labkit.tdx._machine import PlatformConfig
from labkit.tdx._platform import MODELLED, Platform
from labkit.tdx._report import ModelReport
from labkit.tdx._result import GuestException, Load, Program, Result, Store, Tdcall, TdExit
from labkit.tdx.ghci import Vmcall, accept, vmcall
from labkit.tdx.hostile import ATTACKS, HostileVmm, attack
from labkit.tdx.params import TdParams
from labkit.tdx.phys import Integrity
from labkit.tdx.recording import replay
from labkit.tdx.states import PageType
from labkit.tdx.trace import Trace, compare
from labkit.tdx.vmm import Section, Vmm

__all__ = [
    "ATTACKS",
    "MODELLED",
    "GuestException",
    "HostileVmm",
    "Integrity",
    "Load",
    "ModelReport",
    "PageType",
    "Platform",
    "PlatformConfig",
    "Program",
    "Result",
    "Section",
    "Store",
    "Td",
    "TdExit",
    "TdParams",
    "Tdcall",
    "Trace",
    "Vmcall",
    "Vmm",
    "accept",
    "attack",
    "compare",
    "iago",
    "line_metadata",
    "page_life",
    "pamt_map",
    "replay",
    "sept_walk",
    "sequence",
    "storyboard",
    "vmcall",
]
