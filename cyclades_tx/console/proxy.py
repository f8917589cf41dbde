"""The port for VNC viewers: one for all consoles; the password tells which is meant.

VNC authentication has no user name, so the answer to the challenge is tried with the password of
every ticket that waits. Nothing of the screen reaches the viewer, and nothing of the viewer the
screen, before both have shown that they may.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.console import passwords
from cyclades_tx.console.handshake import Security, State, ViewerSide
from cyclades_tx.console.interfaces import Reason, Refused, Session, Waiting
from cyclades_tx.console.relay import Relay
from cyclades_tx.console.sessions import Consoles

#: So many passwords are tried before the reactor gets a turn.
_AT_ONCE = 200


class ViewerPort(Factory):
    """Takes the connections of viewers.

    :param tls: what makes TLS connections, for viewers that can; None: there is no certificate.
    :param clear: whether viewers without TLS are let in too.
    """

    noisy = False

    def __init__(self, consoles: Consoles, tls: Any = None, clear: bool = True) -> None:
        self.consoles = consoles
        self.tls = tls
        offers = [Security.VENCRYPT] if tls is not None else []
        if clear or tls is None:
            offers.append(Security.VNC)
        self.offers = tuple(offers)

    def buildProtocol(self, address: Any) -> TcpViewer:
        """A connection of a viewer."""
        return TcpViewer(self, getattr(address, "host", ""))


class TcpViewer(Protocol):
    """One connection of a viewer over TCP, with or without TLS."""

    log = Logger()
    kind = "vnc"
    transport: Any

    def __init__(self, port: ViewerPort, client: str) -> None:
        self.client = client
        self._port = port
        self._consoles = port.consoles
        self._side: ViewerSide | None = None
        self._relay: Relay | None = None
        self._deadline: IDelayedCall | None = None
        self._stranger = False
        self.lost = False

    def connectionMade(self) -> None:
        """Greet, unless there are too many already; they are told why when they have spoken."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self._consoles.joined(self)
        self._stranger = True
        turned_away = self._consoles.strangers.enter(self.client)
        self._side = ViewerSide(self._port.offers, turned_away=turned_away)
        self._deadline = self._consoles.clock.callLater(
            self._consoles.limits.greeting_seconds, self._late
        )
        self.transport.write(self._side.begin())

    def dataReceived(self, data: bytes) -> None:
        """Hand it on, or take it as a part of the handshake."""
        relay = self._relay
        if relay is not None:
            relay.from_viewer(data)
            return
        side = self._side
        if side is None or side.has_failed():
            return
        version, before = side.version, side.state
        answer = side.receive(data)
        if side.version != version and self._deadline is not None:
            # Now a person types.
            self._deadline.reset(self._consoles.limits.login_seconds)
        if answer:
            self.transport.write(answer)
        if side.state is State.START_TLS:
            self.transport.startTLS(self._port.tls)
            self.transport.write(side.tls_started())
        elif side.state is State.ASKING and before is not State.ASKING:
            self._end_deadline()
            asking = Deferred.fromCoroutine(self._ask(side))
            asking.addErrback(self._broken)
        elif side.has_failed():
            self._close()

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        """The viewer is gone."""
        self.lost = True
        self._end_deadline()
        self._no_stranger()
        self._consoles.left(self)
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.end(Reason.VIEWER_LEFT)

    # For the relay

    def send(self, data: bytes) -> None:
        """Give the viewer bytes of the screen."""
        self.transport.write(data)

    def leave(self, reason: Reason) -> None:
        """Close; RFB has no word for why."""
        self._relay = None
        self._close()

    def still_there(self, now: float) -> bool:
        """TCP asks for itself whether the viewer is there."""
        return True

    def abort(self) -> None:
        """Close now."""
        if not self.lost:
            self.transport.abortConnection()

    # Inside

    async def _ask(self, side: ViewerSide) -> None:
        """Find the ticket that the answer fits, reach its screen, let the viewer in."""
        try:
            found = await self._find(side.challenge, side.answer)
            relay = await self._consoles.open(self, lambda: self._take(found))
        except Refused as refused:
            self._refuse(side, refused.reason)
            return
        if self.lost or side.state is not State.ASKING:
            # Sent more than anybody has a reason to, or went.
            relay.end(Reason.VIEWER_LEFT)
            self._close()
            return
        self._no_stranger()
        self._side = None
        self._relay = relay
        self.transport.write(side.accept())
        relay.start(side.rest)

    async def _find(self, challenge: bytes, answer: bytes) -> Waiting:
        """The ticket whose password was used; each one is tried, whichever fits.

        :raise Refused: none fits.
        """
        consoles = self._consoles
        found: Waiting | None = None
        if not consoles.strangers.may_try(self.client):
            raise Refused(Reason.TOO_MANY_TRIES)
        for number, each in enumerate(await consoles.waiting(), 1):
            if passwords.fits(each.password, challenge, answer):
                found = each
            if number % _AT_ONCE == 0:
                await deferLater(consoles.clock, 0)
        if found is None:
            consoles.strangers.failed(self.client)
            self.log.info("console.refused", client=self.client, reason="wrong_password")
            raise Refused(Reason.WRONG_PASSWORD)
        return found

    async def _take(self, found: Waiting) -> Session:
        session: Session | None = await self._consoles.tickets.take(found.ticket_id, self.client)
        if session is None:
            raise Refused(Reason.USED)
        return session

    def _refuse(self, side: ViewerSide, reason: Reason) -> None:
        if not self.lost:
            self.transport.write(side.refuse(reason))
            self._close()

    def _broken(self, failure: Failure) -> None:
        self.log.failure("console.failed", failure, client=self.client)
        if self._side is not None:
            self._refuse(self._side, Reason.FAULT)
        else:
            self._close()

    def _late(self) -> None:
        self._deadline = None
        self._close()

    def _close(self) -> None:
        """Send what there is, and close."""
        self._end_deadline()
        self._side = None
        if not self.lost:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            self._consoles.linger(self)

    def _end_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def _no_stranger(self) -> None:
        if self._stranger:
            self._stranger = False
            self._consoles.strangers.leave(self.client)
