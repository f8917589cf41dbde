"""The operator's list of volumes, and how one is found by what an operator types."""

from __future__ import annotations

import re
from typing import Any

from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.names import Names
from cyclades_tx.store.listings import NUMBER, TIME, TRUTH, Column, Listing

_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)

VOLUMES = Listing(
    "volume v join volume_type t on t.id = v.volume_type_id"
    " left join server s on s.id = v.server_id left join cluster c"
    " on c.id = coalesce(s.cluster_id, v.cluster_id)"
    " left join project p on p.id = v.project_id left join user_account u on u.id = v.user_id",
    (
        Column("id", "v.id", NUMBER),
        Column("uuid", "v.uuid::text", shown=False),
        Column("name", "v.name"),
        Column("description", "coalesce(v.description, '')", shown=False),
        Column("size", "v.size_gib", NUMBER),
        Column("status", "v.status"),
        Column(
            "source",
            "coalesce(v.source_kind || ':' || v.source_uuid::text, 'blank')",
            shown=False,
        ),
        Column(
            "disk_template",
            "t.disk_template || coalesce('_' || t.provider, '')",
            also=("t.disk_template",),
        ),
        Column("volume_type", "t.name", also=("t.id::text", "t.uuid::text")),
        Column("server", "s.id", NUMBER, also=("s.name", "s.uuid::text")),
        Column("position", "v.position", NUMBER, shown=False),
        Column("backend", "coalesce(c.name, '')", also=("c.id::text",), shown=False),
        Column("user", "coalesce(u.name, v.user_id::text)", also=("v.user_id::text", "u.email")),
        Column("project", "coalesce(p.name, '')", also=("p.id::text",)),
        Column("project.id", "p.id::text", shown=False),
        Column("root", "v.local", TRUTH, shown=False),
        Column("has_disk", "v.initialised", TRUTH, shown=False),
        Column("bootable", "v.bootable", TRUTH, shown=False),
        Column("delete_on_termination", "v.delete_on_termination", TRUTH, shown=False),
        Column("created", "v.created_at", TIME, shown=False),
        Column("deleted", "v.deleted_at is not null", TRUTH, shown=False),
    ),
    "v.id",
    "v.deleted_at is null",
    "v.deleted_at is not null",
)


async def volume(querier: Any, names: Names, ref: str) -> Any:
    """The live volume with this id, UUID or Ganeti name, or None.

    :return: id, uuid, name, project_id, user_id, server_id, and whether it is a server's own
        root disk.
    """
    number = names.volume_id(ref)
    if number is None and _DIGITS.fullmatch(ref):
        number = int(ref)
    return await querier.first(
        "select id, uuid::text as uuid, name, project_id::text as project_id,"
        " user_id::text as user_id, server_id, local from volume where deleted_at is null"
        " and (id = %s::bigint or uuid = %s::uuid) order by id limit 1",
        (number, parse_uuid(ref)),
    )
