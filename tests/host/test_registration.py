"""The registration agent's own log: the last run counts, in each of its wordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.host import verify
from labkit.host.result import CheckResult
from tests.host.hosts import Host, build

START = (
    "[{day}-06-2024 03:05:53] INFO: SGX Registration Agent version: 1.20.100.2\n"
    "[{day}-06-2024 03:05:53] INFO: Starts Registration Agent Flow.\n"
)
END = "[04-06-2024 03:05:54] INFO: Finished Registration Agent Flow.\n"
FIRST = "INFO: Registration Flow - PLATFORM_ESTABLISHMENT or TCB_RECOVERY passed successfully.\n"
AGAIN = (
    "INFO: Registration Flow - Registration status indicates registration is completed successfully. MPA has "
    "nothing to do.\n"
)
BACK = (
    "INFO: SGX MP Server configuration flag indicates that Registration Server won't save encrypted platform "
    "keys.\n"
    "INFO: Platform registration request (PLATFORM_MANIFEST) won't be send to Registration Server.\n"
)
REFUSED = (
    "ERROR: Registration Server returned HTTP 400 InvalidPlatformManifest\n"
    "INFO: Registration Flow - PLATFORM_ESTABLISHMENT or TCB_RECOVERY failed.\n"
)
OFFLINE = (
    "ERROR: Network error: could not resolve api.trustedservices.intel.com\n"
    "INFO: Registration Flow - PLATFORM_ESTABLISHMENT or TCB_RECOVERY failed.\n"
)


def flow(*words: str, end: str = END) -> str:
    return START.format(day="03") + "".join(f"[04-06-2024 03:05:54] {word}" for word in words) + end


def check(text: str, tmp_path: Path) -> CheckResult:
    files = {"/var/log/mpa_registration.log": text, "/var/log/x": ""}
    return verify(build(Host("h", "READY", None, files), tmp_path)).check("registered")


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        (flow(FIRST), "PASS", ""),
        (flow(AGAIN), "PASS", ""),
        (f"[25-09-2025 04:56:01] {AGAIN}", "PASS", ""),
        (flow("INFO: Registration Flow - ADD_REQUEST passed successfully.\n"), "PASS", ""),
        (flow(BACK), "FAIL", "SGX Auto MP Registration"),
        (flow(BACK) + flow(FIRST), "PASS", ""),
        (flow(FIRST) + flow(BACK), "FAIL", "PCKIDRetrievalTool"),
        (flow(AGAIN) + flow(REFUSED), "FAIL", "refused this platform's data"),
        (flow(OFFLINE), "FAIL", "proxy"),
        (
            flow("ERROR: Registration Flow - Registration status indicates registration is completed "
                "unsuccessfully, "
                 "and the error code is 4. \n"),
            "FAIL",
            "SGX Factory Reset",
        ),
        (flow("ERROR: Registration Flow - BIOS/MCHECK failed, reported error: "
            "0x04\n"), "FAIL", "SGX Factory Reset"),
        (flow("ERROR: getRegistrationServerInfo failed, error: 3\n"), "FAIL", "efivars"),
        (flow("ERROR: Registration Server returned HTTP 503 ServiceUnavailable\n"), "FAIL", "wait an hour"),
        (flow("ERROR: Registration Server returned HTTP 401 Unauthorized\n"), "FAIL", "subscription key"),
        (flow(OFFLINE) * 8000 + flow(FIRST), "PASS", ""),
        (flow("ERROR: CachedKeysPolicyViolation\n"), "FAIL", "through a PCCS before"),
        (flow(), "FAIL", "mpa_registration_tool"),
        (flow(FIRST) + flow(end=""), "UNKNOWN", "mpa_manage"),
        ("", "UNKNOWN", "mpa_manage"),
    ],
)  # fmt: skip
def test_the_last_run_counts_and_its_own_reason_leads(
    text: str, status: str, words: str, tmp_path: Path
) -> None:
    result = check(text, tmp_path)
    assert result.status == status, result
    assert words in (result.fix or "")


def test_the_agents_own_line_is_quoted(tmp_path: Path) -> None:
    result = check(flow(OFFLINE), tmp_path)
    assert "could not resolve api.trustedservices.intel.com" in result.detail
    assert "2024" not in result.detail


@pytest.mark.parametrize(
    ("conf", "status"),
    [
        ('{\n "pccs_url": "https://localhost:8081/sgx/"\n ,"use_secure_cert": false\n}', "PASS"),
        ('{"pccs_url": "https://localhost:8081/sgx/", "use_secure_cert": false}', "PASS"),
        ('{"pccs_url": "https://localhost:8081/sgx/", "use_secure_cert": true}', "UNKNOWN"),
        ('{"pccs_url": "https://127.0.0.1:8081/sgx/"}', "UNKNOWN"),
        ('{"pccs_url": "https://localhost:8081/sgx/"\n // "use_secure_cert": false\n}', "UNKNOWN"),
        ("PCCS_URL=https://[::1]:8081/sgx/\nUSE_SECURE_CERT=TRUE\n", "UNKNOWN"),
        ("PCCS_URL=https://localhost:8081/sgx/\nUSE_SECURE_CERT=FALSE\n", "PASS"),
        ("# USE_SECURE_CERT=FALSE\nPCCS_URL=https://localhost:8081/sgx/\n", "UNKNOWN"),
        ('{"pccs_url": "http://localhost:8081/sgx/", "use_secure_cert": true}', "PASS"),
        ('{"pccs_url": "HTTPS://LocalHost:8081/sgx/", "use_secure_cert": false // was: true\n}', "PASS"),
        ('{"pccs_url": "https://localhost:8081//*x*/", "use_secure_cert": false}', "PASS"),
        ('{"pccs_url": "https://localhost:8081/",\n/*\n"use_secure_cert": false,\n*/\n"x": 1}', "UNKNOWN"),
        ('{"pccs_url": "https://localhost:8081/", "use_secure_cert": "false"}', "UNKNOWN"),
        ('{"pccs_url": "https://localhost:8081/", "use_secure_cert": 0}', "UNKNOWN"),
        ('{"pccs_url": "https://localhost:8081/", "USE_SECURE_CERT": false}', "UNKNOWN"),
        ('{"pccs_url": "https://localhost:8081/", "x": {"use_secure_cert": false}}', "UNKNOWN"),
        ('{"pccs_url": "https://localhost:8081/", "x": "a, use_secure_cert: false"}', "UNKNOWN"),
        (
            '{"pccs_url": "https://localhost:8081/", "use_secure_cert": true, "use_secure_cert": false}',
            "UNKNOWN",
        ),
    ],
)
def test_a_certificate_that_will_be_refused_is_no_pass(conf: str, status: str, tmp_path: Path) -> None:
    files = {
        "/etc/sgx_default_qcnl.conf": conf,
        "/sys/fs/cgroup/system.slice/pccs.service/cgroup.procs": "1\n",
    }
    result = verify(build(Host("h", "READY", None, files), tmp_path)).check("pccs")
    assert result.status == status, result
    assert ("use_secure_cert" in result.detail) == (status == "UNKNOWN")
    assert ("/etc/sgx_default_qcnl.conf" in (result.fix or "")) == (status == "UNKNOWN")


@pytest.mark.parametrize(
    ("conf", "line"),
    [
        ('{"pccs_url": "https://localhost:8081/", "use_secure_cert": false', 1),
        ('{"pccs_url": "https://localhost:8081/",\n/*\n*/ "use_secure_cert": False}', 3),
        ('{"pccs_url": "https://localhost:8081/", "use_secure_cert": false,}', 1),
        ('{\n# for us\n"pccs_url": "https://localhost:8081/", "use_secure_cert": false}', 2),
        ("{'pccs_url': 'https://localhost:8081/', 'use_secure_cert': false}", 1),
        ('\ufeff{"pccs_url": "https://localhost:8081/", "use_secure_cert": false}', 1),
        ("{" + '"x": [' * 100_000, None),
    ],
)
def test_a_configuration_that_is_not_json_counts_for_nothing(
    conf: str, line: int | None, tmp_path: Path
) -> None:
    files = {
        "/etc/sgx_default_qcnl.conf": conf,
        "/sys/fs/cgroup/system.slice/pccs.service/cgroup.procs": "1\n",
    }
    result = verify(build(Host("h", "READY", None, files), tmp_path)).check("pccs")
    assert result.status == "UNKNOWN"
    assert ("it is not JSON" if line is None else f"it is not JSON, from line {line} on") in result.detail
    assert "Correct /etc/sgx_default_qcnl.conf" in (result.fix or "")


@pytest.mark.parametrize(
    ("conf", "status"),
    [
        ("port = 0\nport = 4050\n", "PASS"),
        ("port = 4050\r\n", "PASS"),
        ("port = 4050\nport = 0\n", "FAIL"),
        ("port =\n4050\n", "FAIL"),
        ("port = \uff14\uff10\uff15\uff10\n", "FAIL"),
    ],
)
def test_the_last_port_of_the_quote_service_counts(conf: str, status: str, tmp_path: Path) -> None:
    files = {"/etc/qgs.conf": conf, "/sys/fs/cgroup/system.slice/qgsd.service/cgroup.procs": "1\n"}
    assert verify(build(Host("h", "READY", None, files), tmp_path)).check("qgs-vsock").status == status
