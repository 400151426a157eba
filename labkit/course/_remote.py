"""A guest program of a submission: its code runs in the sandbox, the machine that it runs on stays outside.

The two talk in lines of JSON: each operation that the program yields goes out, its answer comes back. So a
submission's code never meets the model that judges it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import IO, Any

from labkit.course.sandbox import Conversation, SandboxDied
from labkit.tdx import GuestException, Load, Program, Result, Store, Tdcall

_LARGEST = 1 << 16
_MOST_STEPS = 2000


def serve(function: Callable[..., Any], incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """Inside: run ``function`` once for each request, and relay its operations."""
    for line in incoming:
        said: list[str] = []
        ended: dict[str, Any] = {"done": said}
        try:
            _relay(function(*json.loads(line)["arguments"], said), incoming, outgoing)
        except BaseException as problem:
            ended["error"] = f"{type(problem).__name__}: {problem}"[:300]
        ended["done"] = [str(word)[:300] for word in said[:20]]
        outgoing.write(json.dumps(ended).encode() + b"\n")
        outgoing.flush()


def _relay(program: Program, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    operation = next(program, None)
    while operation is not None:
        outgoing.write(json.dumps(_packed(operation)).encode() + b"\n")
        outgoing.flush()
        reply = json.loads(incoming.readline())
        try:
            if "fault" in reply:
                operation = program.throw(GuestException(*reply["fault"]))
            else:
                operation = program.send(_answer(operation, reply))
        except StopIteration:
            return


def _packed(operation: Any) -> dict[str, Any]:
    if isinstance(operation, Load):
        return {"load": [operation.gpa, operation.size]}
    if isinstance(operation, Store):
        return {"store": [operation.gpa, bytes(operation.data).hex()]}
    if isinstance(operation, Tdcall):
        return {"tdcall": [operation.leaf, operation.regs]}
    raise TypeError(f"a driver yields Load, Store and Tdcall, not {type(operation).__name__}")


def _answer(operation: Any, reply: dict[str, Any]) -> Any:
    if isinstance(operation, Load):
        return bytes.fromhex(reply["data"])
    if isinstance(operation, Tdcall):
        return Result(reply["status"], reply["regs"])
    return None


def program(talk: Conversation, arguments: list[int], said: list[str]) -> Program:
    """Outside: the guest program whose operations come from the sandbox.

    ``said`` gets what the submission's code says at its end.

    Raises:
        SandboxTimeout, SandboxDied: the code does not end, or ends without an answer.
    """
    talk.send({"arguments": arguments})
    for _ in range(_MOST_STEPS):
        message = talk.receive()
        if not isinstance(message, dict):
            raise SandboxDied("it wrote something that is not an operation")
        if "done" in message:
            if "error" in message:
                raise SandboxDied(f"it raised {message['error']}")
            said += [str(word) for word in message["done"]]
            return
        operation = _unpacked(message)
        try:
            answer = yield operation
        except GuestException as fault:
            talk.send({"fault": [fault.kind, fault.gpa]})
            continue
        if isinstance(operation, Load):
            talk.send({"data": answer.hex()})
        elif isinstance(operation, Tdcall):
            talk.send({"status": answer.status, "regs": answer.regs})
        else:
            talk.send({})
    raise SandboxDied(f"it did not end within {_MOST_STEPS} operations")


def _unpacked(message: dict[str, Any]) -> Load | Store | Tdcall:
    try:
        if "load" in message:
            gpa, size = (int(value) for value in message["load"])
            if not 0 <= gpa < 1 << 52 or not 0 <= size <= _LARGEST:
                raise ValueError("a load out of bounds")
            return Load(gpa, size)
        if "store" in message:
            gpa, data = int(message["store"][0]), bytes.fromhex(message["store"][1])
            if not 0 <= gpa < 1 << 52 or len(data) > _LARGEST:
                raise ValueError("a store out of bounds")
            return Store(gpa, data)
        leaf, regs = message["tdcall"]
        return Tdcall(str(leaf), {str(name): int(value) for name, value in regs.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SandboxDied(f"it wrote an operation that is none ({error})") from None
