"""The doors of the console: tickets come in from the flows, and an order to cut goes back.

A *ticket* is the right to open one console, good for one opening and for a short time. Taking it
makes it a *session*: one viewer and the screen of one machine. Whoever keeps tickets
(``ITickets``) decides who may see what; the proxy (``ISessions``) only carries bytes. Nothing
here or beside it imports a store or a flow, so that the proxy can also run alone on another host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from zope.interface import Interface


class Reason(StrEnum):
    """Why a console was refused or has ended; :data:`SENTENCES` says it to a person."""

    # Refused.
    WRONG_PASSWORD = "wrong_password"
    UNKNOWN = "unknown"
    USED = "used"
    TICKET_EXPIRED = "ticket_expired"
    NOT_ALLOWED = "not_allowed"
    NOT_RUNNING = "not_running"
    TOO_MANY_YOURS = "too_many_yours"
    TOO_MANY = "too_many"
    TOO_MANY_TRIES = "too_many_tries"
    UNAVAILABLE = "unavailable"
    UNREACHABLE = "unreachable"
    FAR_REFUSED = "far_refused"
    FAR_SPEAKS_NOT = "far_speaks_not"
    VIEWER_SPEAKS_NOT = "viewer_speaks_not"
    TOO_LATE = "too_late"
    # Ended.
    VIEWER_LEFT = "viewer_left"
    SCREEN_LEFT = "screen_left"
    IDLE = "idle"
    VIEWER_SILENT = "viewer_silent"
    TIME_OVER = "time_over"
    CLOSED = "closed"
    DELETED = "deleted"
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    MOVED = "moved"
    RIGHT_LOST = "right_lost"
    RESTART = "restart"
    FAULT = "fault"


#: What a person is told; none of them says anything about machines of others.
SENTENCES: dict[Reason, str] = {
    Reason.WRONG_PASSWORD: "The password is wrong, or its console was opened or expired before.",
    Reason.UNKNOWN: "This ticket is not known; ask for a new console.",
    Reason.USED: "This ticket was used already; ask for a new console.",
    Reason.TICKET_EXPIRED: "This ticket has expired; ask for a new console.",
    Reason.NOT_ALLOWED: "You have no right to this console any more.",
    Reason.NOT_RUNNING: "The server is not running, so it has no screen.",
    Reason.TOO_MANY_YOURS: "You have too many open consoles; close one.",
    Reason.TOO_MANY: "Too many consoles are open; try again later.",
    Reason.TOO_MANY_TRIES: "Too many wrong passwords came from your address; try again later.",
    Reason.UNAVAILABLE: "Tickets cannot be checked now; try again soon.",
    Reason.UNREACHABLE: "The server's screen cannot be reached now.",
    Reason.FAR_REFUSED: "The server's screen did not let the proxy in.",
    Reason.FAR_SPEAKS_NOT: "The server's screen does not speak a protocol that is understood.",
    Reason.VIEWER_SPEAKS_NOT: "Your viewer does not speak a protocol that is understood.",
    Reason.TOO_LATE: "Opening the console took too long.",
    Reason.VIEWER_LEFT: "The viewer was closed.",
    Reason.SCREEN_LEFT: "The server's screen has closed the connection.",
    Reason.IDLE: "Nothing was seen or typed for too long.",
    Reason.VIEWER_SILENT: "The viewer does not answer any more.",
    Reason.TIME_OVER: "The longest time of a console is over; open it again.",
    Reason.CLOSED: "The console was closed by an operator or its owner.",
    Reason.DELETED: "The server was deleted.",
    Reason.SUSPENDED: "The server was suspended.",
    Reason.STOPPED: "The server is not running any more.",
    Reason.MOVED: "The server has moved to another node; open the console again.",
    Reason.RIGHT_LOST: "You have no right to this console any more.",
    Reason.RESTART: "The service is being stopped; open the console again.",
    Reason.FAULT: "Something unexpected ended the console; open it again.",
}


class Refused(Exception):
    """A console is not opened, or not relayed any further.

    :ivar reason: which sentence a person gets.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(SENTENCES[reason])
        self.reason = reason

    @property
    def sentence(self) -> str:
        """What a person is told."""
        return SENTENCES[self.reason]


@dataclass(frozen=True)
class Waiting:
    """A ticket for a VNC viewer, as it waits for one whose answer fits its password.

    :ivar ticket_id: what :meth:`ITickets.take` wants.
    :ivar password: at most 8 characters count in VNC; from the Latin-1 set.
    """

    ticket_id: int
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """What a taken ticket gives: the right to one screen, now.

    :ivar id: names the session in every process, in lists and in orders to cut it.
    :ivar host: the address of the node, as the cluster itself reported it.
    :ivar port: the TCP port of the screen there.
    :ivar password: for a screen that wants VNC authentication; None: it wants none.
    :ivar expires_at: the end of the longest session; aware UTC.
    """

    id: int
    user_id: str
    project_id: str
    server_id: int
    server_uuid: str
    host: str
    port: int
    expires_at: datetime
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class OpenSession:
    """A session of this process, for those who list them.

    :ivar client: the address of the viewer.
    :ivar kind: ``vnc`` or ``websocket``.
    :ivar bytes_in: from the viewer to the screen.
    :ivar bytes_out: from the screen to the viewer.
    """

    session: Session
    client: str
    kind: str
    opened_at: datetime
    bytes_in: int
    bytes_out: int


class ITickets(Interface):
    """Who may open which console; the other side keeps it in the database.

    Everything may raise :exc:`Refused`, whose sentence the viewer is told; anything else that is
    raised is logged, and the viewer is told :attr:`Reason.UNAVAILABLE`.
    """

    async def take_by_text(text: str, client: str) -> Session | None:
        """Take a ticket by its text, as a browser sends it; it is spent by that, at most once.

        The text is a stranger's: of any length up to 1,024 characters.

        :param client: the viewer's address, for the audit trail.
        :return: None: nobody knows such a ticket.
        :raise Refused: ``USED``, ``TICKET_EXPIRED``, ``NOT_ALLOWED`` …, for one that was known.
        """

    async def waiting() -> Sequence[Waiting]:
        """The tickets for viewers that may be taken now, and those that could be until lately.

        VNC knows no user name: the password that fits tells which ticket it is. Those that were
        used or have expired are given too for as long as they are remembered, so that their
        owner is told why (by :meth:`take`); at most some thousands in all.
        """

    async def take(ticket_id: int, client: str) -> Session | None:
        """Take the ticket of a viewer that has proven to know its password; at most once.

        :return: None: it is not there any more.
        :raise Refused: as for :meth:`take_by_text`.
        """

    async def ended(session_id: int, reason: Reason, bytes_in: int, bytes_out: int) -> None:
        """Told once of each session that was taken, when it has ended or did not come about."""


class ISessions(Interface):
    """The sessions that this process relays."""

    def cut(session_id: int, reason: Reason) -> bool:
        """End a session at once; also one that is just being opened.

        :return: whether this process had it.
        """

    def cut_server(server_id: int, reason: Reason) -> int:
        """End every session of a server that this process has; return how many."""

    def open_sessions() -> Sequence[OpenSession]:
        """What is open here, the oldest first."""
