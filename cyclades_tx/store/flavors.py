"""Flavors in the database."""

from __future__ import annotations

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
