"""Which platform to use, and why: asked for, or chosen by what the host is; never silently."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from labkit.platforms._emulated import EmulatedPlatform
from labkit.platforms._meanwhile import Meanwhile
from labkit.platforms._platform import TdvmPlatform
from labkit.settings import Settings

if TYPE_CHECKING:
    from labkit.host import HostReport


class PlatformName(StrEnum):
    """What a user may ask for."""

    AUTO = "auto"
    HARDWARE = "hardware"
    EMULATED = "emulated"


def choose_platform(
    name: PlatformName | str, settings: Settings, report: HostReport | None = None
) -> TdvmPlatform:
    """The platform of that name; ``auto`` looks at the host first (or at a ``report`` of it).

    Starting a TD has never been tried on hardware, so ``auto`` leaves it to who asks for it, and says so.

    Raises:
        MissingComponent: hardware was asked for, and this host cannot start a TD.
    """
    name = PlatformName(name)
    if name is PlatformName.EMULATED:
        return EmulatedPlatform(settings, "it was asked for")
    if name is PlatformName.HARDWARE:
        from labkit.host import verify
        from labkit.platforms.hardware import HardwarePlatform

        return HardwarePlatform(settings, "it was asked for, and this host is READY", report or verify())
    # The platform is the same whatever is found, so there is time for it while a machine starts.
    return EmulatedPlatform(settings, Meanwhile(_look) if report is None else _why_emulated(report))


def _look() -> str:
    from labkit.host import verify

    return _why_emulated(verify())


def _why_emulated(host: HostReport) -> str:
    from labkit.host import HostVerdict

    if host.verdict is HostVerdict.READY:
        return "this host is READY for TDX, but labkit's way to start a TD is untried: ask for `hardware`"
    return f"this host is {host.verdict.value} ({host.reason})"
