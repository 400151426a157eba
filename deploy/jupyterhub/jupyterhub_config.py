"""A classroom on one server: JupyterHub, its proxy, and a closed room of bubblewrap for each student.

Every student's server sees its own folder and nothing of the others: neither files nor processes. All of
them run as the user that runs the hub; no system accounts are made. Start it with::

    export LABKIT_HUB=/srv/labkit LABKIT_COURSE=/srv/labkit/course
    jupyterhub -f deploy/jupyterhub/jupyterhub_config.py

``LABKIT_HUB`` holds ``students/ID`` (home and assignments), ``inbox/ID`` (what was handed in) and the hub's
own secrets. ``labkit assignment release NAME --output $LABKIT_HUB/students`` gives out, and
``labkit grade NAME $LABKIT_HUB/inbox`` takes in.
"""

import os
import resource
import shutil
import sys
from pathlib import Path

from jupyterhub.spawner import SimpleLocalProcessSpawner

hub = Path(os.environ.get("LABKIT_HUB", "/srv/labkit")).absolute()
course = Path(os.environ.get("LABKIT_COURSE", hub / "course")).absolute()
# A TDVM needs 512 MiB; this is what one process of a student may take, QEMU included. A TDVM that does not
# fit is refused by QEMU, and labkit says so.
memory = int(os.environ.get("LABKIT_HUB_MEMORY_MIB", "4096")) << 20
idle = int(os.environ.get("LABKIT_HUB_IDLE_SECONDS", "3600"))


class BubblewrapSpawner(SimpleLocalProcessSpawner):
    """Runs a student's server in namespaces of its own, with the student's folders only."""

    def folders(self) -> tuple[Path, Path]:
        """The student's home and inbox, made if they are not there."""
        made = (hub / "students" / self.user.name, hub / "inbox" / self.user.name)
        for folder in made:
            folder.mkdir(parents=True, exist_ok=True)
        return made

    def user_env(self, env):
        """The environment of the student's server."""
        home = str(hub / "students" / self.user.name)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "/usr/bin:/bin")])
        return {**env, "HOME": home, "USER": self.user.name, "SHELL": "/bin/bash", "PATH": path}

    def make_preexec_fn(self, name):
        """Bound the memory of each process, and never gain a right."""

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

        return limit

    async def start(self):
        """Start the server inside bubblewrap."""
        home, inbox = self.folders()
        cache = os.environ.get("LABKIT_CACHE_DIR") or str(Path.home() / ".cache" / "labkit")
        room = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc"]
        room += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
        for device in ("/dev/kvm", "/dev/vhost-vsock"):
            room += ["--dev-bind-try", device, device]
        # What nobody may see: the other students, the hub's secrets, the course's seed, the teacher's keys.
        for secret in (hub, course, Path.home() / ".local" / "state"):
            if secret.is_dir() and not (secret != hub and secret.is_relative_to(hub)):
                room += ["--tmpfs", str(secret)]
        room += ["--bind", str(home), str(home), "--bind", str(inbox), str(inbox)]
        # Firmware and guest kernel were downloaded once; snapshots are each student's own.
        for part in ("firmware", "guest", "packages"):
            if (Path(cache) / part).is_dir():
                room += ["--ro-bind", str(Path(cache) / part), f"{home}/.cache/labkit/{part}"]
        self.cmd = [*room, "--chdir", str(home), "--", sys.executable, "-m", "jupyterhub.singleuser"]
        return await super().start()


c = get_config()  # noqa: F821
c.JupyterHub.bind_url = os.environ.get("LABKIT_HUB_URL", "http://127.0.0.1:8000")
c.JupyterHub.spawner_class = BubblewrapSpawner
c.JupyterHub.db_url = f"sqlite:///{hub}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = f"{hub}/cookie_secret"
c.ConfigurableHTTPProxy.pid_file = f"{hub}/proxy.pid"
c.SimpleLocalProcessSpawner.home_dir_template = f"{hub}/students/{{username}}"
c.Spawner.notebook_dir = f"{hub}/students/{{username}}"
c.Spawner.default_url = "/lab"
c.Spawner.http_timeout = 120
c.Spawner.start_timeout = 120
c.Spawner.environment = {"LABKIT_UI": "static"}
# Culling: a kernel that is idle ends, and with it its TDVM; then the server itself.
c.Spawner.args = [
    f"--MappingKernelManager.cull_idle_timeout={idle}",
    "--MappingKernelManager.cull_interval=60",
    f"--ServerApp.shutdown_no_activity_timeout={2 * idle}",
    # All students share this machine's ports: what a kernel publishes is read with its key only.
    "--KernelManager.transport_encryption=auto",
    "--allow-root",
]
# Replace it: everybody who knows this password gets in, under any name that they give.
if os.environ.get("LABKIT_HUB_PASSWORD"):
    c.JupyterHub.authenticator_class = "dummy"
    c.DummyAuthenticator.password = os.environ["LABKIT_HUB_PASSWORD"]
    c.Authenticator.allow_all = True
if os.environ.get("CONFIGURABLE_HTTP_PROXY"):
    c.ConfigurableHTTPProxy.command = [os.environ["CONFIGURABLE_HTTP_PROXY"]]
if os.environ.get("LABKIT_HUB_TOKEN"):
    c.JupyterHub.services = [{"name": "teacher", "api_token": os.environ["LABKIT_HUB_TOKEN"]}]
    c.JupyterHub.load_roles = [
        {
            "name": "teacher",
            "services": ["teacher"],
            "scopes": ["admin:users", "admin:servers", "access:servers"],
        }
    ]
