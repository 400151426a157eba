from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import UsageError
from labkit.measure import BootInputs, PageOrder, mrtd, parse_log, predict, read_tdvf, rtmrs
from labkit.measure.hob import td_hob_list
from labkit.measure.kernel_image import authenticode, patch_header
from labkit.measure.ovmf import OvmfCode
from labkit.measure.prediction import Part
from labkit.measure.rules import (
    ACPI_BLOBS,
    InitrdWord,
    KernelHeader,
    RegisterKind,
    Rules,
    SecureBoot,
    Separators,
)
from labkit.measure.smbios import SmbiosRules
from tests.measure.firmware import BFV, CFV, TD_HOB, TEMP_MEM, image
from tests.measure.kernels import kernel

MIB = 1 << 20
# The scratch sections of OVMF, to which the recorded digests of TD HOB lists belong.
OVMF_LIKE = read_tdvf(
    image(
        (
            (0x1000, 0x3000, 0xFFFFD000, 0x3000, BFV, 1),
            (0, 0x1000, 0xFFFFC000, 0x1000, CFV, 0),
            (0, 0, 0x810000, 0x10000, TEMP_MEM, 0),
            (0, 0, 0x80B000, 0x2000, TEMP_MEM, 0),
            (0, 0, 0x809000, 0x2000, TD_HOB, 0),
            (0, 0, 0x800000, 0x6000, TEMP_MEM, 0),
        )
    )
)
INPUTS = BootInputs(
    firmware=OVMF_LIKE, memory=512 * MIB, kernel=kernel(), initrd=b"initrd file", command_line="quiet"
)


def _sha(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()


def _digest(part: Part, inputs: BootInputs = INPUTS, rules: Rules | None = None) -> bytes | None:
    return next(event.digest for event in predict(inputs, rules).events if event.part is part)


@pytest.mark.parametrize(
    ("gib", "digest"),
    [
        (
            2,
            "0b8772e5b0b41b83e6044a68397e02f49fb47066b4fbe4917ea2c45c64f323fdacbb37948f821ebaf8bc9c938ba8a749",
        ),
        (
            8,
            "2e070cda358b5aa00f27cca25c47381bb564f4be3a84d059805a73cbbde764ed8341f7e09915b5e7b370f9c08a743fbd",
        ),
        (
            64,
            "8ae1e425351df7992c444586eff99d35af3b779aa2b0e981cb4b73bc5b279f2ade19b6a62a203fc3c3bbdaae80af596d",
        ),
    ],
)
def test_the_td_hob_list_is_that_of_real_machines(gib: int, digest: str) -> None:
    assert hashlib.sha384(td_hob_list(OVMF_LIKE, gib << 30)).hexdigest() == digest


def test_too_little_memory_for_the_firmware_is_refused() -> None:
    with pytest.raises(UsageError, match="do not hold"):
        td_hob_list(OVMF_LIKE, 8 * MIB)
    with pytest.raises(UsageError, match="more memory than"):
        td_hob_list(OVMF_LIKE, 1 << 60)


@pytest.mark.parametrize(
    ("part", "prefix"),
    [
        (Part.SECURE_BOOT, "9dc3a1f8"),
        (Part.PK, "6f2e3cbc"),
        (Part.KEK, "d607c0ef"),
        (Part.DB, "08a74f89"),
        (Part.DBX, "18cc6e01"),
        (Part.SEPARATOR, "394341b7"),
        (Part.BOOT_ORDER, "1dd6f7b4"),
        (Part.BOOT_OPTION, "23ada07f"),
        (Part.CALLING, "77a0dab2"),
        (Part.EXIT_CALLED, "214b0bef"),
        (Part.EXIT_DONE, "0a2e01c8"),
    ],
)
def test_fixed_events_are_those_of_real_logs(part: Part, prefix: str) -> None:
    digest = _digest(part)
    assert digest is not None
    assert digest.hex().startswith(prefix)


def test_kernel_command_line_and_initrd_follow_their_rules() -> None:
    assert _digest(Part.KERNEL) == authenticode(patch_header(kernel(), 512 * MIB, 11, "quiet"))
    raw = Rules(kernel_header=KernelHeader.RAW)
    assert _digest(Part.KERNEL, rules=raw) == authenticode(kernel())
    assert _digest(Part.COMMAND_LINE) == _sha("quiet initrd=initrd\0".encode("utf-16-le"))
    begin = Rules(initrd_word=InitrdWord.AT_BEGIN)
    assert _digest(Part.COMMAND_LINE, rules=begin) == _sha("initrd=initrd quiet\0".encode("utf-16-le"))
    assert _digest(Part.INITRD) == _sha(b"initrd file")
    alone = replace(INPUTS, initrd=b"")
    assert _digest(Part.COMMAND_LINE, alone) == _sha("quiet\0".encode("utf-16-le"))
    assert Part.INITRD not in {event.part for event in predict(alone).events}


def test_the_variable_store_is_the_firmwares_own_unless_given() -> None:
    assert _digest(Part.CFV) == _sha(OVMF_LIKE.image[:0x1000])
    assert _digest(Part.CFV, replace(INPUTS, variables=b"other")) == _sha(b"other")


def test_each_input_moves_its_registers_and_no_other() -> None:
    inputs = replace(INPUTS, acpi=(b"a" * 48, b"b" * 48, b"c" * 48))
    before = predict(inputs).rtmrs
    assert None not in before

    def moved(**changes: object) -> list[int]:
        after = predict(replace(inputs, **changes)).rtmrs  # type: ignore[arg-type]
        return [number for number in range(4) if after[number] != before[number]]

    assert moved(command_line="quiet ") == [2]
    assert moved(initrd=b"other initrd") == [1, 2]
    assert moved(initrd=b"other file ") == [2]
    assert moved(kernel=kernel(9)) == [1]
    assert moved(memory=1024 * MIB) == [0, 1]
    assert moved(variables=b"x") == [0]
    assert moved(acpi=(b"b" * 48, b"a" * 48, b"c" * 48)) == [0]
    assert moved(rtmr3=(("app", b"1"),)) == [3]


def test_from_2_75_gib_on_memory_moves_only_the_hob() -> None:
    inputs = replace(INPUTS, memory=4096 * MIB, acpi=(bytes(48),) * 3)
    before, after = predict(inputs).rtmrs, predict(replace(inputs, memory=8192 * MIB)).rtmrs
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, True, True]


def test_missing_inputs_leave_their_register_open_and_the_others_known() -> None:
    prediction = predict(replace(INPUTS, kernel=None))
    assert prediction.rtmr(0) is None
    assert prediction.rtmr(1) is None
    assert prediction.rtmr(2) is not None
    assert prediction.rtmr(3) == bytes(48)
    assert predict(BootInputs()).to_dict()["rtmr"] == [None, None, None, "00" * 48]


def test_the_separator_rule_moves_one_event() -> None:
    tables = {
        rule: [
            event.register
            for event in predict(INPUTS, Rules(separators=rule)).events
            if event.part is Part.SEPARATOR
        ]
        for rule in Separators
    }
    assert tables == {Separators.TWO_IN_RTMR0: [0, 0], Separators.ONE_IN_EACH: [0, 1]}


def test_the_emulated_platform_needs_no_hidden_input() -> None:
    modern = OvmfCode(acpi=True, untouched_kernel=True)
    old, new = Rules.emulated(), Rules.emulated(modern, (10, 0))
    assert None not in predict(INPUTS, old).rtmrs
    assert (old.secure_boot, new.secure_boot) == (SecureBoot.OFF, SecureBoot.ABSENT)
    assert (old.kernel_header, new.kernel_header) == (KernelHeader.PATCHED, KernelHeader.RAW)
    assert Rules.emulated(modern).kernel_header is KernelHeader.PATCHED
    assert Rules.emulated(qemu=(10, 0)).kernel_header is KernelHeader.PATCHED
    assert predict(INPUTS, new).rtmr(0) is None
    assert None not in predict(replace(INPUTS, acpi=(bytes(48),) * len(ACPI_BLOBS)), new).rtmrs
    separators = [e.register for e in predict(INPUTS, old).events if e.part is Part.SEPARATOR]
    assert separators == [0, 0, 1, 1, 1, 1, 1]


def test_each_mark_of_the_firmwares_code_is_a_rule() -> None:
    assert Rules.emulated(OvmfCode(word_first=True)).initrd_word is InitrdWord.AT_BEGIN
    assert Rules.emulated().initrd_word is InitrdWord.AT_END
    assert Rules.emulated(OvmfCode(acpi=True)).acpi_events == len(ACPI_BLOBS)
    assert Rules.emulated(OvmfCode(smbios=SmbiosRules(b"", ()))).smbios_event
    assert not Rules.emulated().smbios_event
    # Whether a build has Secure Boot says nothing of its age.
    for untouched in (True, False):
        for built, state in ((True, SecureBoot.OFF), (False, SecureBoot.ABSENT)):
            code = OvmfCode(untouched_kernel=untouched, secure_boot=built)
            assert Rules.emulated(code).secure_boot is state


def test_smbios_tables_are_measured_behind_the_kernel_by_those_that_do() -> None:
    rules = Rules(smbios_event=True)
    events = predict(replace(INPUTS, smbios=_sha(b"tables")), rules).events
    parts = [event.part for event in events]
    at = parts.index(Part.SMBIOS)
    assert (parts[at - 1], parts[at + 1]) == (Part.KERNEL, Part.BOOT_ORDER)
    assert (events[at].register, events[at].digest) == (0, _sha(b"tables"))
    assert predict(INPUTS, rules).rtmr(0) is None
    assert Part.SMBIOS not in [event.part for event in predict(INPUTS).events]


def test_application_events_are_those_of_dstack() -> None:
    prediction = predict(replace(INPUTS, rtmr3=(("app-id", b"\1\2"),)))
    digest = _sha(b"\x01\x00\x00\x08:app-id:\x01\x02")
    assert prediction.rtmr(3) == _sha(bytes(48) + digest)


def test_mrtd_is_predicted_for_both_orders() -> None:
    prediction = predict(INPUTS)
    assert prediction.mrtd(PageOrder.TWO_PASS) == mrtd(OVMF_LIKE, PageOrder.TWO_PASS)
    assert predict(BootInputs()).mrtd(PageOrder.TWO_PASS) is None


def test_files_are_not_poured_into_what_shows_their_names() -> None:
    files = dict.fromkeys(("kernel", "initrd", "variables", "loader"), b"!")
    shown = repr(BootInputs(**files, boot_options=(b"option!",), command_line="line!"))  # type: ignore[arg-type]
    assert shown.count("!") == 1


def test_it_shows_itself() -> None:
    prediction = predict(INPUTS)
    assert "kernel command line" in str(prediction)
    assert "not predictable" in prediction._repr_html_()
    assert repr(prediction) == "Prediction(td, 17 of 20 events)"
    assert "quiet" in repr(INPUTS)
    assert len(repr(INPUTS)) < 1200
    assert json.loads(json.dumps(prediction.to_dict()))["events"][0]["register"] == "RTMR0"


@pytest.mark.data
def test_a_real_dstack_boot_is_predicted_as_far_as_its_inputs_allow(shared_data: Path) -> None:
    document = json.loads((shared_data / "vectors/dstack-quote-report/quote-report.json").read_bytes())
    events = json.loads(document["event_log"])
    application = tuple(
        (event["event"], bytes.fromhex(event["event_payload"])) for event in events if event["imr"] == 3
    )
    memory = json.loads(document["vm_config"])["memory_size"]
    prediction = predict(BootInputs(firmware=OVMF_LIKE, memory=memory, rtmr3=application))
    log = parse_log(document["event_log"].encode())
    assert prediction.rtmr(3) == rtmrs(log)[3]
    assert prediction.events[0].digest == log.events[0].digest()
    assert rtmrs(log)[0].hex().startswith("2e3843265f8ecdd4e2282694747f6f2f")
    assert rtmrs(log)[1].hex().startswith("a1b79d76021970f57c45c4a7c395f780")
    assert rtmrs(log)[2].hex().startswith("1e31b59d605df7ee8160cf7966be9baf")
    assert rtmrs(log)[3].hex().startswith("0f787c3877f3e95095d5a4d13dd0fe02")


def test_a_fold_ends_in_the_register_or_where_nothing_can_be_predicted() -> None:
    prediction = predict(replace(INPUTS, acpi=(bytes(48),) * len(ACPI_BLOBS)))
    for number, value in enumerate(prediction.rtmrs):
        assert value is not None
        lines = prediction.fold(number).text.splitlines()[2:]
        assert len(lines) == sum(event.register == number for event in prediction.events)
        assert not lines or lines[-1].endswith(f"{value.hex()[:16]}…")
    assert len(predict(BootInputs()).fold(0).text.splitlines()) == 2


def test_a_vtpms_log_has_each_event_where_its_register_stands() -> None:
    """One separator for each PCR: 7 first, then 1, both of them RTMR0, and 2 to 6, which are RTMR1."""
    events = predict(INPUTS, Rules(platform=RegisterKind.VTPM)).events
    assert " ".join(f"{event.register}{event.part.name}" for event in events) == (
        "0SECURE_BOOT 0PK 0KEK 0DB 0DBX 0SEPARATOR 0ACPI 0ACPI 0ACPI 1KERNEL 0BOOT_ORDER 0BOOT_OPTION "
        "1CALLING 0SEPARATOR 1SEPARATOR 1SEPARATOR 1SEPARATOR 1SEPARATOR 1SEPARATOR "
        "2COMMAND_LINE 2INITRD 1EXIT_CALLED 1EXIT_DONE"
    )
