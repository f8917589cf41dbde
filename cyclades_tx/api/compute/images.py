"""Images, as Compute once showed them: list, show, delete, and their metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute import paging
from cyclades_tx.api.compute.documents import (
    NUMBER,
    SECOND,
    TEXT,
    TEXT_OR_NULL,
    array,
    mapping,
    record,
    second,
)
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.new_server import metadata_of
from cyclades_tx.api.compute.proxies import IMAGE_METADATA_LAST, Proxies, found, showing
from cyclades_tx.api.documents import Document, Member
from cyclades_tx.api.metadata import All, One
from cyclades_tx.errors import BadRequest, NotFound
from cyclades_tx.flows.images import Images
from cyclades_tx.model.image import RESERVED, Change
from cyclades_tx.store.images import VISIBLE, seen_by

_TYPE = "application/vnd.openstack.image"
_LINKS = (
    "json_build_array(json_build_object('rel', 'self', 'href', given.base ||"
    " '/compute/v2.1/images/' || image.uuid), json_build_object('rel', 'bookmark', 'href',"
    " given.base || '/compute/images/' || image.uuid), json_build_object('rel', 'alternate',"
    f" 'type', '{_TYPE}', 'href', given.base || '/image/v2/images/' || image.uuid))"
)
_LINK = record(rel={"enum": ["self", "bookmark", "alternate"]}, href=TEXT)
_LINK["properties"]["type"] = {"enum": [_TYPE]}

#: What Compute calls the states of an image, and how far it is then.
_STATES = {
    "queued": ("SAVING", 25),
    "saving": ("SAVING", 50),
    "uploading": ("SAVING", 50),
    "importing": ("SAVING", 50),
    "active": ("ACTIVE", 100),
    "killed": ("ERROR", 0),
    "deactivated": ("UNKNOWN", 0),
}


def _by_state(place: int) -> str:
    cases = " ".join(f"when '{state}' then {facts[place]!r}" for state, facts in _STATES.items())
    return f"case image.status {cases} end"


METADATA = (
    "coalesce((select json_object_agg(p.key, p.value order by p.key) from image_property p"
    " where p.image_id = image.id), '{}')"
)
_NAMES = (
    Member("id", "image.uuid", TEXT),
    Member("name", "image.name", TEXT_OR_NULL),
    Member("links", _LINKS, array(_LINK)),
)
IMAGE_ITEM = Document("ImageItem", _NAMES)
IMAGE = Document(
    "Image",
    (
        *_NAMES,
        Member("status", _by_state(0), {"enum": sorted({facts[0] for facts in _STATES.values()})}),
        Member("progress", _by_state(1), NUMBER),
        Member("created", second("image.created_at"), SECOND),
        Member("updated", second("image.updated_at"), SECOND),
        Member("minDisk", "image.min_disk_gib", NUMBER),
        Member("minRam", "image.min_memory_mib", NUMBER),
        Member("OS-EXT-IMG-SIZE:size", "coalesce(image.size_bytes, 0)", NUMBER),
        Member("metadata", METADATA, mapping(TEXT)),
    ),
)

#: What a list has of what is seen: neither community images nor shares that were not accepted.
#: Arguments: admin, project id, project id.
_LISTED = (
    "image.deleted_at is null and not image.hidden and (%s::boolean"
    " or image.project_id = %s::text or image.visibility = 'public'"
    " or (image.visibility = 'shared' and exists (select from image_member m"
    " where m.image_id = image.id and m.project_id = %s::text and m.status = 'accepted')))"
)
_SHOW = showing(
    "image",
    IMAGE.text(),
    f"(select %s::text as base) as given cross join image where {VISIBLE}"
    " and image.uuid = %s::uuid",
)
_SHOW_METADATA = (
    f"select json_build_object('metadata', {METADATA})::text from image where {VISIBLE}"
    " and image.uuid = %s::uuid"
)
#: How a list is narrowed: the word of the query, and its condition.
_FILTERS: dict[str, tuple[str, Callable[[Call, str], Any]]] = {
    "name": ("image.name = %s::text", lambda call, name: call.query(name)),
    "status": (f"{_by_state(0)} = upper(%s::text)", lambda call, name: call.query(name)),
    "minDisk": ("image.min_disk_gib >= %s::bigint", paging.number),
    "minRam": ("image.min_memory_mib >= %s::bigint", paging.number),
    "type": (
        "(select p.value from image_property p where p.image_id = image.id"
        " and p.key = 'image_type') = %s::text",
        lambda call, name: call.query(name),
    ),
}
QUERY = ("limit", "marker", *_FILTERS)


_ALL = msgspec.json.Decoder(All)
_ONE = msgspec.json.Decoder(One)


@lru_cache(maxsize=128)
def _list(detail: bool, filters: tuple[str, ...], marker: bool) -> str:
    document = IMAGE if detail else IMAGE_ITEM
    source, after = "image", "".join(f" and {condition}" for condition in filters)
    if marker:
        source = (
            f"image cross join (select created_at, id from image where {VISIBLE}"
            " and uuid = %s::uuid) as marker"
        )
        after += " and (image.created_at, image.id) < (marker.created_at, marker.id)"
    order = "image.created_at desc, image.id desc"
    return (
        "with given as (select %s::text as base, %s::bigint as most, %s::text as link), page as ("
        f"select image.id, image.uuid as marker, row_number() over (order by {order}) as place"
        f" from {source} where {_LISTED}{after} order by {order} limit %s::bigint),"
        f" items as (select page.place, {document.text()} as item from given cross join page"
        " join image on image.id = page.id where page.place <= given.most) "
        + paging.list_text("images")
    )


def mount(proxies: Proxies, database: Any, images: Images) -> None:
    """Add the endpoints."""

    async def look(call: Call, image_id: str, sql: str, *before: Any) -> bytes:
        why = f"Image {image_id} could not be found."
        if UUID.fullmatch(image_id) is None:
            raise NotFound(why)
        arguments = (*before, *seen_by(call.who), image_id)
        return await found(database, call, sql, arguments, why)

    async def show(call: Call, image_id: str) -> bytes:
        return await look(call, image_id, _SHOW, call.base_url)

    async def answer(call: Call, detail: bool) -> bytes:
        most, marker = paging.limit(call), call.query("marker")
        conditions, arguments = [], []
        for name, (condition, read) in _FILTERS.items():
            value = read(call, name)
            if value is not None:
                conditions.append(condition)
                arguments.append(value)
        seen = seen_by(call.who)
        before: tuple[Any, ...] = ()
        if marker is not None:
            try:
                await look(call, marker, _SHOW_METADATA)
            except NotFound:
                raise BadRequest(f"marker [{marker}] not found") from None
            before = (*seen, marker)
        sql = _list(detail, tuple(conditions), marker is not None)
        given = (call.base_url, most, paging.next_url(call))
        body: bytes = await database.document(sql, (*given, *before, *seen, *arguments, most + 1))
        return body

    async def list_items(call: Call) -> bytes:
        return await answer(call, detail=False)

    async def list_details(call: Call) -> bytes:
        return await answer(call, detail=True)

    async def delete(call: Call, image_id: str) -> Reply:
        await images.delete(call.who, image_id)
        return Reply(204)

    async def show_metadata(call: Call, image_id: str) -> bytes:
        return await look(call, image_id, _SHOW_METADATA)

    async def current(call: Call, image_id: str) -> dict[str, str]:
        shown: dict[str, str] = orjson.loads(await show_metadata(call, image_id))["metadata"]
        return shown

    async def change(
        call: Call, image_id: str, wanted: Mapping[str, str], gone: Mapping[str, str]
    ) -> None:
        for key in metadata_of(dict(wanted)):
            if key in RESERVED:
                raise BadRequest(f"The key {key!r} has a meaning of its own at the Image service.")
        changes = [Change("remove", key) for key in gone]
        changes += [Change("add", key, value) for key, value in wanted.items()]
        await images.update(call.who, image_id, changes)

    async def add_metadata(call: Call, image_id: str) -> bytes:
        wanted = call.json(_ALL).metadata
        await current(call, image_id)
        await change(call, image_id, wanted, {})
        return await show_metadata(call, image_id)

    async def replace_metadata(call: Call, image_id: str) -> bytes:
        wanted = call.json(_ALL).metadata
        there = await current(call, image_id)
        gone = {key: value for key, value in there.items() if key not in wanted}
        await change(call, image_id, wanted, gone)
        return await show_metadata(call, image_id)

    async def show_item(call: Call, image_id: str, key: str) -> Reply:
        value = (await current(call, image_id)).get(key)
        if value is None:
            raise NotFound(f"Metadata item {key} was not found.")
        return Reply(200, {"meta": {key: value}})

    async def set_item(call: Call, image_id: str, key: str) -> Reply:
        wanted = call.json(_ONE).meta
        if set(wanted) != {key}:
            raise BadRequest("The body must have just the item that the URL names.")
        await current(call, image_id)
        await change(call, image_id, wanted, {})
        return Reply(200, {"meta": wanted})

    async def delete_item(call: Call, image_id: str, key: str) -> Reply:
        there = await current(call, image_id)
        if key not in there:
            raise NotFound(f"Metadata item {key} was not found.")
        await change(call, image_id, {}, {key: there[key]})
        return Reply(204)

    proxies.add("GET", "/images", list_items)
    proxies.add("GET", "/images/detail", list_details)
    proxies.add("GET", "/images/<image_id>", show)
    proxies.add("DELETE", "/images/<image_id>", delete)
    path, last = "/images/<image_id>/metadata", IMAGE_METADATA_LAST
    proxies.add("GET", path, show_metadata, last)
    proxies.add("POST", path, add_metadata, last)
    proxies.add("PUT", path, replace_metadata, last)
    proxies.add("GET", f"{path}/<key>", show_item, last)
    proxies.add("PUT", f"{path}/<key>", set_item, last)
    proxies.add("DELETE", f"{path}/<key>", delete_item, last)
