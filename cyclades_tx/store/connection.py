"""One connection to PostgreSQL in the reactor: txpostgres with its defects cured.

txpostgres 1.7.0 adds and removes its reader around each query, answers a turn of the reactor
late, raises a private exception out of a canceller and rolls back while a query still runs.
Here the reader is permanent, results are delivered directly, and cancelling only makes the
caller stop waiting: the connection stays busy until PostgreSQL has answered.
"""

from __future__ import annotations

import os
import select
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import psycopg2
import psycopg2.extras
from psycopg2.extensions import (
    BYTES,
    POLL_OK,
    POLL_READ,
    POLL_WRITE,
    TRANSACTION_STATUS_IDLE,
    new_type,
    register_type,
)
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from txpostgres import txpostgres

from cyclades_tx.store.interfaces import Arguments

psycopg2.extras.register_uuid()
psycopg2.extras.register_ipaddress()

# A process has a few hundred statements; beyond that texts are being made up per request.
PREPARED_LIMIT = 300
# So many addresses of a server may turn a handshake away.
MOST_HANG_UPS = 16
NESTED_LIMIT = 8
# Deallocated behind our back; its tables changed so that its result would have another type.
STALE_PREPARATION = ("26000", "0A000")
TEXT_OID = 25

# What PostgreSQL sends is UTF-8 already (client_encoding): no decoding, no encoding.
DOCUMENT_TYPE = new_type((TEXT_OID,), "DOCUMENT", BYTES)

Done = Callable[[Any, BaseException | None], None]

#: A change was asked for, and the server or the session takes none.
READ_ONLY = "25006"


class ConnectionGone(Exception):
    """The connection was lost or closed; whether the statement was carried out is unknown."""


def is_gone(error: BaseException) -> bool:
    """Tell whether an error means that the connection, not the statement, is at fault.

    :param error: what a statement raised.
    """
    if isinstance(error, ConnectionGone):
        return True
    code = getattr(error, "pgcode", None)
    if code is not None:
        # Class 08 is "connection exception"; 57P01 to 57P03 a server that goes or comes,
        # 57P05 an idle session's limit (PostgreSQL's documentation, appendix A). A session that
        # began while the server took no changes may stay so: only a new one can tell.
        return code[:2] == "08" or code in (
            *("57P01", "57P02", "57P03", "57P05", "25P03", "25P04"),
            READ_ONLY,
        )
    return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)


@lru_cache(maxsize=2000)
def row_class(names: tuple[str, ...]) -> Any:
    """Return the named tuple for these columns; names that Python refuses become ``_0`` …"""
    return namedtuple("Row", names, rename=True)


def rows_of(cursor: Any) -> list[Any]:
    """Return a finished cursor's rows as named tuples, none for a statement without rows."""
    if cursor.description is None:
        return []
    make = row_class(tuple([column.name for column in cursor.description]))._make
    return [make(row) for row in cursor.fetchall()]


class Connection(txpostgres.Connection):
    """A connection that runs one statement at a time, others wait in line.

    :param reactor: provides IReactorFDSet and IReactorTime.
    :param lost: called once with this connection when it is gone without having been closed.
    :param notified: called with channel and payload of each notification.
    """

    #: An answer that is there at once is delivered at once, and who gets it may send the next
    #: statement, here or on another connection of the pool: only so deep, then in another turn.
    _nested = 0

    def __init__(
        self,
        reactor: Any,
        lost: Callable[[Connection], None],
        notified: Callable[[str, str], None] | None = None,
    ) -> None:
        # The base class would take the global cooperator for notifications; ours go directly.
        super().__init__(reactor=reactor, cooperator=self)
        self._lost = lost
        self._notified = notified
        self._pollingD: Deferred[Any] | None = None  # the base class's, for the handshake
        self._fd = -1
        self._hang_ups = 0
        self._cursor: Any = None
        self._done: Done | None = None
        self._line: deque[tuple[str, Any, Done, Any]] = deque()
        self._advancing = False
        # For each text its name and the statement that executes it.
        self._prepared: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._prepared_count = 0
        self._document_cursor: Any = None
        self._peek = select.poll()
        self._busy_since = 0.0

    # -- state ---------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether statements can be sent."""
        return self._fd >= 0

    @property
    def busy(self) -> bool:
        """Whether a statement is running or waits in line."""
        return self._done is not None or bool(self._line)

    @property
    def clean(self) -> bool:
        """Whether the next user finds it as if it were new: open, idle, outside a transaction."""
        return (
            self._fd >= 0
            and self._done is None
            and not self._line
            and not self._connection.closed
            and self._connection.get_transaction_status() == TRANSACTION_STATUS_IDLE
        )

    @property
    def in_transaction(self) -> bool:
        """Whether PostgreSQL holds a transaction open (or failed) on it."""
        status = self._connection.get_transaction_status()
        return self._fd >= 0 and bool(status != TRANSACTION_STATUS_IDLE)

    def busy_seconds(self) -> float:
        """Return for how long the running statement has been running, 0 without one."""
        return 0.0 if self._done is None else float(self.reactor.seconds() - self._busy_since)

    # -- statements ----------------------------------------------------------------------

    def start(
        self,
        sql: str,
        args: Arguments | None,
        done: Done,
        cursor: Any = None,
    ) -> None:
        """Send a statement, or put it in line; call ``done(cursor, error)`` when it ended.

        :param args: None sends the text as it stands; anything else fills its placeholders.
        """
        if self._done is not None or self._line:
            self._line.append((sql, args, done, cursor))
        else:
            self._send(sql, args, done, cursor)

    def _send(self, sql: str, args: Any, done: Done, cursor: Any) -> None:
        if self._fd < 0:
            done(None, ConnectionGone("the connection is closed"))
            return
        try:
            if cursor is None:
                cursor = self._connection.cursor()
            cursor.execute(sql, args)
        except Exception as error:
            if self._connection.closed:
                self._gone()
            done(None, error)
            return
        # psycopg2 itself holds the running cursor by a weak reference.
        self._cursor = cursor
        self._done = done
        self._busy_since = self.reactor.seconds()
        if Connection._nested >= NESTED_LIMIT:
            self.reactor.callLater(0, self._look)
            return
        Connection._nested += 1
        try:
            self.continuePolling()
        finally:
            Connection._nested -= 1

    def _look(self) -> None:
        if self._fd >= 0:
            self.continuePolling()

    def execute(self, sql: str, args: Arguments | None = None) -> Deferred[Any]:
        """Send a statement; the Deferred fires with the psycopg2 cursor.

        Cancelling stops the waiting only: the statement goes on, the next one waits for it.
        """
        waiting: Deferred[Any] = Deferred()

        def done(cursor: Any, error: BaseException | None) -> None:
            if waiting.called:
                return
            if error is None:
                waiting.callback(cursor)
            else:
                waiting.errback(Failure(error))

        self.start(sql, args, done)
        return waiting

    def document(
        self,
        sql: str,
        args: Sequence[Any],
        done: Callable[[bytes | None, BaseException | None], None],
    ) -> None:
        """Run a statement prepared on this connection; hand over its only text as bytes."""

        def fetched(cursor: Any, error: BaseException | None) -> None:
            if error is not None:
                if known is not None and getattr(error, "pgcode", None) in STALE_PREPARATION:
                    self._prepared.pop(sql, None)
                    self.document(sql, args, done)
                else:
                    done(None, error)
                return
            row = cursor.fetchone()
            done(row[0] if row is not None else None, None)

        known = self._prepared.get(sql)
        if known is not None:
            self.start(known[1], args or None, fetched, self._document_cursor)
            return

        self._prepared_count += 1
        name = f"s{self._prepared_count}"
        try:
            text = f"prepare {name} as " + sql % tuple(f"${n + 1}" for n in range(len(args)))
        except (TypeError, ValueError) as error:
            done(None, error)
            return
        if len(self._prepared) >= PREPARED_LIMIT:
            _, (oldest, _) = self._prepared.popitem(last=False)
            text = f"deallocate {oldest}; {text}"

        def prepared(cursor: Any, error: BaseException | None) -> None:
            if error is not None:
                done(None, error)
                return
            if self._document_cursor is None:
                self._document_cursor = self._connection.cursor()
                register_type(DOCUMENT_TYPE, self._document_cursor)
            slots = ",".join(["%s"] * len(args))
            call = f"execute {name}({slots})" if args else f"execute {name}"
            self._prepared[sql] = (name, call)
            self.start(call, args or None, fetched, self._document_cursor)

        self.start(text, None, prepared)

    def alive(self) -> bool:
        """Look, without waiting, whether the server has hung up on this idle connection."""
        if self._fd < 0:
            return False
        if self._peek.poll(0):
            # The first look takes the server's farewell, the second meets the end.
            self.continuePolling()
            if self._fd >= 0:
                self.continuePolling()
        return self._fd >= 0

    # -- what txpostgres is cured of -----------------------------------------------------

    def connect(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Open the connection; the Deferred fires when statements can be sent."""
        waiting: Deferred[Any] = super().connect(*args, **kwargs)
        return waiting

    def cursor(self) -> Any:
        """Refuse txpostgres's cursors: they would take the reader away."""
        raise NotImplementedError("use Connection.execute")

    runQuery = runOperation = runInteraction = cursor

    def cooperate(self, work: Any) -> None:
        """Refuse to spread work: nothing of the base class's notifications is used."""
        raise NotImplementedError("notifications are delivered directly")

    def continuePolling(self, swallowErrors: bool = False) -> None:
        """Take what the socket has and deliver what is complete."""
        try:
            state = self._connection.poll()
        except Exception as error:
            self._poll_failed(error)
            return
        if state == POLL_WRITE:
            self.reactor.addWriter(self)
            if self._fd < 0:
                return
        elif state == POLL_READ and self._fd < 0:
            self.reactor.addReader(self)
            return
        if self._fd >= 0 and self._connection.notifies:
            self._deliver_notifications()
        if state != POLL_OK:
            return
        if self._done is not None:
            self._finish(self._cursor, None)
            if self._notified is not None and not self.busy and self.open:
                # Notifications right behind the answer lie in libpq's buffer: no socket tells.
                self.continuePolling()
        elif self._pollingD is not None:
            self._leave_reactor()
            # libpq closes its socket inside poll(), which epoll answers with EBADF: the
            # reactor watches a duplicate that only we close.
            self._fd = os.dup(self._connection.fileno())
            self._peek.register(self._fd, select.POLLIN)
            waiting, self._pollingD = self._pollingD, None
            waiting.callback(self)

    def doRead(self) -> None:
        if self._fd < 0:
            # Handshake: libpq may change the socket between two polls.
            self._leave_reactor()
            if self._pollingD is None:
                return
        self.continuePolling()

    def doWrite(self) -> None:
        if self._fd < 0:
            self._leave_reactor()
            if self._pollingD is None:
                return
        else:
            self.reactor.removeWriter(self)
        self.continuePolling()

    def fileno(self) -> int:
        if self._fd >= 0:
            return self._fd
        if self._connection is None or self._connection.closed:
            return -1
        return int(self._connection.fileno())

    def connectionLost(self, reason: Any) -> None:
        """The reactor saw the socket end: whoever waits is told, the owner too."""
        if self._fd >= 0:
            # libpq may hold an answer that says why.
            self.continuePolling(swallowErrors=True)
        elif self._pollingD is not None and not self._connection.closed:
            # libpq knows why the handshake ended, or has another address to try.
            self._hang_ups += 1
            self.continuePolling()
            if self._pollingD is not None and self._hang_ups < MOST_HANG_UPS:
                return
        if self._fd >= 0 or self._pollingD is not None:
            self._gone()

    def close(self) -> None:
        """Close it; a statement that runs fails for its caller. Closing twice is nothing."""
        self._lost = _nobody
        self._gone()

    def abandon(self) -> None:
        """Treat it as lost: who waits for it is told, and the owner."""
        self._gone()

    def _cancel(self, waiting: Any) -> None:
        """Give up the handshake; its Deferred then fails with CancelledError."""
        self._pollingD = None
        self._disconnect()

    def _poll_failed(self, error: Exception) -> None:
        if self._fd < 0:
            waiting, self._pollingD = self._pollingD, None
            self._disconnect()
            if waiting is not None:
                waiting.errback(Failure(error))
            return
        if self._connection.closed or is_gone(error) or self._done is None:
            self._gone(error)
        else:
            self._finish(None, error)

    def _finish(self, cursor: Any, error: BaseException | None) -> None:
        done, self._done, self._cursor = self._done, None, None
        if done is not None:
            done(cursor, error)
        self._next_in_line()

    def _next_in_line(self) -> None:
        if self._advancing:
            # An answer that was there at once: the loop further out goes on. One inside the other
            # would be as deep as the line is long.
            return
        self._advancing = True
        try:
            while self._line and self._done is None:
                sql, args, done, cursor = self._line.popleft()
                self._send(sql, args, done, cursor)
        finally:
            self._advancing = False

    def _gone(self, error: BaseException | None = None) -> None:
        """Drop the socket; tell the waiting statements and, once, the owner."""
        lost, self._lost = self._lost, _nobody
        waiting, self._pollingD = self._pollingD, None
        calls = [] if self._done is None else [self._done]
        calls += [entry[2] for entry in self._line]
        self._done = self._cursor = self._document_cursor = None
        self._line.clear()
        self._disconnect()
        why = error or ConnectionGone("the connection was lost")
        # The owner first: a caller may ask it for another one at once.
        lost(self)
        if waiting is not None:
            waiting.errback(Failure(why))
        for done in calls:
            done(None, why)

    def _disconnect(self) -> None:
        if self._connection is None:
            return
        self._leave_reactor()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if not self._connection.closed:
            self._connection.close()

    def _leave_reactor(self) -> None:
        """Be neither reader nor writer, while the number of the socket is still the watched one.

        A number that stays behind would belong to the next socket, which is then not watched.
        """
        self.reactor.removeReader(self)
        self.reactor.removeWriter(self)

    def _deliver_notifications(self) -> None:
        notes = self._connection.notifies[:]
        del self._connection.notifies[:]
        if self._notified is not None:
            for note in notes:
                self._notified(note.channel, note.payload)


def _nobody(connection: Connection) -> None:
    """Nobody wants to know."""
