"""Clusters in the database: what they are, what is free on them, and who drives them."""

from __future__ import annotations

from typing import Any

from cyclades_tx.model.instance import Capacity, ClusterInfo
from cyclades_tx.model.placement import Candidate

#: What the names of all sessions of a driving process begin with; its own name follows.
SESSION_NAME = "cyclades_tx "

#: Advisory locks are named by two numbers; this one stands for "drives the cluster".
LEASE_CLASS = 0x63796378

_COLUMNS = (
    "id, uuid, name, position, rapi_scheme, rapi_host, rapi_port, rapi_username, rapi_password,"
    " certificate, credentials_version, drained, offline, public, hypervisor, hotplug,"
    " disk_templates, version, node_groups, memory_free_mib, memory_total_mib, disk_free_mib,"
    " disk_total_mib, cpus, instances, statistics_at, reachable, unreachable_reason,"
    " reachable_changed_at, created_at"
)


async def everyone(querier: Any) -> list[Any]:
    """All clusters, by id, with their sealed credentials."""
    return list(await querier.all(f"select {_COLUMNS} from cluster order by id"))


async def by_id(querier: Any, cluster_id: int) -> Any:
    """One cluster, or None."""
    return await querier.first(f"select {_COLUMNS} from cluster where id = %s", (cluster_id,))


async def candidates(querier: Any, project_id: str) -> tuple[Candidate, ...]:
    """The clusters as the allocator looks at them, for one project."""
    rows = await querier.all(
        "select c.id, c.name, c.drained, c.offline, c.public, c.reachable, c.disk_templates,"
        " c.memory_free_mib, c.memory_total_mib, c.disk_free_mib, c.disk_total_mib, c.cpus,"
        " c.instances, exists (select 1 from cluster_project p where p.cluster_id = c.id"
        " and p.project_id = %s) as mapped from cluster c order by c.id",
        (project_id,),
    )
    return tuple(
        Candidate(**{**row._asdict(), "disk_templates": frozenset(row.disk_templates)})
        for row in rows
    )


async def set_capacity(
    querier: Any, cluster_id: int, info: ClusterInfo, capacity: Capacity, groups: tuple[str, ...]
) -> None:
    """Write down what a cluster said of itself."""
    await querier.run(
        "update cluster set memory_free_mib = %s, memory_total_mib = %s, disk_free_mib = %s,"
        " disk_total_mib = %s, cpus = %s, instances = %s, disk_templates = %s, version = %s,"
        " node_groups = %s, statistics_at = now() where id = %s",
        (
            capacity.memory_free_mib,
            capacity.memory_total_mib,
            capacity.disk_free_mib,
            capacity.disk_total_mib,
            capacity.cpus,
            capacity.instances,
            list(info.disk_templates),
            info.version,
            list(groups),
            cluster_id,
        ),
    )


async def set_reachable(querier: Any, cluster_id: int, reachable: bool, reason: str) -> bool:
    """Write down whether a cluster answers; True when that has changed."""
    return bool(
        await querier.run(
            "update cluster set reachable = %s, unreachable_reason = %s,"
            " reachable_changed_at = now() where id = %s and reachable is distinct from %s",
            (reachable, reason, cluster_id, reachable),
        )
    )


async def stale_statistics(querier: Any, cluster_id: int, seconds: float) -> bool:
    """Whether a cluster's numbers are older than so many seconds."""
    return bool(
        await querier.value(
            "select statistics_at is null or statistics_at < now() - make_interval(secs => %s)"
            " from cluster where id = %s",
            (seconds, cluster_id),
        )
    )


# Leases


async def ensure_leases(querier: Any) -> None:
    """Give every cluster a lease row."""
    await querier.run(
        "insert into cluster_lease (cluster_id) select id from cluster"
        " where not exists (select 1 from cluster_lease l where l.cluster_id = cluster.id)"
        " on conflict do nothing"
    )


async def take_epoch(querier: Any, cluster_id: int, driver: str) -> int | None:
    """Begin a new epoch of a cluster whose advisory lock is held.

    :return: its number; None when the cluster has no lease row (yet, or any more).
    """
    epoch: int | None = await querier.value(
        "update cluster_lease set epoch = epoch + 1, driver = %s where cluster_id = %s"
        " returning epoch",
        (driver, cluster_id),
    )
    return epoch


async def beat(querier: Any, driver: str) -> None:
    """Say that a process is alive."""
    await querier.run(
        "insert into process (driver) values (%s)"
        " on conflict (driver) do update set beaten_at = now()",
        (driver,),
    )


async def epochs_of(querier: Any, driver: str) -> dict[int, int]:
    """The clusters that a process drives by the word of the leases, with their epochs."""
    rows = await querier.all(
        "select cluster_id, epoch from cluster_lease where driver = %s", (driver,)
    )
    return {row.cluster_id: row.epoch for row in rows}


async def put_out_silent(querier: Any, driver: str, silence_seconds: float) -> int:
    """End every session of the processes that hold a lease and no longer beat.

    A process that was stopped keeps its sessions, with their advisory locks and whatever rows
    its transactions had locked. It finds them by the name that its sessions carry.

    :return: how many sessions were ended.
    """
    ended: int = await querier.value(
        "select count(pg_terminate_backend(a.pid)) from pg_stat_activity a"
        " where a.datname = current_database() and a.usename = current_user"
        " and a.application_name in (select %s || l.driver from cluster_lease l"
        " left join process p on p.driver = l.driver where l.driver <> %s"
        " and l.driver <> '' and (p.beaten_at is null"
        " or p.beaten_at < now() - make_interval(secs => %s)))",
        (SESSION_NAME, driver, silence_seconds),
    )
    return ended


async def undriven(querier: Any, silence_seconds: float) -> list[str]:
    """The clusters that no process has driven for a while, by name; without those offline.

    :param silence_seconds: how long the process that drives one may be silent, and how long a new
        cluster may wait for the first.
    """
    rows = await querier.all(
        "select c.name from cluster c left join cluster_lease l on l.cluster_id = c.id"
        " left join process p on p.driver = l.driver where not c.offline"
        " and coalesce(p.beaten_at, c.created_at) < now() - make_interval(secs => %s)"
        " order by c.name",
        (silence_seconds,),
    )
    return [row.name for row in rows]


async def forget_old_processes(querier: Any) -> None:
    """Throw away the beats of processes that ended long ago."""
    await querier.run("delete from process where beaten_at < now() - interval '1 day'")


async def try_lock(querier: Any, cluster_id: int) -> bool:
    """Try to take a cluster's advisory lock for this session."""
    return bool(
        await querier.value("select pg_try_advisory_lock(%s, %s)", (LEASE_CLASS, cluster_id))
    )


async def unlock(querier: Any, cluster_id: int) -> None:
    """Give a cluster's advisory lock back."""
    await querier.run("select pg_advisory_unlock(%s, %s)", (LEASE_CLASS, cluster_id))
