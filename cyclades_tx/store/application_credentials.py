"""Application credentials: the SQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any


async def insert(
    tx: Any,
    credential_id: str,
    user_id: str,
    project_id: str,
    name: str,
    description: str,
    secret_hash: str,
    role_ids: list[str],
    unrestricted: bool,
    expires_at: datetime | None,
) -> bool:
    """Store a new credential; False when the user has one of that name."""
    stored: int = await tx.run(
        "insert into application_credential (id, user_id, project_id, name, description,"
        " secret_hash, role_ids, unrestricted, expires_at)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict (user_id, name) do nothing",
        (
            credential_id,
            user_id,
            project_id,
            name,
            description,
            secret_hash,
            role_ids,
            unrestricted,
            expires_at,
        ),
    )
    return stored > 0


async def is_past(querier: Any, at: datetime) -> bool:
    """Whether a time has come, by PostgreSQL's clock."""
    return bool(await querier.value("select %s::timestamptz <= now()", (at,)))


async def unrestricted(querier: Any, credential_id: str) -> bool:
    """Whether a credential may be used to manage credentials."""
    return bool(
        await querier.value(
            "select unrestricted from application_credential where id = %s::text", (credential_id,)
        )
    )


async def delete(tx: Any, user_id: str, credential_id: str) -> bool:
    """Remove a user's credential with its tokens; False when there is no such one."""
    gone: int = await tx.run(
        "delete from application_credential where user_id = %s::text and id = %s::text",
        (user_id, credential_id),
    )
    return gone > 0


async def shown(
    database: Any, document: str, base_url: str, user_id: str, credential_id: str
) -> bytes | None:
    """Write the document of a user's credential, or None.

    :param document: the SQL of the document; its placeholder is the base URL.
    """
    text: bytes | None = await database.document(
        f"select {document} from application_credential c"
        " where c.user_id = %s::text and c.id = %s::text",
        (base_url, user_id, credential_id),
    )
    return text


async def listed(
    database: Any,
    document: str,
    listing: str,
    base_url: str,
    self_url: str,
    user_id: str,
    *,
    name: str | None = None,
) -> bytes:
    """Write the document of a list of a user's credentials.

    :param document: the SQL of one; its placeholder is the base URL.
    :param listing: the SQL of the whole around ``document``; its placeholder is the list's URL.
    """
    text: bytes = await database.document(
        f"select {listing} from (select {document} as document, c.name, c.id"
        " from application_credential c where c.user_id = %s::text"
        " and (%s::text is null or c.name = %s::text)) listed",
        (self_url, base_url, user_id, name, name),
    )
    return text
