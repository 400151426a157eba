"""What is asked of a guest's shell while some of its reads may never end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

from labkit.vm import VirtualMachine

_COMMAND = 120.0
_LOOK = 0.5
_QUIET = 2.0
_FAR = 20


class LiedTo:
    """A booted machine.

    patience: seconds until a read that has not ended counts as one that never will. direct: a disk can be
    read without the page cache, and that cache is kept while somebody has the disk open.
    """

    def __init__(self, machine: VirtualMachine, patience: float, *, direct: bool) -> None:
        """Ask this machine's shell."""
        self.memory = machine.spec.memory
        self.direct = direct
        self._machine = machine
        self._patience = patience

    def run(self, command: str) -> str:
        """The output of a command that ends."""
        return self._machine.console.ask(command, _COMMAND).output

    def background(self, name: str, command: str, until: str = "") -> int | None:
        """The exit status of a command, or None where it does not end.

        until: what the kernel will say. The command waits until the shell has answered, and before the kernel
        said it the shell is not asked: one that reports a fault of its own serves nobody meanwhile.
        """
        if until:
            command = f"sleep 2; {command}"
        self.run(
            f"rm -f /tmp/{name}.status; "
            f"( {command} 2>/dev/null; echo $? >/tmp/{name}.status ) </dev/null >/dev/null 2>&1 &"
        )
        if until:
            deadline = time.monotonic() + _FAR * self._patience
            while not self.says(until) and time.monotonic() < deadline:
                time.sleep(_LOOK)
            self._wait_until_it_is_quiet(deadline)
        self._wait(1, f"ls /tmp/{name}.status", self._patience)
        status = self.run(f"cat /tmp/{name}.status 2>/dev/null")
        return int(status) if status.strip().isdigit() else None

    def read_all(
        self, commands: Mapping[str, str], meanwhile: Callable[[], None] = lambda: None
    ) -> dict[str, tuple[int, str] | None]:
        """Run commands side by side; of each the exit status and the MD5 of its output, or None.

        meanwhile: what is done while those that never end are waited for.
        """
        began = time.monotonic()
        self.run("rm -rf /tmp/reads; mkdir /tmp/reads")
        for name, command in commands.items():
            out = f"/tmp/reads/{name}"
            read = f"{{ {command} ; }} >{out}.data 2>/dev/null"
            ended = f"echo $? >{out}.new; mv {out}.new {out}.status"
            self.run(f"( {read}; {ended} ) </dev/null >/dev/null 2>&1 &")
        meanwhile()
        left = self._patience - (time.monotonic() - began)
        self._wait(len(commands), "ls /tmp/reads/*.status", left)
        listed = self.run(
            "cd /tmp/reads; for n in *.status; do echo ${n%.status} $(cat $n) "
            "$(md5sum ${n%.status}.data | cut -d' ' -f1); done; cd /root"
        )
        rows = re.findall(r"^(\w+) (\d+) ([0-9a-f]{32})\r?$", listed, re.MULTILINE)
        found = {name: (int(status), digest) for name, status, digest in rows}
        return {name: found.get(name) for name in commands}

    def says(self, pattern: str) -> str:
        """What the kernel says, as far as the groups of ``pattern`` find it; empty where it does not."""
        # Where the console is the shell's port, as Asterinas has it, its words are in that log.
        logs = (self._machine.run_dir / name for name in ("console.log", "shell.log"))
        for log in logs:
            text = log.read_bytes().decode("utf-8", "replace").replace("\r", "") if log.exists() else ""
            if found := re.search(pattern, text):
                return ": ".join(group for group in found.groups() if group)
        return ""

    def symbols(self, addresses: set[int]) -> bool:
        """Whether one of these is exactly the address of a symbol, by the guest's own list."""
        if not addresses:
            return False
        words = "|".join(f"{address:016x}" for address in sorted(addresses))
        return self.run(f"grep -cE '^({words}) ' /proc/kallsyms").strip() not in ("", "0")

    def _wait_until_it_is_quiet(self, deadline: float) -> None:
        """Wait until the kernel has said all: it goes on behind what was waited for."""
        log, size = self._machine.run_dir / "console.log", -1
        while (now := log.stat().st_size) != size and time.monotonic() < deadline:
            size = now
            time.sleep(_QUIET)

    def _wait(self, count: int, listing: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.run(f"{listing} 2>/dev/null | wc -l").strip() == str(count):
                return
            time.sleep(_LOOK)
