"""The classroom server: a real JupyterHub with its real proxy, and two students at once."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from labkit.course import release
from labkit.course.classes import grade_class
from labkit.course.course import init_course
from labkit.course.exercises import exercise
from labkit.process import scratch_folder
from labkit.settings import Settings

from ..bring import proxy
from .test_ordinary_user import NOBODY, everybodys_python

CONFIG = Path(__file__).parents[2] / "deploy" / "jupyterhub" / "jupyterhub_config.py"
BROUGHT = proxy(Settings.load())
PROXY = os.environ.get("CONFIGURABLE_HTTP_PROXY") or (str(BROUGHT) if BROUGHT.exists() else None)
# Accounts of the system have these names for a while.
STUDENTS = ("labkit-ada", "labkit-bob")
DEADLINE = 240.0

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(PROXY is None, reason="the hub's proxy could not be fetched"),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="the hub of this test is root's"),
]

BOOT = """
from labkit import lab
try:
    lab.boot("emulated", memory=1025)
except LabkitError as error:
    print("refused:", error)
with lab.boot("emulated", memory=512, cold=True) as tdvm:
    print(tdvm.run("echo inside $((6 * 7))").output.strip())
"""
WORK = """
import ctypes, ipykernel, os, subprocess, sys
from pathlib import Path
from labkit.errors import LabkitError
print("sockets encrypted", "curve_publickey" in ipykernel.get_connection_info())
home, me = Path.home(), os.environ["USER"]
hub = home.parents[1]
shared = [home / ".cache" / "labkit" / part for part in ("firmware", "guest", "packages")]
def foreign(path):
    try:
        return path.stat().st_uid != os.getuid()
    except FileNotFoundError:  # a file that the server beside us was done with
        return False
strange = [path for path in home.rglob("*") if foreign(path)]
strange = [path for path in strange if not any(map(path.is_relative_to, shared))]
print("accounts", os.getuid() != 0, strange, [path for path in shared if os.access(path, os.W_OK)])
BOOT
os.chdir(home / "mrtd")
from labkit.course import open_work
print(repr(open_work("mrtd")))
target = hub / "inbox" / me / "mrtd.zip"
done = subprocess.run([sys.executable, "-m", "labkit", "submit", "mrtd", "--output", str(target)])
print("submitted", done.returncode)
libc = ctypes.CDLL(None)
for place in (hub, home.parent, "/tmp", "/etc"):
    libc.umount2(str(place).encode(), 2)
libc.unshare(0x10020000)
for place in (hub, home.parent):
    libc.umount2(str(place).encode(), 2)
print("students", sorted(path.name for path in home.parent.iterdir()))
print("inboxes", sorted(path.name for path in target.parents[1].iterdir()))
print("hub", sorted(path.name for path in hub.iterdir()))
others = [path for path in Path("/proc").glob("[0-9]*/environ") if b"USER=OTHER" in path.read_bytes()]
print("processes of the other", len(others))
print("secrets", [path for path in ("/etc/shadow", "COURSE", "/root/.ssh") if os.path.exists(path)])
"""


@contextmanager
def system_accounts() -> Iterator[None]:
    """An account of this system for each student, while the test runs."""
    try:
        for student in STUDENTS:
            subprocess.run(["useradd", "--no-create-home", "--home-dir", "/nonexistent", student], check=True)
        yield
    finally:
        for student in STUDENTS:
            subprocess.run(["userdel", student], stderr=subprocess.DEVNULL)


def free_ports(count: int) -> list[int]:
    """Held together, so that no two are the same."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(server.getsockname()[1]) for server in servers]


class Hub:
    """A hub that answers."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.headers = {"Authorization": f"token {token}"}

    def call(self, verb: str, path: str, **more: Any) -> requests.Response:
        return requests.request(verb, f"{self.url}{path}", headers=self.headers, timeout=30, **more)

    def start(self, student: str) -> None:
        for path in (f"/hub/api/users/{student}", f"/hub/api/users/{student}/server"):
            assert (done := self.call("POST", path)).ok, f"{path}: {done.status_code} {done.text[:500]}"

    def ready(self, student: str) -> bool:
        """The hub says so, and the proxy leads there: one is true a moment before the other."""
        found = self.call("GET", f"/hub/api/users/{student}")
        if not (found.ok and found.json().get("servers", {}).get("", {}).get("ready")):
            return False
        reply = self.call("GET", f"/user/{student}/api/kernels")
        return reply.ok and "json" in reply.headers.get("Content-Type", "")

    async def run(self, student: str, code: str) -> str:
        """Run code in a kernel of a student's server, through the proxy; returns what it printed."""
        from tornado.httpclient import HTTPRequest
        from tornado.websocket import websocket_connect

        made = self.call("POST", f"/user/{student}/api/kernels", json={"name": "python3"})
        assert made.status_code == 201, f"{student}: {made.status_code} {made.url} {made.text[:500]}"
        kernel = made.json()["id"]
        address = f"{self.url.replace('http', 'ws', 1)}/user/{student}/api/kernels/{kernel}/channels"
        socket_ = await websocket_connect(HTTPRequest(address, headers=self.headers))
        ident = uuid.uuid4().hex
        header = {
            "msg_id": ident,
            "msg_type": "execute_request",
            "username": "",
            "session": ident,
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        try:
            await socket_.write_message(json.dumps({**message, "channel": "shell", "buffers": []}))
            text = ""
            while True:
                reply = json.loads(await socket_.read_message() or "{}")
                if reply.get("parent_header", {}).get("msg_id") != ident:
                    continue
                if reply["msg_type"] == "stream":
                    text += reply["content"]["text"]
                elif reply["msg_type"] == "error":
                    text += "\n".join(reply["content"]["traceback"])
                elif reply["msg_type"] == "execute_reply":
                    return text
        finally:
            socket_.close()
            while await socket_.read_message() is not None:
                pass


@contextmanager
def running(folder: Path, python: Path, **more: str) -> Iterator[Hub]:
    public, private, api = free_ports(3)
    url, token = f"http://127.0.0.1:{public}", secrets.token_hex(16)
    names = {
        "LABKIT_HUB": str(folder / "hub"),
        "LABKIT_COURSE": str(folder / "course"),
        "LABKIT_HUB_URL": url,
        "LABKIT_HUB_TOKEN": token,
        "LABKIT_HUB_PASSWORD": secrets.token_hex(8),
        "CONFIGURABLE_HTTP_PROXY": str(PROXY),
        "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(16),
        **more,
    }
    ports = [
        f"--JupyterHub.hub_port={private}",
        f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{api}",
    ]
    with (folder / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [str(python), "-m", "jupyterhub", "-f", str(CONFIG), *ports],
            env={**os.environ, **names},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        hub = Hub(url, token)
        wait(lambda: process.poll() is not None or answers(hub), folder)
        assert process.poll() is None, (folder / "hub.log").read_text()[-4000:]
        yield hub
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def answers(hub: Hub) -> bool:
    try:
        return hub.call("GET", "/hub/api/").ok
    except requests.RequestException:
        return False


def wait(what: Any, folder: Path) -> None:
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, (folder / "hub.log").read_text()[-4000:]
        time.sleep(0.2)


def work_of_both(folder: Path, code: str, python: Path, **more: str) -> list[str]:
    """Let both students work at the same time, and grade what comes in; returns what their kernels said."""
    (folder / "roster.csv").write_text("id\n" + "".join(f"{student}\n" for student in STUDENTS))
    course = init_course(folder / "roster.csv", folder / "course")
    (folder / "hub").mkdir()
    release(course, exercise("mrtd"), folder / "hub" / "students", solutions=True)
    with running(folder, python, **more) as hub:
        for student in STUDENTS:
            hub.start(student)
        for student in STUDENTS:
            wait(lambda who=student: hub.ready(who), folder)

        async def both() -> list[str]:
            tasks = []
            for student, other in zip(STUDENTS, reversed(STUDENTS), strict=True):
                own = code.replace("OTHER", other).replace("COURSE", str(course.folder))
                tasks.append(hub.run(student, own))
            return await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE)

        said = asyncio.run(both())
    for student, text in zip(STUDENTS, said, strict=True):
        assert f"Work(mrtd, variant of {student})" in text, text
        assert "sockets encrypted True" in text
        assert "submitted 0" in text
        assert f"students ['{student}']" in text
        assert f"inboxes ['{student}']" in text
        assert "hub ['inbox', 'students']" in text
        assert "processes of the other 0" in text
        assert "secrets []" in text
    done = grade_class(course, exercise("mrtd"), folder / "hub" / "inbox", 1, rerun=False)
    assert {row.student: (row.score, row.flags) for row in done.rows} == dict.fromkeys(STUDENTS, (6, ()))
    return said


def test_two_students_boot_and_hand_in_and_see_nothing_of_each_other(tmp_path: Path) -> None:
    for text in work_of_both(tmp_path, WORK.replace("BOOT", BOOT), Path(sys.executable)):
        assert "inside 42" in text, text
        assert "refused: 1025 MiB of memory does not fit your share" in text


def test_servers_run_as_the_accounts_of_their_students() -> None:
    """The hub is root, and LocalProcessSpawner becomes the student; a boot would be the other test's."""
    with everybodys_python() as (python, _), scratch_folder("labkit-test-hub-") as folder, system_accounts():
        if subprocess.run([*NOBODY, python, "-c", "import jupyterhub, labkit"]).returncode:
            pytest.skip("an ordinary user may not read this copy of labkit")
        if subprocess.run([*NOBODY, "bwrap", "--unshare-user", "--ro-bind", "/", "/", "true"]).returncode:
            pytest.skip("an ordinary user may not make namespaces here")
        folder.chmod(0o755)
        cache = folder / "cache"
        boot = BOOT if os.environ.get("LABKIT_HUB_BOOTS") else ""
        if boot:
            for part in ("firmware", "guest", "packages"):
                shutil.copytree(Settings.load().cache_dir / part, cache / part)
        code = WORK.replace("BOOT", boot)
        said = work_of_both(folder, code, python, LABKIT_HUB_ACCOUNTS="1", LABKIT_CACHE_DIR=str(cache))
        for text in said:
            assert "accounts True [] []" in text, text
            assert not boot or "inside 42" in text, text
