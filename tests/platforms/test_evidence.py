"""Evidence from real boots of the emulated platform, and the reader of hardware's.

The five ways in which it must be rejected are in ``tests/cli/test_attest.py``, as a person types them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.attest import (
    LabAuthority,
    Policy,
    appraise,
    make_tdreport,
    parse_collateral,
    parse_quote,
    parse_tdreport,
    verify_quote,
)
from labkit.attest.reasons import Refusal
from labkit.console import CommandResult
from labkit.errors import MissingComponent, UsageError, VmError
from labkit.measure import PageOrder, rtmrs
from labkit.platforms import Attestation, BootRequest, TdvmPlatform, choose_platform, fresh_nonce
from labkit.platforms.attestation import attest_evidence, attest_tdvm, emulated_policy
from labkit.platforms.evidence import Quoting, load_evidence, report_data_of
from labkit.platforms.tsm import hardware_evidence, read_tsm, run_here
from labkit.settings import Settings, Trust
from tests.measure.logs import ccel

NOW = 1_760_000_000
EXPECTED = BootRequest(memory=256)
NONCE = bytes(range(64))


@pytest.fixture(scope="module")
def platform(vm_settings: Settings) -> TdvmPlatform:
    return choose_platform("emulated", vm_settings)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LabAuthority:
    return LabAuthority.open(tmp_path_factory.mktemp("state"), NOW)


@pytest.fixture(scope="module")
def honest(platform: TdvmPlatform, authority: LabAuthority) -> Attestation:
    policy = emulated_policy(platform.predict(EXPECTED), NONCE)
    with platform.boot(EXPECTED) as tdvm:
        return attest_tdvm(tdvm, policy, NONCE, Quoting(authority, NOW))


@pytest.mark.vm
def test_an_honest_boot_is_accepted_and_every_face_of_it_is_stamped(honest: Attestation) -> None:
    assert honest.accepted
    assert honest.appraisal.unchecked == ()
    assert honest.trust is Trust.NONE
    assert honest.verdict.lab
    assert str(honest).startswith("[EMULATED] platform emulated, trust none: it was asked for")
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
    collateral = honest.evidence.collateral
    assert collateral is not None
    verdict = verify_quote(honest.evidence.quote, collateral, NOW)
    assert verdict.reason is Refusal.LAB_QUOTE


@pytest.mark.vm
def test_a_replayed_nonce_is_rejected_for_its_report_data_alone(
    honest: Attestation, platform: TdvmPlatform
) -> None:
    policy = emulated_policy(platform.predict(EXPECTED), fresh_nonce())
    again = appraise(policy, honest.verdict, honest.evidence.event_log)
    assert [finding.register for finding in again.findings] == ["REPORTDATA"]


@pytest.mark.vm
def test_evidence_that_was_kept_is_judged_again_under_our_root_alone(
    honest: Attestation, authority: LabAuthority, platform: TdvmPlatform, tmp_path: Path
) -> None:
    policy = emulated_policy(platform.predict(EXPECTED), NONCE)

    def judged(folder: Path, root: bytes) -> Attestation:
        return attest_evidence(load_evidence(folder, root), policy, NOW, folder, "emulated", "")

    assert judged(honest.run_dir, authority.root_der).accepted
    foreign = LabAuthority.create(NOW)
    assert judged(honest.run_dir, foreign.root_der).verdict.reason is Refusal.WRONG_ROOT
    kept = honest.evidence.keep(tmp_path, NOW)
    (kept / "root.der").write_bytes(foreign.root_der)
    assert judged(kept, authority.root_der).accepted
    with pytest.raises(UsageError, match="no evidence in"):
        load_evidence(tmp_path, authority.root_der)


@pytest.mark.vm
@pytest.mark.parametrize(
    ("memory", "append", "rebuilt"),
    [(640, "size=640  two  spaces ", True), (3072, 'vga=ask quoted="a b"', False)],
)
def test_prediction_is_replay_is_the_tpm(
    memory: int, append: str, rebuilt: bool, platform: TdvmPlatform, tmp_path: Path
) -> None:
    """From 2.75 GiB on QEMU splits the memory; another build of a kernel has another name in its header.

    For a boot without options the honest attestation says the same.
    """
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
def test_a_guest_without_configfs_tsm_is_honestly_refused(platform: TdvmPlatform) -> None:
    with platform.boot(EXPECTED) as tdvm, pytest.raises(MissingComponent, match="no configfs-tsm"):
        read_tsm(tdvm.run, NONCE)


def test_a_machine_that_is_no_td_is_honestly_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingComponent, match=r"no configfs-tsm|no other machine"):
        read_tsm(run_here, NONCE, reports=str(tmp_path / "none"))


# An imitation of configfs-tsm, as functions of the shell in the guest: what the kernel does when a report is
# made and written to. The quote is one that this test made.
_IMITATION = """\
mkdir() {
    command mkdir -p "$1" && echo tdx_guest > "$1/provider" && echo 4 > "$1/generation" || return 1
    mkfifo "$1/inblob" "$1/outblob"
    { cat "$1/inblob" > /tmp/asked; echo 5 > "$1/generation"; cat /tmp/quote > "$1/outblob"; } &
}
rmdir() { rm -r "$1"; }
command mkdir -p /tmp/tsm
"""


@pytest.mark.vm
def test_hardware_evidence_is_read_through_the_console_and_a_lab_quote_in_it_stays_one(
    platform: TdvmPlatform, authority: LabAuthority
) -> None:
    """A real guest and a real console, but no TDX: kernel interface, quote and CCEL are imitations."""
    events = ccel(b"\xff" * 40)
    registers = rtmrs(events)
    report = make_tdreport(mrtd=bytes(48), rtmr=registers, report_data=NONCE, td_attributes=1 << 28)
    quote = authority.quote(report) + bytes(70)
    with platform.boot(EXPECTED) as tdvm:
        for name, data in (("quote", quote), ("ccel", events.encode())):
            encoded = base64.encodebytes(data).decode()
            assert tdvm.run(f"base64 -d > /tmp/{name} <<END\n{encoded}END").exit_status == 0
        assert tdvm.run(_IMITATION).exit_status == 0
        evidence = hardware_evidence(
            tdvm.run, NONCE, authority.collateral(NOW), reports="/tmp/tsm", ccel="/tmp/ccel"
        )
        asked = tdvm.run("od -A n -v -t x1 /tmp/asked; ls /tmp/tsm").output
    assert "".join(asked.split()) == NONCE.hex()
    assert (evidence.quote, evidence.log) == (quote, events.encode())
    assert (evidence.trust, evidence.root) == (Trust.NONE, None)
    assert rtmrs(events) == parse_quote(evidence.quote).rtmr
    assert "quote.EMULATED.bin" in evidence.files()
    outcome = attest_evidence(
        evidence, Policy(report_data=NONCE, allow_lab=True), NOW, Path(), "emulated", "the imitation"
    )
    assert outcome.verdict.reason is Refusal.LAB_QUOTE
    assert not outcome.accepted


@pytest.mark.data
def test_a_quote_of_real_hardware_is_judged_under_intels_root(shared_data: Path) -> None:
    """Real quote, CCEL and collateral; only the kernel that hands them out is an imitation."""
    folder = shared_data / "vectors"
    quote = (folder / "phala-b0c06f/quote.bin").read_bytes()
    collateral = parse_collateral((folder / "phala-b0c06f/collateral.json").read_bytes())
    nonce = parse_quote(quote).report_data
    output = f"tdx_guest 1\n{base64.b64encode(quote).decode()}\nccel\n"
    evidence = hardware_evidence(answering(output), nonce, collateral)
    assert (evidence.trust, evidence.root, evidence.event_log) == (Trust.HARDWARE, None, None)
    assert set(evidence.files()) == {"quote.bin", "collateral.json"}
    outcome = attest_evidence(
        evidence, Policy(report_data=nonce), 1_751_624_191, Path(), "hardware", "imitated kernel"
    )
    assert (outcome.accepted, outcome.trust) == (True, Trust.HARDWARE)
    assert "event log (none given)" in outcome.appraisal.unchecked
    late = attest_evidence(evidence, Policy(report_data=nonce), NOW, Path(), "hardware", "imitated kernel")
    assert (late.accepted, late.trust, late.to_dict()["stamp"]) == (False, Trust.NONE, "")
    assert "EMULATED" not in str(late)
    assert "EMULATED" not in late._repr_html_()
    bare = replace(evidence, collateral=None)
    with pytest.raises(UsageError, match="FMSPC B0C06F000000"):
        bare.verify(NOW)


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
        ("", 68, MissingComponent, "no other machine can verify"),
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
