"""The verbs of the notebooks, a page long: each one names what it returns."""

from __future__ import annotations

from pathlib import Path

from labkit.host import HostReport, verify
from labkit.measure import FirmwareMeasurement, LogReport, measure_firmware, parse_log, report_log
from labkit.platforms import DEFAULT_MEMORY, BootRequest, Tdvm, choose_platform
from labkit.settings import Settings
from labkit.vm import Inventory, build_initramfs, find_toolchain, install_toolchain


def verify_host() -> HostReport:
    """Can this machine run TDs? If not, the one reason and the next action."""
    return verify()


def setup() -> Inventory:
    """What the emulated platform is made of; what is missing is brought first."""
    return install_toolchain(Settings.load(), print)


def build_guest() -> Path:
    """Build the guest's initramfs; the same inputs give the same bytes, wherever it is built."""
    settings = Settings.load()
    return build_initramfs(find_toolchain(settings).busybox, settings.cache_dir / "guest")


def firmware() -> Path:
    """The firmware file that the emulated platform boots: a TDVF, chosen by its content."""
    return find_toolchain(Settings.load()).firmware.image


def measure(firmware_file: Path | str) -> FirmwareMeasurement:
    """The sections of a TDVF, and its MRTD in both page orders."""
    return measure_firmware(Path(firmware_file).read_bytes(), str(firmware_file))


def boot(
    platform: str = "auto",
    memory: int = DEFAULT_MEMORY,
    append: str = "",
    cold: bool = False,
    run_dir: Path | str | None = None,
) -> Tdvm:
    """Boot a TDVM until its shell answers; use the result in a ``with`` block, or ``close`` it.

    ``memory`` in MiB; ``append`` is added to the kernel's command line; ``run_dir`` receives a copy
    of the record.
    """
    chosen = choose_platform(platform, Settings.load())
    request = BootRequest(memory=memory, append=append, cold=cold)
    return chosen.boot(request, keep_in=Path(run_dir) if run_dir else None)


def event_log(data: bytes) -> LogReport:
    """An event log (TCG or CCEL), event by event, with the registers that it replays to."""
    return report_log(parse_log(data))
