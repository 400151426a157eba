"""What Jupyter asks of a kernel besides cells: magics, what it is, completion, many at once."""

from __future__ import annotations

import json
import os
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from labkit import process
from labkit.kernel.installing import Installed, install
from labkit.kernel.installing import kernelspec as make_kernelspec
from labkit.kernel.magics import find
from labkit.kernel.rich import bundle
from labkit.settings import Settings
from labkit.vm.rundir import running

from .client import Frontend

vm = pytest.mark.vm


def test_the_kernelspec_says_how_to_start_and_to_interrupt() -> None:
    spec = make_kernelspec()
    assert spec["argv"][:3] == [sys.executable, "-m", "labkit.kernel"]
    assert (spec["display_name"], spec["language"], spec["interrupt_mode"]) == (
        "TDVM shell",
        "bash",
        "message",
    )


def test_the_command_line_installs_it(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "JUPYTER_DATA_DIR": str(tmp_path / "data")}
    words = [sys.executable, "-m", "labkit", "kernel", "install", "--user", "--json"]
    done = process.run(words, env=environment)
    assert done.ok, done.stderr
    said = json.loads(done.stdout)
    assert said["name"] == "tdvm"
    folder = tmp_path / "data/kernels/tdvm"
    assert Path(said["path"]) == folder
    assert json.loads((folder / "kernel.json").read_text()) == make_kernelspec()
    assert (folder / "logo-svg.svg").exists()
    other = {
        "name": "tdvm-asterinas",
        "display_name": "TDVM shell (Asterinas)",
        "path": str(tmp_path / "data/kernels/tdvm-asterinas"),
    }
    assert said["others"] == [other]
    of_asterinas = json.loads((tmp_path / "data/kernels/tdvm-asterinas/kernel.json").read_text())
    assert of_asterinas == make_kernelspec(other["display_name"], "asterinas")
    told = str(Installed(folder, Path(other["path"])))
    assert [line.split(" is installed in ") for line in told.splitlines()] == [
        ["The kernel tdvm (TDVM shell)", f"{folder}."],
        [f"The kernel {other['name']} ({other['display_name']})", f"{other['path']}."],
    ]


def test_in_an_environment_every_jupyter_saves_what_an_open_form_shows(tmp_path: Path) -> None:
    install(prefix=str(tmp_path))
    config = json.loads((tmp_path / "etc/jupyter/jupyter_server_config.d/labkit.json").read_text())
    (extension,) = config["ServerApp"]["jpserver_extensions"]
    assert import_module(extension)._jupyter_server_extension_points() == [{"module": extension}]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("%timeline", "timeline"),
        ("\n%timeline  \n\n", "timeline"),
        ("%snapshot a b", "snapshot"),
        ("%%host\nls", "host"),
        ("%%host", "host"),
        ("%%nothing\nls", None),
        ("%nothing", None),
        ("%timeline\nls", None),
        ("ls\n%timeline", None),
        ("%1", None),
        ("%%timeline", None),
    ],
)
def test_only_a_cell_of_its_own_is_a_magic(code: str, name: str | None) -> None:
    magic = find(code)
    assert (magic.name if magic else None) == name


def test_only_what_is_on_the_list_is_shown() -> None:
    png = b"\x89PNG\r\n\x1a\n..."
    assert (bundle("image/png", png)[0] or {})["image/png"] == "iVBORw0KGgouLi4="
    assert (bundle("application/json", b'{"a": [1]}')[0] or {})["application/json"] == {"a": [1]}
    assert bundle("text/plain", b"a\x1b[2Jb")[0] == {"text/plain": "ab"}
    refused = [
        ("text/html", b"<b>"),
        ("image/svg+xml", b"<svg/>"),
        ("application/javascript", b"1"),
        ("text/markdown", b"x"),
        ("image/png", b"<svg/>"),
        ("image/jpeg", png),
        ("application/json", b"{"),
        ("application/json", b"[" * 99999),
    ]
    for mime, data in refused:
        shown, why = bundle(mime, data)
        assert shown is None
        assert why.startswith("display: ")


@vm
def test_what_it_is_says_what_it_may_be_trusted_for(frontend: Frontend) -> None:
    info = frontend.client.kernel_info(reply=True)["content"]
    assert info["language_info"]["name"] == "bash"
    assert info["implementation"] == "labkit"
    assert "[EMULATED] platform emulated, trust none" in info["banner"]


@vm
def test_magics_show_the_machine(frontend: Frontend) -> None:
    def result(code: str) -> dict[str, Any]:
        cell = frontend.run(code)
        assert cell.status == "ok"
        ((kind, content),) = cell.messages
        assert kind == "execute_result"
        data: dict[str, Any] = content["data"]
        return data

    assert "[EMULATED]" in result("%timeline")["text/plain"]
    assert "margin-left:0.00%" in result("%timeline")["text/html"]
    attested = result("%attest")["text/plain"]
    assert "[EMULATED]" in attested
    assert "RTMR0" in attested
    assert "quote [EMULATED] VERIFIED: under a lab's root" in attested
    assert "[EMULATED] ACCEPTED" in attested
    assert frontend.run("%attest xyz").error[0] == "UsageError"
    assert frontend.run("%attest " + "00" * 65).error[0] == "UsageError"
    console = frontend.run("%console").text()
    assert "Linux version" in console
    assert "labkit: shell" in console


@vm
def test_a_saved_state_comes_back_with_its_variables(frontend: Frontend) -> None:
    frontend.run("x=before; echo kept >/root/kept; mkdir -p /tmp/here; cd /tmp/here")
    assert frontend.run("%snapshot state").status == "ok"
    frontend.run("x=after; rm /root/kept; cd /")
    assert frontend.run("%restore state").status == "ok"
    after = frontend.run("echo $x; cat /root/kept; pwd")
    assert after.text() == "before\nkept\n/tmp/here\n"
    assert after.text("stderr") == ""
    assert frontend.run("%restore nothing").error[0] == "UsageError"
    assert frontend.run("%snapshot ../x").error[0] == "UsageError"
    assert frontend.run("%snapshot").error[0] == "UsageError"


@vm
def test_the_host_is_another_machine(frontend: Frontend) -> None:
    cell = frontend.run("%%host one\necho $1 $0; echo oops >&2; exit 4")
    assert (cell.text(), cell.text("stderr"), cell.error) == ("one bash\n", "oops\n", ("ExitStatus", "4"))


@vm
def test_what_the_guest_displays_is_looked_at(frontend: Frontend) -> None:
    cell = frontend.run("echo '<script>1</script>' | display text/html; echo '{}' | display application/json")
    assert cell.kinds() == ["stream", "display_data"]
    assert "is not shown" in cell.text("stderr")


@vm
def test_completion_knows_the_guest_and_runs_nothing(frontend: Frontend) -> None:
    frontend.run("greeting=hello; greet() { :; }; alias grin=echo; touch '/tmp/a file'")
    client = frontend.client

    def matches(code: str) -> list[str]:
        reply = client.complete(code, reply=True)["content"]
        found: list[str] = reply["matches"]
        return found

    assert matches("echo $greet") == ["greeting"]
    assert {"greet", "grep", "grin"} <= set(matches("gr"))
    assert matches("cat /tmp/a") == ["/tmp/a\\ file"]
    assert matches("%snap") == ["%snapshot"]
    for typed in (
        "ls $(touch /tmp/PWNED)",
        "ls `touch /tmp/PWNED`",
        "x$(touch /tmp/PWNED)a",
        "'$(touch /tmp/PWNED)",
    ):
        matches(typed)
        client.inspect(typed, reply=True)
        client.is_complete(typed)
        client.get_shell_msg(timeout=20)
    assert "PWNED" not in frontend.run("ls /tmp").text()
    assert "uname [-" in client.inspect("uname", reply=True)["content"]["data"]["text/plain"]


@vm
def test_two_kernels_have_a_guest_each_and_both_are_listed(
    frontend: Frontend, fresh: Frontend, vm_settings: Settings
) -> None:
    frontend.run("echo one >/root/name")
    assert fresh.run("ls /root").text() == ""
    machines = running(vm_settings)
    assert len(machines) >= 2
    done = process.run(
        [sys.executable, "-m", "labkit", "ps", "--json"],
        env={**os.environ, "LABKIT_STATE_DIR": str(vm_settings.state_dir)},
    )
    listed = json.loads(done.stdout)
    assert {vm.id for vm in machines} <= {vm["id"] for vm in listed}
    assert all(each["idle_seconds"] >= 0 for each in listed if each["kind"] == "tdvm")
    assert [each["kind"] for each in listed].count("kernel") >= 2


@vm
def test_a_guest_that_somebody_stops_is_said_and_replaced(frontend: Frontend, vm_settings: Settings) -> None:
    frontend.run("true")
    environment = {**os.environ, "LABKIT_STATE_DIR": str(vm_settings.state_dir)}

    def stop_guests() -> None:
        for vm in running(vm_settings):
            process.run([sys.executable, "-m", "labkit", "stop", vm.id], env=environment)

    threading.Timer(1, stop_guests).start()
    cell = frontend.run("sleep 60")
    assert cell.error[0] == "GuestGone"
    assert frontend.run("echo ok").text() == "ok\n"


@vm
def test_a_run_gets_the_record_of_each_of_its_guests(kernelspec: str, tmp_path: Path) -> None:
    frontend = Frontend(**{**os.environ, "LABKIT_RUN_DIR": str(tmp_path)})
    try:
        frontend.run("echo first")
        frontend.run("%snapshot here")
        frontend.run("%restore here")
        frontend.run("echo second")
    finally:
        frontend.close()
    for number, word in enumerate((b"first", b"second"), 1):
        folder = tmp_path / f"tdvm-{number:02}"
        result = json.loads((folder / "result.json").read_text())
        assert (result["platform"], result["trust"], result["stamp"]) == ("emulated", "none", "EMULATED")
        assert word in (folder / "shell.log").read_bytes()


@vm
def test_papermill_injects_parameters_and_stops_at_an_error(kernelspec: str, tmp_path: Path) -> None:
    papermill = pytest.importorskip("papermill")
    metadata = {"kernelspec": {"name": "tdvm", "display_name": "TDVM shell", "language": "bash"}}
    first = new_code_cell("who=nobody", metadata={"tags": ["parameters"]})
    cells = [
        first,
        new_code_cell('echo "$who"'),
        new_code_cell("read x || echo no input"),
        new_code_cell("exit 9"),
    ]
    cells.append(new_code_cell("echo never"))
    nbformat.write(new_notebook(cells=cells, metadata=metadata), tmp_path / "in.ipynb")
    with pytest.raises(papermill.exceptions.PapermillExecutionError) as failure:
        papermill.execute_notebook(
            tmp_path / "in.ipynb",
            tmp_path / "out.ipynb",
            parameters={"who": "it's $me"},
            progress_bar=False,
            execution_timeout=60,
        )
    assert (failure.value.ename, failure.value.evalue) == ("ExitStatus", "9")
    done = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    outputs = ["".join(o.get("text", "") for o in cell.get("outputs", [])) for cell in done.cells]
    assert "it's $me\n" in outputs
    assert any("no input\n" in output for output in outputs)
    assert not any("never" in output for output in outputs)
