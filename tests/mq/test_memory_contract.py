"""The memory broker passes the contract."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor

from cyclades_tx.mq.memory import MemoryBroker, MemoryNode
from cyclades_tx.testing.broker_contract import broker_contract
from cyclades_tx.testing.broker_subject import BrokerSubject


@pytest_twisted.async_yield_fixture
async def subject(sleep):
    """Clients of one node."""
    node = MemoryNode(reactor)
    clients = []

    def make() -> MemoryBroker:
        clients.append(MemoryBroker(reactor, node))
        return clients[-1]

    yield BrokerSubject(
        make=make, interrupt=node.disconnect, remove_queue=node.delete_queue, sleep=sleep
    )
    for client in clients:
        await client.stop()


TestMemoryBroker = broker_contract()


@pytest.fixture
def node() -> MemoryNode:
    """A node alone."""
    return MemoryNode(reactor)


async def test_a_stopped_node_keeps_its_messages(node: MemoryNode, sleep) -> None:
    """As durable queues do."""
    subject = BrokerSubject(
        make=lambda: MemoryBroker(reactor, node),
        interrupt=node.disconnect,
        remove_queue=node.delete_queue,
        sleep=sleep,
    )
    queue = subject.queue()
    broker = await subject.started(queue)
    await broker.publish(subject.exchange, "k", b"1")
    node.stop()
    assert not broker.connected
    await sleep(0.02)
    assert not broker.connected
    node.start()
    await subject.until(lambda: broker.connected)
    assert node.bodies(queue.name) == [b"1"]
    await broker.stop()


async def test_a_blocked_node_holds_messages_back(node: MemoryNode, sleep) -> None:
    """They are confirmed when it takes messages again."""
    subject = BrokerSubject(
        make=lambda: MemoryBroker(reactor, node),
        interrupt=node.disconnect,
        remove_queue=node.delete_queue,
        sleep=sleep,
    )
    queue = subject.queue()
    broker = await subject.started(queue)
    told: list[str] = []
    broker.on_change(lambda connected, why: told.append(why))
    node.block("disk")
    waiting = broker.publish(subject.exchange, "k", b"1")
    await sleep(0.02)
    assert not waiting.called and "disk" in told[-1]
    node.unblock()
    await waiting
    assert node.bodies(queue.name) == [b"1"]
    await broker.stop()
