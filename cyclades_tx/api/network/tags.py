"""Tags of things of the network: all at once, and each by itself."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply, Service
from cyclades_tx.api.frame import Frame
from cyclades_tx.errors import NotFound
from cyclades_tx.flows.network_tags import NetworkTags
from cyclades_tx.store.network_tags import KINDS


class All(Struct, forbid_unknown_fields=True):
    """The body with all tags."""

    tags: list[str]


_ALL = msgspec.json.Decoder(All)


def mount(frame: Frame, service: Service, version: str, tags: NetworkTags) -> None:
    """Add the endpoints of every kind of thing that can have tags."""
    for kind in KINDS:
        _mount(frame, service, f"{version}/{kind}/<ref>/tags", tags, kind)


def _mount(frame: Frame, service: Service, path: str, tags: NetworkTags, kind: str) -> None:
    async def show(call: Call, ref: str) -> Reply:
        return Reply(200, {"tags": await tags.show(call.who, kind, ref)})

    async def replace(call: Call, ref: str) -> Reply:
        return Reply(200, {"tags": await tags.replace(call.who, kind, ref, call.json(_ALL).tags)})

    async def clear(call: Call, ref: str) -> Reply:
        await tags.replace(call.who, kind, ref, ())
        return Reply(204)

    async def show_one(call: Call, ref: str, tag: str) -> Reply:
        if tag not in await tags.show(call.who, kind, ref):
            raise NotFound(f"Tag {tag} could not be found.", "tag")
        return Reply(204)

    async def add_one(call: Call, ref: str, tag: str) -> Reply:
        await tags.add(call.who, kind, ref, tag)
        return Reply(201)

    async def remove_one(call: Call, ref: str, tag: str) -> Reply:
        await tags.remove(call.who, kind, ref, tag)
        return Reply(204)

    for suffix in ("", ".json"):
        frame.endpoint(service, "GET", path + suffix, show)
        frame.endpoint(service, "PUT", path + suffix, replace)
        frame.endpoint(service, "DELETE", path + suffix, clear)
    frame.endpoint(service, "GET", f"{path}/<tag>", show_one)
    frame.endpoint(service, "PUT", f"{path}/<tag>", add_one)
    frame.endpoint(service, "DELETE", f"{path}/<tag>", remove_one)
