"""Bytes on the wire of AMQP 0-9-1, both ways: frames, arguments, properties and field tables.

Pure: no reactor, no protocol. What comes in is never believed: a length that goes beyond its
frame, a type that does not exist or tables nested without end are :class:`Malformed`. What
cannot be said on the wire is :class:`Unsendable`, before a byte of it was sent.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

METHOD = 1
HEADER = 2
BODY = 3
HEARTBEAT = 8

#: What a frame costs beyond its payload.
FRAME_OVERHEAD_BYTES = 8
#: Tables in tables; RabbitMQ itself writes two levels.
DEEPEST = 32
MOST_SHORT_TEXT_BYTES = 255
#: The only header of a message whose own headers mean nothing to us.
UNREADABLE = "x-unreadable-headers"

_END = 206
_END_BYTE = bytes((_END,))
_KINDS = frozenset((METHOD, HEADER, BODY, HEARTBEAT))
_HEAD = struct.Struct(">BHL")
_OCTET = struct.Struct(">B")
_SHORT = struct.Struct(">H")
_LONG = struct.Struct(">L")
_LONGLONG = struct.Struct(">Q")
_SIGNED_LONG = struct.Struct(">l")
_SIGNED_LONGLONG = struct.Struct(">q")
_DOUBLE = struct.Struct(">d")
_FIXED = {"octet": _OCTET, "short": _SHORT, "long": _LONG, "longlong": _LONGLONG,
          "timestamp": _LONGLONG}  # fmt: skip
#: Values of fixed size in a field table, by the letter of their type.
_VALUES = {
    "b": struct.Struct(">b"),
    "B": _OCTET,
    "s": struct.Struct(">h"),
    "u": _SHORT,
    "I": _SIGNED_LONG,
    "i": _LONG,
    "l": _SIGNED_LONGLONG,
    "L": _LONGLONG,
    "f": struct.Struct(">f"),
    "d": _DOUBLE,
}
_MOST_LONG = 2**31
_MOST_LONGLONG = 2**63

Frame = tuple[int, int, bytes]


class Malformed(Exception):
    """What came is not AMQP 0-9-1; the connection can only be given up."""


class Unsendable(ValueError):
    """A value that AMQP cannot carry, or that is too long for its field."""


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame."""
    return _HEAD.pack(kind, channel, len(payload)) + payload + _END_BYTE


class FrameBuffer:
    """Cuts what arrives, in pieces of whatever size, into frames.

    :param most_bytes: a frame with a larger payload is Malformed, before it is waited for.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return (kind, channel, payload) of each frame that is complete now.

        :raise Malformed: at the first byte that cannot be of a frame.
        """
        rest = self._rest
        source: bytes | bytearray = data
        if rest:
            rest += data
            source = rest
        found: list[Frame] = []
        offset, size = 0, len(source)
        while offset < size:
            if source[offset] not in _KINDS:
                raise Malformed("this is not AMQP 0-9-1")
            if size - offset < FRAME_OVERHEAD_BYTES:
                break
            kind, channel, length = _HEAD.unpack_from(source, offset)
            if length > self.most_bytes:
                raise Malformed(f"a frame of {length} bytes, {self.most_bytes} were agreed on")
            end = offset + 7 + length
            if end >= size:
                break
            if source[end] != _END:
                raise Malformed("a frame without its end")
            found.append((kind, channel, bytes(source[offset + 7 : end])))
            offset = end + 1
        if rest:
            del rest[:offset]
        else:
            rest += data[offset:]
        return found


def encode_arguments(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """The arguments of a method.

    :param types: as the specification names them; bits beside each other share an octet.
    :raise Unsendable: for a value that does not fit.
    """
    parts: list[bytes] = []
    bits = mask = 0
    for kind, value in zip(types, values, strict=True):
        if kind == "bit":
            mask = mask or 1
            bits |= mask if value else 0
            mask <<= 1
            if mask == 256:
                parts.append(_OCTET.pack(bits))
                bits = mask = 0
            continue
        if mask:
            parts.append(_OCTET.pack(bits))
            bits = mask = 0
        parts.append(_encoded(kind, value))
    if mask:
        parts.append(_OCTET.pack(bits))
    return b"".join(parts)


def decode_arguments(types: Sequence[str], data: bytes, offset: int = 0) -> list[Any]:
    """The values of a method's arguments.

    :raise Malformed: when the bytes are too few or mean nothing.
    """
    values: list[Any] = []
    bits = mask = 0
    try:
        for kind in types:
            if kind == "bit":
                if not mask:
                    bits, mask = data[offset], 1
                    offset += 1
                values.append(bool(bits & mask))
                mask = (mask << 1) & 0xFF
                continue
            mask = 0
            value, offset = _decoded(kind, data, offset)
            values.append(value)
    except (struct.error, IndexError):
        raise Malformed("arguments end too early") from None
    return values


def encode_header(
    class_id: int, body_bytes: int, fields: Sequence[tuple[str, str]], properties: Mapping[str, Any]
) -> bytes:
    """The header of a message.

    :param fields: name and type of each property that there is, at most 15, in their order.
    :raise Unsendable: for a value that does not fit.
    """
    flags = 0
    parts = []
    for bit, (name, kind) in zip(range(15, 0, -1), fields, strict=False):
        value = properties.get(name)
        if value is not None:
            flags |= 1 << bit
            parts.append(_encoded(kind, value))
    return struct.pack(">HHQH", class_id, 0, body_bytes, flags) + b"".join(parts)


def decode_header(
    payload: bytes, fields: Sequence[tuple[str, str]]
) -> tuple[int, int, dict[str, Any]]:
    """Class, size of the body in bytes, and the properties of a message.

    :raise Malformed: when the bytes are too few or mean nothing.
    """
    try:
        class_id, _weight, size, flags = struct.unpack_from(">HHQH", payload)
        offset = 14
        more = flags
        while more & 1:  # properties beyond the fifteen that exist
            (more,) = _SHORT.unpack_from(payload, offset)
            offset += 2
            if more & ~1:
                raise Malformed("a message has properties that do not exist")
        properties = {}
        for bit, (name, kind) in zip(range(15, 0, -1), fields, strict=False):
            if flags >> bit & 1:
                decode = _decoded_headers if kind == "table" else _decoded
                properties[name], offset = decode(kind, payload, offset)
    except (struct.error, IndexError):
        raise Malformed("a message's header ends too early") from None
    if flags >> 1 & ((1 << (15 - len(fields))) - 1):
        raise Malformed("a message has properties that do not exist")
    return class_id, size, properties


def encode_table(table: Mapping[str, Any], depth: int = 0) -> bytes:
    """A field table with its length before it.

    Text, bytes, truth, whole numbers up to 64 bits, floats, decimals, aware times, None,
    lists and tables can be values.

    :raise Unsendable: for anything else.
    """
    if depth > DEEPEST:
        raise Unsendable("tables are nested too deep")
    content = b"".join(
        [_short_text(key) + _table_value(value, depth + 1) for key, value in table.items()]
    )
    return _LONG.pack(len(content)) + content


def decode_table(data: bytes, offset: int = 0, depth: int = 0) -> tuple[dict[str, Any], int]:
    """A field table, and the offset behind it; text that is not UTF-8 arrives as bytes.

    :raise Malformed: when it is cut off, nested too deep or of types that do not exist.
    """
    offset, end = _extent(data, offset, depth)
    table: dict[str, Any] = {}
    try:
        while offset < end:
            key, offset = _decoded("shortstr", data, offset)
            table[key], offset = _decoded_value(data, offset, depth + 1)
    except (struct.error, IndexError):
        raise Malformed("a table ends too early") from None
    if offset != end:
        raise Malformed("a table's value goes beyond its end")
    return table, offset


def _decoded_list(data: bytes, offset: int, depth: int) -> tuple[list[Any], int]:
    offset, end = _extent(data, offset, depth)
    values = []
    while offset < end:
        value, offset = _decoded_value(data, offset, depth + 1)
        values.append(value)
    if offset != end:
        raise Malformed("a list's value goes beyond its end")
    return values, offset


def _decoded_headers(_kind: str, data: bytes, offset: int) -> tuple[dict[str, Any], int]:
    """A message's table; one that we cannot read must not cost us the connection.

    The broker hands the message over on the next one again, and so without end.
    """
    _, end = _extent(data, offset, 0)
    try:
        return decode_table(data[:end], offset)
    except Malformed:
        return {UNREADABLE: True}, end


def _extent(data: bytes, offset: int, depth: int) -> tuple[int, int]:
    """Where the content of a table or list begins and ends."""
    if depth > DEEPEST:
        raise Malformed("tables are nested too deep")
    try:
        (length,) = _LONG.unpack_from(data, offset)
    except struct.error:
        raise Malformed("a table ends too early") from None
    offset += 4
    if length > len(data) - offset:
        raise Malformed("a table is longer than what it is in")
    return offset, offset + length


def _encoded(kind: str, value: Any) -> bytes:
    try:
        if kind == "shortstr":
            return _short_text(value)
        if kind == "longstr":
            raw = value if isinstance(value, bytes) else value.encode()
            return _LONG.pack(len(raw)) + raw
        if kind == "table":
            return encode_table(value)
        return _FIXED[kind].pack(value)
    except (struct.error, UnicodeEncodeError, AttributeError, TypeError):
        raise Unsendable(f"a value of the type {type(value).__name__} is no {kind}") from None


def _short_text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Unsendable(f"a name is text, not {type(value).__name__}")
    try:
        # Names that came and were not UTF-8 go out as they came.
        raw = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Unsendable("a name is not Unicode") from None
    if len(raw) > MOST_SHORT_TEXT_BYTES:
        raise Unsendable(f"a name of {len(raw)} bytes, {MOST_SHORT_TEXT_BYTES} are allowed")
    return bytes((len(raw),)) + raw


def _decoded(kind: str, data: bytes, offset: int) -> tuple[Any, int]:
    if kind == "shortstr":
        end = offset + 1 + data[offset]
        if end > len(data):
            raise Malformed("text ends too early")
        return data[offset + 1 : end].decode("utf-8", "surrogateescape"), end
    if kind == "longstr":
        (length,) = _LONG.unpack_from(data, offset)
        end = offset + 4 + length
        if end > len(data):
            raise Malformed("text ends too early")
        return data[offset + 4 : end], end
    if kind == "table":
        return decode_table(data, offset)
    form = _FIXED[kind]
    return form.unpack_from(data, offset)[0], offset + form.size


def _table_value(value: Any, depth: int) -> bytes:
    """A value with the letter of its type before it."""
    match value:
        case None:
            return b"V"
        case bool():
            return b"t\x01" if value else b"t\x00"
        case int() if -_MOST_LONG <= value < _MOST_LONG:
            return b"I" + _SIGNED_LONG.pack(value)
        case int() if -_MOST_LONGLONG <= value < _MOST_LONGLONG:
            return b"l" + _SIGNED_LONGLONG.pack(value)
        case str():
            return b"S" + _encoded("longstr", value)
        case bytes():
            return b"x" + _encoded("longstr", value)
        case float():
            return b"d" + _DOUBLE.pack(value)
        case Decimal():
            return b"D" + _decimal(value)
        case datetime() if value.tzinfo is not None:
            return b"T" + _encoded("timestamp", int(value.timestamp()))
        case Mapping():
            return b"F" + encode_table(value, depth)
        case list() | tuple():
            if depth > DEEPEST:
                raise Unsendable("tables are nested too deep")
            content = b"".join([_table_value(each, depth + 1) for each in value])
            return b"A" + _LONG.pack(len(content)) + content
    raise Unsendable(f"a table cannot hold this {type(value).__name__}")


def _decoded_value(data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    try:
        kind = chr(data[offset])
        offset += 1
        form = _VALUES.get(kind)
        if form is not None:
            return form.unpack_from(data, offset)[0], offset + form.size
        if kind in "Sx":
            raw, offset = _decoded("longstr", data, offset)
            return (raw if kind == "x" else _text(raw)), offset
        if kind == "t":
            return data[offset] != 0, offset + 1
        if kind == "V":
            return None, offset
        if kind == "T":
            return _time(_LONGLONG.unpack_from(data, offset)[0]), offset + 8
        if kind == "D":
            digits = _SIGNED_LONG.unpack_from(data, offset + 1)[0]
            return Decimal(digits).scaleb(-data[offset]), offset + 5
    except (struct.error, IndexError):
        raise Malformed("a value ends too early") from None
    if kind == "F":
        return decode_table(data, offset, depth)
    if kind == "A":
        return _decoded_list(data, offset, depth)
    raise Malformed(f"a table has a value of the type {kind!r}")


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _time(seconds: int) -> datetime | int:
    """A time; one that no calendar has stays a number."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return seconds


def _decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise Unsendable(f"a table cannot hold the decimal {value}")
    places = max(0, -exponent)
    number = int("".join(map(str, digits)) or "0") * 10 ** min(max(0, exponent), 10)
    number = -number if sign else number
    if exponent > 10 or places > 255 or not -_MOST_LONG <= number < _MOST_LONG:
        raise Unsendable("a table cannot hold a decimal of so many digits")
    return bytes((places,)) + _SIGNED_LONG.pack(number)
