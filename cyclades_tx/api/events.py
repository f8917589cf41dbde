"""``GET /events/v1/stream``: what happens in a project, as server-sent events.

A stream begins with ``hello`` and its position. Each event has its position as ``id``, by
which a client resumes (``Last-Event-ID``). What cannot be resumed is a ``reset``: read the state
again. A stream that the server ends says why in ``end``; nothing is ever left out silently.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.server import Request

from cyclades_tx.api import openapi
from cyclades_tx.api.call import Call, Reply, Service, Streaming
from cyclades_tx.api.errors import nova_fault
from cyclades_tx.api.event_stream import RESTART, SLOW, Stream, message
from cyclades_tx.api.events_reference import REFERENCE
from cyclades_tx.api.frame import Frame
from cyclades_tx.errors import BadRequest, Forbidden, TooManyRequests, Unavailable
from cyclades_tx.flows.events import EventFeed
from cyclades_tx.identity.interfaces import IIdentity
from cyclades_tx.model.who import Who
from cyclades_tx.sections import EventsSection

SERVICE = Service("events", nova_fault)
PATH = "/events/v1/stream"

#: How long a client should wait before it comes again.
RETRY_MILLISECONDS = 3000
RETRY_AFTER_SECONDS = 30
#: How often tokens, silence and slow readers are looked at.
TICK_SECONDS = 1.0
#: How long the last words of a stream may take to reach a reader.
LINGER_SECONDS = 10.0
#: How long one turn of the reactor may be spent on writing to many streams.
SLICE_SECONDS = 0.005

_POSITION = re.compile(r"[0-9]{1,18}", re.ASCII)
_HEADERS = {
    "cache-control": "no-store",
    # A proxy that collects a reply would make a stream of events useless.
    "x-accel-buffering": "no",
    "connection": "close",
}


class Streams:
    """The streams of one process.

    :param clock: the reactor, or a test's clock.
    :param count: called with the reason whenever a stream has ended; for metrics.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        database: Any,
        identity: IIdentity,
        section: EventsSection,
        count: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.clock = clock
        self.feed = EventFeed(clock, database, self._news)
        self._identity = identity
        self._section = section
        self._count = count
        self._readers: dict[str | None, set[Stream]] = {}
        self._open: dict[str | None, int] = {}
        self._total = 0
        self._dirty: deque[Stream] = deque()
        self._draining: IDelayedCall | None = None
        self._lingering: dict[Any, float] = {}
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = clock
        self._stopped = False

    def __len__(self) -> int:
        return self._total

    def mount(self, frame: Frame) -> None:
        """Add the endpoint to the API."""
        frame.mount("/events", SERVICE)
        frame.endpoint(SERVICE, "GET", PATH, self.open)
        openapi.mount(frame, SERVICE, REFERENCE)

    async def open(self, call: Call) -> Reply | Streaming:
        """Begin a stream for the project of the token."""
        resumed = _resumed(call)
        project_id = None if _wants_all(call) else call.who.project_id
        if call.request.method == b"HEAD":
            return Reply(200, b"", _HEADERS, b"text/event-stream")
        token = call.header("x-auth-token") or ""
        return Streaming(
            lambda: self._run(call.request, call.who, token, project_id, resumed),
            self._admit(call.who),
            _HEADERS,
            b"text/event-stream",
        )

    def _admit(self, who: Who) -> Callable[[], None]:
        """Count one more stream; return what counts it off.

        :raise TooManyRequests: when the project has too many.
        :raise Unavailable: when the process has too many, or ends.
        """
        owner = who.project_id
        if self._open.get(owner, 0) >= self._section.streams_per_project:
            raise TooManyRequests(
                f"The project has {self._section.streams_per_project} streams open already.",
                RETRY_AFTER_SECONDS,
            )
        if self._total >= self._section.streams_per_process or self._stopped:
            raise Unavailable("No more streams can be opened here now.", RETRY_AFTER_SECONDS)
        self._open[owner] = self._open.get(owner, 0) + 1
        self._total += 1

        def left() -> None:
            self._total -= 1
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]
            if not self._total:
                self.feed.stop()

        return left

    async def _run(
        self, request: Request, who: Who, token: str, project_id: str | None, resumed: int | None
    ) -> None:
        """Serve one stream until it is over."""
        last = await self.feed.latest()
        if request.channel is None or self._stopped:
            return  # the client is gone already
        stream = Stream(self, request, who, token, project_id)
        self._readers.setdefault(project_id, set()).add(stream)
        self._tick_on()
        position = last if resumed is None else resumed
        body = {
            "position": position,
            "latest": last,
            "project_id": project_id,
            "heartbeat_seconds": self._section.heartbeat_seconds,
        }
        hello = b"retry: %d\n" % RETRY_MILLISECONDS + message("hello", body, position)
        stream.begin(position, hello)
        await stream.over

    def stop(self) -> None:
        """End every stream, with a word."""
        self._stopped = True
        for stream in self._all():
            stream.end(RESTART)
        self.feed.stop()
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        if self._ticking.running:
            self._ticking.stop()
        # What has not been sent when the reactor stops never will be.
        self._lingering.clear()

    def mark(self, stream: Stream) -> None:
        """Have a stream written to soon."""
        if not stream.dirty and not stream.ended:
            stream.dirty = True
            self._dirty.append(stream)
            if self._draining is None:
                self._draining = self.clock.callLater(0, self._drain)

    def forget(self, stream: Stream, reason: str) -> None:
        """A stream has ended."""
        readers = self._readers.get(stream.project_id, set())
        readers.discard(stream)
        if not readers:
            self._readers.pop(stream.project_id, None)
        self._count(reason)

    def linger(self, transport: Any) -> None:
        """Give the last words of a stream some time to reach the reader, and no more."""
        if not self._stopped:
            self._lingering[transport] = self.clock.seconds() + LINGER_SECONDS
            self._tick_on()

    def _tick_on(self) -> None:
        if not self._ticking.running:
            ticking = self._ticking.start(TICK_SECONDS, now=False)
            ticking.addErrback(lambda failure: self.log.failure("events.stream_failed", failure))

    def _all(self) -> list[Stream]:
        return [stream for readers in self._readers.values() for stream in readers]

    def _news(self, sizes: Mapping[str | None, int]) -> None:
        """There are new events: of which projects, and how much of each."""
        for project_id, size in sizes.items():
            if project_id is not None:
                self._notice(project_id, size)
        if None in self._readers:
            self._notice(None, sum(sizes.values()))
        if sizes == {None: 0}:
            for stream in self._all():
                self.mark(stream)

    def _notice(self, project_id: str | None, size: int) -> None:
        slow = []
        for stream in self._readers.get(project_id, ()):
            if stream.paused_seconds is None:
                self.mark(stream)
                continue
            stream.behind_bytes += size
            if stream.behind_bytes > self._section.unsent_bytes:
                slow.append(stream)
        for stream in slow:
            stream.end(SLOW)

    def _drain(self) -> None:
        """Write to the streams that have something to get, for a slice of time."""
        self._draining = None
        until = self.clock.seconds() + SLICE_SECONDS
        while self._dirty:
            stream = self._dirty.popleft()
            stream.dirty = False
            stream.pump()
            if self.clock.seconds() >= until:
                break
        if self._dirty:
            self._draining = self.clock.callLater(0, self._drain)

    def _tick(self) -> None:
        now = self.clock.seconds()
        section = self._section
        for stream in self._all():
            if stream.ended:
                continue
            paused = stream.paused_seconds
            if paused is not None and now - paused >= section.slow_seconds:
                stream.end(SLOW)
                continue
            if stream.doubtful(self._identity, now):
                ensureDeferred(stream.check(self._identity)).addErrback(stream._failed)
            stream.beat(now, section.heartbeat_seconds)
            if stream.position < self.feed.last:
                self.mark(stream)
        for transport in [each for each, until in self._lingering.items() if now >= until]:
            del self._lingering[transport]
            # Nothing happens to one that is closed already.
            transport.abortConnection()
        if not self._readers and not self._lingering and self._ticking.running:
            self._ticking.stop()


def _resumed(call: Call) -> int | None:
    """The position after which the client wants to go on, or None for now."""
    text = call.header("last-event-id") or call.query("last_event_id")
    if not text:
        return None
    if _POSITION.fullmatch(text) is None:
        raise BadRequest("Last-Event-ID must be the id of an event: a whole number.")
    return int(text)


def _wants_all(call: Call) -> bool:
    """Whether the events of all projects are wanted.

    :raise Forbidden: when they are, and the caller is no administrator.
    """
    text = call.query("all_projects")
    if text is None or text.lower() in ("0", "false"):
        return False
    if text.lower() not in ("1", "true"):
        raise BadRequest("all_projects must be 0 or 1.")
    if not call.who.admin:
        raise Forbidden("Only an administrator may read the events of all projects.")
    return True
