"""The consoles that this process relays: how many there may be, how long, and their end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cyclades_tx.console.interfaces import (
    ISessions,
    ITickets,
    OpenSession,
    Reason,
    Refused,
    Session,
)
from cyclades_tx.console.limits import ConsoleLimits, Strangers
from cyclades_tx.console.relay import Relay, Viewer
from cyclades_tx.console.screen import Reach

#: How often sessions are looked at.
TICK_SECONDS = 5.0
#: How long an end that was told to go may take for its last bytes.
LINGER_SECONDS = 5.0
#: The same when the service is being stopped.
STOP_SECONDS = 2.0


class _Abortable(Protocol):
    """A connection of ours; hashable by identity."""

    def abort(self) -> None:
        """Close now; nothing happens if it is closed."""


@implementer(ISessions)
class Consoles:
    """Every session of this process.

    :param clock: the reactor, or a test's clock; its time is that of the day.
    :param reach: how screens are connected to.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        tickets: ITickets,
        reach: Reach,
        limits: ConsoleLimits | None = None,
    ) -> None:
        self.clock = clock
        self.tickets = tickets
        self.limits = limits or ConsoleLimits()
        self.strangers = Strangers(clock, self.limits)
        self._reach = reach
        self._relays: dict[int, Relay] = {}
        self._users: Counter[str] = Counter()
        self._lingering: dict[_Abortable, float] = {}
        self._connections: set[_Abortable] = set()
        self._reports: set[Deferred[None]] = set()
        self._emptied: Deferred[None] | None = None
        self._stopped = False
        self._ticking = LoopingCall(self.tick)
        self._ticking.clock = clock

    def start(self) -> None:
        """Begin to look after the sessions."""
        self._ticking.start(TICK_SECONDS, now=False)

    async def stop(self) -> None:
        """End every session, let the last bytes go, and tell of all of them."""
        self._stopped = True
        if self._ticking.running:
            self._ticking.stop()
        for relay in list(self._relays.values()):
            relay.end(Reason.RESTART)
        for connection in list(self._connections):
            if connection not in self._lingering:
                connection.abort()
        if self._connections:
            self._emptied = Deferred()
            late = self.clock.callLater(STOP_SECONDS, self._abort_all)
            await self._emptied
            if late.active():
                late.cancel()
        for report in list(self._reports):
            await report

    # ISessions

    def cut(self, session_id: int, reason: Reason) -> bool:
        """End a session at once; also one that is just being opened."""
        relay = self._relays.get(session_id)
        if relay is None:
            return False
        relay.end(reason)
        return True

    def cut_server(self, server_id: int, reason: Reason) -> int:
        """End every session of a server that this process has; return how many."""
        found = [each for each in self._relays.values() if each.session.server_id == server_id]
        for relay in found:
            relay.end(reason)
        return len(found)

    def open_sessions(self) -> Sequence[OpenSession]:
        """What is open here, the oldest first."""
        return [relay.described() for relay in self._relays.values()]

    def __len__(self) -> int:
        return len(self._relays)

    # For viewers

    async def open(self, viewer: Viewer, take: Callable[[], Awaitable[Session | None]]) -> Relay:
        """Take a ticket and reach its screen; the caller then lets the viewer in.

        :param take: asks ``ITickets``; what it gives is a session from then on, whose end is told.
        :raise Refused: with what the viewer is to be told.
        """
        if self._stopped:
            raise Refused(Reason.RESTART)
        if len(self._relays) >= self.limits.sessions:
            # The ticket is good for another try.
            raise Refused(Reason.TOO_MANY)
        session = await self._asked(take())
        if session is None:
            raise Refused(Reason.UNKNOWN)
        now = datetime.fromtimestamp(self.clock.seconds(), UTC)
        relay = Relay(session, viewer, now, self._over)
        refusal = self._refusal(session, now)
        if refusal is not None:
            self._report(relay, refusal)
            raise Refused(refusal)
        self._relays[session.id] = relay
        self._users[session.user_id] += 1
        try:
            await relay.reach(self._reach, self, self.clock, self.limits.open_seconds)
        except Refused as refused:
            said = "" if relay.screen is None else relay.screen.said
            self.log.info(
                "console.not_reached",
                session_id=session.id,
                server_id=session.server_id,
                reason=refused.reason.value,
                said=said,
            )
            relay.end(refused.reason)
            raise
        except BaseException:
            relay.end(Reason.FAULT)
            raise
        relay.moved_at = self.clock.seconds()
        self.log.info(
            "console.opened",
            session_id=session.id,
            server_id=session.server_id,
            user_id=session.user_id,
            project_id=session.project_id,
            client=viewer.client,
            kind=viewer.kind,
        )
        return relay

    async def waiting(self) -> Any:
        """What ``ITickets.waiting`` says, with :exc:`Refused` for every fault."""
        return await self._asked(self.tickets.waiting())

    def joined(self, connection: _Abortable) -> None:
        """A connection was made that must be gone when the service stops."""
        self._connections.add(connection)

    def left(self, connection: _Abortable) -> None:
        """It is gone."""
        self._connections.discard(connection)
        self._lingering.pop(connection, None)
        if not self._connections and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def linger(self, connection: _Abortable) -> None:
        """Give the last bytes of a connection some time to go out, and no more."""
        if connection in self._connections:
            self._lingering[connection] = self.clock.seconds() + LINGER_SECONDS

    def tick(self) -> None:
        """Look for sessions that have lasted too long, and for ends that do not go."""
        now = self.clock.seconds()
        today = datetime.fromtimestamp(now, UTC)
        for relay in list(self._relays.values()):
            moved = relay.bytes_in + relay.bytes_out
            if today >= relay.session.expires_at:
                relay.end(Reason.TIME_OVER)
            elif not relay.started:
                continue
            elif moved != relay.moved:
                relay.moved, relay.moved_at = moved, now
            elif now - relay.moved_at >= self.limits.idle_seconds:
                relay.end(Reason.IDLE)
            if relay.ended is None and not relay.viewer.still_there(now):
                relay.end(Reason.VIEWER_SILENT)
        for connection in [each for each, until in self._lingering.items() if now >= until]:
            del self._lingering[connection]
            connection.abort()

    def _refusal(self, session: Session, now: datetime) -> Reason | None:
        if self._stopped:
            return Reason.RESTART
        if session.id in self._relays or now >= session.expires_at:
            return Reason.TICKET_EXPIRED
        if len(self._relays) >= self.limits.sessions:
            return Reason.TOO_MANY
        if self._users[session.user_id] >= self.limits.sessions_per_user:
            return Reason.TOO_MANY_YOURS
        return None

    async def _asked(self, answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except Refused:
            raise
        except Exception:
            self.log.failure("console.tickets_failed", Failure())
            raise Refused(Reason.UNAVAILABLE) from None

    def _over(self, relay: Relay) -> None:
        session = relay.session
        del self._relays[session.id]
        self._users[session.user_id] -= 1
        if not self._users[session.user_id]:
            del self._users[session.user_id]
        assert relay.ended is not None
        if relay.screen is not None:
            self.linger(relay.screen)
        self._report(relay, relay.ended)

    def _report(self, relay: Relay, reason: Reason) -> None:
        session = relay.session
        self.log.info(
            "console.ended",
            session_id=session.id,
            server_id=session.server_id,
            user_id=session.user_id,
            reason=reason.value,
            bytes_in=relay.bytes_in,
            bytes_out=relay.bytes_out,
        )

        async def tell() -> None:
            try:
                await self.tickets.ended(session.id, reason, relay.bytes_in, relay.bytes_out)
            except Exception:
                self.log.failure("console.end_not_told", Failure(), session_id=session.id)

        report = Deferred.fromCoroutine(tell())
        if not report.called:
            self._reports.add(report)
            report.addCallback(lambda _: self._reports.discard(report))

    def _abort_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()
