"""Pools of bridges and MAC prefixes against the networks that use their values."""

from __future__ import annotations

from typing import Any

from cyclades_tx.model import books
from cyclades_tx.store import books as recounts
from cyclades_tx.store import value_recount

#: What is free, joined: pools are cut into pieces.
RANGES = (
    "select lower(free), upper(free) - 1 from (select unnest(range_agg(int8range(r.first_value,"
    " r.last_value, '[]'))) as free from free_value_range r join value_pool p"
    " on p.id = r.value_pool_id where p.kind = %s) as joined order by 1"
)


async def a_pool(database: Any, kind: str, base: str, *free: tuple[int, int]) -> None:
    """A pool of 1 to 20."""
    pool_id = await database.value(
        "insert into value_pool (kind, base, first_value, last_value) values (%s, %s, 1, 20)"
        " returning id",
        (kind, base),
    )
    for first, last in free:
        await database.run(
            "insert into free_value_range values (%s, %s, %s)", (pool_id, first, last)
        )


async def a_user(database: Any, flavor: str, link: str, prefix: str = "aa:00:0") -> None:
    """A network of a flavor."""
    await database.run(
        "insert into network (flavor, mode, link, mac_prefix) values (%s, 'bridged', %s, %s)",
        (flavor, link, prefix),
    )


async def test_pools_that_are_right_have_no_findings(database: Any) -> None:
    """Cut in pieces or not; values that were made by hand belong to no pool."""
    await a_pool(database, "bridge", "prv", (1, 4), (6, 10), (11, 20))
    await a_pool(database, "mac_prefix", "aa:00:0", (1, 20))
    await a_user(database, "PHYSICAL_VLAN", "prv5")
    await a_user(database, "PHYSICAL_VLAN", "office")
    await a_user(database, "CUSTOM", "prv7")
    await a_user(database, "MAC_FILTERED", "br0", "ab:00:0")
    assert await value_recount.find(database) == []


async def test_free_values_are_written_anew(database: Any) -> None:
    """Lost ones come back, used ones are no longer free, and networks that are gone use none."""
    await a_pool(database, "bridge", "prv", (1, 3), (5, 9), (8, 12))
    await a_pool(database, "mac_prefix", "aa:00:0", (1, 20))
    await a_user(database, "PHYSICAL_VLAN", "prv5")
    await a_user(database, "MAC_FILTERED", "br0", "aa:00:2")
    await a_user(database, "PHYSICAL_VLAN", "prv13")
    await database.run(
        "update network set state = 'deleted', deleted_at = now() where link = 'prv13'"
    )
    result = await recounts.recount_pools(database)
    assert [(each.kind, each.subject[:4]) for each in result.mended] == [
        (books.FREE_VALUES, "pool"), (books.FREE_VALUES, "pool"),
    ]  # fmt: skip
    assert await database.all(RANGES, ("bridge",)) == [(1, 4), (6, 20)]
    assert await database.all(RANGES, ("mac_prefix",)) == [(1, 1), (3, 20)]
    assert await value_recount.find(database) == []


async def test_a_pool_that_is_gone_since_is_no_error(database: Any) -> None:
    """Nothing is left to mend."""
    await a_pool(database, "bridge", "prv", (2, 3))
    (finding,) = await value_recount.find(database)
    await database.run("delete from value_pool")
    assert await value_recount.mend(database, finding)
    assert await database.value("select count(*) from free_value_range") == 0
