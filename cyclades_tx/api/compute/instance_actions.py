"""What was done with a server: its operations, also after its deletion."""

from __future__ import annotations

import re
from typing import Any

from cyclades_tx.api.call import Call
from cyclades_tx.api.compute import paging
from cyclades_tx.api.compute.documents import (
    MICROSECOND,
    TEXT,
    TEXT_OR_NULL,
    array,
    microsecond,
)
from cyclades_tx.api.compute.filters import moment
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.compute.servers import read
from cyclades_tx.api.documents import Document, Member, one
from cyclades_tx.errors import BadRequest, NotFound

_REQUEST_ID = re.compile("req-[0-9a-f-]{36}")
#: Below this microversion a deleted server has no actions.
_DELETED_FIRST = 21
_PAGES_FIRST = 58

_ACTION = """case operation.kind
 when 'attach_port' then 'attach_interface' when 'detach_port' then 'detach_interface'
 when 'snapshot' then 'createImage' when 'resize' then
   case when (operation.arguments->>'revert')::boolean then 'revertResize' else 'resize' end
 when 'extend_volume' then 'extend_volume'
 else operation.kind end"""

_BASIC = (
    Member("action", _ACTION, TEXT),
    Member("instance_uuid", "server.uuid", TEXT),
    Member("request_id", "operation.request_id", TEXT),
    Member("user_id", "operation.user_id", TEXT_OR_NULL),
    Member("project_id", "operation.project_id", TEXT_OR_NULL),
    Member("start_time", microsecond("operation.created_at"), MICROSECOND),
    # Why it waits, while it waits, or what is still to come; there is no other place for that.
    Member(
        "message",
        "case when operation.state = 'failed' then 'Error'"
        " when operation.finished_at is null or operation.state = 'succeeded'"
        " then nullif(operation.reason, '') end",
        TEXT_OR_NULL,
    ),
    Member(
        "updated_at",
        microsecond(
            "coalesce(operation.finished_at, operation.submitted_at, operation.created_at)"
        ),
        MICROSECOND,
        first=58,
    ),
)

#: An item of the list.
ACTION_ITEM = Document("InstanceActionItem", _BASIC)

#: What went wrong inside, as the image's own programs told it.
_DIARY = (
    "case when operation_step.step = 'create' then (select string_agg(found.line, E'\\n'"
    " order by found.id) from (select d.id, concat_ws(': ', d.message, nullif(d.details, ''))"
    " as line from server_diagnostic d where d.server_id = operation.server_id"
    " and d.level in ('WARNING', 'ERROR') order by d.id desc limit 10) as found) end"
)
#: What a creation that is under way has said last.
_NEWS = (
    "case when operation_step.step = 'create' and operation.finished_at is null then"
    " (select d.message from server_diagnostic d where d.server_id = operation.server_id"
    " order by d.id desc limit 1) end"
)

_EVENT = (
    Member("event", "operation.kind || '_' || operation_step.step", TEXT),
    Member("start_time", microsecond("operation_step.started_at"), MICROSECOND),
    Member("finish_time", microsecond("operation_step.finished_at"), MICROSECOND),
    Member(
        "result",
        "case when operation_step.result = 'success' then 'Success'"
        " when operation_step.result is not null then 'Error' end",
        TEXT_OR_NULL,
    ),
    # What the cluster said word by word, with what is free on which node.
    Member(
        "traceback",
        "case when operation_step.result = 'error' then operation.arguments->>'inside' end",
        TEXT_OR_NULL,
        admin=True,
    ),
    Member("hostId", "''::text", TEXT, first=62),
    Member("host", "coalesce(server.node, '')", TEXT, first=62, admin=True),
    Member(
        "details",
        "case when operation_step.result in ('error', 'canceled', 'unknown')"
        f" then nullif(concat_ws(E'\\n', nullif(operation_step.message, ''), {_DIARY}), '')"
        f" when operation_step.result is null then {_NEWS} end",
        TEXT_OR_NULL,
        first=84,
    ),
)

EVENT = Document("InstanceActionEvent", _EVENT)


def _events(minor: int, admin: bool) -> Member:
    sql = (
        f"coalesce((select json_agg(({EVENT.text(minor, admin)})::json order by"
        " operation_step.started_at desc, operation_step.attempt desc) from operation_step"
        " where operation_step.operation_id = operation.id), '[]')"
    )
    return Member("events", sql, array(EVENT.schema(minor, admin)))


def action(minor: int, admin: bool) -> Document:
    """One action; its events are shown to everyone from 2.51, to administrators before."""
    if minor < 51 and not admin:
        return ACTION_ITEM
    return Document("InstanceAction", (*_BASIC, _events(minor, admin)))


_HERE = "from server join operation on operation.server_id = server.id where"


def mount(routes: Routes, database: Any) -> None:
    """Add the endpoints."""
    shows: dict[tuple[int, bool], str] = {}

    async def check(call: Call, server_id: str) -> None:
        """NotFound for a server that the caller does not see."""
        live = call.minor < _DELETED_FIRST
        await read(database, call, server_id, "select 'seen' from server where", live=live)

    async def show(call: Call, server_id: str, request_id: str) -> bytes:
        admin = call.who.admin
        await check(call, server_id)
        sql = shows.get((call.minor, admin))
        if sql is None:
            text = action(call.minor, admin).text(call.minor, admin)
            sql = shows[call.minor, admin] = (
                f"select {one('instanceAction', text)} {_HERE}"
                " operation.id = (select max(wanted.id) from operation wanted join server owner"
                " on owner.id = wanted.server_id where wanted.request_id = %s::text"
                " and owner.uuid = %s::uuid) and"
            )
        body = None
        if _REQUEST_ID.fullmatch(request_id) is not None:
            try:
                body = await read(database, call, server_id, sql, request_id, server_id, live=False)
            except NotFound:
                body = None
        if body is None:
            raise NotFound(f"Action for request_id {request_id} on instance {server_id} not found")
        return body

    async def list_items(call: Call, server_id: str) -> bytes:
        await check(call, server_id)
        conditions = ["operation.server_id = server.id"]
        arguments: list[Any] = []
        most = paging.MOST
        marker = None
        if call.minor >= _PAGES_FIRST:
            most = paging.limit(call)
            marker = call.query("marker")
            since = call.query("changes-since")
            before = call.query("changes-before") if call.minor >= 66 else None
            touched = (
                "coalesce(operation.finished_at, operation.submitted_at, operation.created_at)"
            )
            since_at = None if since is None else moment("changes-since", since)
            before_at = None if before is None else moment("changes-before", before)
            if since_at is not None:
                conditions.append(f"{touched} >= %s::timestamptz")
                arguments.append(since_at)
            if before_at is not None:
                if since_at is not None and since_at > before_at:
                    raise BadRequest("The value of changes-since must not be after changes-before.")
                conditions.append(f"{touched} <= %s::timestamptz")
                arguments.append(before_at)
        if marker is not None:
            arguments.append(await find(server_id, marker))
            conditions.append("operation.id < %s::bigint")
        given = (most, paging.next_url(call))
        sql = (
            "with given as (select %s::bigint as most, %s::text as link), page as ("
            "select operation.id, operation.request_id as marker,"
            " row_number() over (order by operation.id desc) as place"
            f" from server join operation on {' and '.join(conditions)}"
            " where server.uuid = %s::uuid order by operation.id desc limit %s::bigint),"
            f" items as (select page.place, {ACTION_ITEM.text(call.minor)} as item from given"
            " cross join page join operation on operation.id = page.id"
            " join server on server.id = operation.server_id where page.place <= given.most) "
            + paging.list_text("instanceActions", "links")
        )
        body: bytes = await database.document(sql, (*given, *arguments, server_id, most + 1))
        return body

    async def find(server_id: str, marker: str) -> int:
        """The operation after which the page begins."""
        found = await database.value(
            "select max(operation.id) from operation join server on server.id = operation.server_id"
            " where server.uuid = %s::uuid and operation.request_id = %s",
            (server_id, marker),
        )
        if found is None:
            raise BadRequest(f"Marker {marker} could not be found")
        return int(found)

    routes.add("GET", "/servers/<server_id>/os-instance-actions", list_items)
    routes.add("GET", "/servers/<server_id>/os-instance-actions/<request_id>", show)
