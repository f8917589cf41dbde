"""Metadata of a volume."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.volume.bodies import metadata_of
from cyclades_tx.api.volume.documents import METADATA
from cyclades_tx.api.volume.routes import Routes
from cyclades_tx.api.volume.volumes import ANY, MINE
from cyclades_tx.errors import BadRequest, NotFound
from cyclades_tx.flows.volumes import Volumes, no_volume


class All(Struct, forbid_unknown_fields=True):
    """The body with several items."""

    metadata: dict[str, str]


class One(Struct, forbid_unknown_fields=True):
    """The body with one item."""

    meta: dict[str, str]


_ALL = msgspec.json.Decoder(All)
_ONE = msgspec.json.Decoder(One)

_SHOW = f"select json_build_object('metadata', {METADATA})::text from volume where "
_SHOW_ITEM = (
    "select coalesce((select json_build_object('meta', json_build_object(key, value))::text"
    " from volume_metadata where volume_metadata.volume_id = volume.id and key = %s::text), '')"
    " from volume where "
)


def mount(routes: Routes, database: Any, volumes: Volumes) -> None:
    """Add the endpoints."""

    async def read(call: Call, ref: str, sql: str, *more: str) -> bytes:
        body: bytes | None = None
        if UUID.fullmatch(ref) is not None:
            condition = ANY if call.who.admin else MINE
            body = await database.document(sql + condition, (*more, ref, call.who.project_id))
        if body is None:
            raise no_volume(ref)
        return body

    async def show(call: Call, volume_id: str) -> bytes:
        return await read(call, volume_id, _SHOW)

    async def change(call: Call, volume_id: str, replace: bool) -> Reply:
        items = metadata_of(call.json(_ALL).metadata)
        kept = await volumes.set_metadata(call.who, volume_id, items, replace)
        return Reply(200, {"metadata": kept})

    async def merge(call: Call, volume_id: str) -> Reply:
        return await change(call, volume_id, replace=False)

    async def replace(call: Call, volume_id: str) -> Reply:
        return await change(call, volume_id, replace=True)

    async def show_item(call: Call, volume_id: str, key: str) -> bytes:
        body = await read(call, volume_id, _SHOW_ITEM, key)
        if not body:
            raise NotFound(f"Volume {volume_id} has no metadata with key {key}.", "volume_metadata")
        return body

    async def set_item(call: Call, volume_id: str, key: str) -> Reply:
        items = metadata_of(call.json(_ONE).meta)
        if list(items) != [key]:
            raise BadRequest("The body must hold the one item that the URL names.")
        await volumes.set_metadata(call.who, volume_id, items, replace=False)
        return Reply(200, {"meta": items})

    async def delete_item(call: Call, volume_id: str, key: str) -> Reply:
        await volumes.delete_metadata(call.who, volume_id, key)
        return Reply(200)

    routes.add("GET", "/volumes/<volume_id>/metadata", show)
    routes.add("POST", "/volumes/<volume_id>/metadata", merge)
    routes.add("PUT", "/volumes/<volume_id>/metadata", replace)
    routes.add("GET", "/volumes/<volume_id>/metadata/<key>", show_item)
    routes.add("PUT", "/volumes/<volume_id>/metadata/<key>", set_item)
    routes.add("DELETE", "/volumes/<volume_id>/metadata/<key>", delete_item)
