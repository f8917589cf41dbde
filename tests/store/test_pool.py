"""The pool: who gets a connection, which come back, and what replaces the dead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.errors import Unavailable
from cyclades_tx.store.connection import Connection
from cyclades_tx.store.pool import Limits, Pool, full_dsn, retry_delay_seconds


@pytest.fixture
def make(empty_dsn: str) -> Iterator[Callable[..., Pool]]:
    """Make pools; the test closes them."""

    def pool(**options: Any) -> Pool:
        made = Pool(reactor, options.pop("dsn", empty_dsn), **options)
        made.start()
        return made

    yield pool


def pid_of(connection: Connection) -> int:
    """Return the back end's process id."""
    return int(connection._connection.info.backend_pid)


def kill(dsn: str, *pids: int) -> None:
    """End back ends and wait until they are gone."""
    admin = psycopg2.connect(dsn)
    try:
        with admin.cursor() as cursor:
            for pid in pids:
                cursor.execute("select pg_terminate_backend(%s, 5000)", (pid,))
    finally:
        admin.close()


async def test_the_last_one_used_is_used_next(make: Any) -> None:
    """A warm connection beats a cold one."""
    pool = make(least=2)
    first, second = await pool.acquire(), await pool.acquire()
    pool.put(first)
    pool.put(second)
    assert pool.take() is second
    pool.put(second)
    await pool.close()


async def test_more_are_opened_only_up_to_the_limit(make: Any) -> None:
    """The one too many waits and gets the first that comes back."""
    pool = make(least=0, most=2)
    held = await gatherResults([Deferred.fromCoroutine(pool.acquire()) for _ in range(2)])
    late = Deferred.fromCoroutine(pool.acquire())
    assert (pool.statistics().size, pool.statistics().in_use) == (2, 2)
    assert pool.statistics().waiting == 1
    pool.put(held[0])
    assert await late is held[0]
    pool.put(held[0])
    pool.put(held[1])
    await pool.close()


async def test_waiting_ends_with_unavailable(make: Any) -> None:
    """An exhausted pool is an answer in time, and is counted."""
    waits: list[float] = []
    pool = make(most=1, wait_seconds=0.05, waited=waits.append)
    held = await pool.acquire()
    with pytest.raises(Unavailable):
        await pool.acquire()
    assert pool.statistics().refused == 1
    assert waits[-1] >= 0.05
    assert pool.statistics().waiting == 0
    pool.put(held)
    assert await pool.acquire() is held
    pool.put(held)
    await pool.close()


async def test_an_open_transaction_does_not_come_back(make: Any) -> None:
    """What is not idle is closed and replaced."""
    pool = make(most=1)
    held = await pool.acquire()
    await held.execute("begin")
    pool.put(held)
    assert not held.open
    other = await pool.acquire()
    assert other is not held and other.clean
    pool.put(other)
    await pool.close()


async def test_a_busy_connection_does_not_come_back(make: Any) -> None:
    """A statement that still runs belongs to its caller."""
    pool = make(most=1)
    held = await pool.acquire()
    running = held.execute("select pg_sleep(20)")
    pool.put(held)
    with pytest.raises(Exception, match="lost"):
        await running
    assert pool.statistics().size == 0
    await pool.close()


async def test_dead_idle_connections_are_replaced_in_the_background(
    make: Any, empty_dsn: str, sleep: Any
) -> None:
    """Nobody asks, and yet the pool is full again."""
    pool = make(least=3)
    held = await gatherResults([Deferred.fromCoroutine(pool.acquire()) for _ in range(3)])
    pids = [pid_of(connection) for connection in held]
    for connection in held:
        pool.put(connection)
    kill(empty_dsn, *pids)
    for _ in range(6000):
        await sleep(0.01)
        if pool.statistics().size == 3 and not any(c in held for c in pool._idle):
            break
    assert {pid_of(connection) for connection in pool._idle}.isdisjoint(pids)
    assert pool.statistics().size == 3
    await pool.close()


async def test_a_dead_connection_is_never_handed_out(make: Any, empty_dsn: str) -> None:
    """Not even when the reactor has had no turn to hear of it."""
    pool = make(most=2)
    held = await pool.acquire()
    pid = pid_of(held)
    pool.put(held)
    kill(empty_dsn, pid)
    fresh = await pool.acquire()
    assert fresh is not held
    assert (await fresh.execute("select 1")).fetchone() == (1,)
    pool.put(fresh)
    assert pool.statistics().size == 1
    await pool.close()


async def test_what_cannot_be_reached_is_not_told_to_be_busy(make: Any, logged_errors: Any) -> None:
    """The reason is the operator's: what users read has none."""
    pool = make(dsn="host=/nonexistent dbname=x", wait_seconds=0.3)
    pool.start()
    with pytest.raises(Unavailable, match=r"^The database cannot be reached now; try again\.$"):
        await pool.acquire()
    assert "/nonexistent" in pool.trouble
    await pool.close()


async def test_closing_waits_for_running_work(make: Any) -> None:
    """The statement gets its answer, later callers a refusal."""
    pool = make()
    held = await pool.acquire()
    running = held.execute("select pg_sleep(0.05)")
    running.addBoth(lambda result: (pool.put(held), result)[1])
    await pool.close()
    assert (await running).rowcount == 1
    with pytest.raises(Unavailable):
        await pool.acquire()


async def test_closing_refuses_those_in_line(make: Any) -> None:
    """Who waits for a connection is told, not forgotten."""
    pool = make(dsn="host=/nonexistent dbname=x")
    waiting = Deferred.fromCoroutine(pool.acquire())
    await pool.close()
    with pytest.raises(Unavailable):
        await waiting


async def test_a_silent_server_is_given_up(make: Any, monkeypatch: Any) -> None:
    """When PostgreSQL does not even report its own time limit, the caller is told."""
    monkeypatch.setattr("cyclades_tx.store.pool.WATCH_SECONDS", 0.02)
    monkeypatch.setattr("cyclades_tx.store.pool.SILENCE_SECONDS", -0.9)
    pool = make(limits=Limits(statement_seconds=1.0))
    held = await pool.acquire()
    with pytest.raises(Exception, match="lost"):
        await held.execute("select pg_sleep(0.9)")
    pool.put(held)
    await pool.close()


async def test_limits_reach_postgresql(make: Any) -> None:
    """The time limits and the name are set on each connection."""
    pool = make(
        limits=Limits(statement_seconds=7, lock_seconds=3, idle_in_transaction_seconds=9),
        application_name="cyclades test",
    )
    held = await pool.acquire()
    names = (
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "application_name",
        "TimeZone",
    )
    cursor = await held.execute(
        "select " + ", ".join(f"current_setting('{name}')" for name in names)
    )
    assert cursor.fetchone() == ("7s", "3s", "9s", "cyclades test", "UTC")
    pool.put(held)
    await pool.close()


def test_own_options_of_a_dsn_win() -> None:
    """What an operator wrote stands after ours."""
    dsn = full_dsn("dbname=x options='-c statement_timeout=5'", "a", Limits())
    assert dsn.index("statement_timeout=30000") < dsn.index("statement_timeout=5'")


def test_retries_back_off_with_a_limit() -> None:
    """The first comes soon, and no wait grows beyond a second."""
    assert 0.02 <= retry_delay_seconds(1) <= 0.05
    assert all(0.5 <= retry_delay_seconds(count) <= 1.0 for count in (8, 20, 10_000))
