"""What boots, from a request and the content of its files; nothing is started."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import MissingComponent, NotAKernel, UsageError
from labkit.host import Facts, HostReport, diagnose
from labkit.host.model import Fact, KernelLog, LogLine, LogState
from labkit.measure import silence_stub
from labkit.platforms import TdvmPlatform, choose_platform
from labkit.platforms.hardware import HardwarePlatform, td_spec
from labkit.platforms.request import BootPlan, BootRequest
from labkit.settings import Settings, Trust
from labkit.virtio import Disk
from labkit.virtio.devices import Entropy
from labkit.vm.qemu import Sockets, qemu_arguments, tdx_arguments
from labkit.vm.spec import Accel, Port

from ..asterinas.standin import SIGN, speaker

Sizes = tuple[str, int]


@pytest.fixture
def platform(vm_settings: Settings) -> TdvmPlatform:
    return choose_platform("emulated", vm_settings)


def planned(platform: TdvmPlatform, request: BootRequest) -> BootPlan:
    return platform.plan(request, platform.toolchain())


def arguments(plan: BootPlan) -> str:
    wires = Sockets(3, 4, 5, tpm=6 if plan.spec.tpm else None)
    return shlex.join(qemu_arguments(plan.spec, Accel.TCG, wires, Path("/vars")))


@pytest.fixture
def elf(tmp_path: Path) -> Path:
    path = tmp_path / "aster.qemu_elf"
    path.write_bytes(speaker(SIGN, None, machine=3))
    return path


@pytest.fixture
def bzimage(platform: TdvmPlatform, tmp_path: Path) -> Path:
    path = tmp_path / "aster-bzimage"
    path.write_bytes(platform.toolchain().kernel.read_bytes() + SIGN)
    return path


def test_an_asterinas_elf_gets_the_observed_machine(platform: TdvmPlatform, elf: Path) -> None:
    plan = planned(platform, BootRequest(kernel=elf, initrd=elf))
    line = arguments(plan)
    for words in (
        "-machine q35,kernel-irqchip=split -accel tcg -cpu Icelake-Server,+x2apic",
        "-m 4096 -smp 1",
        "-serial chardev:log -device virtio-serial-pci,disable-legacy=on,disable-modern=off,",
        "-device virtconsole,chardev=shell",
        "-device isa-debug-exit,iobase=0xf4,iosize=0x04",
        f"-kernel {elf} -initrd {elf} -append",
        "console=hvc0 -- sh -l'",
    ):
        assert words in line
    assert "pflash" not in line
    assert "no firmware measured anything" in (plan.unmeasured or "")
    assert "OSTD initialized" in plan.recognized
    assert plan.spec.guest.name == "asterinas"


def test_an_elf_that_says_x86_64_is_handed_over_as_qemu_takes_it(
    platform: TdvmPlatform, tmp_path: Path
) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(speaker(SIGN, None, machine=62))
    kernel = planned(platform, BootRequest(kernel=path)).spec.kernel
    assert kernel is not None
    assert kernel != path
    assert kernel.read_bytes() == speaker(SIGN, None, machine=3)


def test_a_bzimage_goes_through_the_firmware_and_its_appended_word_harms_nobody(
    platform: TdvmPlatform, bzimage: Path
) -> None:
    plan = planned(platform, BootRequest(kernel=bzimage, initrd=bzimage, append="x=1"))
    line = arguments(plan)
    assert "if=pflash,unit=0" in line
    assert "ostd.log_level=error x=1 console=hvc0 -- sh -l -s'" in line
    assert "tpm-crb" in line
    assert plan.unmeasured is None
    assert plan.firmware is not None


def test_a_linux_whose_stub_has_nothing_measured_says_so(platform: TdvmPlatform, tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    silent.write_bytes(silence_stub(platform.toolchain().kernel.read_bytes()))
    plan = planned(platform, BootRequest(kernel=silent))
    assert (plan.left_out or "").startswith("Not measured: the initramfs and the command line")
    assert plan.spec.guest.handover, "its log is read before the kernel takes that memory"
    assert planned(platform, BootRequest(kernel=silent, loader=True)).left_out is None
    assert platform.predict(BootRequest(kernel=silent)).rtmr(2) == bytes(48)
    assert planned(platform, BootRequest()).left_out is None


def test_the_memory_follows_the_image_and_too_little_is_refused(
    platform: TdvmPlatform, elf: Path, bzimage: Path
) -> None:
    assert planned(platform, BootRequest(kernel=elf, memory=5000)).spec.memory == 5000
    with pytest.raises(UsageError, match="ACPI tables") as caught:
        planned(platform, BootRequest(kernel=elf, memory=2048))
    assert "4096" in caught.value.remedy
    assert planned(platform, BootRequest(kernel=bzimage, memory=1024)).spec.memory == 1024
    with pytest.raises(UsageError, match="at least 1024 MiB"):
        planned(platform, BootRequest(kernel=bzimage, memory=512))
    assert planned(platform, BootRequest(kernel=bzimage)).spec.memory >= 1024


@pytest.mark.parametrize("memory", [-5, 0, 1])
def test_too_little_memory_is_refused_for_every_kind_of_image(
    platform: TdvmPlatform, elf: Path, bzimage: Path, tmp_path: Path, memory: int
) -> None:
    iso = tmp_path / "any.iso"
    iso.write_bytes(bytes(0x8001) + b"CD001" + bytes(0x1000))
    for request in (
        BootRequest(),
        BootRequest(kernel=elf),
        BootRequest(kernel=bzimage),
        BootRequest(iso=iso),
    ):
        with pytest.raises(UsageError, match=f"^{memory} MiB of memory is too little"):
            planned(platform, replace(request, memory=memory))


@pytest.mark.parametrize("smp", [-1, 0, 65])
def test_an_impossible_number_of_cpus_is_refused(platform: TdvmPlatform, smp: int) -> None:
    with pytest.raises(UsageError, match=f"^{smp} is not a number of virtual CPUs"):
        planned(platform, BootRequest(smp=smp))


def test_the_number_of_cpus_reaches_qemu(platform: TdvmPlatform) -> None:
    spec = planned(platform, BootRequest(smp=3)).spec
    arguments = qemu_arguments(spec, Accel.TCG, Sockets(0, 0, 0, tpm=0), Path("vars.fd"))
    assert arguments[arguments.index("-smp") + 1] == "3"


def test_a_kernel_without_initrd_gets_one_of_labkits(platform: TdvmPlatform, elf: Path) -> None:
    initrd = planned(platform, BootRequest(kernel=elf)).spec.initrd
    assert initrd is not None
    assert initrd.read_bytes()[:2] == b"\x1f\x8b"


def test_a_path_that_qemu_would_split_is_copied(platform: TdvmPlatform, elf: Path) -> None:
    odd = elf.with_name("my initrd, the second")
    odd.write_bytes(b"x")
    initrd = planned(platform, BootRequest(kernel=elf, initrd=odd)).spec.initrd
    assert initrd is not None
    assert not set(str(initrd)) & set(" ,")
    assert initrd.read_bytes() == b"x"


def test_a_profile_overrides_what_the_content_says(platform: TdvmPlatform) -> None:
    kernel = platform.toolchain().kernel
    assert planned(platform, BootRequest(kernel=kernel)).spec.guest.name == "linux-busybox"
    plan = planned(platform, BootRequest(kernel=kernel, profile="0.9.0"))
    assert plan.spec.guest.name == "asterinas 0.9.0"
    assert plan.spec.guest.power_off == "exit"
    assert plan.spec.board.shell is Port.HVC0
    assert "as --profile says" in plan.recognized
    with pytest.raises(UsageError, match="no Asterinas profile"):
        planned(platform, BootRequest(kernel=kernel, profile="0.9"))
    with pytest.raises(UsageError, match="needs an image"):
        planned(platform, BootRequest(profile="0.18.1"))


def test_the_wrong_option_is_named(platform: TdvmPlatform, elf: Path) -> None:
    with pytest.raises(NotAKernel, match="multiboot ELF") as caught:
        planned(platform, BootRequest(iso=elf))
    assert "--kernel" in caught.value.remedy
    with pytest.raises(UsageError, match="has its own kernel"):
        planned(platform, BootRequest(iso=elf, kernel=elf))


def test_a_boot_that_is_not_measured_cannot_be_predicted(platform: TdvmPlatform, elf: Path) -> None:
    with pytest.raises(UsageError, match="no firmware measured anything"):
        platform.predict(BootRequest(kernel=elf))


def ready(release: str = "6.17.0-8-generic") -> HostReport:
    facts: dict[str, str | bool | int | tuple[str, ...]] = {
        "kernel.release": release,
        "kvm.param.tdx": "Y",
        "kvm.intel_module": True,
        "kvm.device": True,
        "kvm.vm_types": 1 << 5 | 1 if release.startswith("6.17") else 1,
        "qemu.tdx": True,
        "qemu.version": "10.1.0",
        "tdvf": ("/usr/share/ovmf/OVMF.fd", "/usr/share/ovmf/OVMF.inteltdx.fd"),
        "cgroup.tdx_capacity": 31,
        "cgroup.tdx_current": 0,
    }
    line = LogLine("virt/tdx: module initialized", 1.0)
    log = KernelLog(LogState.READ, "test", (line,), first_seconds=0.0, from_boot=True)
    return diagnose(Facts({name: Fact("test", value) for name, value in facts.items()}, log, emulated=True))


def test_hardware_is_for_upstream_hosts_that_are_ready(vm_settings: Settings) -> None:
    report = ready()
    assert report.verdict == "READY", report
    platform = choose_platform("hardware", vm_settings, report)
    assert isinstance(platform, HardwarePlatform)
    assert platform.trust is Trust.HARDWARE
    assert choose_platform("auto", vm_settings, report).name == "emulated"
    with pytest.raises(MissingComponent, match="cannot launch a TD here"):
        choose_platform("hardware", vm_settings, diagnose(Facts()))
    with pytest.raises(UsageError):
        platform.predict(BootRequest())


def test_a_td_is_the_same_guest_started_by_its_firmware(
    platform: TdvmPlatform, elf: Path, bzimage: Path
) -> None:
    toolchain = platform.toolchain()
    spec = td_spec(planned(platform, BootRequest(kernel=bzimage)).spec, toolchain.firmware)
    words = tdx_arguments(spec, Sockets(3, 4, 5))
    assert words == qemu_arguments(spec, Accel.KVM, Sockets(3, 4, 5), Path("/vars"))
    line = shlex.join(words)
    assert "-machine q35,kernel-irqchip=split,confidential-guest-support=tdx0" in line
    assert "-accel kvm -cpu host,-kvm-steal-time,pmu=off" in line
    assert f"-bios {toolchain.firmware.image}" in line
    assert json.loads(words[words.index("-object") + 1]) == {
        "qom-type": "tdx-guest",
        "id": "tdx0",
        "sept-ve-disable": True,
        "quote-generation-socket": {"type": "vsock", "cid": "1", "port": "4050"},
    }
    assert "pflash" not in line
    with pytest.raises(UsageError, match="begins in its firmware"):
        td_spec(planned(platform, BootRequest(kernel=elf)).spec, toolchain.firmware)


def test_devices_bring_their_drivers_and_the_kernels_own(platform: TdvmPlatform) -> None:
    toolchain = platform.toolchain()
    if toolchain.modules is None:
        pytest.skip("the package of the guest's kernel has no modules")
    without = planned(platform, BootRequest()).spec
    spec = planned(platform, BootRequest(devices=(Entropy(), Disk()))).spec
    assert without.initrd is not None
    assert spec.initrd is not None
    drivers = spec.initrd.read_bytes().removeprefix(without.initrd.read_bytes())
    release = toolchain.modules.name.encode()
    builtin = (toolchain.modules / "modules.builtin").read_bytes().replace(b"-", b"_")
    for name in (b"virtio_pci.ko", b"virtio_rng.ko", b"virtio_blk.ko"):
        assert b"lib/modules/" + release + b"/" + name in drivers or b"/" + name in builtin
    assert b"lib/modules/" + release + b"/modules.dep" in drivers
    wires = Sockets(3, 4, 5, tpm=6, memory=7, devices=(8, 9))
    line = shlex.join(qemu_arguments(spec, Accel.TCG, wires, Path("/vars")))
    assert "-chardev socket,id=device0,fd=8 -device vhost-user-rng-pci,vectors=2,chardev=device0" in line
    assert "socket,id=device1,fd=9 -device vhost-user-blk-pci" in line
    assert "share=on" in line


def test_devices_are_refused_where_they_cannot_be(platform: TdvmPlatform, tmp_path: Path) -> None:
    alone = tmp_path / "vmlinuz-alone"
    alone.write_bytes(platform.toolchain().kernel.read_bytes())
    with pytest.raises(MissingComponent, match="modules of vmlinuz-alone are not beside it"):
        planned(platform, BootRequest(kernel=alone, devices=(Entropy(),)))
    spec = planned(platform, BootRequest()).spec
    with pytest.raises(UsageError, match="a TD keeps to itself"):
        td_spec(replace(spec, devices=(Entropy(),)), platform.toolchain().firmware)
    with pytest.raises(UsageError, match="too many"):
        planned(platform, BootRequest(devices=(Entropy(),) * 17))
