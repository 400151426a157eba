"""Images: pulled, loaded, built, refused; a cancelled build leaves nothing; a full disk is one sentence."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.asterinas import Profile
from labkit.bootlog.asterinas import BootLogReader
from labkit.container.attached import LogTail
from labkit.container.container import Creation
from labkit.container.dockerfile import build_from_source
from labkit.container.engine import Engine, connect
from labkit.container.image import ImageStore, build_refusal
from labkit.container.owner import is_orphan, new_name
from labkit.container.session import start_session
from labkit.container.source import SourceTree
from labkit.errors import MissingComponent, StorageError, UsageError, VmError
from labkit.toolchain.toolchain import Toolchain
from tests.container.engines import NoEngine, OwnEngine, environ, own_engine
from tests.container.registry import registry_of

MAKE = "#!/bin/sh\necho '   Compiling forever'\nwhile :; do sleep 1; done\n"
TINY = "labkit-test-tiny:1"


def tiny_tar(toolchain: Toolchain) -> bytes:
    """A file system with busybox and a `make` that never ends."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in (("bin/busybox", toolchain.busybox.read_bytes()), ("bin/make", MAKE.encode())):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
        for name in ("sh", "sleep", "echo"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return data.getvalue()


@pytest.fixture(scope="session")
def tiny(engine: Engine, docker_environ: None, toolchain: Toolchain) -> str:
    client = connect(engine)
    client.api.import_image_from_data(tiny_tar(toolchain), repository=TINY.split(":")[0], tag="1")
    client.close()
    return TINY


def left(engine: Engine) -> tuple[set[str], set[str]]:
    """Every container, and every image without a name."""
    client = connect(engine)
    try:
        images = client.api.images(all=True)
        nameless = {
            image["Id"] for image in images if not (image.get("RepoTags") or ["<none>"])[0].startswith("l")
        }
        return {container.id for container in client.containers.list(all=True)}, nameless
    finally:
        client.close()


BUILD = """
import sys
from labkit.container.engine import find_engine
from labkit.container.engine import connect
from labkit.container.image import ImageStore, build_refusal
files = {"Dockerfile": b"FROM labkit-test-tiny:1\\nENV A=1\\nRUN echo layer >/file\\nRUN sleep 300\\n"}
engine = find_engine()
client = connect(engine, timeout=600)
ImageStore(client, engine, lambda text: print(text, flush=True)).build(files, "labkit-test-cancelled:1")
"""


@pytest.mark.docker
def test_a_cancelled_build_leaves_nothing(tiny: str, engine: Engine) -> None:
    before = left(engine)
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    assert any(line.startswith("Step 4") for line in process.stdout), process.communicate()
    client = connect(engine)
    while not client.containers.list(filters={"ancestor": tiny}) and process.poll() is None:
        client.ping()  # until the container of the step runs
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=90)
    client.close()
    assert process.returncode != 0
    assert left(engine) == before


@pytest.mark.parametrize(
    ("spoken", "sentence", "remedy"),
    [
        (
            "E: Unable to locate package nosuch",
            "returned a non-zero code: 100. Its last words: E: Unable to locate package nosuch",
            "last one named above",
        ),
        ("W: Temporary failure resolving 'deb.debian.org'", "the first build needs the network", "Connect"),
        ("curl: (6) Could not resolve host: example.org", "the first build needs the network", "Connect"),
        ("write /x: no space left on device", "The disk of the container engine is full", "Free"),
        ("", "returned a non-zero code: 100.", "last one named above"),
    ],
)
def test_a_build_that_failed_is_told_by_the_words_of_its_step(
    spoken: str, sentence: str, remedy: str
) -> None:
    step = BootLogReader()
    step.feed("step", f"{spoken}\n".encode(), 0.0)
    refused = build_refusal("x:1", "The command '/bin/sh -c a' returned a non-zero code: 100", step)
    assert sentence in refused.message
    assert remedy in refused.remedy


@pytest.mark.docker
def test_a_build_that_fails_says_at_which_step_and_leaves_nothing(tiny: str, engine: Engine) -> None:
    before = left(engine)
    said: list[str] = []
    client = connect(engine)
    files = {"Dockerfile": b"FROM labkit-test-tiny:1\nENV B=1\nRUN sh -c 'exit 9'\n"}
    with pytest.raises(MissingComponent, match="returned a non-zero code: 9"):
        ImageStore(client, engine, said.append).build(files, "labkit-test-failed:1")
    client.close()
    assert said[-1].startswith("Step 3")
    assert left(engine) == before


@pytest.mark.docker
def test_the_tree_s_own_dockerfile_is_built_with_its_arguments(
    tiny: str, engine: Engine, tmp_path: Path
) -> None:
    row = Profile.named("0.18.1")
    tag = "labkit-test-own:1"
    source = SourceTree(tmp_path, row.tag, "")
    client = connect(engine)
    try:
        with pytest.raises(MissingComponent, match="no Dockerfile"):
            build_from_source(ImageStore(client, engine), row, source, tag)
        (tmp_path / "tools/docker").mkdir(parents=True)
        dockerfile = tmp_path / "tools/docker/Dockerfile"
        lines = ("ARG BASE_VERSION", "FROM labkit-test-tiny:${BASE_VERSION}", "ARG ASTER_RUST_VERSION")
        dockerfile.write_text("\n".join((*lines, "ENV RUST=$ASTER_RUST_VERSION", "")))
        (tmp_path / "DOCKER_IMAGE_VERSION").write_text("1\n")
        (tmp_path / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "nightly-2026-07-21"\n')
        build_from_source(ImageStore(client, engine), row, source, tag)
        assert "RUST=nightly-2026-07-21" in client.images.get(tag).attrs["Config"]["Env"]
        assert client.images.get(tag).labels["labkit"] == "image"
        client.images.remove(tag)
        dockerfile.write_text("FROM labkit-test-tiny:1\nRUN --mount=type=cache,target=/x true\n")
        with pytest.raises(MissingComponent, match="needs BuildKit"):
            build_from_source(ImageStore(client, engine), row, source, tag)
    finally:
        client.close()


@pytest.mark.docker
def test_an_image_is_loaded_from_a_file(tiny: str, engine: Engine, tmp_path: Path) -> None:
    client = connect(engine)
    try:
        archive = tmp_path / "tiny.tar"
        with archive.open("wb") as file:
            for part in client.images.get(tiny).save(named=True):
                file.write(part)
        assert ImageStore(client, engine).load(archive) == tiny
        archive.write_bytes(b"no image at all")
        with pytest.raises(UsageError, match="not an image"):
            ImageStore(client, engine).load(archive)
        with pytest.raises(UsageError, match="cannot be read"):
            ImageStore(client, engine).load(tmp_path / "nothing.tar")
    finally:
        client.close()


@pytest.mark.docker
def test_an_image_is_pulled_with_its_size_and_refused_where_it_cannot_fit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(engine)
    said: list[str] = []
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        entry = tarfile.TarInfo("noise")
        entry.size = 4 << 20
        archive.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    client.api.import_image_from_data(data.getvalue(), repository="labkit-test-pulled", tag="1")
    try:
        with registry_of(client.images.get("labkit-test-pulled:1")) as reference:
            client.images.remove("labkit-test-pulled:1")
            with pytest.raises(MissingComponent, match="There is no image"):
                ImageStore(client, engine, said.append).pull(f"{reference}-other")
            small = replace(engine, root="/")
            with monkeypatch.context() as patch:
                free = shutil.disk_usage("/")._replace(free=1000)
                patch.setattr(shutil, "disk_usage", lambda path: free)
                with pytest.raises(StorageError, match="needs about"):
                    ImageStore(client, small, said.append).pull(reference)
            ImageStore(client, engine, said.append).pull(reference)
            assert ImageStore(client, engine).has(reference)
            assert any(" MB" in line for line in said)
            client.images.remove(reference)
        with pytest.raises(MissingComponent, match="does not answer"):
            ImageStore(client, engine, said.append).pull(reference)
    finally:
        client.close()


@pytest.fixture
def small_engine(engine: Engine) -> Iterator[OwnEngine]:
    """An engine of this test's own, on a disk of 24 MB."""
    folder = Path("/tmp") / f"labkit-test-small-{os.getpid()}"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        if mounted.returncode:
            pytest.skip("no small disk can be mounted here")
        ways = (("--bridge=none", "--iptables=false", "--storage-driver=vfs"),)
        # In a network of its own: an engine without a bridge removes the one of the host's engine.
        with own_engine(folder, ways, before=("unshare", "--net")) as own:
            yield own
    except NoEngine as error:
        pytest.skip(f"no second engine: {error}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.docker
def test_a_full_disk_is_one_sentence_and_an_engine_that_stops_is_another(
    small_engine: OwnEngine, tiny: str, engine: Engine, toolchain: Toolchain, tmp_path: Path
) -> None:
    own = small_engine.engine
    large, zeros = tmp_path / "large.tar", tmp_path / "zeros"
    with zeros.open("wb") as file:
        file.truncate(64 << 20)
    with tarfile.open(large, "w") as archive:
        archive.add(zeros, "zeros")
    first = connect(engine)
    first.api.import_image(str(large), repository="labkit-test-large", tag="1")
    saved = tmp_path / "saved.tar"
    with saved.open("wb") as file:
        for part in first.images.get("labkit-test-large:1").save(named=True):
            file.write(part)
    first.images.remove("labkit-test-large:1")
    first.close()
    client = connect(own)
    with pytest.raises(StorageError, match="disk of the container engine is full"):
        ImageStore(client, own).load(saved)

    client.api.import_image_from_data(tiny_tar(toolchain), repository="tiny", tag="1")
    config = {"image": "tiny:1", "command": ["make"], "tty": True, "stdin_open": True, "detach": False}
    source = tmp_path / "source"
    source.mkdir()
    made = Creation(config, {"network_mode": "none"}, "")
    reader = BootLogReader()
    with start_session(client, own, made, reader) as session:
        session.start(made, Profile.named("0.18.1"), source, tmp_path / "log")
        session.follow(lambda: reader.stage == "build", lambda text: None, 30)
        assert reader.stage == "build"
        small_engine.stop()
        with pytest.raises(VmError, match="engine went away"):
            session.follow(lambda: False, lambda text: None, 60)
    client.close()


def test_a_name_tells_whether_its_owner_lives() -> None:
    mine = new_name()
    assert not is_orphan(mine)
    namespace, pid, _, end = mine.removeprefix("labkit-asterinas-").split("-")
    assert is_orphan(f"labkit-asterinas-{namespace}-{pid}-1-{end}")
    assert is_orphan(f"/labkit-asterinas-{namespace}-4194305-1-{end}")
    assert not is_orphan(f"labkit-asterinas-{int(namespace) + 1}-{pid}-1-{end}")
    assert not is_orphan("somebody-else")


def test_a_log_of_an_earlier_run_is_not_news(tmp_path: Path) -> None:
    log = tmp_path / "qemu.log"
    log.write_text("Successfully booted.\n")
    tail = LogTail(log)
    assert tail.new() == b""
    log.unlink()
    log.write_text("new\n")
    assert tail.new() == b"new\n"
    with log.open("a") as file:
        file.write("more\n")
    assert tail.new() == b"more\n"


def test_an_engine_of_the_tests_is_found_by_its_environment(engine: Engine) -> None:
    assert environ(engine)["DOCKER_HOST"] == engine.address
