"""Everything a person sees: cleaned text, escaped HTML, inline SVG. The only package that builds markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.later import later
from labkit.show._text import clean, columns, one_line, stamp

if TYPE_CHECKING:
    from labkit.show import tdx
    from labkit.show._stepper import stepper
    from labkit.show._view import View

__all__ = [
    "View",
    "clean",
    "columns",
    "one_line",
    "stamp",
    "stepper",
    "tdx",
]

# Loaded on first use: every module that prints a line comes here, and few draw a picture.
__getattr__ = later(__name__, {"View": "_view", "stepper": "_stepper", "tdx": "tdx"})
