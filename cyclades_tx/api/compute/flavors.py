"""Flavors: what sizes of servers there are."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from cyclades_tx.api.call import Call
from cyclades_tx.api.compute import documents, paging
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.documents import one
from cyclades_tx.errors import BadRequest, NotFound

UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

#: Who sees a flavor: the project is the argument.
VISIBLE = (
    "flavor.deleted_at is null and (flavor.public or exists (select 1 from flavor_access"
    " where flavor_access.flavor_id = flavor.id and flavor_access.project_id = %s))"
)
#: Administrators see all; the argument is there all the same.
_ALL = "flavor.deleted_at is null and %s::text is not null"

_SORT_KEYS = {
    "flavorid": "flavor.uuid",
    "id": "flavor.id",
    "name": 'flavor.name collate "C"',
    "description": "coalesce(flavor.description, '') collate \"C\"",
    "memory_mb": "flavor.memory_mib",
    "vcpus": "flavor.vcpus",
    "root_gb": "flavor.disk_gib",
    "created_at": "flavor.created_at",
    "updated_at": "flavor.created_at",
    "is_public": "flavor.public",
    "disabled": "not flavor.allow_create",
    # The same for all of them.
    "ephemeral_gb": "flavor.deleted_at is null",
    "swap": "flavor.deleted_at is null",
    "rxtx_factor": "flavor.deleted_at is null",
    "vcpu_weight": "flavor.deleted_at is null",
}


def no_flavor(ref: str) -> NotFound:
    """The fault for a flavor that is not there or not the caller's to see."""
    return NotFound(f"Flavor {ref} could not be found.", "flavor")


@lru_cache(maxsize=512)
def _show(minor: int, admin: bool) -> str:
    text = one("flavor", documents.FLAVOR.text(minor, admin))
    visible = _ALL if admin else VISIBLE
    return (
        f"select {text} from (select %s::text as base) as given"
        f" cross join flavor where flavor.uuid = %s::uuid and {visible}"
    )


@lru_cache(maxsize=512)
def _list(minor: int, detail: bool, filters: str, key: str, way: str, marker: bool) -> str:
    document = documents.FLAVOR if detail else documents.FLAVOR_ITEM
    sql = _SORT_KEYS[key]
    after = ""
    if marker:
        sign = ">" if way == "asc" else "<"
        marked = sql.replace("flavor.", "marker.")
        after = f" and ({sql}, flavor.id) {sign} ({marked}, marker.id)"
    order = f"{sql} {way}, flavor.id {way}"
    source = "flavor join flavor marker on marker.uuid = %s::uuid" if marker else "flavor"
    return (
        "with given as (select %s::text as base, %s::bigint as most, %s::text as link), page as ("
        f"select flavor.id, flavor.uuid as marker, row_number() over (order by {order}) as place"
        f" from {source} where {filters}{after} order by {order} limit %s::bigint),"
        f" items as (select page.place, {document.text(minor)} as item from given cross join page"
        " join flavor on flavor.id = page.id where page.place <= given.most) "
        + paging.list_text("flavors")
    )


def mount(routes: Routes, database: Any) -> None:
    """Add the endpoints of flavors."""

    async def find(call: Call, ref: str, sql: str, *more: Any) -> bytes:
        if UUID.fullmatch(ref) is None:
            raise no_flavor(ref)
        arguments = (*more, ref, call.who.project_id)
        body: bytes | None = await database.document(sql, arguments)
        if body is None:
            raise no_flavor(ref)
        return body

    async def show(call: Call, flavor_id: str) -> bytes:
        base = call.base_url + "/compute"
        return await find(call, flavor_id, _show(call.minor, call.who.admin), base)

    async def show_specs(call: Call, flavor_id: str) -> bytes:
        visible = _ALL if call.who.admin else VISIBLE
        sql = (
            "select json_build_object('extra_specs', coalesce((select json_object_agg(key, value"
            " order by key) from flavor_spec where flavor_spec.flavor_id = flavor.id), '{}'))::text"
            f" from flavor where flavor.uuid = %s::uuid and {visible}"
        )
        return await find(call, flavor_id, sql)

    async def show_spec(call: Call, flavor_id: str, key: str) -> bytes:
        visible = _ALL if call.who.admin else VISIBLE
        sql = (
            "select coalesce((select json_build_object(key, value)::text from flavor_spec"
            " where flavor_spec.flavor_id = flavor.id and key = %s::text), '')"
            f" from flavor where flavor.uuid = %s::uuid and {visible}"
        )
        body = await find(call, flavor_id, sql, key)
        if not body:
            raise NotFound(f"Flavor {flavor_id} has no extra specs with key {key}.", "flavor")
        return body

    async def answer(call: Call, detail: bool) -> bytes:
        most = paging.limit(call)
        filters, arguments = _filters(call)
        key, way = call.query("sort_key") or "flavorid", call.query("sort_dir") or "asc"
        if key not in _SORT_KEYS or way not in ("asc", "desc"):
            raise BadRequest("Unknown sort_key or sort_dir.")
        marker = call.query("marker")
        before: tuple[Any, ...] = ()
        if marker is not None:
            sql = "select json_build_object()::text from flavor where flavor.uuid = %s::uuid and "
            try:
                await find(call, marker, sql + (_ALL if call.who.admin else VISIBLE))
            except NotFound:
                raise BadRequest(f"marker [{marker}] not found") from None
            before = (marker,)
        sql = _list(call.minor, detail, filters, key, way, marker is not None)
        given = (call.base_url + "/compute", most, paging.next_url(call))
        body: bytes = await database.document(sql, (*given, *before, *arguments, most + 1))
        return body

    async def list_items(call: Call) -> bytes:
        return await answer(call, detail=False)

    async def list_details(call: Call) -> bytes:
        return await answer(call, detail=True)

    routes.add("GET", "/flavors", list_items)
    routes.add("GET", "/flavors/detail", list_details)
    routes.add("GET", "/flavors/<flavor_id>", show)
    routes.add("GET", "/flavors/<flavor_id>/os-extra_specs", show_specs)
    routes.add("GET", "/flavors/<flavor_id>/os-extra_specs/<key>", show_spec)


def _filters(call: Call) -> tuple[str, tuple[Any, ...]]:
    """The condition of a list and its arguments."""
    conditions = [VISIBLE]
    arguments: list[Any] = [call.who.project_id]
    if call.who.admin:
        # Only administrators choose; True is what they get without choosing.
        asked = (call.query("is_public") or "true").lower()
        if asked in ("none", ""):
            conditions = [_ALL]
        elif asked in ("0", "f", "false", "off", "n", "no"):
            conditions = [_ALL, "not flavor.public"]
        elif asked not in ("1", "t", "true", "on", "y", "yes"):
            raise BadRequest(f"Invalid is_public filter [{asked}]")
        else:
            conditions = [_ALL, "flavor.public"]
    for name, column in (("minRam", "flavor.memory_mib"), ("minDisk", "flavor.disk_gib")):
        least = paging.number(call, name)
        if least is not None:
            conditions.append(f"{column} >= %s::bigint")
            arguments.append(least)
    return " and ".join(conditions), tuple(arguments)
