"""Something large on its way to a client: who does not take it is cut off."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyChannel

from cyclades_tx.api.sending import PIECE_BYTES, Sending

DATA = bytes(range(256)) * (3 * PIECE_BYTES // 256)
STALL_SECONDS = 60.0


class Reader:
    """An object in memory."""

    size_bytes = len(DATA)

    def __init__(self) -> None:
        self.closed = False

    async def read(self, offset: int, most: int) -> bytes:
        """A part."""
        return DATA[offset : offset + most]

    async def close(self) -> None:
        """Let go."""
        self.closed = True


class Wire:
    """What a request is to who answers it: takes one piece, and then only what it is told to."""

    method = b"GET"

    def __init__(self) -> None:
        self.channel = self.transport = self
        self.taken = b""
        self.aborted = False
        self.producer: Any = None

    def notifyFinish(self) -> Deferred[None]:
        """Never fires."""
        return Deferred()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Remember who sends."""
        self.producer = producer

    def unregisterProducer(self) -> None:
        """It is over."""

    def write(self, data: bytes) -> None:
        """Take a piece, and ask for a pause."""
        self.taken += data
        self.producer.pauseProducing()

    def abortConnection(self) -> None:
        """The connection is cut."""
        self.aborted = True


def sent() -> tuple[Clock, Wire, Reader, Deferred[Any]]:
    """A download that has begun."""
    clock, wire, reader = Clock(), Wire(), Reader()
    request: Any = wire
    sending = Sending(clock, request, reader, 0, len(DATA), STALL_SECONDS)  # type: ignore[arg-type]
    return clock, wire, reader, ensureDeferred(sending._run())


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    """After the time for a piece, and nothing is held for it any more."""
    clock, wire, reader, running = sent()
    clock.advance(STALL_SECONDS - 0.1)
    assert (wire.aborted, reader.closed) == (False, False)
    clock.advance(0.2)
    await running
    assert (wire.aborted, reader.closed) == (True, True)
    assert not clock.getDelayedCalls()


async def test_a_client_that_takes_its_time_gets_everything() -> None:
    """As long as each piece is taken in time."""
    clock, wire, reader, running = sent()
    while not running.called:
        clock.advance(STALL_SECONDS - 1)
        wire.producer.resumeProducing()
    await running
    assert wire.taken == DATA
    assert (wire.aborted, reader.closed) == (False, True)
    assert not clock.getDelayedCalls()


async def test_a_client_that_went_away_before_is_sent_nothing() -> None:
    """While the object was looked for; what was opened is closed, and nothing is logged."""
    reader = Reader()
    request = Request(DummyChannel(), False)
    request.method = b"GET"
    sending = Sending(Clock(), request, reader, 0, len(DATA), STALL_SECONDS)  # type: ignore[arg-type]
    request.connectionLost(Failure(ConnectionDone()))
    await sending._run()
    assert reader.closed
