"""The one door to PostgreSQL that the rest of the service uses.

Every call is shielded: whoever stops waiting leaves the work running to its end. What is
worth repeating is repeated here, and what PostgreSQL's absence means is said in the
service's own words (:class:`~cyclades_tx.errors.Unavailable`).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cyclades_tx.errors import CycladesError, Unavailable
from cyclades_tx.store.connection import READ_ONLY, Connection, is_gone, rows_of
from cyclades_tx.store.interfaces import Arguments, IDatabase, ITransaction
from cyclades_tx.store.notifications import Listener
from cyclades_tx.store.pool import Limits, Pool, PoolStatistics
from cyclades_tx.store.reads import Reads, Ticket, reads_at_once
from cyclades_tx.store.turns import Turns

T = TypeVar("T")

SERIALIZATION_FAILURE = "40001"
DEADLOCK_DETECTED = "40P01"
FOREIGN_KEY_VIOLATION = "23503"
UNIQUE_VIOLATION = "23505"
QUERY_CANCELED = "57014"
LOCK_NOT_AVAILABLE = "55P03"
TOO_MANY_CONNECTIONS = "53300"
# Classes of codes: no room on the disk, in memory …; the system below (PostgreSQL, appendix A).
SHORTAGES = ("53", "58")
# A read whose connection died is asked again; a server that kills each of them ends this.
READ_TRIES = 3
# A shortage is over when nobody has met it for so long: whoever fails tries again within a minute.
SHORTAGE_SECONDS = 90.0


class CommitUnknown(Unavailable):
    """The database went away during the commit: the change may or may not be stored."""


@implementer(ITransaction)
class Transaction:
    """A transaction that begins with its first statement and ends with ``Database``'s commit.

    :param connection: a connection that nobody else uses meanwhile.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._begun = False
        self._over = False
        self._void = False
        # Whether PostgreSQL has answered at all: until then nothing can have happened.
        self.answered = False

    async def all(self, sql: str, args: Arguments = ()) -> list[Any]:
        """Run a statement and return its rows as named tuples."""
        return rows_of(await self._execute(sql, args))

    async def first(self, sql: str, args: Arguments = ()) -> Any:
        """Run a statement and return its first row, or None."""
        return _first(await self._execute(sql, args))

    async def value(self, sql: str, args: Arguments = ()) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        return _value(await self._execute(sql, args))

    async def run(self, sql: str, args: Arguments = ()) -> int:
        """Run a statement and return how many rows it touched."""
        return _count(await self._execute(sql, args))

    async def notify(self, channel: str, payload: str) -> None:
        """Tell the listeners of a channel, when and if the transaction commits.

        :param payload: under 8000 bytes, PostgreSQL's limit.
        """
        await self._execute("select pg_notify(%s, %s)", (channel, payload))

    async def commit(self) -> None:
        """Make it last.

        :raise RuntimeError: when a statement had failed and ``work`` went on regardless.
        :raise CommitUnknown: when the connection was lost before PostgreSQL answered.
        """
        self._over = True
        if not self._begun:
            return
        if self._void:
            raise RuntimeError("the first statement of this transaction has failed")
        try:
            cursor = await self._connection.execute("commit")
        except Exception as error:
            if is_gone(error):
                raise CommitUnknown(
                    "The database went away while the change was being stored; look whether it "
                    "was before trying again."
                ) from error
            raise
        if cursor.statusmessage != "COMMIT":
            raise RuntimeError("a statement of this transaction had failed: it was rolled back")

    async def roll_back(self) -> None:
        """Undo it, after a statement that may still run; never raises."""
        self._over = True
        if self._connection.open and (self._connection.busy or self._connection.in_transaction):
            try:
                await self._connection.execute("rollback")
            except Exception:
                # The pool drops a connection that is not outside any transaction.
                return

    async def _execute(self, sql: str, args: Arguments) -> Any:
        if self._over:
            raise RuntimeError("this transaction has ended")
        if self._void:
            raise RuntimeError("the first statement of this transaction has failed")
        if not self._begun:
            self._begun = True
            # One message for both saves a round trip.
            sql = f"begin; {sql}"
        try:
            cursor = await self._connection.execute(sql, args or None)
        except Exception:
            if not self.answered and not self._connection.busy:
                # It may have failed so early that nothing has begun at PostgreSQL.
                self._void = not self._connection.in_transaction
            raise
        self.answered = True
        return cursor


@implementer(IDatabase)
class Database:
    """PostgreSQL for the whole service.

    :param reactor: provides IReactorFDSet and IReactorTime.
    :param dsn: libpq's connection string.
    :param least: connections that are always kept open.
    :param most: connections at most; the one for LISTEN is on top of them.
    :param reads: documents that are read at once; 0: by the processors, see ``store/reads.py``.
    :param wait_seconds: how long a call waits for a free connection.
    :param crash: called with ``before-commit:NAME`` and ``after-commit:NAME``; for crash tests.
    :param observe: called with a kind (``wait``, ``transaction``), a name and seconds; for metrics.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        dsn: str,
        *,
        least: int = 1,
        most: int = 10,
        reads: int = 0,
        wait_seconds: float = 5.0,
        limits: Limits | None = None,
        application_name: str = "cyclades_tx",
        crash: Callable[[str], None] = lambda point: None,
        observe: Callable[[str, str, float], None] = lambda kind, name, seconds: None,
    ) -> None:
        self._reactor = reactor
        self._crash = crash
        self._observe = observe
        self._shortage = ""
        self._shortage_at = 0.0
        self._pool = Pool(
            reactor,
            dsn,
            least=least,
            most=most,
            wait_seconds=wait_seconds,
            limits=limits,
            application_name=application_name,
            waited=lambda seconds: observe("wait", "", seconds),
        )
        self._reads = Reads(reactor, reads or reads_at_once(dsn, most), wait_seconds)
        self._turns = Turns(reactor, wait_seconds)
        self._listener = Listener(reactor, dsn, application_name=application_name)

    def start(self) -> None:
        """Begin to connect; calls may be made at once, and wait."""
        self._pool.start()

    async def close(self) -> None:
        """Let running work end, then close every connection."""
        self._listener.close()
        self._reads.close()
        await self._pool.close()

    @property
    def trouble(self) -> str:
        """Why PostgreSQL cannot be reached now, in its own words; empty when it can."""
        return self._pool.trouble

    @property
    def shortage(self) -> str:
        """What PostgreSQL was short of lately (room, memory), in its own words; or empty."""
        if self._reactor.seconds() - self._shortage_at > SHORTAGE_SECONDS:
            self._shortage = ""
        return self._shortage

    def statistics(self) -> PoolStatistics:
        """Return how the pool stands now; who waits in the line of the reads waits for it too."""
        now = self._pool.statistics()
        return replace(
            now, waiting=now.waiting + len(self._reads), refused=now.refused + self._reads.refused
        )

    async def all(self, sql: str, args: Arguments = ()) -> list[Any]:
        """Run a statement and return its rows as named tuples.

        Here as in ``first``, ``value`` and ``run``, a text that begins with ``select`` is asked
        again when its connection dies; anything else is not, because it may have happened.
        """
        rows: list[Any] = await self._statement(sql, args, rows_of)
        return rows

    async def first(self, sql: str, args: Arguments = ()) -> Any:
        """Run a statement and return its first row, or None."""
        return await self._statement(sql, args, _first)

    async def value(self, sql: str, args: Arguments = ()) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        return await self._statement(sql, args, _value)

    async def run(self, sql: str, args: Arguments = ()) -> int:
        """Run a statement and return how many rows it touched."""
        count: int = await self._statement(sql, args, _count)
        return count

    async def document(self, sql: str, args: Sequence[Any]) -> bytes | None:
        """Run a prepared statement that builds one JSON text; return its UTF-8 bytes.

        :param sql: its only column is ``text``; the text itself is the key of the preparation.
        :return: None when there is no row, or null in it.
        """
        waiting: Deferred[bytes | None] = Deferred()

        def begin(connection: Connection, done: Callable[[Any, Any], None]) -> None:
            connection.document(sql, args, done)

        def start(ticket: Ticket) -> None:
            leave = partial(self._reads.leave, ticket)
            self._on_connection(begin, waiting, _same, READ_TRIES, leave)

        self._reads.enter(waiting, start)
        return await waiting

    async def transaction(
        self,
        work: Callable[[Any], Awaitable[T]],
        name: str = "",
        retries: int = 3,
        turn: str = "",
    ) -> T:
        """Run ``work(transaction)`` between begin and commit; return what it returns.

        :param name: a short fixed name for logs, metrics and crash points (``server.create``).
        :param retries: how often the whole is run again after a deadlock or a serialization
            failure, or when the connection turned out to be dead before the first statement; and
            once when a row that it had seen went, or one that it had not seen came (a foreign
            key or a unique constraint says so): what it finds then tells its caller more.
        :param turn: transactions with the same word go one after another; see ``store/turns.py``.
        :raise CommitUnknown: when the connection was lost during the commit.
        :raise Unavailable: when no connection can be had, or it was lost on the way.
        """
        return await self._shielded(self._transaction(work, name, retries, turn), name)

    def pause(self, seconds: float) -> Deferred[None]:
        """Wait by the clock that all timeouts go by; nothing is held meanwhile."""
        return deferLater(self._reactor, seconds, lambda: None)

    def listen(self, channel: str, observer: Callable[[str], None]) -> Callable[[], None]:
        """Call ``observer(payload)`` for each notification; return a function that stops it."""
        return self._listener.listen(channel, observer)

    def on_listen_lost(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Call ``observer()`` each time the LISTEN connection was lost or came back."""
        return self._listener.on_lost(observer)

    def when_listening(self) -> Deferred[None]:
        """Return a Deferred that fires when every channel asked for so far is listened to."""
        return self._listener.when_listening()

    # -- single statements -----------------------------------------------------------------

    def _statement(self, sql: str, args: Arguments, fetch: Callable[[Any], Any]) -> Deferred[Any]:
        """Run a statement of its own; only a plain select is asked again on a new connection."""
        waiting: Deferred[Any] = Deferred()
        tries = READ_TRIES if sql.lstrip()[:6].lower() == "select" else 1

        def begin(connection: Connection, done: Callable[[Any, Any], None]) -> None:
            connection.start(sql, args or None, done)

        self._on_connection(begin, waiting, fetch, tries)
        return waiting

    def _on_connection(
        self,
        begin: Callable[[Connection, Callable[[Any, Any], None]], None],
        waiting: Deferred[Any],
        fetch: Callable[[Any], Any],
        tries: int,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        """Do one thing on a connection and give its result to ``waiting``, if it still waits.

        Callbacks instead of coroutines, because every read of the service passes here.

        :param leave: called when it is over, before ``waiting`` is.
        """
        connection = self._pool.take()
        if connection is None:
            self._shielded(self._on_acquired(begin, waiting, fetch, tries, leave), "statement")
        else:
            self._go(connection, begin, waiting, fetch, tries, leave)

    async def _on_acquired(
        self,
        begin: Any,
        waiting: Deferred[Any],
        fetch: Callable[[Any], Any],
        tries: int,
        leave: Callable[[], None],
    ) -> None:
        try:
            connection = await self._pool.acquire()
        except Exception:
            why = Failure()
            leave()
            if not waiting.called:
                waiting.errback(why)
            return
        self._go(connection, begin, waiting, fetch, tries, leave)

    def _go(
        self,
        connection: Connection,
        begin: Any,
        waiting: Deferred[Any],
        fetch: Callable[[Any], Any],
        tries: int,
        leave: Callable[[], None],
    ) -> None:
        def done(cursor: Any, error: BaseException | None) -> None:
            result = None
            if error is None:
                try:
                    result = fetch(cursor)
                except Exception as raised:
                    error = raised
            self._pool.put(connection)
            if error is not None and tries > 1 and is_gone(error):
                self._on_connection(begin, waiting, fetch, tries - 1, leave)
                return
            leave()
            if waiting.called:
                return  # cancelled meanwhile
            if error is None:
                waiting.callback(result)
            else:
                waiting.errback(Failure(self._told(error)))

        begin(connection, done)

    # -- transactions ----------------------------------------------------------------------

    async def _transaction(
        self, work: Callable[[Any], Awaitable[T]], name: str, retries: int, turn: str
    ) -> T:
        started = self._reactor.seconds()
        tried = 0
        if turn:
            await self._turns.take(turn)
        try:
            while True:
                connection = await self._pool.acquire()
                transaction = Transaction(connection)
                try:
                    result = await work(transaction)
                    self._crash(f"before-commit:{name}")
                    await transaction.commit()
                    self._crash(f"after-commit:{name}")
                    return result
                except Exception as error:
                    await transaction.roll_back()
                    if tried >= retries or not _worth_repeating(error, transaction, tried):
                        told = self._told(error)
                        raise told from told.__cause__
                    tried += 1
                    self.log.debug(
                        "{name} is run again ({tried}): {why}",
                        name=name or "A transaction",
                        tried=tried,
                        why=error,
                    )
                finally:
                    self._pool.put(connection)
                await deferLater(self._reactor, 0.01 * 2**tried * random.random())
        finally:
            if turn:
                self._turns.leave(turn)
            self._observe("transaction", name, self._reactor.seconds() - started)

    def _told(self, error: BaseException) -> BaseException:
        """Return what a caller should see, and remember a shortage for operators."""
        if _is_shortage(error):
            if not self.shortage:
                self._shortage = str(error).strip().partition("\n")[0]
                self.log.warn("PostgreSQL is short of something: {why}", why=self._shortage)
            self._shortage_at = self._reactor.seconds()
        return _in_our_words(error)

    def _shielded(self, work: Coroutine[Any, Any, T], name: str) -> Deferred[T]:
        """Run work that does not notice when its caller stops waiting."""
        outer: Deferred[T] = Deferred()

        def deliver(result: Any) -> None:
            if not outer.called:
                outer.callback(result)
            elif isinstance(result, Failure) and not result.check(CycladesError):
                self.log.warn(
                    "{name} failed after its caller had gone: {why}",
                    name=name or "A transaction",
                    why=repr(result.value),
                )

        Deferred.fromCoroutine(work).addBoth(deliver)
        return outer


def _worth_repeating(error: Exception, transaction: Transaction, tried: int) -> bool:
    code = getattr(error, "pgcode", None)
    if code in (SERIALIZATION_FAILURE, DEADLOCK_DETECTED):
        return True
    if code in (FOREIGN_KEY_VIOLATION, UNIQUE_VIOLATION):
        return tried == 0
    return is_gone(error) and not transaction.answered


def _in_our_words(error: BaseException) -> BaseException:
    """Return what a caller should see: PostgreSQL's absence and limits as Unavailable."""
    if isinstance(error, CycladesError):
        return error
    code = getattr(error, "pgcode", None)
    told: Unavailable | None = None
    if code == READ_ONLY:
        told = Unavailable("The database takes no changes for now; try again.")
    elif is_gone(error) or code == TOO_MANY_CONNECTIONS:
        told = Unavailable("The connection to the database was lost; try again.")
    elif code in (QUERY_CANCELED, LOCK_NOT_AVAILABLE, SERIALIZATION_FAILURE, DEADLOCK_DETECTED):
        told = Unavailable("The database is too busy with this now; try again.")
    elif _is_shortage(error):
        told = Unavailable("The database is short of room or memory for now; try again.")
    if told is None:
        return error
    told.__cause__ = error
    return told


def _is_shortage(error: BaseException) -> bool:
    return str(getattr(error, "pgcode", None))[:2] in SHORTAGES


def _first(cursor: Any) -> Any:
    rows = rows_of(cursor)
    return rows[0] if rows else None


def _value(cursor: Any) -> Any:
    row = cursor.fetchone() if cursor.description is not None else None
    return row[0] if row is not None else None


def _count(cursor: Any) -> int:
    return max(0, int(cursor.rowcount))


def _same(value: Any) -> Any:
    return value
