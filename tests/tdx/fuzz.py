"""Random sequences over the alphabet of the recording: its calls, operands, memory and starting points.

``python -m tests.tdx.fuzz 100000`` plays that many sequences; a failure names the seed that repeats it.
Each sequence starts where one of the recorded ones does. Its calls take their registers from what the same
leaf was given in the recording, each register by itself, so that they meet in new combinations. After each
sequence the invariants must hold, and MRTDs must be what was measured. One sequence in ten is played on a
second platform too, with the other kind of integrity, which must give the same answers.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import defaultdict
from functools import cache
from random import Random
from typing import Any

from labkit.errors import NotModelled, UsageError
from labkit.tdx import GuestException, Integrity, Platform, PlatformConfig, Result, TdExit
from labkit.tdx.states import OpState
from tests.tdx.invariants import check
from tests.tdx.recorded import document, number

STEPS = 30
Operands = dict[str, list[int]]


@cache
def alphabet() -> dict[str, dict[int, Operands]]:
    """Kind of call and RAX to the values that each register had in the recording."""
    found: dict[str, dict[int, dict[str, set[int]]]] = {"seamcall": {}, "tdcall": {}, "access": {}}
    for sequence in document()["sequences"]:
        for step in sequence["ops"]:
            if step["op"] in ("seamcall", "tdcall"):
                calls = found[step["op"]].setdefault(number(step["rax"]), defaultdict(set))
                for name, value in step.get("in", {}).items():
                    calls[name].add(number(value))
            elif step["op"] == "guest_access":
                found["access"].setdefault(0, defaultdict(set))["gpa"].add(number(step["gpa"]))
    return {
        kind: {
            rax: {name: sorted(pool) for name, pool in regs.items()} for rax, regs in sorted(calls.items())
        }
        for kind, calls in found.items()
    }


@cache
def addresses() -> list[int]:
    """What the guests of the recording touched, and the pages that its hosts gave them."""
    calls = alphabet()
    return calls["access"][0]["gpa"] + [gpa & ~0xFFF for gpa in calls["seamcall"][2]["rcx"]]


class Fuzzer:
    """One sequence: a platform that was brought to a recorded starting point, and what is known of it."""

    def __init__(self, seed: int, integrity: Integrity = Integrity.LOGICAL) -> None:
        self.random = Random(seed)
        sequence = self.random.choice(document()["sequences"])
        words = dict(document()["config"], **sequence["config"], integrity=integrity)
        words["cmrs"] = tuple(map(tuple, words["cmrs"]))
        words["seamrr"] = tuple(words["seamrr"])
        self.platform = Platform(PlatformConfig(**words), trace=False)
        self.answers: list[tuple[object, ...]] = []
        # What an observer of the calls knows: content of added pages, and the measurement so far, by TDR.
        self.pages: dict[tuple[int, int], bytes] = {}
        self.measured: dict[int, Any] = {}
        for step in document()["prefixes"][sequence["prefix"]]:
            for _ in range(step.get("repeat", 1)):
                self.recorded(step)

    def recorded(self, step: dict[str, Any]) -> None:
        """Do a step of a recorded starting point."""
        if step["op"] == "write":
            data = bytearray([step["fill"]]) * step["size"]
            for offset, text in step.get("patch", ()):
                data[offset : offset + len(text) // 2] = bytes.fromhex(text)
            self.platform.write(number(step["addr"]), bytes(data))
        elif step["op"] == "seamcall":
            regs = {name: number(value) for name, value in step.get("in", {}).items()}
            self.call("seamcall", number(step["rax"]), step["lp"], regs)
        elif step["op"] == "tdcall":
            regs = {name: number(value) for name, value in step.get("in", {}).items()}
            self.call("tdcall", number(step["rax"]), step["lp"], regs)
        elif step["op"] == "external_interrupt":
            self.platform.interrupt(step["lp"])

    def run(self) -> None:
        """Play the sequence, then look at everything; the processors are taken back from guests at last."""
        for _ in range(STEPS):
            self.step()
        check(self.platform)
        for lp in self.platform.lps:
            if lp.active is not None:
                self.platform.interrupt(lp.index)
        check(self.platform)
        assert self.platform.locks.holders == 0
        for tdr, digest in self.measured.items():
            record = self.platform.tdrs.get(tdr >> 12)
            if record is not None and record.tdcs.op_state is OpState.RUNNABLE:
                assert record.tdcs.mrtd == digest.digest(), f"MRTD of {tdr:#x} is not what was measured"

    def step(self) -> None:
        """One random step on a random processor, whatever runs there."""
        lp = self.random.choice(self.platform.lps)
        choice = self.random.random()
        if choice < 0.03:
            lp.interrupt = True
        elif choice < 0.05:
            self.platform.entropy_failures = 1
        elif lp.active is None:
            self.random_call("seamcall", lp.index)
        elif choice < 0.3:
            self.answers.append(("interrupt", self.platform.interrupt(lp.index).status))
        elif choice < 0.6:
            self.access(self.random.choice(addresses()), lp.index, write=choice < 0.45)
        else:
            self.random_call("tdcall", lp.index)

    def random_call(self, kind: str, lp: int) -> None:
        """A call of the alphabet with registers of its own kind."""
        calls = alphabet()[kind]
        rax = self.random.choice(list(calls))
        regs = {name: self.random.choice(pool) for name, pool in calls[rax].items()}
        self.call(kind, rax, lp, regs)

    def call(self, kind: str, rax: int, lp: int, regs: dict[str, int]) -> None:
        """Make a call and note the answer; anything but a documented outcome goes through to the caller."""
        source = self.source(rax, regs) if kind == "seamcall" else b""
        try:
            caller = self.platform.seamcall if kind == "seamcall" else self.platform.tdcall
            result = caller(rax, lp, **regs)
        except NotModelled:
            self.answers.append((rax, "not modelled"))
        except TdExit as exit_:
            self.answers.append((rax, "exit", exit_.result.status, exit_.result.regs))
        except GuestException as exception:
            self.answers.append((rax, exception.kind, exception.gpa))
        else:
            self.answers.append((rax, result.status, result.regs))
            if kind == "seamcall" and result.status == 0:
                self.observe(rax, regs, source, result)

    def source(self, rax: int, regs: dict[str, int]) -> bytes:
        """What lies where PAGE.ADD would read; nothing where the host may not read either."""
        if rax != 2:
            return b""
        try:
            return self.platform.read(regs.get("r9", 0), 4096)
        except UsageError:
            return b""

    def observe(self, rax: int, regs: dict[str, int], source: bytes, result: Result) -> None:
        """Keep an own record of what is added, changed and measured."""
        rcx, rdx = regs.get("rcx", 0), regs.get("rdx", 0)
        if rax == 21:
            self.measured[rcx] = hashlib.sha384()
        elif rax == 2:
            self.pages[rdx, rcx] = source
            self.measured[rdx].update(_block(b"MEM.PAGE.ADD", rcx))
        elif rax == 16:
            page = self.pages[rdx, rcx & ~0xFFF]
            at = rcx & 0xFFF
            self.measured[rdx].update(_block(b"MR.EXTEND", rcx) + page[at : at + 256])
        elif rax == 14 and (rdx, rcx & ~0xFFF) in self.pages:
            page, at = self.pages[rdx, rcx & ~0xFFF], rcx & 0xFFF
            value = regs.get("r8", 0).to_bytes(8, "little")
            self.pages[rdx, rcx & ~0xFFF] = page[:at] + value + page[at + 8 :]
        assert result.ok

    def access(self, gpa: int, lp: int, write: bool) -> None:
        """A load or store of the guest."""
        try:
            if write:
                self.platform.store(gpa, b"guest", lp)
                self.answers.append(("store", gpa))
            else:
                self.answers.append(("load", gpa, self.platform.load(gpa, 8, lp)))
        except TdExit as exit_:
            self.answers.append(("exit", exit_.result.status, exit_.result.regs))
        except GuestException as exception:
            self.answers.append((exception.kind, exception.gpa))


def _block(word: bytes, gpa: int) -> bytes:
    return word.ljust(16, b"\0") + gpa.to_bytes(8, "little") + bytes(104)


def play(seed: int) -> None:
    """One sequence, and one in ten on both kinds of platform."""
    first = Fuzzer(seed)
    first.run()
    if seed % 10 == 0:
        second = Fuzzer(seed, Integrity.CRYPTOGRAPHIC)
        second.run()
        assert first.answers == second.answers, "the kind of integrity changed an answer"


def main(arguments: list[str]) -> int:
    """Play as many sequences as asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.tdx.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("sequences", type=int)
    parser.add_argument("--seed", type=int, default=0, help="the first one; they count up from there")
    options = parser.parse_args(arguments)
    for seed in range(options.seed, options.seed + options.sequences):
        try:
            play(seed)
        except Exception as error:
            sys.stderr.write(f"seed {seed}: {error.__class__.__name__}: {error}\n")
            raise
    sys.stdout.write(f"{options.sequences} sequences of {STEPS} steps, no invariant broken\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
