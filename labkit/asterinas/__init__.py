"""The documented Asterinas flow: its development container, and the engine that runs it."""

from __future__ import annotations

from labkit.asterinas._bootlog import BootLogReader, BootReport, Goal, Layer, Outcome, classify
from labkit.asterinas._engine import Engine, find_engine
from labkit.asterinas._failures import FAILURES, HANGS, Failure, Hang, Kind
from labkit.asterinas._generation import Generation, generation_of, host_generation
from labkit.asterinas._guest import DIRECT_MEMORY, FIRMWARE_MEMORY, AsterinasGuest, asked_console
from labkit.asterinas._guest import board as asterinas_board
from labkit.asterinas._guest import command_line as asterinas_command_line
from labkit.asterinas._image import EM_X86_64, Image, ImageKind, recognize_image
from labkit.asterinas._initramfs import build_asterinas_initramfs
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

__all__ = [
    "DIRECT_MEMORY",
    "DOCUMENTED",
    "EM_X86_64",
    "FAILURES",
    "FIRMWARE_MEMORY",
    "HANGS",
    "PROFILES",
    "RECOMMENDED",
    "AsterinasGuest",
    "BootLogReader",
    "BootReport",
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
    "Profile",
    "ProfileTable",
    "asked_console",
    "asterinas_board",
    "asterinas_command_line",
    "build_asterinas_initramfs",
    "choose_profile",
    "classify",
    "find_engine",
    "generation_of",
    "host_generation",
    "profile",
    "recognize_image",
]
