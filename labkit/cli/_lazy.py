"""Groups of verbs: help that cuts no sentence off, and verbs that are loaded only when they are called."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click


class Group(click.Group):
    """Verbs by name; what each does is wrapped, not cut off."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, each with the first sentence of its help."""
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, verb.get_short_help_str(limit=1000)) for name, verb in verbs if verb is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class LazyGroup(Group):
    """Verbs by name; each is the ``command`` of its own module."""

    def __init__(self, *args: Any, modules: Mapping[str, str], **kwargs: Any) -> None:
        """``modules``: the module of each verb."""
        super().__init__(*args, **kwargs)
        self._modules = modules

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the words; this is where help is printed."""
        with _ends_without_reader():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        with _ends_without_reader():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of their table."""
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name, if there is one."""
        if cmd_name not in self._modules:
            return None
        command = import_module(self._modules[cmd_name]).command
        assert isinstance(command, click.Command)
        return command


@contextmanager
def _ends_without_reader() -> Iterator[None]:
    """End as a shell shows of other programs, where whoever reads the output goes away (``labkit … | head``).

    Click would end with 1, which is an answer of many verbs.
    """
    try:
        yield
    except BrokenPipeError:
        if not any(_has_no_reader(stream.fileno()) for stream in (sys.stdout, sys.stderr)):
            raise
        # What is still to be written has nowhere to go, and Python would say so at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _has_no_reader(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(found & (select.POLLERR | select.POLLHUP) for _, found in poll.poll(0))
