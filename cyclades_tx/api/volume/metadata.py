"""Metadata of a volume."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api import metadata
from cyclades_tx.api.call import Call
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.volume.bodies import metadata_of
from cyclades_tx.api.volume.documents import METADATA
from cyclades_tx.api.volume.routes import Routes
from cyclades_tx.api.volume.volumes import ANY, MINE
from cyclades_tx.errors import NotFound
from cyclades_tx.flows.volumes import Volumes, no_volume

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

    async def show_item(call: Call, volume_id: str, key: str) -> bytes:
        body = await read(call, volume_id, _SHOW_ITEM, key)
        if not body:
            raise NotFound(f"Volume {volume_id} has no metadata with key {key}.", "volume_metadata")
        return body

    whole = metadata.Metadata(volumes, metadata_of, show, show_item, deleted=200)
    metadata.mount(routes, "/volumes/<volume_id>/metadata", whole)
