from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labkit import process
from labkit.asterinas import KernelCache
from labkit.errors import MissingComponent, UsageError
from labkit.kernel.guest import untranslatable
from labkit.runs.parameters import assign, parse
from labkit.runs.runner import plan_run, run_plan
from labkit.runs.shell_parameters import ShellTranslator
from labkit.runs.source import NotebookSource, load_source
from labkit.settings import Settings
from tests.asterinas import standin
from tests.runs.notebooks import code, parameters, write_notebook

DEFAULTS = (
    "count = 1\nshare = 0.5\nflag = False\ntext = ''\nitems = []\ntable = {}\nfree = None\nrun_dir = None"
)


@pytest.fixture
def source(tmp_path: Path) -> NotebookSource:
    return load_source(write_notebook(tmp_path / "a.ipynb", parameters(DEFAULTS)))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("3", 3),
        ("-1", -1),
        ("1e3", 1000.0),
        ("true", True),
        ("True", True),
        ("null", None),
        ("None", None),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ('"3"', "3"),
        ("no", "no"),
        ("007", "007"),
        ("NaN", "NaN"),
        ("console=ttyS0 quiet", "console=ttyS0 quiet"),
    ],
)
def test_words_become_values(word: str, value: Any) -> None:
    assert parse(word) == value
    assert type(parse(word)) is type(value)


def test_the_default_decides_how_text_is_read(source: NotebookSource, tmp_path: Path) -> None:
    given = {
        "count": "2",
        "share": "1",
        "flag": "true",
        "text": "1",
        "items": "[1]",
        "table": '{"a": 1}',
        "free": "1",
    }
    values = assign([source], given, tmp_path)["a"]
    assert values == {
        "count": 2,
        "share": 1,
        "flag": True,
        "text": "1",
        "items": [1],
        "table": {"a": 1},
        "free": 1,
        "run_dir": str(tmp_path),
    }


@pytest.mark.parametrize(
    ("name", "word", "kind"),
    [
        ("count", "many", "a whole number"),
        ("count", "true", "a whole number"),
        ("share", "x", "a number"),
        ("flag", "1", "true or false"),
        ("items", "{}", "a JSON list"),
        ("table", "[]", "a JSON object"),
    ],
)
def test_a_value_of_the_wrong_kind(
    source: NotebookSource, tmp_path: Path, name: str, word: str, kind: str
) -> None:
    with pytest.raises(UsageError, match=f"The parameter {name} is {kind}, not "):
        assign([source], {name: word}, tmp_path)


def test_a_parameter_goes_only_to_the_notebooks_that_have_it(source: NotebookSource, tmp_path: Path) -> None:
    other = load_source(write_notebook(tmp_path / "b.ipynb", code("1")))
    assert assign([source, other], {"count": 3}, tmp_path) == {
        "a": {"count": 3, "run_dir": str(tmp_path)},
        "b": {},
    }


def test_an_unknown_parameter_names_the_nearest(source: NotebookSource, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a has no parameter coutn\. Did you mean count\?"):
        assign([source], {"coutn": "1"}, tmp_path)
    other = load_source(write_notebook(tmp_path / "b.ipynb", code("1")))
    with pytest.raises(
        UsageError, match=r"None of the notebooks has a parameter zzzz\. There are: count, flag"
    ):
        assign([source, other], {"zzzz": "1"}, tmp_path)


def shell_source(tmp_path: Path, language: str) -> NotebookSource:
    path = write_notebook(tmp_path / "s.ipynb", parameters("sizes=() names=() word=''"), kernel="tdvm")
    document = json.loads(path.read_text())
    document["metadata"] = {"kernelspec": {"name": "tdvm", "display_name": "TDVM shell"}}
    if language:
        document["metadata"]["kernelspec"]["language"] = language
    path.write_text(json.dumps(document))
    return load_source(path)


def test_lists_and_mappings_are_bashs(tmp_path: Path) -> None:
    given = {"sizes": [1, "two words", "it's"], "names": {"a b": "x y", "c": 3}, "word": "$(id) `id`"}
    assert assign([shell_source(tmp_path, "bash")], {}, tmp_path) == {"s": {}}
    cell = ShellTranslator.codify(given)
    show = 'printf "%s|" "${sizes[@]}" "${names[a b]}" "${names[c]}" "$word"'
    done = process.run(["bash", "-c", f"{cell}\n{show}"])
    assert done.text == "1|two words|it's|x y|3|$(id) `id`|", done.stderr
    assert untranslatable(cell) == "sizes"
    assert untranslatable(ShellTranslator.codify({"word": "n=(1 2)"})) == ""


@pytest.mark.parametrize("value", [[[1], [2]], {"a": {"b": 1}}, {"a": [1]}])
def test_what_no_shell_has_is_refused_by_the_parameters_name(tmp_path: Path, value: Any) -> None:
    source = shell_source(tmp_path, "bash")
    source = replace(source, parameters={"sizes": ...})
    with pytest.raises(UsageError, match="The parameter sizes nests"):
        assign([source], {"sizes": value}, tmp_path)


def test_a_notebook_without_a_language_is_refused(tmp_path: Path) -> None:
    source = replace(shell_source(tmp_path, ""), parameters={"sizes": ...})
    with pytest.raises(
        UsageError, match=r"The parameter sizes cannot be given to s: .* its language"
    ) as told:
        assign([source], {"sizes": "1"}, tmp_path)
    assert "Save it once" in told.value.remedy


def test_the_run_directory_is_not_a_parameter_to_set(source: NotebookSource, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--output"):
        assign([source], {"run_dir": "/x"}, tmp_path)


def test_another_guest_leaves_out_what_boots_none_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boots = write_notebook(tmp_path / "boots.ipynb", parameters("guest = 'linux'"), code("pass"))
    reads = write_notebook(tmp_path / "reads.ipynb", parameters("n = 1"), code("pass"))
    both = [str(boots), str(reads)]
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "empty"))
    assert plan_run(both, {"guest": "linux"}).left_out == ()
    with pytest.raises(MissingComponent, match=r"no kernel of Asterinas.*asterinas fetch"):
        plan_run(both, {"guest": "asterinas"})
    with pytest.raises(UsageError, match="no guest 'plan9'"):
        plan_run(both, {"guest": "plan9"})
    with pytest.raises(UsageError, match="reads cannot run with another guest"):
        plan_run([str(reads)], {"guest": "asterinas"})
    KernelCache(Settings.load()).keep(standin.speaker(standin.SIGN, 0x10), "0.18.0", "a test", efi=False)
    plan = plan_run(both, {"guest": "asterinas"}, output=tmp_path / "run")
    assert [source.name for source in plan.sources] == ["boots"]
    said: list[str] = []
    run_plan(plan, said.append)
    assert said[0] == "left out, since they take no guest (asterinas): reads\n"
