"""Put a TD into a state that no modelled leaf leads to: migration states, for experiments and tests.

No hardware offers this. It lets the rules on migration states be tried although migration is not modelled.
"""

from __future__ import annotations

from labkit.errors import UsageError
from labkit.tdx._platform import Platform
from labkit.tdx.sept import entry_page, make_entry
from labkit.tdx.states import OpState, Septe


def force_op_state(platform: Platform, tdr: int, state: OpState) -> None:
    """Set the operation state of the TD whose TDR stands at an address."""
    platform.tdrs[tdr >> 12].tdcs.op_state = state


def force_entry_state(platform: Platform, tdr: int, gpa: int, level: int, state: Septe) -> None:
    """Set the state of a Secure EPT entry, keeping the page it points to.

    Raises:
        UsageError: the tree does not reach down to that entry.
    """
    sept = platform.tdrs[tdr >> 12].tdcs.sept
    page, index, reached = sept.walk(gpa, level)
    if reached != level:
        raise UsageError(
            f"The Secure EPT has no entry of level {level} at {gpa:#x}.", "Add its tables first."
        )
    sept.set(page, index, make_entry(state, entry_page(page.entries[index])))
