from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import DataError, UsageError
from labkit.learn.copies import copy
from labkit.runs.reports import next_steps
from labkit.runs.source import find_notebooks, load_source
from tests.runs.notebooks import code, markdown, parameters, write_notebook


def test_what_is_known_before_a_run(tmp_path: Path) -> None:
    path = write_notebook(
        tmp_path / "03-boot.ipynb",
        markdown("Some words\n\n# Boot the TDVM #\n"),
        parameters("memory: int = 2048\nappend = 'quiet'\nsizes = [1, 2]\nlimit = 2 * 3\na, b = 1, 2"),
        code("not_a_parameter = 1"),
    )
    source = load_source(path)
    assert (source.name, source.title, source.kernel, source.cells) == (
        "03-boot",
        "Boot the TDVM",
        "python3",
        3,
    )
    assert source.parameters == {"memory": 2048, "append": "quiet", "sizes": [1, 2], "limit": ...}


@pytest.mark.parametrize("text", ["a = {[]: 1}", "a = {{}}", "a = '\0'", f"a = {'[' * 300}{']' * 300}"])
def test_parameters_that_are_no_values_are_read_by_their_names(text: str, tmp_path: Path) -> None:
    assert load_source(write_notebook(tmp_path / "a.ipynb", parameters(text))).parameters == {"a": ...}


def test_parameters_of_a_shell_notebook(tmp_path: Path) -> None:
    path = write_notebook(
        tmp_path / "a.ipynb", parameters("name=world\nexport other=1\nif [ a == b ]; then :; fi")
    )
    path.write_text(path.read_text().replace('"language": "python"', '"language": "bash"'))
    assert load_source(path).parameters == {"name": ..., "other": ...}


def test_the_guided_chapters_are_in_order_and_flow_is_last(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for name in ("flow", "10-late", "00-start", "02-middle", "notes", "exercises/01-task"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", code("1"))
    inside = tmp_path / "docs"
    inside.mkdir()
    assert [path.stem for path in find_notebooks((), inside)] == ["00-start", "02-middle", "10-late", "flow"]
    assert find_notebooks(("02-middle", "../notebooks/notes.ipynb"), inside) == [
        tmp_path / "notebooks/02-middle.ipynb",
        tmp_path / "notebooks/notes.ipynb",
    ]


def test_a_missing_notebook_names_the_nearest(tmp_path: Path) -> None:
    write_notebook(tmp_path / "notebooks/03-boot-the-tdvm.ipynb", code("1"))
    with pytest.raises(
        UsageError, match=r"no notebook 03-boot-the-tdmv\.ipynb.*Did you mean 03-boot-the-tdvm\?"
    ):
        find_notebooks(("03-boot-the-tdmv.ipynb",), tmp_path)


def test_where_there_is_no_notebook_that_is_said(tmp_path: Path) -> None:
    for missing in (tmp_path / "x.ipynb", tmp_path):
        with pytest.raises(UsageError, match=f"There is no notebook {missing}"):
            load_source(missing)
    write_notebook(tmp_path / "notebooks/notes.ipynb", code("1"))
    with pytest.raises(UsageError, match=f"There is no chapter in {tmp_path}/notebooks"):
        find_notebooks((), tmp_path)


def test_a_chapter_goes_by_its_number(tmp_path: Path) -> None:
    for name in ("00-start", "03-boot", "03-other", "10-late", "flow"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", code("1"))
    assert [path.stem for path in find_notebooks(("00", "10"), tmp_path)] == ["00-start", "10-late"]
    assert [path.stem for path in find_notebooks(("0",), tmp_path)] == ["00-start"]
    for word in ("03", "04", "1", "²", "000", "fl"):
        with pytest.raises(UsageError, match=f"no notebook {word}"):
            find_notebooks((word,), tmp_path)


def test_two_notebooks_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_notebook(tmp_path / folder / "x.ipynb", code("1"))
    with pytest.raises(UsageError, match="Two of the notebooks are called x"):
        find_notebooks(("a/x.ipynb", "b/x.ipynb"), tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"nbformat": 3}',
        b'{"nbformat": 4}',
        b"\xff\xfe",
        b'{"nbformat": 4, "cells": 1}',
    ],
)
def test_a_file_that_is_no_notebook(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ipynb"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.ipynb is no"):
        load_source(path)


CELL: dict[str, Any] = {
    "cell_type": "code",
    "id": "a",
    "metadata": {},
    "source": "",
    "outputs": [],
    "execution_count": None,
}
ODD: list[Any] = [None, 1, [], {}]
OUTPUTS: list[Any] = [1, [1], [{"output_type": []}]]
SHAPES: list[dict[str, Any]] = [
    {},
    {"cells": 1},
    {"cells": None},
    {"cells": ["x"]},
    *({"cells": [odd]} for odd in ODD),
    *({"cells": [{**CELL, "cell_type": odd}]} for odd in ODD),
    *({"cells": [{**CELL, "id": odd}]} for odd in ODD),
    *({"cells": [{**CELL, "outputs": odd}]} for odd in OUTPUTS),
]


@pytest.mark.parametrize("minor", [0, 5])
@pytest.mark.parametrize("more", SHAPES, ids=str)
def test_cells_of_another_shape_are_refused_in_a_sentence(
    more: dict[str, Any], minor: int, tmp_path: Path
) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": minor, "metadata": {}, **more}))
    with pytest.raises(DataError, match=r"x\.ipynb is not a valid notebook: .{9,}\."):
        load_source(path)


def test_what_to_do_next_works_where_the_run_was_started(tmp_path: Path) -> None:
    index = tmp_path / "site/index.html"
    elsewhere = next_steps(index, tmp_path)
    assert index.as_uri() in elsewhere
    assert "./lab" not in elsewhere
    assert "labkit notebooks copy" in elsewhere
    clone = tmp_path / "clone"
    for folder in (".git", "labkit", "docs"):
        (clone / folder).mkdir(parents=True)
    (clone / "lab").touch()
    assert "./lab notebook" in next_steps(index, clone / "docs")
    copy(tmp_path / "mine")
    assert f"labkit progress {tmp_path / 'mine'}" in next_steps(index, tmp_path / "mine")


def test_a_notebook_that_jupyter_could_not_read_is_refused_before_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(document).encode())
    with pytest.raises(DataError, match="byte order mark"):
        load_source(path)
    path.write_text(json.dumps(document | {"metadata": 1}))
    with pytest.raises(DataError, match=r"x\.ipynb is not a valid notebook: 1 is not of type 'object'\."):
        load_source(path)
    path.write_text(json.dumps(document))
    assert load_source(path).cells == 0
