"""The kernel out of a release's ISO: from a file, from servers good and bad, and what stays behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from labkit import process
from labkit.asterinas import KernelCache
from labkit.asterinas.fetch import fetch_image, version_in_name
from labkit.errors import DataError, LabkitError, MissingComponent, NotAKernel, NotInImage, UsageError
from labkit.settings import Settings
from tests.asterinas.release import iso, served, squashfs, stub

KERNEL = stub(3 << 20)
PAD = 24 << 20

pytestmark = pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="no mksquashfs (squashfs-tools)")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installer's ISO: the kernel inside the squashfs, among much else."""
    folder = tmp_path_factory.mktemp("release")
    image = squashfs(folder, KERNEL, packages=60)
    path = folder / "asterinas-nixos-0.18.0-x86_64.iso"
    return iso(
        path, {"initrd": stub(sign=b"", seed=2)[1:], "filler": bytes(PAD), "nix-store.squashfs": image}
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache", state_dir=tmp_path / "state")


def left(settings: Settings) -> list[str]:
    """What is in the cache besides whole images."""
    folder = settings.cache_dir / "asterinas"
    return [path.name for path in [*folder.glob(".*"), *folder.glob("images/.*")]]


def refusal(settings: Settings, kind: type[LabkitError], **words: Any) -> LabkitError:
    with pytest.raises(kind) as caught:
        fetch_image(settings, **words)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert not KernelCache(settings).table().images
    return caught.value


def test_out_of_a_file(settings: Settings, release: Path) -> None:
    said: list[str] = []
    image = fetch_image(settings, said.append, iso=str(release))
    assert image.path.read_bytes() == KERNEL
    assert (image.version, image.kind, image.origin) == ("0.18.0", "bzImage", str(release))
    assert image.sha256 == hashlib.sha256(KERNEL).hexdigest()
    assert any("aster-kernel-osdk-bin: 3.1 MB" in line for line in said)
    assert KernelCache(settings).find() == KernelCache(settings).find("0.18.0") == image
    assert left(settings) == []


@pytest.mark.parametrize("compression", ["gzip", "xz"])
def test_older_compressions(settings: Settings, tmp_path: Path, compression: str) -> None:
    image = squashfs(tmp_path, KERNEL, compression=compression)
    path = iso(tmp_path / "x.iso", {"nix-store.squashfs": image})
    assert fetch_image(settings, iso=str(path)).path.read_bytes() == KERNEL


def test_kernel_whose_end_shares_a_block_with_other_files(settings: Settings, tmp_path: Path) -> None:
    store = squashfs(tmp_path, KERNEL, "-always-use-fragments")
    none = iso(tmp_path / "none.iso", {"nix-store.squashfs": store[:16] + bytes(4) + store[20:]})
    assert "names a fragment that is not there" in str(refusal(settings, DataError, iso=str(none)))
    path = iso(tmp_path / "x.iso", {"nix-store.squashfs": store})
    assert fetch_image(settings, iso=str(path)).path.read_bytes() == KERNEL


def test_kernel_with_two_names(settings: Settings, tmp_path: Path) -> None:
    """mksquashfs gives it a longer inode, which a sparse file and one beyond 4 GiB have as well."""
    store = squashfs(tmp_path, KERNEL, twice=True)
    path = iso(tmp_path / "x.iso", {"nix-store.squashfs": store})
    assert fetch_image(settings, iso=str(path)).path.read_bytes() == KERNEL


@pytest.mark.parametrize("entry", ["h-asterinas-osdk-bin", "h-aster-nix-osdk-bin/kernel", "h-renamed-kernel"])
def test_entry_is_known_by_its_content(settings: Settings, tmp_path: Path, entry: str) -> None:
    path = iso(tmp_path / "x.iso", {"other-name.img": squashfs(tmp_path, KERNEL, entry=entry)})
    image = fetch_image(settings, iso=str(path))
    assert (image.path.read_bytes(), image.version) == (KERNEL, "unknown")


def test_only_what_leads_to_the_kernel_is_fetched(settings: Settings, release: Path) -> None:
    said: list[str] = []
    with served(release.read_bytes()) as (url, server):
        image = fetch_image(settings, said.append, iso=url)
        assert server.sent < len(KERNEL) + (3 << 20) < PAD
        sent = server.requests
        assert fetch_image(settings, iso=url) == image
        assert server.requests == sent
    assert image.path.read_bytes() == KERNEL
    assert image.origin == url
    assert said[0].startswith(f"{url}: {release.stat().st_size / 1e6:.0f} MB")
    assert left(settings) == []


def test_broken_off_goes_on(settings: Settings, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(release.read_bytes()) as (url, server):
        server.cut_after = 6
        assert "goes on from there" in str(refusal(settings, MissingComponent, iso=url))
        (parts,) = left(settings)
        first, server.cut_after, server.sent = server.sent, None, 0
        said: list[str] = []
        assert fetch_image(settings, said.append, iso=url).path.read_bytes() == KERNEL
        assert first > 0
        assert server.sent < len(KERNEL) + (3 << 20) - first // 2
    assert parts.startswith(".parts-")
    assert left(settings) == []
    assert any(line.startswith("going on with") for line in said)


def test_file_that_changed_is_fetched_anew(settings: Settings, release: Path) -> None:
    with served(release.read_bytes()) as (url, server):
        server.cut_after = 6
        refusal(settings, MissingComponent, iso=url)
        server.cut_after, server.etag = None, '"2"'
        said: list[str] = []
        fetch_image(settings, said.append, iso=url)
    assert any("another one than before" in line for line in said)


def test_server_without_ranges(settings: Settings, release: Path) -> None:
    with served(release.read_bytes()) as (url, server):
        server.ranges = False
        assert "whole file only" in str(refusal(settings, MissingComponent, iso=url))
        server.page = True
        assert "web page" in str(refusal(settings, MissingComponent, iso=url))
        assert server.sent < PAD
    assert left(settings) == []


@pytest.mark.parametrize(("status", "words"), [(404, "There is no http"), (503, "HTTP status 503")])
def test_server_that_refuses(settings: Settings, status: int, words: str) -> None:
    with served(b"") as (url, server):
        server.status = status
        assert words in str(refusal(settings, MissingComponent, iso=url))


def test_server_that_hands_out_other_parts(settings: Settings, release: Path) -> None:
    with served(release.read_bytes()) as (url, server):
        server.wrong = True
        assert "other parts" in str(refusal(settings, MissingComponent, iso=url))


def test_server_with_another_file(settings: Settings) -> None:
    with served(bytes(1 << 20)) as (url, _):
        assert "not an ISO image" in str(refusal(settings, DataError, iso=url))
    assert left(settings) == []


def test_a_text_is_called_text_and_the_remedy_is_an_iso(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "notes.iso").write_text("Where the ISO is, I do not know.\n")
    error = refusal(settings, DataError, iso=str(tmp_path / "notes.iso"))
    assert "is text, not an ISO image" in error.message
    assert error.remedy == "Name the ISO of a release, asterinas-nixos-VERSION-x86_64.iso."


def test_no_network(settings: Settings) -> None:
    error = refusal(settings, MissingComponent, iso="http://127.0.0.1:9/asterinas-nixos-0.18.0-x86_64.iso")
    assert error.exit_code == 69
    assert "does not answer" in error.message
    assert "--iso FILE" in error.remedy


@pytest.mark.parametrize("kind", ["kernel", "squashfs"])
def test_what_was_taken_out_of_an_image_does_as_well(settings: Settings, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    path.write_bytes(KERNEL if kind == "kernel" else squashfs(tmp_path, KERNEL))
    assert fetch_image(settings, iso=str(path)).path.read_bytes() == KERNEL


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"\x1f\x8b\x08" + bytes(999), "compressed with gzip"),
        (b"PK\3\4" + bytes(999), "a ZIP archive"),
        (b"QFI\xfb" + bytes(999), "a disk image of QEMU"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is text"),
        (b"\x7fELF" + bytes(999), "its beginning is damaged"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(
    settings: Settings, tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "asterinas-nixos-0.18.0-x86_64.iso"
    path.write_bytes(data)
    assert words in refusal(settings, DataError, iso=str(path)).message


def test_image_without_kernel(settings: Settings, tmp_path: Path) -> None:
    path = iso(tmp_path / "x.iso", {"nix-store.squashfs": squashfs(tmp_path, None)})
    assert refusal(settings, NotInImage, iso=str(path)).exit_code == 1
    with served(path.read_bytes()) as (url, _):
        refusal(settings, NotInImage, iso=url)
    assert left(settings) == []


def test_truncated(settings: Settings, release: Path, tmp_path: Path) -> None:
    whole = release.read_bytes()
    for size in (100, 40_000, len(whole) // 2, len(whole) - 4096):
        path = tmp_path / f"{size}.iso"
        path.write_bytes(whole[:size])
        assert "Fetch" in refusal(settings, DataError, iso=str(path)).remedy


def test_damaged_squashfs_is_refused(settings: Settings, release: Path, tmp_path: Path) -> None:
    whole = bytearray(release.read_bytes())
    at = whole.index(b"hsqs")
    root, inodes, directories, fragments = struct.unpack_from("<Q24xQQQ", whole, at + 32)
    of_root = inodes + (root >> 16)
    for begin, end in ((8, 40), (60, 96), (of_root, of_root + 60), (directories, fragments)):
        damaged = bytearray(whole)
        damaged[at + begin : at + end] = b"\xa5" * (end - begin)
        path = tmp_path / "x.iso"
        path.write_bytes(damaged)
        with pytest.raises((DataError, NotInImage)) as caught:
            fetch_image(settings, iso=str(path))
        assert caught.value.remedy


def test_hash_that_is_asked_for(settings: Settings, release: Path) -> None:
    refusal(settings, DataError, iso=str(release), sha256="0" * 64)
    refusal(settings, UsageError, iso=str(release), sha256="short")
    right = hashlib.sha256(KERNEL).hexdigest().upper()
    assert fetch_image(settings, iso=str(release), sha256=right).sha256 == right.lower()


@pytest.mark.parametrize("version", ["new", "0.16.1", "../0.18.0"])
def test_version_that_has_no_release(settings: Settings, version: str) -> None:
    refusal(settings, UsageError, version=version)


def test_first_version_that_has_a_release(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.asterinas.fetch.RELEASE", "http://127.0.0.1:9/{0}.iso")
    assert "does not answer" in refusal(settings, MissingComponent, version="0.17.0").message


def test_newest_version_comes_first(settings: Settings) -> None:
    for seed, version in enumerate(("0.9.0", "unknown", "0.18.0", "0.18.0-rc2", "0.17.2")):
        KernelCache(settings).keep(stub(seed=seed), version, "here")
    assert [image.version for image in KernelCache(settings).table().images] == [
        "0.18.0",
        "0.18.0-rc2",
        "0.17.2",
        "0.9.0",
        "unknown",
    ]
    assert KernelCache(settings).find().version == "0.18.0"
    with pytest.raises(
        MissingComponent, match=r"has 0\.18\.0, 0\.18\.0-rc2, 0\.17\.2, 0\.9\.0, unknown.*fetch 0\.18\.1"
    ):
        KernelCache(settings).find("0.18.1")


def test_kept_image_that_was_altered(settings: Settings) -> None:
    image = KernelCache(settings).keep(stub(), "0.18.0", "here")
    image.path.write_bytes(stub(seed=8))
    with pytest.raises(MissingComponent, match="another one") as refused:
        KernelCache(settings).find()
    table = KernelCache(settings).table()
    assert "0.18.0 (not usable)" in str(table)
    assert str(refused.value) in str(table)
    assert "not usable" in table._repr_html_()
    assert table.to_dict()[0]["problem"] == refused.value.message
    # To fetch it again is enough.
    KernelCache(settings).keep(stub(), "0.18.0", "here")
    assert KernelCache(settings).find().path.read_bytes() == stub()
    assert "not usable" not in str(KernelCache(settings).table())


@pytest.mark.parametrize("lost", ["image.json", "kernel"])
def test_kept_image_of_which_a_file_is_lost(settings: Settings, lost: str) -> None:
    image = KernelCache(settings).keep(stub(), "0.18.0", "here")
    (image.path.parent / lost).unlink()
    table = str(KernelCache(settings).table())
    assert "(not usable)" in table
    assert f"Remove {image.path.parent}" in table
    with pytest.raises(MissingComponent):
        KernelCache(settings).find()
    KernelCache(settings).keep(stub(), "0.18.0", "here")
    assert KernelCache(settings).find() == KernelCache(settings).find("0.18.0")


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "00" * 32},
        {"kept": float("inf")},
        {"kept": "now"},
        {"version": "9" * 5000},
        {"version": "9\n\x1b[2Jx", "origin": "a\nb"},
    ],
)
def test_a_record_that_was_altered_leads_to_no_other_kernel(
    settings: Settings, change: dict[str, object]
) -> None:
    """Whoever can swap the kernel can swap the hash that stands beside it, but it names the folder too."""
    image = KernelCache(settings).keep(stub(), "0.18.0", "here")
    record = image.path.parent / "image.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    table = KernelCache(settings).table()
    assert ("not usable" in str(table)) is ("version" not in change)
    assert len(str(table).splitlines()) < 4
    if "version" not in change:
        with pytest.raises(MissingComponent, match="no kernel of Asterinas"):
            KernelCache(settings).find()
    assert "\x1b" not in str(table)


def test_an_altered_kernel_with_an_altered_hash_is_not_found(settings: Settings) -> None:
    image = KernelCache(settings).keep(stub(), "0.18.0", "here")
    other = stub(seed=8)
    image.path.write_bytes(other)
    record = image.path.parent / "image.json"
    record.write_text(record.read_text().replace(image.sha256, hashlib.sha256(other).hexdigest()))
    with pytest.raises(MissingComponent, match="no kernel of Asterinas"):
        KernelCache(settings).find()


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("asterinas-nixos-0.18.0-x86_64.iso", "0.18.0"),
        ("asterinas-nixos-0.18.0-rc1-x86_64.iso", "0.18.0-rc1"),
        ("asterinas-0.18.0-dirty.iso", "0.18.0-dirty"),
        ("asterinas-nixos-v0.9.12.iso", "0.9.12"),
        ("debian-12.0.0.iso", "unknown"),
    ],
)
def test_a_version_is_that_of_the_whole_name(name: str, version: str) -> None:
    assert version_in_name(f"https://example.org/{name}") == version


def test_other_kernels_are_not_kept(settings: Settings) -> None:
    with pytest.raises(NotAKernel):
        KernelCache(settings).keep(stub(sign=b""), "0.18.0", "here")
    assert not KernelCache(settings).table().images
    assert left(settings) == []


def test_command(settings: Settings, release: Path) -> None:
    def labkit(*words: str) -> process.Completed:
        environ = {**os.environ, "LABKIT_CACHE_DIR": str(settings.cache_dir)}
        return process.run((sys.executable, "-m", "labkit", "asterinas", *words), env=environ, timeout=60)

    assert "labkit asterinas fetch" in labkit("images").text
    assert labkit("fetch", "--iso", str(release)).status == 0
    (shown,) = json.loads(labkit("images", "--json").stdout)
    assert {"version", "kind", "sha256", "origin"} <= set(shown)
    assert labkit("fetch", "--iso", "nowhere.iso").status == 64
