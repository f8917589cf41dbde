"""The rows of pools of bridges and MAC prefixes; what is free of them is in ``store/values.py``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cyclades_tx.errors import Conflict, NotFound
from cyclades_tx.store import values


async def insert(tx: Any, kind: str, base: str, first: int, last: int) -> int:
    """Write a new pool of which nothing is free yet; its id.

    :raise Conflict: when there is one with this base.
    """
    pool_id: int | None = await tx.value(
        "insert into value_pool (kind, base, first_value, last_value) values (%s, %s, %s, %s)"
        " on conflict do nothing returning id",
        (kind, base, first, last),
    )
    if pool_id is None:
        raise Conflict(f"There is a pool of {base} already.", "duplicate")
    return pool_id


async def of(querier: Any, pool_id: int, suffix: str = "") -> Any:
    """One pool.

    :raise NotFound: when there is none of this id.
    """
    row = await querier.first(
        f"select id, kind, base, first_value, last_value from value_pool where id = %s{suffix}",
        (pool_id,),
    )
    if row is None:
        raise NotFound(f"There is no pool {pool_id}; see pool-list.", "pool")
    return row


async def lock_free(tx: Any, pool_id: int) -> None:
    """Keep takers out of a pool; before the pool's own row, as everybody does."""
    await tx.all(
        "select 1 from free_value_range where value_pool_id = %s order by first_value for update",
        (pool_id,),
    )


async def lock(tx: Any, pool_id: int) -> Any:
    """One pool, which stays as it is until the commit."""
    return await of(tx, pool_id, " for update")


async def of_kind(querier: Any, kind: str) -> list[Any]:
    """All pools of a kind."""
    rows: list[Any] = await querier.all(
        "select id, base, first_value, last_value from value_pool where kind = %s order by id",
        (kind,),
    )
    return rows


async def taken(querier: Any, pool: Any) -> frozenset[int]:
    """The numbers that networks have; those that are kept back are not among them."""
    every = await values.used(querier, pool)
    kept = set(await reserved(querier, pool.id))
    return frozenset(n for n in every - kept if pool.first_value <= n <= pool.last_value)


async def reserved(querier: Any, pool_id: int) -> list[int]:
    """The numbers that are kept back."""
    rows = await querier.all(
        "select value from reserved_value where value_pool_id = %s order by value", (pool_id,)
    )
    return [row.value for row in rows]


async def reserve(tx: Any, pool_id: int, numbers: Collection[int]) -> None:
    """Keep numbers back."""
    await tx.run(
        "insert into reserved_value (value_pool_id, value) select %s, unnest(%s::bigint[])"
        " on conflict do nothing",
        (pool_id, list(numbers)),
    )


async def release(tx: Any, pool_id: int, numbers: Collection[int]) -> None:
    """Keep numbers back no longer."""
    await tx.run(
        "delete from reserved_value where value_pool_id = %s and value = any(%s::bigint[])",
        (pool_id, list(numbers)),
    )


async def set_ends(tx: Any, pool_id: int, first: int, last: int) -> None:
    """Say where a pool begins and ends; what is kept back beyond that is forgotten."""
    await tx.run(
        "update value_pool set first_value = %s, last_value = %s where id = %s",
        (first, last, pool_id),
    )
    await tx.run(
        "delete from reserved_value where value_pool_id = %s and value not between %s and %s",
        (pool_id, first, last),
    )


async def rebase(tx: Any, pool_id: int, base: str, kept: Collection[int]) -> None:
    """Have the values of a pool begin with something else.

    :param kept: the numbers that are kept back from now on.
    :raise Conflict: when there is another one with this base.
    """
    moved = await tx.run(
        "update value_pool p set base = %(base)s where id = %(id)s and not exists (select from"
        " value_pool o where o.kind = p.kind and o.base = %(base)s and o.id <> p.id)",
        {"base": base, "id": pool_id},
    )
    if not moved:
        raise Conflict(f"There is a pool of {base} already.", "duplicate")
    await tx.run("delete from reserved_value where value_pool_id = %s", (pool_id,))
    await reserve(tx, pool_id, kept)


async def delete(tx: Any, pool_id: int) -> None:
    """Delete a pool with what is free of it."""
    await tx.run("delete from value_pool where id = %s", (pool_id,))


async def count_free(querier: Any, pool_id: int) -> int:
    """How many values of a pool are free."""
    count: int = await querier.value(
        "select coalesce(sum(last_value - first_value + 1), 0)::bigint from free_value_range"
        " where value_pool_id = %s",
        (pool_id,),
    )
    return count
