"""Launch and measurement: MRTD by calls, and the whole life of a TD."""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import UsageError
from labkit.tdx import Integrity, Platform, PlatformConfig, Result, Section, TdParams, Vmm
from labkit.tdx.params import BUILD_DATE, MAX_RESERVED, Tdmr
from labkit.tdx.vmm import Order, default_tdmr
from tests.tdx.worlds import launched, physical, vmm

OVMF = Path("/usr/share/ovmf/OVMF.fd")
KNOWN = {
    Order.SINGLE_PASS: (
        "4c7206f0f483c524f12c366c711e9049030a8d47c471ee5aa9c4999a08de4057fb887fed0744d5631a212967fb231c47"
    ),
    Order.TWO_PASS: (
        "acccbcc870a381adab0d3919d90a7f268ac3b0364771f202ed4bb4e892d045b33db3b32e6924cba830a724eed443f7e1"
    ),
}


def expected_mrtd(sections: list[Section], order: Order) -> str:
    """MRTD from the sections alone, without any part of the model."""
    digest = hashlib.sha384()
    for section in sections:
        image = section.data.ljust(section.memory_size, b"\0")
        delayed = []
        for offset in range(0, section.memory_size, 4096):
            gpa = section.gpa + offset
            digest.update(b"MEM.PAGE.ADD".ljust(16, b"\0") + struct.pack("<Q", gpa) + bytes(104))
            chunks = [
                b"MR.EXTEND".ljust(16, b"\0")
                + struct.pack("<Q", gpa + at)
                + bytes(104)
                + image[offset + at : offset + at + 256]
                for at in range(0, 4096, 256)
            ]
            if section.attributes & 1:
                if order is Order.SINGLE_PASS:
                    digest.update(b"".join(chunks))
                else:
                    delayed += chunks
        digest.update(b"".join(delayed))
    return digest.hexdigest()


def _sections(image: bytes) -> list[Section]:
    """The TDVF sections of an OVMF image, found through its descriptor."""
    marker = image.rfind(uuid.UUID("e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae").bytes_le)
    count = struct.unpack_from("<I", image, marker + 28)[0]
    rows = [struct.unpack_from("<IIQQII", image, marker + 32 + 32 * i) for i in range(count)]
    return [Section(gpa, size, image[data : data + raw], bits) for data, raw, gpa, size, _, bits in rows]


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.skipif(not OVMF.is_file(), reason="Debian's OVMF.fd is not there")
def test_mrtd_of_a_real_tdvf(order: Order) -> None:
    image = OVMF.read_bytes()
    sections = _sections(image)
    host = vmm()
    mrtd = host.mrtd(host.launch(sections, order)).hex()
    assert mrtd == expected_mrtd(sections, order)
    if hashlib.sha256(image).hexdigest().startswith("7b456907dd0786d4"):
        assert mrtd == KNOWN[order]


@pytest.mark.parametrize("order", list(Order))
def test_mrtd_of_made_up_sections(order: Order) -> None:
    sections = [
        Section(0xFFFF0000, 0x10000, bytes(range(256)) * 200, 1),
        Section(0x800000, 0x3000),
        Section(0x900000, 0x1000, b"added, not measured"),
        Section(0xA00000, 0x2000, b"short", 1),
    ]
    host = vmm()
    assert host.mrtd(host.launch(sections, order)).hex() == expected_mrtd(sections, order)


def test_mrtd_depends_on_nothing_but_the_measured_sequence() -> None:
    sections = [Section(0x1000, 0x2000, b"code", 1), Section(0x8000, 0x1000)]
    values = set()
    for params, seed, vcpus in (
        (TdParams(), 0, 1),
        (TdParams(attributes=1, max_vcpus=2, mrowner=b"o" * 48), 9, 2),
    ):
        host = vmm(PlatformConfig(seed=seed, packages=2))
        host.create()
        values.add(host.mrtd(host.launch(sections, params=params, vcpus=vcpus)))
    changed = [Section(0x1000, 0x2000, b"c0de", 1), Section(0x8000, 0x1000)]
    assert len(values) == 1
    assert host.mrtd(host.launch(changed)) not in values
    assert host.mrtd(host.launch(sections[::-1])) not in values


def test_pages_for_later_are_not_added() -> None:
    host = vmm()
    td = host.launch([Section(0x1000, 0x1000, b"code", 1), Section(0x100000, 0x100000, b"", 2)])
    assert host.platform.seamcall("TDH.MEM.SEPT.RD", rcx=0x100000, rdx=td.tdr)["rdx"] >> 8 == 0


@pytest.mark.parametrize(
    "section", [Section(0x1001, 0x1000), Section(0, 0x800), Section(0, 0x1000, bytes(0x1001))]
)
def test_sections_that_make_no_sense(section: Section) -> None:
    host = vmm()
    with pytest.raises(UsageError):
        host.launch([section])


@pytest.mark.parametrize("packages", [1, 2, 3])
def test_a_whole_life_leaves_nothing_behind(packages: int) -> None:
    host = vmm(PlatformConfig(packages=packages))
    for _ in range(2):
        td = host.launch([Section(0x1000, 0x4000, b"code", 1)], vcpus=2)
        host.aug(td, 0x9000)
        host.platform.lps[0].interrupt = True
        host.teardown(td)
        assert not host.platform.tdrs
        assert not host.platform.vps
        assert all(entry.type == 0 for size in host.platform.pamt.sizes for entry in size.values())
        assert not host.platform.locks.holders
        assert all(k.state == (3 if key == 32 else 0) for key, k in host.platform.kot.items())


@pytest.mark.parametrize("integrity", list(Integrity))
def test_a_reused_keyid_does_not_open_old_memory(integrity: Integrity) -> None:
    host, td = launched(config=PlatformConfig(integrity=integrity))
    page = physical(host, td, 0x1000)
    old = host.platform.tdrs[td.tdr >> 12].key
    host.teardown(td)
    host.free.clear()
    second = host.create(hkid=td.hkid)
    new = host.platform.tdrs[second.tdr >> 12].key
    assert old is not None
    assert new is not None
    assert old.material != new.material
    read = host.platform.memory.read(page, 64, new)
    assert read.poison is (integrity is Integrity.CRYPTOGRAPHIC)
    assert b"code" not in read.data


def test_two_tds_at_once() -> None:
    host, first = launched()
    second = host.launch([Section(0x1000, 0x1000, b"other", 1)])
    assert first.hkid != second.hkid
    for td, text in ((first, b"code"), (second, b"other")):
        assert host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0]).running
        assert host.platform.load(0x1000, len(text)) == text
        host.platform.interrupt()


def test_start_reports_the_machine() -> None:
    host = vmm()
    info, cmrs = host.host_page(), host.host_page()
    result = host.call("TDH.SYS.INFO", rcx=info, rdx=1024, r8=cmrs, r9=32)
    assert (result["rdx"], result["r9"]) == (1024, 32)
    assert struct.unpack("<4Q", host.platform.read(cmrs, 32)) == (0x100000, 0x7DF00000, 4 << 30, 4 << 30)
    assert struct.unpack("<H", host.platform.read(info + 32, 2)) == (64,)
    assert host.call("TDH.SYS.RD", rdx=0x9100000100000008)["r8"] == 64


def test_page_metadata_follows_the_page() -> None:
    host, td = launched()
    read = host.platform.seamcall
    page = physical(host, td, 0x1000)
    assert read("TDH.PHYMEM.PAGE.RDMD", rcx=page).regs == {"rcx": 3, "rdx": td.tdr, "r8": 0, "r9": 0}
    host.call("TDH.MEM.RANGE.BLOCK", rcx=0x1000, rdx=td.tdr)
    assert read("TDH.PHYMEM.PAGE.RDMD", rcx=page)["r9"] == 1
    assert read("TDH.PHYMEM.PAGE.WBINVD", rcx=page).status == 0xC000030000000001
    host.call("TDH.MEM.TRACK", rcx=td.tdr)
    host.call("TDH.MEM.PAGE.REMOVE", rcx=0x1000, rdx=td.tdr)
    assert read("TDH.PHYMEM.PAGE.RDMD", rcx=page)["rcx"] == 0
    assert read("TDH.PHYMEM.PAGE.WBINVD", rcx=page | 9 << host.platform.hkid_shift).ok


def test_a_range_of_memory_is_512_bytes_and_comes_back_whole() -> None:
    hole = (0x200000, 0x1000)
    for reserved in ((), (hole,), ((0, 0), hole), tuple((n << 20, 0x1000) for n in range(MAX_RESERVED))):
        tdmr = replace(default_tdmr(), reserved=reserved)
        assert len(tdmr.pack()) == 512
        assert Tdmr.unpack(tdmr.pack()) == tdmr


def test_reserved_areas_are_not_for_tds() -> None:
    platform = Platform()
    host = Vmm(platform)
    tdmr = replace(default_tdmr(), reserved=((0x1000, 0x2000), (0x200000, 0x1000)))
    host.call("TDH.SYS.INIT")
    for lp in platform.lps:
        host.call("TDH.SYS.LP.INIT", lp.index)
    table, entry = host.host_page(), host.host_page()
    platform.write(entry, tdmr.pack())
    platform.write(table, struct.pack("<Q", entry))
    host.call("TDH.SYS.CONFIG", rcx=table, rdx=1, r8=32)
    host.call("TDH.SYS.KEY.CONFIG")
    while host.call("TDH.SYS.TDMR.INIT", rcx=tdmr.base)["rdx"] < tdmr.end:
        pass
    assert platform.seamcall("TDH.PHYMEM.PAGE.RDMD", rcx=tdmr.base + 0x1000)["rcx"] == 1
    assert platform.seamcall("TDH.MNG.CREATE", rcx=tdmr.base + 0x2000, rdx=40).status == 0xC000030000000001
    assert platform.seamcall("TDH.MNG.CREATE", rcx=tdmr.base + 0x3000, rdx=40).ok
    assert not platform.pamt.free_2m((tdmr.base >> 12) + 512)


def test_the_modules_fields_are_read_in_a_row_by_the_host_and_fewer_by_a_guest() -> None:
    host, td = launched()

    def walk(leaf: str, read: Callable[..., Result], identifier: int, count: int) -> list[int]:
        values = []
        for _ in range(count):
            result = read(leaf, rdx=identifier)
            assert result.ok
            values.append(result["r8"])
            identifier = result["rdx"]
        return values

    config = host.platform.config
    packages = [config.cpu_signature if number < config.packages else 0 for number in range(8)]
    version = [0x8086, BUILD_DATE, 0, 5, 1]
    first = walk("TDH.SYS.RD", host.platform.seamcall, 0x0000000200000000, 14)
    assert first == [config.packages, *packages, *version]
    regions = [value for region in config.cmrs for value in region]
    assert walk("TDH.SYS.RD", host.platform.seamcall, 0x9000000100000000, 1) == [len(config.cmrs)]
    bases = walk("TDH.SYS.RD", host.platform.seamcall, 0x9000000300000080, 32)
    sizes = walk("TDH.SYS.RD", host.platform.seamcall, 0x9000000300000100, 32)
    assert bases == [*regions[::2], *[0] * (32 - len(config.cmrs))]
    assert sizes == [*regions[1::2], *[0] * (32 - len(config.cmrs))]
    host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0])
    assert walk("TDG.SYS.RD", host.platform.tdcall, 0x0800000200000000, 3) == [0x8086, 5, 1]
    refused = host.platform.tdcall("TDG.SYS.RD", rdx=0x8800000200000001)
    assert refused.name == "METADATA_FIELD_NOT_READABLE"
