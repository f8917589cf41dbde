"""The connection to a machine's screen, at the hypervisor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import ClientFactory, Factory
from twisted.internet.protocol import Protocol as Connection
from twisted.python.failure import Failure

from cyclades_tx.console.handshake import ScreenSide, State
from cyclades_tx.console.interfaces import Reason, Refused, Session
from cyclades_tx.console.share import Share


class Reach(Protocol):
    """How the screen of a session is connected to."""

    def __call__(self, session: Session, screen: Screen) -> Deferred[Any]:
        """Connect; the Deferred may be cancelled, and fires before or after the handshake."""


def over_tcp(reactor: Any, connect_seconds: float) -> Reach:
    """Connect to the address that the session names.

    :param connect_seconds: longest wait for one of its addresses to accept.
    """

    share = Share(reactor)

    def reach(session: Session, screen: Screen) -> Deferred[Any]:
        screen.share = share
        if isIPAddress(session.host) or isIPv6Address(session.host):
            # What clusters report; the way below costs more memory for as long as it lasts.
            return _Directly(screen).connect(reactor, session, connect_seconds)
        endpoint = HostnameEndpoint(
            reactor, session.host.encode("idna"), session.port, timeout=connect_seconds
        )
        connected: Deferred[Any] = endpoint.connect(_Once(screen))
        return connected.addCallback(_unwrap)

    def _unwrap(protocol: Any) -> Any:
        # The endpoint's wrapper has done its work, and would cost each piece of data a call.
        transport = protocol.transport
        if getattr(transport, "protocol", None) not in (None, protocol):
            transport.protocol = protocol
        return protocol

    return reach


class Keeper(Protocol):
    """Who knows of every connection, so that none is left open."""

    def joined(self, connection: Any) -> None:
        """One was made; it has ``abort()``."""

    def left(self, connection: Any) -> None:
        """It is gone."""


class Audience(Protocol):
    """Who gets what a screen shows."""

    def from_screen(self, data: bytes) -> None:
        """Take bytes."""


class _Directly(ClientFactory):
    """Makes one connection, and keeps nothing of it."""

    noisy = False

    def __init__(self, screen: Screen) -> None:
        self._screen: Screen | None = screen
        self._connected: Deferred[Any] | None = None

    def connect(self, reactor: Any, session: Session, seconds: float) -> Deferred[Any]:
        """Connect; the Deferred fires when there is a connection."""
        connector: Any = None
        connected: Deferred[Any] = Deferred(lambda _: connector.disconnect())
        self._connected = connected
        connector = reactor.connectTCP(session.host, session.port, self, timeout=seconds)
        return connected

    def buildProtocol(self, address: object) -> Connection | None:
        screen, self._screen = self._screen, None
        connected, self._connected = self._connected, None
        if connected is not None:
            connected.callback(None)
        return screen

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            connected.errback(reason)


class _Once(Factory):
    noisy = False

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def buildProtocol(self, address: object) -> Connection:
        return self._screen


class Screen(Connection):
    """One connection to a screen: first the handshake, then what its audience wants.

    :param password: for VNC authentication; None: the screen must want none.
    :param on_lost: called when the connection is gone, whoever has closed it.
    :ivar ready: fires when the screen has let us in; fails with :exc:`Refused`.
    :ivar said: why the screen did not let us in, in its own words, for the log.
    """

    transport: Any

    def __init__(
        self, password: str | None, keeper: Keeper, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._side: ScreenSide | None = ScreenSide(password)
        self._keeper = keeper
        self._on_lost = on_lost
        self._audience: Audience | None = None
        #: Reads for it once it is relayed; None: the reactor does, as for any connection.
        self.share: Share | None = None
        self.ready: Deferred[None] | None = Deferred(lambda _: self.abort())
        self.lost = False
        self.said = ""

    def connectionMade(self) -> None:
        """Small pieces go at once, and a node that is gone is noticed."""
        self._keeper.joined(self)
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)

    def dataReceived(self, data: bytes) -> None:
        """Hand it on, or take it as a part of the handshake."""
        if self._audience is not None:
            self._audience.from_screen(data)
            return
        side = self._side
        if side is None or side.has_failed():
            return
        before = side.state
        answer = side.receive(data)
        if answer:
            self.transport.write(answer)
        if side.has_failed():
            self.said = side.said
            self._tell(Refused(side.reason or Reason.FAR_SPEAKS_NOT))
            self.transport.loseConnection()
        elif side.state is State.DONE and before is not State.DONE:
            # The viewer is not there yet: what comes now waits where it is.
            self.transport.pauseProducing()
            self._tell(None)

    def start(self, audience: Audience) -> bytes:
        """Hand everything to an audience from now on; return what has come already."""
        side, self._side = self._side, None
        self._audience = audience
        if self.share is not None:
            self.share.enter(self.transport)
        return b"" if side is None else side.rest

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        """The screen is gone."""
        self.lost = True
        self._audience = None
        if self.share is not None and self.transport.reactor is self.share:
            self.share.leave(self.transport)
        self._keeper.left(self)
        self._tell(Refused(Reason.FAR_SPEAKS_NOT))
        self._on_lost()

    def leave(self) -> None:
        """Send what there is, and close."""
        self._audience = None
        if self.transport is not None and not self.lost:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def abort(self) -> None:
        """Close now."""
        if self.transport is not None and not self.lost:
            self.transport.abortConnection()

    def _tell(self, refused: Refused | None) -> None:
        ready, self.ready = self.ready, None
        if ready is not None and not ready.called:
            if refused is None:
                ready.callback(None)
            else:
                ready.errback(refused)
