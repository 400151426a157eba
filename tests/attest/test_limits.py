"""Tables of the specifications, and where readers of evidence and of policies have their edges."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from labkit.attest import LabAuthority, Policy, make_tdreport, parse_quote
from labkit.attest.bits import names, td_attributes, xfam
from labkit.attest.policy import parse_policy
from labkit.attest.tdreport import parse_tdreport
from labkit.attest.wrapped import other_than_a_quote, unwrap_quote
from labkit.errors import DataError, LabkitError, MalformedEvidence, UsageError
from tests.attest.conftest import NOW, report

# Intel TDX Module 1.5 ABI and later documents, ATTRIBUTES; Intel SDM 1, chapter 13, XCR0 and IA32_XSS.
ATTRIBUTES = """0 DEBUG, 4 HGS_PLUS_PROF, 5 PERF_PROF, 6 PMT_PROF, 16 ICSSD, 27 LASS, 28 SEPT_VE_DISABLE,
29 MIGRATABLE, 30 PKS, 31 KL, 62 TPA, 63 PERFMON"""
XFAM = """0 x87, 1 SSE, 2 AVX, 5 AVX-512 opmask, 6 AVX-512 high 256, 7 AVX-512 high 16, 8 PT, 9 PKRU,
11 CET user,
12 CET supervisor, 14 UINTR, 15 LBR, 17 AMX config, 18 AMX data"""


@pytest.mark.parametrize(("table", "read"), [(ATTRIBUTES, td_attributes), (XFAM, xfam)], ids=["td", "xfam"])
def test_each_bit_has_its_name_and_the_others_are_reserved(table: str, read: Any) -> None:
    known = dict(row.strip().split(" ", 1) for row in table.split(","))
    for number in range(64):
        (bit,) = read(1 << number)
        expected = known.get(str(number), f"reserved bit {number}")
        assert (bit.number, bit.name, bit.known) == (number, expected, str(number) in known)
    assert [bit.number for bit in read((1 << 64) - 1)] == list(range(64))
    assert (read(0), names(read(0))) == ((), "none")


def values(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of DER, one after the other; lengths in their one spelling (X.690, 10.1)."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[at : at + size], "big")
            assert length >= 0x80
            assert der[at]
            at += size
        assert at + length <= len(der)
        yield tag, der[at : at + length]
        at += length


def pairs(der: bytes) -> dict[str, tuple[int, bytes]]:
    found = {}
    for tag, content in values(der):
        assert tag == 0x30
        (kind, name), value = values(content)
        assert kind == 0x06
        found[name.hex()] = value
    return found


def test_a_platforms_certificate_has_what_intels_profile_asks_for(authority: LabAuthority) -> None:
    """Intel SGX PCK Certificate and CRL Profile, section 1.3.5: the OIDs below 1.2.840.113741.1.13.1."""
    root = "2a864886f84d010d01"
    oid = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
    extension = authority.pck.certificate.extensions.get_extension_for_oid(oid)
    assert not extension.critical
    value = extension.value
    assert isinstance(value, x509.UnrecognizedExtension)
    ((tag, body),) = values(value.value)
    found = pairs(body)
    ppid = found[f"{root}01"]
    assert tag == 0x30
    assert (ppid[0], len(ppid[1])) == (0x04, 16)
    assert found[f"{root}03"] == (0x04, bytes(2))
    assert found[f"{root}04"] == (0x04, authority.fmspc)
    assert found[f"{root}05"] == (0x0A, b"\1")
    assert found[f"{root}06"] == ppid
    assert len(found) == 7
    tcb, flags = pairs(found[f"{root}02"][1]), pairs(found[f"{root}07"][1])
    svn = {f"{root}02{number:02x}": (0x02, b"\1") for number in range(1, 18)}
    assert tcb == {**svn, f"{root}0212": (0x04, b"\1" * 16)}
    assert flags == {f"{root}07{number:02x}": (0x01, b"\xff") for number in (1, 2, 3)}


def test_certificates_and_lists_are_of_their_time(authority: LabAuthority) -> None:
    now = datetime.fromtimestamp(NOW, UTC)
    for identity in (authority.root, authority.platform_ca, authority.pck, authority.tcb_signer):
        certificate = identity.certificate
        assert certificate.not_valid_before_utc == now - timedelta(days=1)
        assert certificate.not_valid_after_utc == now + timedelta(days=3650)
        assert certificate.version is x509.Version.v3
        key = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        assert not key.critical
        assert not certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).critical
    document = json.loads(authority.collateral(NOW).text)
    for name in ("root_ca_crl", "pck_crl"):
        crl = x509.load_der_x509_crl(bytes.fromhex(document[name]))
        assert (crl.last_update_utc, crl.next_update_utc) == (now, now + timedelta(days=30))
        assert len(list(crl)) == 0
        assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 1


def test_what_stands_in_the_place_of_an_authority_is_no_authority(tmp_path: Path) -> None:
    (tmp_path / "authority").write_text("")
    with pytest.raises((LabkitError, OSError)):
        LabAuthority.open(tmp_path, NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["authority"]


@pytest.mark.parametrize("now", [0, 86_399, 1_500_000_000])
def test_a_clock_that_was_never_set_makes_no_authority(now: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="long past"):
        LabAuthority.open(tmp_path, now)
    assert not list(tmp_path.iterdir())


def test_an_authority_is_not_opened_at_a_time_at_which_it_is_not_valid(tmp_path: Path) -> None:
    LabAuthority.open(tmp_path, NOW)
    for now in (NOW - 86_401, NOW + 3650 * 86_400 + 1, 2_524_608_000):
        with pytest.raises(DataError, match="The clock of this machine says"):
            LabAuthority.open(tmp_path, now)
    for now in (NOW - 86_400, NOW + 3650 * 86_400):
        assert LabAuthority.open(tmp_path, now)


def test_who_comes_second_takes_what_the_first_has_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = LabAuthority.open(tmp_path / "other", NOW)
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        # Another process was faster by a moment.
        if not target.exists():
            rename(tmp_path / "other/authority", target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert LabAuthority.open(tmp_path / "state", NOW).root_der == first.root_der
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["authority"]


@pytest.mark.parametrize("at", range(0, 1024, 16))
def test_each_byte_of_a_report_is_read_back_or_refused(at: int) -> None:
    whole = report().encode()
    assert parse_tdreport(whole).encode() == whole
    for place in range(at, at + 16, 5):
        data = bytearray(whole)
        data[place] ^= 0x10
        try:
            assert parse_tdreport(bytes(data)).encode() == bytes(data)
        except LabkitError:
            continue
    with pytest.raises(LabkitError):
        parse_tdreport(whole[: 1023 - at])


OTHERS = [
    (b"\x81" + bytes(1023), "TDREPORT"),
    (bytes(32) + b"Spec ID Event03\0" + bytes(9), "event log"),
    (b"HCLA" + bytes(100), "paravisor"),
    (b"\xffTCG" + bytes(100), "TPM's quote"),
    *((bytes([version]) + bytes(1183), "SEV-SNP") for version in (2, 3, 5)),
    (b"\1" * 432, "SGX enclave"),
    (b"eyJh.eyJi.", "JWT"),
    (b"eyJh.eyJi", "text"),
    (b"", "an empty file"),
    (b" \n", "an empty file"),
    (bytes(431), "an area without any entry"),
    (b"\xff" * 433, "an area without any entry"),
    *((struct.pack("<HHI", 1, key, 0) + bytes(60), "EPID") for key in (0, 1)),
    *((struct.pack("<HHI", version, 2, 0) + bytes(60), "SGX quote of version") for version in (3, 4, 5)),
    (struct.pack("<HHI40xH", 5, 3, 0x81, 1) + bytes(60), "SGX quote of version 5"),
]


@pytest.mark.parametrize(("data", "words"), OTHERS)
def test_what_is_known_for_something_else_is_named(data: bytes, words: str) -> None:
    named = other_than_a_quote(data)
    assert named is not None
    assert words in named[0]
    assert named[1]
    if data[4:5] != b"\x81":
        with pytest.raises(MalformedEvidence, match=words):
            unwrap_quote(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81" + bytes(1022),
        b"\x81" + bytes(1023) + b"\1",
        bytes(64) + b"\x81\0\2" + bytes(1021),
        bytes(63) + b"\x81" + bytes(1023),
        b"\x80" + bytes(1023),
        bytes([4]) + bytes(1183),
        b"\1" * 431,
        b"\1" * 433,
        struct.pack("<HHI", 1, 2, 0) + bytes(60),
        struct.pack("<HHI", 3, 2, 0) + bytes(45),
        struct.pack("<HHI", 6, 2, 0) + bytes(60),
        struct.pack("<HHI", 4, 4, 0) + bytes(60),
        struct.pack("<HHI", 4, 2, 0x81) + bytes(60),
        struct.pack("<HHI40xH", 5, 3, 0x81, 2) + bytes(60),
        struct.pack("<HHI40xH", 4, 3, 0x81, 1) + bytes(60),
    ],
)
def test_and_what_is_not_is_not(data: bytes) -> None:
    assert other_than_a_quote(data) is None


def test_the_shortest_header_that_tells_an_sgx_quote() -> None:
    for version in (1, 3):
        header = struct.pack("<HHI", version, 2 if version == 3 else 0, 0)
        assert other_than_a_quote(header + bytes(46))
        assert other_than_a_quote(header + bytes(45)) is None


@pytest.mark.parametrize(("before", "found"), [(0, True), (1, True), (152, True), (153, False)])
def test_a_quote_stands_at_most_152_bytes_behind_a_frame(
    before: int, found: bool, authority: LabAuthority
) -> None:
    quote = authority.quote(report())
    framed = b"\xa5" * before + quote
    assert (unwrap_quote(framed) == quote) is found
    # What follows it is cut off, but for zeros, which belong to real quotes.
    for behind, kept in ((b"\1" * 9, b""), (bytes(9), bytes(9))):
        if before and found:
            assert unwrap_quote(framed + behind) == quote + kept


def test_two_quotes_are_one_too_many_and_one_twice_is_one(authority: LabAuthority) -> None:
    one, other = authority.quote(report()), authority.quote(report(1))
    text = base64.b64encode(one) + b"\nand\n"
    assert unwrap_quote(b"both:\n" + text + text) == one
    with pytest.raises(MalformedEvidence, match="2 different quotes"):
        unwrap_quote(b"both:\n" + text + base64.b64encode(other) + b"\n")


@pytest.mark.parametrize("version", [4, 5])
def test_each_field_of_a_report_stands_in_its_quote(version: int, authority: LabAuthority) -> None:
    made = make_tdreport(
        mrtd=b"\1" * 48,
        rtmr=(b"\2" * 48, b"\3" * 48, b"\4" * 48, b"\5" * 48),
        report_data=b"\6" * 64,
        td_attributes=1 << 28,
        xfam=0xE7,
    )
    quote = parse_quote(authority.quote(made, version))
    assert (quote.mrtd, quote.rtmr, quote.report_data) == (made.mrtd, made.rtmr, made.report_data)
    assert (quote.td_attributes, quote.xfam) == (
        (1 << 28).to_bytes(8, "little"),
        (0xE7).to_bytes(8, "little"),
    )
    assert quote.version == version


HEX = "00" * 48


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, ""),
        ([], "is a JSON object"),
        ({"prediction": {}}, "no key 'prediction'"),
        ({"tcb_statuses": ["UpToDate", "OutOfDate"]}, ""),
        ({"tcb_statuses": ["Revoked"]}, "not a TCB status"),
        ({"tcb_statuses": "UpToDate"}, "not a list"),
        ({"tcb_statuses": [1]}, "1 is not text"),
        ({"forbidden_advisories": ["INTEL-SA-1", "INTEL-SA-123456"]}, ""),
        ({"forbidden_advisories": ["INTEL-SA-1234567"]}, "number of an advisory"),
        ({"forbidden_advisories": ["intel-sa-00837"]}, "number of an advisory"),
        ({"allow_debug": 1}, "neither true nor false"),
        ({"allow_lab": None}, "neither true nor false"),
        ({"allow_unpredicted": "yes"}, "neither true nor false"),
        ({"report_data": "00" * 64}, ""),
        ({"report_data": "00" * 63}, "63 bytes stand where 64"),
        ({"report_data": "0" * 127}, "not hexadecimal"),
        ({"report_data": 5}, "not text"),
        ({"mrtd": [HEX, HEX]}, ""),
        ({"mrtd": []}, "empty list"),
        ({"mrtd": [None]}, "register is missing"),
        ({"mrtd": HEX}, "not a list"),
        ({"rtmr": [None, HEX, None, HEX]}, ""),
        ({"rtmr": [HEX] * 3}, "3 values, not 4"),
        ({"rtmr": [HEX] * 5}, "5 values, not 4"),
        ({"rtmr": [HEX[2:]] * 4}, "47 bytes stand where 48"),
        ({"page_order": "single-pass"}, ""),
        ({"page_order": None}, ""),
        ({"page_order": "any"}, "none of single-pass, two-pass"),
        ({"inputs": {}}, "inputs are empty"),
        ({"inputs": []}, "not a JSON object"),
        ({"inputs": {"memory_mib": 1}}, ""),
        ({"inputs": {"memory_mib": 1 << 32}}, ""),
        ({"inputs": {"memory_mib": 0}}, "0 is not a number from 1 to 4294967296"),
        ({"inputs": {"memory_mib": (1 << 32) + 1}}, "is not a number from"),
        ({"inputs": {"memory_mib": True}}, "is not a number from"),
        ({"inputs": {"command_line": ""}}, ""),
        ({"inputs": {"command_line": "a\nb"}}, "not a line of text"),
        ({"inputs": {"command_line": 5}}, "not a line of text"),
        ({"inputs": {"command_line": "a" * (1 << 16)}}, ""),
        ({"inputs": {"command_line": "a" * ((1 << 16) + 1)}}, "not a line of text that a kernel takes"),
        ({"inputs": {"acpi": [HEX], "smbios": HEX}}, ""),
        ({"inputs": {"acpi": [None]}}, "register is missing"),
        ({"inputs": {"acpi": HEX}}, "not a list"),
        ({"inputs": {"loader": "x"}}, "no key 'loader'"),
        ({"inputs": {"initrd": "x"}}, ""),
        ({"inputs": {"initrd": ""}}, "initrd: a text is empty"),
        ({"inputs": {"acpi": [], "rules": {"acpi_events": 0, "smbios_event": True}}}, ""),
        ({"inputs": {"acpi": [], "rules": {"acpi_events": 16}}}, ""),
        ({"inputs": {"acpi": [], "rules": {"acpi_events": 17}}}, "from 0 to 16"),
        ({"inputs": {"acpi": [], "rules": {"acpi_events": -1}}}, "from 0 to 16"),
        ({"inputs": {"acpi": [], "rules": {"smbios_event": 1}}}, "neither true nor false"),
        ({"inputs": {"acpi": [], "rules": {"separators": "none"}}}, "is none of"),
        ({"inputs": {"acpi": [], "rules": {"colour": "red"}}}, "rules have no key 'colour'"),
        ({"inputs": {"acpi": [], "rules": []}}, "rules are not a JSON object"),
    ],
)
def test_each_value_of_a_policy_has_its_limits(document: Any, words: str) -> None:
    def read() -> Policy:
        return parse_policy(document, lambda name: b"content")

    if words:
        with pytest.raises(UsageError) as refused:
            read()
        assert words in refused.value.message
        assert refused.value.remedy
    else:
        assert read()


def test_a_policy_says_what_its_document_says() -> None:
    policy = parse_policy(
        {
            "tcb_statuses": ["OutOfDate"],
            "forbidden_advisories": ["INTEL-SA-1"],
            "allow_debug": True,
            "allow_lab": True,
            "allow_unpredicted": True,
            "report_data": "01" * 64,
            "mrtd": ["02" * 48],
            "rtmr": [None, "03" * 48, None, None],
            "inputs": {"memory_mib": 512, "rules": {"acpi_events": 5, "smbios_event": True}},
        },
        lambda name: b"",
    )
    assert (policy.tcb_statuses, policy.forbidden_advisories) == (("OutOfDate",), ("INTEL-SA-1",))
    assert (policy.allow_debug, policy.allow_lab, policy.allow_unpredicted) == (True, True, True)
    assert (policy.report_data, policy.mrtd) == (b"\1" * 64, (b"\2" * 48,))
    assert policy.rtmr == (None, b"\3" * 48, None, None)
    assert policy.prediction is not None
    assert policy.prediction.inputs.memory == 512 << 20
    assert (policy.prediction.rules.acpi_events, policy.prediction.rules.smbios_event) == (5, True)
    plain = parse_policy({}, lambda name: b"")
    assert (plain.allow_debug, plain.allow_lab, plain.allow_unpredicted) == (False, False, False)
    assert plain.tcb_statuses == ("UpToDate",)
    rules = parse_policy({"inputs": {"memory_mib": 1}}, lambda name: b"").prediction
    assert rules is not None
    assert (rules.rules.acpi_events, rules.rules.smbios_event) == (3, False)
