"""What the kernel tells a fresh shell in the guest: functions that reach the front end, and a limit."""

from __future__ import annotations

STDIN = "/dev/cell"
"""Standard input of every cell: an empty file, so that programs see the end of input at once, and one
that can be told from every other, so that `read` knows when there is a person to ask."""

# Names: ash finds special built-ins (eval, return, unset) before functions, and `\word` is not an alias.
PRELUDE = rf"""
read() {{
    \command [ /proc/self/fd/0 -ef {STDIN} ] || {{ \command read "$@"; \return; }}
    \local LABKIT_PROMPT= LABKIT_HIDDEN= LABKIT_ANSWER= LABKIT_OPTION= OPTIND=1 OPTARG=
    while \command getopts rsp:t:n:d:u: LABKIT_OPTION 2>/dev/null; do
        case $LABKIT_OPTION in
            p) LABKIT_PROMPT=$OPTARG ;;
            s) LABKIT_HIDDEN=s ;;
            u) \command read "$@"; \return ;;
        esac
    done
    \command printf '\036?%s:%s\037' "$LABKIT_HIDDEN" "$LABKIT_PROMPT" >/dev/tty
    while IFS= \command read -r LABKIT_ANSWER </dev/tty; do
        case $LABKIT_ANSWER in
            LABKIT_EOF=*) \return 1 ;;
            LABKIT_ANSWER=*) \break ;;
        esac
    done
    \eval "$LABKIT_ANSWER"
    \command read "$@" <<LABKIT_END_OF_ANSWER
$LABKIT_ANSWER
LABKIT_END_OF_ANSWER
}}
display() {{
    case ${{1-}} in
        */*) ;;
        *)
            \command printf '%s\n' 'usage: display TYPE [FILE]' >&2
            \return 2
            ;;
    esac
    [ $# -lt 2 ] || [ -r "$2" ] || {{ \command printf 'display: %s cannot be read\n' "$2" >&2; \return 1; }}
    \command printf '\036=%s;' "$1"
    if [ $# -lt 2 ]; then base64; else base64 <"$2"; fi
    \command printf '\037'
}}
# A fork bomb ends at this many threads, kernel threads included, and the shell can still answer.
\command echo 800 >/proc/sys/kernel/threads-max
"""
