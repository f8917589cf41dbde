"""Projects: the SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COLUMNS = ("name", "description", "enabled")

#: What keeps a project from being deleted: the word for people and where it is counted.
_LIVE = (
    ("servers", "server", "deleted_at is null"),
    ("volumes", "volume", "deleted_at is null"),
    ("snapshots", "snapshot", "deleted_at is null"),
    ("images", "image", "deleted_at is null"),
    ("floating IPs", "floating_ip", "true"),
    ("ports", "port", "true"),
    ("routers", "router", "true"),
    ("subnet pools", "subnet_pool", "true"),
    ("networks", "network", "deleted_at is null"),
    ("security groups", "security_group", "name <> 'default'"),
    ("server groups", "server_group", "true"),
)

# What is left of things that were deleted long ago. Others may still point at images and
# networks; those keep their history without an owner.
_HISTORY = (
    "delete from operation where server_id in (select id from server where project_id = %(id)s)"
    " or volume_id in (select id from volume where project_id = %(id)s)",
    "delete from firewall_wish where server_id in"
    " (select id from server where project_id = %(id)s)",
    "delete from snapshot where project_id = %(id)s",
    "delete from volume where project_id = %(id)s",
    "delete from server where project_id = %(id)s",
    "update image set project_id = null where project_id = %(id)s",
    "update network set project_id = null where project_id = %(id)s",
    "delete from security_group where project_id = %(id)s",
    "delete from idempotency_key where project_id = %(id)s",
)


async def insert(tx: Any, project_id: str, name: str, description: str, enabled: bool) -> bool:
    """Store a new project; False when the name is taken."""
    stored: int = await tx.run(
        "insert into project (id, name, description, enabled) values (%s, %s, %s, %s)"
        " on conflict (name) do nothing",
        (project_id, name, description, enabled),
    )
    return stored > 0


async def update(tx: Any, project_id: str, changes: Mapping[str, Any]) -> bool:
    """Change columns of a project; False when there is no such one.

    :param changes: of name, description and enabled.
    """
    columns = [column for column in _COLUMNS if column in changes]
    setting = ", ".join(f"{column} = %({column})s" for column in columns) or "name = name"
    touched: int = await tx.run(
        f"update project set {setting} where id = %(id)s", {**changes, "id": project_id}
    )
    return touched > 0


async def lock(tx: Any, project_id: str) -> bool:
    """Lock a project and its holdings, so that nothing is added to it; False: no such one."""
    await tx.all(
        "select 1 from holding where project_id = %s order by resource for update", (project_id,)
    )
    return (
        await tx.value("select id::text from project where id = %s for update", (project_id,))
        is not None
    )


async def live(tx: Any, project_id: str) -> dict[str, int]:
    """Count what a project still has, by a word for people; only what is there."""
    parts = " union all ".join(
        f"select '{word}' as word, count(*) as number from {table}"
        f" where project_id = %(id)s and {condition}"
        for word, table, condition in _LIVE
    )
    rows = await tx.all(
        f"select word, number from ({parts}) c where number > 0", {"id": project_id}
    )
    return {row.word: row.number for row in rows}


async def delete(tx: Any, project_id: str) -> None:
    """Remove a locked project without live things, and what is left of its past."""
    for statement in _HISTORY:
        await tx.run(statement, {"id": project_id})
    await tx.run("delete from project where id = %s", (project_id,))


async def find(querier: Any, name_or_id: str) -> str | None:
    """The id of the project with this id or name."""
    found: str | None = await querier.value(
        "select id::text from project where id = %(it)s::text or name = %(it)s::text"
        " order by (id = %(it)s::text) desc limit 1",
        {"it": name_or_id},
    )
    return found


async def all_rows(querier: Any) -> list[Any]:
    """Every project: id, name, description, enabled, created_at; by name."""
    rows: list[Any] = await querier.all(
        "select id::text, name, description, enabled, created_at from project order by name"
    )
    return rows


async def shown(
    database: Any, document: str, base_url: str, project_id: str, member_id: str | None
) -> bytes | None:
    """Write a project's document, or None.

    :param document: the SQL of the document; its first placeholder is the base URL.
    :param member_id: only if this user has a role in it; None: in any case.
    """
    document_bytes: bytes | None = await database.document(
        f"select {document} from project p where p.id = %s::text"
        " and (%s::text is null or exists (select from role_assignment a"
        " where a.project_id = p.id and a.user_id = %s::text))",
        (base_url, project_id, member_id, member_id),
    )
    return document_bytes


async def listed(
    database: Any,
    document: str,
    listing: str,
    base_url: str,
    self_url: str,
    *,
    name: str | None = None,
    enabled: bool | None = None,
    member_id: str | None = None,
    only_id: str | None = None,
) -> bytes:
    """Write the document of a list of projects.

    :param document: the SQL of one; its placeholder is the base URL.
    :param listing: the SQL of the whole around ``document``; its placeholder is the list's URL.
    :param member_id: only those in which this user has a role.
    :param only_id: only this one.
    """
    text: bytes = await database.document(
        f"select {listing} from (select {document} as document, p.name, p.id from project p"
        " where (%s::text is null or p.name = %s::text)"
        " and (%s::boolean is null or p.enabled = %s::boolean)"
        " and (%s::text is null or exists (select from role_assignment a"
        " where a.project_id = p.id and a.user_id = %s::text))"
        " and (%s::text is null or p.id = %s::text)) listed",
        (
            *(self_url, base_url),
            *(name, name),
            *(enabled, enabled),
            *(member_id, member_id),
            *(only_id, only_id),
        ),
    )
    return text
