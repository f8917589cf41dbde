"""Leases on a real PostgreSQL: one driver per cluster, whoever is killed, stopped or slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as WaitTimeout
from twisted.internet.task import deferLater

from cyclades_tx.errors import LostLease
from cyclades_tx.loops.leases import Lease, Leases
from cyclades_tx.store import clusters, operations
from cyclades_tx.testing import builders

SECONDS = 2.0


class Process:
    """The leases of one process, and what it was told of them."""

    def __init__(self, reactor: Any, dsn: str, name: str) -> None:
        self.slept_seconds = 0.0
        self.gained: list[Lease] = []
        self.lost: list[Lease] = []
        self.hold: Deferred[None] | None = None
        self.leases = Leases(reactor, dsn, name, self._gained, self._lost, SECONDS, self._monotonic)

    def _monotonic(self) -> float:
        return time.monotonic() + self.slept_seconds

    async def _gained(self, lease: Lease) -> None:
        self.gained.append(lease)

    async def _lost(self, lease: Lease) -> None:
        self.lost.append(lease)
        if self.hold is not None:
            await self.hold


@pytest_twisted.async_yield_fixture
async def process(dsn: str) -> Any:
    """Return a function that makes a process; each gives its clusters back after the test."""
    from twisted.internet import reactor

    made: list[Process] = []

    def make(name: str) -> Process:
        made.append(Process(reactor, dsn, name))
        made[-1].leases.start()
        return made[-1]

    yield make
    for each in made:
        await each.leases.stop()


async def until(so: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    from twisted.internet import reactor

    end = reactor.seconds() + seconds
    while not so():
        assert reactor.seconds() < end, "it did not come about"
        await deferLater(reactor, 0.05)


def kill_session(dsn: str, name: str) -> None:
    """End a process's session at PostgreSQL, as a crash of the network would."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    connection.cursor().execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s"
        " and datname = current_database()",
        (clusters.SESSION_NAME + name,),
    )
    connection.close()


async def test_the_first_process_drives_every_cluster_and_the_second_none(
    database: Any, process: Any
) -> None:
    """Until the first gives them back."""
    row = await builders.a_cluster(database)
    one = process("one")
    await until(lambda: one.gained)
    two = process("two")
    await until(lambda: two.leases._session is not None)
    await deferLater(one.leases._reactor, SECONDS / 2)
    assert one.leases.held() == (row.id,)
    assert two.leases.held() == ()
    one.gained[0].guard()
    await one.leases.stop()
    await until(lambda: two.gained)
    assert one.lost == one.gained
    assert two.gained[0].epoch > one.gained[0].epoch
    with pytest.raises(LostLease):
        one.gained[0].guard()


async def test_a_lease_ends_by_the_clock_that_says_so_first(database: Any, process: Any) -> None:
    """While the time of day was set back the reactor's goes at half its pace."""
    await builders.a_cluster(database)
    one = process("one")
    await until(lambda: one.gained and one.leases.holds(one.gained[0]))
    one.slept_seconds = SECONDS
    with pytest.raises(LostLease):
        one.gained[0].guard()
    await until(lambda: one.leases.holds(one.gained[0]))


async def test_a_new_cluster_is_driven_soon(database: Any, process: Any) -> None:
    """Nobody has to say so."""
    one = process("one")
    await until(lambda: one.leases._session is not None)
    row = await builders.a_cluster(database)
    await until(lambda: one.leases.held() == (row.id,))


async def test_a_lost_session_ends_the_lease_at_once_and_it_is_taken_anew(
    database: Any, dsn: str, process: Any
) -> None:
    """With a new epoch, so that the writes of the old one fail."""
    await builders.a_cluster(database)
    one = process("one")
    await until(lambda: one.gained)
    kill_session(dsn, "one")
    await until(lambda: one.lost)
    with pytest.raises(LostLease):
        one.gained[0].guard()
    await until(lambda: len(one.gained) == 2)
    old, new = one.gained
    await operations.check_epoch(database, new.cluster_id, new.epoch)
    with pytest.raises(LostLease):
        await operations.check_epoch(database, old.cluster_id, old.epoch)


async def test_work_that_ends_late_does_not_give_a_newer_lease_away(
    database: Any, dsn: str, process: Any
) -> None:
    """The lock belongs to the new session by then."""
    await builders.a_cluster(database)
    one = process("one")
    await until(lambda: one.gained)
    hold = one.hold = Deferred()
    kill_session(dsn, "one")
    await until(lambda: len(one.gained) == 2)
    one.hold = None
    hold.callback(None)
    await deferLater(one.leases._reactor, 0.2)
    held = await database.value(
        "select count(*) from pg_locks where locktype = 'advisory'"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    assert held == 1
    one.gained[1].guard()


async def test_a_process_that_fell_silent_is_put_out(database: Any, dsn: str, process: Any) -> None:
    """Its session, which still holds the lock, is ended by the other."""
    row = await builders.a_cluster(database)
    silent = psycopg2.connect(dsn, application_name=f"{clusters.SESSION_NAME}silent")
    silent.autocommit = True
    cursor = silent.cursor()
    cursor.execute("select pg_advisory_lock(%s, %s)", (clusters.LEASE_CLASS, row.id))
    cursor.execute(
        "insert into process (driver, beaten_at) values ('silent', now() - interval '1 minute')"
    )
    cursor.execute(
        "insert into cluster_lease (cluster_id, epoch, driver) values (%s, 7, 'silent')", (row.id,)
    )
    one = process("one")
    await until(lambda: one.gained)
    assert one.gained[0].epoch == 8
    with pytest.raises(psycopg2.OperationalError):
        cursor.execute("select 1")
    silent.close()


async def test_somebody_else_s_epoch_ends_a_lease(database: Any, process: Any) -> None:
    """Whatever the lock says."""
    await builders.a_cluster(database)
    one = process("one")
    await until(lambda: one.gained)
    await database.run("update cluster_lease set epoch = epoch + 1, driver = 'two'")
    await until(lambda: one.lost)


async def test_a_removed_cluster_is_driven_no_more(database: Any, process: Any) -> None:
    """From the next beat on."""
    await builders.a_cluster(database)
    one = process("one")
    await until(lambda: one.gained)
    await database.run("delete from cluster")
    await until(lambda: one.lost)
    assert one.leases.held() == ()


async def test_a_cluster_without_a_lease_row_gets_no_epoch(database: Any) -> None:
    """It gets one with the row."""
    row = await builders.a_cluster(database)
    assert await clusters.take_epoch(database, row.id, "one") is None
    await clusters.ensure_leases(database)
    assert await clusters.take_epoch(database, row.id, "one") == 1


async def sessions_of(database: Any, name: str, number: int) -> None:
    """Wait until PostgreSQL has so many sessions of a process's leases."""
    from twisted.internet import reactor

    end = reactor.seconds() + 60.0
    asked = (
        "select count(*) from pg_stat_activity where application_name = %s"
        " and datname = current_database()"
    )
    while (found := await database.value(asked, (clusters.SESSION_NAME + name,))) != number:
        assert reactor.seconds() < end, f"there are {found} sessions, not {number}"
        await deferLater(reactor, 0.05)


async def test_a_session_that_turns_out_to_be_of_no_use_is_closed(
    database: Any, process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that takes no changes for an hour would otherwise run out of connections."""
    await builders.a_cluster(database)
    tried = []

    async def refuse(session: Any) -> None:
        tried.append(session)
        raise psycopg2.OperationalError("it takes no changes now")

    monkeypatch.setattr(clusters, "forget_old_processes", refuse)
    one = process("one")
    await until(lambda: len(tried) >= 3)
    monkeypatch.undo()
    await until(lambda: one.gained)
    await sessions_of(database, "one", 1)
    assert not any(session.open for session in tried)
    one.gained[0].guard()


async def test_a_session_that_is_ready_after_the_stop_is_closed(
    database: Any, process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would close it."""
    await builders.a_cluster(database)
    begun: list[Any] = []
    hold: Deferred[None] = Deferred()

    async def slow(session: Any) -> None:
        begun.append(session)
        await hold

    monkeypatch.setattr(clusters, "forget_old_processes", slow)
    one = process("one")
    await until(lambda: begun)
    await one.leases.stop()
    hold.callback(None)
    await sessions_of(database, "one", 0)
    assert one.gained == [] and not begun[0].open


async def test_a_database_that_says_nothing_any_more_does_not_keep_it_from_stopping(
    database: Any, process: Any, monkeypatch: pytest.MonkeyPatch, logged_errors: Any
) -> None:
    """The locks end with the session; the other clusters are given back all the same."""
    frozen = await builders.a_cluster(database, "c1")
    await builders.a_cluster(database, "c2")
    unlock = clusters.unlock
    given: list[int] = []

    async def say_nothing(session: Any, cluster_id: int) -> None:
        if cluster_id == frozen.id:
            await Deferred()
        await unlock(session, cluster_id)
        given.append(cluster_id)

    monkeypatch.setattr(clusters, "unlock", say_nothing)
    one = process("one")
    await until(lambda: len(one.gained) == 2)
    await one.leases.stop()
    assert len(one.lost) == 2 and len(given) == 1
    await sessions_of(database, "one", 0)
    assert len(logged_errors.flush(WaitTimeout)) == 1
