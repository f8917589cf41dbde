"""Attachments: which server has which volume, as Volume tells it; Compute makes and ends them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cyclades_tx.api.call import Call
from cyclades_tx.api.compute import paging
from cyclades_tx.api.compute.documents import TEXT, TEXT_OR_NULL
from cyclades_tx.api.compute.filters import TRUE
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.documents import Document, Member, many, one
from cyclades_tx.api.volume.documents import ATTACHED_AT
from cyclades_tx.api.volume.routes import Routes
from cyclades_tx.errors import NotFound

FIRST = 27

_STATUS = (
    "case volume.status when 'attaching' then 'attaching' when 'detaching' then 'detaching'"
    " else 'attached' end"
)
_ITEM = (
    Member("id", "volume.uuid", TEXT),
    Member("volume_id", "volume.uuid", TEXT),
    Member("instance", "server.uuid", TEXT),
    Member("status", _STATUS, {"enum": ["attaching", "attached", "detaching"]}),
)
ATTACHMENT_ITEM = Document("AttachmentItem", _ITEM)
ATTACHMENT = Document(
    "Attachment",
    (
        *_ITEM,
        Member("attach_mode", "'rw'::text", {"enum": ["rw"]}),
        Member("attached_at", ATTACHED_AT, TEXT_OR_NULL),
        Member("detached_at", "null::text", {"type": "null"}),
        # How a host would reach it: Ganeti's hosts have it already.
        Member("connection_info", "json_build_object()", {"type": "object", "maxProperties": 0,
                                                          "additionalProperties": False}),
    ),
)  # fmt: skip

_ROWS = "volume join server on server.id = volume.server_id"
_LIVE = "not volume.local and volume.deleted_at is null"


@lru_cache(maxsize=256)
def _show(minor: int, admin: bool) -> str:
    return (
        f"select {one('attachment', ATTACHMENT.text(minor, admin))} from {_ROWS} where {_LIVE}"
        " and volume.uuid = %s::uuid and (%s::text is null or volume.project_id = %s::text)"
    )


@lru_cache(maxsize=256)
def _list(document: Document, minor: int, admin: bool) -> str:
    return (
        f"select '{{\"attachments\": ' || {many('page.item', 'page.id')} || '}}' from ("
        f"select volume.id, {document.text(minor, admin)} as item from {_ROWS} where {_LIVE}"
        " and (%s::text is null or volume.project_id = %s::text)"
        " and (%s::text is null or volume.uuid::text = %s::text)"
        " and (%s::text is null or server.uuid::text = %s::text)"
        " order by volume.id limit %s::bigint offset %s::bigint) as page"
    )


def mount(routes: Routes, database: Any) -> None:
    """Add the endpoints."""

    async def listed(call: Call, document: Document) -> bytes:
        asked = (call.query("all_tenants") or "").strip().lower()
        project_id = None if call.who.admin and asked in TRUE else call.who.project_id
        volume_id, server_id = call.query("volume_id"), call.query("instance_id")
        body: bytes = await database.document(
            _list(document, call.minor, call.who.admin),
            (
                *(project_id, project_id, volume_id, volume_id, server_id, server_id),
                *(paging.limit(call), paging.number(call, "offset") or 0),
            ),
        )
        return body

    async def list_items(call: Call) -> bytes:
        return await listed(call, ATTACHMENT_ITEM)

    async def list_details(call: Call) -> bytes:
        return await listed(call, ATTACHMENT)

    async def show(call: Call, ref: str) -> bytes:
        body: bytes | None = None
        if UUID.fullmatch(ref) is not None:
            project_id = None if call.who.admin else call.who.project_id
            body = await database.document(
                _show(call.minor, call.who.admin), (ref, project_id, project_id)
            )
        if body is None:
            raise NotFound(f"Volume attachment {ref} could not be found.", "attachment")
        return body

    routes.add("GET", "/attachments", list_items, first=FIRST)
    routes.add("GET", "/attachments/detail", list_details, first=FIRST)
    routes.add("GET", "/attachments/<ref>", show, first=FIRST)
