"""What administrators see of the machines: each cluster is one hypervisor with one service."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cyclades_tx.api.call import Call, Handler, Reply
from cyclades_tx.api.compute import paging
from cyclades_tx.api.compute.documents import (
    MICROSECOND,
    NULL,
    NUMBER,
    TEXT,
    TEXT_OR_NULL,
    array,
    microsecond,
    record,
)
from cyclades_tx.api.compute.filters import boolean
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.documents import Document, Member, one
from cyclades_tx.errors import BadRequest, NotFound

UUIDS_FIRST = 53
#: From here on a hypervisor tells no numbers of what is used.
_PLAIN_FIRST = 88
_NUMBERS_LAST = _PLAIN_FIRST - 1
_PAGES_FIRST = 33
_SERVERS_ALWAYS_FIRST = 75

_UP = "not cluster.offline and coalesce(cluster.reachable, false)"
_STATE = f"case when {_UP} then 'up' else 'down' end"
_STATUS = "case when cluster.drained or cluster.offline then 'disabled' else 'enabled' end"
_REASON = "case when cluster.offline then 'offline' when cluster.drained then 'drained' end"
#: 3.1.2 is 3001002.
_VERSION = (
    "coalesce((select sum(part::bigint * (1000 ^ (3 - place))::bigint)::bigint from"
    " regexp_split_to_table(substring(cluster.version from '^\\d{1,4}(?:\\.\\d{1,3}){0,2}'),"
    " '\\.') with ordinality as each (part, place) where part <> ''), 0)"
)
_LIVE = "from server where server.cluster_id = cluster.id and server.deleted_at is null"
_INSTANCES = (
    "(select coalesce(json_agg(json_build_object('uuid', server.uuid, 'name', given.prefix ||"
    f" server.id) order by server.id), '[]') {_LIVE})"
)
_CPU_INFO = "json_build_object('topology', json_build_object('cores', cluster.cpus))"

_NAMES = (
    Member("id", "cluster.id", NUMBER, last=UUIDS_FIRST - 1),
    Member("id", "cluster.uuid", TEXT, first=UUIDS_FIRST),
    Member("hypervisor_hostname", "cluster.name", TEXT),
    Member("state", _STATE, {"enum": ["up", "down"]}),
    Member("status", _STATUS, {"enum": ["enabled", "disabled"]}),
)


def _service(identity: str, schema: dict[str, Any], first: int, last: int | None) -> Member:
    return Member(
        "service",
        f"json_build_object('host', cluster.name, 'id', {identity}, 'disabled_reason', {_REASON})",
        record(host=TEXT, id=schema, disabled_reason=TEXT_OR_NULL),
        first=first,
        last=last,
    )


def _number(name: str, sql: str) -> Member:
    return Member(name, sql, NUMBER, last=_NUMBERS_LAST)


_FACTS = (
    *_NAMES,
    Member("hypervisor_type", "cluster.hypervisor", TEXT),
    Member("hypervisor_version", _VERSION, NUMBER),
    Member("host_ip", "cluster.rapi_host", TEXT),
    _service("cluster.id", NUMBER, 0, UUIDS_FIRST - 1),
    _service("cluster.uuid", TEXT, UUIDS_FIRST, None),
    _number("vcpus", "cluster.cpus"),
    _number("vcpus_used", f"(select coalesce(sum(server.vcpus), 0) {_LIVE})"),
    _number("memory_mb", "cluster.memory_total_mib"),
    _number("memory_mb_used", "cluster.memory_total_mib - cluster.memory_free_mib"),
    _number("free_ram_mb", "cluster.memory_free_mib"),
    _number("local_gb", "cluster.disk_total_mib / 1024"),
    _number("local_gb_used", "(cluster.disk_total_mib - cluster.disk_free_mib) / 1024"),
    _number("free_disk_gb", "cluster.disk_free_mib / 1024"),
    _number("disk_available_least", "cluster.disk_free_mib / 1024"),
    _number("running_vms", f"(select count(*) {_LIVE})"),
    _number(
        "current_workload",
        "(select count(*) from operation where operation.cluster_id = cluster.id"
        " and operation.finished_at is null and operation.server_id is not null)",
    ),
    Member("cpu_info", f"({_CPU_INFO})::text", TEXT, last=27),
    Member(
        "cpu_info",
        _CPU_INFO,
        record(topology=record(cores=NUMBER)),
        first=28,
        last=_NUMBERS_LAST,
    ),
    # Ganeti does not say since when its nodes run.
    Member("uptime", "null::text", NULL, first=_PLAIN_FIRST),
)
_SERVERS_SCHEMA = array(record(uuid=TEXT, name=TEXT))
_SERVERS = (
    Member(
        "servers",
        _INSTANCES,
        _SERVERS_SCHEMA,
        last=_SERVERS_ALWAYS_FIRST - 1,
        when=f"exists (select 1 {_LIVE})",
    ),
    Member("servers", _INSTANCES, _SERVERS_SCHEMA, first=_SERVERS_ALWAYS_FIRST),
)

HYPERVISOR_ITEM = Document("HypervisorItem", _NAMES)
HYPERVISOR = Document("Hypervisor", _FACTS)
HYPERVISOR_ITEM_SERVERS = Document("HypervisorItemServers", (*_NAMES, *_SERVERS))
HYPERVISOR_SERVERS = Document("HypervisorServers", (*_FACTS, *_SERVERS))
STATISTICS = Document(
    "HypervisorStatistics",
    (
        Member("count", "count(*)", NUMBER),
        *(
            Member(member.name, f"coalesce(sum({member.sql}), 0)::bigint", NUMBER)
            for member in _FACTS
            if member.schema is NUMBER and member.last == _NUMBERS_LAST
        ),
    ),
)

SERVICE = Document(
    "Service",
    (
        Member("id", "cluster.id", NUMBER, last=UUIDS_FIRST - 1),
        Member("id", "cluster.uuid", TEXT, first=UUIDS_FIRST),
        Member("binary", "'nova-compute'::text", {"enum": ["nova-compute"]}),
        Member("host", "cluster.name", TEXT),
        Member("zone", "cluster.name", TEXT),
        Member("status", _STATUS, {"enum": ["enabled", "disabled"]}),
        Member("state", _STATE, {"enum": ["up", "down"]}),
        Member("updated_at", microsecond("cluster.statistics_at"), MICROSECOND),
        Member("disabled_reason", _REASON, TEXT_OR_NULL),
        Member("forced_down", "cluster.offline", {"type": "boolean"}, first=11),
    ),
)

_GIVEN = "(select %s::text as prefix) as given"


@lru_cache(maxsize=512)
def _list(minor: int, document: Document, conditions: str, marker: bool) -> str:
    after = " and cluster.id > %s::bigint" if marker else ""
    name = "cluster.uuid" if minor >= UUIDS_FIRST else "cluster.id"
    return (
        "with given as (select %s::text as prefix, %s::bigint as most, %s::text as link),"
        f" page as (select cluster.id, {name}::text as marker,"
        " row_number() over (order by cluster.id) as place from cluster"
        f" where {conditions}{after} order by cluster.id limit %s::bigint),"
        f" items as (select page.place, {document.text(minor, True)} as item from given"
        " cross join page join cluster on cluster.id = page.id where page.place <= given.most) "
        + paging.list_text("hypervisors")
    )


def mount(routes: Routes, database: Any, prefix: str) -> None:
    """Add the endpoints.

    :param prefix: what the names of the instances at Ganeti begin with.
    """

    async def find(call: Call, ref: str) -> int:
        """The id of the cluster that a reference names, as the microversion writes it."""
        if call.minor >= UUIDS_FIRST:
            if UUID.fullmatch(ref) is None:
                raise BadRequest(f"Invalid uuid {ref[:80]}")
            sql = "select id from cluster where uuid = %s::uuid"
        else:
            sql = "select id from cluster where id::text = %s::text"
        found = await database.value(sql, (ref,))
        if found is None:
            raise NotFound(f"No hypervisor matching '{ref}' could be found.", "hypervisor")
        return int(found)

    async def answer(call: Call, detail: bool) -> bytes:
        conditions, arguments = ["true"], []
        servers = False
        if call.minor >= UUIDS_FIRST:
            pattern = call.query("hypervisor_hostname_pattern")
            if pattern is not None:
                conditions.append("strpos(cluster.name, %s::text) > 0")
                arguments.append(pattern)
            servers = boolean("with_servers", call.query("with_servers") or "false")
        most, marker = paging.MOST, None
        if call.minor >= _PAGES_FIRST:
            most, marker = paging.limit(call), call.query("marker")
        if marker is not None:
            try:
                after = await find(call, marker)
            except (NotFound, BadRequest):
                raise BadRequest(f"Marker {marker} could not be found") from None
            arguments.append(str(after))
        document = HYPERVISOR if detail else HYPERVISOR_ITEM
        if servers:
            document = HYPERVISOR_SERVERS if detail else HYPERVISOR_ITEM_SERVERS
        sql = _list(call.minor, document, " and ".join(conditions), marker is not None)
        given = (prefix, most, paging.next_url(call))
        body: bytes = await database.document(sql, (*given, *arguments, most + 1))
        return body

    async def list_items(call: Call) -> bytes:
        return await answer(call, detail=False)

    async def list_details(call: Call) -> bytes:
        return await answer(call, detail=True)

    async def show(call: Call, hypervisor_id: str) -> bytes:
        cluster_id = await find(call, hypervisor_id)
        document = HYPERVISOR
        if call.minor >= UUIDS_FIRST and boolean(
            "with_servers", call.query("with_servers") or "false"
        ):
            document = HYPERVISOR_SERVERS
        body: bytes = await database.document(
            f"select {one('hypervisor', document.text(call.minor, True))} from {_GIVEN}"
            " cross join cluster where cluster.id = %s::bigint",
            (prefix, cluster_id),
        )
        return body

    async def statistics(call: Call) -> bytes:
        body: bytes = await database.document(
            f"select {one('hypervisor_statistics', STATISTICS.text(call.minor))} from cluster",
            (),
        )
        return body

    async def uptime(call: Call, hypervisor_id: str) -> Reply:
        cluster_id = await find(call, hypervisor_id)
        raise BadRequest(f"Virt driver does not implement uptime function (cluster {cluster_id}).")

    async def by_name(call: Call, hypervisor_id: str, document: Document) -> bytes:
        text = document.text(call.minor, True)
        body: bytes = await database.document(
            "select case when count(*) = 0 then '' else"
            " '{\"hypervisors\": [' || string_agg(found.item, ', ' order by found.id) || ']}' end"
            f" from (select cluster.id, {text} as item from {_GIVEN} cross join cluster"
            " where strpos(cluster.name, %s::text) > 0) as found",
            (prefix, hypervisor_id),
        )
        if not body:
            raise NotFound(
                f"No hypervisor matching '{hypervisor_id}' could be found.", "hypervisor"
            )
        return body

    async def search(call: Call, hypervisor_id: str) -> bytes:
        return await by_name(call, hypervisor_id, HYPERVISOR_ITEM)

    async def servers_of(call: Call, hypervisor_id: str) -> bytes:
        return await by_name(call, hypervisor_id, HYPERVISOR_ITEM_SERVERS)

    async def list_services(call: Call) -> bytes:
        conditions, arguments = ["true"], []
        for name, sql in (("host", "cluster.name"), ("binary", "'nova-compute'")):
            wanted = call.query(name)
            if wanted is not None:
                conditions.append(f"{sql} = %s::text")
                arguments.append(wanted)
        body: bytes = await database.document(
            "select '{\"services\": [' || coalesce(string_agg(found.item, ', ' order by found.id),"
            f" '') || ']}}' from (select cluster.id, {SERVICE.text(call.minor, True)} as item"
            f" from cluster where {' and '.join(conditions)}) as found",
            tuple(arguments),
        )
        return body

    routes.add("GET", "/os-hypervisors", list_items, admin=True)
    routes.add("GET", "/os-hypervisors/detail", list_details, admin=True)
    routes.add("GET", "/os-hypervisors/statistics", _until(87, statistics), admin=True)
    routes.add("GET", "/os-hypervisors/<hypervisor_id>", show, admin=True)
    routes.add("GET", "/os-hypervisors/<hypervisor_id>/uptime", _until(87, uptime), admin=True)
    routes.add("GET", "/os-hypervisors/<hypervisor_id>/search", _until(52, search), admin=True)
    routes.add("GET", "/os-hypervisors/<hypervisor_id>/servers", _until(52, servers_of), admin=True)
    routes.add("GET", "/os-services", list_services, admin=True)


def _until(last: int, handler: Handler) -> Handler:
    """The endpoint as it was up to a microversion; above it there is none."""

    async def handle(call: Call, **arguments: str) -> Reply | bytes:
        if call.minor > last:
            raise NotFound("The resource could not be found.")
        return await handler(call, **arguments)

    return handle
