"""Names and sizes of the TCG's numbers: hash algorithms, event types, registers.

Source: TCG PC Client Platform Firmware Profile 1.05 (event types), TCG Algorithm Registry (algorithms).
"""

from __future__ import annotations

from enum import IntEnum

# Algorithm number -> (name of hashlib, digest size in bytes).
ALGORITHMS: dict[int, tuple[str, int]] = {
    0x0004: ("sha1", 20),
    0x000B: ("sha256", 32),
    0x000C: ("sha384", 48),
    0x000D: ("sha512", 64),
    0x0012: ("sm3", 32),
}
SHA384 = 0x000C
ALGORITHM_NUMBERS = {name: number for number, (name, _) in ALGORITHMS.items()}


class EventType(IntEnum):
    """Event types that occur in logs of UEFI machines; the two of dstack are its own."""

    EV_PREBOOT_CERT = 0x0
    EV_POST_CODE = 0x1
    EV_NO_ACTION = 0x3
    EV_SEPARATOR = 0x4
    EV_ACTION = 0x5
    EV_EVENT_TAG = 0x6
    EV_S_CRTM_CONTENTS = 0x7
    EV_S_CRTM_VERSION = 0x8
    EV_CPU_MICROCODE = 0x9
    EV_PLATFORM_CONFIG_FLAGS = 0xA
    EV_TABLE_OF_DEVICES = 0xB
    EV_COMPACT_HASH = 0xC
    EV_IPL = 0xD
    EV_IPL_PARTITION_DATA = 0xE
    EV_NONHOST_CODE = 0xF
    EV_NONHOST_CONFIG = 0x10
    EV_NONHOST_INFO = 0x11
    EV_OMIT_BOOT_DEVICE_EVENTS = 0x12
    EV_POST_CODE2 = 0x13
    DSTACK_EVENT = 0x08000001
    EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001
    EV_EFI_VARIABLE_BOOT = 0x80000002
    EV_EFI_BOOT_SERVICES_APPLICATION = 0x80000003
    EV_EFI_BOOT_SERVICES_DRIVER = 0x80000004
    EV_EFI_RUNTIME_SERVICES_DRIVER = 0x80000005
    EV_EFI_GPT_EVENT = 0x80000006
    EV_EFI_ACTION = 0x80000007
    EV_EFI_PLATFORM_FIRMWARE_BLOB = 0x80000008
    EV_EFI_HANDOFF_TABLES = 0x80000009
    EV_EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000000A
    EV_EFI_HANDOFF_TABLES2 = 0x8000000B
    EV_EFI_VARIABLE_BOOT2 = 0x8000000C
    EV_EFI_GPT_EVENT2 = 0x8000000D
    EV_EFI_HCRTM_EVENT = 0x80000010
    EV_EFI_VARIABLE_AUTHORITY = 0x800000E0
    EV_EFI_SPDM_FIRMWARE_BLOB = 0x800000E1
    EV_EFI_SPDM_FIRMWARE_CONFIG = 0x800000E2


def type_name(number: int) -> str:
    """The name of an event type, or its number in hex."""
    try:
        return EventType(number).name
    except ValueError:
        return f"{number:#010x}"


def rtmr_of_pcr(pcr: int) -> int | None:
    """The RTMR that stands for a PCR in a TD; ``None`` for PCR 0, whose place MRTD takes.

    Source: UEFI 2.10, section 38.4.1 (Intel TDX); edk2 ``MapPcrToMrIndex``. No PCR leads to RTMR3.
    """
    if pcr == 0:
        return None
    if pcr in (1, 7):
        return 0
    return 1 if pcr <= 6 else 2
