"""The real broker passes the contract, with classic and with quorum queues."""

from __future__ import annotations

from dataclasses import replace

import pytest
import pytest_twisted
from twisted.internet import reactor

from cyclades_tx.mq.broker import Broker, Patience
from cyclades_tx.mq.urls import parse_url
from cyclades_tx.testing.broker_contract import broker_contract
from cyclades_tx.testing.broker_subject import BrokerSubject
from tests.real.rabbitmq import RABBIT, RabbitNode
from tests.real.tcp_proxy import TcpProxy

pytestmark = pytest.mark.real

#: Short pauses; everything else as in service.
PATIENCE = Patience(retry_first_seconds=0.05, retry_limit_seconds=0.2)


@pytest.fixture(scope="module")
def node() -> RabbitNode:
    """The node of this run."""
    return RABBIT.get()


class QuorumSubject(BrokerSubject):
    """Whose queues are quorum queues."""

    def queue(self, rest="q", key="k", **parts):
        queue = super().queue(rest, key, **parts)
        return replace(queue, arguments={**queue.arguments, "x-queue-type": "quorum"})


@pytest_twisted.async_yield_fixture(params=[BrokerSubject, QuorumSubject])
async def subject(request, node: RabbitNode, sleep):
    """Clients of the node, behind a network that can be cut."""
    proxy = TcpProxy(node.port)
    clients: list[Broker] = []

    def make() -> Broker:
        clients.append(Broker(reactor, [parse_url(node.url(proxy.port))], patience=PATIENCE))
        return clients[-1]

    def remove_queue(name: str) -> None:
        connection = node.connect()
        connection.channel().queue_delete(name)
        connection.close()

    subject = request.param(
        make=make, interrupt=proxy.reset, remove_queue=remove_queue, sleep=sleep
    )
    yield subject
    for client in clients:
        await client.stop()
    proxy.close()
    remove_everything(node, subject.prefix)


def remove_everything(node: RabbitNode, prefix: str) -> None:
    """Delete the queues and exchanges of a test."""
    connection = node.connect()
    channel = connection.channel()
    for rest in ("q", "star", "hash", "good"):
        channel.queue_delete(f"{prefix}{rest}")
        channel.queue_delete(f"{prefix}{rest}.dead")
    for rest in ("x", "x-dl", "x2"):
        channel.exchange_delete(f"{prefix}{rest}")
    connection.close()


TestRealBroker = broker_contract()
