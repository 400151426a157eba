"""What is made of configuration files, of line ends and of files that no facts can be read from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labkit.errors import DataError
from labkit.host import collect, load
from labkit.host.log import read_log_text
from labkit.host.model import Fact
from tests.host.hosts import Host, build

LINE = "virt/tdx: module initialized"


def fact(name: str, path: str, content: str, folder: Path) -> Fact:
    return collect(build(Host("h", "READY", None, {path: content}), folder)).items[name]


@pytest.mark.parametrize(
    ("conf", "port"),
    [("port = 4050\n", 4050), ("\n  port=1\n", 1), ("# port = 4050\n", 0), ("", 0), ("port = 4050x\n", 0)],
)
def test_port_of_the_quote_service_is_read_and_none_is_0(conf: str, port: int, tmp_path: Path) -> None:
    assert fact("qgs.port", "/etc/qgs.conf", conf, tmp_path).value == port


@pytest.mark.parametrize(
    ("word", "value"),
    [("true", True), ("Yes", True), ("1", True), ("FALSE", False), ("no", False), ("0", False)],
)
def test_each_spelling_of_the_switch_is_kept_as_it_was_written(
    word: str, value: bool, tmp_path: Path
) -> None:
    found = fact("qcnl.secure", "/etc/sgx_default_qcnl.conf", f"USE_SECURE_CERT={word}\n", tmp_path)
    assert (found.value, found.raw) == (value, word)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_line_is_a_line_however_it_ends(ends: str) -> None:
    log = read_log_text(ends.join([f"[    {n}.000000] {LINE} {n}" for n in range(20)]) + ends, "log")
    assert log.total_lines == 20


@pytest.mark.parametrize("kind", ["fifo", "folder", "large"])
def test_what_cannot_hold_the_facts_of_a_host_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
        os.truncate(path, 1 << 40)
    with pytest.raises(DataError, match=r"facts.json does not hold the facts of a host: .+\."):
        load(path)
