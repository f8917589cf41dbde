"""Turns that one process has, and findings that are kept until they are gone."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.store import upkeep
from cyclades_tx.store.upkeep import Note
from cyclades_tx.testing import builders

ORPHAN = Note("orphan", "snf-net-9", "It is there.", "operator", True)
MISSING = Note("missing", "snf-net-7", "It is not there.", "make")


async def test_of_many_processes_one_has_the_turn(database: Any) -> None:
    """And nobody else before the period is over."""
    claims = await gatherResults(
        [
            Deferred.fromCoroutine(upkeep.claim(database, "pools", f"p{number}", 60.0))
            for number in range(8)
        ]
    )
    assert sorted(claims) == [False] * 7 + [True]
    assert await upkeep.claim(database, "quotas", "p1", 60.0)
    assert not await upkeep.claim(database, "pools", "p1", 60.0)
    await upkeep.ended(database, "pools", 3, 2, "one could not be mended")
    row = await database.first("select * from upkeep where name = 'pools'")
    assert (row.found, row.mended, row.problem) == (3, 2, "one could not be mended")
    await database.run("update upkeep set began_at = began_at - interval '61 seconds'")
    assert await upkeep.claim(database, "pools", "p9", 60.0)
    row = await database.first("select * from upkeep where name = 'pools'")
    assert (row.driver, row.ended_at, row.problem) == ("p9", None, "")


async def test_a_finding_keeps_its_first_time_until_it_is_gone(database: Any) -> None:
    """What is not found again is forgotten; of what was looked at."""
    cluster, other = await builders.a_cluster(database), await builders.a_cluster(database)

    async def write(notes: list[Note], only: list[str] | None = None) -> list[Note]:
        return await database.transaction(
            lambda tx: upkeep.write_down(tx, upkeep.NETWORKS, cluster.id, notes, only)
        )

    assert await write([ORPHAN, MISSING, ORPHAN]) == [ORPHAN, MISSING]
    await database.transaction(
        lambda tx: upkeep.write_down(tx, upkeep.NETWORKS, other.id, [MISSING])
    )
    await database.run("update upkeep_finding set first_seen_at = '2020-01-01T00:00:00Z'")
    assert await write([ORPHAN._replace(sentence="Still there.")], ["snf-net-9"]) == []
    seen = await upkeep.first_seen(database, upkeep.NETWORKS, cluster.id)
    assert {key: at.year for key, at in seen.items()} == {
        ("orphan", "snf-net-9"): 2020, ("missing", "snf-net-7"): 2020,
    }  # fmt: skip
    assert await write([ORPHAN]) == []
    assert sorted(await upkeep.open_ones(database)) == [
        ("network_missing", "make", 1), ("network_orphan", "operator", 1),
    ]  # fmt: skip
    await write([])
    assert await upkeep.first_seen(database, upkeep.NETWORKS, cluster.id) == {}
    assert len(await upkeep.first_seen(database, upkeep.NETWORKS, other.id)) == 1


async def test_findings_without_a_cluster_are_kept_once(database: Any) -> None:
    """Though null is not equal to null."""
    for _ in range(2):
        await database.transaction(lambda tx: upkeep.write_down(tx, upkeep.POOLS, None, [MISSING]))
    assert await upkeep.open_ones(database) == [("pools_missing", "make", 1)]
