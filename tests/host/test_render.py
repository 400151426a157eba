"""The faces of a report: text, one line, JSON, HTML, saved facts, and the redacted report."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from labkit.cli import labkit
from labkit.errors import DataError
from labkit.host import Facts, HostReport, collect, diagnose, load, redact, save
from labkit.host.model import KernelLog, LogLine
from labkit.host.redaction import host_names
from tests.host.hosts import BY_NAME, CMDLINE, HOSTS, KERN, START, Host, build, log

SECRETS = {
    "UUID": "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
    "MAC": "3c:ec:ef:12:34:56",
    "host": "rack7-node3",
    "user": "mallory",
    "address": "192.168.77.5",
    "IPv6": "fd00:aa:bb::17",
    "serial": "J1234XYZ",
    "disk key": "luks-topsecret",
    "password": "hunter2hunter2",
    "api key": "0123456789abcdefcafe",
    "builder": "buildd@lcy02-amd64-001",
}
LEAKY = Host("leaky", "NOT_READY", "BIOS_NOT_ENABLED", {
    "/etc/hostname": f"{SECRETS['host']}\n",
    "/etc/passwd": f"root:x:0:0::/root:/bin/sh\n{SECRETS['user']}:x:1000:1000::/home/{SECRETS['user']}:\n",
    CMDLINE: f"root=UUID={SECRETS['UUID']} ip={SECRETS['address']} rd.luks.key={SECRETS['disk key']} "
             f"systemd.hostname={SECRETS['host']} kvm_intel.tdx=1 nohibernate\n",
    "/sys/module/kvm_intel/parameters/tdx": "N\n",
    "/sys/class/dmi/id/product_name": f"Server {SECRETS['host']} Serial: {SECRETS['serial']}\n",
    "/sys/class/dmi/id/bios_version": f"{SECRETS['MAC']} {SECRETS['IPv6']}\n",
    "/etc/sgx_default_qcnl.conf": f'{{\n  "pccs_url": "https://{SECRETS["user"]}:{SECRETS["password"]}@'
                                  f'pccs.{SECRETS["host"]}.example:8081/sgx/",\n  "use_secure_cert": false,\n'
                                  f'  "pck_token": "{SECRETS["api key"]}"\n}}\n',
    "/etc/qgs.conf": f"#port = 4050\n# {SECRETS['password']}\n",
    KERN: log(START, "virt/tdx: not enabled by BIOS.", f"virt/tdx: odd line about {SECRETS['host']}",
              release=f"6.17.0 ({SECRETS['builder']})").replace("node7", SECRETS["host"]),
})  # fmt: skip


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(labkit, ["verify", *map(str, words)])


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    return build(LEAKY, tmp_path / SECRETS["user"])


def test_secrets_of_configuration_files_are_never_read_out(leaky: Path, tmp_path: Path) -> None:
    save(collect(leaky), tmp_path / "facts.json")
    text = (tmp_path / "facts.json").read_text()
    for name in ("password", "api key"):
        assert SECRETS[name] not in text, name


@pytest.mark.parametrize("words", [("--verbose",), ("--json",), ("--short",)])
def test_a_redacted_report_names_nobody(leaky: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    saved = tmp_path / "facts.json"
    result = run("--root", leaky, "--redact", "--save", saved, *words)
    assert result.exit_code == 1
    html = diagnose(redact(collect(leaky), host_names(leaky)))._repr_html_()
    for where, text in (("report", result.stdout), ("file", saved.read_text()), ("HTML", html)):
        for name, secret in SECRETS.items():
            assert secret not in text, f"{name} in the {where}"
        assert "BIOS_NOT_ENABLED" in text or where == "file"
    assert "kvm_intel.tdx=1" in saved.read_text()


def test_the_plain_report_does_show_them_so_that_the_test_above_can_fail(leaky: Path) -> None:
    text = run("--root", leaky, "--verbose").stdout
    assert SECRETS["UUID"] in text
    assert SECRETS["host"] in text


def test_a_host_called_like_the_kernels_own_words_keeps_its_verdict(tmp_path: Path) -> None:
    host = replace(BY_NAME["bios"], files={**BY_NAME["bios"].files, "/etc/hostname": "tdx\n"})
    root = build(host, tmp_path)
    assert diagnose(redact(collect(root), host_names(root))).reason == "BIOS_NOT_ENABLED"


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_saved_facts_give_the_same_report_elsewhere(host: Host, tmp_path: Path) -> None:
    facts = collect(build(host, tmp_path / "root"))
    save(facts, tmp_path / "facts.json")
    loaded = load(tmp_path / "facts.json")
    assert loaded == facts
    assert diagnose(loaded).to_dict() == diagnose(facts).to_dict()


def test_replay_by_the_command_line(tmp_path: Path) -> None:
    saved = tmp_path / "facts.json"
    root = build(BY_NAME["typo"], tmp_path / "root")
    first = run("--root", root, "--save", saved, "--json")
    again = run("--from", saved, "--json")
    assert (first.exit_code, again.exit_code) == (1, 1)
    assert json.loads(first.stdout) == json.loads(again.stdout)
    assert "The facts are in" in first.stderr


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "nonsense", '{"format": "other"}', "[" * 100_000, "\0",
        '{"format": "labkit-host-facts/1", "facts": {"a": {"source": "x"}}, "log": {}}',
        '{"format": "labkit-host-facts/1", "facts": {"msr.0x87": {"source": "x", "value": ["zz"]}}}',
        '{"format": "labkit-host-facts/1", "facts": {"a": {"source": 1, "value": 1}}, "log": {}}',
        '{"format": "labkit-host-facts/1", "facts": {}, "log": {"state": "read", "source": "x", '
        '"lines": [[1]], "total_lines": 1}}',
    ],
)  # fmt: skip
def test_facts_that_are_none_are_refused_with_a_remedy(text: str, tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        load(path)
    assert caught.value.remedy


def test_the_json_has_the_contracts_keys(tmp_path: Path) -> None:
    document = json.loads(run("--root", build(BY_NAME["silent"], tmp_path), "--json").stdout)
    assert {"verdict", "reason", "summary", "next_action", "checks", "attestation"} <= set(document)
    assert {"verdict", "reason"} <= set(document["attestation"])
    for check in document["checks"]:
        assert {"id", "title", "status", "evidence", "expected", "fix"} <= set(check)
        assert check["status"] in ("PASS", "FAIL", "UNKNOWN", "SKIP")
        assert all(set(entry) == {"source", "value"} for entry in check["evidence"])
        assert all(isinstance(entry["value"], str) for entry in check["evidence"])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--root", "/nonexistent"), 2),
        (("--kernel-log", "/nonexistent"), 2),
        (("--from", "/nonexistent"), 2),
        (("--nonsense",), 2),
    ],
)
def test_wrong_words_are_usage_errors(words: tuple[str, ...], code: int) -> None:
    assert run(*words).exit_code == code  # the group turns click's 2 into 64


def test_saved_facts_and_a_root_do_not_go_together(tmp_path: Path) -> None:
    save(Facts(), tmp_path / "facts.json")
    result = run("--from", tmp_path / "facts.json", "--root", tmp_path)
    assert result.exception
    assert "--root" in str(result.exception)


@pytest.mark.parametrize(("name", "code"), [("good-6.17", 0), ("typo", 1), ("log-empty", 2)])
def test_exit_status_follows_the_verdict(name: str, code: int, tmp_path: Path) -> None:
    assert run("--root", build(BY_NAME[name], tmp_path)).exit_code == code


def report_of(name: str, tmp_path: Path) -> HostReport:
    return diagnose(collect(build(BY_NAME[name], tmp_path)))


def test_short_is_one_line(tmp_path: Path) -> None:
    line = report_of("typo", tmp_path).text(short=True)
    assert line.startswith("NOT_READY KVM_PARAM_OFF: ")
    assert "\n" not in line
    assert "Next: Write `kvm_intel.tdx=1` instead of `kvm_inte.tdx=1`" in line


def test_the_tree_marks_one_root_cause_and_folds_what_was_skipped(tmp_path: Path) -> None:
    text = str(report_of("amd", tmp_path))
    assert text.count("root cause") == 1
    assert re.search(r"– \d+ checks skipped", text)
    verbose = report_of("amd", tmp_path).text(verbose=True)
    assert "checks skipped" not in verbose
    for result in report_of("amd", tmp_path).checks:
        assert result.check.title in verbose


def test_unknown_says_how_to_settle_it(tmp_path: Path) -> None:
    assert "To settle it: " in str(report_of("log-unreadable-7.1", tmp_path))


def test_colour_is_for_terminals_only(tmp_path: Path) -> None:
    report = report_of("typo", tmp_path)
    assert "\x1b[31m" in report.text(color=True)
    assert re.sub(r"\x1b\[\d+m", "", report.text(color=True)) == str(report)
    assert "\x1b" not in run("--root", tmp_path).stdout


def test_made_up_facts_say_so_everywhere(tmp_path: Path) -> None:
    facts = replace(collect(build(BY_NAME["good-6.17"], tmp_path)), emulated=True)
    report = diagnose(facts)
    assert str(report).startswith("[EMULATED] READY")
    assert "EMULATED" in report._repr_html_()
    assert report.to_dict()["emulated"] is True
    assert "EMULATED" not in str(diagnose(replace(facts, emulated=False)))


class _Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.stack.append(tag)
        self.names.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


@pytest.mark.parametrize("name", ["good-6.17", "typo", "amd", "log-empty"])
def test_html_is_balanced_and_folds_out(name: str, tmp_path: Path) -> None:
    parser = _Balance()
    parser.feed(report_of(name, tmp_path)._repr_html_())
    assert parser.stack == []
    assert {"details", "summary", "ul", "li"} <= parser.names


def test_hostile_text_in_a_log_stays_text(tmp_path: Path) -> None:
    facts = collect(build(BY_NAME["bios"], tmp_path))
    nasty = LogLine("virt/tdx: <script>alert(1)</script>\x1b]0;owned\x07\u202e not enabled by BIOS.")
    start = LogLine("virt/tdx: BIOS enabled: private KeyID range [32, 64)")
    hostile: KernelLog = replace(facts.log, lines=(start, nasty))
    report = diagnose(replace(facts, log=hostile))
    assert "<script" not in report._repr_html_()
    for text in (str(report), report.text(verbose=True)):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_repr_is_short_and_stable(tmp_path: Path) -> None:
    report = report_of("typo", tmp_path)
    assert repr(report) == "HostReport(NOT_READY, KVM_PARAM_OFF)"
    assert repr(report.facts).startswith("Facts(")
    assert repr(report.check("kernel")) == "CheckResult(kernel, PASS)"
