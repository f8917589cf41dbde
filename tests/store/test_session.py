"""A connection of one's own: what is tied to it ends with it."""

from __future__ import annotations

from typing import Any

import psycopg2
from twisted.internet.task import deferLater

from cyclades_tx.store.clusters import try_lock, unlock
from cyclades_tx.store.session import Session


async def a_session(dsn: str, lost: list[str], name: str = "test session") -> Session:
    """An open session."""
    from twisted.internet import reactor

    session = Session(reactor, dsn, lambda: lost.append(name), name)
    await session.connect()
    return session


async def test_statements_run_on_the_one_connection(dsn: str) -> None:
    """Each form of asking."""
    lost: list[str] = []
    session = await a_session(dsn, lost)
    assert session.open
    await session.run("create temporary table kept (n integer)")
    assert await session.run("insert into kept values (1), (2)") == 2
    assert await session.value("select sum(n) from kept where n > %s", (0,)) == 3
    assert [row.n for row in await session.all("select n from kept order by n")] == [1, 2]
    assert (await session.first("select n from kept where n = 9")) is None
    assert await session.value("select n from kept where n = 9") is None
    assert await session.value("select current_setting('application_name')") == "test session"
    session.close()
    session.close()
    assert not session.open
    assert lost == []


async def test_a_lock_belongs_to_one_session_and_ends_with_it(dsn: str) -> None:
    """Nobody has to give it back."""
    from twisted.internet import reactor

    lost: list[str] = []
    one, two = await a_session(dsn, lost), await a_session(dsn, lost)
    assert await try_lock(one, 5)
    assert not await try_lock(two, 5)
    assert await try_lock(two, 6)
    await unlock(one, 5)
    assert await try_lock(two, 5)
    two.close()
    for _ in range(3000):
        if await try_lock(one, 5):
            break
        await deferLater(reactor, 0.02)
    else:
        raise AssertionError("the lock of a closed session was not free")
    one.close()


async def test_whoever_needs_it_is_told_once_when_it_is_lost(dsn: str) -> None:
    """Also while nothing is asked."""
    from twisted.internet import reactor

    lost: list[str] = []
    session = await a_session(dsn, lost, "doomed")
    administrator: Any = psycopg2.connect(dsn)
    administrator.autocommit = True
    administrator.cursor().execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'doomed'"
    )
    administrator.close()
    for _ in range(3000):
        if lost:
            break
        await deferLater(reactor, 0.02)
    assert lost == ["doomed"]
    assert not session.open
