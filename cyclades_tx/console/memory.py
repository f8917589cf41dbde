"""Tickets in memory: for tests, and for a proxy that stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from cyclades_tx.console.interfaces import (
    ITickets,
    Reason,
    Refused,
    Session,
    Waiting,
)


@dataclass
class _Ticket:
    session: Session
    secret: str
    for_viewers: bool
    until_seconds: float
    refusal: Reason | None = None


@implementer(ITickets)
class MemoryTickets:
    """Tickets that nobody else knows of.

    :ivar ends: (session id, reason, bytes in, bytes out) of each session that has ended.
    """

    def __init__(self, clock: IReactorTime, lifetime_seconds: float = 60.0) -> None:
        self._clock = clock
        self._lifetime_seconds = lifetime_seconds
        self._tickets: dict[int, _Ticket] = {}
        self.ends: list[tuple[int, Reason, int, int]] = []

    def add(
        self,
        host: str,
        port: int,
        secret: str,
        *,
        for_viewers: bool = True,
        session_seconds: float = 3600.0,
        **fields: Any,
    ) -> int:
        """Make a ticket; return its id, which is also that of its session.

        :param secret: what opens it: a password of 8 characters for viewers, else the text.
        :param fields: more of the :class:`Session`, such as ``user_id`` or ``password``.
        """
        number = len(self._tickets) + 1
        now = datetime.fromtimestamp(self._clock.seconds(), UTC)
        session = Session(
            id=number,
            user_id="",
            project_id="",
            server_id=0,
            server_uuid="",
            host=host,
            port=port,
            expires_at=now + timedelta(seconds=session_seconds),
        )
        self._tickets[number] = _Ticket(
            replace(session, **fields),
            secret,
            for_viewers,
            self._clock.seconds() + self._lifetime_seconds,
        )
        return number

    def spoil(self, ticket_id: int, reason: Reason) -> None:
        """Let a ticket be refused from now on."""
        self._tickets[ticket_id].refusal = reason

    async def take_by_text(self, text: str, client: str) -> Session | None:
        """Take a ticket by its text."""
        for number, ticket in self._tickets.items():
            if not ticket.for_viewers and ticket.secret == text:
                return self._take(number)
        return None

    async def waiting(self) -> Sequence[Waiting]:
        """The tickets for viewers."""
        return [
            Waiting(number, ticket.secret)
            for number, ticket in self._tickets.items()
            if ticket.for_viewers
        ]

    async def take(self, ticket_id: int, client: str) -> Session | None:
        """Take the ticket of a viewer."""
        return self._take(ticket_id)

    async def ended(self, session_id: int, reason: Reason, bytes_in: int, bytes_out: int) -> None:
        """Remember an end."""
        self.ends.append((session_id, reason, bytes_in, bytes_out))

    def _take(self, number: int) -> Session | None:
        ticket = self._tickets.get(number)
        if ticket is None:
            return None
        if ticket.refusal is not None:
            raise Refused(ticket.refusal)
        if self._clock.seconds() > ticket.until_seconds:
            raise Refused(Reason.TICKET_EXPIRED)
        ticket.refusal = Reason.USED
        return ticket.session
