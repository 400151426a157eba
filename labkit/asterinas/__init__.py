"""The documented Asterinas flow: its development container, and the engine that runs it."""

from __future__ import annotations

from labkit.asterinas._bootlog import BootLogReader, BootReport, Goal, Layer, Outcome, classify
from labkit.asterinas._engine import Engine, connect, describe, find_engine
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
from labkit.asterinas._run import ContainerRun, Plan, RunRequest, RunResult, plan_run, start_run
from labkit.asterinas._source import Source, fetch_source, given_source

__all__ = [
    "DOCUMENTED",
    "FAILURES",
    "HANGS",
    "PROFILES",
    "RECOMMENDED",
    "BootLogReader",
    "BootReport",
    "ContainerRun",
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
    "Plan",
    "Profile",
    "RunRequest",
    "RunResult",
    "Source",
    "choose_profile",
    "classify",
    "connect",
    "describe",
    "fetch_source",
    "find_engine",
    "generation_of",
    "given_source",
    "host_generation",
    "plan_run",
    "profile",
    "start_run",
]
