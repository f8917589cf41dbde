"""Something large on its way to a client: a piece is read ahead, as fast as it is taken."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from cyclades_tx.api.call import Streaming
from cyclades_tx.image_store.interfaces import IReader

#: What is read and handed to the connection at once.
PIECE_BYTES = 1_048_576


@implementer(IPushProducer)
class Sending:
    """Sends a part of what a reader reads, and closes the reader.

    :param end: the place behind the last byte.
    :param stall_seconds: a client that takes nothing for so long is cut off.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        request: Request,
        reader: IReader,
        first: int,
        end: int,
        stall_seconds: float,
    ) -> None:
        self._clock = clock
        self._request = request
        self._reader = reader
        self._place = first
        self._end = end
        self._stall_seconds = stall_seconds
        self._gone = False
        self._paused = False
        self._resumed: Deferred[None] | None = None

    def reply(self, status: int, headers: dict[str, str], content_type: bytes) -> Streaming:
        """The reply that sends it."""
        return Streaming(self._run, lambda: None, headers, content_type, status)

    def pauseProducing(self) -> None:
        """The connection takes no more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The connection takes more."""
        self._paused = False
        self._wake()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._gone = True
        self._wake()

    async def _run(self) -> None:
        request = self._request
        try:
            channel: Any = request.channel
            if channel is None:
                return  # the client went away while the reader was opened
            request.notifyFinish().addErrback(lambda _: self.stopProducing())
            if request.method != b"HEAD":
                request.registerProducer(self, True)
                try:
                    await self._send()
                finally:
                    if not self._gone:
                        request.unregisterProducer()
        except Exception:
            # The head of the answer has gone out: only an end that is none can tell of it.
            self.log.failure("image.not_sent", Failure())
            self._cut()
        finally:
            await self._reader.close()

    async def _send(self) -> None:
        ahead = self._read()
        while not self._gone:
            data = await ahead
            if self._gone or not data:
                break
            self._place += len(data)
            self._request.write(data)
            ahead = self._read()
            if self._paused and not self._gone:
                await self._taken()
        # What is still being read must end before the reader is closed.
        await ahead
        if self._place < self._end and not self._gone:
            self._cut()

    def _read(self) -> Deferred[bytes]:
        most = min(PIECE_BYTES, self._end - self._place)
        if most <= 0:
            done: Deferred[bytes] = Deferred()
            done.callback(b"")
            return done
        return ensureDeferred(self._reader.read(self._place, most))

    async def _taken(self) -> None:
        self._resumed = Deferred()
        stalled = self._clock.callLater(self._stall_seconds, self._resumed.cancel)
        try:
            await self._resumed
        except CancelledError:
            self._cut()
        finally:
            self._resumed = None
            if stalled.active():
                stalled.cancel()

    def _wake(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def _cut(self) -> None:
        channel: Any = self._request.channel
        if channel is not None:
            channel.transport.abortConnection()
        self._gone = True
