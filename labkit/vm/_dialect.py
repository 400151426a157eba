"""What is typed to a shell, and why a cell cannot take it away: assignments, expansions and its prompt.

Names of commands can be taken: by aliases and functions, from busybox 1.37 on even those of special built-ins,
in bash all of them but for its POSIX mode. Assignments and expansions cannot. So the shell reports in its
prompt, which is expanded and never looked up, and a command leaves two proofs, both assignments in its own text:
that it began (its number) and how it ended (its status behind its last line). The one name that is needed, ``eval``,
is thereby never believed: where it did nothing, neither proof is there.
"""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass, field

_ASIDE = "builtin command exec printf set stty trap unset"
"""Commands that are typed besides ``eval`` and ``exit``, where something is to be repaired."""

_DEFINED = re.compile(r"(?:^|[\s;&|({])(?:function\s+(\w+)|(\w+)\s*\(\s*\))")
_TRACES = re.compile(r"\bset\b[^\n;]*\s-[a-zA-Z]*[vx]|\bset\b[^\n;]*\b(?:verbose|xtrace)\b")
_PROMPTS = re.compile(r"\bPS[0-4]\b|\bPROMPT_COMMAND\b")
_DOCUMENT = re.compile(r"<<(-?)[ \t]*([^\n]*)")
_DELIMITER = re.compile(r"(\\?)(['\"]?)([A-Za-z0-9_.]+)\2(?=[\s;&|()<>]|\Z)")


def _names() -> tuple[bytes, ...]:
    letters = secrets.SystemRandom().sample(string.ascii_letters, 5)
    return tuple(b"_LK" + letter.encode() for letter in letters)


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

    @property
    def _record(self) -> bytes:
        number, end, status, nonce, _ = self._variables
        parts = b":".join(b"${%s-}" % name for name in (number, end, status, nonce))
        return parts + b":$-:${LABKIT_ENDED-}"

    @property
    def _prompt(self) -> bytes:
        *_, prompt = self._variables
        return prompt + rb"='\036>" + self._record + rb"\037' PS1=$" + prompt

    @property
    def _printed(self) -> bytes:
        """The record by a built-in, where the prompt cannot be had; as sure as that can be made."""
        words = b'"' + self._record + b'"'
        return self._sure(b"printf '\\36<%s\\37' " + words) + (b" >/dev/tty" if self.muted else b"")

    def _sure(self, words: bytes) -> bytes:
        """A built-in whatever functions there are: by POSIX mode in bash, which needs an assignment only."""
        if self.bash:
            unset = b"\\unset -f command printf 2>/dev/null;"
            return b"{ POSIXLY_CORRECT=;" + unset + b"\\unset POSIXLY_CORRECT;\\command " + words + b";}"
        return b"{ \\unset -f command printf;\\command " + words + b";}"

    def setup(self) -> bytes:
        """Makes a fresh shell report in its prompt, and stay where its input seems to end."""
        number, end, *_ = self._variables
        # Bash always writes its prompt there; from 1.37 on busybox does.
        errors = b"case ${BASH_VERSION-} in ?*)\\exec 2>&1;;*)\\exec 2>" + (b"&1" if self.loud else b"/dev/null")
        line = b"PS2= LABKIT_ENDED= %s=0:${BASH_VERSION:+1} " % end + self._prompt
        line += b";" + errors + b";;esac;\\set -o ignoreeof"
        if self.lone:
            # No shell follows that could tell how this one ended: it says so itself.
            line += b";\\trap '\\command printf \"\\036x$?\\037\"' EXIT"
        # History expansion changes what is typed; a line editor echoes it.
        return line + b";case ${BASH_VERSION-} in ?*)\\set +H +o history +o emacs +o vi;;esac"

    def begin(self, number: int) -> bytes:
        """Sets the number; the prompt behind it is a sign of life."""
        return b"%s=%d" % (self._variables[0], number)

    def ping(self, number: int) -> bytes:
        """Puts the prompt back; where that cannot be, the record is printed. Keeps the status from before."""
        _, _, status, _, prompt = self._variables
        keep = b"case ${%s-} in %d:*);;*)%s=%d:$?;;esac" % (status, number, status, number)
        printed = b"case ${PS1-} in \"$%s\");;*)" % prompt + self._printed + b";;esac"
        return keep + b"\n" + self._prompt + b"\n" + printed + b"\n"

    def question(self, number: int, nonce: bytes) -> bytes:
        """Asks for the status, by assignments alone: the next prompt is the answer."""
        _, _, status, name, _ = self._variables
        kept = b"case ${%s-} in %d:*);;*)%s=%d:$?;;esac;" % (status, number, status, number)
        return kept + b"%s=%s\n" % (name, nonce)

    def quick_question(self, number: int, nonce: bytes) -> bytes:
        """The same where nothing was asked before."""
        _, _, status, name, _ = self._variables
        return b"%s=%d:$? %s=%s\n" % (status, number, name, nonce)

    def insistent_question(self, number: int, nonce: bytes) -> bytes:
        """The same where no prompt answers: the record is printed."""
        return self.question(number, nonce) + self._printed + b"\n"

    def mute(self) -> bytes:
        """The shell's own output goes nowhere: a prompt that cannot be changed is not seen any more."""
        return b"\\exec >/dev/null 2>&1"

    def head(self, number: int, status: int, traced: bytes = b"") -> bytes:
        """The first line of a command's text: its number, the proof that it began; and the ``$?`` before it.

        traced: the options to switch on again that show what is typed.
        """
        line = self.begin(number)
        if traced:
            line = b"\\set -" + traced + b";" + line
        if self.guarded and self.bash:
            line = b"\\unset POSIXLY_CORRECT;" + line
        if status:
            leave = b"POSIXLY_CORRECT=;\\exit" if self.bash else b"\\command exit" if self.guarded else b"\\exit"
            line += b";(%s %d)>/dev/null 2>&1&&%s" % (leave, status, self.begin(number))
        return line + b"\n"

    def tail(self, number: int, command: str) -> bytes:
        """The last line of a command's text: the proof of its end, and the prompt put back."""
        _, end, _, _, prompt = self._variables
        more = b" PS0= PROMPT_COMMAND=()" if self.bash else b""
        between = b"\\trap - DEBUG;" if self.bash and "DEBUG" in command else b""
        between += b"\\command printf '\\36.\\37';" if mentions_prompt(command) else b""
        if between:
            between = b";} 2>|/dev/null;%s{" % between
        return b"\n{ %s=%d:$?%s PS1=$%s%s;} 2>|/dev/null" % (end, number, between, prompt, more)

    def evaluate(self, words: bytes, redirections: bytes) -> bytes:
        """The line that runs a text. ``words``: the text as one word of the shell."""
        if self.guarded and self.bash:
            return b"POSIXLY_CORRECT=;\\eval " + words + redirections
        if self.guarded:
            return b"\\command eval " + words + redirections
        return b"\\eval " + words + redirections

    def after(self, command: str) -> bool:
        """Choose the guarded forms after a command that defines what the plain ones need; whether to repair."""
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


def may_trace(command: str) -> bool:
    """A command that may make the shell show what is typed."""
    return _TRACES.search(command) is not None


def mentions_prompt(command: str) -> bool:
    """A command that may change the prompt."""
    return _PROMPTS.search(command) is not None


def open_documents(command: str) -> list[str] | None:
    """Delimiters of here-documents that the text never ends; None where the text alone does not tell.

    A ``<<`` in a comment, a quoted word or arithmetic looks like a here-document: that is for the shell to say.
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

