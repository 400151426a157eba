"""The verbs of the notebooks, a page long: each one names what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.learn.ask import Notebook
from labkit.learn.wait import waiting
from labkit.settings import Settings
from labkit.show.front_end import show_view
from labkit.show.recorded import record as record_value

# All other packages are imported by the verb that needs them: with all of them, the first cell of a notebook
# would stand still for seconds before it can show anything.
if TYPE_CHECKING:
    from labkit.asterinas.kept import GuestHere, ImageTable
    from labkit.asterinas.recorded import Recorded
    from labkit.asterinas.versions import ProfileTable
    from labkit.attest import Appraisal, Policy
    from labkit.container.engine import Engine
    from labkit.container.flow import RunResult
    from labkit.container.previewing import Preview
    from labkit.host import HostReport
    from labkit.lies.findings import Findings
    from labkit.measure import FirmwareMeasurement, LogReport
    from labkit.platforms import Attestation, BootRequest, Tdvm
    from labkit.platforms.many import Tdvms
    from labkit.platforms.measurements import Comparison
    from labkit.studies.results import Results
    from labkit.toolchain.toolchain import Inventory
    from labkit.virtio.devices import Device

_PREDICTIONS = Notebook()
_FIRST_STAGE = "firmware"


def predict(
    id: str,  # noqa: A002
    question: str,
    choices: Sequence[object] = (),
    *,
    order: Sequence[object] = (),
    tolerance: float | None = None,
    unit: str = "",
    answer: object | None = None,
) -> None:
    """Ask for a prediction, and record it: in the notebook and in the learner's folder.

    One of ``choices`` is picked; ``order`` is put in order; with a ``tolerance`` it is a number, in ``unit``;
    otherwise it is free text. ``answer`` answers in the cell itself, where a front end has no forms.

    Raises:
        UsageError: ``id`` is no ``chapter.word``, or ``answer`` does not fit.
    """
    asked = _PREDICTIONS.question(id, question, choices, order, tolerance, unit)
    if answer is None:
        _PREDICTIONS.ask(asked)
    else:
        _PREDICTIONS.pose(asked)
        show_view(_PREDICTIONS.record(asked, answer))


def outcome(id: str, found: object, why: str = "") -> None:  # noqa: A002
    """Show what was predicted under ``id`` beside what was ``found``, and why it is so.

    Raises:
        UsageError: nothing was asked under this id.
    """
    show_view(_PREDICTIONS.tell(id, found, why))


def predictions(chapter: str) -> None:
    """Show what was predicted in a chapter, and how it came out."""
    show_view(_PREDICTIONS.summary(chapter))


def verify_host() -> HostReport:
    """Can this machine run TDs? If not, the one reason and the next action."""
    from labkit.host import verify

    return verify()


def setup() -> Inventory:
    """What the emulated platform is made of; what is missing is installed first."""
    from labkit.toolchain import install_toolchain

    return install_toolchain(Settings.load(), print)


def container_engine() -> Engine:
    """The container engine of this machine, or why none answers."""
    from labkit.container.engine import find_engine

    return find_engine()


def asterinas_profiles() -> ProfileTable:
    """The versions of Asterinas that labkit knows, a row each."""
    from labkit.asterinas.versions import PROFILES, ProfileTable

    return ProfileTable(tuple(PROFILES.values()))


def asterinas_preview(version: str = "", memory: int | None = None, smp: int | None = None) -> Preview:
    """The steps of the documented flow for a version, as commands; nothing is run.

    ``version`` is the name of a profile; empty takes the newest one that this host can run.
    """
    from labkit.asterinas import Profile
    from labkit.container.plan import RunRequest
    from labkit.container.previewing import preview
    from labkit.host import verify

    chosen = Profile.named(version) if version else Profile.choose(verify())
    request = RunRequest(memory=memory, smp=smp)
    return preview(chosen, Settings.load().asterinas_url, request.make_variables(td=chosen.tdx, kvm=False))


def asterinas_run(
    version: str = "",
    image: str = "",
    memory: int | None = None,
    smp: int | None = None,
    source: Path | str | None = None,
    as_documented: bool = False,
) -> RunResult:
    """Run the documented flow to its smoke test, in its container; empty words take what fits this host."""
    from labkit.container.flow import start_run
    from labkit.container.plan import RunRequest

    request = RunRequest(
        profile=version or None,
        image=image or None,
        memory=memory,
        smp=smp,
        source=Path(source) if source else None,
        as_documented=as_documented,
        auto_test=True,
    )
    with start_run(request, Settings.load()) as running:
        running.wait()
        return running.close()


def build_guest(folder: Path | str) -> Path:
    """Build the guest's initramfs in ``folder``; the same inputs give the same bytes everywhere."""
    from labkit.guest.initramfs import build_initramfs
    from labkit.toolchain import find_toolchain

    toolchain = find_toolchain(Settings.load())
    return build_initramfs(toolchain.busybox, Path(folder), toolchain.bash, toolchain.modules)


def firmware() -> Path:
    """The firmware file that the emulated platform boots: a TDVF, chosen by its content."""
    from labkit.toolchain import find_toolchain

    return find_toolchain(Settings.load()).firmware.image


def measure(firmware_file: Path | str) -> FirmwareMeasurement:
    """The sections of a TDVF, and its MRTD in both page orders."""
    from labkit.files import read_named
    from labkit.measure import measure_firmware

    return measure_firmware(read_named(Path(firmware_file)), str(firmware_file))


def boot(
    platform: str = "auto",
    memory: int | None = None,
    append: str = "",
    cold: bool = False,
    run_dir: Path | str | None = None,
    guest: str = "linux",
    loader: bool | None = False,
    kernel: Path | str | None = None,
    initrd: Path | str | None = None,
    firmware: Path | str | None = None,
    devices: Sequence[Device] = (),
    smp: int = 1,
    iso: Path | str | None = None,
    profile: str = "",
) -> Tdvm:
    """Boot a TDVM until its shell answers; use the result in a ``with`` block, or ``close`` it.

    ``memory`` in MiB, by default what the guest needs; ``smp`` virtual CPUs; ``append`` is added to the
    kernel's command line; ``run_dir`` receives a copy of the record. ``guest`` is ``linux``, ``asterinas`` or
    ``asterinas:VERSION``; ``loader`` boots it through one that measures; None where ``guest`` is measured by
    no other. ``iso`` boots instead of a kernel; ``profile`` is the version of Asterinas that an image is.
    ``devices`` (``labkit.virtio.Entropy`` and ``Disk``) are served by labkit and lie when they are told to;
    such a boot is always from power-on, and the guest loads their drivers with ``modprobe virtio-rng`` and
    ``modprobe virtio_blk``.
    """
    settings = Settings.load()
    warm, power_on = f"boot, {guest}", f"boot from power-on, {guest}"
    key = power_on if cold or devices else warm
    # A boot that finds no snapshot of its inputs begins with the firmware, and takes as long as a cold one.
    with waiting("Booting a TDVM", key, settings, {_FIRST_STAGE: power_on}) as step:
        from labkit.platforms import choose_platform

        request = _request(memory, append, kernel, initrd, guest, loader, firmware, smp)
        request = replace(request, cold=cold, devices=tuple(devices), iso=_path(iso), profile=profile or None)
        chosen = choose_platform(platform, settings)
        return chosen.boot(request, step, keep_in=Path(run_dir) if run_dir else None)


def lies(guest: str = "linux", device: str = "") -> Findings:
    """What a guest makes of a host whose virtio devices lie: it is booted, and told each lie once.

    ``guest`` is ``linux``, ``asterinas``, or ``linux-6.1.176`` and ``linux-6.1.192``, which are fetched from
    the Debian archive; ``device`` is ``entropy`` or ``disk``, and both where it is empty. Where the kernel
    cannot be fetched, the findings are those of a record, and say so.
    """
    settings = Settings.load()
    with waiting("Booting a guest and lying to it", f"lies, {guest}", settings) as step:
        from labkit.lies.meeting import meet

        found = meet(guest, settings, step)
    return found.of(device) if device else found


def lies_side_by_side(*guests: str) -> list[Findings]:
    """What each of these guests makes of the lies, as ``lies`` says for one; they boot at the same time."""
    settings = Settings.load()
    with waiting(f"Booting {len(guests)} guests and lying to them", f"lies, {len(guests)}", settings) as step:
        from labkit.lies.meeting import meet_each

        return meet_each(guests, settings, step)


def boots(
    count: int,
    platform: str = "auto",
    memory: int | None = None,
    append: str = "",
    cold: bool = False,
    run_dir: Path | str | None = None,
    guest: str = "linux",
    loader: bool | None = False,
    smp: int = 1,
) -> Tdvms:
    """Boot ``count`` TDVMs that run at once, each with a name, randomness and clock of its own.

    Use the result in a ``with`` block, or ``close`` it. The rest as for ``boot``: without ``cold`` all share
    one snapshot's memory, and each takes what it writes.

    Raises:
        UsageError: they do not fit into the memory of this machine.
    """
    settings = Settings.load()
    key = f"boots, {guest}, {count}"
    with waiting(f"Booting {count} TDVMs", key, settings, {_FIRST_STAGE: f"{key} from power-on"}) as step:
        from labkit.platforms import choose_platform
        from labkit.platforms.many import boot_many

        request = replace(_request(memory, append, None, None, guest, loader, None, smp), cold=cold)
        chosen = choose_platform(platform, settings)
        return boot_many(chosen, request, count, step, Path(run_dir) if run_dir else None)


def panel(tdvm: Tdvm) -> None:
    """Show a TDVM: timeline, registers, console, and buttons where a person looks on.

    Raises:
        VmError: its boot was not measured.
    """
    from labkit.learn.panel import show_panel

    show_panel(tdvm, Settings.load())


def event_log(data: bytes) -> LogReport:
    """An event log (TCG or CCEL), event by event, with the registers that it replays to."""
    from labkit.measure import parse_log
    from labkit.measure.replay import report_log

    return report_log(parse_log(data))


def compare_boots(before: Tdvm, after: Tdvm) -> Comparison:
    """Which registers moved between two boots; both may have ended."""
    from labkit.platforms.measurements import compare

    return compare(before.measurements, after.measurements)


def new_nonce() -> bytes:
    """64 random bytes that no earlier quote can hold."""
    from labkit.platforms import fresh_nonce

    return fresh_nonce()


def policy(
    nonce: bytes,
    platform: str = "auto",
    memory: int | None = None,
    append: str = "",
    initrd: Path | str | None = None,
    guest: str = "linux",
    loader: bool | None = None,
    kernel: Path | str | None = None,
    firmware: Path | str | None = None,
    smp: int = 1,
) -> Policy:
    """What evidence about ``nonce`` must say for this boot, predicted from its inputs alone.

    ``loader``: through the one that measures; by default where ``guest`` is measured by no other.
    """
    settings = Settings.load()
    with waiting("Predicting the registers", f"predict, {guest}", settings):
        from labkit.platforms import choose_platform
        from labkit.platforms.attestation import emulated_policy

        chosen = choose_platform(platform, settings)
        request = _request(memory, append, kernel, initrd, guest, loader, firmware, smp)
        return emulated_policy(chosen.predict(request), nonce)


def attest(
    nonce: bytes,
    policy: Policy,
    platform: str = "auto",
    memory: int | None = None,
    append: str = "",
    initrd: Path | str | None = None,
    firmware: Path | str | None = None,
    debug: bool = False,
    run_dir: Path | str | None = None,
    guest: str = "linux",
    loader: bool | None = None,
    kernel: Path | str | None = None,
    smp: int = 1,
) -> Attestation:
    """Boot a TDVM, take evidence about ``nonce`` from it, verify it, and appraise it by ``policy``.

    ``guest`` and ``loader`` as for ``policy``.
    """
    settings = Settings.load()
    title, key = "Booting and attesting a TDVM", f"attest, {guest}"
    with waiting(title, key, settings, {_FIRST_STAGE: f"{key} from power-on"}) as step:
        from labkit.platforms import choose_platform

        chosen = choose_platform(platform, settings)
        request = _request(memory, append, kernel, initrd, guest, loader, firmware, smp)
        with chosen.boot(request, step, keep_in=Path(run_dir) if run_dir else None) as tdvm:
            step("evidence")
            return chosen.attest(tdvm, nonce, policy, debug=debug)


def asterinas_images() -> ImageTable:
    """The kernels of Asterinas in the cache, which ``boot(guest="asterinas")`` can boot."""
    from labkit.asterinas import KernelCache

    return KernelCache(Settings.load()).table()


def guest_here(guest: str) -> GuestHere:
    """Whether a guest can boot on this machine, and which kernel it is, or how to get one."""
    from labkit.asterinas import KernelCache

    return KernelCache(Settings.load()).guest(guest)


def asterinas_recorded(topic: str) -> Recorded:
    """What was seen of a real Asterinas once, elsewhere, about ``topic``; nothing is run."""
    from labkit.asterinas.recorded import recorded_asterinas

    return recorded_asterinas(topic)


def appraise(attested: Attestation, policy: Policy) -> Appraisal:
    """Judge evidence that was verified earlier by another policy."""
    from labkit.attest import appraise as appraise_verdict

    return appraise_verdict(policy, attested.verdict, attested.evidence.event_log)


def record(name: str, value: Any) -> None:
    """Record a value of this run under a name: a sweep puts it into its table, scrapbook reads it."""
    record_value(name, value)


def sweep(
    notebook: Path | str,
    over: Sequence[Mapping[str, Any]] | Path | str | None = None,
    output: Path | str | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    retry: bool = False,
    **axes: Sequence[Any],
) -> Results:
    """Run a notebook once for each row of ``over``, and show a table that grows meanwhile.

    over: rows of parameters, or a CSV file. axes: values of a parameter each; every combination is run.
    The rest as in `labkit sweep`; what was finished in ``output`` before is not run again.
    """
    from labkit import studies

    table = Path(over) if isinstance(over, str | Path) else over
    design, folder = studies.plan(str(notebook), table, axes, Path(output) if output else None)
    options = studies.SweepOptions(jobs=jobs, scheduler=scheduler, retry=retry)
    return studies.sweep_live(design, folder, options)


def _request(
    memory: int | None,
    append: str,
    kernel: Path | str | None,
    initrd: Path | str | None,
    guest: str,
    loader: bool | None,
    firmware: Path | str | None,
    smp: int,
) -> BootRequest:
    from labkit.platforms.request import BootRequest, measured_through_loader

    through = measured_through_loader(guest) if loader is None else loader
    return BootRequest(
        memory, append, _path(kernel), _path(initrd), _path(firmware), smp=smp, guest=guest, loader=through
    )


def _path(name: Path | str | None) -> Path | None:
    return Path(name) if name else None
