"""Collect the facts of a host: unprivileged reads first, nothing changed, no network."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

from labkit.host._attestation import attestation_facts
from labkit.host.firmware import tdvf_fact
from labkit.host.live import Programs, live_facts, live_log
from labkit.host.log import read_log_file
from labkit.host.model import UNREAD_LOG, Fact, Facts, KernelLog, LogState, Missing
from labkit.host.tree import Tree, switch

_FLAGS = (
    "hypervisor",
    "tdx_guest",
    "tdx_host_platform",
    "vmx",
    "tme",
    "sgx",
    "sgx_lc",
    "movdir64b",
    "ss",
    "smx",
)
_CONFIG = ("INTEL_TDX_HOST", "KVM_INTEL_TDX", "KVM_INTEL", "X86_SGX", "KEXEC", "HIBERNATION")
# fact -> file, and the folder that must be there before its absence means anything
_FILES = {
    "kernel.release": ("/proc/sys/kernel/osrelease", "/proc/sys"),
    "kernel.cmdline": ("/proc/cmdline", "/proc/sys"),
    "power.state": ("/sys/power/state", "/sys/power"),
    "power.disk": ("/sys/power/disk", "/sys/power"),
    "dmi.vendor": ("/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id"),
    "dmi.product": ("/sys/class/dmi/id/product_name", "/sys/class/dmi/id"),
    "bios.version": ("/sys/class/dmi/id/bios_version", "/sys/class/dmi/id"),
    "bios.date": ("/sys/class/dmi/id/bios_date", "/sys/class/dmi/id"),
}
_SWITCHES = {
    "kvm.param.tdx": "/sys/module/kvm_intel/parameters/tdx",
    "kvm.param.ept": "/sys/module/kvm_intel/parameters/ept",
    "kvm.param.enable_apicv": "/sys/module/kvm_intel/parameters/enable_apicv",
    "kvm.param.tdp_mmu": "/sys/module/kvm/parameters/tdp_mmu",
    "kvm.param.enable_virt_at_load": "/sys/module/kvm/parameters/enable_virt_at_load",
}
_PRESENCE = {
    "kvm.intel_module": ("/sys/module/kvm_intel", "/sys/module"),
    "guest.device": ("/dev/tdx_guest", "/dev/null"),
    "vsock.host": ("/dev/vhost-vsock", "/dev/null"),
    "vsock.device": ("/dev/vsock", "/dev/null"),
}
_MODULE_VERSIONS = ("/sys/devices/faux/tdx_host/version", "/sys/firmware/tdx/tdx_module")
_LOGS = ("/var/log/kern.log", "/var/log/dmesg", "/var/log/messages", "/var/log/syslog")
_MODPROBE = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")


def collect(root: Path = Path("/"), kernel_log: Path | None = None) -> Facts:
    """Read everything that can be read about the host whose file system is ``root``.

    For a tree other than ``/`` no program is run, no device opened, no system call asked: only files count.
    ``kernel_log`` replaces the host's own log.
    """
    tree = Tree(root)
    programs = Programs() if tree.live else None
    items = {name: tree.fact(*where) for name, where in _FILES.items()}
    items |= {name: switch(tree.fact(path, str(Path(path).parent))) for name, path in _SWITCHES.items()}
    items |= {name: tree.presence(*where) for name, where in _PRESENCE.items()}
    items |= _cpu(tree) | _system(tree) | _cgroup(tree) | _config(tree, items["kernel.release"])
    items["module.version"] = _module_version(tree)
    items["kernel.modprobe"] = _modprobe(tree)
    items["memory.nodes"] = _nodes(tree)
    items["libvirt.version"] = _libvirt(tree)
    items["container"] = _container(tree)
    items["tdvf"] = tdvf_fact(tree)
    items |= attestation_facts(tree)
    items["kvm.device"] = tree.presence("/dev/kvm", "/dev/null")
    log = _log(tree, kernel_log)
    if programs:
        items |= live_facts(intel=items["cpu.vendor"].value == "GenuineIntel") | programs.facts()
    return Facts(items, log)


def _cpu(tree: Tree) -> dict[str, Fact]:
    path = "/proc/cpuinfo"
    names = ("vendor", "family", "model", "name", "microcode", "flags", "bugs", "address_bits", "count")
    try:
        text = tree.read(path, 1 << 22)
    except OSError as error:
        lost = tree.missing(path, "/proc/sys", error)
        return {f"cpu.{name}": lost for name in names}
    fields: dict[str, str] = {}
    for key, value in re.findall(r"^([\w ]+?)\s*:[ \t]*(.*)$", text.partition("\n\n")[0], re.MULTILINE):
        fields.setdefault(key, value.strip())
    facts = {
        f"cpu.{name}": _field(path, fields, key)
        for name, key in (("vendor", "vendor_id"), ("name", "model name"), ("microcode", "microcode"))
    }
    facts |= {
        f"cpu.{name}": _number(_field(path, fields, key))
        for name, key in (("family", "cpu family"), ("model", "model"))
    }
    # Whole words: a search for "tdx" in the line would also find the erratum tdx_pw_mce.
    flags, bugs = fields.get("flags", fields.get("Features")), fields.get("bugs")
    facts["cpu.flags"] = _words(path, "flags", flags, _FLAGS)
    facts["cpu.bugs"] = _words(path, "bugs", bugs, ("tdx_pw_mce",))
    bits = re.match(r"(\d+) bits physical", fields.get("address sizes", ""))
    facts["cpu.address_bits"] = (
        Fact(path, int(bits[1]), bits[0]) if bits else Fact(path, missing=Missing.ABSENT, why="no such line")
    )
    count = len(re.findall(r"^processor\s*:", text, re.MULTILINE))
    facts["cpu.count"] = Fact(path, count, f"{count} processors")
    return facts


def _field(path: str, fields: dict[str, str], key: str) -> Fact:
    source = f"{path} ({key})"
    if fields.get(key):
        return Fact(source, fields[key], fields[key])
    return Fact(source, missing=Missing.ABSENT, why="no such line")


def _number(fact: Fact) -> Fact:
    if not isinstance(fact.value, str):
        return fact
    if not fact.value.isdecimal():
        return Fact(fact.source, raw=fact.raw, missing=Missing.UNKNOWN, why="not a number")
    return Fact(fact.source, int(fact.value[:9]), fact.raw)


def _words(path: str, key: str, line: str | None, wanted: tuple[str, ...]) -> Fact:
    source = f"{path} ({key})"
    if line is None:
        return Fact(source, missing=Missing.ABSENT, why="no such line")
    present = set(line.split())
    found = tuple(word for word in wanted if word in present)
    return Fact(source, found, " ".join(found) or f"none of: {' '.join(wanted)}")


def _system(tree: Tree) -> dict[str, Fact]:
    if tree.live:
        name = os.uname()
        return {
            "system.os": Fact("uname", name.sysname, name.sysname),
            "system.machine": Fact("uname", name.machine, name.machine),
        }
    if tree.exists("/System/Library/CoreServices/SystemVersion.plist"):
        return {"system.os": Fact("/System/Library/CoreServices", "Darwin", "macOS")}
    try:
        text = tree.read("/proc/cpuinfo", 4096)
    except OSError:
        return {}
    machine = "aarch64" if re.search(r"^CPU implementer", text, re.MULTILINE) else ""
    facts = {"system.os": Fact("/proc", "Linux", "Linux")}
    if machine or re.search(r"^vendor_id", text, re.MULTILINE):
        facts["system.machine"] = Fact("/proc/cpuinfo", machine or "x86_64", machine or "x86_64")
    return facts


def _cgroup(tree: Tree) -> dict[str, Fact]:
    facts = {}
    for name, file in (("tdx_capacity", "misc.capacity"), ("tdx_current", "misc.current")):
        fact = tree.fact(f"/sys/fs/cgroup/{file}", "/sys/fs/cgroup")
        if isinstance(fact.value, str):
            match = re.search(r"^tdx (\d{1,9})$", fact.value, re.MULTILINE)
            source = f"{fact.source} (tdx)"
            fact = (
                Fact(source, int(match[1]), match[0])
                if match
                else Fact(source, missing=Missing.ABSENT, why="no tdx line")
            )
        facts[f"cgroup.{name}"] = fact
    return facts


def _config(tree: Tree, release: Fact) -> dict[str, Fact]:
    paths = [f"/boot/config-{release.value}", f"/lib/modules/{release.value}/config"] if release.value else []
    text, source, why = "", "", "no /proc/config.gz and no /boot/config-*"
    for path in ("/proc/config.gz", *paths):
        try:
            data = tree.read_bytes(path, 1 << 21)
            if path.endswith(".gz"):
                data = zlib.decompressobj(wbits=31).decompress(data, 1 << 21)
            text, source = data.decode("utf-8", "replace"), path
            break
        except PermissionError as error:
            why = f"{path}: {error.strerror}"
        except (OSError, zlib.error):
            continue
    facts = {}
    for option in _CONFIG:
        name = f"kernel.config.{option}"
        if not text:
            facts[name] = Fact("kernel configuration", missing=Missing.UNKNOWN, why=why)
            continue
        match = re.search(rf"^CONFIG_{option}=([ym])$", text, re.MULTILINE)
        raw = match[0] if match else f"CONFIG_{option} is not set"
        facts[name] = Fact(source, bool(match), raw)
    return facts


def _module_version(tree: Tree) -> Fact:
    new, old = _MODULE_VERSIONS
    fact = tree.fact(new, "/sys/devices/faux/tdx_host")
    if fact.missing and tree.exists(old):
        parts = {name: tree.fact(f"{old}/{name}", old) for name in tree.names(old)[:16]}
        raw = " ".join(f"{name}={part.value}" for name, part in parts.items() if part.value)
        if raw:
            return Fact(old, raw, raw)
    return fact


def _modprobe(tree: Tree) -> Fact:
    source, found = "/etc/modprobe.d", []
    folders = [folder for folder in _MODPROBE if tree.exists(folder)]
    for folder in folders:
        for name in tree.names(folder):
            if not name.endswith(".conf"):
                continue
            try:
                text = tree.read(f"{folder}/{name}")
            except OSError:
                continue
            for line in re.findall(r"^\s*options\s+kvm(?:[_-]intel)?\s+.*$", text, re.MULTILINE):
                source = f"{folder}/{name}"
                found.append(" ".join(line.split()))
    if not folders:
        return Fact(source, missing=Missing.UNKNOWN, why="there is no modprobe.d here")
    return Fact(source, tuple(found), "; ".join(found) or "no options for kvm or kvm_intel")


def _nodes(tree: Tree) -> Fact:
    path = "/sys/devices/system/node"
    nodes = [name for name in tree.names(path) if re.fullmatch(r"node\d+", name)]
    if not nodes:
        return Fact(path, missing=Missing.UNKNOWN, why="cannot be listed")
    return Fact(path, len(nodes), " ".join(nodes))


def _libvirt(tree: Tree) -> Fact:
    """The version from the library's own file name: asking virsh could start a service."""
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"):
        for name in tree.names(folder):
            match = re.fullmatch(r"libvirt\.so\.0\.(\d{1,3})(\d{3})\.(\d+)", name)
            if match:
                version = ".".join(str(int(part)) for part in match.groups())
                return Fact(f"{folder}/{name}", version, f"{version} (TDX upstream from 11.6, unverified)")
    return Fact("libvirt.so.0", missing=Missing.ABSENT, why="no libvirt in the library folders")


def _container(tree: Tree) -> Fact:
    for path in ("/.dockerenv", "/run/.containerenv"):
        if tree.exists(path):
            return Fact(path, True, "present: this is a container, /dev and the command line may be filtered")
    return Fact("/.dockerenv, /run/.containerenv", False, "not there")


def _log(tree: Tree, kernel_log: Path | None) -> KernelLog:
    if kernel_log is not None:
        try:
            return read_log_file(kernel_log, str(kernel_log))
        except OSError as error:
            return KernelLog(LogState.UNREADABLE, str(kernel_log), why=error.strerror or str(error))
    best = live_log() if tree.live else UNREAD_LOG
    if _tells(best):
        return best
    denied = [best.why] if best.why and tree.live else []
    for path in _LOGS:
        try:
            where = tree.locate(path)
            if not where.is_file():
                continue
            log = read_log_file(where, path)
        except OSError as error:
            denied.append(f"{path}: {error.strerror}")
            continue
        if _tells(log):
            return log
        if best.state is LogState.UNREADABLE:
            best = log
    if best.state is LogState.UNREADABLE:
        why = "; ".join(denied) or "there is no kernel log here"
        return KernelLog(LogState.UNREADABLE, best.source, why=why)
    return best


def _tells(log: KernelLog) -> bool:
    return log.state is LogState.READ and (log.from_boot or bool(log.lines))
