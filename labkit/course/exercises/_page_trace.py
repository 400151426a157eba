"""Learn a guest's secret from the pages that it touches."""

from __future__ import annotations

from labkit.course._calls import CODE
from labkit.course._forms import Hex, Number
from labkit.course.draw import Draw
from labkit.course.model import Exercise, Question, Variant, canonical, check_answers, solve_by_answers
from labkit.tdx import HostileVmm, Load, Program

_SIZE = 5
_FIRST, _SECOND, _OTHER = 0x101000, 0x102000, 0x103000


def _program(bits: list[int], ones: int, zeros: int, noise: list[int]) -> Program:
    """Touches one page for a 1 bit and another for a 0 bit; code between them, and sometimes a stack."""
    for bit, stack in zip(bits, noise, strict=True):
        yield Load(ones if bit else zeros, 1)
        yield Load(CODE, 1)
        if stack:
            yield Load(_OTHER, 1)
            yield Load(CODE, 1)


def _make(draw: Draw) -> Variant:
    secret = draw.bytes(_SIZE)
    value = int.from_bytes(secret, "big")
    most_first = bool(draw.below(2))
    bits = [value >> at & 1 for at in range(8 * _SIZE)]
    if most_first:
        bits.reverse()
    ones, zeros = draw.shuffle((_FIRST, _SECOND))
    noise = [draw.below(3) // 2 for _ in bits]
    host = HostileVmm()
    host.aug(host.td, _OTHER)
    host.run(host.td, _accept())
    pages = host.watch(_program(bits, ones, zeros, noise), range(CODE, _OTHER + 0x1000, 0x1000))
    return Variant(
        parameters={
            "trace": "trace.json",
            "page_of_1": f"{ones:#x}",
            "page_of_0": f"{zeros:#x}",
            "first_bit": "most significant" if most_first else "least significant",
            "bytes": _SIZE,
        },
        files={"trace.json": canonical([f"{gpa:#x}" for gpa in pages])},
        expected={"bits": sum(bits), "secret": secret.hex()},
    )


def _accept() -> Program:
    from labkit.tdx import accept

    yield from accept(_OTHER)


EXERCISE = Exercise(
    name="page-trace",
    title="Learn a guest's secret from a page trace",
    chapter="05-inside-tdx",
    questions=(
        Question(
            "bits",
            "How many bits of the secret are 1?",
            1,
            Number(0, 64),
            (
                "Count the touches of the page that stands for 1.",
                "The host sees each touch once: between two of them the guest's code page is touched.",
            ),
        ),
        Question(
            "secret",
            "The secret",
            3,
            Hex(_SIZE),
            (
                "Leave out every page that stands for neither 0 nor 1.",
                "Write the bits in the order of the trace; the parameters say which end comes first.",
                "int(text, 2).to_bytes(5, 'big') makes bytes of 40 bits, most significant first.",
            ),
            unique=True,
        ),
    ),
    make=_make,
    check=check_answers,
    solve=solve_by_answers,
)
