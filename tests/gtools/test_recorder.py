"""The double of the broker keeps the broker's promises, as far as it has them."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from cyclades_tx.mq.interfaces import BrokerUnavailable, IBroker, IConsumer
from tests.gtools.recorder import RecordingBroker


def test_it_has_all_that_a_broker_has() -> None:
    """Or a test would meet something that cannot happen."""
    broker = RecordingBroker()
    assert verifyObject(IBroker, broker)
    assert verifyObject(IConsumer, broker.consume("q", 1, print))


def test_it_takes_messages_only_while_it_is_there() -> None:
    """Whoever listens hears when it comes and goes."""
    broker, heard = RecordingBroker(connected=False), []
    end = broker.on_change(lambda connected, why: heard.append(connected))
    broker.start()
    failed = []
    broker.publish("x", "k", b"{}").addErrback(lambda failure: failed.append(failure.value))
    assert isinstance(failed[0], BrokerUnavailable)
    broker.come()
    broker.publish("x", "k", b'{"n": 1}')
    broker.go()
    end()
    broker.come()
    assert (broker.messages(), heard) == ([{"n": 1}], [True, False])
