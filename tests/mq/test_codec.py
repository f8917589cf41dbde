"""The bytes on the wire: there and back, and whatever a stranger may send."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from decimal import Decimal
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclades_tx.mq import codec
from cyclades_tx.mq.codec import (
    FrameBuffer,
    Malformed,
    Unsendable,
    decode_arguments,
    decode_header,
    decode_table,
    encode_arguments,
    encode_header,
    encode_table,
)

PROPERTIES = (
    ("content-type", "shortstr"),
    ("headers", "table"),
    ("delivery-mode", "octet"),
    ("timestamp", "timestamp"),
)
SHORT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LONGLONGS = st.integers(-(2**63), 2**63 - 1)
DECIMALS = st.builds(
    lambda number, places: Decimal(number).scaleb(-places),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 255),
)
SIMPLE = st.one_of(
    st.none(),
    st.booleans(),
    LONGLONGS,
    st.floats(allow_nan=False),
    DECIMALS,
    TEXT,
    st.binary(),
    st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)).map(
        lambda time: time.replace(microsecond=0, tzinfo=UTC)
    ),
)
VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SHORT, inner, max_size=4),
    max_leaves=20,
)
TABLES = st.dictionaries(SHORT, VALUES, max_size=6)
ARGUMENTS = {
    "bit": st.booleans(),
    "octet": st.integers(0, 255),
    "short": st.integers(0, 2**16 - 1),
    "long": st.integers(0, 2**32 - 1),
    "longlong": st.integers(0, 2**64 - 1),
    "timestamp": st.integers(0, 2**64 - 1),
    "shortstr": SHORT,
    "longstr": st.binary(),
    "table": TABLES,
}


def nested(depth: int) -> bytes:
    """A table in a table, so many times."""
    table = b"\x00\x00\x00\x00"
    for _ in range(depth):
        content = b"\x01kF" + table
        table = struct.pack(">L", len(content)) + content
    return table


def nested_lists(depth: int) -> bytes:
    """A list in a list, so many times, in a table."""
    inner = b"A\x00\x00\x00\x00"
    for _ in range(depth):
        inner = b"A" + struct.pack(">L", len(inner)) + inner
    content = b"\x01k" + inner
    return struct.pack(">L", len(content)) + content


@settings(deadline=None)
@given(TABLES)
def test_a_table_comes_back_as_it_was(table: dict[str, Any]) -> None:
    """With the types of its values."""
    data = encode_table(table)
    back, offset = decode_table(data)
    assert offset == len(data)
    assert repr(back) == repr(table) or back == table


@settings(deadline=None)
@given(st.data())
def test_arguments_come_back_as_they_were(data: st.DataObject) -> None:
    """Bits beside each other share octets, and whatever is between them does not move."""
    types = data.draw(st.lists(st.sampled_from(sorted(ARGUMENTS)), max_size=20))
    values = [data.draw(ARGUMENTS[kind]) for kind in types]
    assert decode_arguments(types, encode_arguments(types, values)) == values


@settings(deadline=None)
@given(TABLES, st.integers(0, 2**40), st.none() | SHORT, st.none() | st.integers(0, 255))
def test_a_header_comes_back_as_it_was(
    table: dict[str, Any], size: int, kind: str | None, mode: int | None
) -> None:
    """A property that was not given is not there."""
    given_ones = {"content-type": kind, "headers": table, "delivery-mode": mode}
    data = encode_header(60, size, PROPERTIES, given_ones)
    known = {name: value for name, value in given_ones.items() if value is not None}
    assert decode_header(data, PROPERTIES) == (60, size, known)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 8]), st.binary(max_size=50))), st.data())
def test_frames_are_found_however_they_are_cut(
    frames: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    """One byte at a time, or all at once."""
    stream = b"".join(codec.frame(kind, 7, payload) for kind, payload in frames)
    buffer = FrameBuffer(100)
    found = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += buffer.feed(stream[:size])
        stream = stream[size:]
    assert found == [(kind, 7, payload) for kind, payload in frames]


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (True, b"t\x01"),
        (-1, b"I\xff\xff\xff\xff"),
        (2**31, b"l\x00\x00\x00\x00\x80\x00\x00\x00"),
        ("é", b"S\x00\x00\x00\x02\xc3\xa9"),
        (b"\xff", b"x\x00\x00\x00\x01\xff"),
        (None, b"V"),
        (1.5, b"d\x3f\xf8\x00\x00\x00\x00\x00\x00"),
        (Decimal("-1.5"), b"D\x01\xff\xff\xff\xf1"),
        (datetime(1970, 1, 2, tzinfo=UTC), b"T\x00\x00\x00\x00\x00\x01\x51\x80"),
        ([True], b"A\x00\x00\x00\x02t\x01"),
        ({"a": None}, b"F\x00\x00\x00\x03\x01aV"),
    ],
)
def test_values_are_said_as_rabbitmq_understands_them(value: Any, data: bytes) -> None:
    """Letter by letter, both ways."""
    content = b"\x01k" + data
    table = struct.pack(">L", len(content)) + content
    assert encode_table({"k": value}) == table
    assert decode_table(table)[0] == {"k": value}


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"b\xff", -1),
        (b"B\xff", 255),
        (b"s\xff\xff", -1),
        (b"u\xff\xff", 65535),
        (b"i\xff\xff\xff\xff", 2**32 - 1),
        (b"L\xff\xff\xff\xff\xff\xff\xff\xff", 2**64 - 1),
        (b"f\x3f\xc0\x00\x00", 1.5),
        (b"S\x00\x00\x00\x01\xff", b"\xff"),
        (b"T\xff\xff\xff\xff\xff\xff\xff\xff", 2**64 - 1),
    ],
)
def test_values_that_only_others_say_are_understood(data: bytes, value: Any) -> None:
    """Text that is not UTF-8 stays bytes, a time no calendar has a number."""
    content = b"\x01k" + data
    assert decode_table(struct.pack(">L", len(content)) + content)[0] == {"k": value}


def test_a_name_that_is_not_utf8_goes_back_as_it_came() -> None:
    """So that a message with such a routing key can be put aside under it."""
    raw = b"\x03a\xffb"
    (name,) = decode_arguments(["shortstr"], raw)
    assert encode_arguments(["shortstr"], [name]) == raw


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, object(), {1: 2}, {"k" * 256: 1}, "\ud800", datetime(2026, 1, 1),
     Decimal("NaN"), Decimal(10) ** 30, Decimal("1e-300"), {"deep": {1, 2}},
     datetime(1900, 1, 1, tzinfo=UTC)],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(value: Any) -> None:
    """Never half sent, never an exception of another kind."""
    with pytest.raises(Unsendable):
        encode_table({"k": value})


def test_a_table_that_holds_itself_is_refused() -> None:
    """The depth ends it."""
    table: dict[str, Any] = {}
    table["me"] = table
    with pytest.raises(Unsendable):
        encode_table(table)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(Unsendable):
        encode_table({"k": endless})


@pytest.mark.parametrize(
    ("types", "values"),
    [
        (["octet"], [256]),
        (["short"], [-1]),
        (["long"], ["1"]),
        (["shortstr"], ["é" * 128]),
        (["shortstr"], [b"x"]),
        (["longstr"], [7]),
        (["table"], [[1]]),
    ],
)
def test_arguments_that_do_not_fit_are_refused(types: list[str], values: list[Any]) -> None:
    """The length counts in bytes, not in characters."""
    with pytest.raises(Unsendable):
        encode_arguments(types, values)


# A stranger


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_garbage_is_a_table_or_malformed(data: bytes) -> None:
    """Nothing else."""
    try:
        table, offset = decode_table(data)
    except Malformed:
        return
    assert offset <= len(data)
    assert isinstance(table, dict)


@settings(deadline=None)
@given(TABLES, st.data())
def test_a_table_that_is_cut_off_is_malformed(table: dict[str, Any], data: st.DataObject) -> None:
    """At whatever place."""
    whole = encode_table(table)
    with pytest.raises(Malformed):
        decode_table(whole[: data.draw(st.integers(0, len(whole) - 1))])


@settings(deadline=None)
@given(st.binary(max_size=60), st.lists(st.sampled_from(sorted(ARGUMENTS)), max_size=6))
def test_garbage_is_arguments_or_malformed(data: bytes, types: list[str]) -> None:
    """As many as the method has, or none."""
    try:
        values = decode_arguments(types, data)
    except Malformed:
        return
    assert len(values) == len(types)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_garbage_is_a_header_or_malformed(data: bytes) -> None:
    """Flags without end are not followed for ever."""
    try:
        _, size, properties = decode_header(data, PROPERTIES)
    except Malformed:
        return
    assert size >= 0 and set(properties) <= {name for name, _ in PROPERTIES}


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=10))
def test_garbage_is_frames_or_malformed(pieces: list[bytes]) -> None:
    """And never kept beyond the largest frame."""
    buffer = FrameBuffer(100)
    total = 0
    try:
        for piece in pieces:
            total += len(piece)
            for kind, channel, payload in buffer.feed(piece):
                assert kind in (1, 2, 3, 8) and channel < 2**16
                total -= len(payload) + 8
    except Malformed:
        return
    assert total <= 108


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"AMQP\x00\x00\x09\x01",
        b"\x00",
        b"\x01\x00\x00\xff\xff\xff\xff",
        b"\x03\x00\x01\x00\x00\x00\x65",
        b"\x08\x00\x00\x00\x00\x00\x00\x00",
    ],
    ids=["http", "another version", "no kind", "4 GiB", "one byte too many", "no end"],
)
def test_what_cannot_become_a_frame_is_known_at_once(data: bytes) -> None:
    """Nothing of an absurd length is waited for."""
    with pytest.raises(Malformed):
        FrameBuffer(100).feed(data + b"\x00" * (0 if len(data) < 7 else 1))


@pytest.mark.parametrize("data", [nested(40), nested(2000), nested_lists(40), nested_lists(5000)])
def test_tables_nested_without_end_are_malformed(data: bytes) -> None:
    """Before Python's own stack ends."""
    with pytest.raises(Malformed, match="nested"):
        decode_table(data)


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 100])
@pytest.mark.parametrize("kind", [b"F", b"A", b"S", b"x"])
def test_an_absurd_length_in_a_table_is_malformed(kind: bytes, length: int) -> None:
    """Nothing is allocated for it."""
    content = b"\x01k" + kind + struct.pack(">L", length)
    with pytest.raises(Malformed):
        decode_table(struct.pack(">L", len(content)) + content)


def test_a_value_that_reaches_beyond_its_table_is_malformed() -> None:
    """Even if there are bytes enough behind it."""
    with pytest.raises(Malformed):
        decode_table(b"\x00\x00\x00\x04\x01kI\x00\x00\x00\x01" + b"\x00" * 20)


def test_headers_that_mean_nothing_leave_the_message_readable() -> None:
    """Else the broker would hand it over again on every new connection."""
    for table in (nested(40), b"\x00\x00\x00\x03\x01k?", b"\x00\x00\x00\x03\x09kV"):
        payload = struct.pack(">HHQH", 60, 0, 5, 0b0111 << 12) + table + b"\x02" + bytes(8)
        _, size, properties = decode_header(payload, PROPERTIES)
        assert size == 5 and properties["delivery-mode"] == 2
        assert properties["headers"] == {codec.UNREADABLE: True}


def test_nan_comes_back() -> None:
    """It equals nothing, so it needs a test of its own."""
    assert math.isnan(decode_table(encode_table({"n": math.nan}))[0]["n"])


def test_a_large_frame_in_small_pieces_is_joined_once() -> None:
    """Joining them anew at each piece would copy 130 GB."""
    stream = codec.frame(codec.BODY, 1, bytes(2**23))
    buffer = FrameBuffer(2**26)
    began = perf_counter()
    found = []
    for at in range(0, len(stream), 256):
        found += buffer.feed(stream[at : at + 256])
    assert len(found) == 1 and len(found[0][2]) == 2**23
    assert perf_counter() - began < 5
