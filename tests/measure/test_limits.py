"""Where each reader's limit stands: the last that is taken, and the first that is refused."""

from __future__ import annotations

import base64
import json
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabkitError, MalformedEventLog, NotAKernel, NotATdvf, UsageError
from labkit.measure import parse_log, read_tdvf
from labkit.measure.boot_options import disc_options, own_options
from labkit.measure.ccel import CcelTable, parse_ccel_table
from labkit.measure.embedded import embedded
from labkit.measure.event_log import LogFormat, LogHeader
from labkit.measure.event_types import rtmr_of_pcr
from labkit.measure.hob import low_memory, td_hob_list
from labkit.measure.kernel_image import authenticode, patch_header
from labkit.measure.smbios import LeftOut, SmbiosRules, measured_tables
from labkit.measure.tdvf import SectionAttribute, SectionType
from labkit.measure.wrapping import plain_bytes, values_of
from tests.measure.firmware import ROWS, TEMP_MEM, Row, image, shim
from tests.measure.kernels import HEADERS, OPTIONAL, PE, kernel
from tests.measure.logs import ccel, event, tcg_log
from tests.measure.test_predict import OVMF_LIKE

MIB = 1 << 20


def refused(made: Callable[[], Any]) -> str:
    """The sentence of the refusal; empty where it is taken."""
    try:
        made()
    except LabkitError as error:
        return str(error)
    return ""


# Intel TDX Virtual Firmware Design Guide, "TDX Metadata"; td-shim specification, section "TDX Metadata".
SECTIONS = "BFV CFV TD_HOB TEMP_MEM PERM_MEM PAYLOAD PAYLOAD_PARAM TD_INFO TD_PARAMS"


def test_sections_have_the_numbers_of_the_specifications() -> None:
    assert [kind.name for kind in sorted(SectionType)] == SECTIONS.split()
    assert [kind.value for kind in sorted(SectionType)] == list(range(9))
    assert {flag.name: flag.value for flag in SectionAttribute} == {"MR_EXTEND": 1, "PAGE_AUG": 2}


# UEFI 2.10, section 38.4.1: PCR to RTMR.
PCRS = {0: None, 1: 0, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 0} | dict.fromkeys(range(8, 24), 2)


def test_each_pcr_has_the_register_of_the_specification() -> None:
    assert {pcr: rtmr_of_pcr(pcr) for pcr in range(24)} == PCRS


@pytest.mark.parametrize(
    ("format", "last", "first"), [(LogFormat.TCG, 23, 24), (LogFormat.CCEL, 4, 5)], ids=["tcg", "ccel"]
)
def test_the_last_register_is_read_and_the_next_refused(format: LogFormat, last: int, first: int) -> None:  # noqa: A002
    log = tcg_log() if format is LogFormat.TCG else ccel()
    for register, says in ((last, ""), (first, f"register {first}, which")):
        made = replace(log, events=(replace(log.events[0], register=register),)).encode()
        assert says in refused(lambda made=made: parse_log(made, format))  # type: ignore[misc]
        assert bool(says) is bool(refused(lambda made=made: parse_log(made, format)))  # type: ignore[misc]


def test_a_log_is_guessed_by_all_its_registers_and_its_only_bank() -> None:
    one = event(1, 4, ccel().events[0].type, b"x")  # type: ignore[arg-type]
    log = replace(ccel(), events=(one,))
    assert parse_log(log.encode()).format is LogFormat.CCEL
    assert parse_log(replace(log, events=(one, replace(one, register=5))).encode()).format is LogFormat.TCG


@pytest.mark.parametrize("vendor", [b"", b"v", b"v" * 255])
def test_a_header_of_every_size_is_read_as_written(vendor: bytes) -> None:
    banks = ((0x4, 20), (0xB, 32), (0xC, 48), (0xD, 64), (0x12, 32))
    for count in range(1, len(banks) + 1):
        header = LogHeader(1, 7, (2, 1, 5), 1, banks[:count], vendor)
        log = replace(ccel(), header=header, events=(), format=LogFormat.TCG)
        assert parse_log(log.encode(), "tcg") == log
        for cut in range(len(log.encode())):
            with pytest.raises(MalformedEventLog):
                parse_log(log.encode()[:cut])


@given(st.data())
def test_a_log_that_is_cut_anywhere_ends_at_a_record_or_is_refused(data: st.DataObject) -> None:
    whole = tcg_log().encode()
    cut = data.draw(st.integers(0, len(whole)))
    ends, at = {len(tcg_log().header.encode())}, 0
    for _, record in tcg_log().records():
        at += len(record)
        ends.add(at)
    # Fewer zeros than a record's header may be padding.
    rest = whole[max((end for end in ends if end <= cut), default=0) : cut]
    taken = cut >= min(ends) and not any(rest[:12])
    assert (refused(lambda: parse_log(whole[:cut])) == "") is taken


def test_the_largest_log_that_a_firmware_reserves_is_read() -> None:
    data = ccel().encode()
    full = data + bytes((16 << 20) - len(data))
    assert parse_log(full).events == ccel().events
    with pytest.raises(MalformedEventLog, match="16777217 bytes, more than"):
        parse_log(full + b"\0")


def json_log(**changes: object) -> bytes:
    row = {"imr": 0, "event_type": 4, "digest": "00" * 48, "event": "", "event_payload": "00000000"}
    return json.dumps([row | changes]).encode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"imr": 3}, ""),
        ({"imr": 4}, "no register"),
        ({"imr": -1}, "no register"),
        ({"imr": True}, "no register"),
        ({"imr": None}, "no register"),
        ({"event_type": 0}, ""),
        ({"event_type": 0xFFFF_FFFF}, ""),
        ({"event_type": 1 << 32}, "no register"),
        ({"event_type": "4"}, "no register"),
        ({"digest": "0x" + "00" * 48}, ""),
        ({"digest": "00" * 47}, "digest of 47 bytes"),
        ({"digest": ""}, "digest of 0 bytes"),
        ({"digest": "", "event_type": 0x08000001}, ""),
        ({"digest": 5}, "digest that is not hexadecimal"),
        ({"event_payload": "0"}, "event_payload that is not hexadecimal"),
        ({"event": 5}, "name that is not text"),
    ],
)
def test_each_field_of_a_json_event_has_its_limits(changes: dict[str, object], words: str) -> None:
    said = refused(lambda: parse_log(json_log(**changes)))
    assert words in said
    assert bool(said) is bool(words)


@pytest.mark.parametrize("at", range(56))
def test_each_byte_of_a_ccel_table_counts(at: int) -> None:
    data = bytearray(CcelTable(1, b"BOCHS ", b"BXPC    ", 1, b"BXPC", 1, 0, 0x10000, 0x7BEA_2000).encode())
    data[at] ^= 0x40
    with pytest.raises(MalformedEventLog):
        parse_ccel_table(bytes(data))
    # With a checksum that fits, what is fixed is still refused, and the rest is read.
    if at != 9:
        data[9] = (data[9] - sum(data)) & 0xFF
        fixed = at < 8 or at in (36, 38, 39)
        assert bool(refused(lambda: parse_ccel_table(bytes(data)))) is fixed


def rows(*more: Row) -> bytes:
    return image((*ROWS, *more))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: rows((0, 0, (1 << 52) - 0x1000, 0x1000, TEMP_MEM, 0)), ""),
        (lambda: rows((0, 0, (1 << 52) - 0x1000, 0x2000, TEMP_MEM, 0)), "whole pages"),
        (lambda: rows((0, 0, 0x1000, 0x1000, TEMP_MEM, 3)), ""),
        (lambda: rows((0, 0, 0x1000, 0x1000, TEMP_MEM, 4)), "unknown type 3 or attributes 0x4"),
        (lambda: rows((0, 0, 0x1000, 0x1000, 8, 0)), ""),
        (lambda: rows((0, 0, 0x1000, 0x1000, 9, 0)), "unknown type 9"),
        # Neighbours do not overlap: one page behind the last is free.
        (lambda: rows((0, 0, 0x80B000, 0x1000, TEMP_MEM, 0)), ""),
        (lambda: rows((0, 0, 0x80A000, 0x1000, TEMP_MEM, 0)), "overlap in the memory"),
        (lambda: rows(*((0, 0, page << 12, 0x1000, TEMP_MEM, 0) for page in range(1, 61))), ""),
        (
            lambda: rows(*((0, 0, page << 12, 0x1000, TEMP_MEM, 0) for page in range(1, 62))),
            "for 65 sections",
        ),
        (lambda: image(()), "for 0 sections"),
        (lambda: shim(size=0x4000), ""),
        (lambda: shim(((0, 0x1000, 0xFFFFD000, 0x1000, 0, 1), (0, 0, 0, 0, 7, 0))), ""),
        (lambda: shim(((0, 0x1000, 0xFFFFD000, 0x1000, 0, 1), (0, 0, 0, 0, 6, 0))), "whole pages"),
        (
            lambda: shim(((0, 0x1000, 0xFFFFD000, 0x1000, 0, 1), (0, 1, 0, 0x1000, 8, 0))),
            "overlap in the file",
        ),
        (lambda: shim((ROWS[0], (0, 0x1001, 0, 0x1000, 8, 0))), "more data than memory"),
    ],
)
def test_each_number_of_a_tdvf_table_has_its_limits(made: Callable[[], bytes], words: str) -> None:
    said = refused(lambda: read_tdvf(made()))
    assert words in said
    assert bool(said) is bool(words)


def test_a_firmware_that_is_cut_at_either_end_is_refused() -> None:
    whole = image()
    table = whole.index(b"TDVF")
    for size in (0, 1, 0x20, 0x20 + 17, 0x20 + 18, len(whole) - table - 1):
        with pytest.raises(NotATdvf):
            read_tdvf(whole[len(whole) - size :])
    for size in range(1, 0x40):
        with pytest.raises(NotATdvf):
            read_tdvf(whole[:-size])


@pytest.mark.parametrize("offset", [-1, 0, 15, 0x4000 - 15, 0x4000, 0xFFFF_FFFF])
def test_the_number_by_which_a_shim_names_its_table_may_lead_nowhere(offset: int) -> None:
    data = shim()[:-0x20] + struct.pack("<I", offset & 0xFFFF_FFFF) + bytes(28)
    with pytest.raises(NotATdvf, match="not a TDX firmware"):
        read_tdvf(data)


def test_memory_is_split_and_named_up_to_the_last_address() -> None:
    assert [low_memory(size) for size in (0xAFFF_FFFF, 0xB000_0000)] == [0xAFFF_FFFF, 0x8000_0000]
    assert td_hob_list(OVMF_LIKE, 1 << 52)
    with pytest.raises(UsageError, match="more memory than"):
        td_hob_list(OVMF_LIKE, (1 << 52) + 1)
    end = 0x810000 + 0x10000
    with pytest.raises(UsageError, match="do not hold"):
        td_hob_list(OVMF_LIKE, end)
    assert struct.unpack("<QQ", td_hob_list(OVMF_LIKE, end + 0x1000)[-16:]) == (end, 0x1000)


def test_a_hob_list_says_where_it_ends() -> None:
    """PI specification, volume 3: the hand-off block names the end of the list, its end marker included."""
    made = td_hob_list(OVMF_LIKE, 512 * MIB)
    kind, size, _, version = struct.unpack_from("<HHII", made)
    (end,) = struct.unpack_from("<Q", made, 48)
    assert (kind, size, version, end) == (1, 56, 9, 0x809000 + len(made) + 8)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: patch_header(kernel(protocol=0x203), 512 * MIB, 0, ""), ""),
        (lambda: patch_header(kernel(protocol=0x202), 512 * MIB, 0, ""), "older than 2.03"),
        (lambda: patch_header(kernel()[:0x250], 512 * MIB, 0, ""), ""),
        (lambda: patch_header(kernel()[:0x24F], 512 * MIB, 0, ""), "no Linux set-up header"),
        # What is below ACPI's tables, less the last byte, is what an initrd may have.
        (lambda: patch_header(kernel(), 64 * MIB, 64 * MIB - 0x28000 - 1, ""), ""),
        (lambda: patch_header(kernel(), 64 * MIB, 64 * MIB - 0x28000, ""), "does not fit"),
    ],
)
def test_what_qemu_starts_has_its_limits(made: Callable[[], bytes], words: str) -> None:
    said = refused(made)
    assert words in said
    assert bool(said) is bool(words)


@pytest.mark.parametrize(("protocol", "above"), [(0x20B, False), (0x20C, True)])
def test_an_initrd_above_4_gib_needs_protocol_2_12(protocol: int, above: bool) -> None:
    patched = patch_header(kernel(protocol=protocol), 2304 * MIB, 5000, "")
    assert struct.unpack_from("<I", patched, 0x218)[0] == (0x8FFD_6000 if above else 0x7FFF_E000)


@pytest.mark.parametrize(
    ("line", "mode"),
    [("vga=ext", 0xFFFE), ("vga=70000", 70000 & 0xFFFF), ("vga=0b11", 3), ("vga=", None), ("vg", None)],
)
def test_a_video_mode_is_a_name_or_a_number(line: str, mode: int | None) -> None:
    patched, plain = (patch_header(kernel(), 512 * MIB, 0, words) for words in (line, ""))
    found = struct.unpack_from("<H", patched, 0x1FA)[0]
    assert found == (struct.unpack_from("<H", plain, 0x1FA)[0] if mode is None else mode)


def test_the_headers_of_a_pe_image_may_reach_its_end_and_no_further() -> None:
    made = bytearray(kernel())
    struct.pack_into("<H", made, PE + 6, 0)
    struct.pack_into("<I", made, OPTIONAL + 60, HEADERS)
    (size,) = struct.unpack_from("<H", made, PE + 20)
    whole = OPTIONAL + size
    struct.pack_into("<I", made, OPTIONAL + 60, whole)
    struct.pack_into("<I", made, OPTIONAL + 108, 0)
    assert len(authenticode(bytes(made[:whole]))) == 48
    with pytest.raises(NotAKernel, match="run past"):
        authenticode(bytes(made[: whole - 1]))
    struct.pack_into("<H", made, PE + 6, 1)
    with pytest.raises(NotAKernel, match="run past"):
        authenticode(bytes(made[: whole + 39]))
    for cut in (0x3F, PE + 23):
        with pytest.raises(NotAKernel, match="not a PE image"):
            authenticode(bytes(made[:cut]))


def entry(kind: int, fields: bytes, *texts: bytes) -> bytes:
    strings = b"".join(text + b"\0" for text in texts) or b"\0"
    return bytes([kind, 4 + len(fields), 7, 0]) + fields + strings + b"\0"


@pytest.mark.parametrize("kind", [1, 10, 12, 14, 16, 17, 19, 30, 32, 34, 126])
def test_of_the_other_smbios_structures_all_counts(kind: int) -> None:
    rules = SmbiosRules(entry(0, b""), (LeftOut(kind + 1, 4, 1, text=False),))
    made = entry(kind, b"\1\2", b"words")
    assert measured_tables(made, rules).startswith(made)
    # Behind the end of the table nothing is read.
    assert measured_tables(made + entry(127, b"") + made, rules) == measured_tables(made, rules)


def test_the_boot_options_of_a_machine_are_those_of_its_firmware() -> None:
    """Attributes (UEFI 2.10, section 3.1.3): active 1, hidden 8, application 0x100; then the name."""

    def told(options: tuple[bytes, ...]) -> list[tuple[int, str, int]]:
        found = []
        for option in options:
            attributes, length = struct.unpack_from("<IH", option)
            name, _, path = option[6:].partition(b"\0\0\0")
            found.append((attributes, (name + b"\0").decode("utf-16-le"), length - len(path)))
        return found

    setup = [(0x109, "BootManagerMenuApp", 0), (0x101, "EFI Firmware Setup", 0)]
    assert told(own_options()) == [(0x109, "UiApp", 0)]
    assert told(own_options(set_up=True)) == setup
    # The 16 bytes behind the path mark what the firmware made.
    disc = (1, "UEFI QEMU DVD-ROM QM00005 ", -16)
    assert told(disc_options()) == [(0x109, "UiApp", 0), disc, (1, "EFI Internal Shell", 0)]
    assert told(disc_options(set_up=True)) == [*setup, disc, (0x101, "EFI Internal Shell", 0)]


def test_text_is_decoded_from_32_characters_on() -> None:
    for word, bytes_ in (("ab" * 16, b"\xab" * 16), (base64.b64encode(b"x" * 24).decode(), b"x" * 24)):
        assert plain_bytes(word.encode()) == bytes_
        assert plain_bytes(f" {word[:16]}\n{word[16:]}\n".encode()) == bytes_
        assert plain_bytes(word[:31].encode()) == word[:31].encode()
    assert plain_bytes(b"0X" + b"ab" * 16) == plain_bytes(b"0x" + b"ab" * 16) == b"\xab" * 16


@pytest.mark.parametrize("text", ["ab" * 500_000, "a\n" * 500_000])
def test_encoded_bytes_take_a_few_times_their_length(text: str) -> None:
    data, meant = text.encode(), bytes.fromhex("".join(text.split()))
    tracemalloc.start()
    try:
        assert plain_bytes(data) == meant
        assert tracemalloc.get_traced_memory()[1] < 6 * len(data)
        tracemalloc.reset_peak()
        assert not list(embedded(data, (b"LOOKEDFOR",)))
        assert tracemalloc.get_traced_memory()[1] < 8 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", ["{}", "[]", "0"])
def test_json_of_very_many_values_is_no_log(value: str) -> None:
    assert "This is text, not" in refused(lambda: parse_log(f"[{','.join([value] * 500_001)}]".encode()))


def test_a_document_is_searched_to_its_fifth_level_nearest_first() -> None:
    inner: dict[str, Any] = {"Quote": "deep"}
    for level in range(5):
        assert list(values_of(inner, {"quote"})) == ["deep"], level
        inner = {"x": inner}
    assert list(values_of(inner, {"quote"})) == []
    assert list(values_of({"a": {"quote": 1}, "quote": 2}, {"quote"})) == [2, 1]


START = b"\x04\0\x02\0\x81\0\0\0"
PIECE = START + bytes(range(56))


def found(data: bytes) -> list[bytes]:
    return list(embedded(data, (START,)))


def test_the_smallest_piece_is_found_in_each_wrapping_and_one_byte_less_is_not() -> None:
    for size, there in ((64, True), (63, False)):
        piece = PIECE[:size]
        wrapped = json.dumps({"quote": list(piece)}).encode()
        spelled = b"here it is: " + piece.hex().encode() + b" !" + b" " * 128
        assert found(wrapped) == found(spelled) == ([piece] if there else [])
    assert found(PIECE) == [PIECE]


def test_what_is_not_a_list_of_bytes_is_none() -> None:
    for wrong in (256, -129, True, "1", None, 1.0):
        assert found(json.dumps([*PIECE, wrong]).encode()) == []
    # Java's bytes have a sign.
    for value, byte in ((255, b"\xff"), (-1, b"\xff"), (-128, b"\x80")):
        assert found(json.dumps([*PIECE, value]).encode()) == [PIECE + byte]


def test_wrappings_are_taken_off_six_times() -> None:
    data = PIECE
    for depth in range(8):
        assert (found(data) == [PIECE]) is (depth <= 6), depth
        data = data.hex().encode()
