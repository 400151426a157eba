"""Measurement: TDVF metadata, MRTD, event logs, their replay, prediction and explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.later import later
from labkit.measure._mrtd import FirmwareMeasurement, PageOrder, measure_firmware, mrtd
from labkit.measure.event_log import EventLog, parse_log
from labkit.measure.kernel_image import silence_stub
from labkit.measure.replay import LogReport, replay_pcrs, rtmrs
from labkit.measure.tdvf import read_tdvf

if TYPE_CHECKING:
    from labkit.measure.explanation import explain
    from labkit.measure.prediction import BootInputs, Prediction, predict

__all__ = [
    "BootInputs",
    "EventLog",
    "FirmwareMeasurement",
    "LogReport",
    "PageOrder",
    "Prediction",
    "explain",
    "measure_firmware",
    "mrtd",
    "parse_log",
    "predict",
    "read_tdvf",
    "replay_pcrs",
    "rtmrs",
    "silence_stub",
]

# Loaded on first use: most boots are neither predicted nor explained.
__getattr__ = later(
    __name__,
    {
        "BootInputs": "prediction",
        "Prediction": "prediction",
        "explain": "explanation",
        "predict": "prediction",
    },
)
