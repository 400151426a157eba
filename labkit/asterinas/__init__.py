"""The documented Asterinas flow: its development container, and the engine that runs it."""

from __future__ import annotations

from labkit.asterinas._bootlog import BootLogReader, BootReport, Goal, Layer, Outcome, classify
from labkit.asterinas._engine import Engine, connect, describe, find_engine
from labkit.asterinas._failures import FAILURES, HANGS, Failure, Hang, Kind
from labkit.asterinas._generation import Generation, generation_of, host_generation
from labkit.asterinas._guest import DIRECT_MEMORY, FIRMWARE_MEMORY, AsterinasGuest, asked_console
from labkit.asterinas._guest import board as asterinas_board
from labkit.asterinas._guest import command_line as asterinas_command_line
from labkit.asterinas._image import EM_X86_64, Image, ImageKind, recognize_image
from labkit.asterinas._initramfs import build_asterinas_initramfs
from labkit.asterinas._preview import Preview, preview
from labkit.asterinas._profiles import (
    DOCUMENTED,
    PROFILES,
    RECOMMENDED,
    Features,
    LogFile,
    Profile,
    ProfileTable,
    choose_profile,
    profile,
)
from labkit.asterinas._run import ContainerRun, Plan, RunRequest, RunResult, plan_run, start_run
from labkit.asterinas._source import Source, fetch_source, given_source
from labkit.asterinas._toolbox import TOOLBOX_BASE, Toolbox, build_toolbox, run_in_toolbox

__all__ = [
    "DIRECT_MEMORY",
    "DOCUMENTED",
    "EM_X86_64",
    "FAILURES",
    "FIRMWARE_MEMORY",
    "HANGS",
    "PROFILES",
    "RECOMMENDED",
    "TOOLBOX_BASE",
    "AsterinasGuest",
    "BootLogReader",
    "BootReport",
    "ContainerRun",
    "Engine",
    "Failure",
    "Features",
    "Generation",
    "Goal",
    "Hang",
    "Image",
    "ImageKind",
    "Kind",
    "Layer",
    "LogFile",
    "Outcome",
    "Plan",
    "Preview",
    "Profile",
    "ProfileTable",
    "RunRequest",
    "RunResult",
    "Source",
    "Toolbox",
    "asked_console",
    "asterinas_board",
    "asterinas_command_line",
    "build_asterinas_initramfs",
    "build_toolbox",
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
    "preview",
    "profile",
    "recognize_image",
    "run_in_toolbox",
    "start_run",
]
