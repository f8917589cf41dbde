"""Tags of a server, from microversion 2.26."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from msgspec import Struct

from cyclades_tx.api.call import Call, Handler, Reply
from cyclades_tx.api.compute.documents import TAGS
from cyclades_tx.api.compute.new_server import tags_of
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.compute.servers import read
from cyclades_tx.errors import NotFound
from cyclades_tx.flows.servers import Servers

FIRST = 26


class All(Struct, forbid_unknown_fields=True):
    """The body with all tags."""

    tags: list[str]


_ALL = msgspec.json.Decoder(All)
_SHOW = f"select json_build_object('tags', {TAGS})::text from server where"


def mount(routes: Routes, database: Any, servers: Servers) -> None:
    """Add the endpoints."""

    async def present(call: Call, server_id: str) -> list[str]:
        tags: list[str] = orjson.loads(await read(database, call, server_id, _SHOW))["tags"]
        return tags

    async def show(call: Call, server_id: str) -> bytes:
        return await read(database, call, server_id, _SHOW)

    async def replace(call: Call, server_id: str) -> Reply:
        tags = tags_of(call.json(_ALL).tags)
        await servers.set_tags(call.who, server_id, tags)
        return Reply(200, {"tags": sorted(tags)})

    async def clear(call: Call, server_id: str) -> Reply:
        await servers.set_tags(call.who, server_id, ())
        return Reply(204)

    async def show_one(call: Call, server_id: str, tag: str) -> Reply:
        if tag not in await present(call, server_id):
            raise _no_tag(server_id, tag)
        return Reply(204)

    async def add_one(call: Call, server_id: str, tag: str) -> Reply:
        (checked,) = tags_of([tag])
        if not await servers.add_tag(call.who, server_id, checked):
            return Reply(204)
        path = call.request.path.decode("latin-1")
        return Reply(201, None, {"location": call.base_url + path})

    async def delete_one(call: Call, server_id: str, tag: str) -> Reply:
        await servers.delete_tag(call.who, server_id, tag)
        return Reply(204)

    routes.add("GET", "/servers/<server_id>/tags", _since(show))
    routes.add("PUT", "/servers/<server_id>/tags", _since(replace))
    routes.add("DELETE", "/servers/<server_id>/tags", _since(clear))
    routes.add("GET", "/servers/<server_id>/tags/<tag>", _since(show_one))
    routes.add("PUT", "/servers/<server_id>/tags/<tag>", _since(add_one))
    routes.add("DELETE", "/servers/<server_id>/tags/<tag>", _since(delete_one))


def _since(handler: Handler) -> Handler:
    """The endpoint as it is from 2.26; below there is none."""

    async def handle(call: Call, **arguments: str) -> Reply | bytes:
        if call.minor < FIRST:
            raise NotFound("The resource could not be found.")
        return await handler(call, **arguments)

    return handle


def _no_tag(ref: str, tag: str) -> NotFound:
    return NotFound(f"Server {ref} has no tag '{tag}'", "tag")
