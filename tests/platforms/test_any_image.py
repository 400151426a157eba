"""Real guests that are not labkit's own: a stand-in for Asterinas on the ports and with the words of the real
one, and kernels that print the recorded logs. Nothing here is an Asterinas."""

from __future__ import annotations

import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.asterinas.machine import AsterinasGuest
from labkit.asterinas.rootfs import build_asterinas_initramfs
from labkit.errors import BootFailed, CommandTimeout, GuestGone, VmError
from labkit.platforms import BootRequest, Tdvm, TdvmPlatform, choose_platform
from labkit.settings import Settings
from labkit.toolchain.toolchain import Toolchain
from labkit.vm import Hypervisor, VirtualMachine
from labkit.vm.spec import Accel, Accelerator

from ..asterinas import standin

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def platform(vm_settings: Settings) -> TdvmPlatform:
    return choose_platform("emulated", vm_settings)


@pytest.fixture(scope="module")
def elf(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> BootRequest:
    """A request for the stand-in as an ELF with its root file system."""
    if toolchain.modules is None or not shutil.which("script"):
        pytest.skip("the stand-in needs the guest kernel's modules, and script(1) on this machine")
    folder = tmp_path_factory.mktemp("standin")
    return BootRequest(kernel=standin.elf(toolchain, folder), initrd=standin.initramfs(toolchain, folder))


def output(tdvm: Tdvm, command: str) -> str:
    return tdvm.run(command, timeout=30).output


def test_a_kernel_elf_boots_by_its_content_alone_and_pretends_no_measurement(
    platform: TdvmPlatform, elf: BootRequest, tmp_path: Path
) -> None:
    said: list[str] = []
    with platform.boot(replace(elf, cold=True), said.append, keep_in=tmp_path) as tdvm:
        assert [stage.name for stage in tdvm.timeline.stages] == [
            *("kernel", "ostd", "thread", "initramfs", "init", "prompt")
        ]
        assert "init=/init ostd.log_level=error console=hvc0 -- sh -l" in output(tdvm, "cat /proc/cmdline")
        assert output(tdvm, "tty </proc/self/fd/2") == "/dev/pts/0\n"
        exact = "printf 'a\\tb\\303\\244\\001\\n'; echo \"ä\tö\" | od -A n -t x1"
        assert tdvm.run(exact, timeout=30).raw == b"a\tb\xc3\xa4\x01\n c3 a4 09 c3 b6 0a\n"
        long = "x" * 20_000
        assert output(tdvm, f"printf %s {long} | wc -c") == "20000\n"
        assert len(tdvm.run("seq 50000", timeout=180).output.splitlines()) == 50_000
        assert tdvm.run("(exit 7)", timeout=30).exit_status == 7
        document = tdvm.to_dict()
        with pytest.raises(VmError, match="no firmware measured anything"):
            _ = tdvm.measurements
    assert document["mrtd"] is None
    assert document["rtmr"] is None
    assert "no MRTD and no RTMR" in document["unmeasured"]
    assert document["machine"]["firmware"] is None
    assert document["machine"]["memory"] == 4096
    assert tdvm.headline.startswith("[EMULATED] ")
    assert "not measured" in tdvm.headline
    assert any("Asterinas: an ELF" in line for line in said)
    kept = json.loads((tmp_path / "tdvm-01/result.json").read_text())
    assert kept["stages"][-1]["name"] == "prompt"


def test_a_second_boot_resumes_with_job_control_and_says_what_is_old(
    platform: TdvmPlatform, elf: BootRequest
) -> None:
    platform.boot(elf).close()
    said: list[str] = []
    with platform.boot(elf, said.append) as tdvm:
        assert not tdvm.cold
        assert any("randomness and the clock of its snapshot" in line for line in said)
        assert output(tdvm, "echo here") == "here\n"
        console = tdvm.machine.console
        assert console.job_control
        threading.Timer(0.5, console.interrupt).start()
        started = time.monotonic()
        assert tdvm.run("sleep 60", timeout=50).exit_status == 130
        assert time.monotonic() - started < 20
        with pytest.raises(CommandTimeout):
            tdvm.run("while :; do :; done", timeout=0.5)
        assert output(tdvm, "echo on") == "on\n"
        assert tdvm.run("exit 3", timeout=20).exit_status == 3
        with pytest.raises(GuestGone):
            tdvm.run("echo gone", timeout=20)


def test_a_bzimage_boots_through_the_firmware(
    platform: TdvmPlatform, elf: BootRequest, toolchain: Toolchain, tmp_path: Path
) -> None:
    request = replace(elf, kernel=standin.bzimage(toolchain, tmp_path), cold=True)
    with platform.boot(request) as tdvm:
        # The first code of Linux 7.2 prints nothing.
        stub = ["efi-stub"] if b"EFI stub: " in (tdvm.run_dir / "console.log").read_bytes() else []
        names = [stage.name for stage in tdvm.timeline.stages]
        assert names[: 1 + len(stub)] == ["firmware", *stub]
        words = output(tdvm, "cat /proc/cmdline").split()
        # The firmware adds a word: behind all others, a newer one before them.
        assert words[-5:] == ["--", "sh", "-l", "-s", "initrd=initrd"] or (
            words[0] == "initrd=initrd" and words[-4:] == ["--", "sh", "-l", "-s"]
        )
        document = tdvm.to_dict()
    assert len(document["mrtd"]) == 96
    assert len(document["rtmr"]) == 4
    assert document["not_measured"].startswith("Not measured: the initramfs")


@pytest.mark.skipif(not shutil.which("grub-mkrescue"), reason="there is no grub-mkrescue to make an ISO with")
@pytest.mark.parametrize(
    ("console", "name", "last"),
    [("hvc0", "asterinas", "prompt"), ("ttyS0", "other", "shell")],
)
def test_a_grub_iso_boots_on_the_console_that_it_names(
    platform: TdvmPlatform,
    elf: BootRequest,
    toolchain: Toolchain,
    tmp_path: Path,
    console: str,
    name: str,
    last: str,
) -> None:
    request = BootRequest(iso=standin.iso(toolchain, tmp_path, console, name), cold=True)
    with platform.boot(request) as tdvm:
        names = [stage.name for stage in tdvm.timeline.stages]
        assert names[:2] == ["firmware", "grub"]
        assert names[-1] == last
        assert tdvm.machine.spec.board.shell.value == console
        assert output(tdvm, "echo $0; echo 'ä'") == "sh\nä\n"


def test_a_panic_of_the_init_is_one_sentence_with_a_remedy(platform: TdvmPlatform, elf: BootRequest) -> None:
    with pytest.raises(BootFailed, match="The init process terminates with code 32512") as caught:
        platform.boot(replace(elf, append="standin.panic=init", cold=True))
    assert "init=" in caught.value.remedy


def test_a_kernel_that_stands_still_is_a_hang(
    platform: TdvmPlatform, elf: BootRequest, toolchain: Toolchain, vm_settings: Settings
) -> None:
    plan = platform.plan(replace(elf, append="standin.hang=ostd loglevel=0"), toolchain)
    spec = replace(plan.spec, guest=AsterinasGuest(patience=0.1, first_stage="kernel"))
    hypervisor = Hypervisor(toolchain, vm_settings, Accelerator(Accel.TCG, "a test"))
    with (
        VirtualMachine.start(spec, hypervisor) as machine,
        pytest.raises(BootFailed, match="Hang in stage ostd") as caught,
    ):
        machine.wait_booted()
    assert "one CPU" in caught.value.remedy


@pytest.mark.data
@pytest.mark.parametrize(
    ("number", "words"), [("07", "ACPI tables"), ("08", "framebuffer"), ("06", "terminates with code 32512")]
)
def test_a_recorded_panic_under_a_real_qemu(
    platform: TdvmPlatform, shared_data: Path, tmp_path: Path, number: str, words: str
) -> None:
    (log,) = (shared_data / "boot-logs").glob(f"{number}-*.ttyS0.log")
    kernel = tmp_path / "kernel"
    value = 0x20 if number == "06" else None
    kernel.write_bytes(standin.speaker(log.read_bytes() + standin.SIGN, value))
    with pytest.raises(BootFailed, match=words):
        platform.boot(BootRequest(kernel=kernel, cold=True))


def test_an_unknown_kernel_that_ends_is_told_so(platform: TdvmPlatform, tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(standin.speaker(b"another system\r\n", 0x10))
    with pytest.raises(BootFailed, match="another system"):
        platform.boot(BootRequest(kernel=kernel, cold=True))


def test_a_linux_elf_is_labkits_own_guest_without_firmware(
    platform: TdvmPlatform, toolchain: Toolchain, tmp_path: Path
) -> None:
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(standin.vmlinux(toolchain.kernel.read_bytes()))
    with platform.boot(BootRequest(kernel=kernel, memory=256, cold=True)) as tdvm:
        assert output(tdvm, "uname -s") == "Linux\n"
        assert tdvm.to_dict()["mrtd"] is None


def test_labkits_own_root_file_system_brings_a_shell(platform: TdvmPlatform, elf: BootRequest) -> None:
    request = BootRequest(kernel=elf.kernel, append="console=ttyS0", cold=True)
    with platform.boot(request) as tdvm:
        assert tdvm.machine.spec.board.shell.value == "ttyS0"
        assert output(tdvm, "echo $0; ls -1 /").startswith("sh\nbin\n")
        assert tdvm.machine.console.job_control


def test_a_linux_with_another_root_file_system_is_found_by_its_prompt(
    platform: TdvmPlatform, toolchain: Toolchain, tmp_path: Path
) -> None:
    initrd = build_asterinas_initramfs(toolchain.busybox, tmp_path)
    request = BootRequest(initrd=initrd, cold=True)
    with platform.boot(request) as tdvm:
        assert [stage.name for stage in tdvm.timeline.stages] == ["firmware", "kernel", "shell"]
        assert "not labkit's own" in tdvm.recognized
        assert output(tdvm, "echo $0") == "sh\n"
        # Read from outside: the guest itself shows nothing of its measurements.
        measured = tdvm.measurements
        assert tdvm.to_dict()["rtmr"] == [value.hex() for value in measured.rtmr]
    assert measured.told is None
    assert measured.replay_matches
    assert measured.rtmr == platform.predict(request).rtmrs
