"""Bodies of requests to an Object Storage: written at once, or while they come; and the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IConsumer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from cyclades_tx.errors import Unavailable


@dataclass(frozen=True)
class Answer:
    """A reply that was read to its end.

    :ivar headers: by names in small letters.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Asker(Protocol):
    """Who sends the requests, and says what a refusal means."""

    log: Logger

    def refused(self, method: str, status: int) -> Unavailable:
        """What an answer means that nobody expected."""


class Put:
    """An object that is on its way from us; it ends with ``finish`` or ``abort``."""

    def __init__(
        self,
        wire: Asker,
        reactor: Any,
        outgoing: Outgoing,
        asked: Deferred[Any],
        timeout_seconds: float,
    ) -> None:
        self._wire = wire
        self._reactor = reactor
        self._outgoing = outgoing
        self._timeout_seconds = timeout_seconds
        self._answer: Answer | None = None
        self._over = False
        self._ended: Deferred[None] = Deferred()
        self._asked = asked

    async def write(self, data: bytes) -> None:
        """Send more; returns when the connection takes more.

        :raise Unavailable: when it has ended.
        """
        waiting = ensureDeferred(self._outgoing.write(data))
        waiting.addTimeout(self._timeout_seconds, self._reactor)
        try:
            taken = await waiting
        except DeferredTimeout:
            taken = False
        if not taken:
            raise self._failure()

    async def finish(self) -> Answer:
        """Say that this was all; the reply to it.

        :raise StoreFull: when there is no room there.
        :raise Unavailable: when it was not taken.
        """
        self._outgoing.finish()
        if not self._ended.called:
            self._ended.addTimeout(self._timeout_seconds, self._reactor)
            try:
                await self._ended
            except DeferredTimeout:
                self.abort()
            except CancelledError:
                self.abort()
                raise
        if self._answer is None or self._answer.status != 201:
            raise self._failure()
        return self._answer

    def abort(self) -> None:
        """Cut the connection: the other side keeps nothing of what has no end."""
        if not self._over:
            self._outgoing.abort()
            self._asked.cancel()

    def _failure(self) -> Unavailable:
        self.abort()
        if self._answer is None:
            return silent()
        return self._wire.refused("PUT", self._answer.status)

    def over(self, result: Answer | Failure) -> None:
        """That is what became of it."""
        self._over = True
        if not isinstance(result, Failure):
            self._answer = result
        elif not result.check(CancelledError):
            self._wire.log.warn("image.store_refused", method="PUT", reason=_kind(result))
        self._outgoing.stopProducing()
        if not self._ended.called:
            self._ended.callback(None)


@implementer(IBodyProducer)
class Outgoing:
    """A body that is written while it comes, as fast as the connection takes it."""

    length = UNKNOWN_LENGTH

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._consumer: IConsumer | None = None
        self._started = False
        self._paused = False
        self._over = False
        self._done: Deferred[None] = Deferred()
        self._waiting: Deferred[None] | None = None

    async def write(self, data: bytes) -> bool:
        """Write, and wait until more is wanted; False when nothing is any more."""
        await self._wanted()
        if self._over or self._consumer is None:
            return False
        self._consumer.write(data)
        await self._wanted()
        return not self._over

    def finish(self) -> None:
        """That was all."""
        if not self._over and not self._done.called:
            self._done.callback(None)

    def abort(self) -> None:
        """It will have no end: the agent cuts the connection."""
        if self._consumer is not None and not self._done.called:
            self._done.errback(Failure(CancelledError()))

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """The connection is there."""
        self._consumer = consumer
        # In a turn of its own: the agent has not seen what we return.
        self._reactor.callLater(0, self._begin)
        return self._done

    def pauseProducing(self) -> None:
        """The connection takes no more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The connection takes more."""
        self._paused = False
        self._wake()

    def stopProducing(self) -> None:
        """Nobody wants it any more."""
        self._over = True
        self._wake()

    def _begin(self) -> None:
        self._started = True
        self._wake()

    async def _wanted(self) -> None:
        while (self._paused or not self._started) and not self._over:
            self._waiting = Deferred()
            await self._waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)


@implementer(IBodyProducer)
class Whole:
    """A body that is written at once."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write it."""
        consumer.write(self._body)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """Everything is written at once."""

    def resumeProducing(self) -> None:
        """Everything is written at once."""

    def stopProducing(self) -> None:
        """Everything is written at once."""


def _kind(failure: Failure) -> str:
    """What went wrong, in a word: more would tell of other networks."""
    return type(failure.value).__name__


def silent() -> Unavailable:
    """Nobody answers there, whatever the reason."""
    return Unavailable("The store of images does not answer now; try again.", 60)
