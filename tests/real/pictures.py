"""Pictures as browsers and X servers take them of themselves: their points."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Picture:
    """A picture of eight bits a color."""

    width: int
    height: int
    channels: int
    points: bytes

    def at(self, x: int, y: int) -> Color:
        """The color of a point."""
        start = (y * self.width + x) * self.channels
        red, green, blue = self.points[start : start + 3]
        return red, green, blue

    def count(self, color: Color, tolerance: int = 12) -> int:
        """How many points have about this color."""
        red, green, blue = (self.points[place :: self.channels] for place in range(3))
        lists = [
            bytes(abs(value - wanted) <= tolerance for value in range(256)) for wanted in color
        ]
        near = [
            part.translate(table) for part, table in zip((red, green, blue), lists, strict=True)
        ]
        both = int.from_bytes(near[0]) & int.from_bytes(near[1]) & int.from_bytes(near[2])
        return both.bit_count()


def read_png(data: bytes) -> Picture:
    """Read a PNG without interlacing, RGB or RGBA (PNG specification, section 9)."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    place, packed, head = 8, b"", b""
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        head = body if kind == b"IHDR" else head
        packed += body if kind == b"IDAT" else b""
        place += 12 + length
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    assert (depth, interlaced) == (8, 0) and color in (2, 6)
    size = 3 if color == 2 else 4
    raw, stride = zlib.decompress(packed), width * size
    before, rows = bytearray(stride), []
    for row in range(height):
        start = row * (stride + 1)
        line = bytearray(raw[start + 1 : start + 1 + stride])
        _unfilter(raw[start], line, before, size)
        rows.append(bytes(line))
        before = line
    return Picture(width, height, size, b"".join(rows))


def read_xwd(data: bytes) -> Picture:
    """Read a dump of an X server's screen, of 32 bits a point (``XWDFile.h``)."""
    head = struct.unpack_from(">25I", data)
    start, version, form, depth, width, height = head[:6]
    bits, line_bytes, colors = head[11], head[12], head[19]
    assert (version, form, bits) == (7, 2, 32) and depth in (24, 32)
    place = start + 12 * colors
    points = bytearray(width * height * 3)
    little = head[7] == 0
    rows = b"".join(
        data[place + row * line_bytes : place + row * line_bytes + width * 4]
        for row in range(height)
    )
    for channel in range(3):
        points[channel::3] = rows[2 - channel if little else channel + 1 :: 4]
    return Picture(width, height, 3, bytes(points))


def _unfilter(kind: int, line: bytearray, above: bytearray, size: int) -> None:
    if kind == 0:
        return
    for place in range(len(line)):
        left = line[place - size] if place >= size else 0
        corner = above[place - size] if place >= size else 0
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = above[place]
        elif kind == 3:
            guess = (left + above[place]) // 2
        else:
            guess = _nearest(left, above[place], corner)
        line[place] = line[place] + guess & 255


def _nearest(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))
