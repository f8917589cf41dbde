"""The line of the reads: in order, never more at once than allowed, and no wait without an end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from cyclades_tx.errors import Unavailable
from cyclades_tx.store.database import Database
from cyclades_tx.store.reads import SLOW_SECONDS, Reads, Ticket, reads_at_once

WAIT_SECONDS = 10.0


class Line:
    """A line of one's own, and what it has started, by name."""

    def __init__(self, most: int = 2) -> None:
        self.clock = Clock()
        self.reads = Reads(self.clock, most, WAIT_SECONDS)
        self.started: dict[str, Ticket] = {}

    def enter(self, name: str) -> Deferred[Any]:
        """Ask for a read; return what waits for it."""
        waiting: Deferred[Any] = Deferred()
        self.reads.enter(waiting, lambda ticket: self.started.update({name: ticket}))
        return waiting

    def leave(self, name: str) -> None:
        """End a read."""
        self.reads.leave(self.started[name])


def _why(waiting: Deferred[Any]) -> Any:
    failures: list[Any] = []
    waiting.addErrback(failures.append)
    return failures[0].value if failures else None


def test_no_more_start_than_may_run_at_once() -> None:
    """The third waits; it starts when one of the others has ended."""
    line = Line()
    for name in "abc":
        line.enter(name)
    assert list(line.started) == ["a", "b"]
    assert len(line.reads) == 1
    line.leave("b")
    assert list(line.started) == ["a", "b", "c"]
    assert len(line.reads) == 0


def test_they_start_in_the_order_of_asking() -> None:
    """Whoever comes later does not pass by who waits."""
    line = Line(1)
    for name in "abcd":
        line.enter(name)
    for name in "abc":
        line.leave(name)
    assert list(line.started) == ["a", "b", "c", "d"]


def test_a_slow_read_no_longer_holds_back_the_next() -> None:
    """Two that take a minute cost the others a twentieth of a second, once."""
    line = Line()
    for name in ("slow 1", "slow 2", "quick 1"):
        line.enter(name)
    line.clock.advance(SLOW_SECONDS)
    assert "quick 1" in line.started
    line.leave("quick 1")
    line.enter("quick 2")
    assert "quick 2" in line.started


def test_a_slow_read_that_ends_does_not_count_twice() -> None:
    """After it, as many as ever run at once."""
    line = Line(1)
    line.enter("slow")
    line.enter("next")
    line.clock.advance(SLOW_SECONDS)
    line.leave("slow")
    line.enter("third")
    assert "third" not in line.started
    line.leave("next")
    assert "third" in line.started


def test_only_reads_that_are_slow_stop_to_count() -> None:
    """One that began later is still waited for."""
    line = Line()
    line.enter("old")
    line.clock.advance(SLOW_SECONDS / 2)
    for name in ("young", "third", "fourth"):
        line.enter(name)
    line.clock.advance(SLOW_SECONDS)
    line.clock.advance(0)
    assert "third" in line.started
    line.leave("third")
    assert "fourth" in line.started


def test_who_waits_too_long_is_refused() -> None:
    """With what becomes a 503; the refusal is counted."""
    line = Line(1)
    for _ in range(2):
        line.enter("busy")
    # Slow reads make room, so only a line that moves too slowly lets anybody wait so long.
    waiting = [line.enter(f"late {number}") for number in range(300)]
    for _ in range(int(WAIT_SECONDS / SLOW_SECONDS) + 2):
        line.clock.advance(SLOW_SECONDS)
    why = [_why(one) for one in waiting]
    refused = [isinstance(error, Unavailable) for error in why]
    assert refused == sorted(refused)
    assert 0 < sum(refused) == line.reads.refused < 300
    assert len(line.reads) == 0


def test_who_was_canceled_is_skipped() -> None:
    """Its read is not started, the next one's is."""
    line = Line(1)
    line.enter("a")
    gone = line.enter("gone")
    line.enter("c")
    gone.addErrback(lambda _: None)
    gone.cancel()
    line.leave("a")
    assert list(line.started) == ["a", "c"]


def test_reads_that_fail_at_once_do_not_pile_up_on_the_stack() -> None:
    """Ten thousand in a row are a loop."""
    line = Line(1)
    line.enter("first")
    done: list[Ticket] = []

    def fail(ticket: Ticket) -> None:
        done.append(ticket)
        line.reads.leave(ticket)

    for _ in range(10_000):
        line.reads.enter(Deferred(), fail)
    line.leave("first")
    assert len(done) == 10_000


def test_closing_refuses_who_waits_and_leaves_no_timer() -> None:
    """Those that run end on their own."""
    line = Line(1)
    line.enter("runs")
    waiting = line.enter("waits")
    line.reads.close()
    assert isinstance(_why(waiting), Unavailable)
    assert line.clock.getDelayedCalls() == []
    line.leave("runs")
    assert list(line.started) == ["runs"]


def test_no_timer_runs_while_nobody_waits() -> None:
    """Neither before the first wait nor soon after the last."""
    line = Line(1)
    line.enter("a")
    assert line.clock.getDelayedCalls() == []
    line.enter("b")
    line.leave("a")
    line.clock.advance(SLOW_SECONDS)
    assert line.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "dsn", ["dbname=x", "host=/run/postgresql", "host=127.0.0.1", "host=localhost", "host=::1"]
)
def test_a_database_on_this_machine_is_asked_by_its_processors(dsn: str) -> None:
    """As many reads as there are of them, two at least, and no more than connections."""
    processors = len(os.sched_getaffinity(0))
    assert reads_at_once(dsn, 1000) == max(2, processors)
    assert reads_at_once(dsn, 1) == 1


@pytest.mark.parametrize("dsn", ["host=db.example.org", "host=x hostaddr=192.0.2.1"])
def test_a_database_elsewhere_is_asked_by_all_connections(dsn: str) -> None:
    """Its processors are its own."""
    assert reads_at_once(dsn, 16) == 16


async def _most_at_once(database: Database, count: int) -> int:
    sql = (
        "select (pg_sleep(0.01)::text || count(*))::text from pg_stat_activity"
        " where datname = current_database() and state = 'active'"
    )
    seen = await gatherResults(
        [Deferred.fromCoroutine(database.document(sql, ())) for _ in range(count)]
    )
    return max(int(text) for text in seen)


async def test_postgresql_sees_no_more_documents_at_once(
    open_database: Callable[..., Database],
) -> None:
    """However many are asked for and however many connections there are."""
    database = open_database(least=6, most=6, reads=2)
    await database.document("select 'warm'::text", ())
    assert await _most_at_once(database, 12) <= 2
    assert database.statistics().waiting == 0


async def test_a_slow_document_does_not_stop_the_others(
    open_database: Callable[..., Database],
) -> None:
    """Two that sleep are passed by the third long before they end."""
    database = open_database(least=4, most=4, reads=2)
    ended: list[str] = []

    async def ask(name: str, seconds: float) -> None:
        await database.document("select pg_sleep(%s::float)::text", (seconds,))
        ended.append(name)

    slow = [Deferred.fromCoroutine(ask(f"slow {number}", 0.6)) for number in range(2)]
    await ask("quick", 0)
    assert ended == ["quick"]
    await gatherResults(slow)


async def test_documents_that_fail_let_the_next_one_go(
    open_database: Callable[..., Database],
) -> None:
    """A place in the line is given back by an error too, also by one before anything is sent."""
    database = open_database(least=1, most=2, reads=1)
    asked = [
        Deferred.fromCoroutine(database.document(sql, ()))
        for sql in ("select broken", "select %s::text", "select 'fine'::text")
    ]
    for waiting in asked[:2]:
        waiting.addErrback(lambda _: None)
    assert await asked[2] == b"fine"
