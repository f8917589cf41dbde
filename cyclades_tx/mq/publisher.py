"""Messages on their way to the broker, until it has taken each of them on."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from cyclades_tx.mq.amqp import Channel, Closed, Content
from cyclades_tx.mq.codec import Unsendable
from cyclades_tx.mq.interfaces import BrokerUnavailable, ExchangeRefused, MessageRefused

_PERSISTENT = 2
#: Access refused, not found.
_REFUSED = (403, 404)
_MESSAGE_ID = "message-id"


@dataclass(slots=True)
class _Publication:
    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any] | None
    mandatory: bool
    done: Deferred[None]
    deadline: float
    unroutable: str = ""

    def end(self, error: Exception | None = None) -> None:
        """Tell whoever waits, unless nobody does any longer."""
        if self.done.called:
            return
        if error is None:
            self.done.callback(None)
        else:
            self.done.errback(Failure(error))


def _verdict(publication: _Publication, why: str, code: int) -> Exception:
    """What the end of the channel means for a message that was not confirmed."""
    if code not in _REFUSED or f"exchange '{publication.exchange}'" not in why:
        return BrokerUnavailable(why)
    if "topic '" in why:
        # The right to some routing keys is missing, not the one to the exchange.
        guilty = f"topic '{publication.routing_key}'" in why
        return MessageRefused(why) if guilty else BrokerUnavailable(why)
    return ExchangeRefused(why)


class Publisher:
    """Sends with confirms on one channel after the other; holds back while the broker says so.

    :param timeout_seconds: how long a message may wait to be confirmed.
    :param most_waiting_bytes: more than this in unconfirmed bodies is refused at once.
    """

    def __init__(self, clock: Any, timeout_seconds: float, most_waiting_bytes: int) -> None:
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._most_waiting_bytes = most_waiting_bytes
        self._channel: Channel | None = None
        self._why = "there is no connection to the broker yet"
        self._paused: dict[str, str] = {}
        self._held: deque[_Publication] = deque()
        self._sent: OrderedDict[int, _Publication] = OrderedDict()
        self._waiting_bytes = 0
        self._last_tag = 0
        self._sweeper: Any = None

    async def attach(self, channel: Channel) -> None:
        """Publish on this channel from now on."""
        channel.on_confirm = self._confirmed
        channel.on_content = self._returned
        await channel.confirm_select()
        self._last_tag = 0
        self._channel = channel

    def detach(self, why: str, code: int = 0) -> None:
        """There is no channel any more; whatever waits may or may not have arrived.

        :param code: AMQP's number of the reason, when the broker has closed the channel.
        """
        self._channel = None
        self._why = why
        self._paused.clear()
        waiting = [*self._sent.values(), *self._held]
        self._sent.clear()
        self._held.clear()
        self._waiting_bytes = 0
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for publication in waiting:
            publication.end(_verdict(publication, why, code))

    def pause(self, cause: str, reason: str) -> None:
        """Hold messages back from now on."""
        self._paused[cause] = reason

    def go_on(self, cause: str) -> None:
        """This is no cause any longer to hold messages back."""
        self._paused.pop(cause, None)
        while self._held and not self._paused and self._channel is not None:
            self._send(self._held.popleft())

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None,
        mandatory: bool,
    ) -> Deferred[None]:
        """See :meth:`IBroker.publish`."""
        if self._channel is None:
            return fail(BrokerUnavailable(self._why))
        if self._waiting_bytes + len(body) > self._most_waiting_bytes:
            text = f"{self._waiting_bytes} bytes wait to be confirmed already"
            reason = next(iter(self._paused.values()), "")
            return fail(BrokerUnavailable(f"{text}; {reason}" if reason else text))
        deadline = self._clock.seconds() + self._timeout_seconds
        publication = _Publication(
            exchange, routing_key, body, headers, mandatory, Deferred(), deadline
        )
        self._waiting_bytes += len(body)
        if self._paused:
            self._held.append(publication)
        else:
            self._send(publication)
        if self._sweeper is None and (self._sent or self._held):
            self._sweeper = self._clock.callLater(self._timeout_seconds, self._sweep)
        return publication.done

    def _send(self, publication: _Publication) -> None:
        assert self._channel is not None
        tag = self._last_tag + 1
        properties: dict[str, Any] = {"delivery-mode": _PERSISTENT}
        if publication.headers:
            properties["headers"] = publication.headers
        if publication.mandatory:
            # A message that comes back is known by nothing else.
            properties[_MESSAGE_ID] = str(tag)
        self._sent[tag] = publication
        try:
            self._channel.publish(
                publication.exchange,
                publication.routing_key,
                publication.body,
                properties,
                publication.mandatory,
            )
        except Unsendable as error:
            del self._sent[tag]
            self._end(publication, MessageRefused(f"this cannot be sent: {error}"))
        except Closed as error:
            del self._sent[tag]
            self._end(publication, BrokerUnavailable(str(error)))
        else:
            self._last_tag = tag

    def _end(self, publication: _Publication, error: Exception | None = None) -> None:
        self._waiting_bytes -= len(publication.body)
        publication.end(error)

    def _returned(self, name: str, content: Content) -> None:
        """A mandatory message came back; its confirmation follows."""
        number = str(content.properties.get(_MESSAGE_ID, ""))
        publication = self._sent.get(int(number)) if number.isdecimal() else None
        if publication is not None:
            code, text, exchange, key = content.arguments[:4]
            publication.unroutable = f"{code} {text}: exchange {exchange!r}, routing key {key!r}"

    def _confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        if multiple:
            while self._sent:
                first = next(iter(self._sent))
                if tag and first > tag:
                    break
                self._settle(self._sent.pop(first), taken)
        else:
            publication = self._sent.pop(tag, None)
            if publication is not None:
                self._settle(publication, taken)

    def _settle(self, publication: _Publication, taken: bool) -> None:
        if publication.unroutable:
            self._end(publication, MessageRefused(publication.unroutable))
        elif taken:
            self._end(publication)
        else:
            self._end(publication, MessageRefused("the broker could not store the message"))

    def _sweep(self) -> None:
        """Give up what has waited too long."""
        self._sweeper = None
        now = self._clock.seconds()
        late = BrokerUnavailable(
            next(iter(self._paused.values()), "")
            or f"the broker has not confirmed the message in {self._timeout_seconds:g} seconds"
        )
        while self._held and self._held[0].deadline <= now:
            self._end(self._held.popleft(), late)
        while self._sent:
            tag, publication = next(iter(self._sent.items()))
            if publication.deadline > now:
                break
            del self._sent[tag]
            self._end(publication, late)
        waiting = [self._held[0]] if self._held else []
        waiting += [next(iter(self._sent.values()))] if self._sent else []
        if waiting and self._sweeper is None:
            pause = max(0.0, min(each.deadline for each in waiting) - now)
            self._sweeper = self._clock.callLater(pause, self._sweep)
