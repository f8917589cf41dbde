"""Metadata of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.documents import METADATA
from cyclades_tx.api.compute.new_server import metadata_of
from cyclades_tx.api.compute.servers import read
from cyclades_tx.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from cyclades_tx.api.compute.routes import Routes
    from cyclades_tx.flows.servers import Servers


class All(Struct, forbid_unknown_fields=True):
    """The body with several items."""

    metadata: dict[str, str]


class One(Struct, forbid_unknown_fields=True):
    """The body with one item."""

    meta: dict[str, str]


_ALL = msgspec.json.Decoder(All)
_ONE = msgspec.json.Decoder(One)

_SHOW = f"select json_build_object('metadata', {METADATA})::text from server where"
_SHOW_ITEM = (
    "select coalesce((select json_build_object('meta', json_build_object(key, value))::text"
    " from server_metadata where server_metadata.server_id = server.id and key = %s::text), '')"
    " from server where"
)


def mount(routes: Routes, database: Any, servers: Servers) -> None:
    """Add the endpoints."""

    async def show(call: Call, server_id: str) -> bytes:
        return await read(database, call, server_id, _SHOW)

    async def change(call: Call, server_id: str, replace: bool) -> Reply:
        items = metadata_of(call.json(_ALL).metadata)
        kept = await servers.set_metadata(call.who, server_id, items, replace)
        return Reply(200, {"metadata": kept})

    async def merge(call: Call, server_id: str) -> Reply:
        return await change(call, server_id, replace=False)

    async def replace(call: Call, server_id: str) -> Reply:
        return await change(call, server_id, replace=True)

    async def show_item(call: Call, server_id: str, key: str) -> bytes:
        body = await read(database, call, server_id, _SHOW_ITEM, key)
        if not body:
            raise NotFound("Metadata item was not found", "metadata")
        return body

    async def set_item(call: Call, server_id: str, key: str) -> Reply:
        items = metadata_of(call.json(_ONE).meta)
        if list(items) != [key]:
            raise BadRequest("The body must hold the one item that the URL names.")
        await servers.set_metadata(call.who, server_id, items, replace=False)
        return Reply(200, {"meta": items})

    async def delete_item(call: Call, server_id: str, key: str) -> Reply:
        await servers.delete_metadata(call.who, server_id, key)
        return Reply(204)

    routes.add("GET", "/servers/<server_id>/metadata", show)
    routes.add("POST", "/servers/<server_id>/metadata", merge)
    routes.add("PUT", "/servers/<server_id>/metadata", replace)
    routes.add("GET", "/servers/<server_id>/metadata/<key>", show_item)
    routes.add("PUT", "/servers/<server_id>/metadata/<key>", set_item)
    routes.add("DELETE", "/servers/<server_id>/metadata/<key>", delete_item)
