"""Commands about the queues at the broker: what waits in them, and dead letters sent again."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import click
from twisted.internet.defer import Deferred, TimeoutError

from cyclades_tx.errors import BadRequest, NotFound, Unavailable
from cyclades_tx.flows.facts import queues as our_queues
from cyclades_tx.manage import tables
from cyclades_tx.manage.options import WORD, output_format
from cyclades_tx.manage.runner import Failed, Settings
from cyclades_tx.mq.interfaces import (
    BrokerError,
    BrokerUnavailable,
    Delivery,
    IBroker,
    MessageRefused,
)
from cyclades_tx.mq.subscription import (
    DELIVERY_COUNT,
    ORIGIN_EXCHANGE,
    ORIGIN_QUEUE,
    REASON,
    REJECTED_AT,
)
from cyclades_tx.world import World

#: Marks a message that was sent again, so that it is not sent again for ever.
RETRIED = "from-dead-letter"
_DEATHS = "x-death"
#: Headers of a message's death, which the one that is sent again does not have.
_OF_THE_DEAD = (REASON, ORIGIN_EXCHANGE, ORIGIN_QUEUE, REJECTED_AT, DELIVERY_COUNT, _DEATHS)
_CONNECT_SECONDS = 20.0
_SILENCE_SECONDS = 5.0
_SHOWN_CHARACTERS = 200
_MOST_BODY_BYTES = 65_536
_MOST_MESSAGES = 10_000


@dataclass
class Retried:
    """What became of the dead letters of a queue.

    :ivar waiting: how many there were.
    :ivar retried: sent again, and gone from the queue.
    :ivar again: left there, since they had been sent again before.
    :ivar unknown: left there, since nothing tells that they came from our exchange.
    :ivar refused: left there, since the broker did not take them.
    """

    queue: str
    waiting: int = 0
    retried: int = 0
    again: int = 0
    unknown: int = 0
    refused: int = 0
    reason: str = ""


@click.command("queue-inspect")
@click.argument("queue", type=WORD)
@click.option(
    "--limit",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Most messages to show.",
)
@click.option("--full", is_flag=True, help="Show bodies up to 64 KiB, not only their beginning.")
@output_format
@click.pass_obj
def inspect(settings: Settings, queue: str, limit: int, full: bool, form: str) -> None:
    """Show what waits in a queue at the broker; nothing is taken out of it.

    A queue that is consumed in order lets nobody look inside; its dead letters, in the queue of
    the same name with ".dead", can always be seen.
    """

    async def work(world: World) -> dict[str, Any]:
        broker = await _opened(world)
        return await looked_at(broker, queue, limit, _MOST_BODY_BYTES if full else None)

    tables.show(tables.record(settings.run(work), form))


@click.command("queue-retry")
@click.argument("queue", type=WORD, nargs=-1)
@click.option("--again", is_flag=True, help="Also those that were sent again before.")
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST_MESSAGES),
    default=1000,
    show_default=True,
    help="Most messages of each queue.",
)
@output_format
@click.pass_obj
def retry(settings: Settings, queue: tuple[str, ...], again: bool, limit: int, form: str) -> None:
    """Send dead letters to where they came from, and remove them when the broker has them.

    Without a QUEUE those of all our queues. A message that was sent again and died again stays
    where it is unless --again is given. Exit code 1: something was left.
    """

    async def work(world: World) -> list[Retried]:
        broker = await _opened(world)
        names = queue or dead_letter_queues(world)
        missing = [name for name in names if not await _exists(broker, name)]
        if queue and missing:
            raise NotFound(f"There is no queue {missing[0]}.", "queue")
        return [
            await sent_again(
                world.reactor, broker, name, again, limit, world.config.broker.exchange
            )
            for name in names
            if name not in missing
        ]

    done = settings.run(work)
    rows = [asdict(each) for each in done]
    names = list(asdict(Retried("")))
    tables.show(tables.table(names, [list(row.values()) for row in rows], form))
    if any(each.retried < each.waiting for each in done):
        raise Failed("")


def add_to(group: click.Group) -> None:
    """Add the commands."""
    group.add_command(inspect)
    group.add_command(retry)


def dead_letter_queues(world: World) -> tuple[str, ...]:
    """The names of the dead-letter queues of this cloud."""
    config = world.config
    wanted = our_queues(config.broker.exchange, config.ganeti.instance_prefix)
    return tuple(each.dead_letters[1] for each in wanted if each.dead_letters is not None)


async def looked_at(
    broker: IBroker, queue: str, limit: int, body_bytes: int | None
) -> dict[str, Any]:
    """What waits in a queue.

    :param body_bytes: how much of each body is shown; None: a line of it.
    """
    try:
        waiting, consumers = await broker.depth(queue)
        seen = await broker.peek(queue, limit) if limit else []
    except BrokerUnavailable as error:
        raise Unavailable(f"The broker went away: {error}") from None
    except BrokerError as error:
        raise BadRequest(f"The broker does not show the queue {_plain(queue)}: {error}") from None
    return {
        "queue": _plain(queue),
        "messages": waiting,
        "consumers": consumers,
        "shown": [_described(number, each, body_bytes) for number, each in enumerate(seen, 1)],
    }


async def sent_again(
    clock: Any, broker: IBroker, queue: str, again: bool, limit: int, exchange: str
) -> Retried:
    """Send the dead letters of a queue to where they came from.

    :param again: also those that were sent again before.
    :param limit: most messages that are looked at; those that come meanwhile are not.
    :param exchange: the only one that they are sent to.
    """
    outcome = Retried(_plain(queue))
    try:
        outcome.waiting = (await broker.depth(queue))[0]
        left = min(outcome.waiting, limit)
        came: list[Delivery] = []
        waiter: list[Deferred[None]] = []

        def received(delivery: Delivery) -> None:
            came.append(delivery)
            if waiter and not waiter[0].called:
                waiter[0].callback(None)

        # Those that are left are unsettled until the end, so the window holds all of them.
        consumer = broker.consume(queue, left, received) if left else None
        while left:
            if not came:
                waiter[:] = [Deferred()]
                try:
                    await waiter[0].addTimeout(_SILENCE_SECONDS, clock)
                except TimeoutError:
                    break
            left -= 1
            delivery = came.pop(0)
            if (
                await _send_again(broker, delivery, again, exchange, outcome)
                and consumer is not None
            ):
                consumer.acknowledge((delivery,))
        if consumer is not None:
            await consumer.stop()
    except BrokerUnavailable as error:
        raise Unavailable(
            f"The broker went away; {outcome.retried} messages of {outcome.queue} were sent"
            f" again: {error}"
        ) from None
    except BrokerError as error:
        raise BadRequest(f"The broker does not give us {outcome.queue}: {error}") from None
    return outcome


async def _send_again(
    broker: IBroker, dead: Delivery, again: bool, exchange: str, outcome: Retried
) -> bool:
    """Send one; say whether it arrived."""
    target = origin(dead, exchange)
    if RETRIED in dead.headers and not again:
        outcome.again += 1
        return False
    if target is None:
        outcome.unknown += 1
        return False
    headers = {
        key: value
        for key, value in dead.headers.items()
        if key not in _OF_THE_DEAD and not key.startswith(("x-first-death", "x-last-death"))
    }
    headers[RETRIED] = True
    try:
        await broker.publish(*target, dead.body, headers, mandatory=True)
    except MessageRefused as error:
        outcome.refused += 1
        outcome.reason = _plain(str(error))
        return False
    outcome.retried += 1
    return True


def origin(dead: Delivery, ours: str) -> tuple[str, str] | None:
    """Exchange and routing key that a dead letter came by; None when nothing tells.

    Its sender may have written any of the headers, so that the message goes with our rights to
    where the sender's do not reach: no exchange but our own is believed.

    :param ours: the exchange that our queues are bound to.
    """
    exchange = dead.headers.get(ORIGIN_EXCHANGE)
    key: Any = dead.routing_key
    if not isinstance(exchange, str):
        deaths = dead.headers.get(_DEATHS)
        newest = deaths[0] if isinstance(deaths, list) and deaths else None
        if not isinstance(newest, Mapping):
            return None
        exchange = newest.get("exchange")
        keys = newest.get("routing-keys")
        key = keys[0] if isinstance(keys, list) and keys else None
    if exchange != ours or not isinstance(key, str):
        return None
    if exchange == dead.exchange and key == dead.routing_key:
        # It would only come back to where it is.
        return None
    return ours, key


async def _opened(world: World) -> IBroker:
    """The broker, connected.

    :raise BadRequest: when none is configured.
    :raise Unavailable: with the reason of the last try.
    """
    broker = world.broker
    if broker is None:
        raise BadRequest("No broker is configured; see broker.urls in the configuration file.")
    told: list[str] = []
    ready: Deferred[None] = Deferred()

    def changed(connected: bool, why: str) -> None:
        told.append(why)
        # Each address once, and no waiting for what will not mend itself now.
        if not ready.called and (connected or len(told) >= len(world.config.broker.urls)):
            ready.callback(None)

    end = broker.on_change(changed)
    broker.start()
    try:
        await ready.addTimeout(_CONNECT_SECONDS, world.reactor)
    except TimeoutError:
        told.append(f"no answer in {_CONNECT_SECONDS:g} seconds")
    finally:
        end()
    if not broker.connected:
        raise Unavailable(f"The broker cannot be reached: {'; '.join(told)}")
    return broker


async def _exists(broker: IBroker, queue: str) -> bool:
    try:
        await broker.depth(queue)
    except BrokerUnavailable:
        raise
    except BrokerError as error:
        if "404" in str(error):
            return False
        raise
    return True


def _described(number: int, message: Delivery, body_bytes: int | None) -> dict[str, Any]:
    """A message as an operator should see it, whatever is in it."""
    headers: dict[str, Any] = _plain(dict(message.headers))
    deaths = headers.pop(_DEATHS, None)
    reason = headers.pop(REASON, None)
    if reason is None and isinstance(deaths, list):
        reason = ", ".join(
            str(death.get("reason", "?")) for death in deaths if isinstance(death, dict)
        )
    return {
        "number": number,
        "bytes": len(message.body),
        "exchange": _plain(message.exchange),
        "routing_key": _plain(message.routing_key),
        "redelivered": message.redelivered,
        "reason": reason,
        "deaths": deaths,
        "headers": headers,
        "body": _body(message.body, body_bytes),
    }


def _body(body: bytes, most_bytes: int | None) -> str:
    """The body, or its beginning, as text; what is not UTF-8 in base64."""
    most = _SHOWN_CHARACTERS if most_bytes is None else most_bytes
    rest = len(body) - most
    more = f"… and {rest} bytes more" if rest > 0 else ""
    try:
        # A character may have been cut in two.
        return body[:most].decode("utf-8", "ignore" if rest > 0 else "strict") + more
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(body[:most]).decode()}{more}"


def _plain(value: Any) -> Any:
    """A value without anything that cannot be written: bytes and wrong Unicode as escapes."""
    match value:
        case str():
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case Mapping():
            return {_plain(key): _plain(member) for key, member in value.items()}
        case list():
            return [_plain(member) for member in value]
    return value
