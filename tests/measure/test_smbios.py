"""The SMBIOS tables as OVMF measures them: what is blanked, what is added, and what a real boot measured."""

from __future__ import annotations

import hashlib

import pytest

from labkit.measure.smbios import LeftOut, SmbiosRules, measured_tables

# What QEMU 11.1 hands a firmware: q35, one CPU of TCG, 512 MiB.
QEMU = bytes.fromhex(
    "011b0001010203000000000000000000000000000000000006000051454d55005374616e646172642050432028513335"
    "202b20494348392c2032303039290070632d7133352d31312e3100000316000301010200000303030200000000000000"
    "000051454d550070632d7133352d31312e310000042a00040103fe0263060000fdfbcb0f03000000d007d0074101ffff"
    "ffffffff0000000101010200010043505520300051454d550070632d7133352d31312e31000010170010010306000008"
    "00feff010000000000000000000000112800110010feffffffffff000209000100070200000002000000000000000000"
    "0000000000000044494d4d20300051454d550000131f001300000000ffff070000100100000000000000000000000000"
    "0000000000200b00200000000000000000007f04007f0000"
)
BIOS = (
    bytes.fromhex("001a0000 01 02 00e8 03 00 0800000000000000 001c 0000 ffff 0000")
    + b"\0".join((b"Debian distribution of EDK II", b"2026.08+ds-2", b"09/26/2026", b""))
    + b"\0"
)
# The fields of a processor and of a system that edk2 2026.08 blanks.
PROCESSOR = [(0x20, 1), (0x21, 1), (0x22, 1), (0x23, 1), (0x24, 1), (0x25, 1)]
PROCESSOR += [(0x2A, 2), (0x2C, 2), (0x2E, 2), (0x11, 1), (0x16, 2)]
RULES = SmbiosRules(
    BIOS,
    (
        *(LeftOut(4, offset, size, 0x20 <= offset <= 0x22) for offset, size in PROCESSOR),
        LeftOut(1, 7, 1, text=True),
        LeftOut(1, 8, 16, text=False),
        LeftOut(1, 24, 1, text=False),
    ),
)
END = b"\x7f\x04\xff\xfe\0\0"


def test_a_real_boot_measured_these() -> None:
    """The digest of the event in a log of edk2 2026.08 under QEMU 11.1 (Debian testing, November 2026)."""
    digest = hashlib.sha384(measured_tables(QEMU, RULES)).hexdigest()
    assert digest == (
        "f2bc6e8de8927ccb609ecd18758a5e28ef369477bd8de9264ed707004c911ccf07ff0fcae9a709ff5436454a1ffd74fe"
    )


def entry(kind: int, fields: bytes, *texts: bytes) -> bytes:
    strings = b"".join(text + b"\0" for text in texts) or b"\0"
    return bytes([kind, 4 + len(fields), 7, 0]) + fields + strings + b"\0"


def test_a_string_is_blanked_where_it_stands_and_its_number_too() -> None:
    rules = SmbiosRules(entry(0, b""), (LeftOut(2, 5, 1, text=True),))
    board = entry(2, b"\1\2", b"made by", b"serial")
    found = measured_tables(board + END, rules)
    assert found == entry(2, b"\1\0", b"made by", b"      ") + entry(0, b"") + END


def test_what_a_structure_is_too_short_to_have_is_not_blanked() -> None:
    rules = SmbiosRules(entry(0, b""), (LeftOut(4, 5, 2, text=False),))
    assert measured_tables(entry(4, b"\1\2", b"x") + END, rules).startswith(entry(4, b"\1\2", b"x"))
    assert measured_tables(entry(4, b"\1\2\3", b"x") + END, rules).startswith(entry(4, b"\1\0\0", b"x"))


@pytest.mark.parametrize("kind", [11, 15, 18, 31, 33, 128, 255])
def test_of_some_only_the_header_counts(kind: int) -> None:
    made = entry(kind, b"\1\2", b"a secret")
    found = measured_tables(made + END, RULES)
    assert found.startswith(made[:4] + bytes(len(made) - 4))


def test_a_bios_that_qemu_names_is_not_added_again() -> None:
    own = entry(0, b"\1", b"somebody's")
    assert measured_tables(own + END, RULES) == own + END


@pytest.mark.parametrize("tables", [b"\1", b"\1\x04\0\0", b"\1\x00\0\0\0\0", b"\1\x10\0\0abc\0\0"])
def test_what_is_cut_short_is_refused(tables: bytes) -> None:
    with pytest.raises(ValueError, match="cut short"):
        measured_tables(tables, RULES)


def test_a_string_that_is_not_there_is_refused() -> None:
    rules = SmbiosRules(entry(0, b""), (LeftOut(2, 4, 1, text=True),))
    with pytest.raises(ValueError, match="no string 3"):
        measured_tables(entry(2, b"\3", b"one") + END, rules)
