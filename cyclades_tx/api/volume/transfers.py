"""Transfers: a volume is offered to another project, which takes it with a key.

The same things stand under two paths, of which the second came with 3.55.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
import orjson
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute import paging
from cyclades_tx.api.compute.filters import TRUE
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.documents import Document, many, one
from cyclades_tx.api.volume.bodies import text_of
from cyclades_tx.api.volume.documents import TRANSFER, TRANSFER_ITEM, TRANSFER_ROWS
from cyclades_tx.api.volume.routes import Routes
from cyclades_tx.errors import NotFound
from cyclades_tx.flows.volume_transfers import VolumeTransfers

NEW_PATH_FIRST = 55
PATHS = (("/os-volume-transfer", 0), ("/volume-transfers", NEW_PATH_FIRST))
_GIVEN = "(select %s::text as base) as given cross join volume_transfer"
#: Arguments: the project, twice.
_MINE = "volume.deleted_at is null and (%s::text is null or volume.project_id = %s::text)"


class Offer(Struct, forbid_unknown_fields=True):
    """The ``transfer`` of the body that makes one; there are no snapshots to come along."""

    volume_id: str
    name: str | None = None
    no_snapshots: bool | None = None


class OfferBody(Struct, forbid_unknown_fields=True):
    """The whole body that makes a transfer."""

    transfer: Offer


class Key(Struct, forbid_unknown_fields=True):
    """What the other side knows."""

    auth_key: str


class AcceptBody(Struct, forbid_unknown_fields=True):
    """The whole body that takes a volume."""

    accept: Key


_OFFER = msgspec.json.Decoder(OfferBody)
_ACCEPT = msgspec.json.Decoder(AcceptBody)


@lru_cache(maxsize=256)
def _show(document: Document, minor: int, admin: bool) -> str:
    return (
        f"select {one('transfer', document.text(minor, admin))} from {_GIVEN}{TRANSFER_ROWS}"
        f" where volume_transfer.uuid = %s::uuid and {_MINE}"
    )


@lru_cache(maxsize=256)
def _list(document: Document, minor: int, admin: bool) -> str:
    return (
        f"select '{{\"transfers\": ' || {many('page.item', 'page.id')} || '}}' from ("
        f"select volume_transfer.id, {document.text(minor, admin)} as item"
        f" from {_GIVEN}{TRANSFER_ROWS} where {_MINE} order by volume_transfer.id"
        " limit %s::bigint offset %s::bigint) as page"
    )


def mount(routes: Routes, database: Any, transfers: VolumeTransfers) -> None:
    """Add the endpoints."""

    async def document(call: Call, ref: str) -> bytes:
        body: bytes | None = None
        if UUID.fullmatch(ref) is not None:
            project_id = None if call.who.admin else call.who.project_id
            body = await database.document(
                _show(TRANSFER, call.minor, call.who.admin),
                (call.base_url + "/volume", ref, project_id, project_id),
            )
        if body is None:
            raise NotFound(f"Transfer {ref} could not be found.", "transfer")
        return body

    async def listed(call: Call, document: Document) -> bytes:
        asked = (call.query("all_tenants") or "").strip().lower()
        project_id = None if call.who.admin and asked in TRUE else call.who.project_id
        body: bytes = await database.document(
            _list(document, call.minor, call.who.admin),
            (
                *(call.base_url + "/volume", project_id, project_id),
                *(paging.limit(call), paging.number(call, "offset") or 0),
            ),
        )
        return body

    async def list_items(call: Call) -> bytes:
        return await listed(call, TRANSFER_ITEM)

    async def list_details(call: Call) -> bytes:
        return await listed(call, TRANSFER)

    async def show(call: Call, transfer_id: str) -> bytes:
        return await document(call, transfer_id)

    async def create(call: Call) -> Reply:
        wanted = call.json(_OFFER).transfer
        name = (text_of("name", wanted.name) or "").strip()
        offered = await transfers.offer(call.who, wanted.volume_id, name)
        shown = orjson.loads(await document(call, offered.uuid))["transfer"]
        return Reply(202, {"transfer": {**shown, "auth_key": offered.key}})

    async def accept(call: Call, transfer_id: str) -> Reply:
        key = call.json(_ACCEPT).accept.auth_key
        taken = await transfers.take(call.who, transfer_id, key)
        base = call.base_url + "/volume"
        return Reply(
            202,
            {
                "transfer": {
                    "id": taken.uuid,
                    "volume_id": taken.volume_uuid,
                    "name": taken.name,
                    "links": [
                        {"rel": "self", "href": f"{base}/v3/os-volume-transfer/{taken.uuid}"},
                        {"rel": "bookmark", "href": f"{base}/os-volume-transfer/{taken.uuid}"},
                    ],
                }
            },
        )

    async def delete(call: Call, transfer_id: str) -> Reply:
        await transfers.withdraw(call.who, transfer_id)
        return Reply(202)

    for path, first in PATHS:
        routes.add("GET", path, list_items, first=first)
        routes.add("POST", path, create, first=first)
        routes.add("GET", f"{path}/detail", list_details, first=first)
        routes.add("GET", f"{path}/<transfer_id>", show, first=first)
        routes.add("DELETE", f"{path}/<transfer_id>", delete, first=first)
        routes.add("POST", f"{path}/<transfer_id>/accept", accept, first=first)
