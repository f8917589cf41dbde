"""The recount of the books: by one process at a time, beside everything else."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from cyclades_tx.loops.books import Books
from cyclades_tx.store import upkeep
from tests.loops.cloud import Cloud


def a_loop(database: Any, clock: Any, counted: Any = lambda *_: None, driver: str = "p1") -> Books:
    """The loop with a period of a minute."""
    return Books(clock, database, driver, 60.0, random.Random(1), counted)


async def test_what_drifted_is_mended_counted_and_told(cloud: Cloud) -> None:
    """Nothing is left to be written down but what a person must see to."""
    database = cloud.database
    await database.run("update holding set used = 3 where resource = 'cyclades.vm'")
    await database.run("delete from free_address_range")
    await database.run("update subnet set gateway = '10.1.0.9'")
    counted: list[tuple[str, str, int]] = []
    loop = a_loop(database, Clock(), lambda *told: counted.append(told))
    await loop.recount(upkeep.POOLS)
    await loop.recount(upkeep.QUOTAS)
    assert sorted(counted) == [
        ("found", "pools_free_addresses", 1),
        ("found", "pools_wrong_pool", 1),
        ("found", "quotas_holding", 1),
        ("mended", "pools_free_addresses", 1),
        ("mended", "quotas_holding", 1),
    ]
    assert await upkeep.open_ones(database) == [("pools_wrong_pool", "operator", 1)]
    counted.clear()
    await loop.recount(upkeep.POOLS)
    assert counted == []


async def test_of_two_processes_one_recounts_in_a_period(cloud: Cloud) -> None:
    """The other finds the turn taken; when the first is dead, the next period is the other's."""
    clocks = [Clock(), Clock()]
    loops = [
        a_loop(cloud.database, clock, driver=f"p{number}") for number, clock in enumerate(clocks)
    ]
    for loop in loops:
        loop.start()

    async def drivers() -> list[str]:
        rows = await cloud.database.all(
            "select driver from upkeep where ended_at is not null order by name"
        )
        return [row.driver for row in rows]

    clocks[0].advance(20)

    async def both() -> bool:
        return await drivers() == ["p0", "p0"]

    await cloud.until(both, "the first one has recounted")
    clocks[1].advance(20)
    await cloud.sleep(0.2)
    assert await both()
    await cloud.database.run("update upkeep set began_at = began_at - interval '61 seconds'")
    clocks[1].advance(20)

    async def others() -> bool:
        return await drivers() == ["p1", "p1"]

    await cloud.until(others, "the other one has recounted")
    for loop in loops:
        await loop.stop()


async def test_recounting_while_fifty_servers_are_created_breaks_nothing(cloud: Cloud) -> None:
    """Every one becomes active, nothing is found, and the books are right."""
    await cloud.database.run("update holding set maximum = null")
    await cloud.drive()
    counted: list[tuple[Any, ...]] = []
    loop = a_loop(cloud.database, cloud.reactor, lambda *told: counted.append(told))
    subnet_id = await cloud.database.value("select id from subnet")
    going = True

    async def recount() -> None:
        from cyclades_tx.store import pool_recount, quota_recount

        while going:
            for area in (upkeep.POOLS, upkeep.QUOTAS):
                await loop.recount(area)
            # Mending although nothing is wrong is what disturbs most.
            await cloud.database.transaction(lambda tx: pool_recount.recount_subnet(tx, subnet_id))
            await quota_recount.mend(cloud.database, cloud.who.project_id or "")

    recounting = Deferred.fromCoroutine(recount())
    uuids = await gatherResults(
        [Deferred.fromCoroutine(cloud.create(f"s{number}")) for number in range(50)]
    )
    await cloud.settled()
    going = False
    await recounting
    assert counted == []
    states = [await cloud.state(uuid) for uuid in uuids]
    assert states == [("active", "on")] * 50
    assert await cloud.used("cyclades.vm") == 50
    await cloud.check_books()
