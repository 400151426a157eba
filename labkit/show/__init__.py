"""Everything a person sees: cleaned text, escaped HTML, inline SVG. The only package that builds markup."""

from __future__ import annotations

from labkit.show import tdx
from labkit.show._stepper import stepper
from labkit.show._text import clean, columns, one_line, stamp
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
