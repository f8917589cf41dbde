"""The sender: everything in order, confirmed before it is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from cyclades_tx.gtools import sender
from cyclades_tx.gtools.buffer import Buffer
from cyclades_tx.gtools.journal import Mark
from cyclades_tx.gtools.sender import Sender
from tests.gtools.recorder import RecordingBroker
from tests.gtools.test_buffer import killed, opened, put


class Bench:
    """A sender between a buffer and a broker."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.broker = RecordingBroker()
        self.buffer: Buffer = opened(folder)
        self.sender = Sender(self.clock, self.broker, "ganeti", self.buffer)
        self.broker.start()

    def put(self, *numbers: int) -> None:
        for number in numbers:
            put(self.buffer, number)
        self.sender.send()

    def arrived(self) -> list[int]:
        return [message["n"] for message in self.broker.messages()]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.sender.start()
    yield made
    made.sender.stop()
    if made.buffer._lock >= 0:
        made.buffer.close()
    assert not made.clock.getDelayedCalls()


def test_a_message_is_sent_at_once(bench: Bench) -> None:
    """To the exchange, under its key."""
    bench.put(1)
    (published,) = bench.broker.published
    assert (published.exchange, published.routing_key) == ("ganeti", "ganeti.snf.event.op")
    assert bench.buffer.waiting == 0


def test_a_long_backlog_is_sent_without_deep_recursion(bench: Bench) -> None:
    """Also when the broker confirms each message at once."""
    bench.broker.go()
    bench.put(*range(3000))
    bench.broker.come()
    assert bench.arrived() == list(range(3000))


def test_only_so_many_are_on_their_way(bench: Bench) -> None:
    """The next ones go when those are confirmed."""
    bench.broker.holding = True
    bench.put(*range(250))
    assert len(bench.arrived()) == sender.WINDOW
    bench.broker.confirm()
    assert len(bench.arrived()) == 2 * sender.WINDOW
    assert bench.buffer.waiting == 150


def test_what_was_not_confirmed_is_sent_again_in_order(bench: Bench) -> None:
    """When the connection ended meanwhile."""
    bench.broker.holding = True
    bench.put(1, 2, 3)
    bench.broker.held.pop(0).callback(None)
    bench.broker.go()
    bench.put(4)
    bench.broker.published.clear()
    bench.broker.holding = False
    bench.broker.come()
    assert bench.arrived() == [2, 3, 4]
    assert bench.buffer.waiting == 0


def test_confirmations_are_written_down_soon(bench: Bench, tmp_path: Path) -> None:
    """A kill after that repeats nothing."""
    bench.put(1, 2)
    bench.clock.advance(sender.WRITE_SECONDS)
    killed(bench.buffer)
    again = opened(tmp_path)
    assert again.take(10) == []
    again.close()


def test_a_refused_message_is_tried_again_and_then_given_up(bench: Bench) -> None:
    """The ones behind it get through."""
    bench.broker.refusing.add("ganeti.snf.event.op")
    bench.put(1)
    for _ in range(sender.MOST_REFUSALS - 1):
        assert bench.buffer.waiting == 1
        bench.clock.advance(sender.RETRY_SECONDS)
    assert bench.sender.refused == 1
    bench.broker.refusing.clear()
    bench.put(2)
    assert bench.arrived() == [2]
    assert bench.buffer.waiting == 0


def test_a_message_that_is_refused_for_a_while_is_not_lost(bench: Bench) -> None:
    """The next try brings it."""
    bench.broker.refusing.add("ganeti.snf.event.op")
    bench.put(1, 2)
    bench.broker.refusing.clear()
    bench.clock.advance(sender.RETRY_SECONDS)
    assert bench.arrived() == [1, 2]


def test_everything_waits_while_the_exchange_is_missing(bench: Bench) -> None:
    """However long: nothing is given up, it is said once, and asked for ever more rarely."""
    bench.broker.exchange_is_there = False
    bench.put(*range(200))
    for _ in range(3600):
        bench.clock.advance(1)
    assert bench.sender.refused == 0 and bench.buffer.waiting == 200
    assert bench.broker.tries < sender.WINDOW + 3600 / sender.LONGEST_RETRY_SECONDS + 10
    bench.broker.exchange_is_there = True
    for _ in range(int(sender.LONGEST_RETRY_SECONDS)):
        bench.clock.advance(1)
    assert bench.arrived() == list(range(200)) and bench.buffer.waiting == 0


def test_a_message_that_closes_the_channel_takes_no_other_with_it(bench: Bench) -> None:
    """Those around it arrive; it is the only one that is given up."""
    bench.broker.closing.add("bad")
    bench.broker.holding = True
    put(bench.buffer, 1)
    bench.buffer.append("bad", b"{}", Mark(2, 5, 0, "running:0"))
    put(bench.buffer, 3)
    bench.sender.send()
    for _ in range(2 * sender.MOST_REFUSALS):
        bench.broker.confirm()
        bench.clock.advance(sender.RETRY_SECONDS)
    bench.broker.confirm()
    assert bench.sender.refused == 1 and bench.buffer.waiting == 0
    assert bench.arrived()[-1] == 3


def test_discarded_messages_are_not_sent(bench: Bench) -> None:
    """Nor do their late confirmations count for others."""
    bench.broker.holding = True
    bench.put(1, 2)
    assert bench.sender.discard() == 2
    bench.broker.holding = False
    bench.put(3)
    bench.broker.confirm()
    assert bench.arrived() == [1, 2, 3]
    assert bench.buffer.waiting == 0
