"""Memory protection: who reads what, with which integrity, and what the bus shows."""

from __future__ import annotations

import pytest

from labkit.errors import UsageError
from labkit.tdx import Integrity, Platform, PlatformConfig
from labkit.tdx.objects import Pamt
from labkit.tdx.phys import Key, PhysicalMemory, Read
from labkit.tdx.states import PageType
from labkit.tdx.status import Operand, Status
from tests.tdx.invariants import check
from tests.tdx.worlds import EMPTY_BLOCKED, LARGE_BLOCKED, LARGE_FREE, NOT_THERE, SPLIT_BLOCKED, World, vmm

TME = Key(0, bytes(range(32)), private=False)
OTHER = Key(1, bytes(range(1, 33)), private=False)
TD = Key(33, bytes(range(2, 34)), private=True)
TD2 = Key(34, bytes(range(3, 35)), private=True)
LINE = bytes(range(64))
AT = 0x140


def _memory(integrity: Integrity = Integrity.CRYPTOGRAPHIC) -> PhysicalMemory:
    return PhysicalMemory(TME, b"mac key", integrity)


@pytest.mark.parametrize("integrity", list(Integrity))
def test_private_reader_of_its_own_line(integrity: Integrity) -> None:
    memory = _memory(integrity)
    memory.write(AT, LINE, TD)
    read = memory.read(AT, 64, TD)
    assert (read.data, read.poison) == (LINE, False)
    assert memory.owner(AT) == 1


@pytest.mark.parametrize("integrity", list(Integrity))
def test_private_reader_of_a_shared_line_gets_poison(integrity: Integrity) -> None:
    memory = _memory(integrity)
    memory.write(AT, LINE, TME)
    assert memory.read(AT, 64, TD) == Read(bytes(64), True, "the owner bit does not fit the reader")
    assert memory.read(AT, 64, TME).poison


@pytest.mark.parametrize("integrity", list(Integrity))
def test_shared_reader_of_a_private_line_gets_zeros_and_no_poison(integrity: Integrity) -> None:
    memory = _memory(integrity)
    memory.write(AT, LINE, TD)
    assert memory.read(AT, 64, TME).data == bytes(64)
    assert not memory.read(AT, 64, TME).poison
    assert memory.read(AT, 64, TD).data == LINE


def test_shared_reader_with_integrity_poisons() -> None:
    memory = _memory()
    memory.write(AT, LINE, TD)
    assert memory.read(AT, 64, OTHER, integrity_on=True).poison
    assert memory.read(AT, 64, TD).poison


def test_another_private_key() -> None:
    strict, logical = _memory(), _memory(Integrity.LOGICAL)
    for memory in (strict, logical):
        memory.write(AT, LINE, TD)
    assert strict.read(AT, 64, TD2).poison
    read = logical.read(AT, 64, TD2)
    assert not read.poison
    assert read.data not in (LINE, bytes(64))


def test_another_shared_key_reads_noise() -> None:
    memory = _memory()
    memory.write(AT, LINE, TME)
    assert memory.read(AT, 64, OTHER).data not in (LINE, bytes(64))


def test_host_writes_td_line_and_sees_its_own_data() -> None:
    memory = _memory()
    memory.write(AT, LINE, TD)
    assert not memory.write(AT + 3, b"HOST", TME)
    assert memory.read(AT, 16, TME).data == b"\0\0\0HOST" + bytes(9)
    assert memory.owner(AT) == 0
    assert memory.read(AT, 64, TD).poison


def test_poison_is_sticky_until_a_whole_line_is_stored() -> None:
    memory = _memory()
    memory.write(AT, LINE, TD)
    memory.poison(AT)
    assert memory.write(AT, b"x", TD)
    assert memory.read(AT, 64, TD).poison
    assert not memory.write(AT, LINE, TD)
    assert memory.read(AT, 64, TD).data == LINE


def test_page_writes_and_parts_of_them() -> None:
    memory = _memory()
    memory.write_page(7, bytes(range(256)) * 16, TD)
    memory.write(0x7010, b"abc", TD)
    assert memory.read(0x700E, 8, TD).data == b"\x0e\x0fabc\x13\x14\x15"
    memory.write(0x7000, bytes(64), TME)
    assert memory.read(0x7040, 4, TD).data == bytes([64, 65, 66, 67])
    assert memory.read(0x703F, 2, TD).poison
    memory.clear_page(7, TD2)
    assert memory.read_page(7, TD2).data == bytes(4096)
    assert memory.read(0x6FF0, 0x20, TME).data == bytes(0x20)


def test_the_bus_shows_true_aes_xts() -> None:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    memory = _memory()
    memory.write(AT, LINE, TD)
    seen = memory.bus_read(AT)
    cipher = Cipher(algorithms.AES(TD.material), modes.XTS(AT.to_bytes(16, "little")))
    assert seen.ciphertext == cipher.encryptor().update(LINE)
    assert seen.owner == 1
    assert seen.mac is not None
    assert seen.mac < 1 << 28
    assert _memory(Integrity.LOGICAL).bus_read(AT).mac is None
    assert seen.to_dict()["ciphertext"] == seen.ciphertext.hex()


def test_replay_at_the_same_address_is_not_noticed_elsewhere_it_is() -> None:
    memory = _memory()
    memory.write(AT, LINE, TD)
    old = memory.bus_read(AT)
    memory.write(AT, bytes(64), TD)
    memory.bus_write(old)
    assert memory.read(AT, 64, TD).data == LINE
    memory.bus_write(old, AT + 64)
    assert memory.read(AT + 64, 64, TD).poison


def test_flipped_ciphertext_owner_or_mac_is_noticed() -> None:
    from dataclasses import replace

    for change in ({"ciphertext": b"\1" * 64}, {"owner": 0}, {"mac": 1}, {"poison": True}):
        memory = _memory()
        memory.write(AT, LINE, TD)
        memory.bus_write(replace(memory.bus_read(AT), **change))
        assert memory.read(AT, 64, TD).poison


def test_host_addresses() -> None:
    platform = Platform()
    shift = platform.hkid_shift
    platform.write(0x1000, b"plain")
    assert platform.read(0x1000, 5) == b"plain"
    assert platform.read(0x1000 | 5 << shift, 5) != b"plain"
    with pytest.raises(UsageError, match="page fault"):
        platform.read(0x1000 | 40 << shift, 5)
    with pytest.raises(UsageError, match="SEAMRR"):
        platform.read(platform.config.seamrr[0], 5)
    with pytest.raises(UsageError):
        platform.read(1 << 52, 5)


def test_seamrr_is_closed_from_its_first_byte_to_its_last_and_no_further() -> None:
    platform = vmm().platform
    base, size = platform.config.seamrr
    places = ((base - 1024, True), (base, False), (base + size - 1024, False), (base + size, True))
    for address, mine in places:
        answer = platform.seamcall("TDH.SYS.INFO", rcx=address, rdx=1024, r8=0x4000, r9=32)
        assert answer.ok is mine, hex(address)
        assert mine or answer.status == Status.OPERAND_INVALID | Operand.RCX
        if mine:
            platform.write(address + 1023, b"x")
        else:
            with pytest.raises(UsageError, match="SEAMRR"):
                platform.write(address + 1023, b"x")


def test_leaves_that_know_pages_of_4_kib_alone_refuse_larger_ones() -> None:
    world = World()
    answer = world.platform.seamcall("TDH.MEM.PAGE.ADD", rcx=LARGE_FREE | 1, rdx=world.tdr, r8=world.page())
    assert answer.status == Status.OPERAND_INVALID | Operand.RCX
    page = world.vmm.large_page()
    world.finalize()
    answer = world.platform.seamcall("TDH.MEM.PAGE.RELOCATE", rcx=LARGE_BLOCKED | 1, rdx=world.tdr, r8=page)
    assert answer.status == Status.OPERAND_INVALID | Operand.RCX


TABLES = [("TDH.MEM.SEPT.REMOVE", EMPTY_BLOCKED), ("TDH.MEM.PAGE.PROMOTE", SPLIT_BLOCKED)]


@pytest.mark.parametrize(("leaf", "gpa"), TABLES)
def test_a_table_that_is_taken_away_is_counted_and_its_page_is_free(leaf: str, gpa: int) -> None:
    world = World()
    freed = world.ok(leaf, rcx=gpa | 1, rdx=world.tdr)["rcx"]
    check(world.platform)
    assert world.ok("TDH.PHYMEM.PAGE.RDMD", rcx=freed)["rcx"] == 0
    world.ok("TDH.MEM.SEPT.ADD", rcx=NOT_THERE | 1, rdx=world.tdr, r8=freed)
    check(world.platform)


@pytest.mark.parametrize(("leaf", "gpa"), TABLES)
def test_a_table_that_the_host_wrote_over_stops_the_module_that_reads_it(leaf: str, gpa: int) -> None:
    first, world = World(), World()  # made alike: the tables stand at the same places
    table = first.ok(leaf, rcx=gpa | 1, rdx=first.tdr)["rcx"]
    world.platform.write(table, b"mine")
    assert world.platform.seamcall(leaf, rcx=gpa | 1, rdx=world.tdr).name == "SEAMCALL_VMFAIL"
    assert "machine check inside SEAM" in str(world.platform.dead)


def test_partial_write_erratum() -> None:
    for poisons in (False, True):
        platform = Platform(PlatformConfig(partial_write_poisons=poisons))
        platform.write(0x1000, b"part", non_temporal=True)
        assert platform.host_read(0x1000, 4).poison is poisons


def test_keys_are_repeatable_and_differ_by_seed() -> None:
    one, two, three = (Platform(PlatformConfig(seed=seed)).keys[0].material for seed in (1, 1, 2))
    assert one == two != three


def test_a_range_of_2_mib_is_free_once_each_of_its_pages_is() -> None:
    pamt = Pamt()
    for pfn in (512, 513, 1023):
        pamt.claim(pfn, PageType.REG, 1)
    for pfn in (513, 512, 1023):
        assert not pamt.free_2m(512)
        assert pamt.free_2m(0)
        assert pamt.free_2m(1024)
        pamt.release(pfn)
    assert pamt.free_2m(512)


def test_a_range_that_was_split_is_free_only_after_its_last_page_and_a_merged_one_at_once() -> None:
    pamt = Pamt()
    pamt.claim(512, PageType.REG, 1, level=1)
    pamt.split(512, 1)
    assert [pamt.find(pfn)[1] for pfn in (512, 1023)] == [0, 0]
    assert (pamt.type_of(512), pamt.type_of(1023), pamt.type_of(1024)) == (
        PageType.REG,
        PageType.REG,
        PageType.NDA,
    )
    for pfn in range(512, 1023):
        pamt.release(pfn)
    assert not pamt.free_2m(512)
    for pfn in range(512, 1023):
        pamt.claim(pfn, PageType.REG, 1)
    pamt.merge(512, 1)
    entry, level = pamt.find(700)
    assert entry is not None
    assert (entry.type, entry.owner, level) == (PageType.REG, 1, 1)
    pamt.release(512, 1)
    assert pamt.free_2m(512)
