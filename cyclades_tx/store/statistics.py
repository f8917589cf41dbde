"""How much there is of everything, for operators."""

from __future__ import annotations

from typing import Any

#: What a server counts as: one that is being made, as started.
_STATE = (
    "case when s.state = 'error' then 'error' when s.charge = 'off' then 'stopped'"
    " else 'started' end"
)
_LIVE = "s.deleted_at is null and s.cluster_id = coalesce(%s::bigint, s.cluster_id)"
_DISKS = (
    "volume v join volume_type t on t.id = v.volume_type_id join server s on s.id = v.server_id"
    f" where v.deleted_at is null and {_LIVE}"
)


async def of_servers(querier: Any, cluster_id: int | None) -> list[Any]:
    """The servers by state and size: state, vcpus, memory_mib, count.

    :param cluster_id: of this cluster; None: of all.
    """
    rows: list[Any] = await querier.all(
        f"select {_STATE} as state, s.vcpus, s.memory_mib, count(*) as count from server s"
        f" where {_LIVE} group by 1, 2, 3 order by 1, 2, 3",
        (cluster_id,),
    )
    return rows


async def of_disks(querier: Any, cluster_id: int | None) -> list[Any]:
    """The disks of servers: state, template, size_gib, count; ``cluster_id`` as above."""
    rows: list[Any] = await querier.all(
        f"select {_STATE} as state, t.disk_template as template, v.size_gib, count(*) as count"
        f" from {_DISKS} group by 1, 2, 3 order by 1, 2, 3",
        (cluster_id,),
    )
    return rows


async def of_images(querier: Any, cluster_id: int | None) -> list[Any]:
    """From what servers were made: kind (system or user), osfamily, os, count."""
    prop = "(select p.value from image_property p where p.image_id = i.id and p.key = '{}')"
    rows: list[Any] = await querier.all(
        "select case when i.project_id is null then 'system' else 'user' end as kind,"
        f" coalesce({prop.format('osfamily')}, 'unknown') as osfamily,"
        f" coalesce({prop.format('os')}, 'unknown') as os, count(*) as count"
        f" from server s join image i on i.id = s.image_id where {_LIVE}"
        " group by 1, 2, 3 order by 1, 2, 3",
        (cluster_id,),
    )
    return rows


async def of_clusters(querier: Any, cluster_id: int | None) -> list[Any]:
    """What each cluster is, and what our servers on it have."""
    rows: list[Any] = await querier.all(
        "select c.id, c.name, c.drained, c.offline, c.hypervisor, c.disk_templates,"
        " coalesce(sums.servers, 0) as servers, coalesce(sums.vcpus, 0) as vcpus,"
        " coalesce(sums.memory_mib, 0)::bigint as memory_mib,"
        " coalesce(disks.size_gib, 0)::bigint as disk_gib from cluster c"
        " left join (select s.cluster_id, count(*) as servers, sum(s.vcpus) as vcpus,"
        " sum(s.memory_mib) as memory_mib from server s where s.deleted_at is null group by 1)"
        " as sums on sums.cluster_id = c.id"
        " left join (select s.cluster_id, sum(v.size_gib) as size_gib from volume v"
        " join server s on s.id = v.server_id where v.deleted_at is null and s.deleted_at is null"
        " group by 1) as disks on disks.cluster_id = c.id"
        " where c.id = coalesce(%s::bigint, c.id) order by c.name",
        (cluster_id,),
    )
    return rows


async def of_networks(querier: Any) -> list[Any]:
    """The networks: flavor, state, count."""
    rows: list[Any] = await querier.all(
        "select flavor, state, count(*) as count from network where deleted_at is null"
        " group by 1, 2 order by 1, 2"
    )
    return rows


async def of_addresses(querier: Any) -> list[Any]:
    """The IPv4 subnets of external networks: drained or not, their number, free and all."""
    width = "({range}.last_address - {range}.first_address + 1)"
    rows: list[Any] = await querier.all(
        "select n.drained, count(*) as count, coalesce(sum((select sum("
        f"{width.format(range='r')}) from free_address_range r where r.subnet_id = s.id)), 0)"
        "::bigint as free, coalesce(sum((select sum("
        f"{width.format(range='p')}) from allocation_pool p where p.subnet_id = s.id)), 0)"
        "::bigint as total from subnet s join network n on n.id = s.network_id"
        " where n.deleted_at is null and n.external and family(s.cidr) = 4"
        " group by 1 order by 1"
    )
    return rows
