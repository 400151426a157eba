from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from labkit.errors import MissingComponent, StorageError
from labkit.settings import Settings
from labkit.toolchain import find_toolchain, install_toolchain, loader, provision
from labkit.toolchain.apt import Apt
from labkit.toolchain.loader import find_loader

from .stubs import World, build, write_program


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A system without the emulated platform, and package servers that have it."""
    return build(tmp_path, monkeypatch)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache", state_dir=tmp_path / "state")


def test_an_ordinary_user_gets_everything_in_the_cache(world: World, settings: Settings) -> None:
    said: list[str] = []
    found = install_toolchain(settings, said.append, system=False)
    assert found.complete
    tools = find_toolchain(settings)
    for path in (tools.qemu.path, tools.swtpm_setup.path, tools.kernel, tools.busybox):
        assert path.is_relative_to(settings.cache_dir / "packages")
    assert "fetching the package lists" in said
    assert any(line.startswith("downloading qemu-system-x86") and "1 MB" in line for line in said)
    assert not [
        call for call in world.calls(" install ") if "--download-only" not in call and "uris" not in call
    ]


def test_the_c_library_is_never_unpacked(world: World, settings: Settings) -> None:
    # The stand-in for dpkg-deb has no content for libc6, so that unpacking it would fail.
    assert install_toolchain(settings, lambda _: None, system=False).complete


def test_root_installs_programs_but_only_unpacks_the_guest(world: World, settings: Settings) -> None:
    said: list[str] = []
    assert install_toolchain(settings, said.append, system=True).complete
    tools = find_toolchain(settings)
    assert tools.qemu.path == world.bin / "qemu-system-x86_64"
    assert tools.kernel.is_relative_to(settings.cache_dir)
    installs = world.real_installs()
    assert len(installs) == 1
    assert "--no-remove" in installs[0]
    assert "linux-image" not in installs[0]
    assert "busybox" not in installs[0]
    assert any(line.startswith("installing on this system: qemu-system-x86") for line in said)


def test_a_complete_platform_asks_no_server(world: World, settings: Settings) -> None:
    install_toolchain(settings, lambda _: None, system=False)
    before = world.record.read_text()
    said: list[str] = []
    assert install_toolchain(settings, said.append, system=False).complete
    assert world.record.read_text() == before
    assert said == []


def test_nothing_temporary_stays(world: World, settings: Settings) -> None:
    install_toolchain(settings, lambda _: None, system=False)
    assert not list((settings.cache_dir / "packages").glob(".partial*"))


def test_a_download_that_broke_off_does_not_count_and_is_repaired(world: World, settings: Settings) -> None:
    whole = (world.bin / "dpkg-deb").read_text()
    write_program(world.bin / "dpkg-deb", "/bin/mkdir -p $3/usr/bin; : >$3/usr/bin/swtpm; exit 2")
    with pytest.raises(MissingComponent):
        install_toolchain(settings, lambda _: None, system=False)
    with pytest.raises(MissingComponent, match="not complete"):
        find_toolchain(settings)
    (world.bin / "dpkg-deb").write_text(whole)
    # A process that was killed leaves its half behind.
    (settings.cache_dir / "packages/.partial-guest-0/usr").mkdir(parents=True)
    assert install_toolchain(settings, lambda _: None, system=False).complete
    assert not list((settings.cache_dir / "packages").glob(".partial*"))


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        ("E: You do not have enough free space in x", StorageError, "The disk is full"),
        ("cannot copy: No space left on device", StorageError, "Free some space"),
        (
            "W: Failed to fetch http://x  Temporary failure resolving x",
            MissingComponent,
            "network connection",
        ),
        ("E: Could not get lock /var/lib/dpkg/lock", MissingComponent, "Another package manager"),
        (
            "E: Could not get lock /x/lock - open (11: Resource temporarily unavailable)",
            MissingComponent,
            "Another package manager",
        ),
        (
            "E: Could not get lock /x/lock - open (38: Function not implemented)",
            MissingComponent,
            "LABKIT_CACHE_DIR",
        ),
        (
            "dpkg-deb: tar: ./vmlinuz: Cannot create symlink to 'boot/x': Operation not permitted",
            MissingComponent,
            "LABKIT_CACHE_DIR",
        ),
        (
            "E: Could not get lock /x/lock - open (30: Read-only file system)",
            MissingComponent,
            "refused the package lists: Could not get lock /x/lock",
        ),
        ("E: Unmet dependencies", MissingComponent, "refused the package lists: Unmet dependencies"),
    ],
)
def test_each_failure_of_apt_is_one_sentence_with_a_remedy(
    world: World, settings: Settings, message: str, kind: type[Exception], words: str
) -> None:
    world.break_apt(message)
    with pytest.raises(kind, match=words):
        install_toolchain(settings, lambda _: None, system=False)


def test_lists_that_did_not_come_are_noticed_though_apt_calls_it_a_warning(
    world: World, settings: Settings
) -> None:
    world.break_apt("W: Failed to fetch http://x", status=0)
    with pytest.raises(MissingComponent, match="network connection"):
        install_toolchain(settings, lambda _: None, system=False)


@pytest.mark.parametrize(
    ("message", "no_proxy", "words"),
    [
        ("W: Failed to fetch http://d.org/x", "", r"through the proxy p:3128 .*Look at http_proxy"),
        ("W: Failed to fetch http://d.org/x", "d.org", "Check the network connection"),
        ("Err:1 http://d.org  407  Proxy Authentication Required", "", "asked for a password"),
    ],
)
def test_a_proxy_that_is_set_is_named_where_no_server_answers(
    world: World,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    no_proxy: str,
    words: str,
) -> None:
    monkeypatch.setenv("http_proxy", "http://me:geheim@p:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    world.break_apt(message)
    with pytest.raises(MissingComponent, match=words) as refused:
        install_toolchain(settings, lambda _: None, system=False)
    assert "geheim" not in str(refused.value)


def test_a_system_without_apt_is_told_what_it_needs(world: World, settings: Settings) -> None:
    (world.bin / "apt-get").unlink()
    with pytest.raises(MissingComponent, match=r"has no apt-get.*Install QEMU"):
        install_toolchain(settings, lambda _: None, system=False)


def test_a_distribution_without_the_kernel_is_told_so(world: World, settings: Settings) -> None:
    write_program(world.bin / "apt-cache", "exit 100")
    with pytest.raises(MissingComponent, match="offer none of linux-image-cloud-amd64"):
        install_toolchain(settings, lambda _: None, system=False)


def test_a_kernel_with_modules_apart_is_fetched_with_them(world: World, settings: Settings) -> None:
    write_program(
        world.bin / "apt-cache",
        "for name; do :; done\ncase $name in\n"
        'linux-image-virtual) echo "Depends: linux-image-6.8.0-9-generic";;\n'
        'linux-image-6.8.0-9-generic) echo "Depends: kmod, linux-base, linux-modules-6.8.0-9-generic";; esac',
    )
    install_toolchain(settings, lambda _: None, system=False)
    (call,) = [call for call in world.calls(" download linux") if "uris" not in call]
    assert "linux-image-6.8.0-9-generic linux-modules-6.8.0-9-generic busybox-static" in call


def test_a_program_that_does_not_start_is_named(world: World, settings: Settings) -> None:
    programs = world.content / "programs_1_amd64.deb"
    write_program(programs / "usr/bin/swtpm", "echo 'swtpm: libfoo.so not found' >&2; exit 127")
    with pytest.raises(MissingComponent, match=r"swtpm was fetched but does not start.*libfoo"):
        install_toolchain(settings, lambda _: None, system=False)


def test_firmware_in_halves_is_put_together(world: World, settings: Settings) -> None:
    (world.content / "programs_1_amd64.deb/usr/share/ovmf/OVMF.fd").unlink()
    install_toolchain(settings, lambda _: None, system=False)
    firmware = find_toolchain(settings).firmware
    assert firmware.image.read_bytes() == firmware.vars.read_bytes() + firmware.code.read_bytes()


def test_a_cache_that_cannot_be_written_is_named(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(cache_dir=tmp_path / "file" / "cache", state_dir=tmp_path)
    with pytest.raises(StorageError, match=r"cannot be written: Not a directory.*LABKIT_CACHE_DIR"):
        install_toolchain(settings, lambda _: None, system=False)


def test_a_small_disk_is_noticed_before_the_download(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision, "_ROOM_PROGRAMS", 10**18)
    with pytest.raises(StorageError, match=r"MB free, but .* MB are needed"):
        install_toolchain(settings, lambda _: None, system=False)
    assert not world.record.exists()


def test_a_second_process_waits_and_then_finds_everything_done(world: World, settings: Settings) -> None:
    packages = settings.cache_dir / "packages"
    packages.mkdir(parents=True)
    said: list[str] = []
    waiting = threading.Event()

    def on_progress(line: str) -> None:
        said.append(line)
        if "another" in line:
            waiting.set()

    with (packages / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(
            target=install_toolchain, args=(settings, on_progress), kwargs={"system": False}
        )
        second.start()
        assert waiting.wait(30)
        assert not world.record.exists()
    second.join(30)
    assert not second.is_alive()
    assert find_toolchain(settings).kernel.is_file()


def test_a_kernel_is_found_by_what_its_packages_depend_on(world: World, tmp_path: Path) -> None:
    # Debian 14: the image package brings no kernel any more, a package that it depends on does.
    release = "7.2.12+deb14-cloud-amd64"
    write_program(
        world.bin / "apt-cache",
        "for name; do :; done\ncase $name in "
        f'linux-image-cloud-amd64) echo "Depends: linux-base-cloud-amd64 (= 7.2.12-1), linux-image-{release} '
        '(= 7.2.12-1)";; '
        f'linux-image-{release}) echo "Pre-Depends: linux-base (>= 4.17~)"; echo "Depends: dracut | '
        f"initramfs-tools (>= 0.120), linux-binary-{release} (= 7.2.12-1), linux-modules-{release} "
        '(= 7.2.12-1)";; esac',
    )
    found = Apt(tmp_path, lambda text: None).kernel_packages(("linux-image-cloud-amd64",))
    assert set(found) == {f"linux-{part}-{release}" for part in ("image", "binary", "modules")}


def test_the_loader_comes_from_this_systems_release_where_that_is_new_enough(
    world: World, settings: Settings
) -> None:
    install_toolchain(settings, lambda _: None, system=False)
    assert find_loader(settings).modules.is_dir()
    assert not list(find_loader(settings).tree.glob("boot/vmlinuz-*"))
    assert not world.calls("sourcelist")


def test_what_makes_the_loader_is_found_by_what_the_modules_depend_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """As on Debian testing, where grub-common is empty; of a choice the first that is a real package."""
    world = build(tmp_path, monkeypatch)
    apt_cache = world.bin / "apt-cache"
    says = """grub-efi-amd64-bin
  Depends: grub2-common
    grub-common
  Depends: grub-efi-amd64-unsigned
grub2-common
 |Depends: <libvirtual>
    libreal
  Depends: libc6
  PreDepends: libfirst
 |Depends: libone
  Depends: libother
  Depends: debconf
libfirst
  Depends: zlib1g
libother
  Depends: libnever
"""
    apt_cache.write_text(
        apt_cache.read_text().replace(
            "#!/bin/sh\n", f"#!/bin/sh\ncase $* in *--recurse*) echo '{says}'; exit;; esac\n"
        )
    )
    install_toolchain(settings, lambda _: None, system=False)
    (fetched,) = (call for call in world.calls("grub-efi") if "print-uris" not in call)
    assert fetched.rpartition(" download ")[2].split() == [
        *("grub-efi-amd64-bin", "mtools", "grub2-common"),
        *("libc6", "libfirst", "libone", "zlib1g"),
    ]


def test_a_loader_without_what_makes_it_is_not_there(world: World, settings: Settings) -> None:
    install_toolchain(settings, lambda _: None, system=False)
    (find_loader(settings).tree / "usr/bin/grub-mkimage").unlink()
    with pytest.raises(MissingComponent, match="GRUB"):
        find_loader(settings)


def test_an_older_system_gets_the_loader_of_debian_13_from_its_own_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    world = build(tmp_path, monkeypatch, grub="2.06-13+deb12u1")
    said: list[str] = []
    assert not install_toolchain(settings, said.append, system=True).lacks_loader
    assert any("Debian trixie's is fetched, and not installed" in line for line in said)
    fetched = [call for call in world.calls("grub-efi") if "print-uris" not in call]
    assert len(fetched) == 1
    assert "Dir::Etc::sourcelist=" in fetched[0]
    assert " download " in fetched[0]
    assert len(world.real_installs()) == 1


@pytest.mark.parametrize(("grub", "mirror"), [("2.06", ""), ("", "Ubuntu|Ubuntu|main|http://mirror/ubuntu/")])
def test_without_a_loader_the_platform_is_complete_and_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, grub: str, mirror: str
) -> None:
    build(tmp_path, monkeypatch, grub=grub, mirror=mirror)
    said: list[str] = []
    found = install_toolchain(settings, said.append, system=False)
    assert found.complete
    assert found.lacks_loader
    assert any("boots with --loader will not be possible" in line and "GRUB" in line for line in said)
    assert "but not with --loader. Run `labkit setup`." in str(found)
    with pytest.raises(MissingComponent, match="labkit setup"):
        find_loader(settings)


@pytest.mark.parametrize(
    ("version", "enough"),
    [("2.12-9+deb13u4", True), ("2.06-13", False), ("1:3.0", True), ("2.14~rc1", True), (None, False)],
)
def test_a_version_of_grub_is_new_enough_from_2_12_on(version: str | None, enough: bool) -> None:
    assert loader._new_enough(version) is enough
