"""``labkit verify``: can this machine be a TDX host, and if not, what is the one thing to fix?"""

from __future__ import annotations

import os
from pathlib import Path

import click

from labkit.cli._common import EXISTING, Existing, emit, json_option, note
from labkit.errors import UsageError
from labkit.files import printable
from labkit.host import collect, diagnose, load, redact, save
from labkit.host.redaction import host_names

_ROOT = Existing(file_okay=False)
# An unreadable log is not wrong usage: it is the answer LOG_UNREADABLE.
_LOG = Existing(dir_okay=False, readable=False, allow_dash=True)


def _given(log: Path | None) -> Path | None:
    return Path("/dev/stdin") if log == Path("-") else log


@click.command("verify")
@click.option("--root", type=_ROOT, default=None, help="Read another file tree as /.")
@click.option(
    "--kernel-log", type=_LOG, help="Use this kernel log instead of the host's; - is standard input."
)
@click.option("--from", "source", type=EXISTING, help="Diagnose facts that --save wrote, here or elsewhere.")
@click.option(
    "--save", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write the facts to a file."
)
@click.option("--redact", "redacted", is_flag=True, help="Remove names, UUIDs, addresses and serial numbers.")
@click.option(
    "--fleet",
    type=Existing(),
    metavar="DIR|HOSTS",
    help="Many hosts as one table: a folder of facts files, or a file with a host per line to ask over ssh.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "html", "prometheus", "nagios"]),
    help="How a fleet is printed.",
)
@click.option("--collector", is_flag=True, help="Print the one-file collector for hosts without labkit.")
@click.option("--short", is_flag=True, help="One line.")
@click.option("--verbose", is_flag=True, help="Every check with its evidence, expected value and source.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    root: Path | None,
    kernel_log: Path | None,
    source: Path | None,
    target: Path | None,
    redacted: bool,
    fleet: Path | None,
    form: str | None,
    collector: bool,
    short: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Verify that this machine can host TDs, and name the one thing to fix; or many machines at once.

    Reads only: nothing is changed, installed or asked of the network. The exit status is 0 for READY, 1 for
    NOT_READY, 2 for INDETERMINATE.

    Example: labkit verify --redact --save facts.json
    """
    if collector:
        from labkit.fleet.collector import collector_source

        click.echo(collector_source(), nl=False)
        return
    if fleet:
        if source or root or kernel_log or redacted:
            raise UsageError("A fleet is read from its own facts files.", "Drop the other sources.")
        context.exit(_fleet(fleet, target, "json" if as_json else form or "text"))
    if root and not root.is_dir():
        raise UsageError(f"{printable(root)} is not a folder.", "Name the folder that has the host's files.")
    if form:
        raise UsageError("--format is for a fleet.", "Name one with --fleet, or use --json.")
    if source and (root or kernel_log):
        raise UsageError(
            "Saved facts already hold the host's files and log.", "Drop --root and --kernel-log."
        )
    facts = load(source) if source else collect(root or Path("/"), _given(kernel_log))
    if redacted:
        facts = redact(facts, host_names(root or Path("/")))
    report = diagnose(facts)
    if target:
        save(facts, target)
        note(f"The facts are in {target}.")
    if as_json:
        emit(report, as_json=True)
    else:
        # click takes the colour out again where standard output is not a terminal.
        color = not os.environ.get("NO_COLOR")
        click.echo(report.text(short=short, verbose=verbose, color=color))
    context.exit(report.verdict.exit_code)


def _fleet(where: Path, target: Path | None, form: str) -> int:
    """Print a fleet; its exit status. A file of hosts is asked over ssh first, into the folder ``target``."""
    from labkit.fleet.ssh import collect_hosts
    from labkit.fleet.summary import report_fleet

    if where.is_file():
        if target is None:
            raise UsageError("The hosts' facts need a folder.", "Name one with --save FOLDER.")
        report = report_fleet(target, collect_hosts(where, target, note))
    else:
        report = report_fleet(where)
    if form == "nagios":
        line, status = report.nagios()
        click.echo(line)
        return status
    if form == "json":
        emit(report, as_json=True)
    else:
        texts = {"text": report.__str__, "html": report.page, "prometheus": report.prometheus}
        click.echo(texts[form](), nl=form == "text")
    return report.exit_code
