"""Facts of the attestation track: SGX, quote service, collateral, registration. No secret is ever kept."""

from __future__ import annotations

import re

from labkit.host._registration import last_flow
from labkit.host.model import Fact, Missing
from labkit.host.tree import Tree

_UNIT_FOLDERS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_SLICES = ("/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/systemd/system.slice")
_QGS_CONF = "/etc/qgs.conf"
_QCNL = "/etc/sgx_default_qcnl.conf"
_REGISTRATION = "/var/log/mpa_registration.log"


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
    match = re.search(r"^\s*port\s*=\s*(\d{1,9})\s*$", fact.value, re.MULTILINE)
    source = f"{_QGS_CONF} (port)"
    if match:
        return Fact(source, int(match[1]), f"port = {match[1]}")
    return Fact(source, 0, "no port line, or it is commented out")


def _collateral(tree: Tree) -> dict[str, Fact]:
    """Host and port of the PCCS, and whether its certificate is checked: nothing else leaves the file."""
    fact = tree.fact(_QCNL, "/etc")
    if not isinstance(fact.value, str):
        return {"qcnl.pccs": fact, "qcnl.secure": fact}
    # The file is JSON with comments in current packages and KEY=value in old ones, on one line or on many.
    text = re.sub(r"(?:^|(?<=[\s,{}]))(?://|#).*$|/\*.*?\*/", "", fact.value, flags=re.MULTILINE)
    url = re.search(
        r'(?:^|[\s{,])"?pccs_url"?\s*[:=]\s*"?(https?)://(?:[^/@\s"]*@)?([\w.:\[\]-]+)', text, re.IGNORECASE
    )
    secure = re.search(
        r'(?:^|[\s{,])"?use_secure_cert"?\s*[:=]\s*"?(true|false|yes|no|1|0)\b', text, re.IGNORECASE
    )
    none = Fact(_QCNL, missing=Missing.ABSENT, why="no such line")
    where = f"{url[1]}://{url[2]}" if url else ""
    return {
        "qcnl.pccs": Fact(f"{_QCNL} (pccs_url)", where, where) if url else none,
        "qcnl.secure": Fact(
            f"{_QCNL} (use_secure_cert)", secure[1].lower() in ("true", "yes", "1"), secure[1]
        )
        if secure
        else none,
    }


def _registration(tree: Tree) -> Fact:
    fact = tree.fact(_REGISTRATION, "/var/log", limit=1 << 20)
    if not isinstance(fact.value, str):
        return fact
    flow = last_flow(fact.value)
    if flow.registered is None:
        return Fact(_REGISTRATION, raw=flow.line, missing=Missing.UNKNOWN, why=flow.line)
    return Fact(_REGISTRATION, flow.registered, flow.line)
