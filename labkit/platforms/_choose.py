"""Which platform to use, and why: asked for, or chosen by what the host is; never silently."""

from __future__ import annotations

from enum import StrEnum

from labkit.errors import MissingComponent
from labkit.host import HostReport, Verdict, verify
from labkit.platforms._emulated import EmulatedPlatform
from labkit.settings import Settings


class PlatformName(StrEnum):
    """What a user may ask for."""

    AUTO = "auto"
    HARDWARE = "hardware"
    EMULATED = "emulated"


def choose_platform(
    name: PlatformName | str, settings: Settings, report: HostReport | None = None
) -> EmulatedPlatform:
    """The platform of that name; ``auto`` looks at the host first (or at a ``report`` of it).

    Launching a TD on TDX hardware is not built yet: ``hardware`` is refused, and ``auto`` says so.

    Raises:
        MissingComponent: hardware was asked for.
    """
    name = PlatformName(name)
    if name is PlatformName.HARDWARE:
        raise MissingComponent(
            "labkit cannot launch a TD on TDX hardware yet.",
            "Use --platform emulated, or auto; inside a TD, `labkit attest --platform hardware` attests it.",
        )
    if name is PlatformName.EMULATED:
        return EmulatedPlatform(settings, "it was asked for")
    host = report or verify()
    if host.verdict is Verdict.READY:
        return EmulatedPlatform(settings, "this host is READY for TDX, but labkit cannot launch a TD yet")
    return EmulatedPlatform(settings, f"this host is {host.verdict.value} ({host.reason})")
