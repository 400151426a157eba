"""A classroom on one server: JupyterHub, its proxy, and a closed room of bubblewrap for each student.

Every student's server sees its own folder and nothing of the others: neither files nor processes. Start it
with::

    export LABKIT_HUB=/srv/labkit LABKIT_COURSE=/srv/labkit/course
    jupyterhub -f deploy/jupyterhub/jupyterhub_config.py

``LABKIT_HUB`` holds ``students/ID`` (home and assignments), ``inbox/ID`` (what was handed in) and the hub's
own secrets. ``labkit assignment release NAME --output $LABKIT_HUB/students`` gives out, and
``labkit grade NAME $LABKIT_HUB/inbox`` takes in.

All servers run as the user that runs the hub, and no system accounts are needed. With
``LABKIT_HUB_ACCOUNTS=1`` the hub runs as root, and each server as the system's account of its student.
"""

import os
import resource
import shutil
import stat
import sys
from pathlib import Path

from jupyterhub.auth import PAMAuthenticator
from jupyterhub.spawner import LocalProcessSpawner, SimpleLocalProcessSpawner

import labkit

hub = Path(os.environ.get("LABKIT_HUB", "/srv/labkit")).absolute()
course = Path(os.environ.get("LABKIT_COURSE", hub / "course")).absolute()
accounts = os.environ.get("LABKIT_HUB_ACCOUNTS") == "1"
# What all TDVMs of a student may have together; labkit says what does not fit.
budget = int(os.environ.get("LABKIT_HUB_TDVM_MIB", "1024"))
# What one process of a student may take, QEMU included, whatever the student changes.
memory = int(os.environ.get("LABKIT_HUB_MEMORY_MIB", "4096")) << 20
idle = int(os.environ.get("LABKIT_HUB_IDLE_SECONDS", "3600"))
cache = Path(os.environ.get("LABKIT_CACHE_DIR") or Path.home() / ".cache" / "labkit")

# All that a student's server sees of this machine, besides its own folders.
SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/sys/devices/system/cpu"]
ETC = """
passwd group nsswitch.conf hosts host.conf resolv.conf localtime timezone os-release debian_version
swtpm_setup.conf swtpm-localca.conf swtpm-localca.options ld.so.cache alternatives ssl/certs ssl/openssl.cnf
ca-certificates fonts mime.types profile bash.bashrc
"""
SYSTEM += [f"/etc/{name}" for name in ETC.split()]
PYTHON = [sys.prefix, sys.base_prefix, str(Path(labkit.__file__).parents[1])]
PYTHON += [path for path in sys.path if path.endswith("site-packages")]


def closed(folder: Path, mode: int) -> Path:
    """A folder of the hub, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(mode)
    return folder


def give(folder: Path, uid: int, gid: int) -> None:
    """Give a student what the hub's own user put into a folder; links lead nowhere."""
    for _, folders, files, here in os.fwalk(folder, follow_symlinks=False):
        for name in (".", *folders, *files):
            found = os.stat(name, dir_fd=here, follow_symlinks=False)
            alone = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
            if alone and found.st_uid == os.geteuid() != uid:
                os.chown(name, uid, gid, dir_fd=here, follow_symlinks=False)


class BubblewrapSpawner(LocalProcessSpawner if accounts else SimpleLocalProcessSpawner):
    """Runs a student's server in namespaces of its own, with the student's folders only."""

    def folders(self) -> tuple[Path, Path]:
        """The student's home and inbox."""
        made = (hub / "students" / self.user.name, hub / "inbox" / self.user.name)
        for folder in made:
            closed(folder, 0o700)
            if accounts:
                import pwd

                account = pwd.getpwnam(self.user.name)
                give(folder, account.pw_uid, account.pw_gid)
        return made

    def user_env(self, env):
        """The environment of the student's server."""
        home = str(hub / "students" / self.user.name)
        path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin:/usr/bin:/bin"])
        return {**env, "HOME": home, "USER": self.user.name, "SHELL": "/bin/bash", "PATH": path}

    def make_preexec_fn(self, name):
        """Become the student, where there is an account; bound the memory of each process."""
        become = super().make_preexec_fn(name)

        def limit() -> None:
            become()
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

        return limit

    async def start(self):
        """Start the server inside bubblewrap."""
        home, inbox = self.folders()
        room = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc"]
        # Root inside would lift the walls again.
        room += ["--cap-drop", "ALL"]
        room += ["--dev", "/dev", "--proc", "/proc", "--perms", "1777", "--tmpfs", "/tmp"]
        for path in SYSTEM:
            if Path(path).is_symlink() and path.count("/") == 1:
                room += ["--symlink", str(Path(path).readlink()), path]
            else:
                room += ["--ro-bind-try", path, path]
        for path in dict.fromkeys(PYTHON):
            room += ["--ro-bind", path, path]
        for device in ("/dev/kvm", "/dev/vhost-vsock"):
            room += ["--dev-bind-try", device, device]
        # They may lie below what is shown: the other students, the hub's secrets, the course's seed.
        for secret in (hub, course):
            if any(secret.is_relative_to(shown) for shown in (*SYSTEM, *PYTHON)):
                room += ["--tmpfs", str(secret)]
        room += ["--bind", str(home), str(home), "--bind", str(inbox), str(inbox)]
        # Firmware and guest kernel were downloaded once; snapshots are each student's own.
        for part in ("firmware", "guest", "packages"):
            if (cache / part).is_dir():
                room += ["--ro-bind", str(cache / part), f"{home}/.cache/labkit/{part}"]
        self.cmd = [*room, "--chdir", str(home), "--", sys.executable, "-m", "jupyterhub.singleuser"]
        return await super().start()


# What the hub writes is for its own user alone; students pass through its folder to their own.
os.umask(0o077)
for folder in (hub, hub / "students", hub / "inbox"):
    closed(folder, 0o711)

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
c.Spawner.environment = {
    "LABKIT_UI": "static",
    "LABKIT_MEMORY_MIB": str(budget),
    # JupyterLab as `labkit notebooks open` has it: no news, and none of nbgrader's buttons for teachers.
    "JUPYTER_CONFIG_PATH": str(Path(labkit.__file__).parent / "learn" / "jupyter"),
}
# Culling: a kernel that is idle ends, and with it its TDVM; then the server itself.
c.Spawner.args = [
    f"--MappingKernelManager.cull_idle_timeout={idle}",
    "--MappingKernelManager.cull_interval=60",
    f"--ServerApp.shutdown_no_activity_timeout={2 * idle}",
    # All students share this machine's ports: what a kernel publishes is read with its key only.
    "--KernelManager.transport_encryption=auto",
    "--allow-root",
]
if accounts:
    c.JupyterHub.authenticator_class = PAMAuthenticator
    c.Authenticator.allow_all = True
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
