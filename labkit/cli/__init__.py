"""The command line: the verbs of labkit, each loaded only when it is called."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from io import TextIOWrapper
from pathlib import Path

import click

from labkit import __version__
from labkit.cli._lazy import LazyGroup
from labkit.errors import DataError, LabkitError, StorageError, UsageError
from labkit.files import escaped, printable

# verb -> module that defines `command`, in the order of the help.
# A new verb is a row here and a module beside this one.
_VERBS = {
    "verify": "labkit.cli._verify",
    "setup": "labkit.cli._setup",
    "boot": "labkit.cli._boot",
    "attest": "labkit.cli._attest",
    "run": "labkit.cli._run",
    "notebooks": "labkit.cli._notebooks",
    "progress": "labkit.cli._progress",
    "publish": "labkit.cli._publish",
    "check": "labkit.cli._check",
    "measure": "labkit.cli._measure",
    "eventlog": "labkit.cli._eventlog",
    "quote": "labkit.cli._quote",
    "kernel": "labkit.cli._kernel",
    "asterinas": "labkit.cli._asterinas",
    "sweep": "labkit.cli._sweep",
    "course": "labkit.cli._course",
    "assignment": "labkit.cli._assignment",
    "submit": "labkit.cli._submit",
    "grade": "labkit.cli._grade",
    "ps": "labkit.cli._ps",
    "stop": "labkit.cli._stop",
    "report": "labkit.cli._report",
    "refresh": "labkit.cli._refresh",
}

# What else a system refuses, besides for a path's sake.
_MEMORY = "Close other programs, or raise the limit that the shell sets (`ulimit -v`, `ulimit -u`)."
_OPEN = "Close other programs, or raise the limit that the shell sets: `ulimit -n 1024`."
_REMEDIES = {
    errno.EMFILE: _OPEN,
    errno.ENFILE: _OPEN,
    errno.EFBIG: "Raise the limit of a file's size that the shell sets: `ulimit -f unlimited`.",
    errno.ENOMEM: _MEMORY,
    errno.EAGAIN: _MEMORY,
    errno.ELOOP: "Two symbolic links lead to each other: name the file itself.",
    errno.ENAMETOOLONG: "Choose a shorter name, or a folder that is not so deep.",
    errno.EROFS: "Its file system is mounted for reading only: choose another folder.",
}

_OF_A_NAME = (errno.ELOOP, errno.ENAMETOOLONG)
"""What no disk is at fault for."""

_LAST_SECOND = (1 << 63) // 10**9
_OF_OTHER_PYTHONS = ("PYTHONHOME", "PYTHONPATH", "PYTHONINSPECT", "PYTHONSTARTUP")


_HELP = """Confidential computing with Intel TDX and Asterinas, as a lab that runs anywhere.

\b
New here? One of these is a good start, and none needs TDX hardware:
  labkit notebooks open my-lab      the course, in JupyterLab
  labkit run                        the course, executed here, as pages to read
  labkit boot --exec 'uname -a'     one TDVM, one command in it
"""


@click.command(
    cls=LazyGroup, modules=_VERBS, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="labkit")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def labkit(debug: bool) -> None:
    """What `labkit` alone does: nothing but lead to its verbs."""


def main() -> None:
    """Run the command line; every error becomes one sentence, a remedy and a stable exit code."""
    debug = "--debug" in sys.argv[1:]
    _leave_other_pythons()
    _open_closed_streams()
    _let_every_character_pass()
    try:
        _require_clock()
        sys.exit(labkit.main(standalone_mode=False))
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        # Who typed a group alone wants to know what there is, not what was wrong.
        click.echo(error.format_message(), err=True)
        sys.exit(UsageError.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        verb = context.command_path if context else "labkit"
        _complain(UsageError(error.format_message(), f"See `{verb} --help`."), debug)
    except LabkitError as error:
        _complain(error, debug)
    except OSError as error:
        _complain(_of_output(error) or error_of_system(error), debug)
    except MemoryError:
        _complain(StorageError("There is not enough memory for this.", _MEMORY), debug)


def _leave_other_pythons() -> None:
    """What this Python was told to ignore (`python -E`) leads none of its own processes astray either."""
    if sys.flags.ignore_environment:
        for name in _OF_OTHER_PYTHONS:
            os.environ.pop(name, None)


def _open_closed_streams() -> None:
    """Who closed a standard stream (`2>&-`) wants nothing of it, and no file that is opened in its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free is the one that was closed.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _require_clock() -> None:
    """Python counts nanoseconds since 1970 in 63 bits; parts of its library do not load outside of them."""
    if not 0 <= time.time() < _LAST_SECOND:
        raise DataError("The clock of this machine is before 1970 or after 2261.", "Set the clock.")


def _let_every_character_pass() -> None:
    """A terminal or a file in an encoding of one country gets `?` for what it cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _of_output(error: OSError) -> LabkitError | None:
    """The error of a standard output that cannot be written; None where something else failed."""
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    if innermost.f_code is not click.echo.__code__:
        return None
    _give_up(1)
    why = f"Standard output cannot be written: {error.strerror or error}."
    return StorageError(why, "Send it elsewhere, as in `> FILE`.")


def _give_up(stream: int) -> None:
    """Write no more to a stream: Python would try again at its end, and end with a status of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def _complain(error: LabkitError, debug: bool) -> None:
    try:
        if debug:
            traceback.print_exc()
        # A name with a line break in it would look like a line of labkit's own.
        click.echo(f"labkit: {escaped(error.message)}", err=True)
        if error.remedy:
            click.echo(f"        {escaped(error.remedy)}", err=True)
    except OSError:  # where standard error cannot be written, the exit code alone tells
        _give_up(2)
    sys.exit(error.exit_code)


def _here() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def error_of_system(error: OSError) -> LabkitError:
    """What the system refused, as an error of labkit that names the file."""
    if isinstance(error, FileNotFoundError) and error.filename is None and not _here():
        return UsageError("The current folder is there no more.", "Go to another one: `cd`.")
    # Of a copy that failed, the second name is the one that could not be written.
    name = printable(error.filename2 or error.filename or "")
    where = f" {name}" if name else ""
    if error.errno == errno.ENXIO and name:
        return UsageError(f"{name} is a socket or a device, no regular file.", "Name a file.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "Free some space, or set LABKIT_CACHE_DIR and LABKIT_STATE_DIR to folders on a larger disk."
        return StorageError(f"The disk is full{f': {name} was not written' if name else ''}.", remedy)
    remedy = _REMEDIES.get(
        error.errno or 0, "Check the path and its permissions; `--debug` shows where it happened."
    )
    kind = UsageError if error.errno in _OF_A_NAME else StorageError
    return kind(f"The system refused{where}: {error.strerror or error}.", remedy)
