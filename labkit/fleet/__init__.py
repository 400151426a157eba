"""The facts of many hosts as one table, and how they are collected."""

from __future__ import annotations

from labkit.fleet._bundle import make_bundle
from labkit.fleet._collector import collector_source
from labkit.fleet._report import report_fleet
from labkit.fleet._ssh import collect_hosts

__all__ = [
    "collect_hosts",
    "collector_source",
    "make_bundle",
    "report_fleet",
]
