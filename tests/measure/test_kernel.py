from __future__ import annotations

import contextlib
import hashlib
import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import NotAKernel
from labkit.measure import silence_stub
from labkit.measure.kernel_image import authenticode, patch_header, stub_measures
from tests.measure.kernels import HEADERS, OPTIONAL, PE, SIGNATURE, TABLE, kernel

MIB = 1 << 20


def test_authenticode_leaves_out_checksum_signature_and_its_entry() -> None:
    image = kernel()
    kept = (
        image[: OPTIONAL + 64]
        + image[OPTIONAL + 68 : OPTIONAL + 144]
        + image[OPTIONAL + 152 : HEADERS]
        + image[HEADERS : -len(SIGNATURE)]
    )
    assert authenticode(image) == hashlib.sha384(kept).digest()


def test_only_signed_bytes_count() -> None:
    image = bytearray(kernel())
    before = authenticode(bytes(image))
    for offset in (OPTIONAL + 64, OPTIONAL + 144, len(image) - 1):
        changed = bytearray(image)
        changed[offset] ^= 1
        if offset != OPTIONAL + 144:
            assert authenticode(bytes(changed)) == before
    for offset in (0x210, HEADERS, HEADERS + 0x7FF, len(image) - len(SIGNATURE) - 1):
        changed = bytearray(image)
        changed[offset] ^= 1
        assert authenticode(bytes(changed)) != before


def test_a_32_bit_image_has_its_tables_16_bytes_earlier() -> None:
    image = bytearray(kernel())
    struct.pack_into("<H", image, OPTIONAL, 0x10B)
    struct.pack_into("<I", image, OPTIONAL + 92, 0)
    kept = image[: OPTIONAL + 64] + image[OPTIONAL + 68 :]
    assert authenticode(bytes(image)) == hashlib.sha384(kept).digest()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a PE image"),
        (b"MZ" + bytes(100), "not a PE image"),
        (kernel()[: PE + 30], "run past"),
        (kernel()[: HEADERS + 100], "outside the file"),
    ],
)
def test_what_is_no_efi_program_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(NotAKernel, match=words):
        authenticode(data)


def test_contradictory_tables_are_refused() -> None:
    image = bytearray(kernel())
    struct.pack_into("<I", image, OPTIONAL + 148, len(image))
    with pytest.raises(NotAKernel, match="signatures"):
        authenticode(bytes(image))
    # Found by fuzzing: an optional header that ends before its table of directories.
    short = bytearray(kernel()[:281])
    struct.pack_into("<HH", short, PE + 4, 0x8664, 0)
    struct.pack_into("<H", short, PE + 20, 128)
    with pytest.raises(NotAKernel, match="run past"):
        authenticode(bytes(short))
    image = bytearray(kernel())
    struct.pack_into("<I", image, TABLE + 20, HEADERS + 0x100)
    with pytest.raises(NotAKernel, match="overlap"):
        authenticode(bytes(image))
    image = bytearray(kernel())
    struct.pack_into("<H", image, OPTIONAL, 0x107)
    with pytest.raises(NotAKernel, match="magic"):
        authenticode(bytes(image))


@given(st.integers(0, HEADERS - 1), st.integers(1, 255))
def test_a_changed_header_is_hashed_or_refused(offset: int, mask: int) -> None:
    image = bytearray(kernel())
    image[offset] ^= mask
    with contextlib.suppress(NotAKernel):
        assert len(authenticode(bytes(image))) == 48
    with contextlib.suppress(NotAKernel):
        patch_header(bytes(image), 512 * MIB, 5, "")


def _address(image: bytes) -> tuple[int, int]:
    address, size = struct.unpack_from("<II", image, 0x218)
    return address, size


@pytest.mark.parametrize(
    ("memory", "above_4g", "address"),
    [
        # (limit - 1 - size) rounded down to a page, limit = low memory - 0x28000
        (512 * MIB, True, 0x1FFD_6000),
        (512 * MIB, False, 0x1FFD_6000),
        (2304 * MIB, True, 0x8FFD_6000),
        (2304 * MIB, False, 0x7FFF_E000),
        (3072 * MIB, True, 0x7FFD_6000),
        (65536 * MIB, True, 0x7FFD_6000),
    ],
)
def test_the_initrd_address_follows_the_memory(memory: int, above_4g: bool, address: int) -> None:
    patched = patch_header(kernel(above_4g=above_4g), memory, 5000, "quiet")
    assert _address(patched) == (address, 5000)


def test_qemu_writes_loader_heap_and_command_line() -> None:
    before, after = kernel(), patch_header(kernel(), 512 * MIB, 0, "quiet")
    changed = {offset for offset in range(len(before)) if before[offset] != after[offset]}
    assert changed <= {0x210, 0x211, 0x224, 0x225, *range(0x228, 0x22C)}
    assert (after[0x210], after[0x211]) == (0xB0, 0x80)
    assert struct.unpack_from("<H", after, 0x224) == (0xFE00,)
    assert struct.unpack_from("<I", after, 0x228) == (0x20000,)


@pytest.mark.parametrize(
    ("words", "mode"),
    [("vga=ask", 0xFFFD), ("quiet vga=0x317 x", 0x317), ("vga=normal", 0xFFFF), ("vga=791", 791)],
)
def test_a_video_mode_is_written_too(words: str, mode: int) -> None:
    assert struct.unpack_from("<H", patch_header(kernel(), 512 * MIB, 0, words), 0x1FA) == (mode,)


def test_an_unknown_video_mode_is_left_alone() -> None:
    assert patch_header(kernel(), 512 * MIB, 0, "vga=best") == patch_header(kernel(), 512 * MIB, 0, "")


def test_what_qemu_would_not_start_is_refused() -> None:
    with pytest.raises(NotAKernel, match="set-up header"):
        patch_header(b"MZ" * 400, 512 * MIB, 0, "")
    with pytest.raises(NotAKernel, match="0x200"):
        patch_header(kernel(protocol=0x200), 512 * MIB, 0, "")
    with pytest.raises(NotAKernel, match="does not fit"):
        patch_header(kernel(), 16 * MIB, 64 * MIB, "")


@pytest.mark.parametrize("entries", [0, 1, 4])
def test_an_image_without_an_entry_for_its_signature_is_hashed_whole(entries: int) -> None:
    """With four data directories or fewer no entry is left out, and nothing is taken off the end."""
    image = bytearray(kernel())
    struct.pack_into("<I", image, OPTIONAL + 108, entries)
    kept = image[: OPTIONAL + 64] + image[OPTIONAL + 68 :]
    assert authenticode(bytes(image)) == hashlib.sha384(kept).digest()
    struct.pack_into("<I", image, OPTIONAL + 108, 5)
    signed = authenticode(bytes(image))
    assert signed != hashlib.sha384(kept).digest()
    # The fifth entry is that of the signatures, which stand at the end: neither is hashed.
    image[OPTIONAL + 144 : OPTIONAL + 152] = bytes(8)
    assert authenticode(bytes(image).removesuffix(SIGNATURE)) == signed


def test_headers_that_end_before_the_entry_of_the_signatures_are_refused() -> None:
    image = bytearray(kernel())
    for size, fits in ((152, True), (151, False)):
        struct.pack_into("<H", image, PE + 20, size)
        if fits:
            assert authenticode(bytes(image)) != authenticode(kernel())
        else:
            with pytest.raises(NotAKernel, match="run past its end"):
                authenticode(bytes(image))


def test_a_silenced_stub_is_the_same_kernel_but_for_what_has_things_measured() -> None:
    asking = uuid.UUID("607f766c-7455-42be-930b-e4d76db2720f").bytes_le + b"LOADED_IMAGE::LoadOptions"
    measures = kernel() + asking
    silent = silence_stub(measures)
    assert stub_measures(measures)
    assert not stub_measures(silent)
    assert (len(silent), silent[: -len(asking)]) == (len(measures), kernel())
    with pytest.raises(NotAKernel, match="does not ask for a TPM"):
        silence_stub(silent)
