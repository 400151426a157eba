"""Measurement: TDVF metadata, MRTD, event logs and their replay."""

from __future__ import annotations

from labkit.measure._ccel import CcelTable, parse_ccel_table
from labkit.measure._describe import DataCheck
from labkit.measure._log import Event, EventLog, LogFormat, LogHeader, parse_log
from labkit.measure._mrtd import FirmwareMeasurement, PageOrder, measure_firmware, mrtd
from labkit.measure._names import EventType
from labkit.measure._replay import LogReport, Rtmrs, extend, replay_pcrs, report_log, rtmrs
from labkit.measure._tdvf import Section, SectionAttribute, SectionType, Tdvf, join_firmware, read_tdvf

__all__ = [
    "CcelTable",
    "DataCheck",
    "Event",
    "EventLog",
    "EventType",
    "FirmwareMeasurement",
    "LogFormat",
    "LogHeader",
    "LogReport",
    "PageOrder",
    "Rtmrs",
    "Section",
    "SectionAttribute",
    "SectionType",
    "Tdvf",
    "extend",
    "join_firmware",
    "measure_firmware",
    "mrtd",
    "parse_ccel_table",
    "parse_log",
    "read_tdvf",
    "replay_pcrs",
    "report_log",
    "rtmrs",
]
