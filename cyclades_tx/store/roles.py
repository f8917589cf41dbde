"""Roles and who has them where: the SQL."""

from __future__ import annotations

from typing import Any

# Any number that no other advisory lock of ours uses.
_ADMINISTRATORS_LOCK = 7_231_904_411_250_001


async def lock_administrators(tx: Any) -> None:
    """Let only one transaction at a time change who the administrators are."""
    await tx.run("select pg_advisory_xact_lock(%s)", (_ADMINISTRATORS_LOCK,))


async def has_administrator(tx: Any) -> bool:
    """Whether somebody can log in with a password as administrator of an enabled project."""
    return bool(
        await tx.value(
            "select exists (select from role_assignment a join role r on r.id = a.role_id"
            " join user_account u on u.id = a.user_id join project p on p.id = a.project_id"
            " where r.name = 'admin' and u.enabled and p.enabled"
            " and u.password_hash is not null)"
        )
    )


async def insert(tx: Any, role_id: str, name: str) -> bool:
    """Store a new role; False when the name is taken."""
    stored: int = await tx.run(
        "insert into role (id, name) values (%s, %s) on conflict (name) do nothing",
        (role_id, name),
    )
    return stored > 0


async def rename(tx: Any, role_id: str, name: str) -> bool:
    """Give a role another name; False when there is no such one."""
    touched: int = await tx.run("update role set name = %s where id = %s", (name, role_id))
    return touched > 0


async def delete(tx: Any, role_id: str) -> bool:
    """Remove a role and take it from everybody; False when there is no such one."""
    await tx.run("delete from role_assignment where role_id = %s", (role_id,))
    gone: int = await tx.run("delete from role where id = %s", (role_id,))
    return gone > 0


async def find(querier: Any, name_or_id: str) -> Any:
    """The role with this id or name as (id, name), or None."""
    return await querier.first(
        "select id::text, name from role where id = %(it)s::text or name = %(it)s::text"
        " order by (id = %(it)s::text) desc limit 1",
        {"it": name_or_id},
    )


async def all_rows(querier: Any) -> list[Any]:
    """Every role: id and name; by name."""
    rows: list[Any] = await querier.all("select id::text, name from role order by name")
    return rows


async def exist(querier: Any, user_id: str, project_id: str, role_id: str) -> Any:
    """Which of the three there are, as a row of three truths: user, project, role."""
    return await querier.first(
        'select exists (select from user_account where id = %s::text) as "user",'
        " exists (select from project where id = %s::text) as project,"
        " exists (select from role where id = %s::text) as role",
        (user_id, project_id, role_id),
    )


async def assign(tx: Any, user_id: str, project_id: str, role_id: str) -> None:
    """Give a user a role in a project; having it already is fine."""
    await tx.run(
        "insert into role_assignment (user_id, project_id, role_id) values (%s, %s, %s)"
        " on conflict do nothing",
        (user_id, project_id, role_id),
    )


async def unassign(tx: Any, user_id: str, project_id: str, role_id: str) -> bool:
    """Take a role in a project from a user; False when the user did not have it."""
    gone: int = await tx.run(
        "delete from role_assignment where user_id = %s::text and project_id = %s::text"
        " and role_id = %s::text",
        (user_id, project_id, role_id),
    )
    return gone > 0


async def assigned(querier: Any, user_id: str, project_id: str, role_id: str) -> bool:
    """Whether a user has a role in a project."""
    return bool(
        await querier.value(
            "select exists (select from role_assignment where user_id = %s::text"
            " and project_id = %s::text and role_id = %s::text)",
            (user_id, project_id, role_id),
        )
    )


async def held(querier: Any, user_id: str, project_id: str) -> list[Any]:
    """The roles (id, name) of a user in a project, by name."""
    rows: list[Any] = await querier.all(
        "select r.id::text, r.name from role_assignment a join role r on r.id = a.role_id"
        " where a.user_id = %s::text and a.project_id = %s::text order by r.name",
        (user_id, project_id),
    )
    return rows


async def shown(database: Any, document: str, base_url: str, role_id: str) -> bytes | None:
    """Write a role's document, or None.

    :param document: the SQL of the document; its placeholder is the base URL.
    """
    text: bytes | None = await database.document(
        f"select {document} from role r where r.id = %s::text", (base_url, role_id)
    )
    return text


async def listed(
    database: Any,
    document: str,
    listing: str,
    base_url: str,
    self_url: str,
    *,
    name: str | None = None,
    of: tuple[str, str] | None = None,
) -> bytes:
    """Write the document of a list of roles.

    :param document: the SQL of one; its placeholder is the base URL.
    :param listing: the SQL of the whole around ``document``; its placeholder is the list's URL.
    :param of: only the roles that this user has in this project.
    """
    user_id, project_id = of or (None, None)
    text: bytes = await database.document(
        f"select {listing} from (select {document} as document, r.name, r.id from role r"
        " where (%s::text is null or r.name = %s::text)"
        " and (%s::text is null or exists (select from role_assignment a where a.role_id = r.id"
        " and a.user_id = %s::text and a.project_id = %s::text))) listed",
        (self_url, base_url, name, name, user_id, user_id, project_id),
    )
    return text


async def assignments_listed(
    database: Any,
    document: str,
    listing: str,
    base_url: str,
    self_url: str,
    *,
    user_id: str | None = None,
    project_id: str | None = None,
    role_id: str | None = None,
) -> bytes:
    """Write the document of a list of role assignments.

    :param document: the SQL of one; its placeholder is the base URL.
    :param listing: the SQL of the whole around ``document``; its placeholder is the list's URL.
    """
    text: bytes = await database.document(
        f"select {listing} from (select {document} as document, u.name || ' ' || p.name as name,"
        " r.name as id from role_assignment a join role r on r.id = a.role_id"
        " join user_account u on u.id = a.user_id join project p on p.id = a.project_id"
        " where (%s::text is null or a.user_id = %s::text)"
        " and (%s::text is null or a.project_id = %s::text)"
        " and (%s::text is null or a.role_id = %s::text)) listed",
        (self_url, base_url, user_id, user_id, project_id, project_id, role_id, role_id),
    )
    return text
