"""Flavors in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who

#: Which flavors a caller sees: public ones, and those that the project was given.
VISIBLE = (
    "f.deleted_at is null and (%(admin)s or f.public or exists (select 1 from flavor_access a"
    " where a.flavor_id = f.id and a.project_id = %(project)s))"
)


async def usable(querier: Any, who: Who, ref: str) -> Any:
    """The flavor that a URL or an id names, if the caller may use it, or None."""
    uuid = parse_uuid(ref.rstrip("/").rsplit("/", 1)[-1])
    if uuid is None:
        return None
    return await querier.first(
        "select f.id, f.uuid, f.name, f.vcpus, f.memory_mib, f.disk_gib, f.volume_type_id,"
        " f.allow_create, t.disk_template, t.provider"
        " from flavor f join volume_type t on t.id = f.volume_type_id"
        f" where f.uuid = %(uuid)s and {VISIBLE}",
        {"uuid": uuid, "admin": who.admin, "project": who.project_id},
    )


async def named(querier: Any, ref: str) -> Any:
    """The live flavor with this id, UUID or name, for operators, or None."""
    return await querier.first(
        "select f.id, f.uuid::text, f.name from flavor f where f.deleted_at is null"
        " and (f.id::text = %(it)s::text or f.uuid::text = lower(%(it)s::text)"
        " or f.name = %(it)s::text)"
        " order by (f.id::text = %(it)s::text) desc, (f.uuid::text = lower(%(it)s::text)) desc"
        " limit 1",
        {"it": ref},
    )


async def any_by_id(querier: Any, ref: str) -> Any:
    """The flavor with this id or UUID, deleted or not, for operators, or None."""
    return await querier.first(
        "select f.id, f.uuid::text, f.name, f.deleted_at is not null as deleted from flavor f"
        " where f.id::text = %(it)s::text or f.uuid::text = lower(%(it)s::text) limit 1",
        {"it": ref},
    )


async def volume_type(querier: Any, ref: str) -> Any:
    """The live volume type with this id, UUID, name or disk template (the first), or None."""
    return await querier.first(
        "select t.id, t.name, t.disk_template, t.provider from volume_type t"
        " where t.deleted_at is null and (t.id::text = %(it)s::text"
        " or t.uuid::text = lower(%(it)s::text) or t.name = %(it)s::text"
        " or t.disk_template = %(it)s::text)"
        " order by (t.id::text = %(it)s::text) desc, (t.name = %(it)s::text) desc, t.id limit 1",
        {"it": ref},
    )


async def any_volume_type(querier: Any, ref: str) -> Any:
    """The volume type with this id, UUID or (a live one) name, for operators, or None."""
    return await querier.first(
        "select t.id, t.name, t.deleted_at is not null as deleted from volume_type t"
        " where t.id::text = %(it)s::text or t.uuid::text = lower(%(it)s::text)"
        " or (t.name = %(it)s::text and t.deleted_at is null)"
        " order by (t.id::text = %(it)s::text) desc, (t.name = %(it)s::text) desc limit 1",
        {"it": ref},
    )


async def set_volume_type_deleted(tx: Any, type_id: int, deleted: bool) -> None:
    """Take a volume type and its flavors away from users, or give the type back."""
    await tx.run(
        "update volume_type set deleted_at = case when %s then coalesce(deleted_at, now()) end"
        " where id = %s",
        (deleted, type_id),
    )
    if deleted:
        await tx.run(
            "update flavor set deleted_at = now() where volume_type_id = %s and deleted_at is null",
            (type_id,),
        )


async def insert_volume_type(
    tx: Any, name: str, disk_template: str, provider: str | None
) -> int | None:
    """Add a volume type; return its id, or None when the name is taken."""
    type_id: int | None = await tx.value(
        "insert into volume_type (name, disk_template, provider) values (%s, %s, %s)"
        " on conflict do nothing returning id",
        (name, disk_template, provider),
    )
    return type_id


async def insert(
    tx: Any,
    *,
    name: str,
    vcpus: int,
    memory_mib: int,
    disk_gib: int,
    volume_type_id: int,
    public: bool,
    uuid: str | None = None,
    description: str | None = None,
) -> int | None:
    """Add a flavor; return its id, or None when the name or the UUID is taken."""
    flavor_id: int | None = await tx.value(
        "insert into flavor (name, vcpus, memory_mib, disk_gib, volume_type_id, public, uuid,"
        " description) values (%s, %s, %s, %s, %s, %s, coalesce(%s::uuid, gen_random_uuid()), %s)"
        " on conflict do nothing returning id",
        (name, vcpus, memory_mib, disk_gib, volume_type_id, public, uuid, description),
    )
    return flavor_id


async def first_volume_type(querier: Any) -> int | None:
    """The id of the oldest volume type that everyone may use, or None."""
    found: int | None = await querier.value(
        "select id from volume_type where deleted_at is null and public order by id limit 1"
    )
    return found


async def live(querier: Any, uuid: str) -> Any:
    """The live flavor with this UUID, or None."""
    return await querier.first(
        "select id, uuid::text, name, public from flavor"
        " where uuid = %s::uuid and deleted_at is null",
        (uuid,),
    )


async def describe(querier: Any, flavor_id: int, description: str | None) -> None:
    """Write down what a flavor is for."""
    await querier.run("update flavor set description = %s where id = %s", (description, flavor_id))


async def alike(
    querier: Any, vcpus: int, memory_mib: int, disk_gib: int, volume_type_id: int
) -> Any:
    """A live flavor of just these sizes on this volume type, or None."""
    return await querier.first(
        "select id, name from flavor where vcpus = %s and memory_mib = %s and disk_gib = %s"
        " and volume_type_id = %s and deleted_at is null order by id limit 1",
        (vcpus, memory_mib, disk_gib, volume_type_id),
    )


async def update(tx: Any, flavor_id: int, changes: Mapping[str, Any]) -> None:
    """Change ``allow_create``, ``public`` or ``deleted``."""
    settings = [f"{name} = %({name})s" for name in ("allow_create", "public") if name in changes]
    if "deleted" in changes:
        settings.append("deleted_at = case when %(deleted)s then coalesce(deleted_at, now()) end")
    if settings:
        await tx.run(
            f"update flavor set {', '.join(settings)} where id = %(id)s",
            {**changes, "id": flavor_id},
        )


async def add_specs(tx: Any, owner: str, owner_id: int, specs: Mapping[str, str]) -> None:
    """Add or change specs.

    :param owner: ``flavor`` or ``volume_type``.
    """
    assert owner in ("flavor", "volume_type")
    await tx.run(
        f"insert into {owner}_spec ({owner}_id, key, value)"
        " select %s, key, value from unnest(%s::text[], %s::text[]) as s (key, value)"
        f" on conflict ({owner}_id, key) do update set value = excluded.value",
        (owner_id, list(specs), list(specs.values())),
    )


async def delete_specs(
    tx: Any, flavor_id: int, keys: Sequence[str], owner: str = "flavor"
) -> list[str]:
    """Remove specs; return the keys that there were.

    :param owner: ``flavor`` or ``volume_type``.
    """
    assert owner in ("flavor", "volume_type")
    gone = await tx.all(
        f"delete from {owner}_spec where {owner}_id = %s and key = any (%s::text[]) returning key",
        (flavor_id, list(keys)),
    )
    return [row.key for row in gone]


async def give(tx: Any, flavor_id: int, project_id: str) -> bool:
    """Let a project use a flavor that is not public; False when it may already."""
    added: int = await tx.run(
        "insert into flavor_access (flavor_id, project_id) values (%s, %s) on conflict do nothing",
        (flavor_id, project_id),
    )
    return added > 0


async def take(tx: Any, flavor_id: int | None, project_id: str | None) -> int:
    """Take a flavor from a project, from all, or all from a project; return how many."""
    gone: int = await tx.run(
        "delete from flavor_access where (%(flavor)s::bigint is null"
        " or flavor_id = %(flavor)s::bigint) and (%(project)s::text is null"
        " or project_id = %(project)s::text)",
        {"flavor": flavor_id, "project": project_id},
    )
    return gone
