"""Metadata of servers and of volumes: all items or one, shown, written and thrown away."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Handler, Reply
from cyclades_tx.errors import BadRequest
from cyclades_tx.model.who import Who


class All(Struct, forbid_unknown_fields=True):
    """The body with several items."""

    metadata: dict[str, str]


class One(Struct, forbid_unknown_fields=True):
    """The body with one item."""

    meta: dict[str, str]


class IRoutes(Protocol):
    """Where endpoints of a service are added."""

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Add one below the service's version."""


class IFlow(Protocol):
    """What writes the metadata of a kind of thing."""

    async def set_metadata(
        self, who: Who, ref: str, items: dict[str, str], replace: bool
    ) -> dict[str, str]:
        """Set items, and with ``replace`` throw away all others; return what there is then."""

    async def delete_metadata(self, who: Who, ref: str, key: str) -> None:
        """Throw one item away."""


@dataclass(frozen=True)
class Metadata:
    """What is different from service to service.

    :ivar checked: the items as they are, unless they are outside the limits.
    :ivar show: the document with all items, of a thing that the caller sees.
    :ivar show_item: the document with one, or NotFound.
    :ivar deleted: the status when an item was thrown away.
    """

    flow: IFlow
    checked: Callable[[dict[str, str]], dict[str, str]]
    show: Callable[[Call, str], Awaitable[bytes]]
    show_item: Callable[[Call, str, str], Awaitable[bytes]]
    deleted: int


_ALL = msgspec.json.Decoder(All)
_ONE = msgspec.json.Decoder(One)


def mount(routes: IRoutes, path: str, metadata: Metadata) -> None:
    """Add the endpoints.

    :param path: of all items; it has one argument, the reference of the thing.
    """
    (name,) = re.findall("<([a-z_]+)>", path)

    async def show(call: Call, **where: str) -> bytes:
        return await metadata.show(call, where[name])

    async def change(call: Call, ref: str, replace: bool) -> Reply:
        items = metadata.checked(call.json(_ALL).metadata)
        kept = await metadata.flow.set_metadata(call.who, ref, items, replace)
        return Reply(200, {"metadata": kept})

    async def merge(call: Call, **where: str) -> Reply:
        return await change(call, where[name], replace=False)

    async def replace(call: Call, **where: str) -> Reply:
        return await change(call, where[name], replace=True)

    async def show_item(call: Call, key: str, **where: str) -> bytes:
        return await metadata.show_item(call, where[name], key)

    async def set_item(call: Call, key: str, **where: str) -> Reply:
        items = metadata.checked(call.json(_ONE).meta)
        if list(items) != [key]:
            raise BadRequest("The body must hold the one item that the URL names.")
        await metadata.flow.set_metadata(call.who, where[name], items, replace=False)
        return Reply(200, {"meta": items})

    async def delete_item(call: Call, key: str, **where: str) -> Reply:
        await metadata.flow.delete_metadata(call.who, where[name], key)
        return Reply(metadata.deleted)

    routes.add("GET", path, show)
    routes.add("POST", path, merge)
    routes.add("PUT", path, replace)
    routes.add("GET", f"{path}/<key>", show_item)
    routes.add("PUT", f"{path}/<key>", set_item)
    routes.add("DELETE", f"{path}/<key>", delete_item)
