"""Consoles: who may look at which machine's screen, for how long, and where that screen is.

A ticket is asked for at the API, and taken by the proxy (:class:`ITickets`), which may be another
process. Where the screen is, only the cluster says: it is asked when the ticket is made and again
when it is taken, outside of any transaction. The database knows tickets by their hash.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from cyclades_tx.console.interfaces import ITickets, Reason, Refused, Session, Waiting
from cyclades_tx.errors import Conflict, Forbidden, NotFound, TooManyRequests, Unavailable
from cyclades_tx.ganeti.credentials import Keyring, SealBroken
from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.identity.tokens import hash_of, is_token, new_token
from cyclades_tx.model import password
from cyclades_tx.model.instance import Power
from cyclades_tx.model.names import Names
from cyclades_tx.model.who import Who
from cyclades_tx.sections import ConsoleSection
from cyclades_tx.store import clusters, consoles, operations

NOVNC = "novnc"
VIEWER = "vnc"

#: For so long after its end a browser may open a session again by itself.
AGAIN_SECONDS = 60.0
#: For so long a viewer with an old password is told why it is not let in.
REMEMBERED_SECONDS = 300.0
#: So many of the viewers' tickets are tried against a viewer's answer.
MOST_WAITING = 2000
#: Silence after which the process that relays a session is taken for dead.
SILENT_SECONDS = 120.0
#: How long ended sessions are kept for operators' lists, and how many one sweep ends.
KEPT_SECONDS = 30 * 86_400.0
SWEEP_MOST = 500
#: No more characters of a password count in VNC.
_PASSWORD_CHARACTERS = 8
_PASSWORD_KIND = "console_password"

#: Ends after which the same browser may open the console again.
_CURABLE = frozenset(
    (
        Reason.VIEWER_LEFT,
        Reason.SCREEN_LEFT,
        Reason.STOPPED,
        Reason.MOVED,
        Reason.RESTART,
        Reason.VIEWER_SILENT,
        Reason.UNREACHABLE,
        Reason.FAULT,
        Reason.IDLE,
        Reason.TIME_OVER,
        Reason.TOO_LATE,
    )
)


@dataclass(frozen=True)
class Ticket:
    """The right to open one console, once.

    :ivar text: what opens it: the ticket of a browser, or the password of a viewer.
    :ivar lifetime_seconds: how long it waits to be opened.
    """

    text: str = field(repr=False)
    server_uuid: str
    lifetime_seconds: float


@dataclass(frozen=True)
class Connection:
    """Where a ticket leads, for administrators."""

    server_uuid: str
    host: str
    port: int


@dataclass(frozen=True)
class _Screen:
    """Where a cluster says that a machine's screen is."""

    node: str
    node_address: str
    node_port: int


class _NoScreen(Exception):
    """There is none now, and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@implementer(ITickets)
class Consoles:
    """The flows of consoles.

    :param questions: an IClusterQuestions for the row of a cluster.
    :param process: names this process in the rows of its sessions.
    :param source: makes the passwords of viewers.
    """

    log = Logger()

    def __init__(
        self,
        database: Any,
        keyring: Keyring,
        questions: Callable[[Any], Any],
        names: Names,
        section: ConsoleSection,
        process: str,
        source: random.Random,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._questions = questions
        self._names = names
        self._section = section
        self._process = process
        self._source = source

    # Asked for by users

    async def ask(self, who: Who, ref: str, kind: str, request_id: str) -> Ticket:
        """Give the right to open a server's console once.

        :param kind: :data:`NOVNC` for browsers, :data:`VIEWER` for VNC viewers.
        :raise NotFound: when there is no such server for the caller.
        :raise Forbidden: when it is suspended, and the caller is no administrator.
        :raise Conflict: when it is not running.
        :raise TooManyRequests: when the user has many tickets already that nobody opened.
        :raise Unavailable: when the cluster does not say where the screen is.
        """
        server = await self._allowed(self._database, who, ref)
        try:
            screen = await self._screen(server)
        except _NoScreen as no:
            if no.reason is not Reason.NOT_RUNNING:
                raise Unavailable("The cluster cannot say now where the screen is.") from None
            await self._look_at(server)
            raise self._not_running(ref) from None
        text = new_token() if kind == NOVNC else password.make(self._source)[:_PASSWORD_CHARACTERS]
        # Only browsers send a ticket; that of a viewer is found by the answer to a challenge.
        secret = text if kind == NOVNC else new_token()
        row = {
            "ticket_hash": hash_of(secret),
            "kind": kind,
            "user_id": who.user_id,
            "project_id": who.project_id,
            "server_id": server.id,
            "request_id": request_id,
            "node": screen.node,
            "node_address": screen.node_address,
            "node_port": screen.node_port,
            "lifetime_seconds": self._section.ticket_seconds,
        }

        async def work(tx: Any) -> None:
            await self._allowed(tx, who, ref)
            if await consoles.waiting_of_user(tx, who.user_id) >= consoles.MOST_WAITING:
                raise TooManyRequests(
                    f"{consoles.MOST_WAITING} consoles wait to be opened already: open one, or"
                    " wait until they expire.",
                    max(1, int(self._section.ticket_seconds)),
                )
            ticket_id = await consoles.insert(tx, row)
            if kind == VIEWER:
                sealed = self._keyring.encrypt(_PASSWORD_KIND, ticket_id, text)
                await consoles.keep_password(tx, ticket_id, sealed)

        await self._database.transaction(work, "console.ask")
        return Ticket(text, server.uuid, self._section.ticket_seconds)

    async def connection(self, text: str) -> Connection:
        """Where a browser's ticket leads that can still be opened; for administrators.

        :raise NotFound: when nobody knows it, or it is spent.
        """
        row = await consoles.by_ticket(self._database, hash_of(text)) if is_token(text) else None
        if row is None or row.expired or row.opened_at or row.ended_at or row.verdict:
            raise NotFound("The token was not found.", "token")
        return Connection(row.server_uuid, row.node_address, row.node_port)

    async def close(self, session_id: int) -> str:
        """End a session, or make a ticket worth nothing; for operators.

        :return: what it was: ``waiting``, ``open`` or ``ended``.
        :raise NotFound: when there is none.
        """
        state: str | None = await self._database.transaction(
            lambda tx: consoles.close(tx, session_id, Reason.CLOSED.value), "console.close"
        )
        if state is None:
            raise NotFound(f"There is no console {session_id}; see console-list.", "console")
        return state

    async def sweep(self) -> None:
        """End what nobody relays any more, and throw away what is old."""
        await self._database.transaction(
            lambda tx: consoles.sweep(
                tx,
                SILENT_SECONDS,
                REMEMBERED_SECONDS,
                KEPT_SECONDS,
                SWEEP_MOST,
            ),
            "console.sweep",
        )

    # Asked for by the proxy

    async def take_by_text(self, text: str, client: str) -> Session | None:
        """See :class:`ITickets`.

        :param text: a ticket, or what a session may be opened again with; behind a dot, a secret
            of the browser's with which the new session may be opened again.
        """
        ticket, _, successor = text.partition(".")
        if not is_token(ticket) or (successor and not is_token(successor)) or successor == ticket:
            return None
        ticket_hash = hash_of(ticket)
        successor_hash = hash_of(successor) if successor else None
        row = await consoles.by_ticket(self._database, ticket_hash)
        if row is not None:
            return await self._open(row, client, successor_hash)
        row = await consoles.by_successor(self._database, ticket_hash, AGAIN_SECONDS)
        if row is None:
            return None
        return await self._open_again(row, ticket_hash, client, successor_hash)

    async def waiting(self) -> Sequence[Waiting]:
        """See :class:`ITickets`."""
        rows = await consoles.passwords(self._database, REMEMBERED_SECONDS, MOST_WAITING)
        found = []
        for row in rows:
            try:
                text = self._keyring.decrypt(_PASSWORD_KIND, row.id, row.password)
            except SealBroken as broken:
                self.log.warn("console.not_opened", reason=broken.message)
            else:
                found.append(Waiting(row.id, text))
        return found

    async def take(self, ticket_id: int, client: str) -> Session | None:
        """See :class:`ITickets`."""
        row = await consoles.by_id(self._database, ticket_id)
        return None if row is None else await self._open(row, client, None)

    async def ended(self, session_id: int, reason: Reason, bytes_in: int, bytes_out: int) -> None:
        """See :class:`ITickets`."""
        await self._database.transaction(
            lambda tx: consoles.end(tx, session_id, reason.value, bytes_in, bytes_out),
            "console.ended",
        )

    async def _open(self, row: Any, client: str, successor_hash: bytes | None) -> Session:
        """Make a ticket a session.

        :raise Refused: when it cannot be one (any more).
        """
        _refuse_spent(row)
        screen = await self._screen_now(row)
        if screen != _Screen(row.node, row.node_address, row.node_port):
            raise Refused(Reason.MOVED)

        async def work(tx: Any) -> Any:
            if await self._is_full(tx, row.user_id):
                raise Refused(Reason.TOO_MANY_YOURS)
            made = await consoles.open_ticket(
                tx, row.id, self._opening(screen, client, successor_hash)
            )
            if made is None:
                raise Refused(Reason.USED)
            await self._admit(tx, made.id)
            return made

        made = await self._database.transaction(work, "console.open")
        return _session(row, made, screen)

    async def _open_again(
        self, row: Any, ticket_hash: bytes, client: str, successor_hash: bytes | None
    ) -> Session:
        """Make a session of one that the same browser had lately.

        :raise Refused: when it cannot be.
        """
        if row.ended_at is not None and row.reason not in _CURABLE:
            raise Refused(_reason(row.reason))
        if row.too_late:
            raise Refused(Reason.TICKET_EXPIRED)
        # That it has stopped or moved meanwhile is what is being cured.
        if row.verdict is not None and row.verdict not in _CURABLE:
            raise Refused(_reason(row.verdict))
        screen = await self._screen_now(row)

        async def work(tx: Any) -> Any:
            if row.ended_at is not None and await self._is_full(tx, row.user_id):
                raise Refused(Reason.TOO_MANY_YOURS)
            opening = self._opening(screen, client, successor_hash)
            made = await consoles.open_again(tx, row, ticket_hash, opening)
            if made is None:
                raise Refused(Reason.USED)
            await self._admit(tx, made.id)
            return made

        made = await self._database.transaction(work, "console.open")
        return _session(row, made, screen)

    async def _admit(self, tx: Any, session_id: int) -> None:
        """See that a new session would not have to end at once, and tell of it.

        :raise Refused: when it would; nothing is written then.
        """
        verdict = (await consoles.verdicts(tx, (session_id,))).get(session_id)
        if verdict is not None:
            raise Refused(_reason(verdict))
        await consoles.tell(tx, "console.opened", session_id)

    async def _is_full(self, tx: Any, user_id: str) -> bool:
        return await consoles.open_of_user(tx, user_id) >= self._section.sessions_per_user

    def _opening(
        self, screen: _Screen, client: str, successor_hash: bytes | None
    ) -> dict[str, Any]:
        return {
            "node": screen.node,
            "node_address": screen.node_address,
            "node_port": screen.node_port,
            "client": client[:255],
            "process": self._process,
            "successor_hash": successor_hash,
            "session_seconds": self._section.session_seconds,
        }

    # What both ask

    async def _allowed(self, querier: Any, who: Who, ref: str) -> Any:
        """The row of a server whose console the caller may open now."""
        server = await consoles.server_of(querier, ref, who)
        if server is None:
            raise NotFound(f"Instance {ref} could not be found.", "server")
        if server.suspended and not who.admin:
            raise Forbidden("An administrator has suspended this server.")
        if server.charge != "on":
            raise self._not_running(ref)
        return server

    @staticmethod
    def _not_running(ref: str) -> Conflict:
        return Conflict(f"Instance {ref} is not running, so it has no console.", "state")

    async def _screen_now(self, row: Any) -> _Screen:
        try:
            return await self._screen(row)
        except _NoScreen as no:
            raise Refused(no.reason) from None

    async def _screen(self, server: Any) -> _Screen:
        """Ask its cluster where a server's screen is.

        :param server: with ``cluster_id``, and the server's id as ``server_id`` or ``id``.
        :raise _NoScreen: when there is none, or the cluster does not answer.
        """
        server_id = getattr(server, "server_id", None) or server.id
        cluster = await clusters.by_id(self._database, server.cluster_id)
        if cluster is None or cluster.offline:
            raise _NoScreen(Reason.UNAVAILABLE)
        try:
            asked = self._questions(cluster)
            seen = await asked.instance(self._names.instance(server_id))
            if seen is None or seen.power is not Power.RUNNING:
                raise _NoScreen(Reason.NOT_RUNNING)
            if seen.pnode is None or seen.network_port is None:
                raise _NoScreen(Reason.UNREACHABLE)
            address = await asked.node_address(seen.pnode)
        except GanetiError as error:
            self.log.warn("console.not_located", server_id=server_id, reason=error.message)
            raise _NoScreen(Reason.UNAVAILABLE) from None
        if address is None or not _may_be_node(address, cluster.rapi_host):
            self.log.warn(
                "console.not_located", server_id=server_id, reason="its node has no such address"
            )
            raise _NoScreen(Reason.UNREACHABLE)
        if not 1 <= seen.network_port <= 65_535:
            raise _NoScreen(Reason.UNREACHABLE)
        return _Screen(seen.pnode, address, seen.network_port)

    async def _look_at(self, server: Any) -> None:
        """Have its loop look at a server that does not run, although our records say so."""
        await self._database.transaction(
            lambda tx: operations.wake(tx, server.cluster_id, server.id), "console.wake"
        )


def _may_be_node(address: str, rapi_host: str) -> bool:
    """Whether a cluster may say that a node is there: never this machine itself.

    A simulated cluster is on the loopback as a whole.
    """
    node = ip_address(address)
    if node.is_unspecified or node.is_multicast or node.is_link_local:
        return False
    if not node.is_loopback:
        return True
    try:
        return ip_address(rapi_host).is_loopback
    except ValueError:
        return rapi_host == "localhost"


def _reason(word: str) -> Reason:
    try:
        return Reason(word)
    except ValueError:
        return Reason.NOT_ALLOWED


def _refuse_spent(row: Any) -> None:
    if row.opened_at is not None:
        raise Refused(Reason.USED)
    if row.verdict is not None:
        verdict = _reason(row.verdict)
        raise Refused(Reason.NOT_RUNNING if verdict is Reason.STOPPED else verdict)
    if row.expired or row.ended_at is not None:
        raise Refused(Reason.TICKET_EXPIRED)


def _session(row: Any, made: Any, screen: _Screen) -> Session:
    until_at: datetime = made.until_at
    return Session(
        id=made.id,
        user_id=row.user_id,
        project_id=row.project_id,
        server_id=row.server_id,
        server_uuid=row.server_uuid,
        host=screen.node_address,
        port=screen.node_port,
        expires_at=until_at,
    )
