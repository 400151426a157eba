"""The documented Asterinas flow in its development container: engine, source, image, run."""

from __future__ import annotations

from labkit.container._engine import Engine, connect, describe, find_engine
from labkit.container._owner import owned as owned_containers
from labkit.container._owner import stop as stop_container
from labkit.container._plan import RunRequest, plan_run
from labkit.container._preview import Preview, preview
from labkit.container._run import ContainerRun, RunResult, start_run
from labkit.container._source import SourceTree, fetch_source, given_source
from labkit.container._toolbox import TOOLBOX_BASE, build_toolbox, run_in_toolbox

__all__ = [
    "TOOLBOX_BASE",
    "ContainerRun",
    "Engine",
    "Preview",
    "RunRequest",
    "RunResult",
    "SourceTree",
    "build_toolbox",
    "connect",
    "describe",
    "fetch_source",
    "find_engine",
    "given_source",
    "owned_containers",
    "plan_run",
    "preview",
    "run_in_toolbox",
    "start_run",
    "stop_container",
]
