"""Volumes in the database, as the Volume service has them: without the servers' own root disks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.store import outbox


class Volume(NamedTuple):
    """A volume as whoever changes it meets it.

    :ivar initialised: whether a cluster has ever made its disk.
    :ivar cluster_id: the cluster that keeps its disk while no server has it.
    """

    id: int
    uuid: str
    project_id: str
    user_id: str
    name: str
    size_gib: int
    status: str
    server_id: int | None
    position: int | None
    initialised: bool
    volume_type_id: int
    disk_template: str
    cluster_id: int | None


#: The SQL of a volume's status in the words of clients.
SHOWN_STATUS = (
    "case volume.status when 'in_use' then 'in-use'"
    " when 'awaiting_transfer' then 'awaiting-transfer' else volume.status end"
)


def shown_status(status: str) -> str:
    """A kept status in Volume's own word, as :data:`SHOWN_STATUS` has it."""
    return {"in_use": "in-use", "awaiting_transfer": "awaiting-transfer"}.get(status, status)


class VolumeType(NamedTuple):
    """A volume type as a new volume meets it."""

    id: int
    uuid: str
    name: str
    disk_template: str
    provider: str | None
    public: bool


_COLUMNS = (
    "v.id, v.uuid::text as uuid, v.project_id::text as project_id, v.user_id::text as user_id,"
    " v.name, v.size_gib, v.status, v.server_id, v.position, v.initialised, v.volume_type_id,"
    " t.disk_template, v.cluster_id"
)
_LIVE = "not v.local and v.deleted_at is null"
_TYPE = "t.id, t.uuid::text as uuid, t.name, t.disk_template, t.provider, t.public"


async def find(querier: Any, ref: str, project_id: str | None) -> Volume | None:
    """The live volume with this UUID, or None.

    :param ref: what stood in the request: anything.
    :param project_id: whose it must be; None: anybody's.
    """
    return await _one(querier, ref, project_id, "")


async def lock(tx: Any, ref: str, project_id: str | None) -> Volume | None:
    """The same, locked; after the holdings of its project and after its server."""
    return await _one(tx, ref, project_id, " for update of v")


async def _one(querier: Any, ref: str, project_id: str | None, ending: str) -> Volume | None:
    uuid = parse_uuid(ref)
    if uuid is None:
        return None
    row = await querier.first(
        f"select {_COLUMNS} from volume v join volume_type t on t.id = v.volume_type_id"
        f" where v.uuid = %s::uuid and {_LIVE}"
        f" and (%s::text is null or v.project_id::text = %s::text){ending}",
        (uuid, project_id, project_id),
    )
    return None if row is None else Volume(*row)


async def count(querier: Any, project_id: str) -> int:
    """How many volumes a project has, beside the root disks of its servers."""
    found: int = await querier.value(
        f"select count(*) from volume v where v.project_id = %s and {_LIVE}", (project_id,)
    )
    return found


async def forget_limit(tx: Any, project_id: str) -> None:
    """Let the default count for how many volumes a project may have."""
    await tx.run(
        "delete from project_limit where project_id = %s and name = 'volumes'", (project_id,)
    )


async def insert(
    tx: Any,
    *,
    project_id: str,
    user_id: str,
    name: str,
    description: str | None,
    size_gib: int,
    volume_type_id: int,
    availability_zone: str | None,
    image_uuid: str | None = None,
) -> tuple[int, str]:
    """Add a volume that no cluster has yet; return its id and UUID.

    :param image_uuid: the image that gets on it when a server boots from it first.
    """
    row = await tx.first(
        "insert into volume (project_id, user_id, name, description, size_gib, volume_type_id,"
        " availability_zone, status, delete_on_termination, bootable, source_kind, source_uuid)"
        " values (%(project_id)s, %(user_id)s, %(name)s, %(description)s, %(size_gib)s, %(type)s,"
        " %(zone)s, 'available', false, %(image)s::uuid is not null,"
        " case when %(image)s::uuid is not null then 'image' end, %(image)s::uuid)"
        " returning id, uuid::text as uuid",
        {
            "project_id": project_id,
            "user_id": user_id,
            "name": name,
            "description": description,
            "size_gib": size_gib,
            "type": volume_type_id,
            "zone": availability_zone,
            "image": image_uuid,
        },
    )
    return row.id, row.uuid


async def update(tx: Any, volume_id: int, changes: Mapping[str, Any]) -> None:
    """Set columns of a locked volume.

    :param changes: names of columns, which are never a stranger's words, with their values.
    """
    settings = "".join(f", {column} = %({column})s" for column in changes)
    await tx.run(
        f"update volume set updated_at = now(){settings} where id = %(this)s",
        {**changes, "this": volume_id},
    )


async def delete(tx: Any, volume_id: int) -> None:
    """Mark a locked volume as deleted; nothing of it is at any cluster."""
    await tx.run("delete from volume_transfer where volume_id = %s", (volume_id,))
    await tx.run(
        "update volume set status = 'deleted', deleted_at = now(), updated_at = now(),"
        " server_id = null, position = null where id = %s",
        (volume_id,),
    )


async def is_busy(querier: Any, volume: Volume) -> bool:
    """Whether an operation works on a volume, or on the server that has it."""
    found = await querier.value(
        "select 1 from operation where finished_at is null"
        " and (volume_id = %s or server_id = %s::bigint) limit 1",
        (volume.id, volume.server_id),
    )
    return found is not None


async def metadata(querier: Any, volume_id: int) -> dict[str, str]:
    """The metadata of a volume."""
    rows = await querier.all(
        "select key, value from volume_metadata where volume_id = %s order by key", (volume_id,)
    )
    return {row.key: row.value for row in rows}


async def set_metadata(tx: Any, volume_id: int, items: Mapping[str, str]) -> None:
    """Add or change metadata."""
    await tx.run(
        "insert into volume_metadata (volume_id, key, value)"
        " select %s, key, value from unnest(%s::text[], %s::text[]) as s (key, value)"
        " on conflict (volume_id, key) do update set value = excluded.value",
        (volume_id, list(items), list(items.values())),
    )


async def clear_metadata(tx: Any, volume_id: int) -> None:
    """Remove all metadata."""
    await tx.run("delete from volume_metadata where volume_id = %s", (volume_id,))


async def delete_metadata(tx: Any, volume_id: int, key: str) -> bool:
    """Remove an item of the metadata; False when there is none."""
    gone: int = await tx.run(
        "delete from volume_metadata where volume_id = %s and key = %s", (volume_id, key)
    )
    return gone > 0


async def volume_type(querier: Any, ref: str, admin: bool) -> VolumeType | None:
    """The live volume type with this UUID or name, if the caller sees it, or None."""
    row = await querier.first(
        f"select {_TYPE} from volume_type t where t.deleted_at is null"
        " and (t.public or %s::boolean) and (t.uuid = %s::uuid or t.name = %s::text)"
        " order by (t.name = %s::text), t.id limit 1",
        (admin, parse_uuid(ref), ref, ref),
    )
    return None if row is None else VolumeType(*row)


async def first_type(querier: Any) -> VolumeType | None:
    """The type of volumes that name none: the oldest one with disks that everyone may use."""
    row = await querier.first(
        f"select {_TYPE} from volume_type t where t.deleted_at is null and t.public"
        " and t.disk_template <> 'diskless' order by t.id limit 1"
    )
    return None if row is None else VolumeType(*row)


async def zone_exists(querier: Any, name: str, project_id: str) -> bool:
    """Whether a project may use the cluster of this name."""
    found = await querier.value(
        "select 1 from cluster c where c.name = %s::text and (c.public or exists (select 1"
        " from cluster_project p where p.cluster_id = c.id and p.project_id = %s))",
        (name, project_id),
    )
    return found is not None


async def tell(tx: Any, kind: str, volume_id: int) -> None:
    """Tell of a volume as it is now.

    :param kind: ``volume.created``, ``volume.changed`` or ``volume.deleted``.
    """
    await tx.run(
        "with made as (insert into event (kind, subject, project_id, body)"
        " select %s, volume.uuid::text, volume.project_id, jsonb_build_object('volume',"
        " jsonb_build_object('id', volume.uuid, 'name', volume.name, 'size', volume.size_gib,"
        f" 'status', {SHOWN_STATUS}, 'server_id', server.uuid))"
        " from volume left join server on server.id = volume.server_id"
        f" where volume.id = %s and not volume.local returning 1) {outbox.NOTIFY}",
        (kind, volume_id),
    )
