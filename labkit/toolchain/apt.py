"""Debian and Ubuntu packages: what is missing is looked up, downloaded, then installed or merely unpacked.

The package lists and the downloads live in a private directory, so that nothing of this needs root
and the system's own lists stay as they are. Only :meth:`Apt.install` changes the system.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.download import PROXY, PROXY_PASSWORD, asks_for_a_password, proxy_of
from labkit.errors import LabkitError, MissingComponent, StorageError
from labkit.process import Completed, run

Progress = Callable[[str], None]

_UPDATE_SECONDS = 600.0
_FETCH_SECONDS = 3600.0
_TICK_SECONDS = 3.0

# The C library belongs to the running system's loader: mixing two versions of it cannot work.
_NEVER_UNPACKED = ("libc6_", "libc-bin_")

_NO_SPACE = re.compile(r"No space left on device|enough free space")
_NO_NETWORK = re.compile(
    r"Temporary failure|Could not resolve|Failed to fetch|Unable to connect|Could not connect"
    r"|[Tt]imed out|unreachable|Connection refused"
)
_ADDRESS = re.compile(r"https?://[^\s/]+/")
_SERVER = "http://deb.debian.org/"
_CERTIFICATE = re.compile(r"[Cc]ertificate verif|CERTIFICATE_VERIFY|certificate is (?:NOT|not) trusted")
# Not every lock that cannot be had is held: apt names the other reasons.
_BUSY = re.compile(r"Could not get lock(?!.* open \((?!11:))|is another process using it")
_PLAIN_DISK = re.compile(
    r"Could not get lock.*(?:not implemented|No locks available)|(?:sym|hard ?)link.*not permitted"
    r"|Operation not supported"
)
_SIZE = re.compile(r"^'[^']*' \S+ (\d+)", re.MULTILINE)
# A kernel's packages need each other in exactly its version, or are named after its release. Which of them
# carries what has changed from one distribution to the next, and will again.
_RELEASE = re.compile(r"-\d+\.\d+[\w.+-]*$")


@dataclass(frozen=True)
class Apt:
    """``apt-get`` with lists and downloads of its own below ``state``; ``on_progress`` is told each step.

    sources: a ``sources.list`` in the place of the system's.
    """

    state: Path
    on_progress: Progress
    sources: Path | None = None

    def update(self) -> None:
        """Fetch the package lists. A source that does not answer shows later, if a package is missing.

        Raises:
            MissingComponent: there is no apt-get, or no source answered.
            StorageError: the disk is full.
        """
        if shutil.which("apt-get") is None:
            raise MissingComponent(
                "This system has no apt-get, so labkit cannot fetch what is missing.",
                "Install QEMU, OVMF with TDVF metadata, swtpm and a static busybox by its own means.",
            )
        for folder in ("lists/partial", "cache/archives/partial"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        self.on_progress("fetching the package lists")
        with self._ticking("fetching the package lists"):
            done = self._apt("update", timeout=_UPDATE_SECONDS)
        if not done.ok or not any((self.state / "lists").glob("*_Packages*")):
            raise _refusal("the package lists", done)

    def fetch(self, names: Sequence[str]) -> list[Path]:
        """Download packages with everything they depend on that is not installed; the files."""
        words = ("install", "--assume-yes", "--no-install-recommends", *names)
        plan = self._apt(*words, "--print-uris")
        if not plan.ok:
            raise _refusal(" ".join(names), plan)
        self._download(" ".join(names), plan, *words, "--download-only")
        return [
            path
            for path in sorted((self.state / "cache/archives").glob("*.deb"))
            if not path.name.startswith(_NEVER_UNPACKED)
        ]

    def fetch_alone(self, names: Sequence[str]) -> list[Path]:
        """Download exactly these packages, installed or not, without what they depend on; the files."""
        folder = Path(tempfile.mkdtemp(dir=self.state, prefix="alone-"))
        # Where a newer one is installed than the sources offer, apt would look for that one.
        words = ("-o", "Dir::State::status=/dev/null", "download", *names)
        plan = self._apt(*words, "--print-uris")
        if not plan.ok:
            raise _refusal(" ".join(names), plan)
        self._download(" ".join(names), plan, *words, cwd=folder)
        return sorted(folder.glob("*.deb"))

    def install(self, names: Sequence[str]) -> None:
        """Install packages on the system, as root; removes nothing and waits for another package manager."""
        self.on_progress(f"installing on this system: {' '.join(names)} and what they depend on")
        words = ("install", "--assume-yes", "--no-install-recommends", "--no-remove", *names)
        with self._ticking("installing"):
            done = self._apt("-o", "DPkg::Lock::Timeout=120", *words, timeout=_FETCH_SECONDS)
        if not done.ok:
            raise _refusal(" ".join(names), done)

    def kernel_packages(self, metas: Sequence[str]) -> tuple[str, ...]:
        """The packages of one kernel, found by following what the first meta package there is depends on."""
        for meta in metas:
            found: list[str] = []
            waiting = [meta]
            while waiting:
                shown = run(
                    ("apt-cache", *self._options(), "show", "--no-all-versions", waiting.pop()),
                    env=_environ(),
                )
                found_depends = re.findall(r"^(?:Pre-)?Depends: (.*)$", shown.text, re.MULTILINE)
                parts = [name for line in found_depends for name in _kernel_parts(line)]
                fresh = [part for part in dict.fromkeys(parts) if part not in found]
                found += fresh
                waiting += fresh
            # What carries a kernel has its release in its name; a meta package has not.
            versioned = tuple(name for name in found if _RELEASE.search(name))
            if versioned:
                return versioned
        raise MissingComponent(
            f"The package sources of this system offer none of {', '.join(metas)}.",
            "Check /etc/apt/sources.list and its folder, then run `labkit setup` again.",
        )

    def closure(self, names: Sequence[str], follow: re.Pattern[str]) -> tuple[str, ...]:
        """These packages and what they depend on, as far as ``follow`` matches the names."""
        shown = run(
            ("apt-cache", *self._options(), "depends", "--important", "--recurse", *names), env=_environ()
        )
        depends = _depends(shown.text)
        found = list(names)
        for name in found:
            wanted = (other for other in depends.get(name, ()) if follow.fullmatch(other))
            found += [other for other in wanted if other not in found]
        return tuple(found)

    def candidate(self, package: str) -> str | None:
        """The newest version of a package that the sources offer; None where they have none."""
        shown = run(("apt-cache", *self._options(), "show", "--no-all-versions", package), env=_environ())
        found = re.search(r"^Version: (\S+)$", shown.text, re.MULTILINE)
        return found[1] if found else None

    def mirror(self, origin: str) -> str | None:
        """The address from which this system takes the main archive of a distribution."""
        listed = self._apt("indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)")
        for line in listed.text.splitlines():
            fields = line.split("|")
            if fields[:3] == [origin, origin, "main"]:
                return fields[3]
        return None

    def _download(self, what: str, plan: Completed, *words: str, cwd: Path | None = None) -> None:
        sizes = [int(size) for size in _SIZE.findall(plan.text)]
        megabytes = sum(sizes) / 1e6
        self.on_progress(f"downloading {what}: {len(sizes)} packages, {megabytes:.0f} MB")
        with self._ticking(f"downloading {megabytes:.0f} MB"):
            done = self._apt(*words, timeout=_FETCH_SECONDS, cwd=cwd)
        if not done.ok:
            raise _refusal(what, done)

    def _apt(self, *words: str, timeout: float = 60.0, cwd: Path | None = None) -> Completed:
        return run(
            ("apt-get", "-qq", *self._options(), *words),
            timeout=timeout,
            cwd=cwd or self.state,
            env=_environ(),
        )

    def _options(self) -> tuple[str, ...]:
        pairs = {
            "Dir::State::lists": f"{self.state}/lists",
            "Dir::Cache": f"{self.state}/cache",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "20",
            "Acquire::https::Timeout": "20",
            # As root apt would read as the user _apt, who cannot enter a private directory.
            "APT::Sandbox::User": "root",
            "Dpkg::Use-Pty": "0",
        }
        if self.sources is not None:
            pairs["Dir::Etc::sourcelist"] = str(self.sources)
            pairs["Dir::Etc::sourceparts"] = "/dev/null"
        if os.geteuid() != 0:
            pairs["Debug::NoLocking"] = "1"
        return tuple(word for key, value in pairs.items() for word in ("-o", f"{key}={value}"))

    @contextlib.contextmanager
    def _ticking(self, what: str) -> Iterator[None]:
        """Say every few seconds that a long step goes on."""
        over = threading.Event()
        start = time.monotonic()

        def tell() -> None:
            while not over.wait(_TICK_SECONDS):
                self.on_progress(f"  {what} ({time.monotonic() - start:.0f} s)")

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()


def _depends(listed: str) -> dict[str, list[str]]:
    """What each package depends on, as ``apt-cache depends`` says: of a choice the first that is real."""
    found: dict[str, list[str]] = {}
    package, chosen = "", False
    for line in listed.splitlines():
        kind, colon, name = line.partition("epends: ")
        if not line.startswith(" "):
            package = line
            found[package] = []
        elif colon:
            if not chosen and not name.startswith("<"):
                found[package].append(name)
                chosen = True
            # A bar stands before every choice but the last of a dependency.
            chosen = chosen and "|" in kind
    return found


def _kernel_parts(depends: str) -> list[str]:
    """Those of a package's dependencies that are parts of the same kernel: the first of each choice."""
    parts = []
    for choice in depends.split(","):
        name, _, version = choice.partition("|")[0].strip().partition(" ")
        if name.startswith("linux-") and (version.startswith("(= ") or _RELEASE.search(name)):
            parts.append(name)
    return parts


def unpack(archives: Sequence[Path], tree: Path) -> None:
    """Unpack packages side by side into ``tree``, which is not there, or whole.

    Raises:
        StorageError: the disk is full.
        MissingComponent: a package does not unpack, or there is no dpkg-deb.
    """
    partial = tree.with_name(f".partial-{tree.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for archive in archives:
        done = run(("dpkg-deb", "--extract", archive, partial), timeout=600.0, env=_environ())
        if not done.ok:
            shutil.rmtree(partial, ignore_errors=True)
            raise _refusal(archive.name, done)
    partial.rename(tree)


def _environ() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


def _refusal(what: str, done: Completed) -> LabkitError:
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    if _NO_SPACE.search(output):
        return StorageError(
            f"The disk is full: {what} did not fit.", "Free some space and run `labkit setup` again."
        )
    if _CERTIFICATE.search(output):
        return MissingComponent(
            f"The package server's certificate was not accepted while labkit fetched {what}.",
            "A proxy that signs in its place needs its certificate in /usr/local/share/ca-certificates, and "
            "`update-ca-certificates`.",
        )
    if asks_for_a_password(output):
        return MissingComponent(
            f"A proxy asked for a password while labkit fetched {what}.",
            f"{PROXY_PASSWORD} Then run `labkit setup` again.",
        )
    found = _ADDRESS.search(output)
    silent = done.timed_out or _NO_NETWORK.search(output)
    if silent and (proxy := proxy_of(found[0] if found else _SERVER)):
        return MissingComponent(
            f"The package servers did not answer through the proxy {proxy} while labkit fetched {what}.",
            f"{PROXY} Then run `labkit setup` again.",
        )
    if silent:
        return MissingComponent(
            f"The package servers did not answer while labkit fetched {what}.",
            "Check the network connection and run `labkit setup` again.",
        )
    if _BUSY.search(output):
        return MissingComponent(
            "Another package manager is at work on this system.",
            "Wait until it has finished and run `labkit setup` again.",
        )
    if _PLAIN_DISK.search(output):
        return MissingComponent(
            "The file system of labkit's cache has no locks, or no links, which the packages need.",
            "Set LABKIT_CACHE_DIR to a folder on a local disk of Linux, and run `labkit setup` again.",
        )
    complaints = [line[2:].strip() for line in output.splitlines() if line.startswith("E:")]
    why = complaints[0] if complaints else f"exit status {done.status}"
    return MissingComponent(
        f"The package manager refused {what}: {why.rstrip('.')}.",
        "Run `apt-get update` and `apt-get check` as root, mend what they report, then try again.",
    )
