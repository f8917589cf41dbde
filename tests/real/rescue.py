"""A CD that boots: the least one that a BIOS takes, which says on the serial port that it runs.

El Torito, "no emulation": the descriptor in sector 17 names the catalog, the catalog the program.
"""

from __future__ import annotations

import struct

#: What the machine says, over and over, on its first serial port.
SAYS = b"rescue: I was started from the CD\r\n"

_SECTOR = 2048
_CATALOG, _PROGRAM = 19, 20
#: Where a BIOS puts the program, and where the text begins in it.
_LOADED_AT = 0x7C00
_TEXT_AT = 0x40

# Waits before each byte until the port's transmitter is empty.
_CODE = (
    b"\x31\xc0\x8e\xd8"  # xor ax, ax; mov ds, ax
    + b"\xbe"
    + struct.pack("<H", _LOADED_AT + _TEXT_AT)  # again: mov si, text
    + b"\xba\xfd\x03"  # next: mov dx, 0x3fd
    + b"\xec\xa8\x20\x74\xfb"  # busy: in al, dx; test al, 0x20; jz busy
    + b"\xac\x84\xc0\x74\xf0"  # lodsb; test al, al; jz again
    + b"\xba\xf8\x03\xee\xeb\xed"  # mov dx, 0x3f8; out dx, al; jmp next
)


def iso() -> bytes:
    """The bytes of the CD."""
    sectors = [bytes(_SECTOR)] * 16
    sectors.append(_descriptor(1, b"\x01\x00" + bytes(32) + b"RESCUE".ljust(32)))
    boot = b"\x01EL TORITO SPECIFICATION".ljust(33, b"\0") + bytes(32)
    sectors.append(_descriptor(0, boot + struct.pack("<I", _CATALOG)))
    sectors.append(_descriptor(255, b"\x01"))
    header = struct.pack("<BBH24sHBB", 1, 0, 0, b"rescue", 0, 0x55, 0xAA)
    checksum = -sum(struct.unpack("<16H", header)) & 0xFFFF
    header = header[:28] + struct.pack("<H", checksum) + header[30:]
    entry = struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, 4, _PROGRAM)
    sectors.append((header + entry).ljust(_SECTOR, b"\0"))
    sectors.append((_CODE.ljust(_TEXT_AT, b"\0") + SAYS).ljust(_SECTOR, b"\0"))
    return b"".join(sectors)


def _descriptor(kind: int, rest: bytes) -> bytes:
    return (bytes([kind]) + b"CD001" + rest).ljust(_SECTOR, b"\0")
