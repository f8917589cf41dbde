"""One connection: results, order, cancellation, and back ends that die in every state."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from psycopg2 import errors
from psycopg2.extensions import make_dsn
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from cyclades_tx.store.connection import PREPARED_LIMIT, Connection, is_gone, rows_of
from cyclades_tx.store.embedded import EmbeddedPostgres
from cyclades_tx.store.pool import connect, full_dsn
from tests.real.ports import free_port


@pytest.fixture
def lost() -> list[Connection]:
    """The connections that reported their loss."""
    return []


@pytest.fixture
def make(empty_dsn: str, lost: list[Connection]) -> Iterator[Callable[[], Any]]:
    """Open connections; they are closed after the test."""
    made: list[Connection] = []

    async def open_one(notified: Any = None) -> Connection:
        connection = Connection(reactor, lost.append, notified)
        made.append(connection)
        await connect(reactor, full_dsn(empty_dsn, "test"), connection)
        return connection

    yield open_one
    for connection in made:
        connection.close()


def kill(dsn: str, pid: int) -> None:
    """End a back end and wait until it is gone."""
    admin = psycopg2.connect(dsn)
    try:
        with admin.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(%s, 5000)", (pid,))
            assert cursor.fetchone()[0] is True
    finally:
        admin.close()


async def test_values_keep_their_types(make: Any) -> None:
    """UUIDs, addresses and JSON go in and come out as Python values."""
    connection = await make()
    wanted = uuid.uuid4()
    cursor = await connection.execute(
        "select %s as id, %s::int[] as list, '{\"a\": 1}'::json as doc", (wanted, [1, 2])
    )
    (row,) = rows_of(cursor)
    assert (row.id, row.list, row.doc) == (wanted, [1, 2], {"a": 1})


async def test_nameless_columns_get_positions(make: Any) -> None:
    """Columns that Python cannot name do not break the row."""
    connection = await make()
    (row,) = rows_of(await connection.execute("select 1, 2 as class"))
    assert row == (1, 2)


async def test_statements_sent_together_are_answered_in_order(make: Any) -> None:
    """The second waits in line for the first."""
    connection = await make()
    order: list[int] = []
    waits = [
        connection.execute("select %s, pg_sleep(0.01)", (number,)).addCallback(
            lambda cursor: order.append(cursor.fetchone()[0])
        )
        for number in range(4)
    ]
    await gatherResults(waits)
    assert order == [0, 1, 2, 3]


async def test_a_long_line_of_answers_that_are_there_at_once_is_no_deep_stack(
    empty_dsn: str, lost: list[Connection]
) -> None:
    """A busy machine lets PostgreSQL answer before we look."""

    class Slow(Connection):
        """Looks for an answer when it is there, but for the first."""

        def continuePolling(self, swallowErrors: bool = False) -> None:
            if len(self._line) not in (0, 1999):
                self._peek.poll(1000)
            super().continuePolling(swallowErrors)

    connection = Slow(reactor, lost.append)
    await connect(reactor, full_dsn(empty_dsn, "test"), connection)
    order: list[int] = []
    first = connection.execute("select pg_sleep(0.1)")
    waits = [
        connection.execute("select %s", (number,)).addCallback(
            lambda cursor: order.append(cursor.fetchone()[0])
        )
        for number in range(2000)
    ]
    await gatherResults([first, *waits])
    connection.close()
    assert order == list(range(2000))


async def test_an_error_in_line_does_not_stop_the_line(make: Any) -> None:
    """Each statement has its own fate."""
    connection = await make()
    first = connection.execute("select 1/0")
    second = connection.execute("nonsense", (object(),))
    third = connection.execute("select 3")
    with pytest.raises(errors.DivisionByZero):
        await first
    with pytest.raises(psycopg2.Error):
        await second
    assert (await third).fetchone() == (3,)
    assert connection.clean


async def test_a_cancelled_statement_runs_to_its_end(make: Any) -> None:
    """The caller stops waiting at once; the next statement comes after the first."""
    connection = await make()
    waiting = connection.execute("select pg_sleep(0.05)")
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    assert connection.busy and not connection.clean
    assert (await connection.execute("select 2")).fetchone() == (2,)
    assert connection.clean


async def test_a_large_statement_is_written_piece_by_piece(make: Any) -> None:
    """Eight megabytes there and back, more than any socket buffer."""
    connection = await make()
    text = "é" * 4_000_000
    assert (await connection.execute("select %s", (text,))).fetchone() == (text,)


async def test_an_idle_back_end_that_dies_is_reported(
    make: Any, lost: list[Connection], empty_dsn: str, sleep: Any
) -> None:
    """The owner hears of it once, without any statement."""
    connection = await make()
    kill(empty_dsn, connection._connection.info.backend_pid)
    for _ in range(6000):
        if lost:
            break
        await sleep(0.01)
    assert lost == [connection]
    assert not connection.open
    with pytest.raises(Exception, match="closed") as caught:
        await connection.execute("select 1")
    assert is_gone(caught.value)


async def test_a_dead_idle_back_end_is_seen_without_a_turn_of_the_reactor(
    make: Any, lost: list[Connection], empty_dsn: str
) -> None:
    """Looking is enough."""
    connection = await make()
    assert connection.alive()
    kill(empty_dsn, connection._connection.info.backend_pid)
    assert not connection.alive()
    assert lost == [connection]


async def test_a_busy_back_end_that_dies_fails_everything_in_line(
    make: Any, lost: list[Connection], empty_dsn: str
) -> None:
    """All who wait are told that the connection is gone."""
    connection = await make()
    waits = [connection.execute("select pg_sleep(20)"), connection.execute("select 1")]
    kill(empty_dsn, connection._connection.info.backend_pid)
    for waiting in waits:
        with pytest.raises(psycopg2.Error) as caught:
            await waiting
        assert is_gone(caught.value)
    assert lost == [connection]


async def test_closing_tells_the_waiting_and_not_the_owner(
    make: Any, lost: list[Connection]
) -> None:
    """Closing is no loss, and twice is once."""
    connection = await make()
    waiting = connection.execute("select pg_sleep(20)")
    connection.close()
    connection.close()
    with pytest.raises(Exception, match="lost") as caught:
        await waiting
    assert is_gone(caught.value)
    assert lost == []


async def test_a_refused_connection_fails_and_leaves_nothing(lost: list[Connection]) -> None:
    """No server there is psycopg2's OperationalError."""
    connection = Connection(reactor, lost.append)
    with pytest.raises(psycopg2.OperationalError):
        await connect(reactor, "host=/nonexistent dbname=x", connection)
    connection.close()
    assert lost == []


@pytest.mark.parametrize("hosts", ["127.0.0.1", "127.0.0.1,127.0.0.2,127.0.0.3"])
async def test_a_port_without_a_server_is_told_to_refuse(
    lost: list[Connection], hosts: str
) -> None:
    """Not to be lost: the operator reads what is wrong, for each address that was tried."""
    port = free_port()
    connection = Connection(reactor, lost.append)
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        await connect(reactor, f"host={hosts} port={port} dbname=x", connection)
    connection.close()
    assert lost == []


async def test_a_wrong_password_fails_without_showing_it(empty_dsn: str) -> None:
    """The message names the role, not the secret."""
    connection = Connection(reactor, lambda gone: None)
    with pytest.raises(psycopg2.OperationalError) as caught:
        await connect(reactor, f"{empty_dsn} password=not-the-one", connection)
    assert "not-the-one" not in str(caught.value)
    connection.close()


async def test_documents_are_prepared_once(make: Any) -> None:
    """One preparation for each text, however often it runs."""
    connection = await make()
    results: list[Any] = []
    for number in range(5):
        connection.document("select %s::text", (number,), lambda *got: results.append(got))
        await connection.execute("select 1")
    assert results == [(str(number).encode(), None) for number in range(5)]
    cursor = await connection.execute("select statement from pg_prepared_statements")
    assert len(cursor.fetchall()) == 1


async def test_documents_sent_together_do_not_mix(make: Any) -> None:
    """The reused cursor gives each caller its own answer."""
    connection = await make()
    results: list[Any] = []
    connection.document("select %s::text", (0,), lambda *got: results.append(got))
    await connection.execute("select 1")
    for number in range(1, 4):
        connection.document("select %s::text", (number,), lambda *got: results.append(got))
    await connection.execute("select 1")
    assert results == [(str(number).encode(), None) for number in range(4)]


async def test_old_preparations_make_room(make: Any) -> None:
    """The number of prepared statements on a connection is bounded."""
    connection = await make()
    results: list[Any] = []
    for number in range(PREPARED_LIMIT + 5):
        connection.document(f"select '{number}'::text", (), lambda *got: results.append(got))
        await connection.execute("select 1")
    cursor = await connection.execute("select count(*) from pg_prepared_statements")
    assert cursor.fetchone()[0] == PREPARED_LIMIT
    assert len(results) == PREPARED_LIMIT + 5
    assert all(error is None for _, error in results)


async def test_a_statement_that_cannot_be_prepared_says_so(make: Any) -> None:
    """The error reaches the caller and the connection stays good."""
    connection = await make()
    results: list[Any] = []
    connection.document("select nonsense", (), lambda *got: results.append(got))
    await connection.execute("select 1")
    ((value, error),) = results
    assert value is None and isinstance(error, errors.UndefinedColumn)
    assert connection.clean


async def test_txpostgres_own_ways_are_closed(make: Any) -> None:
    """Its cursors would take the reader away and its transactions commit nothing."""
    connection = await make()
    for name in ("cursor", "runQuery", "runOperation", "runInteraction"):
        with pytest.raises(NotImplementedError):
            getattr(connection, name)()


@pytest.mark.parametrize("hosts", ["localhost", "127.0.0.2,127.0.0.1"], ids=["name", "second"])
async def test_a_host_name_is_resolved_and_tcp_works(
    empty_dsn: str, postgres: EmbeddedPostgres, lost: list[Connection], hosts: str
) -> None:
    """Through a small relay, because the test server opens no port; the second address, too."""
    socket = f"{postgres.home}/socket/.s.PGSQL.5432"

    class Relay(Protocol):
        """Copies what comes to a peer that is connected meanwhile."""

        peer: Relay | None = None

        def __init__(self) -> None:
            self.early: list[bytes] = []

        def dataReceived(self, data: bytes) -> None:
            if self.peer is None:
                self.early.append(data)
            else:
                self.peer.transport.write(data)

        def connectionMade(self) -> None:
            if not isinstance(self.transport.getHost(), IPv4Address):
                return
            target = UNIXClientEndpoint(reactor, socket)

            def join(other: Relay) -> None:
                other.peer, self.peer = self, other
                other.transport.write(b"".join(self.early))

            connectProtocol(target, Relay()).addCallback(join)

        def connectionLost(self, reason: Any = None) -> None:
            ends.append(self)
            if self.peer is not None:
                self.peer.transport.loseConnection()

    ends: list[Relay] = []
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
        Factory.forProtocol(Relay)
    )
    dsn = make_dsn(full_dsn(empty_dsn, "test"), host=hosts, port=port.getHost().port)
    connection = Connection(reactor, lost.append)
    await connect(reactor, dsn, connection)
    assert (await connection.execute("select 1")).fetchone() == (1,)
    connection.close()
    while len(ends) < 2:
        await deferLater(reactor, 0.005)
    await port.stopListening()


async def test_a_server_that_accepts_and_says_nothing_is_given_up(
    lost: list[Connection], monkeypatch: Any
) -> None:
    """The handshake has a time limit."""
    monkeypatch.setattr("cyclades_tx.store.pool.CONNECT_SECONDS", 0.05)
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
        Factory.forProtocol(Protocol)
    )
    connection = Connection(reactor, lost.append)
    with pytest.raises(CancelledError):
        await connect(reactor, f"host=127.0.0.1 port={port.getHost().port} dbname=x", connection)
    connection.close()
    await port.stopListening()
    assert lost == []


async def test_turns_that_come_too_early_leave_nothing_watched(
    empty_dsn: str, lost: list[Connection]
) -> None:
    """An event of the socket that had the number before must not leave a number in the reactor."""
    connection = Connection(reactor, lost.append)
    opened = ensureDeferred(connect(reactor, full_dsn(empty_dsn, "test"), connection))
    while not opened.called:
        # It waits for something to read by now.
        connection.doWrite()
    await opened
    watched = [*reactor.getReaders(), *reactor.getWriters()].count(connection)
    connection.close()
    assert watched == 1
    assert connection not in (*reactor.getReaders(), *reactor.getWriters())
