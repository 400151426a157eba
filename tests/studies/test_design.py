"""Tables of parameters become rows with keys of their own."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest

from labkit.errors import DataError, UsageError
from labkit.files import csv_cell
from labkit.runs.source import load_source
from labkit.studies import plan
from labkit.studies.table import design, grid, read_table, split_values


def test_a_table_becomes_rows_of_the_notebooks_kinds(notebook: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('\ufeffsize,name\r\n3,"a, b"\r\n,\r\n'.encode())
    made = design(load_source(notebook), read_table(tmp_path / "t.csv"))
    assert [row.parameters for row in made.rows] == [{"size": 3, "name": "a, b"}, {"name": ""}]
    assert made.columns == ("size", "name")
    assert made.wants_run_dir


def test_equal_rows_are_runs_of_their_own_and_keys_stand_for_content(notebook: Path) -> None:
    source = load_source(notebook)
    twice = design(source, [{"size": "2"}, {"size": 2}, {"size": "3"}]).rows
    assert len({row.key for row in twice}) == 3
    again = design(source, [{"size": "3"}, {"size": "2"}, {"size": "2"}]).rows
    assert {row.key for row in again} == {row.key for row in twice}
    notebook.write_text(notebook.read_text().replace("seven", "eight"))
    changed = design(load_source(notebook), [{"size": "3"}]).rows
    assert changed[0].key not in {row.key for row in twice}


def test_every_combination_the_last_fastest() -> None:
    axes = {"a": split_values("1,2"), "b": split_values('["x,y", 3]')}
    assert grid(axes) == [{"a": a, "b": b} for a in "12" for b in ("x,y", 3)]
    assert grid({"a": ["1"]}, [{"c": 0}, {"c": 1}]) == [{"c": 0, "a": "1"}, {"c": 1, "a": "1"}]
    with pytest.raises(UsageError, match="given twice"):
        grid({"a": ["1"]}, [{"a": 0}])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "is empty"),
        ("size,size\n1,2\n", "two columns"),
        ("size,\n1,2\n", "no name"),
        ("size,name\n1\n", "row 1 has 1 cells"),
        ('size\n"1\n', "not a CSV"),
        ("size\n" + "\n" * 1_000_001, "too many lines"),
        ("a,b\n" + "," * 10_001, "too many cells in line 2"),
    ],
)
def test_a_bad_table_is_one_sentence(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises((DataError, UsageError), match=word):
        read_table(tmp_path / "t.csv")


def test_a_table_of_far_too_many_rows_is_not_read_to_its_end(notebook: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("size\n" + "1\n" * 300_000)
    rows = read_table(tmp_path / "t.csv")
    assert len(rows) == 100_001
    with pytest.raises(UsageError, match="more than 100000 rows"):
        design(load_source(notebook), rows)


def test_a_bad_cell_names_its_row(notebook: Path) -> None:
    source = load_source(notebook)
    with pytest.raises(UsageError, match=r"Row 2: .*size is a whole number"):
        design(source, [{"size": "1"}, {"size": "big"}])
    with pytest.raises(UsageError, match="no parameter sise") as raised:
        design(source, [{"sise": "1"}])
    assert raised.value.remedy == "Did you mean size?"
    with pytest.raises(UsageError, match="no row"):
        design(source, [])


def test_the_same_request_has_the_same_folder(notebook: Path, tmp_path: Path) -> None:
    one = plan(str(notebook), None, [("size", "1,2")], start=tmp_path)[1]
    assert one == plan(str(notebook), [{"size": 1}, {"size": 2}], start=tmp_path)[1]
    assert one != plan(str(notebook), None, [("size", "1,3")], start=tmp_path)[1]


def test_a_table_is_read_in_any_encoding_with_a_mark_and_no_pipe_waited_for(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("size,name\n1,é\n", encoding="utf-16")
    assert read_table(tmp_path / "t.csv") == [{"size": "1", "name": "é"}]
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UsageError, match="a named pipe"):
        read_table(tmp_path / "pipe.csv")


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(1)", "\t=1", "\r=1", "-", "=", "+"])
def test_no_cell_of_a_table_is_a_formula(text: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerow([csv_cell(text), "next"])
    (row,) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert row == [f"'{text}".replace("\r", "\n"), "next"]


@pytest.mark.parametrize("text", ["-1", "+1.5", "-2e3", "text", "", "a=1"])
def test_numbers_and_other_text_stay_as_they_are(text: str) -> None:
    assert csv_cell(text) == text
