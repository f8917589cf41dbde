"""What enforcing limits looks at: limits that are passed, and what could go for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cyclades_tx.model import quota
from cyclades_tx.model.enforcement import FloatingTarget, Target, Violation

#: Compute's names of a user's limits -> the resource, and how much one is.
_OF_USERS = {
    "instances": (quota.VM, 1),
    "cores": (quota.TOTAL_CPU, 1),
    "ram": (quota.TOTAL_RAM, quota.MIB),
}


async def project_violations(querier: Any, resources: Sequence[str]) -> list[Violation]:
    """The limits of projects that are passed, in the order of the resources."""
    rows = await querier.all(
        "select project_id, resource, maximum, used, reserved from holding"
        " where maximum is not null and used > maximum and resource = any(%s::text[])"
        " order by array_position(%s::text[], resource), project_id",
        (list(resources), list(resources)),
    )
    return [
        Violation(row.project_id, None, row.resource, row.maximum, row.used, row.reserved)
        for row in rows
    ]


async def user_violations(querier: Any, resources: Sequence[str]) -> list[Violation]:
    """The limits of single users that are passed, in the order of the resources."""
    rows = await querier.all(
        "select l.project_id, l.user_id, l.name, l.maximum, u.instances, u.cores, u.ram, u.making"
        " from user_limit l cross join lateral (select count(*)::bigint as instances,"
        " coalesce(sum(s.vcpus), 0)::bigint as cores, coalesce(sum(s.memory_mib), 0)::bigint as"
        " ram, count(*) filter (where s.charge = 'none')::bigint as making from server s"
        " where s.project_id = l.project_id and s.user_id = l.user_id and s.deleted_at is null"
        " and (s.charge <> 'none' or s.state = 'building')) u"
        " order by l.project_id, l.user_id"
    )
    found = []
    for row in rows:
        resource, unit = _OF_USERS[row.name]
        used = getattr(row, row.name)
        if resource in resources and used > row.maximum:
            limit, usage = row.maximum * unit, used * unit
            found.append(Violation(row.project_id, row.user_id, resource, limit, usage, row.making))
    return sorted(found, key=lambda each: resources.index(each.resource))


async def targets(querier: Any, project_ids: Sequence[str]) -> list[Target]:
    """The servers of projects that are charged and on which nothing is under way."""
    rows = await querier.all(
        "select s.id, s.uuid::text, s.name, s.project_id, s.user_id, coalesce(c.name, '') as"
        " cluster, s.state, s.charge = 'on' as running, s.vcpus, s.memory_mib,"
        " coalesce((select sum(v.size_gib) from volume v where v.server_id = s.id and v.local"
        " and v.deleted_at is null), 0)::bigint as disk_gib,"
        " (select count(*) from volume v where v.server_id = s.id and not v.local"
        " and v.deleted_at is null)::bigint as extra_volumes"
        " from server s left join cluster c on c.id = s.cluster_id"
        " where s.project_id = any(%s::text[]) and s.deleted_at is null and s.charge <> 'none'"
        " and not exists (select 1 from operation o where o.server_id = s.id"
        " and o.finished_at is null) order by s.id",
        (list(project_ids),),
    )
    return [Target(**row._asdict()) for row in rows]


async def floating_targets(querier: Any, project_ids: Sequence[str]) -> list[FloatingTarget]:
    """The floating IPs of projects that were not given back, and with which nothing goes on."""
    rows = await querier.all(
        "select f.id, f.uuid::text, host(a.address) as name, f.project_id, f.user_id,"
        " coalesce(c.name, '') as cluster, coalesce(s.state, 'free') as state, s.id as server_id,"
        " p.id as port_id from floating_ip f join address a on a.id = f.address_id"
        " left join port p on p.id = a.port_id left join server s on s.id = p.server_id"
        " left join cluster c on c.id = s.cluster_id"
        " where f.project_id = any(%s::text[]) and f.released_at is null"
        " and p.pending_restart is null and not exists (select 1 from operation o"
        " where o.server_id = s.id and o.finished_at is null) order by f.id",
        (list(project_ids),),
    )
    return [FloatingTarget(**row._asdict()) for row in rows]
