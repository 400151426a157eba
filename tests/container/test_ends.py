"""How a container ends or does not start, who did it, and whose a log is; none of it needs an engine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.asterinas.versions import PROFILES
from labkit.container import plan as plans
from labkit.container.attached import LogTail
from labkit.container.ends import (
    KILLED,
    MEMORY,
    REMOVED,
    STOPPED,
    UNTOLD,
    ended_from_outside,
    start_refusal,
    told,
)
from labkit.container.flow import keep_logs
from labkit.container.image import pull_refusal
from labkit.container.plan import RunRequest, profile_of
from labkit.container.previewing import preview
from labkit.container.source import tree_version
from labkit.container.tree import TreeLock, foreign_entries
from labkit.errors import LabkitError, MissingComponent, StorageError, UsageError, VmError
from labkit.host import Facts, diagnose
from tests.host.hosts import BY_NAME, build

NOT_READY = diagnose(Facts())


def events(*actions: str) -> list[dict[str, str]]:
    return [{"Action": action} for action in actions]


@pytest.mark.parametrize(
    ("state", "actions", "code", "said"),
    [
        ({"OOMKilled": True}, events("oom", "die"), 137, MEMORY),
        ({}, events("start", "oom", "die"), 137, MEMORY),
        ({}, events("kill", "die", "destroy"), 137, REMOVED),
        ({}, events("kill", "die", "remove"), 0, REMOVED),
        ({"Status": "removing"}, events("kill"), 137, REMOVED),
        ({}, events("kill", "kill", "die", "stop"), 137, STOPPED),
        ({}, events("kill", "die"), 137, KILLED),
        ({}, [{"status": "kill"}], 137, KILLED),
        ({}, [], 137, "SIGKILL"),
        ({}, [], 143, "SIGTERM"),
        ({}, events("start", "die"), 2, ""),
        ({}, events("start", "die"), 0, ""),
        ({}, [], None, ""),
    ],
)
def test_who_ended_a_container(
    state: dict[str, Any], actions: list[Any], code: int | None, said: str
) -> None:
    found = told(state, actions, code)
    assert said in found
    assert bool(found) == bool(said)


def test_podman_writes_down_no_stop_and_that_is_said() -> None:
    assert told({}, events("start", "die", "cleanup"), 137, podman=True) == UNTOLD
    assert told({}, events("start", "die", "cleanup"), 143, podman=True) == UNTOLD
    assert told({}, events("start", "die", "cleanup"), 2, podman=True) == ""
    assert "podman kill" in told({}, events("kill", "die"), 137, podman=True)
    assert told({"OOMKilled": True}, events("die"), 137, podman=True) == MEMORY


class SlowEngine:
    """An engine that writes its events down some seconds after what they tell."""

    def __init__(self, late: float, actions: list[str]) -> None:
        self._at, self._actions, self.read = time.time() + late, actions, 0

    @property
    def api(self) -> SlowEngine:
        return self

    def inspect_container(self, container: str) -> dict[str, Any]:
        return {"State": {"Status": "exited"}}

    def events(self, *, until: int, **_: Any) -> Iterator[dict[str, str]]:
        for action in self._actions if until >= self._at else ():
            self.read += 1
            yield {"Action": action}


@pytest.mark.parametrize("podman", [True, False])
def test_what_an_engine_writes_down_late_is_read(podman: bool) -> None:
    engine: Any = SlowEngine(1.9, ["die", "kill"])
    assert "kill)" in ended_from_outside(engine, "x", 0, 137, podman=podman)


def test_no_news_are_awaited_after_the_last() -> None:
    engine: Any = SlowEngine(0, ["kill", "die", "stop", "and what comes much later"])
    assert ended_from_outside(engine, "x", 0, 137) == STOPPED
    assert engine.read == 3


def test_a_container_that_ended_by_itself_is_not_waited_for() -> None:
    engine: Any = SlowEngine(1.9, ["kill"])
    assert ended_from_outside(engine, "x", 0, 0) == ""


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("mkdir /x: no space left on device", StorageError, "disk"),
        ("Bind for 127.0.0.1:22 failed: port is already allocated", UsageError, "port"),
        ("listen tcp: address already in use", UsageError, "port"),
        ('error gathering device information while adding custom device "/dev/kvm": no such '
            'file', MissingComponent, "no /dev/kvm"),
        ("stat /dev/kvm: no such file or directory", MissingComponent, "no /dev/kvm"),
        ("opening /dev/kvm: Permission denied: OCI permission "
            "denied", MissingComponent, "hand over /dev/kvm"),
        ("crun: unable to apply caps: Operation not permitted", MissingComponent, "privileged"),
        ('exec: "make": executable file not found in $PATH', MissingComponent, "no `make`"),
        ("crun: executable file `make` not found in $PATH: No such file or "
            "directory", MissingComponent, "no `make`"),
        ("exec /bin/sh: exec format error", MissingComponent, "processor"),
        ("AppArmor enabled on system but the docker-default profile could not be "
            "loaded", MissingComponent, "AppArmor"),
        ("unable to init seccomp: error loading seccomp filter: Operation not "
            "permitted", MissingComponent, "seccomp"),
        ("newuidmap: write to uid_map failed: Operation not permitted", MissingComponent, "user namespace"),
        ("cgroups: cgroup mountpoint does not exist: unknown", MissingComponent, "control group"),
        ("Mounts denied: The path /root/x is not shared from the host", MissingComponent, "source tree"),
        ("invalid mount config for type bind: bind source path does not exist: "
            "/x", MissingComponent, "source tree"),
        ("error while creating mount source path '/root/.cache/x': mkdir /root/.cache: read-only file "
            "system", MissingComponent, "snap"),
        ("fork/exec /proc/self/exe: resource temporarily unavailable", MissingComponent, "no more memory"),
        ("driver failed programming external connectivity: iptables failed", MissingComponent, "network"),
        ("SELinux relabeling of /x is not allowed", MissingComponent, "SELinux"),
        ('409 Client Error for http+docker://x/attach: Conflict ("container state '
            'improper")', VmError, "container state improper"),
    ],
)  # fmt: skip
def test_one_that_does_not_start_is_one_sentence(said: str, kind: type[LabkitError], words: str) -> None:
    error = start_refusal(said)
    assert type(error) is kind
    assert words in error.message
    assert error.remedy
    assert "Client Error" not in error.message


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("toomanyrequests: You have reached your pull rate limit", "asked too often"),
        ("x509: certificate has expired or is not yet valid: current time 1970-01-01", "clock"),
        ("x509: certificate signed by unknown authority", "certificate"),
        ("proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused", "proxy"),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "processor"),
        ("no basic auth credentials", "login"),
        ("unauthorized: incorrect username or password", "login"),
        ("invalid reference format: repository name must be lowercase", "not the name"),
        ("http: server gave HTTP response to HTTPS client", "plain HTTP"),
        ("failed to register layer: lchown /etc/x: invalid argument", "unpack"),
        ('short-name "a" did not resolve to an alias', "in which registry"),
        ("manifest for a/b:c not found: manifest unknown: manifest unknown", "no image"),
        ("pull access denied for a/b, repository does not exist or may require 'docker login'", "no image"),
        ("dial tcp: lookup registry-1.docker.io: no such host", "does not answer"),
        ("net/http: TLS handshake timeout", "does not answer"),
        ("context deadline exceeded", "does not answer"),
    ],
)
def test_a_pull_that_is_refused_is_named(said: str, words: str) -> None:
    error = pull_refusal("docker.io/a/b:c", said)
    assert words in error.message
    assert error.remedy
    assert said not in error.message


# ---- logs -----------------------------------------------------------------------------------------


def test_a_log_that_was_there_and_only_grows_is_of_another_run(tmp_path: Path) -> None:
    path = tmp_path / "qemu.log"
    path.write_text("Successfully booted.\n")
    tail = LogTail(path)
    assert (tail.new(), tail.fresh) == (b"", False)
    with path.open("a") as other:
        other.write("more of the other run\n")
    assert (tail.new(), tail.fresh) == (b"", False)
    with path.open("a") as other:
        other.write("and more\n")
    assert (tail.new(), tail.fresh) == (b"", False)


@pytest.mark.parametrize("longer", [False, True])
def test_a_log_that_is_written_anew_is_read_from_its_beginning(tmp_path: Path, longer: bool) -> None:
    path = tmp_path / "qemu.log"
    path.write_text("old line\n")
    tail = LogTail(path)
    text = "BdsDxe\n" * (9 if longer else 1)
    path.write_text(text)
    assert (tail.new(), tail.fresh) == (text.encode(), True)
    with path.open("a") as more:
        more.write("next\n")
    assert tail.new() == b"next\n"


def test_a_log_that_is_another_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "qemu.log"
    path.write_text("same\n")
    tail = LogTail(path)
    (tmp_path / "new").write_text("same\nand more\n")
    (tmp_path / "new").replace(path)
    assert tail.new() == b"same\nand more\n"


def test_a_log_that_was_not_there_is_of_this_run(tmp_path: Path) -> None:
    tail = LogTail(tmp_path / "qemu.log")
    assert (tail.new(), tail.fresh) == (b"", False)
    (tmp_path / "qemu.log").write_text("first\n")
    assert (tail.new(), tail.fresh) == (b"first\n", True)


def test_only_logs_of_a_bearable_size_are_kept(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    small, large = tmp_path / "qemu.log", tmp_path / "qemu-serial.log"
    small.write_text("x")
    with large.open("wb") as file:
        file.truncate(16 << 20)
    keep_logs((small, large, tmp_path / "gone.log"), run_dir)
    assert [path.name for path in run_dir.iterdir()] == ["qemu.log"]


# ---- the tree -------------------------------------------------------------------------------------


def test_a_tree_serves_one_run_at_a_time(tmp_path: Path) -> None:
    first = TreeLock(tmp_path)
    with pytest.raises(UsageError, match="one run at a time") as caught:
        TreeLock(tmp_path)
    assert "--source" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []
    first.release()
    first.release()
    TreeLock(tmp_path).release()


def test_the_lock_goes_with_a_process_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from labkit.container.tree import TreeLock; lock = "
        "TreeLock(pathlib.Path(sys.argv[1]));"
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(UsageError):
            TreeLock(tmp_path)
        other.kill()
    TreeLock(tmp_path).release()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of two owners")
def test_files_of_root_in_a_users_tree_are_seen(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target/file").write_text("x")
    for path in (tmp_path, tmp_path / "target", tmp_path / "target/file"):
        os.chown(path, 1000, 1000)
    assert not foreign_entries(tmp_path, 1000)
    os.chown(tmp_path / "target/file", 0, 0)
    assert foreign_entries(tmp_path, 1000)
    assert not foreign_entries(tmp_path, 0)
    os.chown(tmp_path, 0, 0)
    assert not foreign_entries(tmp_path, 1000)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.18.1\n", "0.18.1"),
        ("v0.9.0", "0.9.0"),
        ("0.19.0-dev", "0.19.0"),
        ("next", None),
        ("", None),
        (None, None),
    ],
)
def test_the_version_of_a_tree(tmp_path: Path, text: str | None, version: str | None) -> None:
    if text is not None:
        (tmp_path / "VERSION").write_text(text)
    assert tree_version(tmp_path) == version


# ---- the profile ----------------------------------------------------------------------------------


def tree(folder: Path, version: str) -> Path:
    (folder / "VERSION").write_text(version)
    return folder


@pytest.mark.parametrize("variables", [{"INTEL_TDX": "1"}, {"SCHEME": "tdx"}])
@pytest.mark.parametrize("name", [None, "0.18.1", "0.18.1-tdx"])
def test_a_td_by_a_variable_is_checked_like_any(name: str | None, variables: dict[str, str]) -> None:
    with pytest.raises(MissingComponent, match="this host is"):
        profile_of(RunRequest(profile=name, variables=variables), NOT_READY)


def test_where_the_host_can_the_variable_gives_the_td(tmp_path: Path) -> None:
    from labkit.host import collect

    host = diagnose(collect(build(BY_NAME["good-6.17"], tmp_path)))
    chosen, why = profile_of(RunRequest(profile="0.18.1", variables={"INTEL_TDX": "1"}), host)
    assert chosen.name == "0.18.1-tdx"
    assert "make is asked for a TD" in why
    with pytest.raises(UsageError, match="boots a TD"):
        profile_of(RunRequest(profile="0.18.1-tdx", variables={"INTEL_TDX": "0"}), host)


def test_the_tree_of_another_version_is_noticed(tmp_path: Path) -> None:
    source = tree(tmp_path, "0.9.0")
    with pytest.raises(UsageError, match=r"is version 0\.9\.0") as caught:
        profile_of(RunRequest(profile="0.18.1", source=source), NOT_READY)
    assert "--profile 0.9.0" in caught.value.remedy
    chosen, why = profile_of(RunRequest(source=source), NOT_READY)
    assert chosen.name == "0.9.0"
    assert "the source tree is version 0.9.0" in why


def test_a_tree_of_an_unknown_version_runs_and_is_said(tmp_path: Path) -> None:
    chosen, why = profile_of(RunRequest(profile="0.18.1", source=tree(tmp_path, "0.99.0")), NOT_READY)
    assert chosen.name == "0.18.1"
    assert any("0.99.0, which labkit has no profile of" in reason for reason in why)


def test_without_a_word_of_the_version_the_profile_stands(tmp_path: Path) -> None:
    chosen, why = profile_of(RunRequest(profile="0.18.1", source=tmp_path), NOT_READY)
    assert (chosen.name, len(why)) == ("0.18.1", 1)


@pytest.mark.parametrize("name", PROFILES)
def test_as_documented_uses_the_documented_image(name: str) -> None:
    row = PROFILES[name]
    shown = preview(row, "https://example.org/asterinas", {})
    assert shown.documented.endswith(f" {row.documented_image}")
    assert row.image in shown.own
    if row.version == "0.18.1":
        assert row.documented_image == "asterinas/dev:0.18.1-20260805"


@pytest.mark.parametrize(
    ("documented", "image"), [(True, "asterinas/dev:"), (False, "asterinas/kernel-dev:")]
)
def test_a_run_takes_the_image_of_its_way(documented: bool, image: str) -> None:
    request = RunRequest(as_documented=documented)
    nothing: Any = None
    there: Any = SimpleNamespace(has=lambda reference: True)
    found = plans.choose_image(there, PROFILES["0.18.1"], nothing, request)
    assert found.startswith(image)
    named = RunRequest(as_documented=documented, image="mine:1")
    assert plans.choose_image(there, PROFILES["0.18.1"], nothing, named) == "mine:1"


@pytest.mark.parametrize(
    ("request_", "td", "kvm", "words"),
    [
        (RunRequest(), False, False, {"ENABLE_KVM": "0"}),
        (RunRequest(), False, True, {}),
        (RunRequest(), True, False, {}),
        (RunRequest(memory=512, smp=2), False, True, {"MEM": "512M", "SMP": "2"}),
        (RunRequest(variables={"RELEASE": "1"}), True, True, {"RELEASE": "1"}),
        (RunRequest(memory=512, variables={"MEM": "2G"}), True, True, {"MEM": "2G"}),
    ],
)
def test_the_variables_of_make(request_: RunRequest, td: bool, kvm: bool, words: dict[str, str]) -> None:
    assert request_.make_variables(td=td, kvm=kvm) == words
