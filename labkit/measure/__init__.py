"""Measurement: TDVF metadata, MRTD, event logs, their replay, prediction and explanation."""

from __future__ import annotations

from labkit.measure._ccel import CcelTable, parse_ccel_table
from labkit.measure._describe import DataCheck
from labkit.measure._explain import Agreement, Explanation, Row, explain, page_order_of
from labkit.measure._grub import CONFIG_PATH, INITRD_PATH, KERNEL_PATH, grub_config
from labkit.measure._hob import td_hob_list
from labkit.measure._kernel import authenticode, patch_header, silence_stub, stub_measures
from labkit.measure._locate import FoundLog, Memory, find_logs
from labkit.measure._log import RUNTIME_RTMR, EventLog, LogEvent, LogFormat, LogHeader, parse_log
from labkit.measure._mrtd import FirmwareMeasurement, PageOrder, measure_firmware, mrtd
from labkit.measure._names import EventType
from labkit.measure._predict import (
    ACPI_BLOBS,
    BootInputs,
    InitrdWord,
    KernelHeader,
    Part,
    Prediction,
    RegisterKind,
    Rules,
    SecureBoot,
    Separators,
    disc_options,
    predict,
    ui_app_option,
)
from labkit.measure._replay import LogReport, Rtmrs, extend, replay_pcrs, report_log, rtmrs
from labkit.measure._tdvf import SectionAttribute, SectionType, Tdvf, TdvfSection, join_firmware, read_tdvf
from labkit.measure._wrapping import from_text, json_document, plain_bytes, values_of

__all__ = [
    "ACPI_BLOBS",
    "CONFIG_PATH",
    "INITRD_PATH",
    "KERNEL_PATH",
    "RUNTIME_RTMR",
    "Agreement",
    "BootInputs",
    "CcelTable",
    "DataCheck",
    "EventLog",
    "EventType",
    "Explanation",
    "FirmwareMeasurement",
    "FoundLog",
    "InitrdWord",
    "KernelHeader",
    "LogEvent",
    "LogFormat",
    "LogHeader",
    "LogReport",
    "Memory",
    "PageOrder",
    "Part",
    "Prediction",
    "RegisterKind",
    "Row",
    "Rtmrs",
    "Rules",
    "SectionAttribute",
    "SectionType",
    "SecureBoot",
    "Separators",
    "Tdvf",
    "TdvfSection",
    "authenticode",
    "disc_options",
    "explain",
    "extend",
    "find_logs",
    "from_text",
    "grub_config",
    "join_firmware",
    "json_document",
    "measure_firmware",
    "mrtd",
    "page_order_of",
    "parse_ccel_table",
    "parse_log",
    "patch_header",
    "plain_bytes",
    "predict",
    "read_tdvf",
    "replay_pcrs",
    "report_log",
    "rtmrs",
    "silence_stub",
    "stub_measures",
    "td_hob_list",
    "ui_app_option",
    "values_of",
]
