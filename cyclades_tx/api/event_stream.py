"""One reader's connection to the events: its messages, how it catches up, and how it ends."""

from __future__ import annotations

from typing import Any, Protocol

import orjson
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from cyclades_tx.errors import CycladesError, Unauthorized, Unavailable
from cyclades_tx.flows.events import EventFeed, TooOld
from cyclades_tx.identity.interfaces import IIdentity
from cyclades_tx.model.who import Who

#: The least time between two questions whether a token is still good.
CHECK_SECONDS = 5.0
#: Most bytes that are handed to one connection at once.
PIECE_BYTES = 65_536

RESTART = "restart"
SLOW = "slow"
TOKEN = "token"
REASONS = {
    RESTART: "The service is being stopped; connect again with the id of the last event.",
    SLOW: "This reader was too slow; connect again with the id of the last event.",
    TOKEN: "The token is not valid any more; log in, and connect again.",
}

_HEARTBEAT = b":\n\n"


def message(kind: str, body: dict[str, Any], position: int | None = None) -> bytes:
    """One message of our own: ``hello``, ``reset`` or ``end``."""
    named = b"" if position is None else b"id: %d\n" % position
    return named + b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(body))


class Keeper(Protocol):
    """Who keeps the streams of a process, and has them written to in turns."""

    clock: IReactorTime
    feed: EventFeed
    log: Logger

    def mark(self, stream: Stream) -> None:
        """Have a stream written to soon."""

    def forget(self, stream: Stream, reason: str) -> None:
        """A stream has ended."""

    def linger(self, transport: Any) -> None:
        """Give the last words of a stream some time to reach the reader, and no more."""


@implementer(IPushProducer)
class Stream:
    """One reader's connection; holds a position, and no events.

    :ivar project_id: whose events it gets; None: everything.
    """

    def __init__(
        self, streams: Keeper, request: Request, who: Who, token: str, project_id: str | None
    ) -> None:
        self._streams = streams
        self._request = request
        self._token = token
        self._catching_up = False
        self._checking = False
        self._checked_seconds = streams.clock.seconds()
        self.who = who
        self.project_id = project_id
        self.owner_id = who.project_id
        self.position = 0
        self.paused_seconds: float | None = None
        self.written_seconds = 0.0
        self.behind_bytes = 0
        self.dirty = False
        #: Fires when it is over, for whatever reason.
        self.over: Deferred[None] = Deferred()
        self.ended = False

    def begin(self, position: int, hello: bytes) -> None:
        """Say hello, and go on from a position."""
        self.position = position
        self._request.notifyFinish().addErrback(lambda _: self.close())
        self._request.registerProducer(self, True)
        self._write(hello)
        self.pump()

    def pauseProducing(self) -> None:
        """The connection takes no more for now."""
        if self.paused_seconds is None:
            self.paused_seconds = self._streams.clock.seconds()

    def resumeProducing(self) -> None:
        """The connection takes more."""
        self.paused_seconds = None
        self.behind_bytes = 0
        self._streams.mark(self)

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.close()

    def pump(self) -> None:
        """Write what there is, as long as the connection takes it."""
        feed = self._streams.feed
        while not self.ended and self.paused_seconds is None and not self._catching_up:
            if self.position == feed.last:
                return
            found = feed.after(self.position, self.project_id, PIECE_BYTES)
            if found is None or self.position > feed.last:
                self._catching_up = True
                ensureDeferred(self._catch_up()).addErrback(self._failed)
                return
            text, self.position = found
            if text:
                self._write(text)

    async def _catch_up(self) -> None:
        """Read from the database until the rest is in memory."""
        feed = self._streams.feed
        try:
            while not self.ended and self.paused_seconds is None:
                try:
                    text, position = await feed.page(self.position, self.project_id)
                except TooOld as error:
                    position = error.last
                    text = message(
                        "reset",
                        {
                            "reason": "too_old",
                            "message": "Events after this id are kept no more: read the state"
                            " again; what follows is new.",
                            "position": position,
                        },
                        position,
                    )
                except Unavailable:
                    return  # the next tick tries again
                if self.over.called:
                    return  # while it was being read
                self.position = position
                if text:
                    self._write(text)
                if position >= feed.floor:
                    # What the feed has not read yet, it will announce.
                    break
        finally:
            self._catching_up = False
        if self.position <= feed.last:
            self._streams.mark(self)

    def doubtful(self, identity: IIdentity, now: float) -> bool:
        """Whether it is time to ask whether the token is still good."""
        return now - self._checked_seconds >= CHECK_SECONDS and not identity.cached(self._token)

    async def check(self, identity: IIdentity) -> None:
        """Ask whether the token is still good, and end if it is not."""
        if self._checking or self.ended:
            return
        self._checking = True
        self._checked_seconds = self._streams.clock.seconds()
        try:
            who = await identity.authenticate(self._token)
        except Unauthorized:
            self.end(TOKEN)
        except CycladesError as error:
            # The database does not answer: nobody can say that it was revoked.
            self._streams.log.debug("events.token_not_checked", reason=error.message)
        else:
            if who.project_id != self.owner_id or (self.project_id is None and not who.admin):
                self.end(TOKEN)
        finally:
            self._checking = False

    def beat(self, now: float, heartbeat_seconds: float) -> None:
        """Break a silence that is too long for what stands between."""
        if self.paused_seconds is None and now - self.written_seconds >= heartbeat_seconds:
            self._write(_HEARTBEAT)

    def end(self, reason: str) -> None:
        """End it, with a last word that says why."""
        if self.ended:
            return
        self._write(message("end", {"reason": reason, "message": REASONS[reason]}))
        channel = self._request.channel
        self.close(reason)
        if channel is not None:
            self._streams.linger(channel.transport)

    def close(self, reason: str = "gone") -> None:
        """Forget it."""
        if self.ended:
            return
        self.ended = True
        request, channel = self._request, self._request.channel
        if channel is not None:
            request.unregisterProducer()
            channel.persistent = False
        self._streams.forget(self, reason)
        self.over.callback(None)

    def _write(self, text: bytes) -> None:
        self.written_seconds = self._streams.clock.seconds()
        self._request.write(text)

    def _failed(self, failure: Failure) -> None:
        self._streams.log.failure("events.stream_failed", failure)
        self.end(RESTART)
