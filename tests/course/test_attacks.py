"""Ways to get a mark without the work, or to keep others from theirs: each student of a class tries one."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import time
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labkit.course import release
from labkit.course.classes import ClassGrades, StudentRow, grade_class
from labkit.course.course import init_course, open_course
from labkit.course.exercises import exercise
from labkit.course.sandbox import Limits, SandboxDied, SandboxTimeout, bubblewrap, run_cells, sandbox
from labkit.course.submissions import Unreadable, read_zip

from .serial import grade_serially, sandboxes_that_stay

NAME = "mrtd"
FULL = 6
needs_sandbox = pytest.mark.skipif(bubblewrap() is None, reason="bubblewrap is not installed")


@dataclass(frozen=True)
class Place:
    """Where one student's attack happens. work: their folder, with the worked solution of their variant."""

    inbox: Path
    student: str

    @property
    def work(self) -> Path:
        return self.inbox / self.student / NAME

    @property
    def notebook(self) -> Path:
        return self.work / f"{NAME}.ipynb"

    def answers(self) -> dict[str, Any]:
        return dict(json.loads((self.work / "answers.json").read_text())["answers"])

    def write(self, answers: object) -> None:
        (self.work / "answers.json").write_text(json.dumps({"answers": answers}))

    def no_answers(self) -> None:
        (self.work / "answers.json").unlink()

    def code(self, text: str, *, keep_answers: bool = False) -> None:
        """The first solution cell says this, all others nothing."""
        document = json.loads(self.notebook.read_text())
        for cell in document["cells"]:
            if cell["cell_type"] == "code":
                cell["source"], text = text, ""
        self.notebook.write_text(json.dumps(document))
        if not keep_answers:
            self.no_answers()


@dataclass(frozen=True)
class Attack:
    """What a student does, and what they deserve."""

    name: str
    spoil: Callable[[Place], None]
    score: int = 0
    flags: tuple[str, ...] = ()
    runs: bool = False


def deep(count: int) -> str:
    return "[" * count + "]" * count


def shadowing_package(place: Place) -> None:
    """A labkit of their own beside the notebook, which says that everything is right."""
    package = place.work / "labkit" / "course"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text(
            "class Everything:\n    def __getattr__(self, name): return self\n"
        )
    for name in ("sitecustomize.py", "usercustomize.py", "json.py", "x.pth"):
        (place.work / name).write_text("import os; os._exit(0)\n")
    place.code("import labkit.course\nassert labkit.course.Everything")


def patched_grader(place: Place) -> None:
    place.code(
        "import labkit.course.model as model\n"
        "model.mark = lambda question, points, why, **more: question.points\n"
        "model.check_answer = None"
    )


def forged_channel(place: Place) -> None:
    """The code writes to the grader's pipe itself, as if the grader's own program had."""
    place.code(
        "import json, os\n"
        "for number in range(3, 20):\n"
        "    try: os.write(number, json.dumps({'marks': 6, 'answers': {'single_pass': '00' * 48}}).encode()"
        " + b'\\n')\n"
        "    except OSError: pass\n"
        "os._exit(0)"
    )


def endless_output(place: Place) -> None:
    place.code(
        "import os, sys\n"
        "for number in range(3, 20):\n"
        "    try:\n"
        "        for _ in range(100): os.write(number, b'x' * (1 << 20))\n"
        "    except OSError: pass\n"
        "for _ in range(100): sys.stderr.write('x' * (1 << 20))\n"
    )


def surviving_child(place: Place) -> None:
    place.code(
        "import os, signal, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        for number in range(1, 32): \n"
        "            try: signal.signal(number, signal.SIG_IGN)\n"
        "            except OSError: pass\n"
        "        time.sleep(3600)\n"
        "    os._exit(0)"
    )


def signals_to_everybody(place: Place) -> None:
    place.code(
        "import os, signal\n"
        "for pid in range(2, 5000):\n"
        "    try: os.kill(pid, 9)\n"
        "    except OSError: pass\n"
        "os.kill(-1, 9)"
    )


def deaf_loop(place: Place) -> None:
    place.code(
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", keep_answers=True
    )


def sleeper(place: Place) -> None:
    """It holds the grader up, and costs no processor time by which that could be seen."""
    place.code("import time\ntime.sleep(3600)")


def links(place: Place) -> None:
    """Links to where the right answers may lie: another's work, the course."""
    shutil.rmtree(place.work)
    place.work.mkdir()
    victim = place.inbox / "honest" / NAME
    for path in victim.iterdir():
        (place.work / path.name).symlink_to(path)


def linked_folder(place: Place) -> None:
    shutil.rmtree(place.work.parent)
    place.work.parent.symlink_to(place.inbox / "honest")


def pipe(place: Place) -> None:
    place.no_answers()
    os.mkfifo(place.work / "answers.json")


def duplicate_cells(place: Place) -> None:
    """Each cell with points twice: once for the teacher's eye, once easy."""
    document = json.loads(place.notebook.read_text())
    for cell in list(document["cells"]):
        about = cell["metadata"]["nbgrader"]
        if about["grade"]:
            easy = json.loads(json.dumps(cell))
            easy["source"], easy["metadata"]["nbgrader"]["points"] = "pass", 1000
            document["cells"].insert(0, easy)
    place.notebook.write_text(json.dumps(document))
    place.no_answers()
    place.write({})


def forged_checksums(place: Place) -> None:
    document = json.loads(place.notebook.read_text())
    for cell in document["cells"]:
        about = cell["metadata"]["nbgrader"]
        about.update(checksum="0" * 32, locked=False, solution=True, points=float("nan"))
        cell["source"] = "pass"
    place.notebook.write_text(json.dumps(document))
    place.write({})


def commanding_kernelspec(place: Place) -> None:
    document = json.loads(place.notebook.read_text())
    document["metadata"]["kernelspec"] = {"name": "../../evil", "argv": ["touch", "/tmp/labkit-was-here"]}
    document["metadata"]["papermill"] = {"parameters": {"answer": 1}}
    place.notebook.write_text(json.dumps(document))
    (place.work / "kernels").mkdir()
    (place.work / "kernels" / "kernel.json").write_text('{"argv": ["touch", "/tmp/labkit-was-here"]}')
    place.code("!touch /tmp/labkit-was-here\n%run evil.py\n%%bash\nexit")


def other_assignment(place: Place) -> None:
    shutil.copy(place.inbox.parent / "other" / place.student / "hosts" / "challenge.json", place.work)


def raw(text: str) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        (place.work / "answers.json").write_text(text)

    return spoil


def as_answers(make: Callable[[dict[str, Any]], object]) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        place.write(make(place.answers()))

    return spoil


def deep_points(place: Place) -> None:
    text = place.notebook.read_text()
    place.notebook.write_text(text.replace('"points": ', f'"points": {deep(900)}, "was": ', 1))
    place.write({})


def half_characters(place: Place) -> None:
    """Text that is none: it must not stop the grader where it writes its results."""
    document = json.loads((place.work / "challenge.json").read_text())
    document["student"] = "\ud800evil"
    (place.work / "challenge.json").write_text(json.dumps(document))
    place.write(dict.fromkeys(place.answers(), "\ud800"))


def half_character_error(place: Place) -> None:
    place.code("raise ValueError('\\ud800\\x1b[2J\\x1b]0;owned\\x07')")


def undecodable_name(place: Place) -> None:
    (place.work / os.fsdecode(b"\xff\xfe.txt")).write_bytes(b"x")
    place.write({})


def never_late(place: Place) -> None:
    (place.work / "submission.json").write_text('{"submitted": NaN}')


def end_of_time(place: Place) -> None:
    (place.work / "submission.json").write_text('{"submitted": 1' + "0" * 400 + "}")


def far_future(place: Place) -> None:
    (place.work / "timestamp.txt").write_text("9" * 300)


def damaged_zip(place: Place) -> None:
    """The stream inside is broken, which only its decompressor sees."""
    target = place.work.parent / "work.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("answers.json", "x" * 10_000)
    shutil.rmtree(place.work)
    data = bytearray(target.read_bytes())
    data[42:60] = b"\xff" * 18
    target.write_bytes(data)


def file_and_folder(place: Place) -> None:
    """A zip in which ``x`` is a file and a folder."""
    target = place.work.parent / "work.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for path in place.work.iterdir():
            if path.name != "answers.json":
                archive.write(path, f"{NAME}/{path.name}")
        archive.writestr(f"{NAME}/x", "x")
        archive.writestr(f"{NAME}/x/y", "y")
    shutil.rmtree(place.work)


def in_anothers_name(place: Place) -> None:
    """A later submission that says it is the honest one's: it must not replace what lies in that folder."""
    with zipfile.ZipFile(place.inbox / "homework.zip", "w") as archive:
        archive.writestr(f"honest/{NAME}/answers.json", '{"answers": {}}')
        archive.writestr(f"honest/{NAME}/timestamp.txt", "9000000000")
        archive.writestr(f"honest/{NAME}/challenge.json", "{}")
    place.write({})


ATTACKS = [
    Attack("honest", lambda place: None, FULL),
    Attack("shadowing_package", shadowing_package, runs=True),
    Attack("patched_grader", patched_grader, runs=True),
    Attack("forged_channel", forged_channel, runs=True),
    Attack("endless_output", endless_output, runs=True),
    Attack("surviving_child", surviving_child, runs=True),
    Attack("signals_to_everybody", signals_to_everybody, runs=True),
    Attack("deaf_loop", deaf_loop, flags=("timeout",), runs=True),
    Attack("sleeper", sleeper, flags=("timeout",), runs=True),
    Attack("commanding_kernelspec", commanding_kernelspec, flags=("edited",), runs=True),
    Attack("half_character_error", half_character_error, flags=("edited",), runs=True),
    Attack("links", links),
    Attack("linked_folder", linked_folder, flags=("missing",)),
    Attack("pipe", pipe),
    Attack("duplicate_cells", duplicate_cells, flags=("edited",)),
    Attack("forged_checksums", forged_checksums, flags=("edited",)),
    Attack("other_assignment", other_assignment, flags=("forged",)),
    Attack("deep_answers", raw('{"answers": {"mrtd": ' + deep(5000) + "}}")),
    Attack("less_deep_answers", raw('{"answers": {"mrtd": ' + deep(700) + "}}")),
    Attack("not_a_number", raw('{"answers": {"mrtd": NaN, "single_pass": Infinity}}')),
    Attack("many_digits", raw('{"answers": {"mrtd": ' + "9" * 9000 + "}}")),
    Attack("a_key_twice", raw('{"answers": {}, "answers": {"mrtd": ""}}')),
    Attack("no_object", raw('{"answers": [[], {}]}')),
    Attack("true_for_all", as_answers(lambda given: dict.fromkeys(given, True))),
    Attack("all_at_once", as_answers(lambda given: {key: [given[key], given[key]] for key in given})),
    Attack(
        "an_object_each",
        as_answers(lambda given: {key: {"__class__": "str", "value": given[key]} for key in given}),
    ),
    Attack("deep_points", deep_points),
    Attack("half_characters", half_characters, flags=("forged",)),
    Attack("undecodable_name", undecodable_name),
    Attack("never_late", never_late, FULL, flags=("clock",)),
    Attack("end_of_time", end_of_time, FULL, flags=("clock",)),
    Attack("far_future", far_future, FULL, flags=("clock",)),
    Attack("damaged_zip", damaged_zip, flags=("unreadable",)),
    Attack("file_and_folder", file_and_folder),
    Attack("in_anothers_name", in_anothers_name),
]


@pytest.fixture(scope="module")
def grades(tmp_path_factory: pytest.TempPathFactory) -> ClassGrades:
    """The class, graded once with everybody's attack in it, and once more from what was kept."""
    folder = tmp_path_factory.mktemp("attacks")
    (folder / "roster.csv").write_text("id\n" + "".join(f"{attack.name}\n" for attack in ATTACKS))
    course = init_course(folder / "roster.csv", folder / "course")
    course.set_due(NAME, 1_890_000_000.0)
    release(course, exercise(NAME), folder / "inbox", solutions=True)
    release(course, exercise("hosts"), folder / "other")
    for attack in ATTACKS:
        place = Place(folder / "inbox", attack.name)
        before = place.notebook.read_bytes()
        attack.spoil(place)
        # A worked notebook beside it would earn the marks, and running it takes a second.
        if (
            place.notebook.is_file()
            and not place.notebook.is_symlink()
            and place.notebook.read_bytes() == before
        ):
            place.notebook.unlink()
    # Nobody of the class, with names that terminals, spreadsheets and encodings stumble over.
    for name in ("\x1b[2J\x1b]0;owned\x07", "=1+1", os.fsdecode(b"\xff"), "hоnest"):
        shutil.copytree(folder / "inbox/honest", folder / "inbox" / name)
    # Their code is run where a sandbox is; what it does there is looked at in that place only.
    limits = Limits(seconds=4.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labkit.course.classes.grade_jobs", grade_serially)
        twice = [
            grade_class(open_course(folder / "course"), exercise(NAME), folder / "inbox", limits=limits)
            for _ in range(2)
        ]
    assert twice[1].kept == len(ATTACKS) - 1  # what cannot be read is tried again
    assert twice[0].csv() == twice[1].csv()
    return twice[0]


def row_of(grades: ClassGrades, student: str) -> StudentRow:
    return next(row for row in grades.rows if row.student == student)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_each_gets_what_they_deserve(attack: Attack, grades: ClassGrades) -> None:
    if attack.runs and bubblewrap() is None:
        pytest.skip("bubblewrap is not installed")
    row = row_of(grades, attack.name)
    assert row.score == attack.score, row.explain()
    assert set(row.flags) - {"edited"} == set(attack.flags) - {"edited"}, row.explain()


@needs_sandbox
def test_a_sleeper_is_told_why_it_was_ended(grades: ClassGrades) -> None:
    assert "Its code slept for 2 seconds in all, and " in row_of(grades, "sleeper").explain()
    assert "Its code did not end within 4 seconds of work." in row_of(grades, "deaf_loop").explain()


def test_nothing_is_left_of_their_processes(grades: ClassGrades) -> None:
    assert grades.rows
    assert sandboxes_that_stay() == set()
    assert not Path("/tmp/labkit-was-here").exists()


def test_no_name_and_no_error_of_theirs_reaches_a_terminal_or_a_spreadsheet(grades: ClassGrades) -> None:
    table = grades.csv()
    for text in (str(grades), grades.explain(), table, grades.junit().decode()):
        assert "\x1b" not in text
        assert "\x07" not in text
        text.encode()
    assert not any(line.startswith("=") for line in table.splitlines())
    strangers = [row for row in grades.rows if row.flags == ("unknown-student",)]
    assert len(strangers) == 4
    json.dumps(grades.to_dict()).encode()


def test_an_accent_can_be_written_in_two_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS takes names apart; the student is the same."""
    monkeypatch.setattr("labkit.course.classes.grade_jobs", grade_serially)
    (tmp_path / "roster.csv").write_text("id\nzoé\n")
    course = init_course(tmp_path / "roster.csv", tmp_path / "course")
    release(course, exercise(NAME), tmp_path / "solved", solutions=True)
    (tmp_path / "solved" / "zoé").rename(tmp_path / "solved" / unicodedata.normalize("NFD", "zoé"))
    done = grade_class(course, exercise(NAME), tmp_path / "solved", rerun=False)
    assert [(row.student, row.score) for row in done.rows] == [("zoé", FULL)]


def test_a_zip_of_a_million_names_costs_the_grader_nothing() -> None:
    """They are 44 MiB in a file, and ten times that as the objects that the zip's reader makes of them."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"{NAME}/x", "")
    data = stream.getvalue()
    begin, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entries = data[begin:end] * 5000
    bomb = data[:begin] + entries + data[end : end + 12] + struct.pack("<LLH", len(entries), begin, 0)
    tracemalloc.start()
    with pytest.raises(Unreadable, match="far more than 400 files"):
        read_zip(bomb, NAME)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000


# What code in the sandbox may try against the machine that it runs on.
WALLS = """
import ctypes, json, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def tried(what):
    try:
        return repr(what())
    except OSError as error:
        return type(error).__name__
def call(number, *arguments):
    return libc.syscall(number, *arguments)
def abstract():
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(SOCKET)
found = {
    "memory without a mapping": tried(lambda: os.memfd_create("x")),
    "memory of System V": call(29, 0, 1 << 20, 0o1600),
    "namespaces": libc.unshare(0x10020000),
    "namespaces by clone": call(56, 0x10000011, 0, 0, 0, 0),
    "clone3": call(435, 0, 0),
    "a device": tried(lambda: open("/dev/x", "w")),
    "a folder at the top": tried(lambda: os.mkdir("/x")),
    "the grader's process": tried(lambda: os.kill(GRADER, 0)),
    "the first process": tried(lambda: open("/proc/1/environ", "rb").read()),
    "its memory": tried(lambda: open("/proc/1/mem", "rb")),
    "its root": tried(lambda: os.listdir("/proc/1/root/home")),
    "abstract sockets": tried(abstract),
    "the kernel's settings": tried(lambda: open("/proc/sys/kernel/core_pattern", "w")),
    "sysrq": tried(lambda: open("/proc/sysrq-trigger", "w")),
    "a terminal": tried(lambda: os.open("/dev/tty", os.O_RDWR)),
    "threads": sum(os.path.isdir(f"/proc/{name}") for name in os.listdir("/proc") if name.isdigit()),
    "words in the environment": sorted(os.environ),
}
json.dump({"answers": found}, open("answers.json", "w"))
"""


@needs_sandbox
def test_the_walls_of_the_sandbox() -> None:
    import socket

    name = f"\0labkit-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        code = WALLS.replace("SOCKET", repr(name)).replace("GRADER", str(os.getpid()))
        found = dict(run_cells([code], {}, Limits()).answers)
    assert found.pop("threads") <= 2
    words = found.pop("words in the environment")
    assert not [word for word in words if "LABKIT" in word or "TOKEN" in word or "PYTHONPATH" in word]
    refusals = {
        "PermissionError",
        "FileNotFoundError",
        "OSError",
        "ProcessLookupError",
        "ConnectionRefusedError",
    }
    assert {key for key, value in found.items() if value != -1 and value not in refusals} == set(), found


@needs_sandbox
def test_processes_that_take_too_much_together_are_ended() -> None:
    """Each stays below the limit of one process."""
    code = (
        "import os, time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0:\n"
        "        kept = bytearray(os.urandom(1)) * (60 << 20)\n"
        "        time.sleep(600)\n"
        "while True: time.sleep(1)"
    )
    with pytest.raises(SandboxDied, match="for memory"):
        run_cells([code], {}, Limits(memory=256 << 20))


@needs_sandbox
def test_a_loop_that_does_not_listen_is_out_of_time() -> None:
    code = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    with pytest.raises(SandboxTimeout):
        run_cells([code], {}, Limits(seconds=1))


@needs_sandbox
def test_processes_that_work_too_long_together_are_ended() -> None:
    """Each has less than the limit: a bomb of them would keep the processors from the rest of the class."""
    code = (
        "import os, time\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        while time.process_time() < 1.5: pass\n"
        "        os._exit(0)\n"
        "for _ in range(3): os.wait()"
    )
    with pytest.raises(SandboxTimeout, match="did not end within 2 seconds of work"):
        run_cells([code], {}, Limits(seconds=2))


@needs_sandbox
def test_who_wakes_now_and_then_to_do_nothing_sleeps() -> None:
    """A bomb that cannot fork any more, and tries again."""
    code = "import os, time\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(0.1)"
    with pytest.raises(SandboxTimeout, match=r"slept for 1\.5 seconds in all"):
        run_cells([code], {}, Limits(seconds=3))


@needs_sandbox
def test_code_that_waits_for_the_grader_does_not_sleep() -> None:
    limits = Limits(seconds=2)
    code = "def echo(word, said):\n    said.append(word)\n    return iter(())"
    with sandbox(limits, "function") as talk:
        talk.send({"code": code, "function": "echo"})
        assert talk.receive() == {"ready": True}
        time.sleep(limits.asleep + 1)  # a grader that takes its time
        talk.send({"arguments": ["here"]})
        assert talk.receive() == {"done": ["here"]}
