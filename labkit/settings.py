"""Paths, limits and display mode: read once from arguments and ``LABKIT_*``, then passed on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from labkit.errors import UsageError

ASTERINAS_URL = "https://github.com/asterinas/asterinas.git"
"""Where the source of Asterinas comes from, unless ``LABKIT_ASTERINAS_URL`` says otherwise."""


_LONGEST = 30 * 86400
"""Seconds: a month. The timers of the system overflow with what is much longer."""


def check_seconds(seconds: float) -> None:
    """Refuse what nothing can be told to take.

    Raises:
        UsageError: it is not more than 0, more than a month, or not a number at all.
    """
    if not 0 < seconds <= _LONGEST:
        raise UsageError(
            f"Nothing can take {seconds:g} s.", f"Give more than 0 seconds, and no more than {_LONGEST}."
        )


class Trust(StrEnum):
    """What a result may be believed for: real TDX hardware, or nothing but the software it ran on."""

    HARDWARE = "hardware"
    NONE = "none"

    @property
    def stamp(self) -> str:
        """The word that every emulated result carries; empty for hardware."""
        return "" if self is Trust.HARDWARE else "EMULATED"


class Ui(StrEnum):
    """How results show themselves in a notebook."""

    AUTO = "auto"
    STATIC = "static"
    LIVE = "live"


@dataclass(frozen=True)
class Settings:
    """Everything that may differ between two installations of labkit.

    cache_dir: downloaded packages, firmware, snapshots; may be deleted at any time.
    state_dir: run directories of TDVMs and the lab authority's key.
    ui: static views for CI, live ones in a front end, or ``auto``.
    output_limit: bytes of guest output kept in memory and shown for one command.
    asterinas_url: the git repository of Asterinas.
    run_dir: receives the records of TDVMs that a notebook's kernel boots by itself; None keeps no copy.
    guest, kernel, initrd, iso, profile: what such a TDVM boots instead of labkit's own guest.
    patience: what the deadline of every stage of a boot is multiplied by.
    memory_budget: MiB that all TDVMs of this user may have together; None leaves it to the machine.
    """

    cache_dir: Path
    state_dir: Path
    ui: Ui = Ui.AUTO
    output_limit: int = 4 << 20
    asterinas_url: str = ASTERINAS_URL
    run_dir: Path | None = None
    guest: str | None = None
    kernel: Path | None = None
    initrd: Path | None = None
    iso: Path | None = None
    profile: str | None = None
    patience: float = 1.0
    memory_budget: int | None = None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read ``LABKIT_CACHE_DIR``, ``_STATE_DIR``, ``_UI``, ``_OUTPUT_LIMIT`` and ``_RUN_DIR``.

        ``LABKIT_GUEST``, ``_KERNEL``, ``_INITRD``, ``_ISO`` and ``_PROFILE`` name the guest of a notebook's
        kernel; ``LABKIT_PATIENCE`` gives every stage of a boot, and a silent shell, more time.
        ``LABKIT_MEMORY_MIB`` is a student's share of a classroom server.
        The XDG base directories are the defaults; ``overrides`` win over the environment.

        Raises:
            UsageError: a variable has a value outside its range.
        """
        env = os.environ if environ is None else environ
        home = Path(env.get("HOME") or "~").expanduser()
        cache = env.get("LABKIT_CACHE_DIR") or _join(env.get("XDG_CACHE_HOME"), home / ".cache")
        state = env.get("LABKIT_STATE_DIR") or _join(env.get("XDG_STATE_HOME"), home / ".local/state")
        settings = cls(
            cache_dir=Path(cache).absolute(),
            state_dir=Path(state).absolute(),
            ui=_ui(env.get("LABKIT_UI") or "auto"),
            output_limit=_positive("LABKIT_OUTPUT_LIMIT", env.get("LABKIT_OUTPUT_LIMIT"), 4 << 20),
            asterinas_url=env.get("LABKIT_ASTERINAS_URL") or ASTERINAS_URL,
            run_dir=_path(env.get("LABKIT_RUN_DIR")),
            guest=env.get("LABKIT_GUEST") or None,
            kernel=_path(env.get("LABKIT_KERNEL")),
            initrd=_path(env.get("LABKIT_INITRD")),
            iso=_path(env.get("LABKIT_ISO")),
            profile=env.get("LABKIT_PROFILE") or None,
            patience=_factor("LABKIT_PATIENCE", env.get("LABKIT_PATIENCE")),
            memory_budget=_positive("LABKIT_MEMORY_MIB", env.get("LABKIT_MEMORY_MIB"), 0, "MiB") or None,
        )
        return replace(settings, **overrides)


def _path(word: str | None) -> Path | None:
    return Path(word).absolute() if word else None


def _join(base: str | None, default: Path) -> Path:
    return (Path(base) if base else default) / "labkit"


def _ui(word: str) -> Ui:
    try:
        return Ui(word)
    except ValueError:
        raise UsageError(
            f"LABKIT_UI is {word!r}, which is not a display mode.", "Set it to auto, static or live."
        ) from None


def _factor(name: str, word: str | None) -> float:
    try:
        factor = float(word or 1)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1000:
        raise UsageError(f"{name} is {word!r}, which is not a factor.", "Set it to a number such as 3.")
    return factor


def _positive(name: str, word: str | None, default: int, unit: str = "bytes") -> int:
    if word is None:
        return default
    if not word.isdecimal() or int(word) == 0:
        raise UsageError(f"{name} is {word!r}, which is not a size.", f"Set it to a number of {unit}.")
    return int(word)
