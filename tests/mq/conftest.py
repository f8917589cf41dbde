"""A real broker for the tests that need one, and clients of it that are closed afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from cyclades_tx.mq.broker import Broker, Patience, Trust
from cyclades_tx.mq.urls import BrokerAddress, parse_url
from tests.real.rabbitmq import RABBIT, RabbitNode
from tests.real.tcp_proxy import TcpProxy

#: Short pauses, so that tests are quick; everything else as in service.
QUICK = Patience(retry_first_seconds=0.05, retry_limit_seconds=0.2)
#: For the tests in which silence is to be noticed; a busy machine may be silent as well.
BRISK = replace(QUICK, heartbeat_seconds=1)


@pytest.fixture
def node() -> RabbitNode:
    """The node of this run, running."""
    return RABBIT.get()


@pytest.fixture
def proxy(node: RabbitNode) -> Iterator[TcpProxy]:
    """A network to the node that can be cut."""
    made = TcpProxy(node.port)
    yield made
    made.close()


@pytest.fixture
def prefix(node: RabbitNode) -> Iterator[str]:
    """What all names of a test begin with; its queues and exchanges are removed afterwards."""
    made = f"t{secrets.token_hex(4)}."
    yield made
    RABBIT.get()
    connection = node.connect()
    channel = connection.channel()
    for rest in ("q", "other", "q.dead", "other.dead"):
        channel.queue_delete(made + rest)
    for rest in ("x", "x-dl"):
        channel.exchange_delete(made + rest)
    connection.close()


@pytest_twisted.async_yield_fixture
async def connect() -> Any:
    """Make started brokers from URLs or addresses; they are stopped after the test."""
    made: list[Broker] = []

    def start(
        *places: str | BrokerAddress, patience: Patience = QUICK, trust: Trust | None = None
    ) -> Broker:
        addresses = [parse_url(place) if isinstance(place, str) else place for place in places]
        broker = Broker(reactor, addresses, trust, patience)
        made.append(broker)
        broker.start()
        return broker

    yield start
    for broker in made:
        await broker.stop()


@pytest.fixture
def until(sleep: Callable[[float], Any]) -> Callable[..., Any]:
    """Return a coroutine function that waits until something is so."""

    async def wait(condition: Callable[[], Any], seconds: float = 60.0) -> None:
        for _ in range(int(seconds / 0.01)):
            if condition():
                return
            await sleep(0.01)
        raise AssertionError("it has not come true")

    return wait
