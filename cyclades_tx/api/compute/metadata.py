"""Metadata of a server."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api import metadata
from cyclades_tx.api.call import Call
from cyclades_tx.api.compute.documents import METADATA
from cyclades_tx.api.compute.new_server import metadata_of
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.compute.servers import read
from cyclades_tx.errors import NotFound
from cyclades_tx.flows.servers import Servers

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

    async def show_item(call: Call, server_id: str, key: str) -> bytes:
        body = await read(database, call, server_id, _SHOW_ITEM, key)
        if not body:
            raise NotFound("Metadata item was not found", "metadata")
        return body

    whole = metadata.Metadata(servers, metadata_of, show, show_item, deleted=204)
    metadata.mount(routes, "/servers/<server_id>/metadata", whole)
