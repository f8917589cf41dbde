"""Turns: one after another, in the order of asking, and no wait without an end."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cyclades_tx.errors import Unavailable
from cyclades_tx.store.database import Database
from cyclades_tx.store.turns import Turns


def _take(turns: Turns, key: str) -> Deferred[Any]:
    return Deferred.fromCoroutine(turns.take(key))


def test_the_second_waits_until_the_first_leaves() -> None:
    """And the third until the second does."""
    turns = Turns(Clock(), 10)
    first, second, third = (_take(turns, "a") for _ in range(3))
    assert first.called
    assert not second.called
    turns.leave("a")
    assert second.called
    assert not third.called
    turns.leave("a")
    assert third.called


def test_other_keys_do_not_wait() -> None:
    """A line is for one key."""
    turns = Turns(Clock(), 10)
    assert _take(turns, "a").called
    assert _take(turns, "b").called


def test_a_key_that_was_left_is_free_again() -> None:
    """As if nobody had ever been there."""
    turns = Turns(Clock(), 10)
    _take(turns, "a")
    turns.leave("a")
    assert _take(turns, "a").called


def test_who_waits_too_long_is_told_and_skipped() -> None:
    """The next one in line goes on."""
    clock = Clock()
    turns = Turns(clock, 10)
    _take(turns, "a")
    late = _take(turns, "a")
    clock.advance(6)
    patient = _take(turns, "a")
    clock.advance(5)
    failures: list[Any] = []
    late.addErrback(failures.append)
    assert failures[0].check(Unavailable)
    turns.leave("a")
    assert patient.called


async def test_transactions_with_one_turn_hold_one_connection(database: Database) -> None:
    """Five that would wait for the same lock leave the other connections to others."""
    gate: Deferred[None] = Deferred()
    order: list[int] = []

    def work(number: int) -> Any:
        async def run(tx: Any) -> None:
            await tx.value("select 1")
            if number == 0:
                await gate
            order.append(number)

        return run

    running = [
        Deferred.fromCoroutine(database.transaction(work(number), turn="project"))
        for number in range(5)
    ]
    await database.value("select 1")
    assert database.statistics().in_use == 1
    gate.callback(None)
    for each in running:
        await each
    assert order == [0, 1, 2, 3, 4]


async def test_a_transaction_that_fails_gives_its_turn_on(database: Database) -> None:
    """Its error is its caller's alone."""

    async def fail(tx: Any) -> None:
        raise ValueError("no")

    async def well(tx: Any) -> int:
        return 1

    with pytest.raises(ValueError, match="no"):
        await database.transaction(fail, turn="project")
    assert await database.transaction(well, turn="project") == 1
