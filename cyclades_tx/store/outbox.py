"""The outbox: what users may be told, written in the transaction that makes it true.

An event gets its ``position`` after the commit, from the publisher (``loops/outbox.py``);
readers order and resume by it. Bodies are whole enough to be used alone, and hold no secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from cyclades_tx.store.server_status import OPEN_OPERATIONS, STATUS, TASK

#: Wakes the publisher: there are events without a position.
CHANNEL = "cyclades_outbox"
#: Tells readers the position that was given last.
PUBLISHED = "cyclades_events"

#: The end of a statement that made events in ``made``; without any it wakes nobody.
NOTIFY = f"select pg_notify('{CHANNEL}', '') from made limit 1"

# Any number will do as long as nothing else in this database locks the same one.
_LOCK = 0x6F7574626F78  # "outbox" in ASCII

_MOST_REASON = 2000


def _time(column: str) -> str:
    """The SQL of a time in a body: ISO 8601 in UTC with milliseconds."""
    return f"to_char({column} at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"


#: A server in an event's body; over the rows of ``seen``.
_SERVER = (
    "jsonb_build_object('id', seen.uuid, 'name', seen.name, 'status', seen.status,"
    " 'previous_status', seen.previous, 'task_state', seen.task, 'progress', seen.progress,"
    " 'fault', seen.fault)"
)

_SEEN = (
    "select server.id, server.uuid, server.name, server.project_id,"
    f" server.told_status as previous, {STATUS} as status, {TASK} as task,"
    " coalesce(change.progress, 0) as progress,"
    " case when server.state = 'error' then"
    f" left(server.fault_message, {_MOST_REASON}) end as fault"
    " from {given} join server on server.id = given.id" + OPEN_OPERATIONS
)

_SERVER_KIND = (
    "case when {row}.status = 'DELETED' then 'server.deleted' when {row}.previous is null"
    " and {row}.status = 'BUILD' then 'server.created' else 'server.changed' end"
)

_TELL_SERVERS = (
    "with seen as materialized ("
    + _SEEN.format(given="unnest(%s::bigint[]) as given (id)")
    + "), told as (update server set told_status = seen.status from seen where server.id = seen.id"
    " and (server.told_status is distinct from seen.status or %s) returning seen.*),"
    " made as (insert into event (kind, subject, project_id, body) select "
    + _SERVER_KIND.format(row="seen")
    + f", seen.uuid::text, seen.project_id, jsonb_build_object('server', {_SERVER})"
    f" from told seen order by seen.id returning 1) {NOTIFY}"
)

#: An operation in an event's body; over the rows of ``wish``.
_OPERATION = (
    "jsonb_build_object('id', wish.uuid, 'kind', wish.kind, 'state', wish.state,"
    f" 'reason', left(wish.reason, {_MOST_REASON}), 'progress', wish.progress,"
    f" 'request_id', wish.request_id, 'started_at', {_time('wish.created_at')},"
    f" 'deadline_at', {_time('wish.deadline_at')}, 'finished_at', {_time('wish.finished_at')})"
)

_WISH = (
    "select operation.*, network.uuid as network_uuid, network.name as network_name,"
    " coalesce(operation.project_id, network.project_id) as owner_id"
    " from operation left join network on network.id = operation.network_id"
    " and operation.server_id is null"
)

_OPERATION_BODY = (
    f"jsonb_build_object('operation', {_OPERATION})"
    f" || case when seen.id is null then '{{}}' else jsonb_build_object('server', {_SERVER}) end"
    " || case when wish.network_uuid is null then '{}' else jsonb_build_object('network',"
    " jsonb_build_object('id', wish.network_uuid, 'name', wish.network_name)) end"
)

#: The event of an operation first, then that of its server, if its status has changed.
_TELL_OPERATION = (
    f"with wish as materialized ({_WISH} where operation.id = %s),"
    " given as (select server_id as id from wish where server_id is not null),"
    " seen as materialized ("
    + _SEEN.format(given="given")
    + "), told as (update server set told_status = seen.status from seen where server.id = seen.id"
    " and server.told_status is distinct from seen.status returning seen.*),"
    " made as (insert into event (kind, subject, project_id, body)"
    " select kind, subject, project_id, body from ("
    " select 1 as place, %s::text as kind, wish.uuid::text as subject,"
    f" wish.owner_id as project_id, {_OPERATION_BODY} as body"
    " from wish left join seen on seen.id = wish.server_id"
    f" union all select 2, {_SERVER_KIND.format(row='seen')}, seen.uuid::text, seen.project_id,"
    f" jsonb_build_object('server', {_SERVER}) from told seen"
    f") as both_kinds order by place returning 1) {NOTIFY}"
)

#: Reasons that have stood for a while and were not told. Whoever works on an operation now is
#: not waited for.
_TELL_REASONS = (
    "with chosen as materialized (select id from operation where finished_at is null"
    " and reason <> told_reason and reason <> '' order by id limit %s for update skip locked),"
    " told as (update operation set told_reason = operation.reason from chosen"
    " where operation.id = chosen.id returning operation.id),"
    f" wish as materialized ({_WISH} join told on told.id = operation.id),"
    " given as (select server_id as id from wish where server_id is not null),"
    " seen as (" + _SEEN.format(given="given") + "),"
    " made as (insert into event (kind, subject, project_id, body)"
    f" select 'operation.waiting', wish.uuid::text, wish.owner_id, {_OPERATION_BODY}"
    " from wish left join seen on seen.id = wish.server_id order by wish.id returning 1)"
    " select count(*) from made"
)

_PUBLISH = """
with chosen as materialized (
  select id, row_number() over (order by id) as place
  from (select id from event where position is null order by id limit %s) as first_ones),
given as (
  update event set position = outbox.last_position + chosen.place from chosen, outbox
  where event.id = chosen.id and event.position is null returning event.position),
moved as (
  update outbox set last_position = given.most
  from (select max(position) as most from given) as given where given.most is not null
  returning last_position)
select (select count(*) from given) as count, (select last_position from moved) as last"""

_PRUNE = """
with oldest as materialized (
  select id, position, at from event where position is not null order by position limit %s),
gone as (
  delete from event using oldest where event.id = oldest.id
  and oldest.at < now() - make_interval(secs => %s) returning event.position),
moved as (
  update outbox set pruned_position = greatest(pruned_position, gone.most)
  from (select max(position) as most from gone) as gone where gone.most is not null)
select count(*) from gone"""


class Place(NamedTuple):
    """How far the outbox got.

    :ivar last: the position that was given last; 0: none yet.
    :ivar pruned: of the events up to this position, some may be thrown away.
    """

    last: int
    pruned: int


class Lag(NamedTuple):
    """What waits for a position: how many events, and the age of the oldest in seconds."""

    waiting: int
    age_seconds: float


async def put(
    tx: Any, kind: str, subject: str, project_id: str | None, body: dict[str, Any]
) -> None:
    """Add an event.

    :param kind: ``network.created`` …
    :param subject: the UUID of what it tells of.
    :param project_id: who may read it; None: administrators only.
    """
    await tx.run(
        "with made as (insert into event (kind, subject, project_id, body)"
        f" values (%s, %s, %s, %s) returning 1) {NOTIFY}",
        (kind, subject, project_id, orjson.dumps(body).decode()),
    )


async def tell_servers(tx: Any, server_ids: Sequence[int], always: bool = False) -> None:
    """Tell of those servers whose status is no longer what was told last.

    To be called at the end of a transaction that may have changed it, with their rows locked.

    :param always: tell of each, because something else has changed that people see.
    """
    if server_ids:
        await tx.run(_TELL_SERVERS, (list(server_ids), always))


async def tell_server(tx: Any, kind: str, server_id: int) -> None:
    """Tell of a server that its project has from now on, or has no longer.

    :param kind: ``server.created`` or, before it goes to another project, ``server.deleted``.
    """
    await tx.run(
        "with seen as materialized ("
        + _SEEN.format(given="unnest(%s::bigint[]) as given (id)")
        + "), made as (insert into event (kind, subject, project_id, body)"
        f" select %s, seen.uuid::text, seen.project_id, jsonb_build_object('server', {_SERVER})"
        f" from seen returning 1) {NOTIFY}",
        ([server_id], kind),
    )


async def tell_operation(tx: Any, kind: str, operation_id: int) -> None:
    """Tell of an operation, and of its server if its status has changed with it.

    :param kind: ``operation.started``, ``operation.running`` or ``operation.ended``.
    """
    await tx.run(_TELL_OPERATION, (operation_id, kind))


async def tell_ports(tx: Any, kind: str, port_ids: Sequence[int]) -> None:
    """Tell of ports as they are now.

    :param kind: ``port.created``, ``port.changed`` or, before they are deleted, ``port.deleted``.
    """
    if port_ids:
        await tx.run(
            "with made as (insert into event (kind, subject, project_id, body)"
            " select %s, port.uuid::text, port.project_id, jsonb_build_object('port',"
            " jsonb_build_object('id', port.uuid, 'name', port.name, 'network_id', network.uuid,"
            " 'server_id', server.uuid, 'mac_address', port.mac,"
            " 'status', case when port.state = 'active' then 'ACTIVE' when port.state = 'build'"
            " then 'BUILD' when port.state = 'error' then 'ERROR' else 'DOWN' end, 'addresses',"
            " coalesce((select jsonb_agg(host(a.address) order by a.id) from address a"
            " where a.port_id = port.id), '[]')))"
            " from port join network on network.id = port.network_id"
            " left join server on server.id = port.server_id"
            f" where port.id = any(%s::bigint[]) order by port.id returning 1) {NOTIFY}",
            (kind, list(port_ids)),
        )


async def tell_network(tx: Any, kind: str, network_id: int) -> None:
    """Tell of a network as it is now.

    :param kind: ``network.created``, ``network.changed`` or ``network.deleted``.
    """
    await tx.run(
        "with made as (insert into event (kind, subject, project_id, body)"
        " select %s, network.uuid::text, network.project_id, jsonb_build_object('network',"
        " jsonb_build_object('id', network.uuid, 'name', network.name, 'shared', network.shared,"
        " 'status', upper(network.state)))"
        f" from network where network.id = %s returning 1) {NOTIFY}",
        (kind, network_id),
    )


async def tell_subnet(tx: Any, kind: str, subnet_id: int) -> None:
    """Tell of a subnet as it is now.

    :param kind: ``subnet.created``, ``subnet.changed`` or, before it is deleted,
        ``subnet.deleted``.
    """
    await tx.run(
        "with made as (insert into event (kind, subject, project_id, body)"
        " select %s, subnet.uuid::text, network.project_id, jsonb_build_object('subnet',"
        " jsonb_build_object('id', subnet.uuid, 'name', subnet.name, 'network_id', network.uuid,"
        " 'cidr', subnet.cidr, 'gateway_ip', host(subnet.gateway)))"
        " from subnet join network on network.id = subnet.network_id"
        f" where subnet.id = %s returning 1) {NOTIFY}",
        (kind, subnet_id),
    )


async def publish(tx: Any, most: int, reasons: bool) -> tuple[int, int | None]:
    """Give the next events their positions, unless another process is doing that now.

    :param most: the largest number of events.
    :param reasons: whether to tell, first, why operations wait.
    :return: how many there were, and the last position; None: nothing was done.
    """
    if not await tx.value("select pg_try_advisory_xact_lock(%s)", (_LOCK,)):
        return 0, None
    if reasons:
        await tx.run(_TELL_REASONS, (most,))
    row = await tx.first(_PUBLISH, (most,))
    if row.last is not None:
        await tx.notify(PUBLISHED, str(row.last))
    return row.count, row.last


async def prune(database: Any, keep_seconds: float, most: int) -> int:
    """Throw old events away; those without a position are kept.

    :return: how many; more may wait when it is ``most``.
    """
    count: int = await database.value(_PRUNE, (most, keep_seconds))
    return count


async def place(querier: Any) -> Place:
    """How far the outbox got."""
    row = await querier.first("select last_position, pruned_position from outbox")
    return Place(row.last_position, row.pruned_position)


async def lag(querier: Any) -> Lag:
    """What waits for a position now, counted up to 10,000."""
    row = await querier.first(
        "select count(*) as count,"
        " coalesce(extract(epoch from now() - min(at)), 0)::float8 as age_seconds"
        " from (select at from event where position is null order by id limit 10000) as waiting"
    )
    return Lag(row.count, row.age_seconds)
