"""The publisher: woken by notifications, one at a time, and again after any trouble."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest_twisted
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from cyclades_tx.errors import Unavailable
from cyclades_tx.loops import outbox as loop
from cyclades_tx.loops.outbox import Publisher
from cyclades_tx.store import outbox
from cyclades_tx.store.database import Database

COUNTS = "select count(*) as events, count(position) as told, max(position) as last from event"


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    from twisted.internet import reactor

    for _ in range(6000):
        if await condition():
            return
        await deferLater(reactor, 0.01)  # type: ignore[arg-type]
    raise AssertionError("it did not come about")


@pytest_twisted.async_yield_fixture
async def publisher(database: Any) -> Any:
    """One that runs and listens."""
    from twisted.internet import reactor

    made = Publisher(reactor, database, 3600.0)  # type: ignore[arg-type]
    made.start()
    await database.when_listening()
    yield made
    await made.stop()


def all_told(database: Any, count: int) -> Callable[[], Awaitable[bool]]:
    """Whether so many events have a position."""

    async def told() -> bool:
        return bool(await database.value("select count(position) = %s from event", (count,)))

    return told


async def test_an_event_is_published_without_waiting_for_the_timer(
    database: Any, publisher: Publisher
) -> None:
    """The notification of its commit is enough."""
    from twisted.internet import reactor

    await until(all_told(database, 0))
    begun = reactor.seconds()  # type: ignore[attr-defined]
    await outbox.put(database, "thing.made", "x", None, {})
    await until(all_told(database, 1))
    assert reactor.seconds() - begun < loop.PERIOD_SECONDS  # type: ignore[attr-defined]


async def test_more_than_a_batch_is_published_in_several_turns(
    database: Any, publisher: Publisher
) -> None:
    """Without being woken again."""
    await database.run(
        "insert into event (kind, subject, body)"
        " select 'thing.made', n::text, '{}' from generate_series(1, %s) as n",
        (loop.MOST * 3 + 5,),
    )
    publisher.wake()
    await until(all_told(database, loop.MOST * 3 + 5))
    row = await database.first(COUNTS)
    assert row.last == row.events


async def test_two_publishers_give_each_position_once(
    database: Any, publisher: Publisher, dsn: str
) -> None:
    """While events are written on several connections at once."""
    from twisted.internet import reactor

    apart = Database(reactor, dsn, most=3)
    apart.start()
    second = Publisher(reactor, apart, 3600.0)  # type: ignore[arg-type]
    second.start()
    await apart.when_listening()

    async def write(source: Any) -> None:
        for _ in range(50):
            await outbox.put(source, "thing.made", "x", None, {})

    await gatherResults([ensureDeferred(write(each)) for each in (database, apart, database)])
    await until(all_told(database, 150))
    row = await database.first(COUNTS)
    assert (row.events, row.last) == (150, 150)
    await second.stop()
    await apart.close()


async def test_when_the_one_that_publishes_is_killed_another_goes_on(
    database: Any, publisher: Publisher, dsn: str
) -> None:
    """Its session is gone, and with it the lock and the positions that it was giving."""
    import psycopg2

    dying = psycopg2.connect(dsn)
    with dying.cursor() as cursor:
        # In a thread: the publisher's turn may have the lock, and ends only while the reactor runs.
        await deferToThread(cursor.execute, "select pg_advisory_xact_lock(%s)", (outbox._LOCK,))
        await deferToThread(cursor.execute, "select pg_backend_pid()")
        (pid,) = cursor.fetchone() or (0,)
        await outbox.put(database, "thing.made", "x", None, {})
        await deferToThread(cursor.execute, "update event set position = 1")
    assert await database.value("select pg_terminate_backend(%s)", (pid,))
    dying.close()
    await until(all_told(database, 1))


class Trouble:
    """A database that fails for a while."""

    def __init__(self, database: Any, error: Exception) -> None:
        self._database = database
        self._error = error
        self.failures = 2

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def transaction(self, *args: Any, **options: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise self._error
        return await self._database.transaction(*args, **options)


async def test_it_comes_back_after_the_database_was_away(database: Any) -> None:
    """With a line in the log, and no traceback."""
    from twisted.internet import reactor

    trouble = Trouble(database, Unavailable("The database does not answer."))
    made = Publisher(reactor, trouble, 3600.0)  # type: ignore[arg-type]
    await outbox.put(database, "thing.made", "x", None, {})
    made.start()
    while trouble.failures:
        made.wake()
        await deferLater(reactor, 0.01)  # type: ignore[arg-type]
    made.wake()
    await until(all_told(database, 1))
    await made.stop()


async def test_after_its_end_it_does_nothing(database: Any) -> None:
    """Whoever wakes it."""
    from twisted.internet import reactor

    made = Publisher(reactor, database, 3600.0)  # type: ignore[arg-type]
    made.start()
    await made.stop()
    made.wake()
    await outbox.put(database, "thing.made", "x", None, {})
    await deferLater(reactor, 0.1)  # type: ignore[arg-type]
    assert not await all_told(database, 1)()
