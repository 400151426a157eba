"""Many hosts as one table: the same verdicts as one by one, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from labkit.errors import DataError, UsageError
from labkit.fleet.collector import collector_source
from labkit.fleet.ssh import collect_hosts
from labkit.fleet.summary import report_fleet
from labkit.host import collect, diagnose, load, save
from tests.host.hosts import BY_NAME, HOSTS, Host, build, cpuinfo

LABKIT = Path(sys.executable).with_name("labkit")
NAMES = [host.name for host in HOSTS]


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trees, folder = tmp_path_factory.mktemp("trees"), tmp_path_factory.mktemp("fleet")
    for host in HOSTS:
        save(collect(build(host, trees / host.name)), folder / f"{host.name}.json")
    return folder


def _labkit(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(LABKIT), *map(str, words)], capture_output=True, text=True)


def test_the_groups_are_what_verify_says_one_by_one(fleet: Path) -> None:
    done = _labkit("verify", "--fleet", fleet, "--json")
    found = json.loads(done.stdout)
    alone = {name: diagnose(load(fleet / f"{name}.json")) for name in NAMES}
    wanted = Counter((report.verdict.value, report.reason) for report in alone.values())
    assert {(group["verdict"], group["reason"]): group["count"] for group in found["groups"]} == dict(wanted)
    for group in found["groups"]:
        assert all(alone[host].reason == group["reason"] for host in group["hosts"])
        assert len(group["hosts"]) == group["count"]
    assert found["hosts"] == len(NAMES)
    assert done.returncode == 1


def test_many_files_are_read_on_all_cpus_to_the_same_end(fleet: Path, tmp_path: Path) -> None:
    for number in range(600):
        name = NAMES[number % len(NAMES)]
        (tmp_path / f"node{number:04}.json").symlink_to(fleet / f"{name}.json")
    (tmp_path / "node0007.json").unlink()
    (tmp_path / "node0007.json").write_text("{")
    report = report_fleet(tmp_path)
    assert [host.host for host in report.hosts] == [f"node{n:04}" for n in range(600) if n != 7]
    assert [lost.host for lost in report.unreadable] == ["node0007"]
    assert all(host.verdict.value == BY_NAME[NAMES[n]].verdict for n, host in enumerate(report.hosts[:7]))


@pytest.mark.parametrize(
    ("hosts", "code", "nagios"),
    [
        (["good-6.17"], 0, 0),
        (["good-6.17", "unreadable"], 2, 3),
        (["good-6.17", "td-guest", "unreadable"], 1, 2),
    ],
)
def test_the_exit_status_is_the_worst_there_is(
    fleet: Path, tmp_path: Path, hosts: list[str], code: int, nagios: int
) -> None:
    for name in hosts:
        text = (fleet / f"{name}.json").read_text() if name in BY_NAME else "no facts"
        (tmp_path / f"{name}.json").write_text(text)
    report = report_fleet(tmp_path)
    assert report.exit_code == code
    assert report.nagios()[1] == nagios
    assert _labkit("verify", "--fleet", tmp_path, "--format", "nagios").returncode == nagios


def test_what_differs_from_the_majority_is_named(fleet: Path, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"host{number}.json").write_text((fleet / "good-6.17.json").read_text())
    (tmp_path / "old.json").write_text((fleet / "good-6.8-intel.json").read_text())
    report = report_fleet(tmp_path)
    (kernel,) = [entry for entry in report.differences if entry.what == "kernel"]
    assert kernel.majority == "6.17.0-8-generic"
    assert kernel.others == {"6.8.0-1013-intel": ("old",)}
    assert "old" in str(report)


def test_a_host_whose_microcode_is_older_is_named(fleet: Path, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"host{number}.json").write_text((fleet / "good-6.17.json").read_text())
    behind = Host("behind", "READY", None, {"/proc/cpuinfo": cpuinfo(microcode="0x2b000111")})
    save(collect(build(behind, tmp_path / "tree")), tmp_path / "behind.json")
    (difference,) = report_fleet(tmp_path).differences
    assert (difference.what, difference.majority) == ("microcode", "0x2b000643")
    assert difference.others == {"0x2b000111": ("behind",)}


def test_what_a_file_is_called_is_no_markup_and_no_label(fleet: Path, tmp_path: Path) -> None:
    (tmp_path / '<b>"x\n\x1b[31m.json').write_text((fleet / "td-guest.json").read_text())
    report = report_fleet(tmp_path)
    assert "<b>" not in report.page()
    assert "\x1b" not in str(report) + report.prometheus()
    assert 'host="<b>\\"x␊"' in report.prometheus()


def test_no_file_name_forges_a_line_of_the_report(fleet: Path, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text((fleet / "td-guest.json").read_text())
    (tmp_path / "a\n9 hosts: 9 READY\nb.json").write_text("{")
    (tmp_path / os.fsdecode(b"\xff.json")).write_text((fleet / "td-guest.json").read_text())
    report = report_fleet(tmp_path)
    said = f"{report} {report.prometheus()} {report.page()}"
    assert said.encode()
    assert not any(line.startswith("9 hosts") for line in said.splitlines())


def test_what_is_no_file_is_named_and_not_left_out(fleet: Path, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text((fleet / "good-6.17.json").read_text())
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "device.json").symlink_to("/dev/zero")
    (tmp_path / "gone.json").symlink_to("nothing")
    report = report_fleet(tmp_path)
    assert [lost.host for lost in report.unreadable] == ["device", "gone", "pipe"]
    assert report.exit_code == 2
    assert "UnreadHost" not in report.page()


def test_an_empty_folder_is_no_fleet(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no facts file"):
        report_fleet(tmp_path)


def _pythons(minor: str) -> Path | None:
    """A Python of that version, where this machine has one: kept by pyenv, or in PATH."""
    if shutil.which("pyenv"):
        asked = subprocess.run(["pyenv", "prefix", minor], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            return Path(asked.stdout.strip(), "bin/python")
    found = shutil.which(f"python{minor}")
    return Path(found) if found else None


@pytest.mark.parametrize(("minor", "served"), [("3.8", True), ("3.7", False), ("2.7", False)])
def test_the_collector_on_a_real_old_python(tmp_path: Path, minor: str, served: bool) -> None:
    python = _pythons(minor)
    if python is None:
        pytest.skip(f"there is no Python {minor} here")
    script = tmp_path / "collect.py"
    script.write_text(collector_source())
    root = build(BY_NAME["good-6.17"], tmp_path / "root")
    words = [str(python), "-S", str(script), "--root", str(root), "--redact"]
    done = subprocess.run(words, capture_output=True, text=True, env={})
    if served:
        assert done.returncode == 0, done.stderr
        (tmp_path / "facts.json").write_text(done.stdout)
        assert diagnose(load(tmp_path / "facts.json")).verdict.value == "READY"
    else:
        assert done.returncode == 1
        assert done.stderr.startswith("labkit-collect needs Python 3.8 or newer, and this is ")


def test_the_collector_reads_a_host_as_verify_does(tmp_path: Path) -> None:
    script = tmp_path / "collect.py"
    script.write_text(collector_source())
    for host in HOSTS[:: max(1, len(HOSTS) // 8)]:
        root = build(host, tmp_path / host.name)
        for redact in ((), ("--redact",)):
            words = [sys.executable, "-I", "-S", str(script), "--root", str(root), *redact]
            done = subprocess.run(words, capture_output=True, text=True, env={})
            assert done.returncode == 0, done.stderr
            mine = tmp_path / "mine.json"
            _labkit("verify", "--root", root, *redact, "--save", mine)
            assert json.loads(done.stdout) == json.loads(mine.read_text())


def test_hosts_are_asked_over_ssh_and_the_silent_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f"*up*) exec {sys.executable} -I -S - ;;\n*liar*) cat >/dev/null; echo '{{}}' ;;\n"
        "*) echo 'Connection refused' >&2; exit 255 ;;\nesac\n"
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:/usr/bin:/bin")
    (tmp_path / "hosts").write_text("up1 # first\nliar\n\nroot@down\n")
    lost = collect_hosts(tmp_path / "hosts", tmp_path / "facts")
    assert [entry.host for entry in lost] == ["liar", "root@down"]
    assert "Connection refused" in lost[1].why
    assert [path.name for path in (tmp_path / "facts").iterdir()] == ["up1.json"]
    assert load(tmp_path / "facts/up1.json").items


def test_a_host_that_is_an_option_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("-oProxyCommand=id\n")
    with pytest.raises(DataError, match="is not a host"):
        collect_hosts(tmp_path / "hosts", tmp_path / "facts")
