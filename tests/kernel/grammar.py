"""Random cells: a grammar of what people type into a shell, right and wrong."""

from __future__ import annotations

import re
from random import Random

_WORDS = """\
a
$x
"$y"
'q r'
$(echo s)
`echo b`
*
~
é
\\n
-n
--
$((1+2))
${z:-d}
!x
""".splitlines()
_SIMPLE = """\
echo {w} {w}
printf '%s\\n' {w}
true
false
x={w}
export y={w}
unset x
cd /tmp
cd {w}
test {w} = {w}
ls /etc
cat /etc/hostname
cat
read z
nosuch {w}
sleep 0.01
:
(exit 3)
seq 30
set -- {w} {w}
shift
f {w}
alias k=echo
type cd
jobs
wait
umask
ulimit -n
printf '\\036>%s\\037' $_LK
printf '\\036!0123456789abcdef:0:i\\037'
printf '\\033[2J\\r\\b\\000'
printf '\\036=image/png;AAAA\\037'
printf '\\036?:who\\037'
head -c 200 /dev/urandom
trap 'echo t' USR1
stty -a </dev/tty >/dev/null
kill -USR1 $$
PS1='$ '
PS1=
IFS=:
IFS=' '
set -f
set +f
""".splitlines()
_RARE = """\
exit
exit 3
exec true
set -e
set +e
set -u
set +u
set -x
set +x
set -v
set +v
kill -9 $$
printf() {{ echo no; }}
command() {{ echo no; }}
unset -f printf command
alias printf=false
unalias -a
exec >/dev/null
exec 2>&-
exec 3>/tmp/three
stty sane </dev/tty
stty raw </dev/tty
sleep 0.5
yes | head -n 5000
_LK=1
unset _LK
cat </dev/tty & sleep 0.05
sh -i
head -c 5 </dev/tty & sleep 0.05
readonly LABKIT_STATUS
trap '' INT
trap - INT
eval 'if'
. /nosuch
""".splitlines()
_BROKEN = """\
'
"
$(
`
(
)
{
}
if
fi
done
case x in
;;
&&
|
\\
<<E
${
<
>
""".splitlines()


def cell(random: Random) -> str:
    """One cell."""
    lines = [_list(random, 3) for _ in range(random.choice([1, 1, 1, 2, 3, 6]))]
    if random.random() < 0.12:
        lines.insert(random.randrange(len(lines) + 1), random.choice(_BROKEN))
    return random.choice(["\n", "; ", " \n\n"]).join(lines)


def _list(random: Random, depth: int) -> str:
    kind = random.random()
    if depth == 0 or kind < 0.55:
        return _simple(random)
    inner = [_list(random, depth - 1) for _ in range(2)]
    # A function that calls itself is a cell without an end.
    body = re.sub(r"\bf (?=\S)", "echo ", inner[0])
    return random.choice(
        [
            f"{inner[0]} && {inner[1]}",
            f"{inner[0]} || {inner[1]}",
            f"{inner[0]} | {inner[1]}",
            f"( {inner[0]} )",
            f"{{ {inner[0]}; }}",
            f"if {inner[0]}\nthen {inner[1]}\nfi",
            f"for i in 1 2\ndo {inner[0]}\ndone",
            f"f() {{ {body}\n}}",
            f"cat <<E\n{random.choice(_WORDS)}\nE",
            f"{inner[0]} >/tmp/out 2>&1",
            f"{inner[0]} </etc/hostname",
            f"! {inner[0]}",
            f"{inner[0]} &",
            f"x=$( {inner[0]}\n)",
        ]
    )


def _simple(random: Random) -> str:
    template = random.choice(_RARE if random.random() < 0.08 else _SIMPLE)
    while "{w}" in template:
        template = template.replace("{w}", random.choice(_WORDS), 1)
    return template.replace("{{", "{").replace("}}", "}")
