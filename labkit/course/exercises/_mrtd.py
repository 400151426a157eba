"""MRTD of a small TDVF, by hand, in both orders of pages."""

from __future__ import annotations

import struct
import uuid

from labkit.course._forms import Hex, Number
from labkit.course.draw import Draw
from labkit.course.model import Exercise, Question, Variant, check_answers, solve_by_answers
from labkit.measure import PageOrder, mrtd, read_tdvf
from labkit.measure.tdvf import SectionAttribute, SectionType, TdvfSection

_PAGE = 4096
_FOOTER = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
_OFFSET = uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
_DESCRIPTOR = uuid.UUID("e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae").bytes_le
_RESET_VECTOR = 0x20
_BACK = 0x400  # from the descriptor to the end of the image


def small_tdvf(draw: Draw) -> bytes:
    """A TDVF image of a few pages: volumes of random bytes with a correct table of sections."""
    variables, code = draw.between(1, 2) * _PAGE, draw.between(2, 4) * _PAGE
    image = bytearray(draw.bytes(variables + code))
    top = 1 << 32
    temporary = draw.between(1, 3)
    none, extend = SectionAttribute(0), SectionAttribute.MR_EXTEND
    scratch = 0x800000 + draw.below(16) * 0x10000
    sections = [
        TdvfSection(SectionType.BFV, top - code, code, variables, code, extend),
        TdvfSection(SectionType.CFV, top - code - variables, variables, 0, variables, none),
        TdvfSection(SectionType.TD_HOB, scratch, _PAGE, 0, 0, none),
        TdvfSection(SectionType.TEMP_MEM, scratch + 0x8000, temporary * _PAGE, 0, 0, none),
    ]
    rest = draw.shuffle(sections[1:])
    sections = [sections[0], *rest] if draw.below(2) else [*rest, sections[0]]
    rows = b"".join(section.encode() for section in sections)
    table = struct.pack("<4sIII", b"TDVF", 16 + len(rows), 1, len(sections)) + rows
    at = len(image) - _BACK
    image[at - 16 : at + len(table)] = _DESCRIPTOR + table
    entry = struct.pack("<IH", _BACK, 22) + _OFFSET
    guided = entry + struct.pack("<H", len(entry) + 18) + _FOOTER
    end = len(image) - _RESET_VECTOR
    image[end - len(guided) : end] = guided
    return bytes(image)


def _make(draw: Draw) -> Variant:
    firmware = small_tdvf(draw)
    tdvf = read_tdvf(firmware)
    pages = sum(section.memory_size for section in tdvf.sections if section.added) // _PAGE
    return Variant(
        parameters={"firmware": "firmware.fd"},
        files={"firmware.fd": firmware},
        expected={
            "pages": pages,
            "single_pass": mrtd(tdvf, PageOrder.SINGLE_PASS).hex(),
            "two_pass": mrtd(tdvf, PageOrder.TWO_PASS).hex(),
        },
    )


EXERCISE = Exercise(
    name="mrtd",
    title="MRTD of a small firmware, by hand",
    chapter="03-boot-the-tdvm",
    questions=(
        Question(
            "pages",
            "How many pages does the VMM add before the TD runs?",
            1,
            Number(),
            (
                "Every section of the table is memory; look at its size, not at its bytes in the file.",
                "A page has 4096 bytes. Sections with the attribute PAGE_AUG are added later; are there any?",
                "Add up memory_size of all four sections and divide by 4096.",
            ),
        ),
        Question(
            "single_pass",
            "MRTD, when each page is added and then extended",
            3,
            Hex(48),
            (
                "MRTD is one SHA-384 over blocks: 128 bytes for PAGE.ADD, 128 + 256 bytes for MR.EXTEND.",
                "Only sections with MR_EXTEND have their content measured; of the others addresses count.",
                "A block is the name of the call, zeros up to byte 16, the address as 8 bytes little-endian, "
                "then zeros up to byte 128. Sections go in the order of the table.",
            ),
            unique=True,
        ),
        Question(
            "two_pass",
            "MRTD, when all pages of a section are added before they are extended",
            2,
            Hex(48),
            (
                "The blocks are the same. Only their order within a section is another one.",
                "For a section with MR_EXTEND: first all its PAGE.ADD blocks, then all its MR.EXTEND blocks.",
            ),
            unique=True,
        ),
    ),
    make=_make,
    check=check_answers,
    solve=solve_by_answers,
)
