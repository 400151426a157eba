"""Evidence from real boots of the emulated platform, and five ways in which it must be rejected."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.attest import LabAuthority, Reason, appraise, parse_quote, parse_tdreport, verify_quote
from labkit.errors import MissingComponent, UsageError, VmError
from labkit.measure import KernelHeader, PageOrder
from labkit.platforms import (
    Attestation,
    BootRequest,
    EmulatedPlatform,
    attest_tdvm,
    emulated_policy,
    fresh_nonce,
    read_tsm,
)
from labkit.platforms._evidence import report_data_of
from labkit.platforms._rules import rules_of
from labkit.settings import Settings, Trust
from labkit.vm import CommandResult

NOW = 1_760_000_000
EXPECTED = BootRequest(memory=256)
NONCE = bytes(range(64))


@pytest.fixture(scope="module")
def platform(vm_settings: Settings) -> EmulatedPlatform:
    return EmulatedPlatform(vm_settings, "a test asked for it")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LabAuthority:
    return LabAuthority.open(tmp_path_factory.mktemp("state"), NOW)


Attest = Callable[..., Attestation]


@pytest.fixture(scope="module")
def attest(platform: EmulatedPlatform, authority: LabAuthority) -> Attest:
    def run(*, debug: bool = False, keep_in: Path | None = None, **changes: object) -> Attestation:
        policy = emulated_policy(platform.predict(EXPECTED), NONCE)
        request = replace(EXPECTED, **changes)  # type: ignore[arg-type]
        others = {"the request": platform.predict(request).inputs}
        with platform.boot(request, keep_in=keep_in) as tdvm:
            return attest_tdvm(tdvm, policy, NONCE, authority, NOW, debug=debug, others=others)

    return run


@pytest.fixture(scope="module")
def honest(attest: Attest, tmp_path_factory: pytest.TempPathFactory) -> Attestation:
    return attest(keep_in=tmp_path_factory.mktemp("kept"))


@pytest.mark.vm
def test_an_honest_boot_is_accepted_and_every_face_of_it_is_stamped(honest: Attestation) -> None:
    assert honest.accepted
    assert honest.appraisal.unchecked == ()
    assert honest.trust is Trust.NONE
    assert honest.verdict.lab
    assert str(honest).startswith("[EMULATED] platform emulated, trust none: a test asked for it")
    assert "EMULATED" in honest._repr_html_()
    document = honest.to_dict()
    assert (document["verdict"], document["trust"], document["stamp"]) == ("ACCEPTED", "none", "EMULATED")
    assert document["quote"]["report_data"] == NONCE.hex()


@pytest.mark.vm
def test_the_evidence_is_the_boots_own(honest: Attestation) -> None:
    evidence = honest.evidence
    assert evidence.report is not None
    report = parse_tdreport(evidence.report.encode())
    quote = parse_quote(evidence.quote)
    assert (quote.mrtd, quote.rtmr, quote.report_data) == (report.mrtd, report.rtmr, NONCE)
    assert quote.user_data == b"LAB: NO TDX HARDWARE"
    kept = {path.name: path.read_bytes() for path in honest.run_dir.iterdir() if path.is_file()}
    assert evidence.files().items() <= kept.items()
    assert {"quote.EMULATED.bin", "tdreport.EMULATED.bin", "eventlog.EMULATED.bin"} <= kept.keys()


@pytest.mark.vm
def test_the_quote_is_never_intels(honest: Attestation) -> None:
    verdict = verify_quote(honest.evidence.quote, honest.evidence.collateral, NOW)
    assert verdict.reason is Reason.LAB_QUOTE


@pytest.mark.vm
def test_a_replayed_nonce_is_rejected_for_its_report_data_alone(
    honest: Attestation, platform: EmulatedPlatform
) -> None:
    policy = emulated_policy(platform.predict(EXPECTED), fresh_nonce())
    again = appraise(policy, honest.verdict, honest.evidence.event_log)
    assert [finding.register for finding in again.findings] == ["REPORTDATA"]


@pytest.mark.vm
def test_a_debug_td_is_rejected(attest: Attest) -> None:
    outcome = attest(debug=True)
    assert outcome.verdict.reason is Reason.DEBUG_TD
    assert outcome.registers == ("quote", "ATTRIBUTES")


@pytest.mark.vm
def test_another_command_line_moves_rtmr2(attest: Attest) -> None:
    outcome = attest(append="one=word", cold=True)
    assert outcome.registers == ("RTMR2",)
    finding = outcome.appraisal.findings[0]
    assert finding.event == "kernel command line"
    assert "the request" in finding.why


@pytest.mark.vm
def test_another_initrd_moves_rtmr2_and_its_size_rtmr1_where_qemu_writes_it_into_the_kernel(
    attest: Attest, platform: EmulatedPlatform, tmp_path: Path
) -> None:
    original = platform.predict(EXPECTED).inputs.initrd
    assert original is not None
    changed = tmp_path / "initrd"
    changed.write_bytes(original.replace(b"hostname tdvm", b"hostname evil") + bytes(512))
    outcome = attest(initrd=changed, cold=True)
    events = [finding.event for finding in outcome.appraisal.findings]
    if platform.predict(EXPECTED).rules.kernel_header is KernelHeader.PATCHED:
        assert (outcome.registers, events) == (("RTMR1", "RTMR2"), ["kernel", "initrd"])
    else:
        assert (outcome.registers, events) == (("RTMR2",), ["initrd"])


@pytest.mark.vm
def test_one_byte_of_the_firmware_moves_mrtd(
    attest: Attest, platform: EmulatedPlatform, tmp_path: Path
) -> None:
    image = bytearray(platform.toolchain().firmware.image.read_bytes())
    padding = max(re.finditer(rb"\xff+", image[0x20000:]), key=lambda run: len(run[0]))
    image[0x20000 + (padding.start() + padding.end()) // 2] = 0xFE
    changed = tmp_path / "OVMF.fd"
    changed.write_bytes(image)
    outcome = attest(firmware=changed, cold=True)
    assert outcome.registers == ("MRTD",)
    assert rules_of(bytes(image), platform.toolchain().qemu) == platform.predict(EXPECTED).rules


@pytest.mark.vm
@pytest.mark.parametrize(
    ("memory", "append", "rebuilt"),
    [(256, "", False), (640, "size=640  two  spaces ", True), (3072, 'vga=ask quoted="a b"', False)],
)
def test_prediction_is_replay_is_the_tpm(
    memory: int, append: str, rebuilt: bool, platform: EmulatedPlatform, tmp_path: Path
) -> None:
    """From 2.75 GiB on QEMU splits the memory; another build of a kernel has another name in its header."""
    kernel = None
    if rebuilt:
        image = bytearray(platform.toolchain().kernel.read_bytes())
        at = image.index(b"(", 0x200 + int.from_bytes(image[0x20E:0x210], "little"))
        image[at + 1] ^= 1
        kernel = tmp_path / "vmlinuz"
        kernel.write_bytes(image)
    request = BootRequest(memory=memory, append=append, kernel=kernel, cold=True)
    try:
        expected = platform.predict(request)
    except UsageError as error:
        pytest.skip(error.message)
    with platform.boot(request) as tdvm:
        measured = tdvm.measurements
    assert measured.replay_matches
    assert measured.rtmr == expected.rtmrs
    assert measured.registers()["MRTD"] == expected.mrtd(PageOrder.SINGLE_PASS)


@pytest.mark.vm
def test_a_guest_without_configfs_tsm_is_honestly_refused(platform: EmulatedPlatform) -> None:
    with platform.boot(EXPECTED) as tdvm, pytest.raises(MissingComponent, match="no configfs-tsm"):
        read_tsm(tdvm.run, NONCE)


def answering(output: str, status: int = 0) -> Callable[[str], CommandResult]:
    def run(command: str) -> CommandResult:
        return CommandResult(command, status, output.encode(), 0.0)

    return run


def test_the_guests_report_data_is_taken_as_it_is() -> None:
    assert report_data_of(answering(" 01 02\n" + " ff" * 62), b"\1\2") == b"\1\2" + b"\xff" * 62


@pytest.mark.parametrize("output", ["", "zz" * 64, "00" * 63, "00" * 65, "\0" * 128])
def test_a_guest_that_does_not_make_report_data_is_an_error(output: str) -> None:
    with pytest.raises(VmError, match="did not make 64 bytes"):
        report_data_of(answering(output), b"")
    with pytest.raises(VmError, match="did not make 64 bytes"):
        report_data_of(answering("00" * 64, status=1), b"")


def test_a_nonce_that_does_not_fit_is_refused() -> None:
    for read in (report_data_of, read_tsm):
        with pytest.raises(UsageError, match="65 bytes do not fit"):
            read(answering(""), bytes(65))


def test_a_guest_with_configfs_tsm_is_read() -> None:
    report = read_tsm(answering("tdx_guest 1\nAAEC\nccel\nQ0NF\nTA==\n"), NONCE)
    assert (report.quote, report.provider, report.ccel) == (b"\0\1\2", "tdx_guest", b"CCEL")
    assert read_tsm(answering("tdx_guest 1\nAAEC\nccel\n"), NONCE).ccel == b""


@pytest.mark.parametrize(
    ("output", "status", "error", "text"),
    [
        ("", 69, MissingComponent, "no configfs-tsm"),
        ("", 70, VmError, "gave no quote"),
        ("sev_guest 1\nAAEC\nccel\n", 0, MissingComponent, "not from TDX"),
        ("tdx_guest 2\nAAEC\nccel\n", 0, VmError, "at the same time"),
        ("tdx_guest 1\n!\nccel\n", 0, VmError, "quote is damaged"),
        ("tdx_guest 1\n\nccel\n", 0, VmError, "quote is damaged"),
        ("tdx_guest 1\nAAEC\nccel\n!", 0, VmError, "CCEL is damaged"),
        ("<b>\x1b[2J", 0, VmError, "gave no quote"),
    ],
)
def test_what_configfs_tsm_cannot_give_is_said(
    output: str, status: int, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        read_tsm(answering(output, status), NONCE)
