from __future__ import annotations

import hashlib

import pytest

from labkit.measure import PageOrder, measure_firmware, mrtd, read_tdvf
from labkit.measure.tdvf import Tdvf, join_firmware
from labkit.settings import Settings
from tests import bring
from tests.measure.firmware import BFV, PERM_MEM, ROWS, image

DEBIAN_12 = bring.folder(Settings.load(), bring.BOOKWORM) / "usr/share"
OVMF = DEBIAN_12 / "ovmf/OVMF.fd"
OVMF_SHA256 = "7b456907dd0786d415999e801a1ac4637b8ed4d7cf5378cfc6edbe5e574dd773"


def slow_mrtd(tdvf: Tdvf, two_pass: bool) -> str:
    """The specification word by word, one SEAMCALL at a time."""
    digest = hashlib.sha384()

    def add(gpa: int) -> None:
        digest.update(b"MEM.PAGE.ADD".ljust(16, b"\0") + gpa.to_bytes(8, "little") + bytes(104))

    def extend(gpa: int, chunk: bytes) -> None:
        digest.update(b"MR.EXTEND".ljust(16, b"\0") + gpa.to_bytes(8, "little") + bytes(104) + chunk)

    for section in tdvf.sections:
        if section.attributes & 2:
            continue
        content = tdvf.data(section).ljust(section.memory_size, b"\0")
        pages = range(0, section.memory_size, 4096)
        if two_pass:
            for page in pages:
                add(section.gpa + page)
        for page in pages:
            if not two_pass:
                add(section.gpa + page)
            if section.attributes & 1:
                for at in range(page, page + 4096, 256):
                    extend(section.gpa + at, content[at : at + 256])
    return digest.hexdigest()


SHAPES = {
    "plain": image(),
    # Memory behind the data, an augmented section that does not count, zeros that are extended.
    "padded": image(
        (*ROWS[1:], (0x1000, 0x3000, 0xFFFFD000, 0x3000, BFV, 1), (0, 0, 0x1000000, 0x5000, PERM_MEM, 1))
    ),
    "augmented": image((*ROWS, (0, 0, 0x1000000, 0x400000, PERM_MEM, 2))),
    # More pages than one batch, and not a multiple of it.
    "large": image(
        ((0x1000, 0x46000, 0xFFFB0000, 0x46000, BFV, 1), *ROWS[1:]),
        size=0x47000,
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", list(PageOrder))
def test_mrtd_is_what_the_specification_says(shape: str, order: PageOrder) -> None:
    tdvf = read_tdvf(SHAPES[shape])
    assert mrtd(tdvf, order).hex() == slow_mrtd(tdvf, order is PageOrder.TWO_PASS)


def test_the_orders_differ_and_the_variables_do_not_count() -> None:
    data = image()
    other = bytes(0x1000) + data[0x1000:]
    assert mrtd(read_tdvf(data), "single-pass") == mrtd(read_tdvf(other), "single-pass")
    assert mrtd(read_tdvf(data), "single-pass") != mrtd(read_tdvf(data), "two-pass")


def test_one_firmware_byte_changes_it() -> None:
    data = bytearray(image())
    before = mrtd(read_tdvf(bytes(data)), "single-pass")
    data[0x1234] ^= 1
    assert mrtd(read_tdvf(bytes(data)), "single-pass") != before


def test_an_unknown_order_is_an_error() -> None:
    with pytest.raises(ValueError, match="three-pass"):
        mrtd(read_tdvf(image()), "three-pass")


def test_the_measurement_has_the_keys_of_the_contract() -> None:
    document = measure_firmware(image(), "x.fd", (PageOrder.TWO_PASS,)).to_dict()
    assert document.keys() == {"firmware", "sections", "mrtd"}
    assert document["firmware"] == {
        "path": "x.fd",
        "sha384": hashlib.sha384(image()).hexdigest(),
        "size": 0x4000,
    }
    assert document["sections"][0] == {
        "type": "BFV",
        "gpa": 0xFFFFD000,
        "memory_size": 0x3000,
        "data_offset": 0x1000,
        "raw_size": 0x3000,
        "attributes": 1,
    }
    assert document["mrtd"].keys() == {"two-pass"}


def test_the_measurement_shows_its_values() -> None:
    result = measure_firmware(image(), "<x>.fd")
    for value in result.mrtd.values():
        assert value.hex() in str(result)
        assert value.hex() in result._repr_html_()
    assert "<x>" not in result._repr_html_()
    assert "into MRTD</th>" in result._repr_html_()
    assert "hex map" in result._repr_html_()


def test_debians_ovmf_has_its_known_mrtd() -> None:
    if not OVMF.is_file() or hashlib.sha256(OVMF.read_bytes()).hexdigest() != OVMF_SHA256:
        pytest.skip("OVMF.fd of ovmf 2022.11-6+deb12u2 is not here: `./lab test` fetches it")
    result = measure_firmware(OVMF.read_bytes())
    assert result.mrtd[PageOrder.SINGLE_PASS].hex() == (
        "4c7206f0f483c524f12c366c711e9049030a8d47c471ee5aa9c4999a08de4057fb887fed0744d5631a212967fb231c47"
    )
    assert result.mrtd[PageOrder.TWO_PASS].hex() == (
        "acccbcc870a381adab0d3919d90a7f268ac3b0364771f202ed4bb4e892d045b33db3b32e6924cba830a724eed443f7e1"
    )
    split = join_firmware(
        (DEBIAN_12 / "OVMF/OVMF_CODE.fd").read_bytes(), (DEBIAN_12 / "OVMF/OVMF_VARS.fd").read_bytes()
    )
    assert split == OVMF.read_bytes()
