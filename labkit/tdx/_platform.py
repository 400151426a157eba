"""The platform as its users see it: SEAMCALL, TDCALL, host memory, and a guest that can be played by hand.

The order of the dispatcher's checks follows ``tdx_vmm_dispatcher.c`` of intel/tdx-module, branch ``tdx_1.5``:
reserved bits, version, shutdown, readiness, leaf; then the checks that most leaves share; then the leaf.
"""

from __future__ import annotations

from typing import Any

from labkit.errors import UsageError
from labkit.tdx import _guest, _mem, _mng, _sys, _vp
from labkit.tdx._machine import (
    Call,
    GuestExit,
    GuestFault,
    Machine,
    PlatformConfig,
    Refused,
    SeamMachineCheck,
    not_modelled,
)
from labkit.tdx._metadata import NO_FIELD
from labkit.tdx._result import (
    GuestException,
    Load,
    Operation,
    Program,
    Result,
    Store,
    Tdcall,
    TdExit,
)
from labkit.tdx.leaves import (
    BEFORE_READY,
    DEFAULT_OUT,
    DEFAULT_OUT_VERSION_1,
    GUEST_VERSIONED,
    LEAVES,
    MAX_VERSION,
    SEAMCALLS,
    TDCALLS,
    VERSIONED,
)
from labkit.tdx.objects import Lp, Tdvps
from labkit.tdx.states import SysState, VcpuState
from labkit.tdx.status import VMFAIL_INVALID, Operand, Status
from labkit.tdx.trace import Trace

_HANDLERS = _sys.HANDLERS | _mng.HANDLERS | _mem.HANDLERS | _vp.HANDLERS | _guest.HANDLERS
_HOST = {number: (leaf, _HANDLERS.get(leaf.name)) for number, leaf in SEAMCALLS.items()}
_GUEST = {number: (leaf, _HANDLERS.get(leaf.name)) for number, leaf in TDCALLS.items()}
# Leaves with only their checks are not among these.
MODELLED = frozenset(_HANDLERS) - {
    "TDH.EXPORT.UNBLOCKW",
    "TDH.SYS.RDALL",
    "TDH.SYS.UPDATE",
    "TDG.MEM.PAGE.ATTR.RD",
    "TDG.MEM.PAGE.ATTR.WR",
}
_INVALID_RAX = Status.OPERAND_INVALID | Operand.RAX
# Number 42 has a name but no handler in the real dispatcher either.
_NEVER_DISPATCHED = 42
_VP_ENTER = 0
_SEPT_ADD = 3
_SERVTD_BIND = 48
# SEPT.ADD and PAGE.DEMOTE: bit 0 of the register with the TDR is a flag.
_WITH_FLAG = (_SEPT_ADD, 15)
_OK = Result(0)


class Platform(Machine):
    """A machine with a TDX module: everything a host, a guest or an attacker can do to it.

    Nothing here is hardware: results are EMULATED, keys come from a seeded stream.
    """

    def __init__(self, config: PlatformConfig | None = None, trace: bool = True) -> None:
        super().__init__(config or PlatformConfig())
        self.trace = Trace(self.config.to_dict()) if trace else None

    def __repr__(self) -> str:
        return f"<Platform EMULATED {self.sys_state.name}, {len(self.tdrs)} TDs>"

    # SEAMCALL.

    def seamcall(self, leaf: str | int, lp: int = 0, **regs: int) -> Result:
        """Call the module as the host: leaf by name or as the whole RAX; registers by name.

        Raises:
            NotModelled: a leaf or feature that the model leaves out.
            UsageError: an unknown name, or the processor is running a guest.
        """
        rax = _number(leaf, guest=False)
        processor = self.lps[lp]
        if processor.active is not None:
            raise UsageError(
                f"Logical processor {lp} is running a guest and cannot make a SEAMCALL.",
                "Use another processor, or interrupt(lp) to get this one back.",
            )
        result = self._seamcall(rax, processor, regs)
        if self.trace is not None:
            self.trace.call("SEAMCALL", lp, rax, regs, result.status, result.regs)
        if result.running and self.lps[lp].active is not None:
            vp = self.lps[lp].active
            assert vp is not None
            if vp.program is not None:
                return self._run(processor, vp)
        return result

    def _seamcall(self, rax: int, lp: Lp, regs: dict[str, int]) -> Result:
        if self.dead:
            return Result(VMFAIL_INVALID)
        number = rax & 0xFFFF
        if rax >> 16 and (rax >> 24 or number not in VERSIONED):
            return Result(_INVALID_RAX)
        if self.sys_state is not SysState.SYS_READY:
            if self.sys_state is SysState.SYS_SHUTDOWN and number != 44:
                return Result(Status.SYS_SHUTDOWN)
            if number not in BEFORE_READY and self.sys_state is not SysState.SYS_SHUTDOWN:
                return Result(Status.SYS_NOT_READY)
        known = _HOST.get(number)
        if known is None or number == _NEVER_DISPATCHED:
            return Result(_INVALID_RAX)
        leaf, handler = known
        get = regs.get
        version = rax >> 16
        call = Call(leaf, lp, version, get("rcx", 0), get("rdx", 0), get("r8", 0), get("r9", 0), regs)
        self.taken = ()
        if version or number in DEFAULT_OUT:
            call.out.update(_default_out(number, version, regs))
        try:
            if version > MAX_VERSION:
                raise Refused(_INVALID_RAX)
            if leaf.handle:
                self._resolve(call)
            if handler is None:
                raise not_modelled(leaf.name)
            handler(self, call)
        except Refused as refusal:
            return Result(int(refusal.value), call.out | refusal.regs if call.out else refusal.regs)
        except SeamMachineCheck:
            self.dead = "a machine check inside SEAM: the module's own memory was tampered with"
            return Result(VMFAIL_INVALID)
        if number == _VP_ENTER:
            return Result(0, {}, running=True)
        return Result(0, call.out) if call.out else _OK

    def _resolve(self, call: Call) -> None:
        """Find and check the TD or vCPU that the leaf names."""
        leaf = call.leaf
        operand = Operand.RCX if leaf.register == "rcx" else Operand.RDX
        address = call.rcx if leaf.register == "rcx" else call.rdx
        if leaf.handle == "T":
            if leaf.number in _WITH_FLAG:
                address &= ~1
            elif leaf.number == _SERVTD_BIND and call.rcx == call.rdx:
                raise Refused(Status.OPERAND_INVALID | Operand.RDX)
            call.tdr = self.tdr(address, operand, leaf.exclusive)
        else:
            if leaf.number == _VP_ENTER:
                address &= ~_vp.ENTER_FLAGS
            call.vp = self.vcpu(address, operand, leaf.exclusive)
            call.tdr = call.vp.tdr
        if leaf.states is not None and not leaf.late:
            self.check_td(leaf, call.tdr)

    # The guest.

    def tdcall(self, leaf: str | int, lp: int = 0, **regs: int) -> Result:
        """Call the module as the guest that runs on a processor.

        Raises:
            TdExit: the call gave the processor to the host, as VP.VMCALL always does.
            GuestException: the call touched memory that raised #VE or #PF.
            NotModelled, UsageError: see seamcall; also when no guest runs there.
        """
        vp, processor = self._running(lp)
        rax = _number(leaf, guest=True)
        if self.trace is not None:
            entry = self.trace.call("TDCALL", lp, rax, regs, 0, {})
        try:
            result = self._tdcall(rax, vp, processor, regs)
        except (GuestExit, GuestFault, SeamMachineCheck) as event:
            raise self._event(processor, event) from None
        if self.trace is not None:
            self.trace.amend(entry, result.status, result.regs)
        return result

    def _tdcall(self, rax: int, vp: Tdvps, lp: Lp, regs: dict[str, int]) -> Result:
        number = rax & 0xFFFF
        version = rax >> 16
        known = _GUEST.get(number)
        if known is None or (version and (rax >> 24 or number not in GUEST_VERSIONED)):
            return Result(_INVALID_RAX)
        leaf, handler = known
        if handler is None:
            raise not_modelled(leaf.name)
        get = regs.get
        call = Call(leaf, lp, version, get("rcx", 0), get("rdx", 0), get("r8", 0), get("r9", 0), regs)
        call.tdr, call.vp = vp.tdr, vp
        if version:
            call.out.update(rdx=NO_FIELD)
        try:
            if version > MAX_VERSION:
                raise Refused(_INVALID_RAX)
            handler(self, call)
        except Refused as refusal:
            return Result(int(refusal.value), call.out | refusal.regs)
        return Result(0, call.out)

    def load(self, gpa: int, size: int, lp: int = 0) -> bytes:
        """Read memory as the guest that runs on a processor.

        Raises:
            TdExit, GuestException: the access did not go through.
            UsageError: no guest runs there.
        """
        vp, processor = self._running(lp)
        if self.trace is not None:
            step = self.trace.memory("LOAD", lp, gpa, b"", size=size)
        try:
            data = _guest.load(self, vp, gpa, size)
        except (GuestExit, GuestFault, SeamMachineCheck) as event:
            raise self._event(processor, event) from None
        if self.trace is not None:
            self.trace.events[step].data = data
        return data

    def store(self, gpa: int, data: bytes, lp: int = 0) -> None:
        """Write memory as the guest that runs on a processor.

        Raises:
            TdExit, GuestException: the access did not go through.
            UsageError: no guest runs there.
        """
        vp, processor = self._running(lp)
        if self.trace is not None:
            self.trace.memory("STORE", lp, gpa, data)
        try:
            _guest.store(self, vp, gpa, data)
        except (GuestExit, GuestFault, SeamMachineCheck) as event:
            raise self._event(processor, event) from None

    def registers(self, lp: int = 0) -> dict[str, int]:
        """The general registers that the running guest sees, as far as they were ever set."""
        return dict(self._running(lp)[0].gpr)

    def interrupt(self, lp: int = 0) -> Result:
        """An external interrupt on a processor that runs a guest: an asynchronous TD exit.

        Raises:
            UsageError: no guest runs there.
        """
        _, processor = self._running(lp)
        return self._exit(processor, _vp.external_interrupt())

    def triple_fault(self, lp: int = 0) -> Result:
        """The guest that runs on a processor gives up: a TD exit after which this vCPU never runs again.

        Raises:
            UsageError: no guest runs there.
        """
        _, processor = self._running(lp)
        return self._exit(processor, self._gave_up())

    def _running(self, lp: int) -> tuple[Tdvps, Lp]:
        processor = self.lps[lp]
        if processor.active is None:
            raise UsageError(f"No guest runs on logical processor {lp}.", "Enter one with TDH.VP.ENTER.")
        return processor.active, processor

    def _event(self, lp: Lp, event: Exception) -> Exception:
        if isinstance(event, GuestFault):
            if self.trace is not None:
                self.trace.note(event.kind, lp.index, event.gpa)
            return GuestException(event.kind, event.gpa)
        if isinstance(event, GuestExit):
            return TdExit(self._exit(lp, event))
        self.dead = "a machine check inside SEAM: the module's own memory was tampered with"
        _vp.leave(self, lp, VcpuState.DISABLED)
        return TdExit(Result(VMFAIL_INVALID))

    @staticmethod
    def _gave_up() -> GuestExit:
        return GuestExit(Status.NON_RECOVERABLE_VCPU | _vp.EXIT_TRIPLE_FAULT)

    def _exit(self, lp: Lp, event: GuestExit) -> Result:
        lost = event.value >> 62 & 1
        _vp.leave(self, lp, VcpuState.DISABLED if lost else VcpuState.READY)
        result = Result(int(event.value), event.regs)
        if self.trace is not None:
            self.trace.call("EXIT", lp.index, 0, {}, result.status, result.regs)
        return result

    # Guest programs.

    def attach(self, tdvpr: int, program: Program) -> None:
        """Give a vCPU (address of its TDVPR) a program to run whenever it is entered."""
        self.vps[tdvpr >> 12].program = program
        self.vps[tdvpr >> 12].retry = None

    def _run(self, lp: Lp, vp: Tdvps) -> Result:
        """Run the program until the guest exits; an access that exits is tried again at the next entry."""
        assert vp.program is not None
        answer: Any = None
        operation, vp.retry = vp.retry, None
        if isinstance(operation, Tdcall) and operation.leaf == "TDG.VP.VMCALL":
            answer, operation = Result(0, dict(vp.gpr)), None
        fault: GuestException | None = None
        try:
            while True:
                if operation is None:
                    operation = vp.program.throw(fault) if fault else vp.program.send(answer)
                    fault = None
                try:
                    answer = self._perform(operation, lp.index)
                except GuestException as exception:
                    answer, fault = None, exception
                operation = None
        except TdExit as exit_:
            vp.retry = operation
            return exit_.result
        except StopIteration:
            vp.program = None
            return self._exit(lp, GuestExit(_vp.EXIT_INTERRUPT))
        except GuestException:
            vp.program = None
            return self._exit(lp, self._gave_up())

    def _perform(self, operation: Operation, lp: int) -> Any:
        if isinstance(operation, Load):
            return self.load(operation.gpa, operation.size, lp)
        if isinstance(operation, Store):
            return self.store(operation.gpa, operation.data, lp)
        return self.tdcall(operation.leaf, lp, **operation.regs)

    # Host memory, traced.

    def write(self, address: int, data: bytes, non_temporal: bool = False) -> None:
        """Write memory as the host, KeyID in the upper address bits.

        Raises:
            UsageError: a private KeyID or SEAMRR.
        """
        self.host_write(address, data, non_temporal)
        if self.trace is not None:
            self.trace.memory("WRITE", 0, address, data, **({"non_temporal": 1} if non_temporal else {}))

    def read(self, address: int, size: int) -> bytes:
        """Read memory as the host; see host_read for poison.

        Raises:
            UsageError: a private KeyID or SEAMRR.
        """
        return self.host_read(address, size).data


def _default_out(number: int, version: int, regs: dict[str, int]) -> dict[str, int]:
    """The registers that a leaf sets before its first check, where that can be seen afterwards."""
    if not version:
        return DEFAULT_OUT[number]
    if number == _SEPT_ADD:
        if version > MAX_VERSION:
            return {}
        return {name: _mem.plain_page(regs.get(name, 0)) for name in _mem.SEPT_PAGES}
    return DEFAULT_OUT_VERSION_1.get(number, {})


def _number(leaf: str | int, guest: bool) -> int:
    if isinstance(leaf, int):
        return leaf
    found = LEAVES.get(leaf)
    if found is None or found.guest is not guest:
        raise UsageError(
            f"{leaf!r} is no {'TDCALL' if guest else 'SEAMCALL'} leaf.", "Use a name such as TDH.MNG.CREATE."
        )
    return found.number
