"""Bytes that come and are asked for: in order, and never more than fits."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from cyclades_tx.image_store.pieces import MOST_BYTES, CutOff, Pieces
from cyclades_tx.testing.expected import raised


class Wire:
    """Says whether the connection goes on."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.pieces = Pieces(lambda: self.said.append("-"), lambda: self.said.append("+"))

    def read(self, least: int) -> Deferred[Any]:
        """Ask for bytes."""
        return ensureDeferred(self.pieces.read(least))


async def test_bytes_come_in_their_order() -> None:
    """Joined, once there are enough of them."""
    wire = Wire()
    asked = wire.read(4)
    wire.pieces.feed(b"ab")
    assert not asked.called
    wire.pieces.feed(b"cde")
    assert await asked == b"abcde"
    asked = wire.read(4)
    wire.pieces.feed(b"f")
    wire.pieces.end()
    assert await asked == b"f"
    assert await wire.read(4) == b""
    assert wire.pieces.complete


async def test_a_fast_sender_is_told_to_pause() -> None:
    """Until its bytes are taken; once."""
    wire = Wire()
    wire.pieces.feed(b"a" * MOST_BYTES)
    assert wire.said == []
    wire.pieces.feed(b"b")
    wire.pieces.feed(b"c")
    assert wire.said == ["-"]
    assert len(await wire.read(1)) == MOST_BYTES + 2
    assert wire.said == ["-", "+"]


async def test_a_sender_that_goes_away_is_told_of() -> None:
    """To who waits, and to who comes later; whatever has come by then is nothing."""
    wire = Wire()
    asked = wire.read(4)
    wire.pieces.feed(b"a")
    wire.pieces.cut()
    await raised(CutOff, asked)
    await raised(CutOff, wire.read(1))
    late = Wire()
    late.pieces.feed(b"abc")
    late.pieces.cut()
    await raised(CutOff, late.read(1))


async def test_after_the_end_nothing_is_cut() -> None:
    """The connection may go then."""
    wire = Wire()
    wire.pieces.feed(b"abc")
    wire.pieces.end()
    wire.pieces.cut()
    assert await wire.read(1) == b"abc"
    assert await wire.read(1) == b""
