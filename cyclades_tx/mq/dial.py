"""Reaching one broker, from nothing to a connection that is logged in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory

from cyclades_tx.mq.amqp import Closed, Connection
from cyclades_tx.mq.interfaces import BrokerUnavailable
from cyclades_tx.mq.patience import Patience
from cyclades_tx.mq.tls import Trust, keep_alive
from cyclades_tx.mq.urls import BrokerAddress


async def dial(
    reactor: Any,
    address: BrokerAddress,
    trust: Trust,
    patience: Patience,
    name: str,
    made: Callable[[Connection], None],
) -> tuple[Connection, Deferred[Closed]]:
    """Return a connection, and what fires with the reason when it has ended.

    :param name: what the broker's administrator sees.
    :param made: is told of the connection as soon as there is a socket.
    :raise Exception: of whatever kind; its text says why.
    """
    seconds = patience.connect_seconds
    built: list[Connection] = []

    def build() -> Connection:
        check = trust.check(address)
        built.append(Connection(reactor, address.vhost, patience.heartbeat_seconds, name, check))
        return built[0]

    factory = Factory.forProtocol(build)
    factory.noisy = False
    reaching = trust.endpoint(reactor, address, seconds).connect(factory)
    await reaching.addTimeout(seconds, reactor, _too_late("it does not answer"))
    connection = built[0]
    made(connection)
    lost: Deferred[Closed] = Deferred()
    connection.on_lost = lost.callback
    try:
        keep_alive(connection.transport)
        entering = connection.log_in(address.username, address.password)
        await entering.addTimeout(seconds, reactor, _too_late("it lets nobody in"))
    except BaseException as error:
        connection.abort(str(error))
        raise
    return connection, lost


def _too_late(words: str) -> Callable[[Any, float], Any]:
    def convert(result: Any, seconds: float) -> Any:
        result.trap(CancelledError)
        raise BrokerUnavailable(f"{words} within {seconds:g} seconds")

    return convert
