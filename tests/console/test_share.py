"""The share of screens: in turn, a few at a time, and gone without a trace."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from cyclades_tx.console.share import Share
from tests.console.peers import HEIGHT, PIXELS, WIDTH, MemoryScreen, Wire, log_in, look, until
from tests.console.proxied import SECRET, Proxy


class Reading:
    """A transport that has something to read at any time.

    :ivar heard: how often it was read.
    """

    def __init__(self) -> None:
        self.ours, self.its = socket.socketpair()
        self.its.setblocking(False)
        self.ours.sendall(b"x" * 1000)
        self.reactor: Any = None
        self.heard = 0
        self.result: Any = None
        self.lost: list[Failure] = []

    def fileno(self) -> int:
        return self.its.fileno()

    def stopReading(self) -> None:
        """As transports do."""
        if self.reactor is not None:
            self.reactor.removeReader(self)

    def doRead(self) -> Any:
        """Read one byte, or do what the test says."""
        self.its.recv(1)
        self.heard += 1
        if isinstance(self.result, Exception) and not isinstance(self.result, ConnectionDone):
            raise self.result
        return self.result

    def connectionLost(self, reason: Failure) -> None:
        """Close, as transports do."""
        self.stopReading()
        self.close()
        self.lost.append(reason)

    def close(self) -> None:
        """Close both ends."""
        self.ours.close()
        self.its.close()


class MemoryReactor:
    """Knows who is to be read."""

    def __init__(self) -> None:
        self.readers: list[Any] = []
        self.word = "of the reactor"

    def addReader(self, reader: Any) -> None:
        """One more."""
        assert reader not in self.readers
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """One less."""
        self.readers.remove(reader)


@pytest.fixture
def transports() -> Any:
    """Ten of them."""
    made = [Reading() for _ in range(10)]
    yield made
    for each in made:
        each.close()


def test_each_is_heard_as_often_as_the_others_and_few_in_a_turn(transports: list[Reading]) -> None:
    """Although all have something to say all the time."""
    memory = MemoryReactor()
    share = Share(memory, at_once=4)
    for each in transports:
        share.enter(each)
        share.addReader(each)
        share.addReader(each)
    assert memory.readers == [share] and share.word == "of the reactor"
    for turn in range(1, 26):
        share.doRead()
        assert sum(each.heard for each in transports) == 4 * turn
    assert {each.heard for each in transports} == {10}
    # Who is paused is not heard; the others take its place.
    transports[0].stopReading()
    for _ in range(9):
        share.doRead()
    assert [each.heard for each in transports] == [10] + [14] * 9
    for each in transports:
        share.leave(each)
        share.removeReader(each)
    assert not memory.readers and not share.getReaders()


def test_whoever_is_over_is_told_and_harms_nobody(
    transports: list[Reading], logged_errors: Any
) -> None:
    """Whether it was closed, or failed, or was ended by another one of the same turn."""
    memory = MemoryReactor()
    share = Share(memory, at_once=3)
    closed, failing, ended = transports[:3]
    for each in (closed, failing, ended):
        share.enter(each)
        share.addReader(each)

    def end_others() -> Any:
        # Which of the three comes first is the kernel's choice.
        for each in (closed, failing, ended):
            if each is not failing and not each.lost:
                each.connectionLost(Failure(ConnectionDone()))
        raise ValueError("a fault")

    closed.result = ConnectionDone()
    failing.doRead = end_others  # type: ignore[method-assign]
    share.doRead()
    assert [len(each.lost) for each in (closed, failing, ended)] == [1, 1, 1]
    assert failing.lost[0].check(ValueError)
    assert len(logged_errors.flush(ValueError)) == 1
    assert not share.getReaders()
    share.doRead()


async def test_screens_are_read_by_it_and_leave_nothing_behind(proxy: Proxy) -> None:
    """Neither in the reactor nor open."""
    port = proxy.open_port()
    screens = [MemoryScreen() for _ in range(6)]
    wires: list[Wire] = []
    for number, screen in enumerate(screens):
        proxy.ticket(proxy.show(screen), f"secret{number}")
        wires.append(await proxy.dial(port))
        await log_in(wires[-1], 8, f"secret{number}".encode())
    (share,) = {
        each.screen.transport.reactor  # type: ignore[union-attr]
        for each in proxy.consoles._relays.values()
    }
    assert isinstance(share, Share) and len(share.getReaders()) == 6
    assert share in reactor.getReaders()  # type: ignore[attr-defined]
    for wire in wires:
        assert await look(wire, WIDTH, HEIGHT) == PIXELS
    for number, wire in enumerate(wires):
        # Whichever end goes first.
        if number % 2:
            await wire.close()
        else:
            screens[number].connections[0].transport.abortConnection()
    await until(lambda: not proxy.consoles._connections, "all are closed")
    assert not share.getReaders()
    assert share not in reactor.getReaders()  # type: ignore[attr-defined]
    proxy.ticket(proxy.show(), SECRET)
    assert await log_in(await proxy.dial(port), 8, SECRET.encode())
    assert share in reactor.getReaders()  # type: ignore[attr-defined]
