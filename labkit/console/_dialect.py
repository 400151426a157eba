"""What is typed to a shell, and why a cell cannot take it away: assignments, expansions and its prompt.

Names of commands can be taken: by aliases and functions, from busybox 1.37 on even those of special
built-ins, in bash all of them but for its POSIX mode. Assignments and expansions cannot. So the shell reports
in its prompt, which is expanded and never looked up, and a command's own text ends with an assignment: the
proof of its end, and its status. The one name that is needed, ``eval``, is never believed: where the proof is
missing, the shell has to fail on purpose before its word is taken.
"""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import asdict, dataclass, field
from typing import Any

TERMINAL = b"sane -echo -onlcr -icrnl -ixon noflsh susp undef quit undef"
"""How the terminal has to be, in the words of stty(1)."""

_ASIDE = "builtin command exec printf set stty trap unset"
"""Commands that are typed besides ``eval`` and ``exit``, where something is to be repaired."""

_DEFINED = re.compile(r"(?:^|[\s;&|({])(?:function\s+(\w+)|(\w+)\s*\(\s*\))")
_ENDS = re.compile(r"exit|exec|logout|return|kill|\bset\b|source|eval|suspend|trap|[`$.(]|[A-Z]")
_TRACES = re.compile(r"\bset\b[^\n;]*\s-[a-zA-Z]*[vx]|\bset\b[^\n;]*\b(?:verbose|xtrace)\b")
# By its text, or by that of a file that it reads: `activate` of a Python environment sets a prompt.
_MAY_PROMPT = re.compile(
    r"\bPS[0-4]\b|\bPROMPT_COMMAND\b|\bDEBUG\b|\bshopt\b|\bstty\b|\bsource\b|\beval\b|(?:^|[\s;&|({])\.\s"
)
_PROMPTS = re.compile(r"\bPS[0-4]\b|\bPROMPT_COMMAND\b")
_FIXES = re.compile(r"\b(?:readonly|declare|typeset)\b")
# The ends of a last line behind which the next line belongs to the same command, or makes it another one.
_JOINS = re.compile(
    r"(?:&&|\|&?|\(\s*\)|\\|\bfunction\s+\S+|\b(?:for|select)\s+\w+(?:\s+in\b[^;]*)?)[ \t]*(?:#.*)?$"
)
_LAST = 400
"""Characters of a last line that are looked at."""
_DOCUMENT = re.compile(r"<<(-?)[ \t]*(?=([^\n]*))")
_DELIMITER = re.compile(r"(\\?)(['\"]?)([A-Za-z0-9_.]+)\2(?=[\s;&|()<>]|\Z)")


def _names() -> tuple[bytes, ...]:
    """Five names, of which none begins with another."""
    choose = secrets.SystemRandom()
    firsts = choose.sample(string.ascii_letters, 5)
    return tuple(
        b"_LK" + "".join([first, *choose.choices(string.ascii_letters, k=3)]).encode() for first in firsts
    )


@dataclass
class Dialect:
    """The lines for one shell. bash: it is bash; guarded: a cell has redefined what these lines rest on.

    loud: the shell writes its prompt to standard error. lone: no other shell follows this one.
    muted: the prompt cannot be changed, and the shell's own output goes nowhere.
    """

    bash: bool = False
    guarded: bool = False
    loud: bool = False
    lone: bool = False
    muted: bool = False
    # Chosen at random, so that no cell makes them readonly by chance; the shell shows them to nobody.
    _variables: tuple[bytes, ...] = field(default_factory=_names)

    def state(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return asdict(self) | {"_variables": [name.decode() for name in self._variables]}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Dialect:
        """The dialect of a ``state``."""
        return cls(**state | {"_variables": tuple(name.encode() for name in state["_variables"])})

    @property
    def _record(self) -> bytes:
        number, end, _, reply, _ = self._variables
        return b":".join(b"${%s-}" % name for name in (number, end, reply, b"LABKIT_ENDED"))

    @property
    def _prompt(self) -> bytes:
        *_, prompt = self._variables
        return prompt + rb"='\036>" + self._record + rb"\037' PS1=$" + prompt

    @property
    def _printed(self) -> bytes:
        """The record by a built-in, where the prompt cannot be had; as sure as that can be made."""
        printf = b"\\command printf '\\36<%s\\37' \"" + self._record + b'"'
        unset = b"\\unset -f command printf 2>/dev/null;"
        if self.bash:
            unset = b"POSIXLY_CORRECT=;" + unset + b"\\unset POSIXLY_CORRECT;"
        return b"{ " + unset + printf + b";}" + (b" >/dev/tty" if self.muted else b"")

    def setup(self) -> bytes:
        """Makes a fresh shell report in its prompt, and stay where its input seems to end."""
        end = self._variables[1]
        errors = b"&1" if self.loud else b"/dev/null"
        # Bash always writes its prompt to standard error, busybox from 1.37 on. History expansion changes
        # what is typed, and a line editor echoes it.
        lines = (
            b"PS2= LABKIT_ENDED= %s=0:${BASH_VERSION:+1} " % end + self._prompt,
            b"case ${BASH_VERSION-} in ?*)\\exec 2>&1;\\set +H +o history +o emacs +o vi;;"
            b"*)\\exec 2>%s;;esac" % errors,
            b"\\set -o ignoreeof",
            # No shell follows that could tell how this one ended: it says so itself.
            *((b"\\trap '\\command printf \"\\036x$?\\037\"' EXIT",) if self.lone else ()),
        )
        return b";".join(lines)

    def begin(self, number: int) -> bytes:
        """Sets the number; the prompt behind it is a sign of life."""
        return b"%s=%d" % (self._variables[0], number)

    def alive(self, number: int) -> bytes:
        """The line before a command: a shell that reads its terminal prompts at once."""
        return self.begin(number) + b" %s=\n" % self._variables[3]

    def _kept(self, number: int) -> bytes:
        status = self._variables[2]
        return b"case ${%s-} in %d:*);;*)%s=%d:$?;;esac" % (status, number, status, number)

    def ping(self, number: int) -> bytes:
        """Puts the prompt back; where that cannot be, the record is printed. Keeps the status from before."""
        printed = self._printed
        if not self.muted:
            printed = b'case ${PS1-} in "$%s");;*)' % self._variables[4] + printed + b";;esac"
        return self._kept(number) + b"\n" + self._prompt + b"\n" + printed + b"\n"

    def question(self, nonce: bytes) -> bytes:
        """Asks for the status, by assignments alone: the next prompt is the answer."""
        return b"%s=$?:$-:%s\n" % (self._variables[3], nonce)

    def late_question(self, number: int, nonce: bytes) -> bytes:
        """The same behind a ping."""
        _, _, status, reply, _ = self._variables
        return self._kept(number) + b";%s=${%s#*:}:$-:%s\n" % (reply, status, nonce)

    def insistent_question(self, number: int, nonce: bytes) -> bytes:
        """The same where no prompt answers: the record is printed."""
        return self.late_question(number, nonce) + self._printed + b"\n"

    def mute(self) -> bytes:
        """The shell's own output goes nowhere: a prompt that cannot be changed is not seen any more."""
        return b"\\exec >/dev/null 2>&1"

    def head(self, number: int, status: int, traced: bytes = b"") -> tuple[bytes, bytes]:
        """What comes before a command, on its line and as the first line of its text: ``$?`` as it was.

        traced: the options to switch on again that show what is typed.
        """
        before = b"\\set -" + traced + b"\n" if traced else b""
        if self.guarded and self.bash:
            before = b"\\unset POSIXLY_CORRECT\n" + before
        if not status:
            return b"", before
        leave = b"\\command exit" if self.guarded else b"\\exit"
        leave = b"POSIXLY_CORRECT=;\\exit" if self.bash else leave
        restore = b"(%s %d)>/dev/null 2>&1&&%s" % (leave, status, self.begin(number))
        return (b"", before + restore + b"\n") if before else (restore + b";", b"")

    def tail(self, number: int, command: str) -> bytes:
        """The last line of a command's text: the proof of its end."""
        proof = b"%s=%d:$?" % (self._variables[1], number)
        if not _MAY_PROMPT.search(command):
            return b"\n" + proof
        restore = b"PS1=$" + self._variables[4] + (b" PS0= PROMPT_COMMAND=()" if self.bash else b"")
        # A file that is read may set the trap and the option as well.
        steps = [proof, *((b"\\trap - DEBUG;\\shopt -s promptvars",) if self.bash else ())]
        if marks_its_end(command):
            steps.append(b"\\command printf '\\36.\\37'")
        if "stty" in command:
            steps.append(b"\\command stty %s </dev/tty" % TERMINAL)
        return b"\n" + b";".join(b"{ %s;} 2>|/dev/null" % step for step in (*steps, restore))

    @property
    def fixed(self) -> bytes:
        """Prints the record where what bash shows beside its prompt cannot be taken away."""
        return b"case ${PS0-}${PROMPT_COMMAND[*]-} in ?*)" + self._printed + b";;esac"

    def evaluate(self, words: bytes, redirections: bytes) -> bytes:
        """The line that runs a text. ``words``: the text as one word of the shell."""
        if self.guarded and self.bash:
            return b"POSIXLY_CORRECT=;\\eval " + words + redirections
        if self.guarded:
            return b"\\command eval " + words + redirections
        return b"\\eval " + words + redirections

    def after(self, command: str) -> bool:
        """Choose the guarded forms behind a command that defines what the plain ones need; repair or not."""
        functions = defined(command)
        self.guarded |= bool(functions & {"eval", "exit"})
        return self.guarded and not self.bash and "command" in functions

    def repair(self) -> bytes:
        """Takes away what stands in the way, where that can be done."""
        names = f"{_ASIDE} eval exit".encode()
        if self.bash:
            return b"POSIXLY_CORRECT=;\\unset -f " + names + b";\\unset POSIXLY_CORRECT"
        return b"\\unset -f " + names

    def traces(self, data: bytes) -> bool:
        """A line shows what is typed here: an echo, or a trace of the shell."""
        return any(name in data for name in self._variables) or b"LABKIT_ENDED" in data

    def part(self, text: bytes, more: bool) -> bytes:
        """Keeps a part of a text that is too long for one line."""
        name = self._variables[4] + b"t"
        return name + b"=" + (b'"$%s"' % name if more else b"") + text

    @property
    def parts(self) -> bytes:
        """The text that was kept, as one word, and without leaving it there."""
        name = self._variables[4] + b"t"
        return b'"%s=;$%s"' % (name, name)


def defined(command: str) -> set[str]:
    """The functions that a command defines, as far as its text shows."""
    return {first or second for first, second in _DEFINED.findall(command)}


def may_end_shell(command: str) -> bool:
    """The text has something by which a shell could end."""
    return _ENDS.search(command) is not None


def may_trace(command: str) -> bool:
    """A command that may make the shell show what is typed."""
    return _TRACES.search(command) is not None


def marks_its_end(command: str) -> bool:
    """A command behind which a prompt of its own may stand before it is taken away."""
    return _PROMPTS.search(command) is not None


def may_fix_prompts(command: str) -> bool:
    """A command that may have made what is shown beside the prompt readonly."""
    return marks_its_end(command) and _FIXES.search(command) is not None


def joins(command: str) -> bool:
    """A line behind the text could become a part of its last command, as behind `&&` or a backslash."""
    for line in reversed(command.split("\n")):
        if (text := line.strip()) and not text.startswith("#"):
            return _JOINS.search(line[-_LAST:]) is not None
    return False


def open_documents(command: str) -> list[str] | None:
    """Delimiters of here-documents that the text never ends; None where the text alone does not tell.

    A ``<<`` in a comment, a quoted word or arithmetic looks like a here-document: the shell has to say.
    """
    rest = command.replace("<<<", "   ")
    if "<<" not in rest:
        return []
    missing: list[str] = []
    for found in _DOCUMENT.finditer(rest):
        delimiter = _DELIMITER.match(found[2])
        if delimiter is None:
            return None
        following = rest[found.end() :].split("\n")[1:]
        if found[1]:
            following = [line.lstrip("\t") for line in following]
        if delimiter[3] not in following:
            missing.append(delimiter[3])
    return missing
