"""Images: what servers are made from.

Who sees an image: its project; everybody if it is public or community; a project that it was
shared with. Lists leave out community images and shares that were not accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.errors import BadRequest, NotFound
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who
from cyclades_tx.store.outbox import NOTIFY

_COLUMNS = (
    "image.id, image.uuid::text, image.name, image.project_id, image.status, image.visibility,"
    " image.protected, image.hidden, image.min_disk_gib, image.min_memory_mib, image.size_bytes,"
    " image.disk_format, image.container_format, image.location, image.created_at,"
    " image.updated_at, (select coalesce(json_object_agg(p.key, p.value), '{}')"
    " from image_property p where p.image_id = image.id) as properties,"
    " array(select t.tag from image_tag t where t.image_id = image.id order by t.tag) as tags"
)

#: The SQL of what is seen by its id; arguments: admin, project id, project id.
VISIBLE = (
    "(image.deleted_at is null and (%s::boolean or image.project_id = %s::text"
    " or image.visibility in ('public', 'community') or (image.visibility = 'shared' and exists"
    " (select from image_member m where m.image_id = image.id and m.project_id = %s::text))))"
)
#: The SQL of what a server can be made from; arguments: admin, project id, project id.
_BOOTABLE = (
    "(image.status = 'active' and (%s::boolean or image.project_id = %s::text"
    " or image.visibility in ('public', 'community') or (image.visibility = 'shared' and exists"
    " (select from image_member m where m.image_id = image.id and m.project_id = %s::text"
    " and m.status = 'accepted'))))"
)

#: The SQL of whether an open operation still makes a server's disks from an image: until it has
#: ended, what is stored of the image stays, even if it was deleted meanwhile.
AWAITED = (
    "exists (select from operation o left join server s on s.id = o.server_id"
    " where o.finished_at is null and ((o.kind = 'create' and s.image_id = image.id)"
    " or o.arguments ->> 'image_id' = image.id::text))"
)


def seen_by(who: Who | None) -> tuple[bool, str | None, str | None]:
    """The three arguments of the conditions; None is the operator."""
    return (True, None, None) if who is None else (who.admin, who.project_id, who.project_id)


async def everything(tx: Any, who: Who | None) -> list[Any]:
    """Every image that the caller sees, by id; None is the operator."""
    rows: list[Any] = await tx.all(
        f"select {_COLUMNS} from image where {VISIBLE} order by id", seen_by(who)
    )
    return rows


async def seen(
    tx: Any, who: Who | None, ref: str, *, bootable: bool = False, lock: bool = False
) -> Any:
    """The image of this UUID, if the caller sees it.

    :param bootable: whether it must be one that the caller may make a server from.
    :raise NotFound: when there is none; anything can stand in ``ref``.
    """
    uuid = parse_uuid(ref)
    if lock and uuid:
        # Apart from reading it: a statement that has waited for the row still sees the tags and
        # properties of the time at which it began to wait.
        await tx.run(
            f"select from image where image.uuid = %s::uuid and {VISIBLE} for update of image",
            (uuid, *seen_by(who)),
        )
    row = uuid and await tx.first(
        f"select {_COLUMNS} from image where image.uuid = %s::uuid"
        f" and {_BOOTABLE if bootable else VISIBLE}",
        (uuid, *seen_by(who)),
    )
    if not row:
        raise NotFound(f"No image found with ID {ref}", "image")
    return row


async def insert(tx: Any, columns: Mapping[str, Any]) -> int:
    """Write an image's row; return its id.

    :param columns: names that this program wrote, and their values.
    """
    image_id: int = await tx.value(
        f"insert into image ({', '.join(columns)}) values"
        f" ({', '.join(f'%({name})s' for name in columns)}) returning id",
        dict(columns),
    )
    return image_id


async def insert_free(tx: Any, columns: Mapping[str, Any]) -> Any:
    """Write an image's row, perhaps with a UUID that somebody chose.

    :param columns: names that this program wrote, and their values.
    :return: a row with ``id`` and ``uuid``, or None when the UUID is taken.
    """
    return await tx.first(
        f"insert into image ({', '.join(columns)}) values"
        f" ({', '.join(f'%({name})s' for name in columns)})"
        " on conflict (uuid) do nothing returning id, uuid::text",
        dict(columns),
    )


async def count(tx: Any, project_id: str) -> int:
    """How many images a project has."""
    found: int = await tx.value(
        "select count(*) from image where project_id = %s and deleted_at is null", (project_id,)
    )
    return found


async def check_project(tx: Any, project_id: str) -> None:
    """See that there is a project.

    :raise BadRequest: when there is none; anything can stand there.
    """
    if not await tx.value("select exists (select from project where id = %s)", (project_id,)):
        raise BadRequest(f"There is no project {project_id[:80]!r}.")


async def mark_deleted(tx: Any, image_id: int) -> None:
    """Let nobody see an image again; whom it was shared with is forgotten."""
    await tx.run("delete from image_member where image_id = %s", (image_id,))
    await tx.run(
        "update image set status = 'deleted', deleted_at = now(), updated_at = now() where id = %s",
        (image_id,),
    )


async def tell(tx: Any, kind: str, image_id: int) -> None:
    """Tell of an image as it is now.

    :param kind: ``image.created``, ``image.changed`` or, before it is deleted,
        ``image.deleted``.
    """
    await tx.run(
        "with made as (insert into event (kind, subject, project_id, body)"
        " select %s, image.uuid::text, image.project_id, jsonb_build_object('image',"
        " jsonb_build_object('id', image.uuid, 'name', image.name, 'status', image.status,"
        " 'visibility', image.visibility, 'size', image.size_bytes))"
        f" from image where image.id = %s returning 1) {NOTIFY}",
        (kind, image_id),
    )


async def update(tx: Any, image_id: int, columns: Mapping[str, Any]) -> None:
    """Change columns of an image.

    :param columns: names that this program wrote, and their values.
    """
    changes = "".join(f"{name} = %({name})s, " for name in columns)
    await tx.run(
        f"update image set {changes}updated_at = now() where id = %(image)s",
        {**columns, "image": image_id},
    )


async def set_properties(tx: Any, image_id: int, properties: Mapping[str, str]) -> None:
    """Let an image have these properties and no others."""
    await tx.run("delete from image_property where image_id = %s", (image_id,))
    await tx.run(
        "insert into image_property (image_id, key, value)"
        " select %s, key, value from unnest(%s::text[], %s::text[]) as p (key, value)",
        (image_id, list(properties), list(properties.values())),
    )


async def set_tags(tx: Any, image_id: int, tags: tuple[str, ...]) -> None:
    """Let an image have these tags and no others."""
    await tx.run("delete from image_tag where image_id = %s", (image_id,))
    await tx.run(
        "insert into image_tag (image_id, tag) select distinct %s::bigint, tag"
        " from unnest(%s::text[]) as t (tag)",
        (image_id, list(tags)),
    )
