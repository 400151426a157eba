"""What a guest says of its own boot, its event log and its PCRs: unproven, and only compared."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

BANKS = ("sha256", "sha384")

Pcrs = Mapping[str, Mapping[int, bytes]]


@dataclass(frozen=True)
class Told:
    """The log, empty where the guest shows none, and PCRs."""

    raw_log: bytes
    pcrs: Pcrs


# Built-in words only: under TCG a program that starts costs more than all the rest. In a function, since a
# cell's own variables may have these names. Each register costs two milliseconds: those above 15 are for
# debugging, late launch and applications, no boot's, and nobody compares them.
_TELL = """\
labkit_tell() {
    local bank pcr value log=/sys/kernel/security/tpm0/binary_bios_measurements
    [ -r $log ] || return
    for bank in sha256 sha384; do
        for pcr in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
            read -r value < /sys/class/tpm/tpm0/pcr-$bank/$pcr && echo "$bank $pcr $value"
        done
    done
    %s
}
labkit_tell; unset -f labkit_tell"""
_ENCODED = "base64 $log"
# A shell has no zeros in its words, so the log is what stands between them. A quoted word has no tab of its
# own, and bash writes line by line: a line for each word would cost as much as all registers.
_QUOTED = """local LC_ALL=C parts
    mapfile -d '' -t parts < $log
    printf '=' && printf '\\t%q' "${parts[@]}" && echo
    """


def tell_measurements(*, bash: bool) -> str:
    """The command that prints each PCR of the boot as ``bank number hex``, and the event log.

    The log is in base64; in ``bash``, which needs no program for that, in words quoted for a shell, with a
    tab before each, and a zero was between two; whether one is at the end is not told.
    """
    return _TELL % (_QUOTED if bash else _ENCODED)


def parse_told(output: str) -> Told:
    """What ``tell_measurements`` printed in a guest; nonsense is taken as no log and no register."""
    pcrs: dict[str, dict[int, bytes]] = {bank: {} for bank in BANKS}
    encoded, quoted = [], []
    for line in output.splitlines():
        if match := re.fullmatch(r"(sha256|sha384) (\d{1,2}) ([0-9A-Fa-f]{64}|[0-9A-Fa-f]{96})", line):
            pcrs[match[1]][int(match[2])] = bytes.fromhex(match[3])
        elif line.startswith("=\t"):
            quoted += line[2:].split("\t")
        else:
            encoded.append(line)
    if quoted:
        return Told(b"\0".join(map(_unquoted, quoted)), pcrs)
    try:
        raw = base64.b64decode("".join(encoded), validate=True)
    except ValueError:
        raw = b""
    return Told(raw, pcrs)


_LETTERS = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "E": 27}
_ESCAPE = re.compile(r"\\([0-7]{3}|.)")


def _unquoted(word: str) -> bytes:
    """One word that bash's ``printf %q`` wrote in the locale C."""
    if word == "''":
        return b""
    if not (word.startswith("$'") and word.endswith("'")):
        return re.sub(r"\\(.)", r"\1", word).encode()
    return _ESCAPE.sub(_meant, word[2:-1]).encode("latin-1", "replace")


def _meant(escape: re.Match[str]) -> str:
    code = escape[1]
    return chr(int(code, 8) & 0xFF) if len(code) == 3 else chr(_LETTERS.get(code, ord(code)))
