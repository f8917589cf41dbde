"""What is declared, what is refused, and what is declared anew, on a connection made of notes."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cyclades_tx.mq.amqp import Closed
from cyclades_tx.mq.interfaces import (
    BrokerUnavailable,
    ExchangeRefused,
    MessageRefused,
    Queue,
)
from cyclades_tx.mq.publisher import Publisher
from cyclades_tx.mq.topology import Topology

QUEUE = Queue("q", (("x", "k"),), ("x-dl", "q.dead"), {"x-max-length": 9}).of_type("quorum")


class NotedChannel:
    """A channel that notes what it is asked, until it has refused something."""

    def __init__(self, line: NotedConnection) -> None:
        self._line = line
        self._ended = False

    async def _ask(self, method: str, name: str, arguments: dict[str, Any]) -> None:
        assert not self._ended, "a channel that was closed by an error"
        if self._line.silent is not None:
            await self._line.silent
        refusal = self._line.refusals.get((method, name))
        if method == "exchange" and arguments.get("passive"):
            refusal = None if name in self._line.exchanges else Closed("404 NOT_FOUND", 404)
        if refusal is not None:
            self._ended = True
            raise refusal
        self._line.said.append((method, name, arguments))

    async def exchange_declare(self, exchange: str, **arguments: Any) -> None:
        """Note it."""
        await self._ask("exchange", exchange, arguments)

    async def queue_declare(self, queue: str, durable: bool, arguments: dict[str, Any]) -> None:
        """Note its arguments."""
        assert durable
        await self._ask("queue", queue, arguments)

    async def queue_bind(self, queue: str, **arguments: Any) -> None:
        """Note it."""
        await self._ask("bind", queue, arguments)

    async def finish(self) -> None:
        """End."""
        self._ended = True

    async def confirm_select(self) -> None:
        """Confirm."""

    def publish(self, *arguments: Any) -> None:
        """Note it."""
        self._line.said.append(("publish", arguments[0], {}))


class NotedConnection:
    """A connection of such channels.

    :ivar refusals: what is refused, by method and name.
    :ivar exchanges: those that others have made.
    :ivar silent: what every answer waits for.
    """

    def __init__(self) -> None:
        self.closed = False
        self.said: list[tuple[str, str, dict[str, Any]]] = []
        self.refusals: dict[tuple[str, str], Closed] = {}
        self.exchanges: set[str] = set()
        self.silent: Deferred[None] | None = None

    async def open_channel(self) -> Any:
        """Begin a channel."""
        return NotedChannel(self)

    def names(self, method: str) -> list[str]:
        """What this was done to."""
        return [name for said, name, _ in self.said if said == method]


class Bench:
    """A topology and a connection."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.line: Any = NotedConnection()
        self.publisher = Publisher(Clock(), 30.0, 1000)
        self.topology = Topology(self.publisher, self._within, self.told.append)

    async def _within(self, work: Coroutine[Any, Any, None]) -> None:
        await work


@pytest.fixture
def bench() -> Bench:
    """One of each."""
    return Bench()


REFUSED = Closed("403 ACCESS_REFUSED", 403)


async def test_dead_letters_are_kept_in_a_classic_queue(bench: Bench) -> None:
    """A quorum queue would throw away what was looked at too often."""
    bench.topology.add([QUEUE], [])
    await bench.topology.declare_all(bench.line)
    declared = {name: arguments for said, name, arguments in bench.line.said if said == "queue"}
    assert declared == {
        "q.dead": {"x-queue-type": "classic"},
        "q": {
            "x-queue-type": "quorum",
            "x-max-length": 9,
            "x-dead-letter-exchange": "x-dl",
        },
    }
    assert bench.line.names("bind") == ["q.dead", "q"]


async def test_dead_letters_that_are_refused_leave_the_queue_itself_usable(bench: Bench) -> None:
    """Such as on a node that is away: the live messages do not wait for it."""
    bench.line.refusals["queue", "q.dead"] = Closed("404 NOT_FOUND - its node is down", 404)
    bench.topology.add([QUEUE], [])
    await bench.topology.declare_all(bench.line)
    assert bench.topology.refusal("q") == "" and "q" in bench.line.names("bind")
    assert len(bench.told) == 1 and "q.dead" in bench.told[0]


async def test_an_exchange_that_others_declare_is_only_looked_for(bench: Bench) -> None:
    """Who may not declare it is refused once, and not again each minute."""
    bench.line.refusals["exchange", "x"] = REFUSED
    bench.line.exchanges.add("x")
    bench.topology.add([], ["x"])
    await bench.topology.declare_all(bench.line)
    assert bench.told == []
    del bench.line.refusals["exchange", "x"]
    await bench.topology.renew(bench.line)
    assert [arguments for _, _, arguments in bench.line.said] == [{"passive": True}] * 2


async def test_a_queue_is_bound_to_an_exchange_of_others(bench: Bench) -> None:
    """On a new channel, as the refusal has closed the first."""
    bench.line.refusals["exchange", "x"] = REFUSED
    bench.line.exchanges.add("x")
    bench.topology.add([QUEUE], [])
    await bench.topology.declare_all(bench.line)
    assert bench.told == [] and bench.line.names("bind") == ["q.dead", "q"]


async def test_a_missing_exchange_of_others_is_told_once_and_found_later(bench: Bench) -> None:
    """Without a new connection."""
    bench.line.refusals["exchange", "x"] = REFUSED
    bench.topology.add([], ["x"])
    await bench.topology.declare_all(bench.line)
    for _ in range(3):
        await bench.topology.renew(bench.line)
    (told,) = bench.told
    assert "404 NOT_FOUND, and we may not declare it" in told
    bench.line.exchanges.add("x")
    await bench.topology.renew(bench.line)
    assert bench.topology.refusal("") == ""


async def test_declaring_anew_interrupts_nothing(bench: Bench) -> None:
    """While the broker is slow with it, messages go and other queues are declared."""
    channel: Any = await bench.line.open_channel()
    await bench.publisher.attach(channel)
    bench.topology.add([QUEUE], ["x"])
    await bench.topology.declare_all(bench.line)
    bench.line.said.clear()
    bench.line.silent = slow = Deferred()
    renewing = Deferred.fromCoroutine(bench.topology.renew(bench.line))
    bench.line.silent = None
    waiting = bench.publisher.publish("x", "k", b"1", None, False)
    await bench.topology.declare(bench.line, [Queue("other")])
    await bench.topology.settled()
    assert bench.line.names("publish") == ["x"] and bench.line.names("queue") == ["other"]
    assert not renewing.called
    slow.callback(None)
    await renewing
    assert bench.line.names("bind") == ["q.dead", "q"]
    waiting.addErrback(lambda failure: failure.trap(BrokerUnavailable))
    bench.publisher.detach("over")


@pytest.mark.parametrize(
    ("code", "why", "blamed"),
    [
        (404, "NOT_FOUND - no exchange 'x' in vhost '/'", ExchangeRefused),
        (403, "ACCESS_REFUSED - access to exchange 'x' in vhost '/' refused", ExchangeRefused),
        (403, "ACCESS_REFUSED - write access to topic 'k' in exchange 'x' refused", MessageRefused),
        (403, "ACCESS_REFUSED - access to topic 'o' in exchange 'x' refused", BrokerUnavailable),
        (404, "NOT_FOUND - no exchange 'other' in vhost '/'", BrokerUnavailable),
        (406, "PRECONDITION_FAILED - exchange 'x'", BrokerUnavailable),
    ],
)
async def test_the_end_of_a_channel_is_blamed_on_whom_it_names(
    bench: Bench, code: int, why: str, blamed: type[Exception]
) -> None:
    """The exchange, one message, or none of this."""
    channel: Any = await bench.line.open_channel()
    await bench.publisher.attach(channel)
    sent = bench.publisher.publish("x", "k", b"1", None, False)
    bench.publisher.detach(why, code)
    with pytest.raises(Exception, match=why.partition("-")[0].strip()) as caught:
        await sent
    assert type(caught.value) is blamed
