"""What a file is that was given for a log or a quote: known by how it begins."""

from __future__ import annotations

import re
import struct

_UNPACK = "Unpack it, and give the file that is in it."
_JWT = re.compile(rb"(?i:authorization:)?(?i:bearer)?[\"']?eyJ[\w-]+\.[\w-]+\.[\w-]*[\"']?")
_WORDS = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")
REPORT = (
    "a TDREPORT, which only the processor that made it can check",
    "Have a quoting enclave make a quote of it; `labkit quote inspect` shows it.",
)
_WHITE = b" \t\n\r"
_REPORT_DATA_SIZE = 64
_TDREPORT_SIZE, _SGX_REPORT_SIZE, _SNP_REPORT_SIZE = 1024, 432, 1184
_LOOKED_AT = 1 << 16
QUOTE_STARTS = tuple(struct.pack("<HHI", version, key, 0x81) for version in (4, 5) for key in (2, 3))
REPORT_STARTS = tuple(bytes((0x81, 0, version)) + bytes(13) for version in (0, 1))
"""How the MAC structure of a TDREPORT begins: its type, of version 1.0 and 1.5, and reserved bytes."""
TOKEN = ("a token (JWT) of an attestation service", "Its service's keys verify it; labkit verifies quotes.")
# go-tdx-guest's message: version 4 or 5, key type, TEE type 0x81; or the same as text.
_PROTOBUF = rb"\x0a.\x08[\x04\x05]\x10[\x02\x03]\x18\x81\x01|\s*header:? *\{\s+version: *\d"
_COLLATERAL = "`labkit quote verify` takes such files with --collateral-dir."
_PATTERNS = (
    (rb"\s*-----BEGIN (?:X509 )?CRL-----", "a list of revoked certificates (CRL)", _COLLATERAL),
    (
        rb"\x30[\x81\x82].{1,2}\x30[\x81\x82].{1,2}\x02\x01\x01\x30",
        "a list of revoked certificates (CRL)",
        _COLLATERAL,
    ),
    (rb"\s*-----BEGIN (?:TRUSTED )?CERTIFICATE-----", "a certificate", _COLLATERAL),
    (rb"\s*-----BEGIN (?:[A-Z]{2,9} )?PUBLIC KEY-----", "a public key", ""),
    (
        rb"\s*-----BEGIN (?:[A-Z]{2,9} )?PRIVATE KEY-----",
        "a private key",
        "Keep it to yourself: no quote holds one.",
    ),
    (
        rb"[\x04\x05]\0[\x02\x03]\0(?:\xc2\x81|\xef\xbf\xbd)",
        "what is left of a quote that a program took for text",
        "Copy it again as binary data, or as base64.",
    ),
    (
        rb"(?:---\s+)?(?:version: ?\d\s+)?events:\s+- EventNum: ?\d",
        "the output of tpm2_eventlog",
        "Give the file that it read: binary_bios_measurements of the TPM, or the CCEL table's data.",
    ),
    (rb"\xffTCG", "a TPM's quote", ""),
    (rb"HCLA", "the report of Azure's paravisor", "Have Azure's service make a quote of the TDREPORT in it."),
    (
        _PROTOBUF,
        "go-tdx-guest's message of a quote (protobuf)",
        "Take `attest -outform bin`.",
    ),
    (
        rb"\x84[\x43\x44]\xa1\x01|\xd2\x84[\x43\x44]|\xd9\x01\x8f",
        "a signed CBOR document, as AWS Nitro and Arm CCA have",
        "",
    ),
    (rb"(?i)\s*<(?:html|!doctype|\?xml)", "a page of a web server", ""),
    (rb".{257}ustar", "a tar archive", _UNPACK),
    (rb"PK\x03\x04", "a ZIP archive", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "a file compressed with zstd", _UNPACK),
    (rb"\xfd7zXZ\x00", "a file compressed with xz", _UNPACK),
    (rb"BZh[1-9]", "a file compressed with bzip2", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (rb"\x1f\x8b", "a file compressed with gzip", _UNPACK),
    (
        rb"CCEL.{4}[\x01\x02]",
        "the ACPI table CCEL",
        "Read its data: /sys/firmware/acpi/tables/data/CCEL.",
    ),
    (
        rb"TPM2.{4}[\x01-\x07]",
        "the ACPI table TPM2",
        "Read its log: /sys/kernel/security/tpm0/binary_bios_measurements.",
    ),
    (
        rb"\d{1,2} [0-9a-f]{40} ima|\x0a\0\0\0.{20}[\x03-\x0a]\0\0\0ima",
        "IMA's list",
        "Take the firmware's log: the CCEL table's data.",
    ),
)


def named(data: bytes) -> tuple[str, str] | None:
    """What the bytes are, where they are known for something, and what to do; empty for nothing special."""
    if not data.strip(b"\0\xff \t\r\n"):
        return "an area without any entry" if data.strip() else "an empty file", ""
    if td_report(data) is not None:
        return REPORT
    if data[32:48] == b"Spec ID Event03\0":
        return "an event log", "Use `labkit eventlog`."
    if len(data) == _SNP_REPORT_SIZE and data[:4] in (b"\2\0\0\0", b"\3\0\0\0", b"\5\0\0\0"):
        return "an attestation report of AMD SEV-SNP", ""
    if len(data) == _SGX_REPORT_SIZE:
        return "a report of an SGX enclave", ""
    if _JWT.fullmatch(data[:_LOOKED_AT].translate(None, _WHITE)):
        return TOKEN
    for pattern, name, remedy in _PATTERNS:
        if re.match(pattern, data[:_LOOKED_AT], re.DOTALL):
            return name, remedy
    return ("text", "") if _WORDS.fullmatch(data[:_LOOKED_AT]) else None


def td_report(data: bytes) -> bytes | None:
    """The TDREPORT that the bytes are: alone, with zeros behind it, or behind the report data.

    The last is the buffer of the driver's TDX_CMD_GET_REPORT0.
    """
    if data[:1] == b"\x81" and len(data) >= _TDREPORT_SIZE and not data[_TDREPORT_SIZE:].strip(b"\0"):
        return data[:_TDREPORT_SIZE]
    behind = data[_REPORT_DATA_SIZE:]
    return behind if len(behind) == _TDREPORT_SIZE and behind.startswith(REPORT_STARTS) else None


def sgx_quote(data: bytes) -> tuple[str, str] | None:
    """Quotes with Intel's header: version, key type, TEE; version 5 has the type of its body too."""
    if len(data) < 54:
        return None
    version, key_type, tee = struct.unpack_from("<HHI", data)
    if version in (1, 2) and key_type in (0, 1):
        return f"an SGX quote of version {version} (EPID)", ""
    (body,) = struct.unpack_from("<H", data, 48)
    of_sgx = tee == 0 or (version == 5 and tee == 0x81 and body == 1)
    if version in (3, 4, 5) and key_type in (2, 3) and of_sgx:
        return f"an SGX quote of version {version}", ""
    return None
