"""The exceptions of labkit: one tree, each with a remedy, each picklable.

    LabkitError                 anything labkit refuses to do                  exit 70
    ├── UsageError              the request itself makes no sense              exit 64
    ├── DataError               input that is not what it should be            exit 65
    │   ├── NotATdvf            a firmware file without valid TDVF metadata
    │   ├── MalformedEventLog   a TCG or CCEL log that does not parse
    │   ├── MalformedEvidence   a TDREPORT or quote that does not parse
    │   └── NotAKernel          a file the firmware cannot start as a kernel
    ├── MissingComponent        a program, package or file is not there        exit 69
    ├── StorageError            disk full, read-only or not writable           exit 73
    ├── VmError                 a virtual machine did not do its part          exit 70
    │   ├── BootFailed          QEMU ended, or a stage passed its deadline
    │   ├── GuestGone           the guest ended while it was being used
    │   ├── CommandTimeout      a command in the guest ran out of time
    │   ├── NothingMeasured     the firmware measures into no vTPM
    │   └── NotMeasured         the vTPM's registers are not those of the log     exit 1
    ├── NotModelled             the TDX model leaves this out, and says so     exit 69
    ├── ModuleRefused           the TDX module refused what had to succeed     exit 70
    ├── NotInImage              what was looked for is not in the image        exit 1
    └── ChapterFailed           a notebook cell raised                         exit 1

Exit codes follow sysexits.h, so that scripts can tell the kinds apart.
"""

from __future__ import annotations

from typing import ClassVar


class LabkitError(Exception):
    """A refusal with one clear sentence and, where there is one, the way out.

    ``args`` is ``(message, remedy)``, so that instances pickle by the default protocol.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)

    @property
    def message(self) -> str:
        """One sentence: what is wrong."""
        return str(self.args[0])

    @property
    def remedy(self) -> str:
        """One sentence: what to do about it; empty where nothing can be done."""
        return str(self.args[1])

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows, as IPython asks for it: the line of the cell, and no frame of labkit's."""
        from traceback import extract_tb

        frames = [frame for frame in extract_tb(self.__traceback__) if "ipykernel_" in frame.filename]
        where = [f"In line {frame.lineno} of the cell: {frame.line}" for frame in frames]
        return [*where, f"{type(self).__name__}: {self}"]


class UsageError(LabkitError):
    """The request itself makes no sense."""

    exit_code = 64


class DataError(LabkitError):
    """Input that is not what it should be."""

    exit_code = 65


class NotATdvf(DataError):
    """A firmware file without valid TDVF metadata."""


class MalformedEventLog(DataError):
    """A TCG or CCEL event log that does not parse."""


class MalformedEvidence(DataError):
    """A TDREPORT or quote that does not parse."""


class NotAKernel(DataError):
    """A file the firmware cannot start as a kernel."""


class MissingComponent(LabkitError):
    """A program, package or file that is needed is not there."""

    exit_code = 69


class StorageError(LabkitError):
    """A disk that is full, read-only or not writable."""

    exit_code = 73


class VmError(LabkitError):
    """A virtual machine did not do its part."""


class BootFailed(VmError):
    """QEMU ended early, or a boot stage passed its deadline."""


class GuestGone(VmError):
    """The guest ended while it was being used."""


class CommandTimeout(VmError):
    """A command in the guest ran out of time."""


class NothingMeasured(VmError):
    """A firmware that measures into no vTPM: there are no registers, and there is no fault of the boot."""


class NotMeasured(VmError):
    """The registers of a vTPM are not what the boot's event log leads to; no evidence is made of that."""

    exit_code = 1


class NotModelled(LabkitError):
    """Something that the TDX model leaves out on purpose."""

    exit_code = 69


class ModuleRefused(LabkitError):
    """The TDX module refused a call that had to succeed."""


class NotInImage(LabkitError):
    """A sound image that does not hold what was looked for in it."""

    exit_code = 1


class ChapterFailed(LabkitError):
    """A notebook cell raised."""

    exit_code = 1
