"""The tags that people give to things of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cyclades_tx.errors import NotFound
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who
from cyclades_tx.store.networks import visible


class Tagged(NamedTuple):
    """A kind of thing that can have tags.

    :ivar table: its table; the tags are in ``TABLE_user_tag``, by ``TABLE_id``.
    :ivar source: the table joined with what tells whose it is.
    :ivar seen: the condition of who sees it; two arguments: admin, project id.
    :ivar owner: the expression of its project.
    :ivar kind: the noun of the missing thing; empty: the table's name.
    """

    table: str
    source: str
    seen: str
    owner: str
    label: str
    kind: str = ""


def _own(table: str, label: str) -> Tagged:
    """What only its project sees."""
    seen = f"(%s::boolean or {table}.project_id = %s::text)"
    return Tagged(table, table, seen, f"{table}.project_id", label)


#: By the path of the collection.
KINDS = {
    "networks": Tagged("network", "network", visible("network"), "network.project_id", "Network"),
    "subnets": Tagged(
        "subnet",
        "subnet join network on network.id = subnet.network_id",
        "(network.deleted_at is null and (%s::boolean or network.project_id = %s::text"
        " or network.shared))",
        "network.project_id",
        "Subnet",
    ),
    "subnetpools": Tagged(
        "subnet_pool",
        "subnet_pool",
        "(%s::boolean or subnet_pool.project_id = %s::text or subnet_pool.shared)",
        "subnet_pool.project_id",
        "Subnet pool",
        "subnetpool",
    ),
    "ports": Tagged(
        "port",
        "port",
        # As in its collection: the interface of a floating IP is not seen as a port.
        "(%s::boolean or (port.project_id = %s::text"
        " and port.device_owner <> 'network:floatingip'))",
        "port.project_id",
        "Port",
    ),
    "routers": _own("router", "Router"),
    "floatingips": Tagged(
        "floating_ip",
        "floating_ip",
        "(floating_ip.released_at is null and (%s::boolean or floating_ip.project_id = %s::text))",
        "floating_ip.project_id",
        "Floating IP",
        "floatingip",
    ),
    "security-groups": _own("security_group", "Security group"),
}


async def seen(querier: Any, who: Who, kind: str, ref: str, *, lock: bool = False) -> Any:
    """The id and project of a thing that the caller sees.

    :param lock: whether it stays as it is until the commit.
    :raise NotFound: when there is none of that UUID; anything can stand in ``ref``.
    """
    tagged = KINDS[kind]
    uuid = parse_uuid(ref)
    row = uuid and await querier.first(
        f"select {tagged.table}.id, {tagged.owner} as project_id from {tagged.source}"
        f" where {tagged.table}.uuid = %s::uuid and {tagged.seen}"
        f"{f' for update of {tagged.table}' if lock else ''}",
        (uuid, who.admin, who.project_id),
    )
    if not row:
        raise NotFound(f"{tagged.label} {ref} could not be found.", tagged.kind or tagged.table)
    return row


async def tags_of(querier: Any, kind: str, thing_id: int) -> list[str]:
    """The tags of a thing, in order."""
    table = KINDS[kind].table
    rows = await querier.all(
        f"select tag from {table}_user_tag where {table}_id = %s order by tag", (thing_id,)
    )
    return [row.tag for row in rows]


async def replace(tx: Any, kind: str, thing_id: int, tags: Sequence[str]) -> None:
    """Give a locked thing these tags; its revision number grows."""
    table = KINDS[kind].table
    await tx.run(f"delete from {table}_user_tag where {table}_id = %s", (thing_id,))
    await tx.run(
        f"insert into {table}_user_tag ({table}_id, tag) select %s, unnest(%s::text[])",
        (thing_id, list(tags)),
    )
    await tx.run(
        f"update {table} set revision = revision + 1, updated_at = now() where id = %s",
        (thing_id,),
    )
