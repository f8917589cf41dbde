"""Quota holdings and the reservations of open operations.

Lock order: the holdings of a project come first, by resource name, before any other row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.errors import OverQuota
from cyclades_tx.model.quota import RESOURCES, Holding, quota_message, shortages


async def make_holdings(tx: Any, project_id: str, limits: Mapping[str, int | None]) -> None:
    """Give a new project its holdings, each with its limit."""
    await tx.run(
        "insert into holding (project_id, resource, maximum)"
        " select %s, resource, maximum"
        " from unnest(%s::text[], %s::bigint[]) as l (resource, maximum)"
        " on conflict do nothing",
        (project_id, list(limits), list(limits.values())),
    )


_LOCK = (
    "select resource, maximum, used, reserved from holding where project_id = %s"
    " order by resource for update"
)


async def lock(tx: Any, project_id: str) -> dict[str, Holding]:
    """Lock all holdings of a project and return them by resource.

    One that is missing (its resource is newer than the project) is made, without a limit.
    """
    rows = await tx.all(_LOCK, (project_id,))
    if len(rows) < len(RESOURCES):
        await make_holdings(tx, project_id, dict.fromkeys(RESOURCES))
        rows = await tx.all(_LOCK, (project_id,))
    return {row.resource: Holding(*row) for row in rows}


def refuse_shortage(holdings: Mapping[str, Holding], amounts: Mapping[str, int]) -> None:
    """Raise when the project may not have that much more.

    :raise OverQuota: names each resource that is short.
    """
    found = shortages(holdings, amounts)
    if found:
        raise OverQuota(quota_message(found), found)


async def reserve(tx: Any, project_id: str, operation_id: int, amounts: Mapping[str, int]) -> None:
    """Keep for an operation what it will add when it succeeds; the holdings are locked."""
    growth = {resource: amount for resource, amount in amounts.items() if amount > 0}
    if not growth:
        return
    await tx.run(
        "update holding h set reserved = h.reserved + a.amount"
        " from unnest(%s::text[], %s::bigint[]) as a (resource, amount)"
        " where h.project_id = %s and h.resource = a.resource",
        (list(growth), list(growth.values()), project_id),
    )
    await tx.run(
        "insert into reservation (operation_id, project_id, resource, amount)"
        " select %s, %s, resource, amount"
        " from unnest(%s::text[], %s::bigint[]) as a (resource, amount)",
        (operation_id, project_id, list(growth), list(growth.values())),
    )


async def release(tx: Any, operation_id: int) -> None:
    """Give back what was kept for an operation; the holdings are locked."""
    await tx.run(
        "update holding h set reserved = h.reserved - r.amount from reservation r"
        " where r.operation_id = %s and r.project_id = h.project_id and r.resource = h.resource"
        " and r.amount > 0",
        (operation_id,),
    )
    await tx.run("delete from reservation where operation_id = %s", (operation_id,))


async def add(tx: Any, project_id: str, amounts: Mapping[str, int]) -> None:
    """Add to (negative: take from) what a project uses; the holdings are locked.

    What was seen at a cluster is the truth, so this never refuses; and a holding that is too
    low never keeps a server from being deleted.
    """
    if not amounts:
        return
    await tx.run(
        "update holding h set used = greatest(h.used + a.amount, 0)"
        " from unnest(%s::text[], %s::bigint[]) as a (resource, amount)"
        " where h.project_id = %s and h.resource = a.resource",
        (list(amounts), list(amounts.values()), project_id),
    )


#: Every holding counted from scratch, beside what is stored; a missing one stores nothing.
#: ``used`` follows from the charges of servers and what else is held, ``reserved`` from the open
#: operations' reservations.
RECOUNT = """
with disks as (
    select server_id, coalesce(sum(size_gib), 0)::bigint as gib
    from volume where local and deleted_at is null and server_id is not null group by server_id
), charged as (
    select s.project_id, s.vcpus::bigint as vcpus, s.memory_mib::bigint * 1048576 as memory,
           coalesce(d.gib, 0) * 1073741824 as disk, s.charge = 'on' as running
    from server s left join disks d on d.server_id = s.id
    where s.charge <> 'none'
), every_disk as (
    select project_id, disk from charged
    union all
    -- The other volumes are charged from their making to their end, wherever they are.
    select project_id, size_gib::bigint * 1073741824 from volume
        where not local and deleted_at is null
), counted as (
    select project_id, 'cyclades.vm' as resource, count(*) as used from charged group by 1
    union all
    select project_id, 'cyclades.total_cpu', sum(vcpus) from charged group by 1
    union all
    select project_id, 'cyclades.total_ram', sum(memory) from charged group by 1
    union all
    select project_id, 'cyclades.disk', sum(disk) from every_disk group by 1
    union all
    select project_id, 'cyclades.cpu', sum(vcpus) from charged where running group by 1
    union all
    select project_id, 'cyclades.ram', sum(memory) from charged where running group by 1
    union all
    select project_id, 'cyclades.floating_ip', count(*) from floating_ip group by 1
    union all
    select project_id, 'cyclades.network.private', count(*) from network
        where project_id is not null and not shared and not external and deleted_at is null
        group by 1
), kept as (
    select r.project_id, r.resource, sum(r.amount) as reserved
    from reservation r join operation o on o.id = r.operation_id and o.finished_at is null
    where r.amount > 0 group by 1, 2
)
select coalesce(h.project_id, c.project_id) as project_id,
       coalesce(h.resource, c.resource) as resource,
       coalesce(h.used, 0) as used, coalesce(h.reserved, 0) as reserved,
       coalesce(c.used, 0)::bigint as counted_used,
       coalesce(k.reserved, 0)::bigint as counted_reserved
from holding h
full join counted c on c.project_id = h.project_id and c.resource = h.resource
left join kept k on k.project_id = h.project_id and k.resource = h.resource
"""


async def drift(database: Any) -> list[Any]:
    """The holdings whose stored figures are not the counted ones."""
    return list(
        await database.all(
            f"select * from ({RECOUNT}) r"
            " where used <> counted_used or reserved <> counted_reserved"
        )
    )
