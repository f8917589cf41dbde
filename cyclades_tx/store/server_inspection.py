"""What an operator sees of one server: its parts, its operations, and how to wait for one."""

from __future__ import annotations

from typing import Any

from cyclades_tx.store import operations

#: How long after its deadline an operation may still be on its way to its end.
_GRACE_SECONDS = 30


async def ports_of(querier: Any, server_id: int) -> list[Any]:
    """The interfaces of a server, with their addresses."""
    rows: list[Any] = await querier.all(
        "select p.id, p.uuid::text as uuid, p.position, p.mac::text as mac, n.name as network,"
        " n.id as network_id, p.state,"
        " coalesce((select string_agg(host(a.address), ',' order by a.id) from address a"
        " where a.port_id = p.id), '') as addresses"
        " from port p join network n on n.id = p.network_id where p.server_id = %s"
        " order by p.position",
        (server_id,),
    )
    return rows


async def volumes_of(querier: Any, server_id: int) -> list[Any]:
    """The disks of a server."""
    rows: list[Any] = await querier.all(
        "select v.id, v.uuid::text as uuid, v.position, v.size_gib, t.name as volume_type,"
        " t.disk_template, v.status, coalesce(v.source_kind || ':' || v.source_uuid, '') as source"
        " from volume v join volume_type t on t.id = v.volume_type_id"
        " where v.server_id = %s and v.deleted_at is null order by v.position",
        (server_id,),
    )
    return rows


async def operations_of(querier: Any, server_id: int, most: int) -> list[Any]:
    """The latest operations of a server, the newest first."""
    rows: list[Any] = await querier.all(
        "select id, kind, state, job_id, progress, failures, created_at, deadline_at, finished_at,"
        " concat_ws(' ', reason, arguments->>'inside') as reason from operation"
        " where server_id = %s order by id desc limit %s",
        (server_id, most),
    )
    return rows


async def diagnostics_of(querier: Any, server_id: int, most: int) -> list[Any]:
    """What the making of a server said of itself, the newest first."""
    rows: list[Any] = await querier.all(
        "select source_at, level, source, message, coalesce(details, '') as details"
        " from server_diagnostic where server_id = %s order by id desc limit %s",
        (server_id, most),
    )
    return rows


async def jobs_of(querier: Any, server_id: int, most: int) -> list[int]:
    """The Ganeti jobs of a server's latest steps, the newest first."""
    rows = await querier.all(
        "select s.job_id from operation_step s join operation o on o.id = s.operation_id"
        " where o.server_id = %s and s.job_id is not null order by s.started_at desc limit %s",
        (server_id, most),
    )
    return [row.job_id for row in rows]


async def progress(
    querier: Any, server_id: int | None, request_id: str, volume_id: int | None = None
) -> Any:
    """How the operation stands that a request began, or the newest one if it began none.

    :param volume_id: a volume that no server has, in place of a server.
    :return: kind, state, reason, whether it is over, whether it is later than it may be; None
        when the server never had one.
    """
    return await querier.first(
        "select kind, state, reason, finished_at is not null as over,"
        f" {operations.LAST_AT} + make_interval(secs => %s) < now() as late from operation"
        " where server_id = %s::bigint or (server_id is null and volume_id = %s::bigint)"
        " order by (request_id = %s) desc, id desc limit 1",
        (_GRACE_SECONDS, server_id, volume_id, request_id),
    )
