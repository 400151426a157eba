"""A small class from release to marks, through the package's own verbs."""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import json
import os
import resource
import shutil
import sqlite3
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from labkit.cli import labkit
from labkit.course import open_work, release
from labkit.course.classes import ClassGrades, grade_class
from labkit.course.course import Course, init_course, open_course, read_roster
from labkit.course.exercises import exercise
from labkit.course.gradebook import merge
from labkit.course.sandbox import Limits, bubblewrap
from labkit.course.submissions import Submission, assignment_in, find_submissions, pack
from labkit.errors import DataError, MissingComponent, StorageError, UsageError

from .serial import grade_serially

STUDENTS = ("ada", "bob", "cyd", "dan", "eve", "fay")
sandboxed = pytest.mark.skipif(bubblewrap() is None, reason="bubblewrap is not installed")


@pytest.fixture(autouse=True)
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grade in this process; the engine has its own tests."""
    monkeypatch.setattr("labkit.course.classes.grade_jobs", grade_serially)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with two assignments, released with and without solutions."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "roster.csv").write_text("name,id\n" + "".join(f"N,{student}\n" for student in STUDENTS))
    course = init_course(folder / "roster.csv", folder / "course")
    for name in ("mrtd", "own-rtmr2", "hosts"):
        release(course, exercise(name), folder / "released")
        release(course, exercise(name), folder / "solutions", solutions=True)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    shutil.copytree(made, tmp_path / "class")
    return tmp_path / "class"


def graded(place: Path, name: str = "mrtd", where: str = "solutions", **options: object) -> ClassGrades:
    course = open_course(place / "course")
    settings: dict[str, object] = {"rerun": False, **options}
    return grade_class(course, exercise(name), place / where, 1, **settings)  # type: ignore[arg-type]


def scores(grades: ClassGrades) -> dict[str, int]:
    return {row.student: row.score for row in grades.rows}


def flags(grades: ClassGrades) -> dict[str, tuple[str, ...]]:
    return {row.student: row.flags for row in grades.rows if row.flags}


def test_solutions_get_full_marks_stubs_none_and_nobody_is_suspected(place: Path) -> None:
    for name in ("mrtd", "own-rtmr2", "hosts"):
        full = exercise(name).points
        done = graded(place, name)
        assert scores(done) == dict.fromkeys(STUDENTS, full)
        assert flags(done) == {}
        assert set(scores(graded(place, name, "released")).values()) == {0}


def test_csv_and_junit_say_the_same(place: Path) -> None:
    shutil.rmtree(place / "solutions" / "bob")
    done = graded(place)
    rows = list(csv.DictReader(io.StringIO(done.csv())))
    assert list(rows[0]) == ["id", "assignment", "score", "max_score", "flags"]
    assert [row["id"] for row in rows] == list(STUDENTS)
    assert rows[1] == {"id": "bob", "assignment": "mrtd", "score": "0", "max_score": "6", "flags": "missing"}
    suite = ElementTree.fromstring(done.junit())
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("18", "3", "0")


def replace_folder(place: Path, thief: str, victim: str, name: str) -> Path:
    target = place / "solutions" / thief / name
    shutil.rmtree(target)
    shutil.copytree(place / "solutions" / victim / name, target)
    return target


@pytest.mark.parametrize("name", ["mrtd", "own-rtmr2", "hosts"])
def test_a_copied_folder_gets_nothing_and_names_its_source(place: Path, name: str) -> None:
    replace_folder(place, "eve", "ada", name)
    done = graded(place, name)
    assert flags(done)["eve"][0] == "copied:ada"
    assert scores(done)["eve"] == 0
    assert "ada" not in flags(done)
    assert scores(done)["ada"] == exercise(name).points


@pytest.mark.parametrize("name", ["mrtd", "own-rtmr2", "hosts"])
def test_copied_answers_beside_the_own_challenge_are_found(place: Path, name: str) -> None:
    own = (place / "released" / "eve" / name / "challenge.json").read_bytes()
    target = replace_folder(place, "eve", "ada", name)
    (target / "challenge.json").write_bytes(own)
    done = graded(place, name)
    assert "copied:ada" in flags(done)["eve"]
    assert scores(done)["eve"] == 0
    (row,) = (row for row in done.rows if row.student == "eve")
    assert "from ada. No point below counts.\n" in row.explain()  # some of its answers may be right


def test_the_source_of_a_copy_need_not_have_handed_in(place: Path) -> None:
    replace_folder(place, "eve", "ada", "mrtd")
    shutil.rmtree(place / "solutions" / "ada")
    assert flags(graded(place)) == {"ada": ("missing",), "eve": ("copied:ada",)}


def test_a_repeated_signing_key_names_both(place: Path) -> None:
    from labkit.course.exercises.booted import bound_answers
    from labkit.course.model import Claims

    course = open_course(place / "course")
    from labkit.attest import LabAuthority

    authority = LabAuthority.create(1_800_000_000)
    found = exercise("own-rtmr2")
    for student in ("ada", "bob"):
        task = found.task(course.seed, course.identity, student)
        from labkit.attest import make_tdreport
        from labkit.measure import parse_log, rtmrs

        claims: Claims = found.solve(task)
        log = parse_log(claims.files["evidence/eventlog.EMULATED.bin"])
        bound = bound_answers(claims, ("command_line", "rtmr2"))
        report = make_tdreport(
            mrtd=bytes(48),
            rtmr=rtmrs(log),
            report_data=task.challenge.report_data(bound),
            td_attributes=1 << 28,
        )
        folder = place / "solutions" / student / "own-rtmr2"
        for name, data in {
            "quote.EMULATED.bin": authority.quote(report),
            "collateral.json": authority.collateral(1_800_000_000).text.encode(),
            "root.der": authority.root_der,
            "eventlog.EMULATED.bin": log.encode(),
        }.items():
            (folder / "evidence" / name).write_bytes(data)
        (folder / "answers.json").write_text(json.dumps({"answers": claims.answers}))
    done = graded(place, "own-rtmr2")
    assert flags(done) == {"ada": ("same-key:bob",), "bob": ("same-key:ada",)}
    assert scores(done)["ada"] == scores(done)["bob"] == 6


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def forge_quote(folder: Path) -> None:
    flip(folder / "evidence" / "quote.EMULATED.bin", 400)


def forge_log(folder: Path) -> None:
    flip(folder / "evidence" / "eventlog.EMULATED.bin", 90)


def forge_challenge(folder: Path) -> None:
    path = folder / "challenge.json"
    document = json.loads(path.read_text())
    document["parameters"]["append"] = "quiet"
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("forge", [forge_quote, forge_log, forge_challenge])
def test_forgeries_are_flagged_and_get_nothing(place: Path, forge: Callable[[Path], None]) -> None:
    forge(place / "solutions" / "dan" / "own-rtmr2")
    done = graded(place, "own-rtmr2")
    assert flags(done) == {"dan": ("forged",)}
    assert scores(done)["dan"] == 0


def test_edited_cells_are_flagged_and_change_no_mark(place: Path) -> None:
    path = place / "released" / "dan" / "mrtd" / "mrtd.ipynb"
    document = json.loads(path.read_text())
    for cell in document["cells"]:
        if cell["metadata"]["nbgrader"]["grade"]:
            cell["metadata"]["nbgrader"]["points"] = 500
            cell["source"] = "pass"
    path.write_text(json.dumps(document))
    done = graded(place, "mrtd", "released")
    assert flags(done) == {"dan": ("edited",)}
    assert scores(done)["dan"] == 0


def test_a_notebook_of_an_earlier_labkit_is_not_edited(place: Path) -> None:
    """The course was released before an upgrade changed a cell with points."""
    (today,) = (place / "course" / "assignments").glob("mrtd-????????????????.ipynb")
    earlier = today.read_text().replace('work.check(\\"pages\\")', 'work.check(\\"pages\\")  # of earlier')
    assert earlier != today.read_text()
    (place / "released" / "dan" / "mrtd" / "mrtd.ipynb").write_text(earlier)
    assert flags(graded(place, "mrtd", "released")) == {"dan": ("edited",)}
    today.with_name(f"mrtd-{'0' * 16}.ipynb").write_text(earlier)
    assert flags(graded(place, "mrtd", "released")) == {}


def test_late_is_flagged_by_the_time_of_the_submission(place: Path) -> None:
    now = int(time.time())
    open_course(place / "course").set_due("mrtd", now + 100)
    for student, moment in (("ada", now), ("bob", now + 200)):
        (place / "solutions" / student / "mrtd" / "timestamp.txt").write_text(str(moment))
    done = graded(place)
    assert flags(done) == {"bob": ("late",)}
    assert scores(done)["bob"] == 6


def test_a_time_stamp_that_cannot_be_true_is_flagged(place: Path) -> None:
    now = time.time()
    stamps = {"ada": now - 86400, "bob": now + 86400, "cyd": now - 60, "dan": "soon", "eve": 1e11, "fay": -1}
    for student, moment in stamps.items():
        (place / "solutions" / student / "mrtd" / "timestamp.txt").write_text(str(moment))
    done = graded(place)
    assert flags(done) == dict.fromkeys(("ada", "bob", "dan", "eve", "fay"), ("clock",))
    assert set(scores(done).values()) == {6}
    notes = {row.student: " ".join(row.notes) for row in done.rows}
    assert "is before the release (20" in notes["ada"]
    assert "is in the future" in notes["bob"]
    assert "is not a moment" in notes["dan"]


def test_the_first_release_counts_and_one_that_was_not_written_down_is_not_guessed(place: Path) -> None:
    course = open_course(place / "course")
    first = course.released["mrtd"]
    release(course, exercise("mrtd"), place / "again")
    assert open_course(place / "course").released["mrtd"] == first
    path = place / "course" / "course.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "released": {}}))
    release(open_course(place / "course"), exercise("mrtd"), place / "released")
    assert open_course(place / "course").released == {}


@pytest.mark.parametrize("moments", [[], {"mrtd": "soon"}, {"mrtd": None}, {"mrtd": True}])
@pytest.mark.parametrize("kind", ["due", "released"])
def test_a_course_whose_moments_are_damaged_is_named(place: Path, kind: str, moments: object) -> None:
    path = place / "course" / "course.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), kind: moments}))
    with pytest.raises(DataError, match=f"`{kind}` is not a time for each assignment"):
        open_course(place / "course")


def test_a_due_date_that_is_past_is_said(place: Path) -> None:
    words = ("assignment", "release", "hosts", "--course", str(place / "course"))
    for due, past in (("2020-01-01", True), ("2100-01-01", False)):
        told = CliRunner().invoke(labkit, [*words, "--output", str(place / "released"), "--due", due])
        assert told.exit_code == 0
        assert ("is past" in told.stderr) is past


def test_zip_files_are_graded_like_folders(place: Path) -> None:
    inbox = place / "inbox"
    inbox.mkdir()
    for student in STUDENTS[:3]:
        pack(place / "solutions" / student / "mrtd", "mrtd", inbox / f"{student}.zip")
    (inbox / "dan").mkdir()
    pack(place / "solutions" / "ada" / "mrtd", "mrtd", inbox / "dan" / "mrtd.zip")
    (inbox / "eve.zip").write_bytes(b"PK not a zip")
    with zipfile.ZipFile(inbox / "fay.zip", "w") as archive:
        archive.writestr("../../escape.txt", "x")
    (inbox / "zoe.zip").write_bytes((inbox / "ada.zip").read_bytes())
    done = graded(place, "mrtd", "inbox")
    assert {name: score for name, score in scores(done).items() if score} == {"ada": 6, "bob": 6, "cyd": 6}
    assert flags(done)["dan"] == ("copied:ada",)
    assert flags(done)["eve"] == flags(done)["fay"] == ("unreadable",)
    assert {row.student for row in done.failed} == {"eve", "fay"}


def test_work_on_another_assignment_is_no_forgery(place: Path) -> None:
    """Who hands in two assignments, or the wrong one, forged nothing."""
    inbox, now = place / "inbox", time.time()
    for student in STUDENTS[:4]:
        (inbox / student).mkdir(parents=True)
    for student, names in {"ada": ("mrtd", "hosts"), "bob": ("hosts",), "cyd": ("hosts",)}.items():
        for moment, name in enumerate(names, 1):  # hosts is the later one
            pack(
                place / "solutions" / student / name, name, inbox / student / f"{name}.zip", now=now + moment
            )
    (inbox / "cyd" / "hosts.zip").rename(inbox / "cyd" / "work.zip")
    shutil.copytree(place / "solutions" / "dan" / "hosts", inbox / "dan", dirs_exist_ok=True)
    pack(place / "solutions" / "eve" / "hosts", "hosts", inbox / "hosts-eve.zip")
    done = graded(place, where="inbox")
    assert flags(done) == {
        "bob": ("missing",),
        "cyd": ("unreadable",),
        "dan": ("unreadable",),
        "eve": ("missing",),
        "fay": ("missing",),
    }
    assert scores(done)["ada"] == exercise("mrtd").points
    assert [row.problem for row in done.failed] == [
        "The submission cannot be read: work.zip is work on hosts.",
        "The submission cannot be read: dan is work on hosts.",
    ]
    (inbox / "cyd" / "work.zip").unlink()
    with zipfile.ZipFile(inbox / "cyd" / "hosts.zip", "w") as archive:
        archive.writestr("challenge.json", '{"assignment": ["hosts"]}')
    assert "forged" in flags(graded(place, where="inbox"))["cyd"]


def test_a_file_in_another_format_is_not_overlooked(place: Path) -> None:
    """Who hands in a document, or the notebook alone, is not told that nothing was handed in."""
    inbox = place / "inbox"
    (inbox / "ada").mkdir(parents=True)
    shutil.copy(place / "solutions" / "ada" / "mrtd" / "mrtd.ipynb", inbox / "ada")
    (inbox / "mrtd-bob (1).docx").write_bytes(b"words")
    (inbox / "notes.txt").write_text("the teacher's own")
    done = graded(place, where="inbox")
    assert {name: flags(done).get(name, ()) for name in ("ada", "bob", "cyd")} == {
        "ada": (),
        "bob": ("unreadable",),
        "cyd": ("missing",),
    }
    assert [row.problem for row in done.failed] == [
        "The submission cannot be read: mrtd-bob (1).docx is neither a zip file nor a folder."
    ]


@pytest.mark.parametrize("name", ["mrtd-ada (1).zip", "mrtd-ada(2).zip", "ada (1).zip"])
def test_a_second_hand_in_counts_under_the_name_that_a_browser_gives_it(place: Path, name: str) -> None:
    inbox = place / "inbox"
    inbox.mkdir()
    pack(place / "released" / "ada" / "mrtd", "mrtd", inbox / "mrtd-ada.zip", now=1000.0)
    pack(place / "solutions" / "ada" / "mrtd", "mrtd", inbox / name, now=2000.0)
    assert scores(graded(place, "mrtd", "inbox"))["ada"] == 6


def test_a_student_renamed_or_taken_off_the_roster_is_said(place: Path) -> None:
    """Another id is another variant; who left keeps no mark, and nobody else's changes."""
    (place / "roster.csv").write_text("id\nada2\n" + "".join(f"{name}\n" for name in STUDENTS[2:]))
    init_course(place / "roster.csv", place / "course")
    shutil.copytree(place / "solutions" / "ada", place / "solutions" / "ada2")
    done = graded(place)
    assert flags(done) == dict.fromkeys(("ada", "bob"), ("unknown-student",)) | {"ada2": ("forged",)}
    renamed = next(row for row in done.rows if row.student == "ada2")
    assert {entry.why for entry in renamed.marks} == {"The challenge in it is that of ada."}
    assert [row.score for row in done.rows if row.student in STUDENTS[2:]] == [6] * 4


def test_an_unknown_student_is_named_and_could_not_be_graded(place: Path) -> None:
    shutil.copytree(place / "solutions" / "ada", place / "solutions" / "mallory")
    done = graded(place)
    assert [row.student for row in done.failed] == ["mallory"]
    assert flags(done)["mallory"] == ("unknown-student",)


def test_a_second_run_grades_nothing_again_and_says_the_same(place: Path) -> None:
    first, second = graded(place), graded(place)
    assert (first.kept, second.kept) == (0, len(STUDENTS))
    assert first.csv() == second.csv()
    (place / "solutions" / "bob" / "mrtd" / "answers.json").write_text("{")
    third = graded(place)
    assert third.kept == len(STUDENTS) - 1
    assert scores(third)["bob"] == 0


def test_a_damaged_result_is_graded_anew(place: Path) -> None:
    graded(place)
    for path in (place / "course" / "grades" / "mrtd").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert graded(place).kept == 0


@sandboxed
@pytest.mark.parametrize(
    ("cell", "flag"),
    [("while True:\n    pass", "timeout"), ("import os\nos._exit(1)", None), ("raise SystemExit", None)],
)
def test_code_that_hangs_or_ends_early(place: Path, cell: str, flag: str | None) -> None:
    path = place / "solutions" / "dan" / "mrtd" / "mrtd.ipynb"
    document = json.loads(path.read_text())
    document["cells"][3]["source"] = cell
    path.write_text(json.dumps(document))
    done = graded(place, rerun=True, limits=Limits(seconds=6.0))
    assert flags(done).get("dan") == ((flag,) if flag else None)
    assert scores(done) == {student: 0 if student == "dan" and flag else 6 for student in STUDENTS}


@sandboxed
def test_a_notebook_without_answers_is_run_again_for_them(place: Path) -> None:
    for student in STUDENTS:
        (place / "solutions" / student / "mrtd" / "answers.json").unlink()
    assert set(scores(graded(place, rerun=True)).values()) == {6}
    assert set(scores(graded(place, rerun=False)).values()) == {0}


def test_marks_are_merged_into_nbgraders_gradebook(place: Path) -> None:
    from nbgrader.api import Gradebook

    replace_folder(place, "eve", "ada", "mrtd")
    shutil.rmtree(place / "solutions" / "fay")
    course = open_course(place / "course")
    grades = graded(place)
    url = f"sqlite:///{place / 'gradebook.db'}"
    for _ in range(2):  # merged twice, nothing is counted twice
        assert merge(course, exercise("mrtd"), grades, url).startswith("5 marks are in")
    with Gradebook(url) as book:
        found = {entry.student.id: entry.score for entry in book.assignment_submissions("mrtd")}
        assert book.find_assignment("mrtd").max_score == 6
    assert found == {student: 0.0 if student == "eve" else 6.0 for student in STUDENTS if student != "fay"}


# nbgrader leaves the connection of a gradebook that it could not open to the garbage.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("locked", "Close formgrader"),
        ("older", "nbgrader db upgrade"),
        ("text", "sqlite:///gradebook.db"),
        ("postgresql://me:secret@localhost/x", "pip install psycopg"),
    ],
)
def test_a_gradebook_that_cannot_be_written_says_what_helps(place: Path, name: str, word: str) -> None:
    path = place / "gradebook.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as book:
        if name == "text":
            path.write_text("marks " * 200)
        else:
            book.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
            book.execute("CREATE TABLE assignment (id VARCHAR(32) NOT NULL, name VARCHAR(128))")
        if name == "locked":
            book.execute("BEGIN EXCLUSIVE")
        url = name if "://" in name else f"sqlite:///{path}?timeout=0.1"
        grades = graded(place)
        with pytest.raises((StorageError, MissingComponent)) as caught:
            merge(open_course(place / "course"), exercise("mrtd"), grades, url)
    assert word in caught.value.remedy
    assert "secret" not in str(caught.value)
    del caught
    gc.collect()


def test_a_release_leaves_a_students_work_alone(place: Path) -> None:
    course = open_course(place / "course")
    notebook = place / "released" / "ada" / "mrtd" / "mrtd.ipynb"
    notebook.write_text("my work")
    shutil.rmtree(place / "released" / "bob")
    release(course, exercise("mrtd"), place / "released")
    assert notebook.read_text() == "my work"
    assert (place / "released" / "bob" / "mrtd" / "challenge.json").is_file()
    with pytest.raises(StorageError, match="not from this release"):
        release(course, exercise("mrtd"), place / "released", solutions=True)


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As a full disk does it: what is larger ends in the middle."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_what_a_full_disk_cut_short_can_be_done_again(place: Path) -> None:
    """Nothing half-written is left that the next command would take for a damaged course or for another's."""
    with files_of_at_most(0), pytest.raises(StorageError):
        init_course(place / "roster.csv", place / "new")
    course = init_course(place / "roster.csv", place / "new")
    with files_of_at_most(12 << 10), pytest.raises(StorageError):
        release(course, exercise("mrtd"), place / "out")
    assert release(course, exercise("mrtd"), place / "out").students == len(STUDENTS)
    assert sorted(path.name for path in (place / "out" / "ada").iterdir()) == ["mrtd"]
    assert (place / "new" / "seed").stat().st_mode & 0o777 == 0o600


def test_a_new_roster_keeps_the_seed(place: Path) -> None:
    before = open_course(place / "course").seed
    (place / "more.csv").write_text("\ufeffid;name\nada;A\nnew;N\n", encoding="utf-8")
    after = init_course(place / "more.csv", place / "course")
    assert (after.seed, after.students) == (before, ("ada", "new"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name\nx\n", "no column `id`"),
        ("id\n", "names no student"),
        ("id\na/../b\n", "cannot be the name of a folder"),
        ("id\n..\n", "cannot be the name of a folder"),
        ("id\nAda\nada\n", "stands twice"),
        ("id\nanna\n\u0430nna\n", "looks like 'anna'"),
        ("id\n\u0430\u0435\u043e\u0440\naeop\n", "looks like"),
        ("id\nab\n\uff41b\n", "looks like 'ab'"),
        ("id,id\na,b\n", "two columns"),
        ('id,name\nx,"open\ny,b\nz,c\n', "a quote in it is not closed"),
        ("id,name\na," + "x" * 200_000 + "\n", "not a CSV file"),
    ],
)
def test_a_bad_roster_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "roster.csv").write_text(text)
    with pytest.raises(DataError, match=what):
        init_course(tmp_path / "roster.csv", tmp_path / "course")


@pytest.mark.parametrize(
    "data",
    [
        b"id\radal\rbob\r",
        b"name;id;note, with commas, and more\r\nA;adal;\r\nB;bob;\r\n",
        "\ufeffid\tname\nadal\tA\nbob\tB\n".encode("utf-16-le"),
        b'name,id\n"B, A",adal\n\n"line\nend",bob\n',
        b"sep=;\r\nid;name\r\nadal;A\r\nbob;B\r\n",
        "Name;ID\nMüller;adal\nWeiß;bob\n".encode("cp1252"),
        'Student,ID,SIS User ID\n    Points Possible,,\n"Ada, L",adal,1\n"Bob, X",bob,2\n'.encode(
            "utf-8-sig"
        ),
    ],
)
def test_a_roster_is_read_as_tables_write_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "roster.csv").write_bytes(data)
    assert read_roster(tmp_path / "roster.csv") == ("adal", "bob")


_PARTICIPANTS = "Vorname,Nachname,ID-Nummer,E-Mail-Adresse,Prüfungsgruppe\nJürgen,Müller,4711,jm@uni.de,ü\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize(("column", "student"), [("e-mail-adresse", "jm@uni.de"), ("ID-Nummer ", "4711")])
def test_a_list_of_a_learning_platform_is_a_roster(
    tmp_path: Path, encoding: str, column: str, student: str
) -> None:
    (tmp_path / "roster.csv").write_bytes(_PARTICIPANTS.encode(encoding))
    assert init_course(tmp_path / "roster.csv", tmp_path / "course", column).students == (student,)
    with pytest.raises(DataError, match="`id`; its first line names: Vorname, Nachname, ID-Nummer, E") as no:
        read_roster(tmp_path / "roster.csv")
    assert "--column" in no.value.remedy


@pytest.mark.parametrize("student", ["jürgen.müller", "žofia", "שרה", "مريم", "हिंदी", "สมชาย", "李雷"])
def test_a_student_has_an_id_in_any_script_however_it_is_written(tmp_path: Path, student: str) -> None:
    for form in ("NFC", "NFD"):
        (tmp_path / "roster.csv").write_text(f"id\n{unicodedata.normalize(form, student)}\n")
        assert read_roster(tmp_path / "roster.csv") == (unicodedata.normalize("NFC", student),)


def test_an_id_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_bytes("id\nmüller\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"The ids in .* are not text in UTF-8"):
        read_roster(tmp_path / "roster.csv")


def _zip_of(path: Path, student: str, word: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{student}/mrtd/answers.json", json.dumps({"answers": {"word": word}}))


def test_folders_that_a_learning_platform_named_after_people(tmp_path: Path) -> None:
    """Their files say whose they are; who says to be another changes nobody's mark unseen."""
    students = ("ada", "bob", "eve", "jürgen")

    def found() -> dict[str, Submission]:
        return {entry.student: entry for entry in find_submissions(tmp_path, "mrtd", students)}

    ada, eve, mine = (f"{name}_12_assignsubmission_file_" for name in ("Ada Lovelace", "Eve", "Jürgen M"))
    _zip_of(tmp_path / ada / "mrtd-ada.zip", "ada", "hers")
    _zip_of(tmp_path / mine / "work.zip", unicodedata.normalize("NFD", "jürgen"), "his")
    _zip_of(tmp_path / "bob" / "mrtd.zip", "bob", "his")
    assert {name: entry.problem for name, entry in found().items()} == dict.fromkeys(
        ("ada", "bob", "jürgen"), ""
    )
    _zip_of(tmp_path / eve / "bob.zip", "bob", "eve's")
    assert set(found()) == {"ada", "bob", "jürgen", eve}
    assert b"his" in found()["bob"].files["answers.json"]
    _zip_of(tmp_path / eve / "bob.zip", "ada", "eve's")
    assert "both say that they are this student" in found()["ada"].problem
    (tmp_path / eve / "bob.zip").rename(tmp_path / eve / "ada.zip")
    (tmp_path / eve / "ada.zip").write_bytes(b"no zip")
    assert set(found()) == {"ada", "bob", "jürgen", eve}
    assert found()[eve].problem


def test_no_student_is_cut_off_and_no_pipe_waited_for(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("id\n" + "".join(f"student{number:09}\n" for number in range(260_000)))
    os.mkfifo(tmp_path / "pipe.csv")
    for name, words in (("long.csv", "more than"), ("pipe.csv", "a named pipe")):
        with pytest.raises(UsageError, match=words):
            read_roster(tmp_path / name)


def test_a_seed_that_others_can_read_is_refused(place: Path) -> None:
    (place / "course" / "seed").chmod(0o644)
    with pytest.raises(DataError, match="Others can read the seed"):
        open_course(place / "course")


def test_submit_refuses_a_folder_that_is_no_assignments(place: Path) -> None:
    with pytest.raises(UsageError, match="is not the assignment mrtd"):
        pack(place, "mrtd")
    with pytest.raises(UsageError, match="is not the assignment hosts"):
        pack(place / "released" / "ada" / "mrtd", "hosts")


def test_submit_finds_the_assignment_and_says_when_nothing_is_answered(place: Path, tmp_path: Path) -> None:
    folder = place / "released" / "ada" / "mrtd"
    assert assignment_in(folder) == "mrtd"
    assert "Nothing is answered" in str(pack(folder, "mrtd", tmp_path / "empty.zip"))
    full = pack(place / "solutions/ada/mrtd", "mrtd", tmp_path / "full.zip")
    assert "3 answers of ada" in str(full)
    assert full.unanswered == ()
    with pytest.raises(UsageError, match="not the folder of an assignment"):
        assignment_in(place)


def test_submit_names_the_questions_that_are_left(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mrtd"
    shutil.copytree(place / "solutions/ada/mrtd", folder)
    given = json.loads((folder / "answers.json").read_bytes())
    given["answers"]["pages"] = None
    (folder / "answers.json").write_text(json.dumps(given))
    packed = pack(folder, "mrtd", tmp_path / "some.zip")
    assert packed.unanswered == ("pages",)
    assert "Not answered yet: pages." in str(packed)


def test_a_place_without_submissions_and_a_due_time_are_said(place: Path, tmp_path: Path) -> None:
    assert graded(place).handed_in
    assert not graded(place, where="course").handed_in
    course = open_course(place / "course").set_due("hosts", 1_800_000_000.0)
    assert "Due 2027-01-15 08:00+00:00" in str(release(course, exercise("hosts"), tmp_path / "released"))


def test_a_course_shows_no_seed(place: Path) -> None:
    course: Course = open_course(place / "course")
    shown = f"{course!r} {course} {json.dumps(course.to_dict())}"
    assert course.seed.hex() not in shown
    assert repr(course.seed) not in shown


def test_given_files_that_nbgrader_left_out_are_there_again_for_the_teacher(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its autograde copies no notebook but the assignment's own."""
    folder = place / "solutions" / "ada" / "mrtd"
    given = (folder / "firmware.fd").read_bytes()
    (folder / "firmware.fd").unlink()
    monkeypatch.delenv("LABKIT_COURSE", raising=False)
    open_work("mrtd", folder)
    assert not (folder / "firmware.fd").exists()
    monkeypatch.setenv("LABKIT_COURSE", str(place / "course"))
    assert open_work("mrtd", folder).read("firmware.fd") == given
    monkeypatch.setenv("LABKIT_COURSE", str(place / "nowhere"))
    open_work("mrtd", folder)
