"""The documented Asterinas flow: its development container, and the engine that runs it."""

from __future__ import annotations

from labkit.asterinas._bootlog import BootLogReader, BootReport, Goal, Layer, Outcome, classify
from labkit.asterinas._engine import Engine, find_engine
from labkit.asterinas._failures import FAILURES, HANGS, Failure, Hang, Kind
from labkit.asterinas._generation import Generation, generation_of, host_generation
from labkit.asterinas._profiles import (
    DOCUMENTED,
    PROFILES,
    RECOMMENDED,
    Features,
    LogFile,
    Profile,
    choose_profile,
    profile,
)

__all__ = [
    "DOCUMENTED",
    "FAILURES",
    "HANGS",
    "PROFILES",
    "RECOMMENDED",
    "BootLogReader",
    "BootReport",
    "Engine",
    "Failure",
    "Features",
    "Generation",
    "Goal",
    "Hang",
    "Kind",
    "Layer",
    "LogFile",
    "Outcome",
    "Profile",
    "choose_profile",
    "classify",
    "find_engine",
    "generation_of",
    "host_generation",
    "profile",
]
