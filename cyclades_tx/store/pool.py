"""The connections to PostgreSQL that a process keeps, and who may use one next.

A connection that comes back is kept only if it is open and outside any transaction;
otherwise it is dropped and replaced in the background. Whoever finds none free waits in
line, for a limited time.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from psycopg2.extensions import make_dsn, parse_dsn
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as WaitTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.errors import Unavailable
from cyclades_tx.store.connection import Connection

RETRY_FIRST_SECONDS = 0.05
# Callers wait for a few seconds only, and one try a second harms nobody.
RETRY_MOST_SECONDS = 1.0
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 10.0
# PostgreSQL ends a statement at its limit; if it has not even said so this much later, it is
# frozen or the network is gone.
SILENCE_SECONDS = 10.0
WATCH_SECONDS = 5.0


@dataclass(frozen=True)
class Limits:
    """What a connection may take, told to PostgreSQL when it opens. All in seconds; 0 is none.

    :param statement_seconds: the longest statement.
    :param lock_seconds: the longest wait for one lock.
    :param idle_in_transaction_seconds: the longest pause between two statements of a transaction.
    """

    statement_seconds: float = 30.0
    lock_seconds: float = 10.0
    idle_in_transaction_seconds: float = 60.0


@dataclass(frozen=True)
class PoolStatistics:
    """How a pool stands now.

    :param size: open connections.
    :param in_use: of these, how many somebody works with.
    :param waiting: how many wait for one.
    :param wait_seconds: the sum of all waits so far.
    :param refused: how many waits ended without a connection so far.
    """

    size: int
    in_use: int
    waiting: int
    wait_seconds: float
    refused: int


def full_dsn(dsn: str, application_name: str, limits: Limits | None = None) -> str:
    """Add to a DSN what every connection of ours needs; its own ``options`` come last and win.

    :param application_name: shown in ``pg_stat_activity``.
    """
    parts = parse_dsn(dsn)
    settings: dict[str, str] = {}
    if limits is not None:
        settings = {
            "statement_timeout": f"{limits.statement_seconds * 1000:.0f}",
            "lock_timeout": f"{limits.lock_seconds * 1000:.0f}",
            "idle_in_transaction_session_timeout": (
                f"{limits.idle_in_transaction_seconds * 1000:.0f}"
            ),
        }
    settings["TimeZone"] = "UTC"
    # The planner thinks a page of a thousand documents worth compiling, which takes longer.
    settings["jit"] = "off"
    # What is asked for most is in memory, and no disk turns any more: an index is worth its
    # while from a few dozen rows on.
    settings["random_page_cost"] = "1.1"
    options = [f"-c {name}={value}" for name, value in settings.items()]
    if parts.get("options"):
        options.append(parts["options"])
    parts["options"] = " ".join(options)
    parts["client_encoding"] = "UTF8"
    parts.setdefault("application_name", application_name)
    return str(make_dsn(**parts))


async def connect(reactor: Any, dsn: str, connection: Connection) -> None:
    """Open a connection; nothing of it blocks the reactor and it ends within 10 s.

    :raise Exception: psycopg2's error, or CancelledError when it took too long.
    """
    parts = parse_dsn(dsn)
    host = parts.get("host", "")
    if host and not host.startswith(("/", "@")) and "hostaddr" not in parts and "," not in host:
        # libpq would ask the resolver itself and hold the reactor meanwhile.
        try:
            ip_address(host)
        except ValueError:
            parts["hostaddr"] = await reactor.resolve(host)
    waiting = connection.connect(make_dsn(**parts))
    waiting.addTimeout(CONNECT_SECONDS, reactor, onTimeoutCancel=lambda result, _: result)
    await waiting


def retry_delay_seconds(failures: int) -> float:
    """Return how long to wait after this many failed tries in a row: doubling, with jitter."""
    most = min(RETRY_MOST_SECONDS, RETRY_FIRST_SECONDS * 2.0 ** min(failures - 1, 16))
    return most * random.uniform(0.5, 1.0)


class Pool:
    """Up to ``most`` connections to one database, the last one used is used next.

    :param reactor: provides IReactorFDSet and IReactorTime.
    :param dsn: libpq's connection string.
    :param least: how many connections are kept open even when nobody asks.
    :param wait_seconds: how long somebody waits for a connection before Unavailable.
    :param waited: called with the seconds that each wait took.
    """

    log = Logger()

    #: Why PostgreSQL cannot be reached now, in its own words, for operators; else nothing.
    trouble = ""

    def __init__(
        self,
        reactor: Any,
        dsn: str,
        *,
        least: int = 1,
        most: int = 10,
        wait_seconds: float = 5.0,
        limits: Limits | None = None,
        application_name: str = "cyclades_tx",
        waited: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._reactor = reactor
        self._limits = limits or Limits()
        self._dsn = full_dsn(dsn, application_name, self._limits)
        self._least = least
        self._most = most
        self._wait_limit = wait_seconds
        self._watch: Any = None
        self._waited = waited
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self._opening: set[Connection] = set()
        self._waiting: deque[Deferred[Connection]] = deque()
        self._failures = 0
        self._retry: Any = None
        self._closed = False
        self._emptied: Deferred[None] | None = None
        self._wait_seconds = 0.0
        self._refused = 0

    def statistics(self) -> PoolStatistics:
        """Return how the pool stands now."""
        return PoolStatistics(
            size=len(self._idle) + len(self._used),
            in_use=len(self._used),
            waiting=len(self._waiting),
            wait_seconds=self._wait_seconds,
            refused=self._refused,
        )

    def start(self) -> None:
        """Begin to open the connections that are always kept."""
        self._grow()
        if self._limits.statement_seconds and self._watch is None:
            self._watch = self._reactor.callLater(WATCH_SECONDS, self._look_for_silence)

    def take(self) -> Connection | None:
        """Hand out a free connection at once, or None when somebody must wait."""
        while self._idle and not self._closed:
            connection = self._idle.pop()
            if connection.alive():
                self._used.add(connection)
                return connection
        return None

    async def acquire(self) -> Connection:
        """Hand out a connection, after a wait in line when none is free.

        :raise Unavailable: when the wait took too long or the pool is closed.
        """
        connection = self.take()
        if connection is not None:
            return connection
        if self._closed:
            raise Unavailable("The service is shutting down.")
        waiting: Deferred[Connection] = Deferred(self._forget)
        self._waiting.append(waiting)
        waiting.addTimeout(self._wait_limit, self._reactor)
        started = self._reactor.seconds()
        self._grow()
        try:
            return await waiting
        except (CancelledError, WaitTimeout):
            self._refused += 1
            if self.trouble:
                raise Unavailable("The database cannot be reached now; try again.") from None
            raise Unavailable("The database has no connection free now; try again.") from None
        finally:
            seconds = self._reactor.seconds() - started
            self._wait_seconds += seconds
            self._waited(seconds)

    def put(self, connection: Connection) -> None:
        """Take a connection back; keep it only when the next user can use it."""
        self._used.discard(connection)
        if connection.clean and not self._closed:
            self._offer(connection)
        else:
            connection.close()
            self._grow()
        self._look_empty()

    async def close(self) -> None:
        """Let running work end (10 s at most), then close everything."""
        self._closed = True
        for call in (self._retry, self._watch):
            if call is not None:
                call.cancel()
        self._retry = self._watch = None
        for connection in [*self._idle, *self._opening]:
            connection.close()
        self._idle.clear()
        while self._waiting:
            self._waiting.popleft().errback(Failure(Unavailable("The service is shutting down.")))
        if self._used or self._opening:
            self._emptied = Deferred()
            self._emptied.addTimeout(
                CLOSE_SECONDS, self._reactor, onTimeoutCancel=lambda result, _: None
            )
            await self._emptied
        for connection in list(self._used):
            connection.close()
        self._used.clear()

    def _offer(self, connection: Connection) -> None:
        if self._waiting:
            self._used.add(connection)
            self._waiting.popleft().callback(connection)
        else:
            self._idle.append(connection)

    def _forget(self, waiting: Deferred[Connection]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _grow(self) -> None:
        """Open what is missing, one at a time while PostgreSQL refuses."""
        if self._closed or self._retry is not None:
            return
        size = len(self._idle) + len(self._used)
        wanted = max(self._least - size, len(self._waiting))
        wanted = min(wanted, self._most - size, 1 if self._failures else self._most)
        for _ in range(wanted - len(self._opening)):
            connection = Connection(self._reactor, self._lost)
            self._opening.add(connection)
            Deferred.fromCoroutine(self._open(connection))

    async def _open(self, connection: Connection) -> None:
        try:
            await connect(self._reactor, self._dsn, connection)
        except Exception as error:
            self._opening.discard(connection)
            connection.close()
            # Several that failed together are one failure.
            if not self._closed and self._retry is None:
                self._failures += 1
                self.trouble = str(error).strip() or "no answer"
                if self._failures == 1:
                    self.log.warn("PostgreSQL cannot be reached: {why}", why=self.trouble)
                self._retry = self._reactor.callLater(
                    retry_delay_seconds(self._failures), self._try_again
                )
        else:
            self._opening.discard(connection)
            if self._failures:
                self.log.info("PostgreSQL can be reached again")
            self._failures = 0
            self.trouble = ""
            if self._closed or not connection.alive():
                # Killed right behind the handshake; without failures in a row, try again soon.
                connection.close()
                self._grow()
            else:
                self._offer(connection)
                self._grow()
        self._look_empty()

    def _try_again(self) -> None:
        self._retry = None
        self._grow()

    def _lost(self, connection: Connection) -> None:
        """A connection died: a free one is replaced, a used one comes back through put."""
        if connection in self._idle:
            self._idle.remove(connection)
            self._grow()

    def _look_for_silence(self) -> None:
        """Drop connections whose server does not even report the time limit."""
        self._watch = self._reactor.callLater(WATCH_SECONDS, self._look_for_silence)
        longest = self._limits.statement_seconds + SILENCE_SECONDS
        for connection in list(self._used):
            if connection.busy_seconds() > longest:
                self.log.warn("PostgreSQL has been silent for {limit} s", limit=longest)
                connection.abandon()

    def _look_empty(self) -> None:
        if self._emptied is not None and not self._used and not self._opening:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)
