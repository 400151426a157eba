"""Every end of a run of the flow, on a real engine: who ended it is named, and a result is left."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.container.engine import Engine, connect
from labkit.container.tree import foreign_entries, hand_back
from tests.container.conftest import Flow, contract_tree
from tests.container.test_run import QUICK, containers, newest, started

pytestmark = pytest.mark.docker


@pytest.mark.parametrize(
    ("how", "said"),
    [("remove", "removed from outside"), ("kill", "killed from outside"), ("stop", "stopped from outside")],
)
def test_who_ended_the_container_is_named(flow: Flow, engine: Engine, how: str, said: str) -> None:
    process = started(flow)
    (name,) = containers(engine)
    client = connect(engine)
    try:
        if how == "remove":
            client.api.remove_container(name, force=True)
        elif how == "kill":
            client.api.kill(name)
        else:
            client.api.stop(name, timeout=1)
    finally:
        client.close()
    _, stderr = process.communicate(timeout=90)
    assert process.returncode == 1, stderr
    assert "engine went away" not in stderr
    result = newest(flow)
    assert (result["verdict"], result["booted"]) == ("FAILED", False)
    assert said in result["sentence"]
    assert containers(engine) == set()


def test_a_run_that_cannot_start_leaves_a_result(flow: Flow) -> None:
    ran = flow(*QUICK, "--image", "labkit-test-base:trixie")
    assert ran.status == 69, ran.stderr
    assert "has no `make`" in ran.stderr
    assert "has no `make`" in newest(flow)["error"]


def test_one_run_a_tree_and_its_logs_are_its_own(flow: Flow, engine: Engine, tmp_path: Path) -> None:
    tree = contract_tree(tmp_path, "0.18.1")
    (tree / "qemu.log").write_text("OSTD initialized. Preparing components.\n~ # Successfully booted.\n")
    argv = flow.argv(*QUICK, "--source", str(tree), fault="hang")
    first = started(flow, argv)
    second = flow(*QUICK, "--source", str(tree))
    assert second.status == 64
    assert "one run at a time" in second.stderr
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    third = flow(*QUICK, "--source", str(tree), fault="tool")
    assert third.status == 1
    assert third.result["stage"] == "container"
    assert not (Path(third.result["run_dir"]) / "qemu.log").exists()


def test_a_td_by_a_variable_is_refused_before_anything_starts(flow: Flow) -> None:
    ran = flow(*QUICK, "--make", "INTEL_TDX=1")
    assert ran.status == 69
    assert "0.18.1, the ordinary guest" in ran.stderr


def test_a_tree_of_another_version_is_refused(flow: Flow, tmp_path: Path) -> None:
    ran = flow(*QUICK, "--source", str(contract_tree(tmp_path, "0.9.0")))
    assert ran.status == 64
    assert "--profile 0.9.0" in ran.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_timeout_that_is_none_is_refused(flow: Flow, seconds: str) -> None:
    ran = flow(*QUICK, "--timeout", seconds)
    assert ran.status == 64
    assert "--timeout" in ran.stderr


def test_a_build_that_speaks_much_and_long_boots(flow: Flow) -> None:
    ran = flow(*QUICK, fault="long")
    assert ran.status == 0, ran.stdout


def test_what_a_run_as_root_made_is_given_back(
    engine: Engine, contract_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.rootless or os.getuid() != 0:
        pytest.skip("files of two owners need root")
    tree = tmp_path / "tree"
    (tree / "target/deep").mkdir(parents=True)
    (tree / "target/deep/disk.img").write_text("x")
    (tree / "target/link").symlink_to("/etc/passwd")
    for path in (tmp_path, tree):
        os.chown(path, 1234, 1234)
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    monkeypatch.setattr(os, "getgid", lambda: 1234)
    said: list[str] = []
    client = connect(engine)
    try:
        assert foreign_entries(tree, 1234)
        hand_back(client, engine, contract_image, tree, said.append)
    finally:
        client.close()
    assert said == []
    owners = {path.lstat().st_uid for path in (tree, *tree.rglob("*"))}
    assert owners == {1234}
    assert Path("/etc/passwd").stat().st_uid == 0
    assert containers(engine) == set()


class Typist:
    """A user at a terminal: types, and waits for what the program answers."""

    def __init__(self, argv: list[str], environ: dict[str, str], runs: Path) -> None:
        self.runs = runs
        self.end, inside = pty.openpty()
        self.process = subprocess.Popen(
            argv, stdin=inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
        )
        os.close(inside)
        assert self.process.stdout is not None
        self.text = ""
        self.came = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while part := self.process.stdout.read(1):
            with self.came:
                self.text += part
                self.came.notify_all()

    def type(self, text: str) -> None:
        os.write(self.end, text.encode())

    def wait_for(self, words: str, after: int = 0) -> int:
        with self.came:
            assert self.came.wait_for(lambda: words in self.text[after:], timeout=120), self.text
            return self.text.index(words, after) + len(words)

    def wait_for_guest(self, words: str) -> None:
        """What a command prints is shown at its end; the console's log has it at once."""
        deadline = time.monotonic() + 120
        while not any(words in log.read_text(errors="replace") for log in self.runs.glob("*/*.log")):
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)


@pytest.fixture
def typist(flow: Flow, tmp_path: Path) -> Iterator[Typist]:
    environ = {**flow.environ, "LABKIT_STATE_DIR": str(tmp_path)}
    user = Typist(flow.argv(*QUICK[:-1]), environ, tmp_path / "runs")
    yield user
    user.process.kill()
    user.process.wait()
    user.reader.join()
    assert user.process.stdout is not None
    user.process.stdout.close()
    os.close(user.end)


def test_ctrl_c_reaches_the_command_and_not_the_machine(typist: Typist) -> None:
    place = typist.wait_for("tdvm# ")
    typist.type("echo be''gun; sleep 1000\n")
    typist.wait_for_guest("begun")
    typist.process.send_signal(signal.SIGINT)
    place = typist.wait_for("[exit status 130]", place)
    place = typist.wait_for("tdvm# ", place)
    typist.process.send_signal(signal.SIGINT)
    place = typist.wait_for("tdvm# ", place)
    typist.type("echo $((6 * 7))\n")
    typist.wait_for("42", place)
    typist.type("poweroff -f\n")
    assert typist.process.wait(60) == 0, typist.text
