"""Volume types in the database, as administrators change them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cyclades_tx.model.ids import parse_uuid


class Kind(NamedTuple):
    """A live volume type, and whether flavors or volumes are of it."""

    id: int
    uuid: str
    name: str
    used: bool


async def lock(tx: Any, ref: str) -> Kind | None:
    """Lock the live volume type with this UUID, or None; nobody makes anything of it meanwhile.

    :param ref: what stood in the request: anything.
    """
    uuid = parse_uuid(ref)
    if uuid is None:
        return None
    row = await tx.first(
        "select t.id, t.uuid::text as uuid, t.name, exists (select from flavor f"
        " where f.volume_type_id = t.id and f.deleted_at is null) or exists (select from volume v"
        " where v.volume_type_id = t.id and v.deleted_at is null) as used"
        " from volume_type t where t.uuid = %s::uuid and t.deleted_at is null for update of t",
        (uuid,),
    )
    return None if row is None else Kind(*row)


async def update(tx: Any, type_id: int, changes: Mapping[str, Any]) -> None:
    """Set columns of a locked type.

    :param changes: names of columns, which are never a stranger's words, with their values.
    """
    if changes:
        settings = ", ".join(f"{column} = %({column})s" for column in changes)
        await tx.run(
            f"update volume_type set {settings} where id = %(this)s", {**changes, "this": type_id}
        )


async def first_template(querier: Any) -> str | None:
    """The template of the oldest type with disks that everyone may use, or None."""
    found: str | None = await querier.value(
        "select disk_template || coalesce('_' || provider, '') from volume_type"
        " where deleted_at is null and public and disk_template <> 'diskless' order by id limit 1"
    )
    return found
