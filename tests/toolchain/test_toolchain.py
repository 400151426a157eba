from __future__ import annotations

from pathlib import Path

import pytest

from labkit.errors import MissingComponent
from labkit.settings import Settings
from labkit.toolchain import find_toolchain, toolchain_inventory
from labkit.toolchain.toolchain import find_firmware, search_roots

from .stubs import write_firmware, write_guest, write_program


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A cache of its own and a system without programs."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setattr("labkit.toolchain.toolchain.SYSTEM", empty)
    return Settings(cache_dir=tmp_path / "cache", state_dir=tmp_path / "state")


def _tree(settings: Settings, name: str) -> Path:
    return settings.cache_dir / "packages" / name


def test_firmware_is_chosen_by_its_metadata_and_not_by_its_name(tmp_path: Path, settings: Settings) -> None:
    write_firmware(tmp_path, "_4M", size=8192, tdx=False, image=False)
    write_firmware(tmp_path, "", size=16384, tdx=True)
    found = find_firmware([tmp_path], settings)
    assert found is not None
    assert found.code.name == "OVMF_CODE.fd"
    assert found.vars.name == "OVMF_VARS.fd"
    assert found.image.read_bytes() == found.vars.read_bytes() + found.code.read_bytes()


def test_the_smaller_of_two_suitable_firmwares_wins(tmp_path: Path, settings: Settings) -> None:
    write_firmware(tmp_path / "a", "_4M", size=32768)
    write_firmware(tmp_path / "a", "", size=16384)
    found = find_firmware([tmp_path / "a"], settings)
    assert found is not None
    assert found.code.name == "OVMF_CODE.fd"


def test_builds_for_secure_boot_are_left_alone(tmp_path: Path, settings: Settings) -> None:
    write_firmware(tmp_path, ".secboot")
    assert find_firmware([tmp_path], settings) is None


def test_an_image_of_another_build_is_not_taken_for_the_pair(tmp_path: Path, settings: Settings) -> None:
    write_firmware(tmp_path)
    (tmp_path / "usr/share/ovmf/OVMF.fd").write_bytes(bytes(4096 + 8192))
    assert find_firmware([tmp_path], settings) is None


def test_a_hidden_tree_is_not_whole_and_does_not_count(settings: Settings) -> None:
    write_guest(_tree(settings, ".partial-guest-1"), "6.1.0-1")
    assert len(search_roots(settings)) == 1


def test_the_newest_kernel_that_came_with_busybox_wins(settings: Settings) -> None:
    for name in ("qemu-system-x86_64", "swtpm", "swtpm_setup"):
        write_program(_tree(settings, "programs-1") / "usr/bin" / name)
    write_firmware(_tree(settings, "programs-1"))
    write_guest(_tree(settings, "guest-1"), "6.1.0-9-cloud")
    write_guest(_tree(settings, "guest-2"), "6.1.0-10-cloud")
    write_guest(_tree(settings, "guest-3"), "6.1.0-11-cloud", busybox=False)
    tools = find_toolchain(settings)
    assert tools.kernel == _tree(settings, "guest-2") / "boot/vmlinuz-6.1.0-10-cloud"
    assert tools.busybox == _tree(settings, "guest-2") / "usr/bin/busybox"
    assert tools.modules == _tree(settings, "guest-2") / "usr/lib/modules/6.1.0-10-cloud"


def test_an_unpacked_program_is_told_where_its_parts_are(settings: Settings) -> None:
    tree = _tree(settings, "programs-1")
    for name in ("qemu-system-x86_64", "swtpm", "swtpm_setup"):
        write_program(tree / "usr/bin" / name)
    (tree / "usr/lib/x86_64-linux-gnu/swtpm").mkdir(parents=True)
    (tree / "usr/lib/x86_64-linux-gnu/swtpm/libswtpm_libtpms.so.0").touch()
    write_firmware(tree)
    write_guest(_tree(settings, "guest-1"), "6.1.0-9")
    tools = find_toolchain(settings)
    assert tools.qemu.argv("-version")[:3] == (str(tools.qemu.path), "-L", f"{tree}/usr/share/qemu")
    assert tools.swtpm_setup.argv("--tpm2")[1:3] == ("--config", f"{tree}/etc/swtpm_setup.conf")
    environ = tools.swtpm_setup.environ()
    assert f"{tree}/usr/lib/x86_64-linux-gnu/swtpm" in environ["LD_LIBRARY_PATH"].split(":")
    assert environ["PATH"].split(":")[0] == f"{tree}/usr/bin"
    assert tools.qemu.environ()["QEMU_MODULE_DIR"] == f"{tree}/usr/lib/x86_64-linux-gnu/qemu"


def test_a_program_of_the_system_needs_nothing_and_goes_first(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(tmp_path / "bin/qemu-system-x86_64")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    write_program(_tree(settings, "programs-1") / "usr/bin/qemu-system-x86_64")
    qemu = next(part for part in toolchain_inventory(settings).components if part.name == "qemu")
    assert qemu.path == tmp_path / "bin/qemu-system-x86_64"


def test_swtpm_and_its_setup_never_come_from_different_places(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(tmp_path / "bin/swtpm")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("swtpm", "swtpm_setup"):
        write_program(_tree(settings, "programs-1") / "usr/bin" / name)
    swtpm = next(part for part in toolchain_inventory(settings).components if part.name == "swtpm")
    assert swtpm.path == _tree(settings, "programs-1") / "usr/bin/swtpm"


def test_what_is_missing_is_named_with_a_remedy(settings: Settings) -> None:
    found = toolchain_inventory(settings)
    assert len(found.missing) == 6
    assert found.lacks_loader
    assert len(found.components) == 7
    assert "Missing: qemu" in str(found)
    assert found.to_dict()["complete"] is False
    with pytest.raises(MissingComponent, match=r"kernel, busybox missing\. Run `labkit setup`\."):
        find_toolchain(settings)


def test_a_kernel_beside_its_modules_is_found(settings: Settings) -> None:
    # Debian 14: linux-binary has usr/lib/modules/RELEASE/vmlinuz, and nothing in /boot.
    tree = _tree(settings, "guest-9")
    release = "7.2.12+deb14-cloud-amd64"
    write_guest(tree, "6.1.0-9-cloud-amd64")
    (tree / "boot/vmlinuz-6.1.0-9-cloud-amd64").unlink()
    (tree / "usr/lib/modules" / release).mkdir(parents=True)
    (tree / "usr/lib/modules" / release / "vmlinuz").write_bytes(b"MZ")
    write_program(tree / "usr/bin/busybox")
    kernel = next(part for part in toolchain_inventory(settings).components if part.name == "kernel")
    assert kernel.path == tree / "usr/lib/modules" / release / "vmlinuz"
