"""One subscription: what was handed over, and what of it is settled."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from zope.interface import implementer

from cyclades_tx.mq.amqp import Channel, Closed, Connection, Content
from cyclades_tx.mq.codec import Unsendable, encode_table
from cyclades_tx.mq.interfaces import Delivery, IConsumer

#: Headers of a message that was put aside.
REASON = "x-reason"
ORIGIN_EXCHANGE = "x-origin-exchange"
ORIGIN_QUEUE = "x-origin-queue"
REJECTED_AT = "x-rejected-at"
#: What a quorum queue adds: how often a message was given back.
DELIVERY_COUNT = "x-delivery-count"

_MOST_REASON_CHARACTERS = 1000
_MOST_HEADER_BYTES = 60_000
_STOP_SECONDS = 5.0
#: Of all subscriptions of this process, so that no delivery is taken for one of another.
_epochs = itertools.count(1)


@implementer(IConsumer)
class Subscription:
    """See :class:`IConsumer`; the broker attaches it to one channel after the other.

    :param put_aside: publishes a message to the dead letters; None: there is no such place.
    :param left: called when it has stopped.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        queue: str,
        prefetch: int,
        received: Callable[[Delivery], None],
        put_aside: Callable[[Delivery, Mapping[str, Any]], Deferred[None] | None],
        left: Callable[[Subscription], None],
    ) -> None:
        self.queue = queue
        self.stopped = False
        self._clock = clock
        self._prefetch = prefetch
        self._received = received
        self._put_aside = put_aside
        self._left = left
        self._channel: Channel | None = None
        self._epoch = 0
        #: Tags in the order of their coming, and whether they are done with.
        self._unsettled: OrderedDict[int, bool] = OrderedDict()
        self._done: set[int] = set()
        self._flush_call: Any = None

    @property
    def attached(self) -> bool:
        """Whether the broker hands messages over now."""
        return self._channel is not None

    async def attach(self, connection: Connection, lost: Callable[[str], None]) -> None:
        """Begin on this connection.

        :param lost: called when it ends although the connection does not.
        :raise Closed: when the broker refuses, or the connection has ended.
        """
        channel = await connection.open_channel()
        epoch = next(_epochs)

        def ended(reason: str) -> None:
            if self._channel is channel:
                self.detach()
                lost(reason)

        def canceled(_tag: str) -> None:
            ended("the broker has ended the consumer: its queue is gone")
            Deferred.fromCoroutine(channel.finish()).addErrback(lambda failure: None)

        def arrived(_name: str, content: Content) -> None:
            self._arrived(epoch, content)

        channel.on_content = arrived
        channel.on_cancel = canceled
        channel.on_closed = lambda reason: ended(str(reason))
        # From here on, since the first messages may come in one packet with the answer.
        self._channel, self._epoch = channel, epoch
        try:
            await channel.basic_qos(prefetch_count=self._prefetch)
            await channel.basic_consume(queue=self.queue)
        except BaseException:
            if self._channel is channel:
                self.detach()
            channel.on_closed = None
            Deferred.fromCoroutine(channel.finish()).addErrback(lambda failure: None)
            raise
        if self.stopped or self._channel is not channel:
            channel.on_content = channel.on_closed = None
            await channel.finish()

    def detach(self) -> None:
        """The channel is gone; the broker hands everything unsettled over again."""
        self._channel = None
        self._epoch = 0
        self._unsettled.clear()
        self._done.clear()
        if self._flush_call is not None:
            self._flush_call.cancel()
            self._flush_call = None

    def _arrived(self, epoch: int, content: Content) -> None:
        if epoch != self._epoch or self.stopped:
            return
        _consumer, tag, redelivered, exchange, routing_key = content.arguments
        self._unsettled[tag] = False
        try:
            self._received(
                delivery(self.queue, epoch, tag, redelivered, exchange, routing_key, content)
            )
        except Exception:
            self.log.failure("consumer.failed", queue=self.queue)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these, together with all others of this turn of the reactor."""
        for each in self._ours(deliveries):
            self._unsettled[each.tag] = True
            self._done.add(each.tag)
        if self._done and self._flush_call is None:
            self._flush_call = self._clock.callLater(0, self.flush)

    def flush(self) -> None:
        """Send the acknowledgments: one for all up to a tag, where that is true."""
        if self._flush_call is not None:
            if self._flush_call.active():
                self._flush_call.cancel()
            self._flush_call = None
        if self._channel is None:
            return
        last = 0
        while self._unsettled:
            tag = next(iter(self._unsettled))
            if not self._unsettled[tag]:
                break
            del self._unsettled[tag]
            last = tag
        if last:
            self._channel.ack(last, multiple=True)
        for tag in sorted(tag for tag in self._done if tag > last):
            self._channel.ack(tag)
            del self._unsettled[tag]
        self._done.clear()

    def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Give these back."""
        for each in self._ours(deliveries):
            assert self._channel is not None
            self._channel.nack(each.tag, requeue=True)
            del self._unsettled[each.tag]

    def reject(self, delivery: Delivery, reason: str) -> Deferred[None]:
        """Put one aside; see :class:`IConsumer`."""
        return Deferred.fromCoroutine(self._reject(delivery, reason))

    async def _reject(self, message: Delivery, reason: str) -> None:
        if not self._is_ours(message):
            return
        copied = self._put_aside(message, headers_of_rejected(message, reason, self._now()))
        if copied is not None:
            await copied
        self.acknowledge((message,))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)

    def _is_ours(self, each: Delivery) -> bool:
        return each.epoch == self._epoch and self._unsettled.get(each.tag) is False

    def _ours(self, deliveries: Iterable[Delivery]) -> Iterable[Delivery]:
        """Those that are unsettled on the channel of now."""
        return (each for each in deliveries if self._is_ours(each))

    def stop(self) -> Deferred[None]:
        """Take no more."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self.stopped:
            return
        self.flush()
        self.stopped = True
        self._left(self)
        channel = self._channel
        self.detach()
        if channel is not None:
            channel.on_content = channel.on_closed = channel.on_cancel = None
            # The end of the channel gives back what is not settled.
            ending = Deferred.fromCoroutine(channel.finish())
            with suppress(Closed, TimeoutError):
                await ending.addTimeout(_STOP_SECONDS, self._clock)


def delivery(
    queue: str,
    epoch: int,
    tag: int,
    redelivered: bool,
    exchange: str,
    routing_key: str,
    content: Content,
) -> Delivery:
    """A message as others see it."""
    headers = content.properties.get("headers") or {}
    count = headers.get(DELIVERY_COUNT, 0)
    return Delivery(
        body=content.body,
        queue=queue,
        exchange=exchange,
        routing_key=routing_key,
        headers=headers,
        redelivered=redelivered,
        count=count if isinstance(count, int) else 0,
        tag=tag,
        epoch=epoch,
    )


def headers_of_rejected(message: Delivery, reason: str, rejected_at: datetime) -> dict[str, Any]:
    """The headers of a message that is put aside: its own, and why and whence.

    Its own are left out when they cannot be sent again or are too long.
    """
    added = {
        REASON: reason.encode("utf-8", "replace").decode()[:_MOST_REASON_CHARACTERS],
        ORIGIN_EXCHANGE: message.exchange,
        ORIGIN_QUEUE: message.queue,
        REJECTED_AT: rejected_at.replace(microsecond=0),
    }
    kept = {key: value for key, value in message.headers.items() if key != DELIVERY_COUNT}
    headers = {**kept, **added}
    try:
        if len(encode_table(headers)) <= _MOST_HEADER_BYTES:
            return headers
    except Unsendable:
        pass
    return added
