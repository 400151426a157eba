"""One function for each parser: any bytes are refused with a reason, or read, shown and written back."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress

from cryptography.hazmat.primitives.serialization import Encoding

from labkit.attest import LabAuthority, parse_collateral, parse_policy, parse_quote, parse_tdreport
from labkit.attest.chain import parse_chain
from labkit.errors import DataError, UsageError
from labkit.measure import PageOrder, mrtd, parse_log, read_tdvf
from labkit.measure.ccel import parse_ccel_table
from labkit.measure.kernel_image import authenticode, patch_header
from labkit.measure.replay import report_log
from tests.attest.conftest import NOW, report
from tests.measure.firmware import image
from tests.measure.kernels import kernel
from tests.measure.logs import ccel, tcg_log
from tests.measure.test_ccel import TABLE


def tdvf(data: bytes) -> None:
    with suppress(DataError):
        firmware = read_tdvf(data)
        assert firmware.image == data
        str(firmware)
        assert data[firmware.descriptor_offset :].startswith(firmware.descriptor())
        # Adding a gigabyte of empty pages is possible, but takes too long for a fuzzer.
        if sum(section.memory_size for section in firmware.sections if section.added) < 1 << 20:
            assert len(mrtd(firmware, PageOrder.SINGLE_PASS)) == 48


def log(data: bytes) -> None:
    with suppress(DataError):
        parsed = parse_log(data)
        assert data[:1] == b"[" or parsed.encode() == data
        shown = report_log(parsed)
        json.dumps(shown.to_dict())
        str(shown)
        shown._repr_html_()


def tdreport(data: bytes) -> None:
    """The bytes as they stand, and with their inner hashes made right, for no fuzzer finds those."""
    for candidate in (data, _with_right_hashes(data)):
        with suppress(DataError):
            parsed = parse_tdreport(candidate)
            assert parsed.encode() == candidate
            str(parsed)
            parsed._repr_html_()
            json.dumps(parsed.to_dict())


def _with_right_hashes(data: bytes) -> bytes:
    hashes = [hashlib.sha384(part).digest() for part in (data[256:495], data[512:1024])]
    return b"".join([data[:32], *hashes, data[128:]])


def quote(data: bytes) -> None:
    with suppress(DataError):
        parsed = parse_quote(data)
        assert parsed.encode() == data
        assert b"".join(field.value for field in parsed.fields()) == data
        str(parsed)
        json.dumps(parsed.to_dict())


def certificate(data: bytes) -> None:
    """The chain of a quote whose leaf is any bytes, in canonical PEM."""
    text = base64.b64encode(data)
    lines = b"".join(text[at : at + 64] + b"\n" for at in range(0, len(text), 64))
    pem = b"-----BEGIN CERTIFICATE-----\n" + lines + b"-----END CERTIFICATE-----\n"
    with suppress(DataError):
        chain = parse_chain(pem + _ISSUERS)
        assert chain.leaf == data
        assert all(name.isprintable() for name in chain.subjects)


def acpi(data: bytes) -> None:
    with suppress(DataError):
        assert parse_ccel_table(data).encode() == data


def collateral(data: bytes) -> None:
    with suppress(DataError):
        parsed = parse_collateral(data)
        repr(parsed)
        assert parsed.window


def policy(data: bytes) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    with suppress(DataError, UsageError):
        parse_policy(document, lambda name: image() if "fd" in str(name) else kernel())


def bzimage(data: bytes) -> None:
    with suppress(DataError):
        assert len(authenticode(data)) == 48
    with suppress(DataError):
        assert len(patch_header(data, 512 << 20, 5000, "vga=ask")) == len(data)


_AUTHORITY = LabAuthority.create(NOW)
_LEAF = _AUTHORITY.pck.certificate.public_bytes(Encoding.DER)
_ISSUERS = _AUTHORITY.quote(report())[-10_000:].partition(b"-----END CERTIFICATE-----\n")[2]
_JSON_LOG = [{"imr": 3, "event_type": 0x08000001, "digest": "11" * 48, "event": "app", "event_payload": "ff"}]
_POLICY = {
    "mrtd": ["11" * 48],
    "rtmr": [None, None, None, "00" * 48],
    "inputs": {
        "firmware": "fd",
        "memory_mib": 512,
        "kernel": "k",
        "initrd": "k",
        "command_line": "",
        "rules": {},
    },
}

TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "tdvf": (tdvf, [image()]),
    "log": (
        log,
        [ccel().encode(), ccel(b"\xff" * 40).encode(), tcg_log().encode(), json.dumps(_JSON_LOG).encode()],
    ),
    "tdreport": (tdreport, [report().encode()]),
    "quote": (quote, [_AUTHORITY.quote(report()), _AUTHORITY.quote(report(), 5) + bytes(8)]),
    "certificate": (certificate, [_LEAF]),
    "acpi": (acpi, [TABLE.encode()]),
    "collateral": (collateral, [_AUTHORITY.collateral(NOW).text.encode()]),
    "policy": (policy, [json.dumps(_POLICY).encode()]),
    "bzimage": (bzimage, [kernel()]),
}
