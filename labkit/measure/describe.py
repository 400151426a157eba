"""What an event of a log says about itself, for people; and whether its digest belongs to that text.

A log authenticates digests, not descriptions: whoever can edit the log can edit the text of an event and
leave the digest alone. Where the rule from data to digest is known, ``data_check`` applies it.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from enum import StrEnum

from labkit.measure.event_types import ALGORITHMS, EventType
from labkit.show import one_line

LOAD_OPTIONS_TAG = 0x8F3B22ED
INITRD_TAG = 0x8F3B22EC
_T = EventType

_WHOLE_DATA = {
    _T.EV_SEPARATOR,
    _T.EV_ACTION,
    _T.EV_S_CRTM_VERSION,
    _T.EV_EFI_ACTION,
    _T.EV_EFI_VARIABLE_DRIVER_CONFIG,
    _T.EV_EFI_VARIABLE_BOOT2,
    _T.EV_EFI_VARIABLE_AUTHORITY,
    _T.EV_EFI_GPT_EVENT,
}
_VARIABLES = {
    _T.EV_EFI_VARIABLE_DRIVER_CONFIG,
    _T.EV_EFI_VARIABLE_BOOT,
    _T.EV_EFI_VARIABLE_BOOT2,
    _T.EV_EFI_VARIABLE_AUTHORITY,
}
_TEXTS = {
    _T.EV_EFI_ACTION,
    _T.EV_ACTION,
    _T.EV_PLATFORM_CONFIG_FLAGS,
    _T.EV_POST_CODE,
    _T.EV_OMIT_BOOT_DEVICE_EVENTS,
}
_GRUB_STRINGS = (b"grub_cmd: ", b"kernel_cmdline: ", b"module_cmdline: ")
"""How GRUB begins the events of strings: it measures what follows (grub-core/commands/tpm.c)."""

_IMAGES = {
    _T.EV_EFI_BOOT_SERVICES_APPLICATION,
    _T.EV_EFI_BOOT_SERVICES_DRIVER,
    _T.EV_EFI_RUNTIME_SERVICES_DRIVER,
}
_BLOBS = {
    _T.EV_EFI_PLATFORM_FIRMWARE_BLOB,
    _T.EV_EFI_PLATFORM_FIRMWARE_BLOB2,
    _T.EV_POST_CODE2,
    _T.EV_EFI_HANDOFF_TABLES2,
}


class DataCheck(StrEnum):
    """Whether the data of an event hashes to its digest."""

    MATCHES = "matches"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


def variable(data: bytes) -> tuple[str, str, bytes] | None:
    """GUID, name and content of a UEFI_VARIABLE_DATA; ``None`` if the lengths do not fit exactly."""
    if len(data) < 32:
        return None
    name_length, content_length = struct.unpack_from("<QQ", data, 16)
    if 32 + 2 * name_length + content_length != len(data):
        return None
    name = data[32 : 32 + 2 * name_length].decode("utf-16-le", "replace")
    return str(uuid.UUID(bytes_le=data[:16])), name, data[32 + 2 * name_length :]


def tagged(data: bytes) -> tuple[int, bytes] | None:
    """Tag number and content of an EV_EVENT_TAG; ``None`` if the lengths do not fit exactly."""
    if len(data) < 8:
        return None
    tag, size = struct.unpack_from("<II", data)
    return (tag, data[8:]) if 8 + size == len(data) else None


def describe(kind: int, data: bytes) -> str:
    """One cleaned, bounded line about an event; never raises."""
    if kind in _VARIABLES:
        return _variable_line(kind, data)
    if kind == _T.EV_SEPARATOR:
        return _separator_line(data)
    if kind == _T.EV_EVENT_TAG:
        return _tag_line(data)
    if kind in _TEXTS or kind == _T.EV_IPL:
        return one_line(_text(data))
    if kind == _T.EV_S_CRTM_VERSION:
        return f"firmware version {one_line(data.decode('utf-16-le', 'replace'))!r}"
    if kind in _IMAGES:
        return _image_line(data)
    if kind in _BLOBS:
        return _blob_line(data)
    if kind == _T.EV_NO_ACTION:
        said = one_line(data[:16].decode("ascii", "replace").rstrip("\0"))
        return f"{said} {data[16]}" if said == "StartupLocality" and len(data) == 17 else said
    if kind == _T.DSTACK_EVENT:
        name, _, payload = data.partition(b":")
        return one_line(f"{name.decode('utf-8', 'replace')}: {payload.hex() or '(empty)'}")
    return f"{len(data)} bytes"


def data_check(kind: int, data: bytes, algorithm: int, digest: bytes) -> DataCheck:
    """Apply the rule from event data to digest, where one is known."""
    candidates, complete = _preimages(kind, data)
    name, _ = ALGORITHMS[algorithm]
    if name not in hashlib.algorithms_available:
        return DataCheck.UNKNOWN
    if any(hashlib.new(name, candidate).digest() == digest for candidate in candidates):
        return DataCheck.MATCHES
    return DataCheck.DIFFERS if complete else DataCheck.UNKNOWN


def _preimages(kind: int, data: bytes) -> tuple[list[bytes], bool]:
    """What may have been hashed, and whether anything else is certain to be a difference."""
    if kind in _WHOLE_DATA:
        return [data], True
    if kind == _T.EV_EFI_VARIABLE_BOOT:
        parts = variable(data)
        return ([data, parts[2]] if parts else [data]), True
    if kind == _T.DSTACK_EVENT:
        return [kind.to_bytes(4, "little") + b":" + data], True
    if kind == _T.EV_IPL:
        text = data.rstrip(b"\0")
        _, _, words = text.partition(b": ")
        return [data, text, words, words + b"\0"], text.startswith(_GRUB_STRINGS)
    return [data], False


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").rstrip("\0")


def _variable_line(kind: int, data: bytes) -> str:
    parts = variable(data)
    if parts is None:
        return f"a variable whose lengths do not fit its {len(data)} bytes"
    guid, name, content = parts
    if kind in (_T.EV_EFI_VARIABLE_BOOT, _T.EV_EFI_VARIABLE_BOOT2) and name != "BootOrder":
        return one_line(f"variable {name}: {_boot_option(content)}")
    shown = content[:16].hex() + ("…" if len(content) > 16 else "")
    known = "" if name in ("SecureBoot", "PK", "KEK", "db", "dbx", "BootOrder") else f" ({guid})"
    return one_line(f"variable {name}{known}: {shown or 'empty'}")


def _boot_option(content: bytes) -> str:
    """The description of an EFI_LOAD_OPTION: attributes, path length, UTF-16 text up to NUL."""
    text = content[6:].decode("utf-16-le", "replace").split("\0", 1)[0]
    return f"boot option {text!r}" if text else f"{len(content)} bytes"


def _separator_line(data: bytes) -> str:
    if data == bytes(4):
        return "separator"
    if data == b"\xff\xff\xff\xff":
        return "separator after a firmware error"
    return f"separator with data {data[:16].hex()}"


def _tag_line(data: bytes) -> str:
    parts = tagged(data)
    if parts is None:
        return f"a tagged event whose length does not fit its {len(data)} bytes"
    tag, content = parts
    name = one_line(_text(content))
    meaning = {LOAD_OPTIONS_TAG: "kernel command line", INITRD_TAG: "initrd"}.get(tag)
    return f"{meaning} ({name})" if meaning else f"tag {tag:#010x}: {name}"


def _image_line(data: bytes) -> str:
    if len(data) < 32:
        return f"an image event of {len(data)} bytes"
    base, length, _, path_length = struct.unpack_from("<QQQQ", data)
    return f"image of {length} bytes at {base:#x}, device path of {path_length} bytes"


def _blob_line(data: bytes) -> str:
    if len(data) == 16:
        base, length = struct.unpack("<QQ", data)
        return f"firmware volume at {base:#x}, {length:#x} bytes"
    if data and len(data) > data[0]:
        return one_line(_text(data[1 : 1 + data[0]]))
    return f"{len(data)} bytes"
