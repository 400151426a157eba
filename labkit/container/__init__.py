"""The documented Asterinas flow in its development container: engine, source, image, run."""

from __future__ import annotations

from labkit.container._engine import Engine, connect, describe, find_engine
from labkit.container._preview import Preview, preview
from labkit.container._run import ContainerPlan, ContainerRun, RunRequest, RunResult, plan_run, start_run
from labkit.container._source import SourceTree, fetch_source, given_source
from labkit.container._toolbox import TOOLBOX_BASE, Toolbox, build_toolbox, run_in_toolbox

__all__ = [
    "TOOLBOX_BASE",
    "ContainerPlan",
    "ContainerRun",
    "Engine",
    "Preview",
    "RunRequest",
    "RunResult",
    "SourceTree",
    "Toolbox",
    "build_toolbox",
    "connect",
    "describe",
    "fetch_source",
    "find_engine",
    "given_source",
    "plan_run",
    "preview",
    "run_in_toolbox",
    "start_run",
]
