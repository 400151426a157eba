"""What a failed SEAMCALL in the kernel log means: leaf, status, operand.

Leaf and status numbers: Intel TDX module 1.5 (``intel/tdx-module``, branch ``tdx_1.5``), as the kernel's
``arch/x86/virt/vmx/tdx/tdx.h`` uses them. Typical causes: the canonical/tdx threads named beside them.
Codes 0xC0000501 and 0xC0000504 belong to the 1.0 interface and are left undecoded on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAVES: dict[int, str] = {
    0x1C: "TDH.PHYMEM.PAGE.RECLAIM",
    0x1F: "TDH.SYS.KEY.CONFIG",
    0x20: "TDH.SYS.INFO",
    0x21: "TDH.SYS.INIT",
    0x22: "TDH.SYS.RD",
    0x23: "TDH.SYS.LP.INIT",
    0x24: "TDH.SYS.TDMR.INIT",
    0x2D: "TDH.SYS.CONFIG",
}

_BIOS = "the firmware set this up wrongly"
_ORDER = "calls in the wrong order: kernel and module do not fit each other"
_MAP = "the memory map does not fit the module's"
_UPDATE = "Update the BIOS, then cold boot."
_MATCH = "Update the TDX module, and boot the newest kernel that supports it: the two must fit each other."
_ALIKE = "Update the BIOS and load its defaults, so that all CPU packages are set up alike; then cold boot."
_REMAP = "Boot a newer kernel, or simplify the memory map (CXL and mirroring off in the BIOS)."
_AGAIN = "Power the machine off and on again: a module that was shut down comes back with a cold boot."

# Upper 32 bits of the status: name, typical cause, next action.
STATUSES: dict[int, tuple[str, str, str]] = {
    0xC0000100: ("TDX_OPERAND_INVALID", "kernel and module do not fit each other", _MATCH),
    0x80000200: ("TDX_OPERAND_BUSY", "busy, a retry is due", "Reboot and look again."),
    0xC0000300: ("TDX_PAGE_METADATA_INCORRECT", "a page in the wrong state; usual at run time only", _MATCH),
    0xC0000500: ("TDX_SYS_INIT_NOT_PENDING", _ORDER, _MATCH),
    0xC0000502: ("TDX_SYS_LP_INIT_NOT_DONE", _ORDER, _MATCH),
    0xC0000503: ("TDX_SYS_LP_INIT_DONE", _ORDER, _MATCH),
    0xC0000505: ("TDX_SYS_NOT_READY", "on TDH.SYS.RD: the module is too old (1.0)", _MATCH),
    0xC0000506: ("TDX_SYS_SHUTDOWN", "the module was shut down, as after a failed update", _AGAIN),
    0xC0000900: ("TDX_INCORRECT_CPUID_VALUE", "an old BIOS (canonical/tdx#161)", _UPDATE),
    0xC0000902: ("TDX_INCONSISTENT_CPUID_FIELD", _BIOS, _UPDATE),
    0xC0000905: ("TDX_INVALID_WBINVD_SCOPE", _BIOS, _UPDATE),
    0xC0000906: ("TDX_INVALID_PKG_ID", _BIOS, _UPDATE),
    0xC0000910: ("TDX_SMRR_NOT_LOCKED", _BIOS, _UPDATE),
    0xC0000911: ("TDX_INVALID_SMRR_CONFIGURATION", _BIOS, _UPDATE),
    0xC0000912: ("TDX_SMRR_OVERLAPS_CMR", _BIOS, _UPDATE),
    0xC0000920: ("TDX_INCONSISTENT_MSR", "the packages are set up differently", _ALIKE),
    0xC0000921: ("TDX_INCORRECT_MSR_VALUE", "an MSR has a value that the module refuses", _UPDATE),
    0xC0000A02: ("TDX_TDMR_OUTSIDE_CMRS", _MAP, _REMAP),
    0xC0000A11: ("TDX_PAMT_OUTSIDE_CMRS", _MAP, _REMAP),
}

_TSX = 0x122
_MSRS = {_TSX: "IA32_TSX_CTRL: the TSX setting (canonical/tdx#25)"}
_SYS_RD, _NOT_READY, _MSR_VALUE, _OPERAND = 0x22, 0xC0000505, 0xC0000921, 0xC0000100


@dataclass(frozen=True)
class Seamcall:
    """A failed SEAMCALL: leaf number and the 64-bit status."""

    leaf: int
    status: int

    @property
    def module_too_old(self) -> bool:
        """TDH.SYS.RD with TDX_SYS_NOT_READY: what a 1.0 module answers."""
        return self.leaf == _SYS_RD and self.status >> 32 == _NOT_READY

    @property
    def leaf_name(self) -> str:
        """The leaf's name, or its number."""
        return LEAVES.get(self.leaf, f"leaf {self.leaf:#x}")

    @property
    def status_name(self) -> str:
        """The status's name, or its number."""
        return STATUSES.get(self.status >> 32, (f"status {self.status:#018x}",))[0]

    @property
    def operand(self) -> str:
        """What the lower 32 bits name: an MSR or an operand; empty where they say nothing."""
        low, upper = self.status & 0xFFFFFFFF, self.status >> 32
        if upper == _MSR_VALUE:
            return f"MSR {low:#x}" + (f" ({_MSRS[low]})" if low in _MSRS else "")
        return f"operand {low}" if upper == _OPERAND else ""

    @property
    def cause(self) -> str:
        """The typical cause, or that none is known."""
        return STATUSES.get(self.status >> 32, ("", "no cause is on record for this status"))[1]

    @property
    def action(self) -> str:
        """What to do first; empty where no cause is known."""
        upper, low = self.status >> 32, self.status & 0xFFFFFFFF
        if upper == _MSR_VALUE and low == _TSX:
            return (
                "Remove `tsx=` from the kernel command line and set TSX to its default in the BIOS; reboot."
            )
        return STATUSES[upper][2] if upper in STATUSES else ""

    def __str__(self) -> str:
        what = f"{self.leaf_name} failed with {self.status_name} ({self.status:#018x})"
        return f"{what}{f', {self.operand}' if self.operand else ''}: {self.cause}"


def decode(leaf: str, status: str) -> Seamcall:
    """Decode a leaf (hexadecimal with 0x in newer kernels, decimal in 6.5) and a hexadecimal status."""
    return Seamcall(int(leaf, 16 if leaf.startswith("0x") else 10), int(status, 16))


# What the kernel's return value in a summary line stands for.
ERRNO: dict[int, str] = {
    -5: "SEAMCALL_FAILED",
    -19: "MODULE_NOT_LOADED",
    -22: "MODULE_TOO_OLD",
    -28: "TDMR_RESERVED_AREAS_EXHAUSTED",
}
