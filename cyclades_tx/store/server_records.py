"""Servers as the drift loop compares them: whole, with ports and volumes, as one JSON text."""

from __future__ import annotations

from typing import Any

import orjson

from cyclades_tx.model.differences import ServerRecord, record_of
from cyclades_tx.model.drift import STALE, Claim

#: So many servers are read in one go; it takes a few milliseconds.
SLICE = 250

#: Above every id.
END = 2**62

_RECORDS = """
select coalesce(json_agg(json_build_object(
    'id', s.id, 'uuid', s.uuid, 'launched', s.launched_at is not null,
    'cluster_id', s.cluster_id, 'state', s.state, 'charge', s.charge,
    'vcpus', s.vcpus, 'memory_mib', s.memory_mib,
    'diskless', t.disk_template = 'diskless',
    'disks_gib', (select coalesce(sum(v.size_gib), 0) from volume v where v.server_id = s.id
        and v.local and v.deleted_at is null),
    'fresh', s.updated_at >= %s::timestamptz,
    'moving', exists (select from operation o where o.server_id = s.id and o.finished_at is null),
    'given_up', s.state = 'error' and s.charge <> 'none' and exists (
        select from operation o join operation_step st on st.operation_id = o.id
        where o.server_id = s.id and o.kind = 'create' and st.step = 'create'
        and st.result = 'unknown'),
    'ports', (select json_agg(json_build_object(
        'id', p.id, 'network_id', p.network_id, 'position', p.position, 'mac', p.mac::text,
        'firewall', p.firewall_profile, 'state', p.state, 'ganeti_uuid', p.ganeti_uuid,
        'pending_restart', p.pending_restart,
        'ips', (select json_agg(host(a.address) order by a.id) from address a
            where a.port_id = p.id and family(a.address) = 4)) order by p.position)
        from port p where p.server_id = s.id),
    'volumes', (select json_agg(json_build_object(
        'id', v.id, 'position', v.position, 'size_gib', v.size_gib, 'status', v.status,
        'ganeti_uuid', v.ganeti_uuid, 'pending_restart', v.pending_restart,
        'busy', exists (select from operation o where o.volume_id = v.id
            and o.finished_at is null)) order by v.position)
        from volume v where v.server_id = s.id and v.deleted_at is null)
) order by s.id), '[]')::text
from ({servers}) s
join flavor f on f.id = s.flavor_id join volume_type t on t.id = f.volume_type_id
"""
_OF_CLUSTER = _RECORDS.format(
    servers="select * from server where cluster_id = %s and deleted_at is null and id > %s"
    " and id <= %s order by id limit %s"
)
_OF_IDS = _RECORDS.format(
    servers="select * from server where id = any(%s::bigint[]) and deleted_at is null"
)


async def moment(querier: Any) -> Any:
    """Now, by the database's clock."""
    return await querier.value("select clock_timestamp()")


async def slice_of(
    database: Any, cluster_id: int, since: Any, after_id: int, last_id: int
) -> tuple[ServerRecord, ...]:
    """The next servers of a cluster that are not deleted, at most :data:`SLICE`, by id.

    :param since: when the look at the cluster began, by :func:`moment`.
    :param after_id: the last id of the slice before; 0 for the first.
    """
    text = await database.document(_OF_CLUSTER, (since, cluster_id, after_id, last_id, SLICE))
    return _read(text)


async def of_ids(querier: Any, since: Any, server_ids: list[int]) -> tuple[ServerRecord, ...]:
    """Servers by id, those that are not deleted."""
    return _read(await querier.value(_OF_IDS, (since, server_ids)))


async def claims(database: Any, since: Any, server_ids: list[int]) -> dict[int, Claim]:
    """What is known of servers whose instances were seen where no record is, by id."""
    rows = await database.all(
        "select s.id, s.cluster_id, s.deleted_at is not null as deleted,"
        " s.updated_at >= %s::timestamptz as fresh,"
        " exists (select from drift_finding d where d.server_id = s.id and d.kind = %s"
        " and d.remedied_at is null and d.cluster_id = s.cluster_id) as missed,"
        " s.uuid::text, s.launched_at is not null as launched"
        " from server s where s.id = any(%s::bigint[])",
        (since, STALE, server_ids),
    )
    return {row.id: Claim(*row) for row in rows}


def _read(text: bytes | str | None) -> tuple[ServerRecord, ...]:
    return tuple(record_of(row) for row in orjson.loads(text or b"[]"))
