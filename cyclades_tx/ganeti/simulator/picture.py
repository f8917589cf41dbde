"""What a simulated machine's screen shows: its name, colors, and something that moves.

A picture is bytes, one for each point, each the number of a color; a viewer gets the points in
the format that it asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 640, 400

#: Red, green and blue of each color.
COLORS = (
    (16, 20, 31), (232, 236, 241), (94, 201, 190), (130, 143, 163), (214, 69, 80),
    (242, 163, 65), (246, 221, 92), (88, 178, 96), (72, 133, 237), (139, 98, 204),
    (29, 37, 54),
)  # fmt: skip
BACK, FORE, ACCENT, DIM, FIRST_BAR, LAST_BAR, PANEL = 0, 1, 2, 3, 4, 9, 10

#: Each character in seven rows of five points, a row in two hexadecimal digits.
_FONT = {
    "A": "0E11111F111111", "B": "1E11111E11111E", "C": "0E11101010110E", "D": "1E11111111111E",
    "E": "1F10101E10101F", "F": "1F10101E101010", "G": "0E11101711110F", "H": "1111111F111111",
    "I": "0E04040404040E", "J": "0702020202120C", "K": "11121418141211", "L": "1010101010101F",
    "M": "111B1515111111", "N": "11191513111111", "O": "0E11111111110E", "P": "1E11111E101010",
    "Q": "0E11111115120D", "R": "1E11111E141211", "S": "0F10100E01011E", "T": "1F040404040404",
    "U": "1111111111110E", "V": "11111111110A04", "W": "11111115151B11", "X": "11110A040A1111",
    "Y": "11110A04040404", "Z": "1F01020408101F", "0": "0E11131519110E", "1": "040C040404040E",
    "2": "0E11010204081F", "3": "1F02040201110E", "4": "02060A121F0202", "5": "1F101E0101110E",
    "6": "0608101E11110E", "7": "1F010204080808", "8": "0E11110E11110E", "9": "0E11110F01020C",
    "-": "0000001F000000", ".": "00000000000C0C", ":": "000C0C000C0C00", "_": "0000000000001F",
    ">": "08040201020408", "/": "00010204081000", "@": "0E11171517100E", "(": "02040808080402",
    ")": "08040202020408", "#": "0A0A1F0A1F0A0A", "$": "040F140E051E04", "=": "00001F001F0000",
    "+": "0004041F040400", ",": "000000000C0408", "!": "04040404040004", "?": "0E110102040004",
    " ": "00000000000000",
}  # fmt: skip
_ADVANCE = 6
_LINE = 9

_BARS_TOP, _BARS_BOTTOM = 300, 340
_TRACK_TOP, _BLOCK = 220, 24
_CLOCK_TOP, _PROMPT_TOP = 150, 368
_LEFT, _RIGHT = 40, WIDTH - 40
_STEP = 8
_MOST_TYPED = 40


class Box(NamedTuple):
    """A part of the picture."""

    x: int
    y: int
    width: int
    height: int


WHOLE = Box(0, 0, WIDTH, HEIGHT)


@dataclass(frozen=True)
class PixelFormat:
    """How a viewer wants the points (RFC 6143, section 7.4); true color only.

    :ivar maxima: of red, green and blue; ``shifts``: where each begins.
    """

    bits: int
    big_endian: bool
    maxima: tuple[int, int, int]
    shifts: tuple[int, int, int]

    def tables(self) -> tuple[bytes, ...]:
        """For each byte of a point, what it is for each color."""
        size = self.bits // 8
        order = range(size - 1, -1, -1) if self.big_endian else range(size)
        values = [
            sum(
                (part * most // 255) << shift
                for part, most, shift in zip(color, self.maxima, self.shifts, strict=True)
            )
            for color in COLORS
        ]
        values += [0] * (256 - len(values))
        return tuple(bytes(value >> 8 * place & 255 for value in values) for place in order)


USUAL = PixelFormat(32, False, (255, 255, 255), (16, 8, 0))


class Picture:
    """The screen of one machine.

    :param name: the machine's.
    """

    def __init__(self, name: str) -> None:
        self._points = bytearray([BACK]) * (WIDTH * HEIGHT)
        self._place = _LEFT
        self._step = _STEP
        self._typed = ""
        self._fill(Box(0, 0, WIDTH, 44), PANEL)
        self._fill(Box(0, 44, WIDTH, 2), ACCENT)
        self._write("SIMULATED MACHINE", 16, 15, 2, DIM)
        self._write(name, _LEFT, 86, 6 if len(name) < 16 else 2, FORE)
        bar = (_RIGHT - _LEFT) // (LAST_BAR - FIRST_BAR + 1)
        for number, color in enumerate(range(FIRST_BAR, LAST_BAR + 1)):
            self._fill(Box(_LEFT + number * bar, _BARS_TOP, bar, _BARS_BOTTOM - _BARS_TOP), color)
        self._clock("")
        self._block(FORE)
        self._prompt()

    def advance(self, seconds: int) -> tuple[Box, ...]:
        """Move what moves; return the parts that have changed.

        :param seconds: for how long the machine has been running.
        """
        before = self._place
        self._block(BACK)
        if not _LEFT <= self._place + self._step <= _RIGHT - _BLOCK:
            self._step = -self._step
        self._place += self._step
        self._block(ACCENT)
        hours, minutes = divmod(seconds // 60, 60)
        clock = self._clock(f"UP {hours:02d}:{minutes:02d}:{seconds % 60:02d}")
        left = min(before, self._place)
        return clock, Box(left, _TRACK_TOP, _BLOCK + _STEP, _BLOCK)

    def press(self, key: int) -> tuple[Box, ...]:
        """Show a key that was pressed; return the parts that have changed.

        :param key: an X11 keysym.
        """
        if 32 <= key < 127 and len(self._typed) < _MOST_TYPED:
            self._typed += chr(key)
        elif key == 0xFF08:
            self._typed = self._typed[:-1]
        elif key == 0xFF0D:
            self._typed = ""
        else:
            return ()
        return (self._prompt(),)

    def part(self, box: Box, tables: tuple[bytes, ...]) -> bytes:
        """The points of a part, as a viewer wants them.

        :param tables: see :meth:`PixelFormat.tables`.
        """
        rows = range(box.y, box.y + box.height)
        starts = (row * WIDTH + box.x for row in rows)
        plain = b"".join(bytes(self._points[start : start + box.width]) for start in starts)
        size = len(tables)
        out = bytearray(len(plain) * size)
        for place, table in enumerate(tables):
            out[place::size] = plain.translate(table)
        return bytes(out)

    def _clock(self, text: str) -> Box:
        box = Box(_LEFT, _CLOCK_TOP, 240, 4 * _LINE)
        self._fill(box, BACK)
        self._write(text, _LEFT, _CLOCK_TOP, 3, ACCENT)
        return box

    def _block(self, color: int) -> None:
        self._fill(Box(self._place, _TRACK_TOP, _BLOCK, _BLOCK), color)

    def _prompt(self) -> Box:
        box = Box(_LEFT, _PROMPT_TOP, _RIGHT - _LEFT, 2 * _LINE)
        self._fill(box, BACK)
        self._write(f"> {self._typed}_", _LEFT, _PROMPT_TOP, 2, FORE)
        return box

    def _fill(self, box: Box, color: int) -> None:
        line = bytes([color]) * box.width
        for row in range(box.y, box.y + box.height):
            start = row * WIDTH + box.x
            self._points[start : start + box.width] = line

    def _write(self, text: str, x: int, y: int, scale: int, color: int) -> None:
        for character in text.upper():
            if x + 5 * scale > WIDTH:
                return
            rows = bytes.fromhex(_FONT.get(character, _FONT["?"]))
            for number, row in enumerate(rows):
                for place in range(5):
                    if row & 16 >> place:
                        top = y + number * scale
                        self._fill(Box(x + place * scale, top, scale, scale), color)
            x += _ADVANCE * scale
