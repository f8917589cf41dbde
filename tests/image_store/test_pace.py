"""Who sends too slowly is not waited for; a slow disk of ours is no fault of the sender."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock

from cyclades_tx.errors import TooSlow
from cyclades_tx.image_store.pace import Pace
from cyclades_tx.image_store.pieces import LITTLE_BYTES, Pieces
from cyclades_tx.testing.expected import raised


class Sender:
    """Bytes that come when the test says so: ten a second at least, over ten seconds."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pieces = Pieces(lambda: None, lambda: None)
        self.pace = Pace(self.clock, 10, 10.0)

    def read(self) -> Deferred[Any]:
        """Wait for bytes."""
        return ensureDeferred(self.pace.read(self.pieces))

    def over(self) -> bool:
        """Whether nothing is planned any more."""
        return not self.clock.getDelayedCalls()


async def test_who_sends_a_byte_now_and_then_is_refused() -> None:
    """At the end of the first window in which too little came."""
    sender = Sender()
    asked = sender.read()
    for _ in range(9):
        sender.clock.advance(1.0)
        sender.pieces.feed(b"x")
    assert not asked.called
    sender.clock.advance(1.0)
    await raised(TooSlow, asked)
    assert sender.over()
    # What comes after that harms nobody.
    sender.pieces.feed(b"x" * LITTLE_BYTES)
    sender.pieces.cut()


async def test_who_sends_enough_is_waited_for() -> None:
    """As long as it takes, also in small pieces; what came counts in one window only."""
    sender = Sender()
    asked = sender.read()
    for _ in range(50):
        sender.pieces.feed(b"x" * 10)
        sender.clock.advance(1.0)
    assert not asked.called
    sender.pieces.feed(b"x" * 99)
    sender.clock.advance(10.0)
    await raised(TooSlow, asked)


async def test_windows_go_on_over_many_reads() -> None:
    """Whoever is waited for a little each time is counted all the same."""
    sender = Sender()
    for _ in range(2):
        asked = sender.read()
        sender.clock.advance(4.0)
        sender.pieces.feed(b"x" * LITTLE_BYTES)
        assert len(await asked) == LITTLE_BYTES
    asked = sender.read()
    sender.clock.advance(2.0)
    # That window had plenty; the next has nothing.
    sender.clock.advance(9.9)
    assert not asked.called
    sender.clock.advance(0.1)
    await raised(TooSlow, asked)


async def test_time_in_which_nobody_was_waited_for_does_not_count() -> None:
    """The disk took a minute: what is there by then is taken, and the window begins."""
    sender = Sender()
    for _ in range(3):
        sender.pieces.feed(b"x" * LITTLE_BYTES)
        assert len(await sender.read()) == LITTLE_BYTES
        sender.clock.advance(60.0)
    asked = sender.read()
    sender.clock.advance(9.0)
    sender.pieces.end()
    assert await asked == b""
    assert sender.over()


async def test_who_stops_to_read_is_not_called_slow() -> None:
    """The service is being stopped, for example."""
    sender = Sender()
    asked = sender.read()
    asked.cancel()
    await raised(CancelledError, asked)
    assert sender.over()
