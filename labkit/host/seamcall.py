"""What a failed SEAMCALL in a log means: leaf, status, operand.

Names: Intel TDX module 1.5 (``intel/tdx-module``, branch ``tdx_1.5``). Typical causes: the canonical/tdx
threads named beside them.
Codes 0xC0000501 and 0xC0000504 belong to the 1.0 interface and are left undecoded on purpose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from labkit.host.codes import leaves, operands, statuses

_BIOS = "the firmware set this up wrongly"
_ORDER = "calls in the wrong order: kernel and module do not fit each other"
_MAP = "the memory map does not fit the module's"
_UPDATE = "Update the BIOS, then cold boot."
_MATCH = "Update the TDX module, and boot the newest kernel that supports it: the two must fit each other."
_ALIKE = "Update the BIOS and load its defaults, so that all CPU packages are set up alike; then cold boot."
_REMAP = "Boot a newer kernel, or simplify the memory map (CXL and mirroring off in the BIOS)."
_AGAIN = "Power the machine off and on again: a module that was shut down comes back with a cold boot."

# Upper 32 bits of the status: typical cause, next action.
CAUSES: dict[int, tuple[str, str]] = {
    0xC0000100: ("kernel and module do not fit each other", _MATCH),
    0x80000200: ("busy, a retry is due", "Reboot and look again."),
    0xC0000300: ("a page in the wrong state; usual at run time only", _MATCH),
    0xC0000500: (_ORDER, _MATCH),
    0xC0000502: (_ORDER, _MATCH),
    0xC0000503: (_ORDER, _MATCH),
    0xC0000505: ("on TDH.SYS.RD: the module is too old (1.0)", _MATCH),
    0xC0000506: ("the module was shut down, as after a failed update", _AGAIN),
    0xC0000900: ("an old BIOS (canonical/tdx#161)", _UPDATE),
    0xC0000902: (_BIOS, _UPDATE),
    0xC0000905: (_BIOS, _UPDATE),
    0xC0000906: (_BIOS, _UPDATE),
    0xC0000910: (_BIOS, _UPDATE),
    0xC0000911: (_BIOS, _UPDATE),
    0xC0000912: (_BIOS, _UPDATE),
    0xC0000920: ("the packages are set up differently", _ALIKE),
    0xC0000921: ("an MSR has a value that the module refuses", _UPDATE),
    0xC0000A02: (_MAP, _REMAP),
    0xC0000A11: (_MAP, _REMAP),
}

# For what has no row of its own, by class (bits 15:8 of the upper half).
_BY_CLASS: dict[int, tuple[str, str]] = {
    0x05: (_ORDER, _MATCH),
    0x06: ("the TD is not in the state that the call needs", _MATCH),
    0x07: ("the vCPU is not in the state that the call needs", _MATCH),
    0x08: ("the TD's key, or its KeyID, is not in the state that the call needs", _MATCH),
    0x09: (_BIOS, _UPDATE),
    0x0A: (_MAP, _REMAP),
    0x0B: ("an entry of the TD's page tables is not in the state that the call needs", _MATCH),
}

_TSX = 0x122
_MSRS = {_TSX: "IA32_TSX_CTRL: the TSX setting (canonical/tdx#25)"}
_SYS_RD, _NOT_READY, _MSR_VALUE, _OPERAND = 0x22, 0xC0000505, 0xC0000921, 0xC0000100
_MNG_INIT, _RECLAIM, _METADATA = 0x15, 0x1C, 0xC0000300
_BUSY = 0x02  # class of a status: another CPU holds what the call needs, and the caller tries again
# Classes whose lower half is the number of an operand: operands, busy, and the states of a page, TD and vCPU.
_WITH_OPERAND = frozenset({0x01, 0x02, 0x03, 0x06})
_PARAMETERS = "the TD's parameters do not fit this module: hypervisor and module must fit each other"
_CPUID = (
    "the CPUID settings that were asked for do not fit this module: hypervisor, CPU and module "
    "must fit each other"
)


@dataclass(frozen=True)
class Seamcall:
    """A failed SEAMCALL: leaf number, the 64-bit status, and how the log itself calls the leaf."""

    leaf: int
    status: int
    called: str = ""

    @property
    def module_too_old(self) -> bool:
        """TDH.SYS.RD with TDX_SYS_NOT_READY: what a 1.0 module answers."""
        return self.leaf == _SYS_RD and self.status >> 32 == _NOT_READY

    @property
    def harmless(self) -> bool:
        """Met on hosts whose TDs run: a page that teardown reclaims twice (canonical/tdx#153), or a retry."""
        upper = self.status >> 32
        return (self.leaf == _RECLAIM and upper == _METADATA) or upper >> 8 & 0xFF == _BUSY

    @property
    def leaf_name(self) -> str:
        """The leaf's name, or its number."""
        return leaves().get(self.leaf) or self.called or f"leaf {self.leaf:#x}"

    @property
    def status_name(self) -> str:
        """The status's name, or its number."""
        return statuses().get(self.status >> 32, f"status {self.status:#018x}")

    @property
    def operand(self) -> str:
        """What the lower 32 bits name: an MSR or an operand; empty where they say nothing."""
        low, upper = self.status & 0xFFFFFFFF, self.status >> 32
        if upper == _MSR_VALUE:
            return f"MSR {low:#x}" + (f" ({_MSRS[low]})" if low in _MSRS else "")
        if upper >> 8 & 0xFF not in _WITH_OPERAND or upper not in statuses():
            return ""
        return f"operand {low}" + (f" ({operands()[low]})" if low in operands() else "")

    @property
    def cause(self) -> str:
        """The typical cause, or that none is known."""
        if (self.leaf, self.status >> 32) == (_MNG_INIT, _OPERAND):
            return _CPUID if operands().get(self.status & 0xFFFFFFFF) == "CPUID_CONFIG" else _PARAMETERS
        return self._row[0] or "no cause is on record for this status"

    @property
    def action(self) -> str:
        """What to do first; empty where no cause is known."""
        upper, low = self.status >> 32, self.status & 0xFFFFFFFF
        if upper == _MSR_VALUE and low == _TSX:
            return (
                "Remove `tsx=` from the kernel command line and set TSX to its default in the BIOS; reboot."
            )
        return self._row[1]

    @property
    def _row(self) -> tuple[str, str]:
        upper = self.status >> 32
        if upper in CAUSES:
            return CAUSES[upper]
        return _BY_CLASS.get(upper >> 8 & 0xFF, ("", "")) if upper in statuses() else ("", "")

    def __str__(self) -> str:
        what = f"{self.leaf_name} failed with {self.status_name} ({self.status:#018x})"
        return f"{what}{f', {self.operand}' if self.operand else ''}: {self.cause}"


def decode(leaf: str, status: str) -> Seamcall:
    """Decode a leaf and a hexadecimal status.

    leaf: hexadecimal with 0x in newer kernels, decimal in 6.5, or its name.
    """
    if leaf[:1].isdigit():
        return Seamcall(int(leaf, 16 if leaf.startswith("0x") else 10), int(status, 16))
    name = re.sub(r"[._]", ".", leaf.upper()).rstrip(".")
    known = {re.sub(r"[._]", ".", value): key for key, value in leaves().items()}
    return Seamcall(known.get(name, -1), int(status, 16), leaf)


# What the kernel's return value in a summary line stands for.
ERRNO: dict[int, str] = {
    -5: "SEAMCALL_FAILED",
    -19: "MODULE_NOT_LOADED",
    -22: "MODULE_TOO_OLD",
    -28: "TDMR_RESERVED_AREAS_EXHAUSTED",
}
