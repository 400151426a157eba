"""The recorded answers of Intel's own module code, and how a sequence of them is played on the model."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from labkit.tdx import GuestException, Platform, PlatformConfig, Result, TdExit

FACTS = Path(__file__).resolve().parents[1] / "facts" / "tdx-module"
REGISTERS = ("rcx", "rdx", "r8", "r9", "r10", "r11")
ENTERED = "ENTERED"


@cache
def document() -> dict[str, Any]:
    """The whole recording."""
    loaded: dict[str, Any] = json.loads(gzip.decompress((FACTS / "recorded.json.gz").read_bytes()))
    return loaded


def number(value: int | str) -> int:
    """A number of the recording, which keeps most of them as hexadecimal text."""
    return value if isinstance(value, int) else int(value, 16)


@dataclass(frozen=True)
class Answer:
    """What a step led to: how it ended (RESUMED, EXIT, or an exception's name), status and registers."""

    how: str
    status: int | str
    regs: dict[str, int]


class Player:
    """A platform on which recorded steps are done one by one."""

    def __init__(self, config: dict[str, Any]) -> None:
        words = dict(document()["config"], **config)
        words["cmrs"] = tuple(map(tuple, words["cmrs"]))
        words["seamrr"] = tuple(words["seamrr"])
        self.platform = Platform(PlatformConfig(**words), trace=False)
        self.checks = 0
        self.differences: list[str] = []

    def play(self, steps: list[dict[str, Any]], check: bool) -> None:
        """Do the steps; check says whether their answers are compared."""
        for step in steps:
            for _ in range(step.get("repeat", 1)):
                wrong = self.do(step)
                if check and wrong is not None:
                    self.checks += 1
                    self.differences += wrong

    def do(self, step: dict[str, Any]) -> list[str] | None:
        """Do one step; the differences, or None where it has no answer."""
        kind = step["op"]
        platform = self.platform
        if kind == "write":
            data = bytearray([step["fill"]]) * step["size"]
            for offset, text in step.get("patch", ()):
                data[offset : offset + len(text) // 2] = bytes.fromhex(text)
            platform.write(number(step["addr"]), bytes(data))
        elif kind == "pending_interrupt":
            platform.lps[step["lp"]].interrupt = True
        elif kind == "fail_next":
            platform.entropy_failures = max(step["pconfig"], step["rdseed"])
        elif kind == "mrtd":
            mrtd = platform.tdrs[number(step["tdr"]) >> 12].tdcs.mrtd.hex()
            return [] if mrtd == step["value"] else [f"MRTD {mrtd}, recorded {step['value']}"]
        elif kind == "guest_registers":
            want = {name: number(value) for name, value in step["value"].items()}
            seen = {name: value for name, value in platform.registers(step["lp"]).items() if value}
            return [] if seen == want else [f"guest registers {seen}, recorded {want}"]
        else:
            return self.compare(step, self.answer(step))
        return None

    def answer(self, step: dict[str, Any]) -> Answer:
        """Make the call or access of a step."""
        kind, lp, platform = step["op"], step["lp"], self.platform
        regs = {name: number(value) for name, value in step.get("in", {}).items()}
        try:
            if kind == "seamcall":
                result = platform.seamcall(number(step["rax"]), lp, **regs)
            elif kind == "tdcall":
                result = platform.tdcall(number(step["rax"]), lp, **regs)
            elif kind == "external_interrupt":
                return _ended("EXIT", platform.interrupt(lp))
            elif step["write"]:
                platform.store(number(step["gpa"]), b"x", lp)
                return Answer("OK", 0, {})
            else:
                platform.load(number(step["gpa"]), 1, lp)
                return Answer("OK", 0, {})
        except TdExit as exit_:
            return _ended("EXIT", exit_.result)
        except GuestException as exception:
            return Answer(exception.kind, 0, {})
        return _ended("RESUMED", result)

    def compare(self, step: dict[str, Any], got: Answer) -> list[str]:
        """What differs from the recording; a register that the model does not name is unchanged or 0."""
        how = step.get("kind", "RESUMED")
        name = f"{step.get('leaf', step['op'])} {step.get('in', {})}"
        if got.how != how:
            return [f"{name}: {got.how}, recorded {how}"]
        if how not in ("RESUMED", "EXIT"):
            return []
        status = step["status"] if step["status"] == ENTERED else number(step["status"])
        if got.status != status:
            return [f"{name}: {_hex(got.status)}, recorded {_hex(status)}"]
        if status == ENTERED or step.get("compare") == "status":
            return []
        before = {r: number(step.get("in", {}).get(r, 0)) if how == "RESUMED" else 0 for r in REGISTERS}
        wrong = []
        for register in REGISTERS:
            want = number(step.get("out", {}).get(register, before[register]))
            free = (want,) if want in (0, before[register]) else (0,)
            if got.regs.get(register, free[0]) != want:
                wrong.append(f"{name}: {register} {got.regs.get(register, 0):#x}, recorded {want:#x}")
        return wrong


def _ended(how: str, result: Result) -> Answer:
    return Answer(how, ENTERED if result.running else result.status, result.regs)


def _hex(status: int | str) -> str:
    return status if isinstance(status, str) else f"{status:#018x}"
