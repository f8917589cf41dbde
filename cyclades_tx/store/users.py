"""Users: the SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COLUMNS = ("name", "description", "email", "enabled", "default_project_id")


async def insert(
    tx: Any,
    user_id: str,
    name: str,
    password_hash: str | None,
    description: str,
    email: str | None,
    enabled: bool,
    default_project_id: str | None,
) -> bool:
    """Store a new user; False when the name is taken."""
    stored: int = await tx.run(
        "insert into user_account (id, name, password_hash, password_changed_at, description,"
        " email, enabled, default_project_id) values (%(id)s, %(name)s, %(hash)s,"
        " case when %(hash)s::text is not null then now() end, %(description)s, %(email)s,"
        " %(enabled)s, %(default_project_id)s) on conflict (name) do nothing",
        {
            "id": user_id,
            "name": name,
            "hash": password_hash,
            "description": description,
            "email": email,
            "enabled": enabled,
            "default_project_id": default_project_id,
        },
    )
    return stored > 0


async def update(tx: Any, user_id: str, changes: Mapping[str, Any]) -> bool:
    """Change columns of a user; False when there is no such one.

    :param changes: of name, description, email, enabled, default_project_id, password_hash.
    """
    settings = [f"{column} = %({column})s" for column in _COLUMNS if column in changes]
    if "password_hash" in changes:
        settings += ["password_hash = %(password_hash)s", "password_changed_at = now()"]
    touched: int = await tx.run(
        f"update user_account set {', '.join(settings) or 'name = name'} where id = %(id)s",
        {**changes, "id": user_id},
    )
    return touched > 0


async def delete(tx: Any, user_id: str) -> bool:
    """Remove a user with all credentials, tokens, roles and key pairs; False: no such one."""
    gone: int = await tx.run("delete from user_account where id = %s", (user_id,))
    return gone > 0


async def find(querier: Any, name_or_id: str) -> str | None:
    """The id of the user with this id or name."""
    found: str | None = await querier.value(
        "select id::text from user_account where id = %(it)s::text or name = %(it)s::text"
        " order by (id = %(it)s::text) desc limit 1",
        {"it": name_or_id},
    )
    return found


async def all_rows(querier: Any) -> list[Any]:
    """Every user: id, name, description, email, enabled, default_project_id; by name."""
    rows: list[Any] = await querier.all(
        "select id::text, name, description, email, enabled, default_project_id::text, created_at"
        " from user_account order by name"
    )
    return rows


async def shown(database: Any, document: str, base_url: str, user_id: str) -> bytes | None:
    """Write a user's document, or None.

    :param document: the SQL of the document; its placeholder is the base URL.
    """
    text: bytes | None = await database.document(
        f"select {document} from user_account u where u.id = %s::text", (base_url, user_id)
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
    enabled: bool | None = None,
    only_id: str | None = None,
) -> bytes:
    """Write the document of a list of users.

    :param document: the SQL of one; its placeholder is the base URL.
    :param listing: the SQL of the whole around ``document``; its placeholder is the list's URL.
    :param only_id: only this one.
    """
    text: bytes = await database.document(
        f"select {listing} from (select {document} as document, u.name, u.id from user_account u"
        " where (%s::text is null or u.name = %s::text)"
        " and (%s::boolean is null or u.enabled = %s::boolean)"
        " and (%s::text is null or u.id = %s::text)) listed",
        (self_url, base_url, name, name, enabled, enabled, only_id, only_id),
    )
    return text
