"""``./lab`` with stand-ins on PATH: each machine it cannot serve gets one sentence and a status."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import cast

import pytest

from labkit.process import Completed, run
from tests.conftest import pytest_collection_modifyitems

REPOSITORY = Path(__file__).resolve().parents[2]

# What the script may use of a bare Debian system.
_TOOLS = (
    *("awk", "cat", "chmod", "cp", "df", "dirname", "dpkg-deb", "env", "flock", "grep", "id", "mkdir", "mv"),
    *("rm", "sed", "sh", "sha256sum", "sort", "tail", "uname"),
)

# A Python whose venv holds copies of it, whose pip says what PIP_SAYS holds, and which records its words.
_PYTHON = """#!/bin/sh
case "$*" in
    -V) echo "Python ${STUB_VERSION:-3.11.9}" ;;
    *version_info*) [ "${STUB_VERSION:-3.11.9}" = 3.11.9 ] ;;
    *"import ensurepip"*) ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/labkit" ;;
    "-m pip "*) echo "$*" >>"$STUB_RECORD"; echo "pip in ${TMPDIR-}" >>"$STUB_RECORD"
        printf '%b\\n' "${PIP_SAYS:-Collecting x}"
        exit "${PIP_STATUS:-0}" ;;
    "-m pytest"*) echo "$*${PYTHONDONTWRITEBYTECODE:+ without bytecode}" >>"$STUB_RECORD"
        case "$*" in *--nbval*) exit "${NBVAL_STATUS:-0}" ;; *) exit "${PYTEST_STATUS:-0}" ;; esac ;;
    *) echo "${0##*/} $*" >>"$STUB_RECORD" ;;
esac
"""


@dataclass(frozen=True)
class Bench:
    """A copy of the script in a repository of its own, and a PATH of stand-ins."""

    repository: Path
    bin: Path
    record: Path

    def stub(self, name: str, text: str) -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def environ(self, **extra: str) -> dict[str, str]:
        return {
            "PATH": str(self.bin),
            "HOME": str(self.repository),
            "STUB_RECORD": str(self.record),
            **extra,
        }

    def lab(self, *words: str, **extra: str) -> Completed:
        return run([self.repository / "lab", *words], env=self.environ(**extra), timeout=60.0)

    def recorded(self) -> list[str]:
        return self.record.read_text().splitlines() if self.record.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path / "repository", tmp_path / "bin", tmp_path / "record")
    bench.repository.mkdir()
    bench.bin.mkdir()
    for name in ("lab", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, bench.repository / name)
    for name in _TOOLS:
        if there := shutil.which(name):
            (bench.bin / name).symlink_to(there)
    bench.stub("uname", "case $1 in -s) echo Linux ;; *) echo x86_64 ;; esac")
    bench.stub("id", "case $1 in -u) echo 1000 ;; *) echo somebody ;; esac")
    bench.stub("apt-get", "exit 100")
    bench.stub("python3", _PYTHON)
    return bench


def _refusal(done: Completed) -> str:
    """The last line said, which must be the only complaint: no traceback, no message of a shell."""
    lines = done.stderr.decode().splitlines()
    assert done.status == 69, lines
    assert all(line.startswith("lab: ") for line in lines), lines
    return lines[-1].removeprefix("lab: ")


def test_another_operating_system(bench: Bench) -> None:
    bench.stub("uname", "echo Darwin")
    assert _refusal(bench.lab("run")).startswith("labkit runs on Linux, and this is Darwin: use a Debian")


def test_another_architecture(bench: Bench) -> None:
    bench.stub("uname", "case $1 in -s) echo Linux ;; *) echo aarch64 ;; esac")
    assert "needs an x86-64 machine, and this one is aarch64" in _refusal(bench.lab("run"))


def test_another_distribution(bench: Bench) -> None:
    (bench.bin / "apt-get").unlink()
    assert "no apt-get here" in _refusal(bench.lab("run"))


def test_a_python_that_is_too_old(bench: Bench) -> None:
    said = _refusal(bench.lab("test", STUB_VERSION="3.9.2"))
    assert said.startswith("no Python from 3.11 to 3.14 is here")
    assert "sudo ./lab test" in said


def test_a_later_python_beside_an_old_one_is_taken(bench: Bench) -> None:
    bench.stub("python3.12", _PYTHON)
    bench.stub("python3", "exit 1")
    assert bench.lab("lint").status != 69
    assert (bench.repository / ".venv/bin/python").exists()


def test_a_folder_that_cannot_be_written(bench: Bench) -> None:
    bench.stub("mkdir", "exit 1")
    said = _refusal(bench.lab("run"))
    assert said.startswith(f"{bench.repository} cannot be written by somebody: copy the repository")


def test_too_little_space(bench: Bench) -> None:
    bench.stub("df", "echo head; echo /dev/x 100 90 10 90% /")
    assert "less than 1 GB free" in _refusal(bench.lab("run"))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "WARNING: Retrying\\nERROR: NewConnectionError: Temporary failure in name resolution",
            "no package server answered while fetching the Python packages: check the network connection",
        ),
        ("ProxyError('Cannot connect', NewConnectionError(", "answered through the proxy that is set"),
        ("OSError('Tunnel connection failed: 407 Proxy Authentication Required", "asked for a password"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full: free some space"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "was not accepted"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE FILE",
            "is not the one in requirements.lock",
        ),
        (
            "E: Could not get lock /x/lock. It is held by process 7 (apt)",
            "another package manager is at work",
        ),
        ("E: Could not get lock /x/lock - open (30: Read-only file system)", "packages failed: read"),
        ("ERROR: something new", "fetching the Python packages failed: read"),
    ],
)
def test_a_failed_download_is_one_sentence(bench: Bench, output: str, words: str) -> None:
    assert words in _refusal(bench.lab("run", PIP_SAYS=output, PIP_STATUS="1"))
    assert not (bench.repository / ".venv/.lab-stamp").exists()


def test_an_unknown_verb_prints_the_verbs(bench: Bench) -> None:
    for words in ((), ("frobnicate",)):
        done = bench.lab(*words)
        assert done.status == 64
        assert b"usage: ./lab VERB" in done.stderr
    assert bench.lab("--help").status == 0
    assert not (bench.repository / ".venv").exists()


def test_packages_are_installed_from_the_lock_alone_and_then_labkit(bench: Bench) -> None:
    assert bench.lab("test").status == 0
    packages, labkit = [line for line in bench.recorded() if line.startswith("-m pip")]
    assert "install --require-hashes --only-binary :all: -r requirements.lock" in packages
    assert "install --no-deps --no-build-isolation --editable ." in labkit


def test_what_an_interrupted_pip_leaves_goes_with_the_environment(bench: Bench) -> None:
    bench.lab("test", PIP_STATUS="1")
    scratch = bench.repository / ".venv/tmp"
    assert [line for line in bench.recorded() if line.startswith("pip in")] == [f"pip in {scratch}"]
    assert scratch.is_dir()
    (scratch / "pip-unpack-x").mkdir()
    assert bench.lab("test").status == 0
    assert not scratch.exists()


def test_long_downloads_show_progress(bench: Bench) -> None:
    done = bench.lab(
        "test", PIP_SAYS="\\n".join(["Collecting x"] * 60 + ["Installing collected packages: x"])
    )
    said = done.stderr.decode()
    assert "25 of about" in said
    assert "50 of about" in said
    assert "installing them" in said


def test_the_second_run_sets_nothing_up(bench: Bench) -> None:
    bench.lab("test")
    bench.record.unlink()
    done = bench.lab("test")
    assert done.status == 0
    assert not [line for line in bench.recorded() if line.startswith("-m pip")]
    assert b"setting up" not in done.stderr


@pytest.mark.parametrize("file", ["requirements.lock", "pyproject.toml"])
def test_a_changed_dependency_sets_up_anew(bench: Bench, file: str) -> None:
    bench.lab("test")
    (bench.repository / file).write_text((bench.repository / file).read_text() + "\n# changed\n")
    assert b"setting up .venv" in bench.lab("test").stderr


def test_another_python_sets_up_anew(bench: Bench) -> None:
    bench.lab("test")
    inside = bench.repository / ".venv/bin/python"
    inside.write_text(inside.read_text().replace("3.11.9", "3.13.5"))
    assert b"setting up .venv" in bench.lab("test").stderr


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose own path is short."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    ("name", "works"),
    [
        ("my folder 'ü' %41", True),
        ('a"b$c', True),
        ('a "b"', False),
        ("a $HOME", False),
        ("a `b`", False),
        ("a \\ b", False),
        ("long$" + "x" * 100, False),
    ],
)
def test_a_path_that_pips_scripts_cannot_name_is_refused_first(
    bench: Bench, short_folder: Path, name: str, works: bool
) -> None:
    moved = bench.repository.rename(short_folder / name)
    done = run([moved / "lab", "test"], env=bench.environ(HOME=str(moved)), timeout=60.0)
    if works:
        assert done.status == 0
    else:
        assert "move the repository to another folder" in _refusal(done)
        assert not (moved / ".venv").exists()


def test_a_repository_that_moved_sets_up_anew(bench: Bench, tmp_path: Path) -> None:
    # The scripts in .venv name the interpreter by its old path.
    bench.lab("test")
    moved = bench.repository.rename(tmp_path / "elsewhere")
    assert b"setting up .venv" in run([moved / "lab", "test"], env=bench.environ()).stderr


def test_an_interrupted_set_up_is_repaired(bench: Bench) -> None:
    bench.lab("test", PIP_STATUS="1")
    (bench.repository / ".venv/leftover").touch()
    assert bench.lab("test").status == 0
    assert not (bench.repository / ".venv/leftover").exists()
    assert (bench.repository / ".venv/.lab-stamp").exists()


def test_a_second_set_up_waits_for_the_first(bench: Bench) -> None:
    with (bench.repository / "lab").open() as script:
        fcntl.flock(script, fcntl.LOCK_EX)
        second = subprocess.Popen(
            [bench.repository / "lab", "test"], env=bench.environ(), stderr=subprocess.PIPE, text=True
        )
        assert second.stderr is not None
        assert second.stderr.readline() == "lab: another ./lab is setting up: waiting for it\n"
        assert not (bench.repository / ".venv").exists()
    with second.stderr:
        assert "setting up .venv" in second.stderr.read()
    assert second.wait(60) == 0


def test_root_says_what_it_installs_before_it_does(bench: Bench) -> None:
    bench.stub("id", "echo 0")
    bench.stub("python3-later", _PYTHON)
    (bench.bin / "python3").unlink()
    bench.stub(
        "apt-get", f'case " $* " in *" install "*) mv {bench.bin}/python3-later {bench.bin}/python3;; esac'
    )
    done = bench.lab("test")
    assert done.status == 0, done.stderr
    assert (
        done.stderr.decode()
        .splitlines()[0]
        .startswith("lab: installing on this system: python3 python3-venv")
    )


def test_the_machine_is_provisioned_for_every_verb_that_boots(bench: Bench) -> None:
    bench.lab("lint")
    assert "labkit setup --check" not in bench.recorded()
    bench.lab("run", "03-boot-the-tdvm")
    expected = ["labkit setup --check", "labkit kernel install", "labkit run 03-boot-the-tdvm"]
    assert bench.recorded()[-3:] == expected


def test_what_setup_reports_ends_the_verb(bench: Bench) -> None:
    bench.lab("lint")
    (bench.repository / ".venv/bin/labkit").write_text("#!/bin/sh\n[ $1 != setup ] || exit 69\n")
    assert bench.lab("run").status == 69


def test_tests_and_notebooks_both_count(bench: Bench) -> None:
    (bench.repository / "notebooks").mkdir()
    (bench.repository / "notebooks/00-start.ipynb").touch()
    bench.stub("nproc", "echo 2")
    for name in ("vm/test_b", "vm/test_quick", "kernel/test_a", "kernel/test_browser", "learn/test_browser"):
        path = bench.repository / f"tests/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if "quick" in name else "pytestmark = pytest.mark.vm\n")
    assert bench.lab("test", PYTHONDONTWRITEBYTECODE="1").status == 0
    quick, rest, typed, notebooks = [line for line in bench.recorded() if line.startswith("-m pytest")]
    assert "--nbval" not in quick + rest
    assert quick == "-m pytest -p no:nbval -n 3 --dist loadfile -m not vm and not docker and not browser"
    assert rest == (
        "-m pytest -p no:nbval -n auto --dist loadfile -m not (not vm and not docker and not browser)"
        " tests/kernel/test_a.py tests/vm/test_b.py"
    )
    assert typed == "-m pytest -p no:nbval tests/kernel/test_browser.py tests/learn/test_browser.py"
    assert notebooks.endswith("notebooks/00-start.ipynb")
    assert bench.lab("test", PYTEST_STATUS="1").status == 1
    assert bench.lab("test", NBVAL_STATUS="1").status == 1


@pytest.mark.parametrize("mark", ["vm", "docker", "browser", "slow"])
def test_a_test_that_boots_by_a_mark_from_elsewhere_is_refused(tmp_path: Path, mark: str) -> None:
    def collect(words: str) -> None:
        path = tmp_path / f"test_{len(words)}.py"
        path.write_text(words)
        item = SimpleNamespace(path=path, get_closest_marker=lambda name: name == mark or None)
        pytest_collection_modifyitems([cast(pytest.Item, item)])

    collect(f"@pytest.mark.{mark}")
    refused = nullcontext() if mark == "slow" else pytest.raises(pytest.UsageError, match=r"pytest\.mark\.")
    with refused:
        collect("from tests.elsewhere import boots")


def test_a_proxy_that_is_set_is_named_where_no_server_answers(bench: Bench) -> None:
    silent = {"PIP_SAYS": "E: Failed to fetch http://x", "PIP_STATUS": "1", "https_proxy": "http://p:3128"}
    assert "look at http_proxy, https_proxy and no_proxy" in _refusal(bench.lab("run", **silent))


def test_words_after_test_are_for_pytest(bench: Bench) -> None:
    assert bench.lab("test", "tests/vm", "-k", "a b", PYTEST_STATUS="5").status == 5
    assert bench.recorded()[-1] == "-m pytest tests/vm -k a b"


def test_it_is_called_from_anywhere_and_its_folder_may_have_spaces(bench: Bench, tmp_path: Path) -> None:
    spaced = tmp_path / "a b" / "repository"
    shutil.copytree(bench.repository, spaced)
    done = run([spaced / "lab", "test"], env=bench.environ(), cwd=Path("/"))
    assert done.status == 0, done.stderr
    assert (spaced / ".venv/.lab-stamp").exists()


def test_variables_that_lead_pip_astray_are_dropped(bench: Bench) -> None:
    bench.stub(
        "python3", _PYTHON.replace('"-m pip "*)', '"-m pip "*) [ -z "$PIP_TARGET$PYTHONPATH" ] || exit 9;')
    )
    assert bench.lab("test", PIP_TARGET="/x", PYTHONPATH="/y").status == 0


_AWAY = "#!/bin/sh\n'''exec' \"/a b/python\"{} \"$0\" \"$@\"\n' '''\n"


@pytest.mark.parametrize(
    "written",
    ["#!/x/.venv/bin/python{}\n", "#!/x/.venv/bin/python3.13{}\n", _AWAY],
    ids=["short", "numbered", "with a blank"],
)
def test_variables_for_another_python_do_not_reach_the_command(bench: Bench, written: str) -> None:
    rest = "import re\nfrom labkit.cli import main\n"
    (bench.repository / "script").write_text(written.format("") + rest)
    own = 'cp "$0" "$3/bin/labkit"'
    assert own in _PYTHON
    bench.stub("python3", _PYTHON.replace(own, own.replace("$0", f"{bench.repository}/script")))
    assert bench.lab("vectors").status == 0
    assert (bench.repository / ".venv/bin/labkit").read_text() == written.format(" -E") + rest


def test_the_script_is_clean_for_dash_and_shellcheck() -> None:
    scripts = [
        REPOSITORY / name
        for name in ("lab", ".ci/run", "binder/postBuild", "deploy/jupyterhub/install-proxy")
    ]
    for script in scripts:
        assert os.access(script, os.X_OK), script
    assert run(["dash", "-n", REPOSITORY / "lab"]).ok
    checked = run([Path(sys.executable).with_name("shellcheck"), *scripts])
    assert checked.ok, checked.text
