"""Clusters and leases in the database."""

from __future__ import annotations

from typing import Any

from cyclades_tx.model.instance import Capacity, ClusterInfo
from cyclades_tx.store import clusters
from cyclades_tx.testing import builders


async def test_candidates_are_what_the_allocator_needs(database: Any) -> None:
    """With whether the project has the cluster for its own."""
    who = await builders.somebody(database)
    one = await builders.a_cluster(database, "one")
    two = await builders.a_cluster(database, "two", drained=True, public=False)
    await database.run("insert into cluster_project values (%s, %s)", (two.id, who.project_id))
    first, second = await clusters.candidates(database, who.project_id or "")
    assert (first.id, first.name, first.drained, first.mapped) == (one.id, "one", False, False)
    assert (second.id, second.drained, second.public, second.mapped) == (two.id, True, False, True)
    assert first.disk_templates == {"plain", "file"}
    others = await clusters.candidates(database, "0" * 32)
    assert [each.mapped for each in others] == [False, False]


async def test_reachable_is_told_only_when_it_changes(database: Any) -> None:
    """Unknown, yes and no are three."""
    row = await builders.a_cluster(database)
    await database.run("update cluster set reachable = null")
    answers = [
        await clusters.set_reachable(database, row.id, reachable, "why")
        for reachable in (True, True, False, False, True)
    ]
    assert answers == [True, False, True, False, True]


async def test_numbers_grow_stale(database: Any) -> None:
    """Those that were never asked for at once."""
    row = await builders.a_cluster(database)
    assert not await clusters.stale_statistics(database, row.id, 60)
    await database.run("update cluster set statistics_at = now() - interval '2 minutes'")
    assert await clusters.stale_statistics(database, row.id, 60)
    info = ClusterInfo("c", "3.0.2", "m", "kvm", ("kvm",), ("plain",))
    await clusters.set_capacity(database, row.id, info, Capacity(1, 2, 3, 4, 5, 6, 1), ("g",))
    assert not await clusters.stale_statistics(database, row.id, 60)
    now = await clusters.by_id(database, row.id)
    assert (now.memory_free_mib, now.memory_total_mib, now.disk_free_mib, now.disk_total_mib) == (
        1, 2, 3, 4,
    )  # fmt: skip
    assert (now.cpus, now.instances, now.version, now.node_groups) == (5, 6, "3.0.2", ["g"])
    await database.run("update cluster set statistics_at = null")
    assert await clusters.stale_statistics(database, row.id, 60)


async def test_leases_are_made_once_and_epochs_only_grow(database: Any) -> None:
    """Each take-over is a new one."""
    row = await builders.a_cluster(database)
    for _ in range(2):
        await clusters.ensure_leases(database)
    assert await clusters.take_epoch(database, row.id, "one") == 1
    assert await clusters.take_epoch(database, row.id, "two") == 2
    assert await clusters.epochs_of(database, "one") == {}
    assert await clusters.epochs_of(database, "two") == {row.id: 2}


async def test_only_the_silent_are_put_out(database: Any) -> None:
    """Neither oneself nor whoever beats, nor one that holds nothing."""
    first = await builders.a_cluster(database)
    await clusters.ensure_leases(database)
    await clusters.take_epoch(database, first.id, "one")
    assert await clusters.put_out_silent(database, "one", 5) == 0
    await clusters.beat(database, "one")
    await clusters.beat(database, "one")
    assert await clusters.put_out_silent(database, "two", 5) == 0
    await database.run("update process set beaten_at = now() - interval '1 hour'")
    # There is no session of that name to be ended.
    assert await clusters.put_out_silent(database, "two", 5) == 0


async def test_the_beats_of_the_long_dead_are_thrown_away(database: Any) -> None:
    """The others stay."""
    for name in ("old", "new"):
        await clusters.beat(database, name)
    await database.run(
        "update process set beaten_at = now() - interval '2 days' where driver = 'old'"
    )
    await clusters.forget_old_processes(database)
    assert [row.driver for row in await database.all("select driver from process")] == ["new"]


async def test_every_cluster_by_id(database: Any) -> None:
    """And none of that number."""
    rows = [await builders.a_cluster(database) for _ in range(3)]
    found = await clusters.everyone(database)
    assert [each.id for each in found] == [each.id for each in rows]
    assert await clusters.by_id(database, 10**9) is None
