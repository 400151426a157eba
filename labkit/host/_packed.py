"""Log files that are not text: compressed ones are unpacked, others are named with what makes them text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import IO

MAGIC_BYTES = 12
"""So many bytes tell what a file is."""


@dataclass(frozen=True)
class PackedFile:
    """A kind of file: its name, and the command that makes a kernel log of it.

    command: empty where nothing makes a log of it that can be trusted.
    module: the module of the standard library that opens it, empty where there is none.
    """

    name: str
    command: str
    module: str = ""

    def opener(self) -> Callable[[IO[bytes]], IO[bytes]] | None:
        """What opens such a file; None where this Python cannot."""
        try:
            return import_module(self.module).open if self.module else None
        except ImportError:
            return None

    def damaged(self, error: Exception) -> bool:
        """What its module raised says that the file is not whole."""
        import zlib

        own = (getattr(import_module(self.module), name, OSError) for name in ("LZMAError", "ZstdError"))
        return isinstance(error, (EOFError, OSError, ValueError, zlib.error, *own))


_KINDS = (
    (b"\x1f\x8b", PackedFile("a gzip file", "gzip -dc {}", "gzip")),
    (b"\xfd7zXZ\0", PackedFile("an xz file", "xz -dc {}", "lzma")),
    (b"BZh", PackedFile("a bzip2 file", "bzip2 -dc {}", "bz2")),
    (b"\x28\xb5\x2f\xfd", PackedFile("a zstd file", "zstd -dc {}", "compression.zstd")),
    (b"\x04\x22\x4d\x18", PackedFile("an lz4 file", "lz4 -dc {}")),
    (b"PK\x03\x04", PackedFile("a zip archive", "unzip -p {}")),
    (b"7z\xbc\xaf\x27\x1c", PackedFile("a 7z archive", "7z x -so {}")),
    (b"LPKSHHRH", PackedFile("a file of the journal", "journalctl --file {} -k")),
    (b"\x7fELF", PackedFile("an ELF file", "dmesg")),
    (b"%PDF-", PackedFile("a PDF", "pdftotext -layout {} -")),
    (b"{\\rtf", PackedFile("a rich-text document", "unrtf --text {}")),
    (b"\x89PNG", PackedFile("a picture", "")),
    (b"\xff\xd8\xff", PackedFile("a picture", "")),
    (b"GIF8", PackedFile("a picture", "")),
    (b"KDUMP   ", PackedFile("a crash dump", "makedumpfile --dump-dmesg {} /dev/stdout")),
)


def packed(magic: bytes) -> PackedFile | None:
    """What kind of packed file begins so; None for text."""
    return next((kind for begin, kind in _KINDS if magic.startswith(begin)), None)
