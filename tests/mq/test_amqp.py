"""txAMQP, cured: a test for each thing that was wrong, with pika as the other side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pika
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from cyclades_tx.mq.amqp import Channel, Closed, Connection, Content
from cyclades_tx.mq.channel import specification
from cyclades_tx.mq.codec import Unsendable
from tests.real.rabbitmq import RabbitNode

pytestmark = pytest.mark.real


@pytest.fixture
def other(node: RabbitNode, prefix: str) -> Iterator[Any]:
    """A channel of pika's, with a queue of this test's own."""
    connection = node.connect()
    channel = connection.channel()
    channel.queue_declare(prefix + "q", durable=True)
    yield channel
    connection.close()


@pytest_twisted.async_yield_fixture
async def ours(node: RabbitNode) -> Any:
    """A connection of our own."""
    connection = Connection(reactor, node.vhost, 5)
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", node.port), connection)
    await connection.log_in(node.username, node.password)
    yield connection
    await connection.shut(2)
    await connection.disconnected.wait()


async def consumed(channel: Channel, queue: str, until: Callable[..., Any]) -> Content:
    """The first message of a queue."""
    got: list[Content] = []
    channel.on_content = lambda name, content: got.append(content)
    await channel.basic_consume(queue=queue)
    await until(lambda: got)
    return got[0]


def test_the_specification_is_ours_and_has_what_rabbitmq_adds() -> None:
    """Confirms, nack and the notice of a blocked connection, under their numbers."""
    classes = specification().classes
    assert classes.byid[85].methods.byid[10].name == "select"
    assert classes.byid[60].methods.byid[120].name == "nack"
    assert [classes.byid[10].methods.byid[n].name for n in (60, 61)] == ["blocked", "unblocked"]


@pytest.mark.parametrize(
    "body",
    [b"ascii", "ein é".encode(), b"\xff\x00", b"", "☃".encode() * 200_000],
    ids=["ascii", "utf-8", "binary", "empty", "long"],
)
async def test_a_body_arrives_as_bytes(
    ours: Connection, other: Any, prefix: str, until: Any, body: bytes
) -> None:
    """Whether or not it could be text; one character outside ASCII was a wait without end."""
    other.basic_publish("", prefix + "q", body)
    got = await consumed(await ours.open_channel(), prefix + "q", until)
    assert got.body == body and isinstance(got.body, bytes)


async def test_a_body_whose_frames_are_text_and_binary_loses_nothing(
    ours: Connection, other: Any, prefix: str, until: Any
) -> None:
    """The first frame was lost when a later one was no text."""
    body = b"a" * 131_064 + b"\xff" * 100_000 + b"b" * 100_000
    other.basic_publish("", prefix + "q", body)
    got = await consumed(await ours.open_channel(), prefix + "q", until)
    assert got.body == body


async def test_text_outside_ascii_may_stand_anywhere(
    ours: Connection, other: Any, prefix: str, until: Any
) -> None:
    """In a body, a routing key, a header's name and value; lengths count bytes."""
    other.exchange_declare(prefix + "x", "topic")
    other.queue_bind(prefix + "q", prefix + "x", "schlüssel.☃")
    channel = await ours.open_channel()
    headers = {"größe": "é", "list": ["ü", {"ö": "ä"}]}
    channel.publish(prefix + "x", "schlüssel.☃", "körper".encode(), {"headers": headers})
    await channel.finish()
    method, properties, body = other.basic_get(prefix + "q", auto_ack=True)
    assert (body, properties.headers) == ("körper".encode(), headers)
    assert method.routing_key == "schlüssel.☃"


async def test_a_dead_letter_can_be_consumed(
    ours: Connection, other: Any, prefix: str, until: Any, sleep: Any
) -> None:
    """Its ``x-death`` is a list of tables with times and 64-bit numbers."""
    other.queue_declare(
        prefix + "other",
        durable=True,
        arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": prefix + "q"},
    )
    other.basic_publish("", prefix + "other", b"dying")
    got: Any = (None,)
    for _ in range(6000):
        got = other.basic_get(prefix + "other")
        if got[0] is not None:
            break
        await sleep(0.01)
    other.basic_reject(got[0].delivery_tag, requeue=False)
    dead = await consumed(await ours.open_channel(), prefix + "q", until)
    (death,) = dead.properties["headers"]["x-death"]
    assert death["queue"] == prefix + "other"
    assert (death["reason"], death["count"]) == ("rejected", 1)
    assert isinstance(death["time"], datetime)
    assert death["routing-keys"] == [prefix + "other"]


async def test_every_type_that_pika_says_is_understood(
    ours: Connection, other: Any, prefix: str, until: Any
) -> None:
    """Also nothing, bytes, times and large numbers."""
    from decimal import Decimal

    headers = {
        "none": None,
        "true": True,
        "bytes": b"\x00\xff",
        "time": datetime(2026, 5, 1, tzinfo=UTC),
        "negative": -5,
        "large": 2**50,
        "decimal": Decimal("3.14"),
        "nested": {"list": [1, None, {"deep": "é"}]},
    }
    properties = pika.BasicProperties(headers=headers, timestamp=7, priority=3, message_id="m")
    other.basic_publish("", prefix + "q", b"x", properties)
    got = await consumed(await ours.open_channel(), prefix + "q", until)
    assert got.properties.pop("headers") == headers
    assert got.properties == {"timestamp": 7, "priority": 3, "message-id": "m"}


async def test_every_type_of_ours_is_understood_by_pika(
    ours: Connection, other: Any, prefix: str
) -> None:
    """True stays true, negative numbers negative."""
    from decimal import Decimal

    headers = {
        "none": None,
        "true": True,
        "false": False,
        "negative": -5,
        "large": -(2**50),
        "decimal": Decimal("3.14"),
        "bytes": b"\x00\xff",
        "list": [1, None, {"deep": "é"}],
    }
    channel = await ours.open_channel()
    channel.publish("", prefix + "q", b"x", {"headers": headers, "delivery-mode": 2})
    await channel.finish()
    _, properties, _ = other.basic_get(prefix + "q", auto_ack=True)
    assert properties.headers == headers
    assert properties.headers["true"] is True and properties.headers["false"] is False
    assert properties.delivery_mode == 2


async def test_arguments_may_be_of_any_type(ours: Connection, prefix: str) -> None:
    """Truth and numbers of 64 bits, as queues want them."""
    channel = await ours.open_channel()
    arguments = {
        "x-single-active-consumer": True,
        "x-max-length-bytes": 2**40,
        "x-queue-type": "classic",
    }
    told = await channel.queue_declare(queue=prefix + "other", durable=True, arguments=arguments)
    assert told.queue == prefix + "other"
    again = await ours.open_channel()
    with pytest.raises(Closed, match="406"):
        await again.queue_declare(
            queue=prefix + "other",
            durable=True,
            arguments={**arguments, "x-single-active-consumer": False},
        )


async def test_what_cannot_be_said_leaves_the_channel_usable(
    ours: Connection, other: Any, prefix: str
) -> None:
    """It is refused before the first byte; everything waited for ever afterwards."""
    channel = await ours.open_channel()
    with pytest.raises(Unsendable):
        channel.publish("", prefix + "q", b"x", {"headers": {"n": 2**64}})
    with pytest.raises(Unsendable):
        channel.publish("", prefix + "q", b"x", {"headers": {"n": "x" * 200_000}})
    with pytest.raises(Unsendable):
        await channel.queue_declare(queue="q" * 256)
    with pytest.raises(Unsendable):
        await channel.queue_declare(queue=prefix + "other", arguments={"x": object()})
    assert (await channel.queue_declare(queue=prefix + "q", passive=True)).message_count == 0


async def test_confirms_settle_one_or_many(
    ours: Connection, other: Any, prefix: str, until: Any
) -> None:
    """Each tag once, taken, whatever the broker puts together."""
    channel = await ours.open_channel()
    settled: list[int] = []

    def confirmed(tag: int, multiple: bool, taken: bool) -> None:
        assert taken
        settled.extend(range((settled[-1] if settled else 0) + 1, tag + 1) if multiple else [tag])

    channel.on_confirm = confirmed
    await channel.confirm_select()
    for number in range(500):
        channel.publish("", prefix + "q", b"%d" % number, {"delivery-mode": 2})
    await until(lambda: len(settled) == 500)
    assert sorted(settled) == list(range(1, 501))


async def test_a_mandatory_message_comes_back(ours: Connection, until: Any) -> None:
    """With its body and the broker's reason."""
    channel = await ours.open_channel()
    back: list[Any] = []
    channel.on_content = lambda name, content: back.append((name, content))
    channel.publish("", "no.such.queue", "é".encode(), {"message-id": "7"}, mandatory=True)
    await until(lambda: back)
    ((name, content),) = back
    assert name == "return" and content.arguments[0] == 312
    assert content.body == "é".encode() and content.properties["message-id"] == "7"


async def test_a_consumer_hears_that_its_queue_was_deleted(
    ours: Connection, other: Any, prefix: str, until: Any
) -> None:
    """It waited for ever, since the broker was not told that we listen."""
    channel = await ours.open_channel()
    canceled: list[str] = []
    channel.on_cancel = canceled.append
    told = await channel.basic_consume(queue=prefix + "q")
    other.queue_delete(prefix + "q")
    await until(lambda: canceled)
    assert canceled == [told.consumer_tag]


async def test_without_waiting_nothing_is_waited_for(
    ours: Connection, other: Any, prefix: str
) -> None:
    """``no_wait`` gets no answer."""
    channel = await ours.open_channel()
    await channel.queue_declare(queue=prefix + "other", durable=True, no_wait=True)
    assert (await channel.queue_declare(queue=prefix + "other", passive=True)).queue
    await channel.queue_delete(queue=prefix + "other", no_wait=True)


async def test_an_error_ends_its_channel_and_no_other(
    ours: Connection, prefix: str, until: Any
) -> None:
    """The next channel is a new one; the dead one says why it is dead."""
    bystander = await ours.open_channel()
    channel = await ours.open_channel()
    reasons: list[Closed] = []
    channel.on_closed = reasons.append
    with pytest.raises(Closed, match="404") as caught:
        await channel.queue_declare(queue=prefix + "none", passive=True)
    await until(lambda: reasons)
    assert caught.value.code == 404 and reasons == [caught.value]
    assert channel.id not in ours.channels
    with pytest.raises(Closed, match="404"):
        await channel.basic_qos(prefetch_count=1)
    await bystander.basic_qos(prefetch_count=1)
    fresh = await ours.open_channel()
    assert fresh is not channel and fresh.id != bystander.id
    await fresh.basic_qos(prefetch_count=1)


async def test_channels_leave_nothing_behind(ours: Connection) -> None:
    """Thousands of them, one after the other."""
    before = set(ours.channels)
    for _ in range(2100):
        await (await ours.open_channel()).finish()
    assert set(ours.channels) == before


async def test_a_wrong_password_is_told_as_such(node: RabbitNode) -> None:
    """It looked like a lost connection, since the broker was not told that we understand."""
    connection = Connection(reactor, node.vhost, 5)
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", node.port), connection)
    with pytest.raises(Closed, match="403 ACCESS_REFUSED") as caught:
        await connection.log_in(node.username, "wrong")
    assert "wrong" not in str(caught.value)
    await connection.disconnected.wait()


async def test_deliveries_are_settled_one_or_many(
    ours: Connection, other: Any, prefix: str, until: Any
) -> None:
    """Acknowledged up to a tag, one given back."""
    for number in range(5):
        other.basic_publish("", prefix + "q", b"%d" % number)
    channel = await ours.open_channel()
    got: list[Content] = []
    channel.on_content = lambda name, content: got.append(content)
    await channel.basic_qos(prefetch_count=5)
    await channel.basic_consume(queue=prefix + "q")
    await until(lambda: len(got) == 5)
    channel.ack(got[2].arguments[1], multiple=True)
    channel.nack(got[4].arguments[1], requeue=True)
    await until(lambda: len(got) == 6)
    assert got[5].body == b"4" and got[5].arguments[2] is True
    await channel.finish()
    assert other.queue_declare(prefix + "q", passive=True).method.message_count == 2
