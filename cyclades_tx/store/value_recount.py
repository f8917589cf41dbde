"""Pools of bridges and MAC prefixes recounted from the networks that use their values."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from cyclades_tx.errors import NotFound
from cyclades_tx.model import books
from cyclades_tx.model.books import BookFinding
from cyclades_tx.store import values


async def find(database: Any) -> list[BookFinding]:
    """The pools whose free values are not exactly those that no network uses."""
    found = []
    for pool in await database.all("select * from value_pool order by id"):
        due = await values.due(database, pool)
        there = await _there(database, pool.id)
        if due != there:
            both = _size(
                (max(low, left), min(high, right)) for low, high in due for left, right in there
            )
            lost, wrong = _size(due) - both, _size(there) - both
            found.append(
                BookFinding(
                    books.FREE_VALUES,
                    f"pool {pool.id}",
                    f"In the {pool.kind} pool {pool.base!r} {lost} values are neither free"
                    f" nor used, {wrong} free that should not be.",
                    ids=(pool.id,),
                )
            )
    return found


async def mend(database: Any, finding: BookFinding) -> bool:
    """Write the free values of a pool anew."""

    async def write(tx: Any) -> bool:
        for pool_id in finding.ids:
            with suppress(NotFound):  # removed meanwhile
                await values.write_free(tx, pool_id)
        return True

    done: bool = await database.transaction(write, f"books.{finding.kind}")
    return done


async def _there(querier: Any, pool_id: int) -> tuple[tuple[int, int], ...]:
    """The free ranges, those that meet joined: pools may be cut as takers like it."""
    joined: list[tuple[int, int]] = []
    for row in await querier.all(
        "select first_value, last_value from free_value_range where value_pool_id = %s order by 1",
        (pool_id,),
    ):
        if joined and joined[-1][1] + 1 == row.first_value:
            joined[-1] = (joined[-1][0], row.last_value)
        else:
            joined.append((row.first_value, row.last_value))
    return tuple(joined)


def _size(ranges: Iterable[tuple[int, int]]) -> int:
    return sum(max(0, high - low + 1) for low, high in ranges)
