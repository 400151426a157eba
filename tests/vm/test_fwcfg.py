from __future__ import annotations

import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import VmError
from labkit.guest.initramfs import COMMAND_LINE
from labkit.guest.types import LINUX
from labkit.toolchain.toolchain import Toolchain
from labkit.vm import BootSpec, Hypervisor
from labkit.vm.fwcfg import fw_cfg_files

NAMES = ("etc/acpi/rsdp", "etc/acpi/tables", "etc/tpm/log")


@pytest.fixture(scope="module")
def spec(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> BootSpec:
    initrd = tmp_path_factory.mktemp("fwcfg") / "initrd"
    initrd.write_bytes(b"never started")
    return BootSpec(toolchain.firmware, toolchain.kernel, initrd, COMMAND_LINE, LINUX, memory=256)


def test_a_machine_that_never_runs_tells_its_acpi_tables(spec: BootSpec, hypervisor: Hypervisor) -> None:
    rsdp, tables, log = fw_cfg_files(spec, hypervisor, NAMES)
    assert rsdp.startswith(b"RSD PTR ")
    assert b"DSDT" in tables
    # The table that describes PCI configuration space is there only once the firmware has placed it.
    at = tables.index(b"MCFG")
    assert struct.unpack_from("<Q", tables, at + 44) == (0xE000_0000,)
    assert not any(log)
    assert fw_cfg_files(spec, hypervisor, NAMES) == (rsdp, tables, log)
    more = fw_cfg_files(replace(spec, memory=320), hypervisor, NAMES)
    assert [one == other for one, other in zip((rsdp, tables, log), more, strict=True)] == [True, False, True]


def test_a_file_that_qemu_does_not_have_is_named_and_nothing_is_left_behind(
    spec: BootSpec, hypervisor: Hypervisor
) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(VmError, match="no etc/none"):
        fw_cfg_files(spec, hypervisor, ("etc/acpi/rsdp", "etc/none"))
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert not list(Path(tempfile.gettempdir()).glob("labkit-fwcfg-*"))
