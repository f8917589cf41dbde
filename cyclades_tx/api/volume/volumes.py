"""Volumes: list, show, create, change, delete."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct, field

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.filters import TRUE
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.documents import Document, one
from cyclades_tx.api.volume import documents, listing
from cyclades_tx.api.volume.bodies import metadata_of, size_of, text_of, truth
from cyclades_tx.api.volume.routes import Routes
from cyclades_tx.errors import BadRequest, NotFound, NotSupported
from cyclades_tx.flows.volumes import NewVolume, Volumes, no_volume

#: The zone of what is in none.
NO_ZONE = "nova"
SUMMARY_FIRST = 12
SUMMARY_METADATA_FIRST = 36

#: Rows of volumes that a caller sees: by uuid, in the project; administrators see all projects.
_LIVE = "not volume.local and volume.deleted_at is null"
MINE = f"volume.uuid = %s::uuid and volume.project_id = %s and {_LIVE}"
ANY = f"volume.uuid = %s::uuid and %s::text is not null and {_LIVE}"

_NO_COPIES = "Disks cannot be copied on this cloud."


class Wanted(Struct, forbid_unknown_fields=True):
    """The ``volume`` of the body that makes one; null is as good as absent."""

    size: int | str | None = None
    name: str | None = None
    description: str | None = None
    display_name: str | None = None
    display_description: str | None = None
    volume_type: str | None = None
    availability_zone: str | None = None
    metadata: dict[str, str] | None = None
    imageRef: str | None = None
    image_id: str | None = None
    snapshot_id: str | None = None
    source_volid: str | None = None
    backup_id: str | None = None
    consistencygroup_id: str | None = None
    group_id: str | None = None
    multiattach: bool | str | None = None
    # Older clients send these with every volume; none of them has ever had an effect.
    status: str | None = None
    attach_status: str | None = None
    user_id: str | None = None
    project_id: str | None = None
    source_replica: None = None


class Body(Struct, forbid_unknown_fields=True):
    """The whole body; hints to a scheduler have no effect, since there is none."""

    volume: Wanted
    hints: dict[str, Any] | None = field(default=None, name="OS-SCH-HNT:scheduler_hints")


class Changed(Struct, forbid_unknown_fields=True):
    """The ``volume`` of the body that changes one; what is absent stays as it is."""

    name: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    display_name: str | msgspec.UnsetType | None = msgspec.UNSET
    display_description: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, str] | None = None


class ChangedBody(Struct, forbid_unknown_fields=True):
    """The whole body that changes a volume."""

    volume: Changed


_BODY = msgspec.json.Decoder(Body)
_CHANGED = msgspec.json.Decoder(ChangedBody)


@lru_cache(maxsize=512)
def _show(document: Document, minor: int, admin: bool) -> str:
    return (
        f"select {one('volume', document.text(minor, admin))} from (select %s::text as base)"
        f" as given cross join volume{documents.VOLUME_ROWS} where {ANY if admin else MINE}"
    )


async def show_document(database: Any, call: Call, ref: str, document: Document) -> bytes:
    """A document of one volume.

    :raise NotFound: when the caller sees no such volume.
    """
    body: bytes | None = None
    if UUID.fullmatch(ref) is not None:
        who = call.who
        body = await database.document(
            _show(document, call.minor, who.admin),
            (call.base_url + "/volume", ref, who.project_id),
        )
    if body is None:
        raise no_volume(ref)
    return body


def mount(routes: Routes, database: Any, volumes: Volumes) -> None:
    """Add the endpoints."""

    async def list_items(call: Call) -> bytes:
        return await listing.page(database, call, documents.VOLUME_ITEM)

    async def list_details(call: Call) -> bytes:
        return await listing.page(database, call, documents.VOLUME)

    async def show(call: Call, volume_id: str) -> bytes:
        return await show_document(database, call, volume_id, documents.VOLUME)

    async def create(call: Call) -> Reply:
        wanted = call.json(_BODY).volume
        new = await _new(database, call, wanted)
        uuid = await volumes.create(call.who, new)
        return Reply(202, await show_document(database, call, uuid, documents.VOLUME_MADE))

    async def update(call: Call, volume_id: str) -> bytes:
        wanted = call.json(_CHANGED).volume
        changes = _changes(wanted)
        metadata = None if wanted.metadata is None else metadata_of(wanted.metadata)
        if not changes and metadata is None:
            raise BadRequest("Invalid input: at least one attribute to change is needed.")
        await volumes.update(call.who, volume_id, changes, metadata)
        return await show_document(database, call, volume_id, documents.VOLUME_MADE)

    async def delete(call: Call, volume_id: str) -> Reply:
        # There are no snapshots that ``cascade`` could delete too.
        force = call.query("force")
        forced = force is not None and truth("force", force)
        await volumes.delete(call.who, volume_id, call.request_id, force=forced)
        return Reply(202)

    async def summarize(call: Call) -> bytes:
        asked = (call.query("all_tenants") or "").strip().lower()
        project_id = None if call.who.admin and asked in TRUE else call.who.project_id
        with_metadata = call.minor >= SUMMARY_METADATA_FIRST
        body: bytes = await database.document(
            _SUMMARY.format(metadata=_SUMMARY_METADATA if with_metadata else ""),
            (project_id, project_id),
        )
        return body

    routes.add("GET", "/volumes", list_items)
    routes.add("POST", "/volumes", create)
    routes.add("GET", "/volumes/detail", list_details)
    routes.add("GET", "/volumes/summary", summarize, first=SUMMARY_FIRST)
    routes.add("GET", "/volumes/<volume_id>", show)
    routes.add("PUT", "/volumes/<volume_id>", update)
    routes.add("DELETE", "/volumes/<volume_id>", delete)


_SUMMARY = (
    "with mine as materialized (select id, size_gib from volume where not local and deleted_at is"
    " null and (%s::text is null or project_id::text = %s::text))"
    " select json_build_object('volume-summary', json_build_object('total_count',"
    " (select count(*) from mine), 'total_size', (select coalesce(sum(size_gib), 0) from mine)"
    "{metadata}))::text"
)
_SUMMARY_METADATA = (
    ", 'metadata', (select coalesce(json_object_agg(found.key, found.every order by found.key),"
    " '{{}}') from (select m.key, json_agg(distinct m.value) as every from volume_metadata m"
    " join mine on mine.id = m.volume_id group by m.key) as found)"
).replace("{{}}", "{}")


async def _new(database: Any, call: Call, wanted: Wanted) -> NewVolume:
    """What a body asks for.

    :raise BadRequest: for what makes no sense.
    :raise NotFound: for a source that the caller does not see.
    :raise NotSupported: for a volume with data.
    """
    name = text_of("name", wanted.name if wanted.name is not None else wanted.display_name)
    description = wanted.description
    if description is None:
        description = wanted.display_description
    text_of("description", description)
    metadata = metadata_of(wanted.metadata or {})
    if wanted.multiattach is not None and truth("multiattach", wanted.multiattach):
        raise BadRequest("A volume can be attached to one server only on this cloud.")
    image_ref = await _source(database, call, wanted)
    if wanted.size is None:
        raise BadRequest("Invalid input: size is needed.")
    zone = wanted.availability_zone
    return NewVolume(
        size_gib=size_of("size", wanted.size),
        name=name or "",
        description=description,
        type_ref=wanted.volume_type or None,
        zone=None if zone in (None, "", NO_ZONE) else zone,
        image_ref=image_ref,
        metadata=metadata,
    )


async def _source(database: Any, call: Call, wanted: Wanted) -> str | None:
    """The image that a volume is to be made of; None: it is blank.

    :raise CycladesError: for other sources, for what else is wrong first.
    """
    image = wanted.imageRef or wanted.image_id
    sources = [image, wanted.snapshot_id, wanted.source_volid, wanted.backup_id]
    given = [source for source in sources if source]
    if len(given) > 1:
        raise BadRequest(
            "Only one of imageRef, snapshot_id, source_volid and backup_id can be given."
        )
    if wanted.snapshot_id:
        raise NotFound(f"Snapshot {wanted.snapshot_id[:255]} could not be found.", "snapshot")
    if wanted.backup_id:
        raise NotFound(f"Backup {wanted.backup_id[:255]} could not be found.", "backup")
    if wanted.consistencygroup_id or wanted.group_id:
        raise NotFound("There are no groups of volumes on this cloud.", "group")
    if wanted.source_volid:
        await show_document(database, call, wanted.source_volid, documents.VOLUME_ITEM)
        raise NotSupported(_NO_COPIES)
    return image.rstrip("/").rpartition("/")[2] if image else None


def _changes(wanted: Changed) -> dict[str, Any]:
    """The columns that a body changes."""
    changes: dict[str, Any] = {}
    for column, values in (
        ("name", (wanted.name, wanted.display_name)),
        ("description", (wanted.description, wanted.display_description)),
    ):
        for value in values:
            if value is not msgspec.UNSET:
                text = text_of(column, value)
                changes[column] = (text or "").strip() if column == "name" else text
                break
    return changes
