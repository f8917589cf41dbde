"""Consoles over WebSocket (RFC 6455), on the API's own port, for browsers.

What a page says and hears:

1. It opens ``/console/ws``. The subprotocol ``binary`` is accepted, and none is needed.
2. Its first message is the text of the ticket, so that the ticket is in no URL, log or referrer.
3. ``{"console": "open"}`` comes as a text message when the screen is reached. Everything after
   it is RFB in binary messages, security type None: the socket can be given to noVNC as it is.
4. Whatever ends it, the close frame says so: its reason is ``WORD: SENTENCE``, with a word of
   :class:`~cyclades_tx.console.interfaces.Reason`; its code is 4000 for a console that was never
   open, 4001 for one that was, 1000 when the viewer went, 1001 when the service is being stopped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    TextMessage,
)
from wsproto.handshake import H11Handshake
from wsproto.utilities import ProtocolError

from cyclades_tx.console.handshake import Security, State, ViewerSide
from cyclades_tx.console.interfaces import SENTENCES, Reason, Refused, Session
from cyclades_tx.console.relay import Relay
from cyclades_tx.console.sessions import Consoles

#: The longest ticket that is looked for.
MOST_TICKET_CHARACTERS = 1024
REFUSED, ENDED, GOING_AWAY, NORMAL = 4000, 4001, 1001, 1000
_OPEN = '{"console": "open"}'
_SUBPROTOCOL = "binary"
#: So many pings without any answer, and nobody is there.
_MOST_SILENT_PINGS = 3
_MOST_REASON_BYTES = 123
#: So many frames are heard before the reactor gets a turn: each takes time, however short it is.
_FRAMES_AT_ONCE = 64
#: Whoever has no open console has no reason to send more.
_MOST_EARLY_FRAMES = 100
#: What may wait to be heard.
_MOST_WAITING_BYTES = 262_144


class ConsoleSocket(Resource):
    """``/console/ws``: becomes a console, or says in plain HTTP what is wrong.

    :param origins: pages of these origins (``https://cloud.example.org``) may use it, and those of
        the same host; who sends no origin is no browser, and may.
    :param client_of: the address of a request's client.
    """

    isLeaf = True

    def __init__(
        self,
        consoles: Consoles,
        origins: Sequence[str] = (),
        client_of: Callable[[Request], str] = lambda request: request.getClientAddress().host,
    ) -> None:
        super().__init__()
        self._consoles = consoles
        self._origins = {origin.rstrip("/").lower() for origin in origins}
        self._client_of = client_of

    def render(self, request: Request) -> Any:
        """Upgrade the connection."""
        if request.method != b"GET":
            request.setHeader(b"allow", b"GET")
            return _plain(request, 405, b"Only GET is allowed here.")
        if not self._welcome(request):
            return _plain(request, 403, b"Pages of this origin may not open consoles.")
        handshake = H11Handshake(ConnectionType.SERVER)
        headers = [
            (name.lower(), value)
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        ]
        try:
            handshake.initiate_upgrade_connection(headers, b"/console/ws")
            offered = b",".join(
                request.requestHeaders.getRawHeaders(b"sec-websocket-protocol") or []
            )
            chosen = _SUBPROTOCOL if _offers(offered, _SUBPROTOCOL) else None
            answer = handshake.send(AcceptConnection(subprotocol=chosen))
        except (ProtocolError, ValueError, LookupError, AssertionError):
            # ValueError and what follows it: names and keys that are no text.
            request.setHeader(b"sec-websocket-version", b"13")
            return _plain(request, 400, b"A WebSocket connection is wanted here.")
        connection = handshake.connection
        channel: Any = request.channel
        assert connection is not None
        viewer = WebSocketViewer(self._consoles, connection, self._client_of(request))
        # The channel no longer answers for this connection; the relay will.
        channel.transport.unregisterProducer()
        channel.transport.write(answer)
        channel._protocolUpgradeForWebsockets(viewer)
        return NOT_DONE_YET

    def _welcome(self, request: Request) -> bool:
        said = request.requestHeaders.getRawHeaders(b"origin")
        if not said:
            return True
        try:
            origin = said[0].decode("ascii").rstrip("/").lower()
            host = urlsplit(origin).netloc
        except ValueError:
            return False
        its_own = (request.getHeader(b"host") or b"").decode("latin-1").lower()
        return len(said) == 1 and (origin in self._origins or (bool(host) and host == its_own))


class WebSocketViewer(Protocol):
    """One browser's connection, after the upgrade."""

    log = Logger()
    kind = "websocket"
    transport: Any

    def __init__(self, consoles: Consoles, connection: Connection, client: str) -> None:
        self.client = client
        self._consoles = consoles
        self._connection = connection
        #: The ticket as far as it has come; None: no more of it is wanted.
        self._ticket: str | None = ""
        self._side: ViewerSide | None = None
        self._relay: Relay | None = None
        self._deadline: IDelayedCall | None = None
        self._stranger = False
        self._closing = False
        self._early_frames = 0
        self._waiting_bytes = 0
        self._next_turn: IDelayedCall | None = None
        self._pinged_at = 0.0
        self._silent_pings = 0
        self.lost = False

    def connectionMade(self) -> None:
        """Wait for the ticket."""
        consoles = self._consoles
        consoles.joined(self)
        self._stranger = True
        self._pinged_at = consoles.clock.seconds()
        self._deadline = consoles.clock.callLater(consoles.limits.greeting_seconds, self._late)
        refusal = consoles.strangers.enter(self.client)
        if refusal is not None:
            self._say_goodbye(REFUSED, refusal)

    def dataReceived(self, data: bytes) -> None:
        """Take what comes, frame by frame."""
        self._silent_pings = 0
        if self._connection.state is ConnectionState.CLOSED:
            return
        self._waiting_bytes += len(data)
        if self._next_turn is None:
            self._connection.receive_data(data)
            self._hear()
        elif self._waiting_bytes > _MOST_WAITING_BYTES:
            self._fail_at_once()
        else:
            self._connection.receive_data(data)
            self.transport.pauseProducing()

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        """The browser is gone."""
        self.lost = True
        self._end_deadline()
        self._end_turn()
        self._no_stranger()
        self._consoles.left(self)
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.end(Reason.VIEWER_LEFT)

    # For the relay

    def send(self, data: bytes) -> None:
        """Give the browser bytes of the screen, as one message."""
        self.transport.writeSequence((_binary_header(len(data)), data))

    def leave(self, reason: Reason) -> None:
        """Say why, and close."""
        self._relay = None
        code = {Reason.RESTART: GOING_AWAY, Reason.VIEWER_LEFT: NORMAL}.get(reason, ENDED)
        self._say_goodbye(code, reason)

    def still_there(self, now: float) -> bool:
        """Ask the browser now and then; it answers by itself."""
        if now - self._pinged_at < self._consoles.limits.ping_seconds or self._closing:
            return True
        if self._silent_pings >= _MOST_SILENT_PINGS:
            return False
        self._pinged_at = now
        self._silent_pings += 1
        self.transport.write(self._connection.send(Ping()))
        return True

    def abort(self) -> None:
        """Close now."""
        if not self.lost:
            self.transport.abortConnection()

    # Inside

    def _hear(self) -> None:
        """Take the next frames, and the others in the next turn of the reactor."""
        held, self._next_turn = self._next_turn is not None, None
        ping: Ping | None = None
        heard = 0
        try:
            for event in self._connection.events():
                heard += 1
                if isinstance(event, CloseConnection):
                    if self._connection.state is ConnectionState.OPEN:
                        # The library's word for frames that are none.
                        self._fail_at_once()
                    else:
                        self._closed_by_viewer(event)
                elif isinstance(event, Ping):
                    ping = event
                elif isinstance(event, Message) and not self._closing:
                    self._message(event)
                if self._is_too_eager():
                    self._fail_at_once()
                    return
                if heard == _FRAMES_AT_ONCE:
                    self._next_turn = self._consoles.clock.callLater(0, self._hear)
                    self.transport.pauseProducing()
                    break
            else:
                self._waiting_bytes = 0
                if held and (self._relay is None or self._relay.screen_takes_more()):
                    self.transport.resumeProducing()
            # Of many the last may stand for all (RFC 6455, section 5.5.3).
            if ping is not None and not self._closing and not self._is_stalled():
                self.transport.write(self._connection.send(ping.response()))
        except ProtocolError:
            self._fail_at_once()

    def _is_too_eager(self) -> bool:
        if self._relay is not None and self._relay.started:
            return False
        self._early_frames += 1
        return self._early_frames > _MOST_EARLY_FRAMES

    def _is_stalled(self) -> bool:
        """Whether the browser does not take what it was sent."""
        return bool(getattr(self.transport, "producerPaused", False))

    def _message(self, event: Message[Any]) -> None:
        relay, side = self._relay, self._side
        if isinstance(event, TextMessage) and self._ticket is not None:
            self._ticket += event.data
            if len(self._ticket) > MOST_TICKET_CHARACTERS:
                self._say_goodbye(REFUSED, Reason.UNKNOWN)
            elif event.message_finished:
                ticket, self._ticket = self._ticket, None
                self._end_deadline()
                opening = Deferred.fromCoroutine(self._open(ticket))
                opening.addErrback(self._broken)
        elif isinstance(event, BytesMessage) and relay is not None and relay.started:
            relay.from_viewer(bytes(event.data))
        elif isinstance(event, BytesMessage) and relay is not None and side is not None:
            answer = side.receive(bytes(event.data))
            if answer:
                self.send(answer)
            if side.state is State.DONE:
                self._side = None
                self._end_deadline()
                self._no_stranger()
                relay.start(side.rest)
            elif side.has_failed():
                relay.end(Reason.VIEWER_SPEAKS_NOT)
        else:
            self._fail(Reason.VIEWER_SPEAKS_NOT)

    async def _open(self, ticket: str) -> None:
        """Take the ticket, reach its screen, and begin to speak RFB."""
        consoles = self._consoles

        async def take() -> Session | None:
            found: Session | None = await consoles.tickets.take_by_text(ticket, self.client)
            return found

        try:
            if not consoles.strangers.may_try(self.client):
                raise Refused(Reason.TOO_MANY_TRIES)
            relay = await consoles.open(self, take)
        except Refused as refused:
            if refused.reason is Reason.UNKNOWN:
                consoles.strangers.failed(self.client)
                self.log.info("console.refused", client=self.client, reason="unknown")
            self._say_goodbye(REFUSED, refused.reason)
            return
        if self.lost or self._closing:
            relay.end(Reason.VIEWER_LEFT)
            return
        self._relay = relay
        self._side = ViewerSide((Security.NONE,))
        self._deadline = consoles.clock.callLater(consoles.limits.greeting_seconds, self._late)
        self.transport.write(self._connection.send(TextMessage(_OPEN)))
        self.send(self._side.begin())

    def _closed_by_viewer(self, event: CloseConnection) -> None:
        if self._connection.state is not ConnectionState.CLOSED:
            self.transport.write(self._connection.send(event.response()))
        self._closing = True
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.end(Reason.VIEWER_LEFT)
        self._drop()

    def _fail(self, reason: Reason) -> None:
        """The browser does not keep to what is agreed."""
        if self._relay is not None:
            self._relay.end(reason)
        else:
            self._say_goodbye(REFUSED, reason)

    def _fail_at_once(self) -> None:
        """Its frames are none, so nothing that it sends from now on can be understood."""
        self._fail(Reason.VIEWER_SPEAKS_NOT)
        self._drop()

    def _late(self) -> None:
        self._deadline = None
        self._fail(Reason.TOO_LATE)

    def _broken(self, failure: Failure) -> None:
        self.log.failure("console.failed", failure, client=self.client)
        self._fail(Reason.FAULT)

    def _say_goodbye(self, code: int, reason: Reason) -> None:
        """Send the close frame; the browser answers it, or is cut off soon."""
        self._end_deadline()
        self._ticket = None
        if self.lost or self._closing:
            return
        self._closing = True
        self.transport.unregisterProducer()
        if self._connection.state is ConnectionState.OPEN:
            text = f"{reason.value}: {SENTENCES[reason]}".encode()[:_MOST_REASON_BYTES]
            frame = self._connection.send(CloseConnection(code, text.decode("utf-8", "ignore")))
            self.transport.write(frame)
            # Its answer is waited for: closed at once, the reason might never reach it.
            self.transport.resumeProducing()
            self._consoles.linger(self)
        else:
            self._drop()

    def _drop(self) -> None:
        self._end_deadline()
        self._end_turn()
        if not self.lost:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            self._consoles.linger(self)

    def _end_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def _end_turn(self) -> None:
        turn, self._next_turn = self._next_turn, None
        if turn is not None and turn.active():
            turn.cancel()

    def _no_stranger(self) -> None:
        if self._stranger:
            self._stranger = False
            self._consoles.strangers.leave(self.client)


def _binary_header(length: int) -> bytes:
    """The head of a frame that is a whole binary message, unmasked (RFC 6455, section 5.2)."""
    if length < 126:
        return bytes((0x82, length))
    if length < 65_536:
        return b"\x82\x7e" + length.to_bytes(2, "big")
    return b"\x82\x7f" + length.to_bytes(8, "big")


def _offers(offered: bytes, wanted: str) -> bool:
    return wanted in re.split(r"\s*,\s*", offered.decode("latin-1").strip())


def _plain(request: Request, status: int, sentence: bytes) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"cache-control", b"no-store")
    return sentence
