"""The few cells that are not for the guest's shell."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from labkit import process
from labkit.errors import UsageError
from labkit.kernel.host import HostPermission
from labkit.kernel.output import Cleaner, Clear, Publisher
from labkit.kernel.pulse import Pulse
from labkit.kernel.session import GuestSession
from labkit.learn.ask import Notebook
from labkit.learn.question import Kind
from labkit.show import View as Shown
from labkit.show import clean
from labkit.show.markup import join, pre

_LOG_SHOWN = 60_000


class RichView(Protocol):
    """A result that shows itself as text and as HTML."""

    def _repr_html_(self) -> str: ...


@dataclass
class CellOutcome:
    """What a cell came to. status: 0 or the exit status; data: a MIME bundle to show; page: for the pager.

    said: what an outcome may say of it, in a few words; by default the last line that it printed.
    """

    status: int = 0
    data: dict[str, Any] | None = None
    page: str = ""
    said: str = ""


@dataclass(frozen=True)
class MagicCall:
    """One use of a magic."""

    name: str
    argument: str
    body: str
    code: str = ""


@dataclass
class Context:
    """What a magic may use. ask: asks the person in front for a line; None where nobody can answer.

    said: what the last cell that said something came to.
    """

    session: GuestSession
    publisher: Publisher
    predictions: Notebook = field(default_factory=Notebook)
    ask: Callable[[str, bool], str | None] | None = None
    interrupted: threading.Event = field(default_factory=threading.Event)
    permission: HostPermission = field(default_factory=lambda: HostPermission(os.environ))
    said: str = ""


def find(code: str) -> MagicCall | None:
    """The magic that a cell calls; None where the cell is for the guest's shell."""
    first, _, body = code.lstrip("\n").partition("\n")
    if match := re.fullmatch(r"%%(\w+)[ \t]*(.*)", first.rstrip()):
        return MagicCall(match[1], match[2], body, code) if f"%%{match[1]}" in MAGICS else None
    if (match := re.fullmatch(r"%(\w+)[ \t]*(.*)", first.rstrip())) and not body.strip():
        return MagicCall(match[1], match[2], "") if f"%{match[1]}" in MAGICS else None
    return None


def call(magic: MagicCall, context: Context) -> CellOutcome:
    """Run a magic.

    Raises:
        LabkitError: whatever it runs into.
    """
    name = f"%{magic.name}" if f"%{magic.name}" in MAGICS else f"%%{magic.name}"
    found = MAGICS[name]
    if not found.meanwhile or context.ask is None:
        return found.run(magic, context)
    # A person waits for some seconds. Nothing stays of the line: the cell keeps what it came to.
    context.publisher.add("stream", {"name": "stdout", "text": f"{found.meanwhile} …\n"})
    context.publisher.flush()
    try:
        return found.run(magic, context)
    finally:
        context.publisher.add("clear_output", {"wait": True})


def _host(magic: MagicCall, context: Context) -> CellOutcome:
    context.permission.require(magic.code, context.ask)
    words = ["bash", "-c", magic.body, "bash", *magic.argument.split()]
    publisher, errors = context.publisher, Cleaner()
    pulse = Pulse("Running on this machine", publisher) if context.ask is not None else None

    def heard(stdout: bytes, stderr: bytes) -> None:
        publisher.output(stdout)
        publisher.text(_words(errors.feed(stderr)), "stderr")
        publisher.flush()
        if pulse:
            pulse.beat(silent=not (stdout or stderr))

    done = process.run(
        words, timeout=86400.0, env=os.environ, cancelled=context.interrupted, heard=heard, owned=True
    )
    publisher.text(_words(errors.feed(b"", final=True)), "stderr")
    if pulse:
        pulse.end(done.ok)
    return CellOutcome(130 if context.interrupted.is_set() else done.status % 256)


def _words(parts: list[str | Clear]) -> str:
    return "".join(part for part in parts if isinstance(part, str))


def _timeline(magic: MagicCall, context: Context) -> CellOutcome:
    tdvm = context.session.tdvm()
    return CellOutcome(data=bundle(f"{tdvm.headline}\n{tdvm.timeline}", tdvm.headline, tdvm.timeline))


def _attest(magic: MagicCall, context: Context) -> CellOutcome:
    try:
        nonce = bytes.fromhex(magic.argument) if magic.argument else None
    except ValueError as error:
        raise UsageError(
            "The report data is not hexadecimal.", "Write `%attest`, or `%attest 00FF`."
        ) from error
    measured, attested = context.session.attest(nonce)
    quote = f"quote {attested.verdict}".partition("\n")[0]
    # The verdict first: registers are long, and what is below them is not read.
    text = f"{attested.headline}\n{attested.appraisal}\n\n{quote}\n{measured}"
    html = join([pre(attested.headline), attested._repr_html_(), measured._repr_html_()])
    return CellOutcome(
        data={"text/plain": text, "text/html": html},
        said=f"{attested.appraisal.verdict}, trust {attested.trust.value}",
    )


def _snapshot(magic: MagicCall, context: Context) -> CellOutcome:
    context.session.save(_name(magic))
    return CellOutcome(data={"text/plain": f"snapshot {_name(magic)} saved"})


def _restore(magic: MagicCall, context: Context) -> CellOutcome:
    context.session.restore(_name(magic))
    return CellOutcome(data={"text/plain": f"restored from snapshot {_name(magic)}"})


def _console(magic: MagicCall, context: Context) -> CellOutcome:
    run_dir = context.session.tdvm().run_dir
    text = clean(_read(run_dir / "console.log"), _LOG_SHOWN)
    if earlier := clean(_read(run_dir / "snapshot-console.log"), _LOG_SHOWN):
        text = f"{earlier.rstrip()}\n[here a snapshot was made, and this TDVM was resumed from it]\n{text}"
    context.publisher.text(text)
    return CellOutcome()


def _predict(magic: MagicCall, context: Context) -> CellOutcome:
    head, *choices = [word.strip() for word in magic.argument.split("|")]
    name, _, text = head.partition(" ")
    question = context.predictions.question(name, text.strip(), choices)
    view = context.predictions.pose(question, numbered=context.ask is not None)
    if context.ask is None:
        return _shown(view)
    context.publisher.add("display_data", {"data": _shown(view).data, "metadata": {}, "transient": {}})
    offered = f" (1 to {len(choices)})" if choices else ""
    said = (context.ask(f"Your prediction{offered}: ", False) or "").strip()
    if not said:
        return CellOutcome()
    if question.kind is Kind.CHOICE and said.isdecimal() and 1 <= int(said) <= len(choices):
        said = choices[int(said) - 1]
    return _shown(context.predictions.record(question, said))


def _outcome(magic: MagicCall, context: Context) -> CellOutcome:
    head, _, why = magic.argument.partition("|")
    name = head.strip()
    if " " in name:
        raise UsageError("An outcome is the last line that a cell printed.", "Write `%outcome ID | WHY`.")
    if not context.said:
        raise UsageError(f"No cell has said yet what {name} came to.", "Run the cells above first.")
    return _shown(context.predictions.tell(name, context.said, why.strip()))


def _predictions(magic: MagicCall, context: Context) -> CellOutcome:
    return _shown(context.predictions.summary(_name(magic)))


def _shown(view: Shown) -> CellOutcome:
    return CellOutcome(data={"text/plain": view.text, "text/html": str(view.html)})


def _help(magic: MagicCall, context: Context) -> CellOutcome:
    return CellOutcome(page=help_text())


@dataclass(frozen=True)
class _Magic:
    """meanwhile: what is said to a person who waits for it."""

    use: str
    help: str
    run: Callable[[MagicCall, Context], CellOutcome]
    meanwhile: str = ""


MAGICS = {
    "%%host": _Magic("%%host", "run the rest of the cell with bash on the host, not in the TDVM", _host),
    "%timeline": _Magic("%timeline", "the stages of this TDVM's boot", _timeline),
    "%attest": _Magic(
        "%attest [HEX]", "what this TDVM measured, quoted, verified and appraised", _attest, "attesting"
    ),
    "%snapshot": _Magic("%snapshot NAME", "save the TDVM's state under a name", _snapshot, "saving the TDVM"),
    "%restore": _Magic("%restore NAME", "go back to a saved state", _restore, "going back"),
    "%console": _Magic("%console", "the boot log, as the TDVM printed it", _console),
    "%predict": _Magic("%predict ID TEXT | A | B", "ask for a prediction, of A or B or in words", _predict),
    "%outcome": _Magic(
        "%outcome ID | WHY", "show the prediction beside the last line that was printed", _outcome
    ),
    "%predictions": _Magic("%predictions CHAPTER", "what was predicted in a chapter", _predictions),
    "%tdvm": _Magic("%tdvm", "this list", _help),
}
"""Every magic, with its percent signs."""


def help_text() -> str:
    """The magics, one a line, and what else a cell can use."""
    rows = [f"{magic.use:<26}{magic.help}" for magic in MAGICS.values()]
    return "\n".join(
        [
            "Cells run in the shell of a TDVM, one shell for all cells. Besides shell commands there are:",
            "",
            *rows,
            "",
            "display TYPE [FILE]       shows image/png, image/jpeg, application/json or text/plain",
            "read [-s] [-p TEXT] NAME  asks you, where the front end lets you answer",
        ]
    )


def bundle(text: str, headline: str, view: RichView) -> dict[str, Any]:
    """A MIME bundle of a result of labkit's own."""
    return {"text/plain": text, "text/html": str(join([pre(headline)]) + view._repr_html_())}


def _name(magic: MagicCall) -> str:
    if not magic.argument:
        raise UsageError(f"%{magic.name} needs a name.", f"Write `%{magic.name} NAME`.")
    return magic.argument


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
