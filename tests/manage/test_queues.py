"""Looking into queues and sending dead letters again, whatever strangers have put there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor

from cyclades_tx.errors import BadRequest, Unavailable
from cyclades_tx.flows.facts import queues
from cyclades_tx.manage.queues import RETRIED, looked_at, origin, sent_again
from cyclades_tx.manage.tables import JSON, PRETTY, record
from cyclades_tx.mq.interfaces import Delivery, Queue
from cyclades_tx.mq.memory import MemoryBroker, MemoryNode
from cyclades_tx.testing.broker_subject import Received
from cyclades_tx.testing.expected import raised
from tests.real.rabbitmq import RABBIT, RabbitNode

Manage = Callable[..., Any]

QUEUE = Queue("live", (("x", "a.#"),), ("x-dl", "live.dead"))
LETTER = Delivery(b"", "live.dead", "x-dl", "a.b", {}, False, 0, 1, 1)
DEATH = {"exchange": "x", "routing-keys": ["a.b"], "queue": "live", "reason": "expired"}


@pytest.fixture
def node() -> MemoryNode:
    """The memory broker's server."""
    return MemoryNode(reactor)


@pytest_twisted.async_yield_fixture
async def broker(node: MemoryNode, sleep: Any) -> Any:
    """A client of it, with a queue."""
    made = MemoryBroker(reactor, node)
    made.declare([QUEUE])
    made.start()
    while not made.connected:
        await sleep(0.001)
    yield made
    await made.stop()


async def put_aside(broker: MemoryBroker, sleep: Any, *bodies: bytes) -> None:
    """Let messages die in the queue."""
    received = Received(sleep)
    consumer = broker.consume("live", 100, received)
    for body in bodies:
        await broker.publish("x", "a.b", body, {"mine": 7})
    for each in await received.wait(len(bodies)):
        await consumer.reject(each, "no fact")
    await consumer.stop()


# Where it came from


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-origin-exchange": "x"}, ("x", "a.b")),
        ({"x-origin-exchange": "x", "x-death": [DEATH]}, ("x", "a.b")),
        ({"x-death": [DEATH, {"exchange": "older"}]}, ("x", "a.b")),
        ({"x-death": [{**DEATH, "routing-keys": ["other", "a.b"]}]}, ("x", "other")),
        ({}, None),
        ({"x-origin-exchange": 7}, None),
        ({"x-origin-exchange": "x-dl"}, None),
        ({"x-origin-exchange": "amq.direct", "x-death": [DEATH]}, None),
        ({"x-death": [{**DEATH, "exchange": "amq.direct"}]}, None),
        ({"x-death": [{**DEATH, "exchange": ""}]}, None),
        ({"x-death": "text"}, None),
        ({"x-death": []}, None),
        ({"x-death": [7]}, None),
        ({"x-death": [{}]}, None),
        ({"x-death": [{**DEATH, "exchange": b"\xff"}]}, None),
        ({"x-death": [{**DEATH, "routing-keys": []}]}, None),
        ({"x-death": [{**DEATH, "routing-keys": [None]}]}, None),
    ],
)
def test_the_origin_is_read_or_unknown(headers: dict[str, Any], expected: Any) -> None:
    """Our mark, then the newest death; nothing is guessed, no exchange but ours is believed."""
    assert origin(replace(LETTER, headers=headers), "x") == expected


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["x-death", "x-origin-exchange"]), st.recursive(
    st.none() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from(["exchange", "routing-keys"]), inner, max_size=2),
    max_leaves=5,
)))  # fmt: skip
def test_any_header_gives_an_origin_or_none(headers: dict[str, Any]) -> None:
    """A stranger wrote it."""
    found = origin(replace(LETTER, headers=headers), "x")
    assert found is None or (found[0] == "x" and isinstance(found[1], str))


# Sending again


async def test_dead_letters_go_back_to_where_they_came_from(
    node: MemoryNode, broker: MemoryBroker, sleep: Any
) -> None:
    """Marked, without the marks of their death, and in their order."""
    await put_aside(broker, sleep, b"1", b"2")
    done = await sent_again(reactor, broker, "live.dead", again=False, limit=10, exchange="x")
    assert (done.waiting, done.retried) == (2, 2)
    assert node.bodies("live") == [b"1", b"2"]
    assert node.bodies("live.dead") == []
    (first, _) = await broker.peek("live", 5)
    assert first.headers == {"mine": 7, RETRIED: True}
    assert (first.exchange, first.routing_key) == ("x", "a.b")


async def test_what_died_again_stays_unless_it_is_wanted(
    node: MemoryNode, broker: MemoryBroker, sleep: Any
) -> None:
    """So that nothing goes round for ever."""
    await put_aside(broker, sleep, b"1")
    await sent_again(reactor, broker, "live.dead", again=False, limit=10, exchange="x")
    received = Received(sleep)
    consumer = broker.consume("live", 10, received)
    (back,) = await received.wait(1)
    await consumer.reject(back, "still no fact")
    await consumer.stop()
    done = await sent_again(reactor, broker, "live.dead", again=False, limit=10, exchange="x")
    assert (done.retried, done.again) == (0, 1)
    assert node.bodies("live.dead") == [b"1"]
    done = await sent_again(reactor, broker, "live.dead", again=True, limit=10, exchange="x")
    assert done.retried == 1
    assert node.bodies("live") == [b"1"]


async def test_a_message_that_dies_at_once_is_sent_once(
    node: MemoryNode, broker: MemoryBroker, sleep: Any
) -> None:
    """A consumer that rejects everything does not keep the command busy."""
    await put_aside(broker, sleep, b"1", b"2", b"3")
    holder: list[Any] = []
    seen: list[bytes] = []

    def refuse(delivery: Delivery) -> None:
        seen.append(delivery.body)
        holder[0].reject(delivery, "never")

    holder.append(broker.consume("live", 10, refuse))
    done = await sent_again(reactor, broker, "live.dead", again=True, limit=10, exchange="x")
    await sleep(0.05)
    assert done.retried == 3 and seen == [b"1", b"2", b"3"]
    assert sorted(node.bodies("live.dead")) == [b"1", b"2", b"3"]


async def test_letters_without_an_origin_or_a_taker_stay(
    node: MemoryNode, broker: MemoryBroker
) -> None:
    """Each is counted; none is lost, and their order is kept."""
    await broker.publish("x-dl", "a.b", b"unknown")
    nobody = {**DEATH, "routing-keys": ["nobody.wants"]}
    await broker.publish("x-dl", "a.b", b"nobody", {"x-death": [nobody]})
    await broker.publish("x-dl", "a.b", b"fine", {"x-death": [DEATH]})
    done = await sent_again(reactor, broker, "live.dead", again=False, limit=10, exchange="x")
    assert (done.waiting, done.retried, done.unknown, done.refused) == (3, 1, 1, 1)
    assert "NO_ROUTE" in done.reason
    assert node.bodies("live.dead") == [b"unknown", b"nobody"]
    assert node.bodies("live") == [b"fine"]


async def test_no_letter_goes_where_its_sender_wants_it(
    node: MemoryNode, broker: MemoryBroker
) -> None:
    """One that expired, with our own mark forged: the command's rights are not the sender's."""
    theirs = Queue("theirs", (("elsewhere", "#"),))
    broker.declare([theirs])
    await broker.publish(
        "x-dl", "a.b", b"forged", {"x-origin-exchange": "elsewhere", "x-death": [DEATH]}
    )
    done = await sent_again(reactor, broker, "live.dead", again=True, limit=10, exchange="x")
    assert (done.waiting, done.retried, done.unknown) == (1, 0, 1)
    assert node.bodies("theirs") == [] and node.bodies("live.dead") == [b"forged"]


async def test_the_limit_and_an_empty_queue_end_at_once(
    node: MemoryNode, broker: MemoryBroker, sleep: Any
) -> None:
    """The rest stays for the next time."""
    assert (
        await sent_again(reactor, broker, "live.dead", again=False, limit=5, exchange="x")
    ).waiting == 0
    await put_aside(broker, sleep, b"1", b"2", b"3")
    done = await sent_again(reactor, broker, "live.dead", again=False, limit=2, exchange="x")
    assert (done.waiting, done.retried) == (3, 2)
    assert node.bodies("live.dead") == [b"3"]


async def test_a_broker_that_goes_away_is_said(
    node: MemoryNode, broker: MemoryBroker, sleep: Any
) -> None:
    """With how far it came; the rest is still there."""
    await put_aside(broker, sleep, b"1")
    node.stop()
    await raised(Unavailable, sent_again(reactor, broker, "live.dead", False, 5, "x"))
    await raised(Unavailable, looked_at(broker, "live.dead", 5, None))


# Looking


async def test_looking_takes_nothing_and_shows_all_there_is(
    node: MemoryNode, broker: MemoryBroker, sleep: Any
) -> None:
    """Reason, headers, body; in every form."""
    await put_aside(broker, sleep, '{"é": 1}'.encode())
    seen = await looked_at(broker, "live.dead", 10, None)
    assert node.bodies("live.dead") == ['{"é": 1}'.encode()]
    assert (seen["messages"], seen["consumers"]) == (1, 0)
    (message,) = seen["shown"]
    assert message["reason"] == "no fact" and message["body"] == '{"é": 1}'
    assert message["headers"]["x-origin-queue"] == "live"
    assert "no fact" in record(seen, PRETTY)
    assert json.loads(record(seen, JSON))["shown"][0]["headers"]["mine"] == 7


async def test_hostile_bodies_and_headers_can_be_shown(broker: MemoryBroker) -> None:
    """Nothing reaches the terminal that it would obey, and nothing makes it fail."""
    bodies = [b"\x1b[2J\x07\r\n", b"\xff\xfe\x00", b"", "é".encode() * 500, b"x" * 1_000_000]
    headers = {"a\udcff": b"\xff\x1b", "n": float("nan"), "deep": [{"t": None}], "\x1b[0m": "\n"}
    for body in bodies:
        await broker.publish("x-dl", "a.\udcfe\x1b", body, headers)
    for full in (None, 4096):
        seen = await looked_at(broker, "live.dead", 10, full)
        pretty = record(seen, PRETTY)
        assert "\x1b" not in pretty and "\x07" not in pretty
        shown = json.loads(record(seen, JSON))["shown"]
        assert [each["bytes"] for each in shown] == [len(body) for body in bodies]
        assert shown[1]["body"] == "base64://4A"
        assert shown[4]["body"].endswith("bytes more") and len(shown[4]["body"]) < 5000


async def test_a_queue_that_is_not_there_is_said(broker: MemoryBroker) -> None:
    """By both."""
    assert "nope" in (await raised(BadRequest, looked_at(broker, "nope", 5, None))).message
    await raised(BadRequest, sent_again(reactor, broker, "nope", False, 5, "x"))


# The commands


@pytest.fixture
def broker_config(config_path: Path) -> Path:
    """The configuration, with the run's RabbitMQ in it."""
    real = RABBIT.get()
    secret = config_path.parent / "amqp.password"
    secret.touch(mode=0o600)
    secret.write_text(real.password)
    url = f"amqp://127.0.0.1:{real.port}/{real.vhost.replace('/', '%2F')}"
    config_path.write_text(
        config_path.read_text() + f'[broker]\nurls = ["{url}"]\nusername = "{real.username}"\n'
        'password_file = "amqp.password"\nexchange = "retry-test"\n'
    )
    return config_path


@pytest.mark.real
async def test_dead_letters_are_seen_and_sent_again(manage: Manage, broker_config: Path) -> None:
    """At a real broker, through the commands; a message no consumer could read."""
    real: RabbitNode = RABBIT.get()
    wanted = queues("retry-test", "snf-")[0]
    assert wanted.dead_letters is not None
    connection = real.connect()
    channel = connection.channel()
    channel.exchange_declare("retry-test", "topic", durable=True)
    channel.exchange_declare("retry-test-dl", "topic", durable=True)
    key = wanted.bindings[0][1]
    for name, exchange, arguments in (
        (wanted.name, "retry-test", {"x-dead-letter-exchange": "retry-test-dl"}),
        (wanted.dead_letters[1], "retry-test-dl", {}),
    ):
        channel.queue_declare(name, durable=True, arguments=arguments)
        channel.queue_bind(name, exchange, key)
    try:
        channel.confirm_delivery()
        channel.basic_publish("retry-test", key, b"\xff\x1b[2J")
        method, _, _ = channel.basic_get(wanted.name)
        channel.basic_reject(method.delivery_tag, requeue=False)
        said = await manage("queue-inspect", wanted.dead_letters[1], "--output-format", "json")
        assert said.code == 0, said.err
        (message,) = json.loads(said.out)["shown"]
        assert message["reason"] == "rejected" and message["deaths"][0]["queue"] == wanted.name
        pretty = await manage("queue-inspect", wanted.dead_letters[1])
        assert pretty.code == 0 and "\x1b" not in pretty.out
        said = await manage("queue-retry", "--output-format", "json")
        assert said.code == 0, said.err + said.out
        assert [(row["queue"], row["retried"]) for row in json.loads(said.out)] == [
            (wanted.dead_letters[1], 1)
        ]
        _, properties, body = channel.basic_get(wanted.name, auto_ack=True)
        assert body == b"\xff\x1b[2J" and properties.headers[RETRIED] is True
        said = await manage("queue-inspect", "no.such.queue")
        assert said.code == 1 and "no.such.queue" in said.err
    finally:
        channel = connection.channel()
        for name in (wanted.name, wanted.dead_letters[1]):
            channel.queue_delete(name)
        connection.close()


@pytest.mark.real
async def test_a_wrong_password_is_said_at_once(manage: Manage, broker_config: Path) -> None:
    """Without the password."""
    (broker_config.parent / "amqp.password").write_text("not-the-word")
    said = await manage("queue-inspect", "any")
    assert said.code == 1 and "403 ACCESS_REFUSED" in said.err
    assert "not-the-word" not in said.out + said.err


async def test_without_a_broker_the_commands_say_so(manage: Manage) -> None:
    """The system works without one."""
    for words in (("queue-inspect", "any"), ("queue-retry",)):
        said = await manage(*words)
        assert said.code == 1 and "No broker is configured" in said.err
