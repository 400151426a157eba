"""Runs one notebook in this process: ``python -m labkit.runs.execution JOB.json``.

papermill changes the working directory of its whole process and leaves no way to ask which cell was
running when time ran out, so each notebook has a process of its own and this module reads the answer from
the notebook that papermill saved. The job names every file; the outcome is written as JSON.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from labkit.later import spare_iri_grammar
from labkit.returns import without_overwritten
from labkit.runs._prctl import die_with_parent

TDVM_KERNEL = "tdvm"
_ERROR_MARKER = "papermill-error-cell-tag"
_INJECTED = "injected-parameters"
_EXPECTED = "raises-exception"
_LINE_LIMIT = 200
_MESSAGE_LIMIT = 2000


@dataclass(frozen=True)
class CellFailure:
    """Why a chapter failed.

    cell: number of the cell in the source notebook, from 1; None where no cell is to blame.
    cell_id: its id in the executed notebook, the anchor in the site.
    first_line: of the cell. ename, evalue: the error, as Jupyter names its parts.
    """

    cell: int | None
    cell_id: str | None
    first_line: str
    ename: str
    evalue: str

    def __str__(self) -> str:
        where = f"cell {self.cell}, `{self.first_line}`: " if self.cell is not None else ""
        return f"{where}{self.ename}{': ' if self.evalue else ''}{self.evalue}"

    def to_dict(self) -> dict[str, Any]:
        """The fields under their names."""
        return asdict(self)


@dataclass(frozen=True)
class Execution:
    """What became of a notebook: cells of code that ran to an end, all of them, and the failure."""

    cells_run: int
    cells: int
    failure: CellFailure | None

    def to_dict(self) -> dict[str, Any]:
        """The fields under their names."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Execution:
        """The inverse of ``to_dict``."""
        failure = data["failure"]
        return cls(data["cells_run"], data["cells"], CellFailure(**failure) if failure else None)


@dataclass(frozen=True)
class Job:
    """One notebook to run: files, values, and the longest a cell may take in seconds.

    kernel: also for a notebook that names none.
    """

    source: str
    kernel: str
    output: str
    outcome: str
    log: str
    parameters: dict[str, Any]
    timeout: float


def execute(job: Job) -> Execution:
    """Run the notebook of ``job`` through papermill and judge what it left."""
    spare_iri_grammar()
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    from labkit.runs.shell_parameters import register

    register(TDVM_KERNEL)
    stopped: tuple[str, str] | None = None
    try:
        papermill.execute_notebook(
            job.source,
            job.output,
            job.parameters,
            kernel_name=job.kernel,
            cwd=str(Path(job.source).parent),
            progress_bar=False,
            execution_timeout=job.timeout,
            kernel_manager_class=private_manager(),
        )
    except papermill.PapermillExecutionError:
        # The saved notebook says more than the exception: `judge` reads it.
        pass
    except CellTimeoutError:
        stopped = ("CellTimeoutError", f"The cell took longer than {job.timeout:g} s.")
    except DeadKernelError:
        stopped = ("DeadKernelError", "The kernel ended while it ran the cell.")
    except (NoSuchKernel, RuntimeError) as error:
        stopped = (type(error).__name__, str(error))
    if not Path(job.output).is_file():
        ename, evalue = stopped or ("RuntimeError", "papermill wrote no notebook")
        return Execution(0, 0, CellFailure(None, None, "", ename, evalue))
    return judge(job, stopped)


def private_manager() -> type[Any]:
    """A manager whose kernels speak over sockets in a folder that is this user's alone.

    Ports of this machine are open to every user of it, and what a kernel publishes is not even signed for.
    """
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.paths import jupyter_runtime_dir

    folder = Path(jupyter_runtime_dir())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = tempfile.mkdtemp(prefix="k-", dir=folder)
    atexit.register(shutil.rmtree, place, ignore_errors=True)

    class PrivateKernelManager(AsyncKernelManager):  # type: ignore[misc, unused-ignore]
        def __init__(self, **options: Any) -> None:
            mine = {"transport": "ipc", "ip": f"{place}/s", "connection_file": f"{place}/kernel.json"}
            super().__init__(**{**options, **mine})

    return PrivateKernelManager


def judge(job: Job, stopped: tuple[str, str] | None) -> Execution:
    """Read the executed notebook, take papermill's markers out, and find the cell that failed.

    An error in a cell tagged ``raises-exception`` is expected. ``stopped`` is the name and text of what
    ended the run from outside the cells; it is put into the cell that was running.
    """
    spare_iri_grammar()
    import nbformat

    notebook = nbformat.read(job.output, as_version=4)
    source = nbformat.read(job.source, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if _ERROR_MARKER not in _tags(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = coalesced(cell.outputs)
    own = any(_INJECTED in _tags(cell) for cell in source.cells)
    started = [cell for cell in notebook.cells if cell.cell_type == "code" and _started(cell)]
    broken = started[-1] if stopped is not None and started else None
    if stopped is not None and broken is not None:
        ename, evalue = stopped
        broken.outputs.append(
            nbformat.v4.new_output("error", ename=ename, evalue=evalue, traceback=[f"{ename}: {evalue}"])
        )
    failure = CellFailure(None, None, "", *stopped) if stopped is not None and broken is None else None
    number = 0
    for cell in notebook.cells:
        injected = _INJECTED in _tags(cell) and not own
        if injected:
            # papermill draws a random id, which would make two equal runs differ.
            cell["id"] = _INJECTED
        number += not injected
        error = cell.outputs[-1] if broken is not None and cell is broken else _error(cell)
        if failure is None and error is not None:
            lines = cell.source.strip().splitlines() or [""]
            failure = CellFailure(
                None if injected else number,
                cell.get("id"),
                lines[0][:_LINE_LIMIT],
                error.ename,
                error.evalue[:_MESSAGE_LIMIT],
            )
    nbformat.write(notebook, job.output)
    code = [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.source.strip() and (own or _INJECTED not in _tags(cell))
    ]
    done = sum(1 for cell in code if _started(cell) and cell is not broken and _error(cell) is None)
    return Execution(done, len(code), failure)


def coalesced(outputs: list[Any]) -> list[Any]:
    """The outputs of a cell with one stream of a name, as a terminal shows it: standard output comes first.

    The time that it takes grows with the size of the output alone.
    """
    kept: list[Any] = []
    texts: dict[str, list[str]] = {}
    for output in outputs:
        if output.output_type != "stream":
            kept.append(output)
        elif output.name in texts:
            texts[output.name].append(output.text)
        else:
            texts[output.name] = [output.text]
            kept.append(output)
    for number, output in enumerate(kept):
        if output.output_type == "stream":
            output.text = without_overwritten("".join(texts[output.name]))
            if number and output.name == "stdout" and kept[number - 1].get("name") == "stderr":
                kept[number - 1 : number + 1] = [output, kept[number - 1]]
    return kept


def _error(cell: Any) -> Any | None:
    """The output by which a cell failed; like papermill, a clean ``sys.exit()`` is not a failure."""
    if cell.cell_type != "code":
        return None
    for output in cell.outputs:
        if output.output_type == "error":
            clean_exit = output.ename == "SystemExit" and output.evalue in ("", "0")
            if not clean_exit and _EXPECTED not in _tags(cell):
                return output
    return None


def _started(cell: Any) -> bool:
    return cell.metadata.get("papermill", {}).get("start_time") is not None


def _tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", ()))


def open_log(path: Path) -> BinaryIO:
    """Go on writing to a log that its owner alone can read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def main(argv: list[str]) -> int:
    """Run the job whose file is ``argv[0]``; what the kernel says on its own goes to the job's log."""
    # The guard above this process ends what it leaves; without one this process ends, and the kernel with it.
    die_with_parent()
    job = Job(**json.loads(Path(argv[0]).read_text()))
    with open_log(Path(job.log)) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    outcome = execute(job)
    Path(job.outcome).write_text(json.dumps(outcome.to_dict()))
    return 0 if outcome.failure is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
