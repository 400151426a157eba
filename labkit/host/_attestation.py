"""Facts of the attestation track: SGX, quote service, collateral, registration. No secret is ever kept."""

from __future__ import annotations

import json
import re

from labkit.host._registration import last_flow
from labkit.host.model import NOT_JSON, Fact, Missing
from labkit.host.tree import Tree

_UNIT_FOLDERS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_SLICES = ("/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/systemd/system.slice")
_QGS_CONF = "/etc/qgs.conf"
_QCNL = "/etc/sgx_default_qcnl.conf"
_REGISTRATION = "/var/log/mpa_registration.log"
_LONGEST_LOG = 16 << 20
"""Bytes of the agent's log: its last run stands at the end, and each boot adds a kilobyte."""
_URL = r"(?P<scheme>https?)://(?:[^/@\s\"]*@)?(?P<host>[\w.:\[\]-]+)"


def attestation_facts(tree: Tree) -> dict[str, Fact]:
    """Everything quoting needs besides the TDX module."""
    facts = {
        f"sgx.{name}": tree.presence(f"/dev/sgx_{name}", "/dev/null")
        for name in ("enclave", "provision", "vepc")
    }
    facts |= {f"service.{unit}": _service(tree, unit) for unit in ("qgsd", "pccs", "mpa_registration_tool")}
    facts["qgs.port"] = _qgs_port(tree)
    facts["qgs.socket"] = tree.presence("/var/run/tdx-qgs/qgs.socket", "/var/run")
    return facts | _collateral(tree) | {"registration": _registration(tree)}


def _service(tree: Tree, unit: str) -> Fact:
    """State of a systemd service from its cgroup: no right and no program is needed to see it."""
    slices = [path for path in _SLICES if tree.exists(path)]
    source = f"{slices[0]}/{unit}.service" if slices else f"{unit}.service"
    if any(tree.exists(f"{path}/{unit}.service") for path in slices):
        return Fact(source, "running", "running")
    installed = [
        f"{folder}/{unit}.service" for folder in _UNIT_FOLDERS if tree.exists(f"{folder}/{unit}.service")
    ]
    if not slices:
        return Fact(source, missing=Missing.UNKNOWN, why="no cgroup of systemd services here")
    if installed:
        return Fact(source, "stopped", f"installed ({installed[0]}), not running")
    return Fact(source, "not installed", "not installed")


def _qgs_port(tree: Tree) -> Fact:
    fact = tree.fact(_QGS_CONF, "/etc")
    if not isinstance(fact.value, str):
        return fact
    ports = re.findall(r"^[^\S\n]*port[^\S\n]*=[^\S\n]*([0-9]{1,9})[^\S\n]*$", fact.value, re.MULTILINE)
    source = f"{_QGS_CONF} (port)"
    if ports:  # the last line is the one that counts
        return Fact(source, int(ports[-1]), f"port = {ports[-1]}")
    return Fact(source, 0, "no port line, or it is commented out")


def _collateral(tree: Tree) -> dict[str, Fact]:
    """Host and port of the PCCS, and whether its certificate is checked: nothing else leaves the file."""
    fact = tree.fact(_QCNL, "/etc")
    if not isinstance(fact.value, str):
        return {"qcnl.pccs": fact, "qcnl.secure": fact}
    if fact.value.lstrip("\ufeff").startswith("{"):
        return _of_json(fact.value)
    # KEY=value in old packages, on one line or on many.
    text = re.sub(r"(?:^|(?<=[\s,{}]))(?://|#).*$|/\*.*?\*/", "", fact.value, flags=re.MULTILINE)
    url = re.search(rf'(?:^|[\s{{,])"?pccs_url"?\s*[:=]\s*"?({_URL})', text, re.IGNORECASE)
    secure = re.search(
        r'(?:^|[\s{,])"?use_secure_cert"?\s*[:=]\s*"?(true|false|yes|no|1|0)\b', text, re.IGNORECASE
    )
    return {
        "qcnl.pccs": _place(url[1] if url else None),
        "qcnl.secure": _secure(secure[1] if secure else None),
    }


def _of_json(text: str) -> dict[str, Fact]:
    """The same of the JSON of current packages, as Intel's library reads it.

    It may have comments, and nothing else that JSON has not. Names are as written, of two the first counts,
    and a value of another type counts as none (QcnlConfigJson of Intel's DCAP).
    """
    plain = re.sub(
        r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*[\s\S]*?\*/',
        lambda found: found[1] or "\n" * found[0].count("\n"),
        text,
    )
    try:
        document = json.loads(plain, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    except (ValueError, RecursionError) as error:
        line = f", from line {error.lineno} on" if isinstance(error, json.JSONDecodeError) else ""
        broken = Fact(_QCNL, missing=Missing.UNKNOWN, why=f"{NOT_JSON}{line}: nothing in it counts")
        return {"qcnl.pccs": broken, "qcnl.secure": broken}
    url, secure = document.get("pccs_url"), document.get("use_secure_cert")
    return {
        "qcnl.pccs": _place(url if isinstance(url, str) else None),
        "qcnl.secure": _secure(json.dumps(secure) if isinstance(secure, bool) else None),
    }


def _place(url: str | None) -> Fact:
    found = re.match(_URL, url or "", re.IGNORECASE)
    if not found:
        return Fact(_QCNL, missing=Missing.ABSENT, why="no such line")
    where = f"{found['scheme']}://{found['host']}".lower()
    return Fact(f"{_QCNL} (pccs_url)", where, where)


def _secure(word: str | None) -> Fact:
    if word is None:
        return Fact(_QCNL, missing=Missing.ABSENT, why="no such line")
    return Fact(f"{_QCNL} (use_secure_cert)", word.lower() in ("true", "yes", "1"), word)


def _registration(tree: Tree) -> Fact:
    fact = tree.fact(_REGISTRATION, "/var/log", limit=_LONGEST_LOG)
    if not isinstance(fact.value, str):
        return fact
    flow = last_flow(fact.value)
    if flow.registered is None:
        return Fact(_REGISTRATION, raw=flow.line, missing=Missing.UNKNOWN, why=flow.line)
    return Fact(_REGISTRATION, flow.registered, flow.line)
