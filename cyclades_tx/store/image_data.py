"""The bytes of images in the database: which object holds them, and who writes one now.

The name of an upload's object stands in its image's row before the object is begun, and the
object belongs to the image when the row says so; so whatever the store holds and no row names
is a leftover, at any moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who
from cyclades_tx.store.images import AWAITED, VISIBLE, seen_by, tell

#: The states of an image to which bytes are coming.
COMING = ("saving", "uploading", "importing")

_ROW = (
    "select id, uuid::text as uuid, name, project_id, status, disk_format, container_format, md5,"
    " size_bytes, object_name, upload_name, hash_value from image"
)


async def identity(querier: Any) -> str:
    """What the store of this database's images is marked with."""
    found: str = await querier.value("select identity::text from image_store limit 1")
    return found


async def lock(tx: Any, image_id: int) -> Any:
    """Lock an image's row and return it; None when it is gone or deleted."""
    return await tx.first(
        f"{_ROW} where id = %s and deleted_at is null for no key update", (image_id,)
    )


async def lock_project(tx: Any, project_id: str) -> None:
    """Let a project's uploads be counted one after another; before any image is locked."""
    await tx.run("select from project where id = %s for no key update", (project_id,))


async def used_bytes(tx: Any, project_id: str, but: int) -> int:
    """How much the images of a project take, those too that are coming.

    :param but: the id of an image that does not count.
    """
    found: int = await tx.value(
        "select coalesce(sum(case when object_name is not null then size_bytes"
        " else upload_bytes end), 0)::bigint from image where project_id = %s"
        " and deleted_at is null and (object_name is not null or upload_name is not null)"
        " and id <> %s",
        (project_id, but),
    )
    return found


async def begin(
    tx: Any, image_id: int, status: str, upload_name: str, size_bytes: int | None
) -> None:
    """Write down that an object is being written; the row is locked."""
    await tx.run(
        "update image set status = %s, upload_name = %s, upload_seen_at = now(),"
        " upload_bytes = %s, upload_error = null, updated_at = now() where id = %s",
        (status, upload_name, size_bytes, image_id),
    )
    await tell(tx, "image.changed", image_id)


async def finish(
    tx: Any,
    image_id: int,
    upload_name: str,
    status: str,
    location: str,
    size_bytes: int,
    md5: str,
    algorithm: str,
    value: str,
) -> bool:
    """Let an image have the object that was written; False when it waits for it no more.

    :param status: what it is from now on.
    """
    touched: int = await tx.run(
        "update image set status = %s, object_name = upload_name, upload_name = null,"
        " upload_seen_at = null, upload_bytes = null, size_bytes = %s, md5 = %s,"
        " hash_algorithm = %s, hash_value = %s, location = %s, updated_at = now()"
        " where id = %s and upload_name = %s and status = any(%s) and deleted_at is null",
        (
            *(status, size_bytes, md5, algorithm, value, location),
            *(image_id, upload_name, list(COMING)),
        ),
    )
    if touched:
        await tell(tx, "image.changed", image_id)
    return touched > 0


async def activate(tx: Any, image_id: int) -> None:
    """Let an image whose data were staged be used; the row is locked."""
    await tx.run(
        "update image set status = 'active', updated_at = now() where id = %s", (image_id,)
    )
    await tell(tx, "image.changed", image_id)


async def give_up(tx: Any, image_id: int, upload_name: str, reason: str) -> None:
    """Let an image wait for bytes again, if it still waits for these."""
    touched = await tx.run(
        "update image set status = case when deleted_at is null then 'queued' else status end,"
        " upload_name = null, upload_seen_at = null, upload_bytes = null, upload_error = left(%s,"
        " 1000), updated_at = now() where id = %s and upload_name = %s",
        (reason, image_id, upload_name),
    )
    if touched:
        await tell(tx, "image.changed", image_id)


async def beat(querier: Any, names: Sequence[str]) -> set[str]:
    """Say that these uploads are alive; return those that are still wanted."""
    rows = await querier.all(
        "update image set upload_seen_at = now() where upload_name = any(%s)"
        " and deleted_at is null returning upload_name",
        (list(names),),
    )
    return {row.upload_name for row in rows}


async def give_up_silent(tx: Any, silence_seconds: float) -> list[Any]:
    """Let images wait for bytes again whose uploads nobody has seen for so long."""
    rows: list[Any] = await tx.all(
        "update image set status = case when deleted_at is null then 'queued' else status end,"
        " upload_name = null, upload_seen_at = null, upload_bytes = null,"
        " upload_error = 'The process that took the data has ended.', updated_at = now()"
        " where upload_seen_at < now() - make_interval(secs => %s)"
        " returning id, uuid::text as uuid, upload_error",
        (silence_seconds,),
    )
    for row in rows:
        await tell(tx, "image.changed", row.id)
    return rows


async def leaving(querier: Any) -> list[Any]:
    """Deleted images whose objects are still there, and which no open operation needs."""
    rows: list[Any] = await querier.all(
        "select id, uuid::text as uuid, object_name from image where deleted_at is not null"
        f" and object_name is not null and not {AWAITED} order by id limit 1000"
    )
    return rows


async def left(querier: Any, image_id: int, object_name: str) -> None:
    """Write down that an object is gone."""
    await querier.run(
        "update image set object_name = null where id = %s and object_name = %s",
        (image_id, object_name),
    )


async def unknown(querier: Any, names: Sequence[str]) -> list[str]:
    """Which of these names no image has: neither as its object nor as its upload."""
    rows = await querier.all(
        "select n.name from unnest(%s::text[]) as n (name)"
        " where not exists (select from image i where i.object_name = n.name)"
        " and not exists (select from image i where i.upload_name = n.name)",
        (list(names),),
    )
    return [row.name for row in rows]


async def seen(querier: Any, who: Who, ref: str) -> Any:
    """The image of this UUID, if the caller sees it; else None."""
    found = parse_uuid(ref)
    if found is None:
        return None
    return await querier.first(
        f"{_ROW} where uuid = %s::uuid and {VISIBLE}", (found, *seen_by(who))
    )


async def with_object(querier: Any, uuid: str) -> Any:
    """The image of this UUID if our store has its bytes, whoever may see it; else None."""
    found = parse_uuid(uuid)
    if found is None:
        return None
    return await querier.first(
        f"{_ROW} where uuid = %s::uuid and object_name is not null"
        " and status in ('active', 'deactivated', 'deleted')",
        (found,),
    )
