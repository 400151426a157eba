"""Physical memory as TME-MK and TDX see it: 64-byte lines with ciphertext, TD owner bit, MAC and poison.

Rules of the Intel TDX Module Base Architecture Specification (memory integrity protection) and of Linux'
``Documentation/arch/x86/tdx.rst`` and ``X86_BUG_TDX_PW_MCE``. The MAC is the published one: SHA-3-256 under
a key that the processor draws at power-on and keeps apart from the TDs' keys, over the ciphertext of the
line, its tweak (the encrypted address) and the owner bit, cut to 28 bits. Two choices are labkit's, since
they are not told: the AES-XTS tweak is the physical address of the line, and the 28 bits are the lowest.

Nothing in a line counts how often it was written. So neither way of protection notices a line that was put
back, nor a write that never arrived.

Lines are kept as plaintext together with the key they were written under, and are encrypted when somebody
looks at the bus: the answers are the same, and a 2 MiB launch does not encrypt 2 MiB twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher

LINE = 64
PAGE = 4096
_ZERO_LINE = bytes(LINE)
_ZERO_PAGE = bytes(PAGE)


class Integrity(StrEnum):
    """How private memory is protected: by the owner bit alone (Li, the usual one), or by a MAC too (Ci)."""

    CRYPTOGRAPHIC = "Ci"
    LOGICAL = "Li"


class Key:
    """One key that is programmed into the memory encryption engine under one KeyID.

    The two AES-128 halves belong to XTS: one for the data, one for the tweak.
    """

    __slots__ = ("keyid", "material", "private")

    def __init__(self, keyid: int, material: bytes, private: bool) -> None:
        self.keyid = keyid
        self.material = material
        self.private = private

    def __repr__(self) -> str:
        return f"<Key of KeyID {self.keyid}>"

    def encrypt(self, address: int, plain: bytes) -> bytes:
        """AES-XTS-128 of one line; the tweak is its physical address."""
        return self._xts(address).encryptor().update(plain)

    def decrypt(self, address: int, cipher: bytes) -> bytes:
        """The inverse of encrypt; another key or address gives noise."""
        return self._xts(address).decryptor().update(cipher)

    def tweak(self, address: int) -> bytes:
        """The encrypted tweak, which goes into the MAC and binds it to key and address."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        ecb = Cipher(algorithms.AES(self.material[16:]), modes.ECB())
        return ecb.encryptor().update(address.to_bytes(16, "little"))

    def _xts(self, address: int) -> Cipher[Any]:
        # Imported late: most of what labkit does with this room never looks at ciphertext.
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        return Cipher(algorithms.AES(self.material), modes.XTS(address.to_bytes(16, "little")))


@dataclass(frozen=True)
class BusLine:
    """What lies in the DIMM for one line: what an interposer on the memory bus sees and can put back."""

    address: int
    ciphertext: bytes
    owner: int
    mac: int | None
    poison: bool

    def to_dict(self) -> dict[str, object]:
        """Plain data, bytes as hex."""
        mac = None if self.mac is None else f"{self.mac:07x}"
        return {
            "address": self.address,
            "ciphertext": self.ciphertext.hex(),
            "owner": self.owner,
            "mac": mac,
            "poison": self.poison,
        }


@dataclass(frozen=True)
class Read:
    """What a reader gets: the bytes, whether poison was consumed (#MC), and why."""

    data: bytes
    poison: bool
    why: str


class _Line:
    """One line: plaintext under a key, or raw ciphertext where somebody wrote the bus."""

    __slots__ = ("cipher", "key", "mac", "owner", "plain", "poison")

    def __init__(self, plain: bytes, key: Key, owner: int, poison: bool = False) -> None:
        self.plain: bytes | None = plain
        self.key: Key | None = key
        self.owner = owner
        self.poison = poison
        self.cipher: bytes | None = None
        self.mac: int | None = None


class _Page:
    """A page written whole under one key, and the lines that differ from it by now."""

    __slots__ = ("key", "lines", "owner", "plain")

    def __init__(self, plain: bytes, key: Key, owner: int) -> None:
        self.plain = plain
        self.key = key
        self.owner = owner
        self.lines: dict[int, _Line] | None = None


class PhysicalMemory:
    """Lines by physical address (without KeyID bits), created when first written.

    Memory nobody wrote reads as zeros with the owner bit clear.
    """

    def __init__(self, default_key: Key, mac_key: bytes, integrity: Integrity) -> None:
        self._pages: dict[int, _Page] = {}
        self._default_key = default_key
        self._mac_key = mac_key
        self.integrity = integrity
        # Lines (addresses) whose writes an interposer on the memory bus lets get lost.
        self.dropped: set[int] = set()

    # Whole pages under a private key: how the module and a TD's own stores touch memory.

    def write_page(self, pfn: int, data: bytes, key: Key) -> None:
        """Write a whole page with direct stores (MOVDIR64B): the owner follows the key, poison is gone."""
        if self.dropped:
            self.write(pfn << 12, data, key)
        else:
            self._pages[pfn] = _Page(data, key, int(key.private))

    def clear_page(self, pfn: int, key: Key) -> None:
        """Zero a page with direct stores."""
        self.write_page(pfn, _ZERO_PAGE, key)

    def read_page(self, pfn: int, key: Key) -> Read:
        """Read a whole page."""
        page = self._pages.get(pfn)
        if page is not None and page.lines is None and page.key is key:
            return Read(page.plain, False, "")
        return self.read(pfn << 12, PAGE, key)

    # Any range, by any reader or writer.

    def read(self, address: int, size: int, key: Key, integrity_on: bool = False) -> Read:
        """Read bytes under a key; a bad line reads as zeros, and may become poisoned.

        integrity_on says whether a *shared* KeyID has integrity; under Linux KeyID 0 has not.
        """
        page = self._pages.get(address >> 12)
        offset = address & 0xFFF
        if page is not None and page.lines is None and page.key is key and offset + size <= PAGE:
            return Read(page.plain[offset : offset + size], False, "")
        parts = []
        poison = False
        why = ""
        first = address // LINE
        last = (address + size - 1) // LINE
        for index in range(first, last + 1):
            data, bad, reason = self._read_line(index * LINE, key, integrity_on)
            parts.append(data)
            poison = poison or bad
            why = why or reason
        skip = address - first * LINE
        return Read(b"".join(parts)[skip : skip + size], poison, why)

    def write(self, address: int, data: bytes, key: Key) -> bool:
        """Write bytes under a key; True where the store consumed poison, which it then leaves in place.

        A store checks nothing else: the owner bit of each touched line simply follows the writer's key.
        A store to a part of a line reads the rest under the writer's key first; a store of a whole line
        replaces it unread, as MOVDIR64B does, and is the only one that clears poison.
        """
        offset = address & 0xFFF
        page = self._pages.get(address >> 12)
        whole = page is not None and page.lines is None and page.key is key and not self.dropped
        if whole and offset + len(data) <= PAGE:
            assert page is not None
            page.plain = page.plain[:offset] + data + page.plain[offset + len(data) :]
            return False
        poisoned = False
        position = 0
        while position < len(data):
            line_address = (address + position) & ~(LINE - 1)
            start = address + position - line_address
            chunk = data[position : position + LINE - start]
            if line_address in self.dropped:
                position += len(chunk)
                continue
            if len(chunk) == LINE:
                self._put(line_address, _Line(chunk, key, int(key.private)))
                position += LINE
                continue
            old, bad, _ = self._read_line(line_address, key, False)
            poisoned = poisoned or bad
            merged = old[:start] + chunk + old[start + len(chunk) :]
            self._put(line_address, _Line(merged, key, int(key.private), poison=bad))
            position += len(chunk)
        return poisoned

    def poison(self, address: int) -> None:
        """Mark the line poisoned, as a partial write on parts with the erratum X86_BUG_TDX_PW_MCE does."""
        line = self._line(address & ~(LINE - 1))
        line.poison = True
        self._put(address & ~(LINE - 1), line)

    # The memory bus.

    def bus_read(self, address: int) -> BusLine:
        """What an interposer sees: the true ciphertext and the metadata in the ECC bits."""
        address &= ~(LINE - 1)
        line = self._line(address)
        self._seal(address, line)
        assert line.cipher is not None
        return BusLine(address, line.cipher, line.owner, line.mac, line.poison)

    def bus_write(self, seen: BusLine, address: int | None = None) -> None:
        """Put a line back as an interposer does, at its own or at another address, metadata included."""
        target = seen.address if address is None else address & ~(LINE - 1)
        line = _Line(_ZERO_LINE, self._default_key, seen.owner, seen.poison)
        line.plain, line.key, line.cipher, line.mac = None, None, seen.ciphertext, seen.mac
        self._put(target, line)

    def touched(self) -> list[int]:
        """The page numbers that were ever written, in order."""
        return sorted(self._pages)

    def owner(self, address: int) -> int:
        """The TD owner bit of the line at an address."""
        return self._line(address & ~(LINE - 1)).owner

    # Inside.

    def _line(self, address: int) -> _Line:
        page = self._pages.get(address >> 12)
        if page is None:
            return _Line(_ZERO_LINE, self._default_key, 0)
        offset = address & 0xFFF
        if page.lines is not None:
            line = page.lines.get(offset)
            if line is not None:
                return line
        return _Line(page.plain[offset : offset + LINE], page.key, page.owner)

    def _put(self, address: int, line: _Line) -> None:
        page = self._pages.get(address >> 12)
        if page is None:
            page = self._pages[address >> 12] = _Page(_ZERO_PAGE, self._default_key, 0)
        if page.lines is None:
            page.lines = {}
        page.lines[address & 0xFFF] = line

    def _seal(self, address: int, line: _Line) -> None:
        """Compute the ciphertext and MAC that the engine wrote with the line."""
        if line.cipher is None:
            assert line.plain is not None
            assert line.key is not None
            line.cipher = line.key.encrypt(address, line.plain)
            if self.integrity is Integrity.CRYPTOGRAPHIC:
                line.mac = self._mac(address, line.key, line.owner, line.cipher)

    def _mac(self, address: int, key: Key, owner: int, cipher: bytes) -> int:
        digest = hashlib.sha3_256(self._mac_key + key.tweak(address) + bytes([owner]) + cipher).digest()
        return int.from_bytes(digest[:4], "little") & 0xFFFFFFF

    def _read_line(self, address: int, key: Key, integrity_on: bool) -> tuple[bytes, bool, str]:
        line = self._line(address)
        if line.poison:
            return _ZERO_LINE, True, "the line was poisoned before"
        if key.private != bool(line.owner):
            if not key.private and not integrity_on:
                return _ZERO_LINE, False, "a TD owns the line: a shared KeyID reads zeros"
            return self._break(address, line, "the owner bit does not fit the reader")
        if line.key is key and line.plain is not None:
            return line.plain, False, ""
        checked = self.integrity is Integrity.CRYPTOGRAPHIC and (key.private or integrity_on)
        self._seal(address, line)
        assert line.cipher is not None
        if checked and line.mac != self._mac(address, key, line.owner, line.cipher):
            return self._break(address, line, "the MAC does not fit ciphertext, address and key")
        return key.decrypt(address, line.cipher), False, "" if checked else "decrypted without a MAC check"

    def _break(self, address: int, line: _Line, why: str) -> tuple[bytes, bool, str]:
        line.poison = True
        self._put(address, line)
        return _ZERO_LINE, True, why
