"""Usage: how long servers of a project ran, and how large they were."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cyclades_tx.api.call import Call
from cyclades_tx.api.compute import paging
from cyclades_tx.api.compute.documents import (
    MICROSECOND,
    NUMBER,
    TEXT,
    array,
    microsecond,
    record,
)
from cyclades_tx.api.compute.filters import TRUE
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.errors import BadRequest, Forbidden

_PAGES_FIRST = 40
_DEFAULT_PERIOD = timedelta(weeks=4)
_FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f")

_FLOAT: dict[str, Any] = {"type": "number"}

SERVER_USAGE = record(
    instance_id=TEXT,
    name=TEXT,
    hours=_FLOAT,
    flavor=TEXT,
    tenant_id=TEXT,
    local_gb=NUMBER,
    memory_mb=NUMBER,
    vcpus=NUMBER,
    started_at=MICROSECOND,
    ended_at=MICROSECOND,
    uptime=NUMBER,
    state=TEXT,
)
_TOTALS = {
    "tenant_id": TEXT,
    "start": MICROSECOND,
    "stop": MICROSECOND,
    "total_hours": _FLOAT,
    "total_memory_mb_usage": _FLOAT,
    "total_vcpus_usage": _FLOAT,
    "total_local_gb_usage": _FLOAT,
}
TENANT_USAGE = record(**_TOTALS)
TENANT_USAGE_DETAIL = record(**_TOTALS, server_usages=array(SERVER_USAGE))

_ONE_SERVER = (
    "json_build_object('instance_id', run.uuid, 'name', run.name, 'hours', run.hours, 'flavor',"
    " run.flavor, 'tenant_id', run.project_id, 'local_gb', run.disk_gib, 'memory_mb',"
    " run.memory_mib, 'vcpus', run.vcpus, 'started_at',"
    f" {microsecond('run.launched_at')}, 'ended_at', {microsecond('run.terminated_at')},"
    " 'uptime', run.uptime, 'state', run.state)"
)


@lru_cache(maxsize=64)
def _text(everyone: bool, servers: bool, marker: bool) -> str:
    """The statement of usage in a period.

    :param everyone: of all projects, not of one.
    :param servers: whether each server is shown, not only what they come to.
    :param marker: whether the page begins after a server.
    """
    after = " and server.uuid > %s::uuid" if marker else ""
    each = (
        f" || ', \"server_usages\": ' || json_agg({_ONE_SERVER} order by run.uuid)::text"
        if servers
        else ""
    )
    key, one, rest = (
        ("tenant_usages", "'[' || coalesce(string_agg(total.item, ', ' order by total.project_id),"
         " '') || ']'", "tenant_usages_links")
        if everyone
        else ("tenant_usage", "coalesce(string_agg(total.item, ''), '{}')", "tenant_usage_links")
    )  # fmt: skip
    return (
        "with given as (select %s::timestamptz as start, %s::timestamptz as stop,"
        " %s::bigint as most, %s::text as link, now() as now), page as ("
        "select server.*, row_number() over (order by server.uuid) as place from given"
        " cross join server where server.launched_at is not null"
        " and server.launched_at < given.stop and (server.terminated_at is null"
        " or server.terminated_at > given.start)"
        f" and (%s::text is null or server.project_id::text = %s::text){after}"
        " order by server.uuid limit %s::bigint), run as ("
        "select page.uuid, page.name, page.project_id, page.vcpus, page.memory_mib,"
        " page.launched_at, page.terminated_at, flavor.name as flavor, flavor.disk_gib,"
        " case when page.state = 'deleted' then 'terminated' else page.state end as state,"
        " floor(extract(epoch from coalesce(page.terminated_at, given.now) - page.launched_at)"
        ")::bigint as uptime, greatest(extract(epoch from least(coalesce(page.terminated_at,"
        " given.now), given.stop, given.now) - greatest(page.launched_at, given.start))::float8"
        " / 3600, 0) as hours from given cross join page join flavor on flavor.id ="
        " page.flavor_id where page.place <= given.most), total as ("
        "select run.project_id, left(json_build_object('tenant_id', run.project_id, 'start',"
        f" {microsecond('min(given.start)')}, 'stop', {microsecond('min(given.stop)')},"
        " 'total_hours', sum(run.hours), 'total_memory_mb_usage', sum(run.hours *"
        " run.memory_mib), 'total_vcpus_usage', sum(run.hours * run.vcpus),"
        f" 'total_local_gb_usage', sum(run.hours * run.disk_gib))::text, -1){each} || '}}' as item"
        " from given cross join run group by run.project_id)"
        f' select \'{{"{key}": \' || {one} || coalesce((select \', "{rest}": [{{"rel":'
        ' "next", "href": \' || to_json(given.link || page.uuid)::text || \'}]\' from given, page'
        " where page.place = given.most and exists (select 1 from page as more"
        " where more.place > given.most)), '') || '}' from total"
    )


def mount(routes: Routes, database: Any) -> None:
    """Add the endpoints."""

    async def answer(call: Call, project_id: str | None, servers: bool) -> bytes:
        now = datetime.fromtimestamp(call.started, UTC)
        stop = _moment(call, "end") or now
        start = _moment(call, "start") or stop - _DEFAULT_PERIOD
        if start > stop:
            raise BadRequest("Invalid start time. The start time cannot occur after the end time.")
        # Without pages, all of it: as many as can be counted.
        most, link, marker = 2**31, "", None
        if call.minor >= _PAGES_FIRST:
            most, marker = paging.limit(call), call.query("marker")
            link = paging.next_url(call)
        if marker is not None and not await _exists(marker, project_id):
            raise BadRequest(f"Marker {marker} could not be found")
        before = () if marker is None else (marker,)
        sql = _text(project_id is None, servers, marker is not None)
        arguments = (start, stop, most, link, project_id, project_id, *before, most + 1)
        body: bytes = await database.document(sql, arguments)
        return body

    async def _exists(marker: str, project_id: str | None) -> bool:
        if UUID.fullmatch(marker) is None:
            return False
        sql = (
            "select 1 from server where uuid = %s::uuid"
            " and (%s::text is null or project_id::text = %s::text)"
        )
        return await database.value(sql, (marker, project_id, project_id)) is not None

    async def list_items(call: Call) -> bytes:
        # The reference takes "1" alone; openstackclient sends "True".
        detailed = (call.query("detailed") or "").lower() in TRUE
        return await answer(call, None, detailed)

    async def show(call: Call, project_id: str) -> bytes:
        if project_id != call.who.project_id and not call.who.admin:
            raise Forbidden("Policy does not allow this request to be performed.")
        return await answer(call, project_id, True)

    routes.add("GET", "/os-simple-tenant-usage", list_items, admin=True)
    routes.add("GET", "/os-simple-tenant-usage/<project_id>", show)


def _moment(call: Call, name: str) -> datetime | None:
    """A time of the query in one of the forms that Compute takes, or None."""
    text = call.query(name)
    if text is None:
        return None
    for form in _FORMS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise BadRequest(
        f"Invalid input for query parameters {name}. Value: {text[:80]}. A time is written as"
        " 2026-01-01T00:00:00."
    )
