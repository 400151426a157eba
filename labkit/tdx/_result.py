"""What comes back from the module, and what a guest program yields to it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from labkit.tdx.status import Decoded, decode


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a SEAMCALL or TDCALL: RAX as status, and the registers that carry something.

    running: VP.ENTER succeeded and the guest now owns the processor; its exit comes later.
    """

    status: int
    regs: dict[str, int] = field(default_factory=dict)
    running: bool = False

    @property
    def ok(self) -> bool:
        """No error: bit 63 of the status is clear."""
        return not self.status >> 63

    @property
    def decoded(self) -> Decoded:
        """The status taken apart."""
        return decode(self.status)

    @property
    def name(self) -> str:
        """The name of the status."""
        return self.decoded.name

    @property
    def exit_reason(self) -> int:
        """After a TD exit: the VMX exit reason in the lower half."""
        return self.status & 0xFFFFFFFF

    def __getitem__(self, register: str) -> int:
        return self.regs.get(register, 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "status": f"{self.status:#018x}",
            "name": self.name,
            "operand": self.decoded.operand,
            "meaning": self.decoded.meaning,
            "regs": {name: f"{value:#x}" for name, value in self.regs.items()},
        }

    def __str__(self) -> str:
        regs = "".join(f"  {name.upper()}={value:#x}" for name, value in self.regs.items() if value)
        return f"{self.decoded} ({self.decoded.meaning}){regs}"

    def __repr__(self) -> str:
        return f"<{self.decoded}>"


class GuestException(Exception):
    """An exception in the guest: #VE, #PF or #DF at a guest physical address."""

    def __init__(self, kind: str, gpa: int) -> None:
        super().__init__(kind, gpa)
        self.kind = kind
        self.gpa = gpa

    def __str__(self) -> str:
        return f"{self.kind} at guest address {self.gpa:#x}"


class TdExit(Exception):
    """The guest lost the processor in the middle of an instruction; result is what VP.ENTER returns."""

    def __init__(self, result: Result) -> None:
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        return f"TD exit: {self.result}"


@dataclass(frozen=True)
class Load:
    """What a guest program yields to read memory; it gets the bytes back."""

    gpa: int
    size: int


@dataclass(frozen=True)
class Store:
    """What a guest program yields to write memory."""

    gpa: int
    data: bytes


@dataclass(frozen=True)
class Tdcall:
    """What a guest program yields to call the module; it gets a Result back, after VP.VMCALL the answer."""

    leaf: str
    regs: dict[str, int] = field(default_factory=dict)


Operation = Load | Store | Tdcall
Program = Generator[Operation, Any, None]
