"""Server groups in the database: who belongs together, and who is to be kept apart."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.placement import Company


class Group(NamedTuple):
    """A server group as a new server meets it."""

    id: int
    uuid: UUID
    policy: str
    most_per_host: int | None


_COLUMNS = "g.id, g.uuid, g.policy, g.most_per_host"


async def insert(
    tx: Any, project_id: str, user_id: str, name: str, policy: str, most_per_host: int | None
) -> str:
    """Add a group; return its UUID."""
    uuid: UUID = await tx.value(
        "insert into server_group (project_id, user_id, name, policy, most_per_host)"
        " values (%s, %s, %s, %s, %s) returning uuid",
        (project_id, user_id, name, policy, most_per_host),
    )
    return str(uuid)


async def lock_project(tx: Any, project_id: str) -> None:
    """Make others who count a project's groups wait; the row of the project is not changed."""
    await tx.run("select 1 from project where id = %s for no key update", (project_id,))


async def count(querier: Any, project_id: str) -> int:
    """How many groups a project has."""
    found: int = await querier.value(
        "select count(*) from server_group where project_id = %s", (project_id,)
    )
    return found


async def find(querier: Any, project_id: str, ref: str) -> Group | None:
    """A group of a project, or None.

    :param ref: what stood in the request: anything.
    """
    uuid = parse_uuid(ref)
    if uuid is None:
        return None
    row = await querier.first(
        f"select {_COLUMNS} from server_group g where g.uuid = %s and g.project_id = %s",
        (uuid, project_id),
    )
    return None if row is None else Group(*row)


async def lock(tx: Any, group_id: int) -> Group | None:
    """Lock a group's row, after the holdings and before any server's; None when it is gone."""
    row = await tx.first(
        f"select {_COLUMNS} from server_group g where g.id = %s for update", (group_id,)
    )
    return None if row is None else Group(*row)


async def company(querier: Any, group: Group) -> Company:
    """Where the servers of a group are: those that there still are, by cluster."""
    rows = await querier.all(
        "select s.cluster_id, count(*)::bigint as count from server_group_member m"
        " join server s on s.id = m.server_id where m.server_group_id = %s"
        " and s.deleted_at is null and s.cluster_id is not null group by s.cluster_id",
        (group.id,),
    )
    return Company(
        group.policy, group.most_per_host or 1, {row.cluster_id: row.count for row in rows}
    )


async def add_member(tx: Any, group_id: int, server_id: int) -> None:
    """Put a new server into a group."""
    await tx.run(
        "insert into server_group_member (server_group_id, server_id) values (%s, %s)",
        (group_id, server_id),
    )


async def delete(tx: Any, ref: str, project_id: str | None) -> bool:
    """Remove a group; its servers stay where they are. False when there is none.

    :param project_id: None: of any project.
    """
    uuid = parse_uuid(ref)
    if uuid is None:
        return False
    gone: int = await tx.run(
        "delete from server_group where uuid = %s and (%s::text is null or project_id = %s)",
        (uuid, project_id, project_id),
    )
    return gone > 0
