"""The guest as the shell's editor sees it: completion, inspection and syntax, without running what is typed.

Whatever was typed reaches the guest inside ``$'...'``, as data, in a subshell that ends behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from labkit.console.frames import shell_quote

Run = Callable[[str], str]
"""Runs a command in the guest and returns its output; empty where it did not end in time."""

_LIMIT = 2000
_OPERATORS = ";|&()\n"
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
# A dollar behind a backslash is a dollar, and behind two of them it is not.
_VARIABLE = re.compile(r"(?<!\\)(?:\\\\)*\$(\{?)([A-Za-z_]\w*)?\Z")
_BEFORE_A_COMMAND = "! { do elif else if then time until while command exec exit nohup"
_LIST = "case ${BASH_VERSION-} in ?*) \\compgen -v;; *) \\set;; esac"
"""The names of all variables: one a line in bash, as assignments elsewhere."""
_BUILTINS = """
. : [ alias bg break case cd chdir command continue display echo eval exec exit export false fg for
getopts hash help history if jobs kill let local printf pwd read readonly return set shift source
test times trap true type ulimit umask unalias unset until wait while
"""


@dataclass(frozen=True)
class Word:
    """The word at the cursor. start: where it begins; text: without its quotes; quote: an open one."""

    start: int
    text: str
    quote: str
    command: bool
    variable: str | None


def word_at(code: str, cursor: int) -> Word:
    """Find the word that ends at the cursor, and what it is: a command's name, a variable, a file."""
    text, quote, start, began = "", "", 0, False
    words: list[str] = []
    position = 0
    while position < cursor:
        char = code[position]
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and position + 1 < cursor and code[position + 1] in '"\\$`':
                position += 1
                text += code[position]
            else:
                text += char
        elif char in "'\"":
            quote, began = char, True
        elif char == "\\" and position + 1 < cursor:
            position += 1
            text, began = text + code[position], True
        elif char in " \t<>" or char in _OPERATORS:
            if began:
                words.append(text)
            if char in _OPERATORS:
                words = []
            elif char in "<>":
                words.append("<")
            text, began, start = "", False, position + 1
        else:
            text, began = text + char, True
        position += 1
    match = _VARIABLE.search(code, start, cursor) if quote != "'" else None
    leading = [
        word for word in words if not _ASSIGNMENT.match(word) and word not in _BEFORE_A_COMMAND.split()
    ]
    return Word(start, text, quote, not leading, (match[2] or "") if match else None)


def complete(code: str, cursor: int, run: Run, functions: Iterable[str] = ()) -> tuple[list[str], int]:
    """What could stand where the cursor is, and where what it replaces begins."""
    word = word_at(code, cursor)
    if word.variable is not None:
        names = [name for name in _variables(run(_LIST)) if name.startswith(word.variable)]
        return names, cursor - len(word.variable)
    if word.command and not word.text:
        return [], cursor
    found = _files(word, run)
    if word.command and "/" not in word.text:
        found = [name for name in found if name.endswith("/")]
        found += [f for f in [*_BUILTINS.split(), *functions] if f.startswith(word.text)]
        found += _commands(word, run)
    return sorted({_requote(name, word.quote) for name in found}), word.start


def _files(word: Word, run: Run) -> list[str]:
    pattern = f"{shell_quote(word.text)}*"
    shown = ""
    if word.text.startswith("~/") and not word.quote:
        pattern, shown = f'"$HOME"/{shell_quote(word.text[2:])}*', "~"
    home = '${LABKIT_F#"$HOME"}' if shown else "$LABKIT_F"
    script = (
        f'for LABKIT_F in {pattern}; do if [ -d "$LABKIT_F" ]; then '
        f'\\printf \'%s/\\0\' "{home}"; elif [ -e "$LABKIT_F" ] || [ -L "$LABKIT_F" ]; then '
        f"\\printf '%s\\0' \"{home}\"; fi; done"
    )
    return [shown + name for name in run(script).split("\0")[:_LIMIT] if name]


def _commands(word: Word, run: Run) -> list[str]:
    script = (
        f'IFS=:; for LABKIT_D in $PATH; do IFS=; for LABKIT_F in "$LABKIT_D"/{shell_quote(word.text)}*; do '
        '[ -x "$LABKIT_F" ] && \\printf \'%s\\0\' "${LABKIT_F##*/}"; done; done; \\alias; '
        "case ${BASH_VERSION-} in ?*) \\compgen -A builtin -A keyword -A function;; esac"
    )
    *names, others = run(script).split("\0")
    named = re.findall(r"^(?:alias )?([^\s=_][\w.:!\[\]-]*)(?==|$)", others, re.MULTILINE)
    return [*names[:_LIMIT], *(name for name in named if name.startswith(word.text))]


def _variables(listing: str) -> list[str]:
    names = set(re.findall(r"^([A-Za-z_]\w*)(?:='|$)", listing, re.MULTILINE))
    return sorted(name for name in names if not name.startswith(("LABKIT_", "_LK")))


def _requote(name: str, quote: str) -> str:
    """The name as the shell reads it back."""
    if quote == "'":
        return quote + name.replace("'", "'\\''")
    if quote == '"':
        return quote + re.sub(r'(["\\$`])', r"\\\1", name)
    if name.startswith("~/"):
        return "~/" + _requote(name[2:], "")
    if re.search(r"[\n\t\x00-\x1f]", name):
        return shell_quote(name)
    return re.sub(r"([^\w@%+=:,./~-])", r"\\\1", name)


_INCOMPLETE = re.compile(
    r"unexpected end of file|unexpected EOF|unterminated quoted|missing '}'|expecting \"\)\""
)


def is_complete(code: str, run: Run) -> str:
    """``complete``, ``incomplete``, ``invalid``, or ``unknown`` where the guest does not say."""
    if not code.strip():
        return "complete"
    if re.search(r"(?<!\\)(?:\\\\)*\\\Z", code):
        return "incomplete"
    said = run(f"command ${{BASH:-sh}} -n -c {shell_quote(code)} 2>&1; \\printf '\\n%s' $?")
    said, _, status = said.rpartition("\n")
    if not status:
        return "unknown"
    if status == "0":
        # In a here-document without an end the parenthesis is text; elsewhere it is an error.
        open_document = (
            "<<" in code
            and run(
                f"command ${{BASH:-sh}} -n -c {shell_quote(code + chr(10) + ')')} 2>/dev/null; \\printf $?"
            )
            == "0"
        )
        return "incomplete" if open_document else "complete"
    return "incomplete" if _INCOMPLETE.search(said) else "invalid"


_EXEC = re.compile(r"(?:^|[\n;&|({]|\b(?:then|do|else)\s)\s*\\?exec\s+(?:\{\w+\}|\d*)(?:&?>|>)")
_INJECTED = "# Parameters\n"
_COMPOUND = re.compile(r"^(?:declare -[aA] )?([A-Za-z_]\w*)=\(", re.MULTILINE)


def redirects_shell(code: str) -> bool:
    """``exec`` that redirects the output of the shell itself, as far as the text shows."""
    return _EXEC.search(code) is not None


def untranslatable(code: str) -> str:
    """The parameter of a cell that papermill injected which only bash has; empty where there is none."""
    if not code.startswith(_INJECTED):
        return ""
    found = _COMPOUND.search(code)
    return found[1] if found else ""


def inspect(code: str, cursor: int, run: Run) -> str:
    """What the word at the cursor is: a variable with its value, or a command with its help."""
    end = cursor
    while end < len(code) and re.match(r"[\w.+\[-]", code[end]):
        end += 1
    word = word_at(code, end)
    if word.variable:
        value = r"(?:'.*?'|[^'\n][^\n]*|)$"
        found = re.search(rf"^{word.variable}={value}", run("\\set"), re.MULTILINE | re.DOTALL)
        return found[0] if found else ""
    name = word.text
    if not name or len(name) > 200 or "\0" in name:
        return ""
    kind = run(f'LABKIT_K=$(\\type {shell_quote(name)}) && \\printf %s "$LABKIT_K"').strip()
    if not kind:
        return ""
    # Busybox finds its own applets without a path.
    if "busybox" in kind or kind.endswith((f"/bin/{name}", f"/sbin/{name}", f" is {name}")):
        # Only busybox is asked, so that no program of the user's runs; `--help` acts on nothing.
        applet = (
            f"busybox --list | grep -qxF -e {shell_quote(name)} && busybox {shell_quote(name)} --help 2>&1"
        )
        kind = f"{kind}\n\n{run(applet)}".strip()
    manual = run(f"man {shell_quote(name)} 2>/dev/null | head -n 200").strip()
    return f"{kind}\n\n{manual}".strip()
