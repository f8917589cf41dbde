"""Key pairs in the database: they belong to a user, in whatever project."""

from __future__ import annotations

from typing import Any


async def public_key(querier: Any, user_id: str, name: str) -> str | None:
    """The text of a user's public key, or None when there is none of that name."""
    found: str | None = await querier.value(
        "select public_key from key_pair where user_id = %s and name = %s", (user_id, name)
    )
    return found


async def lock_owner(tx: Any, user_id: str) -> bool:
    """Hold a user's row until the transaction ends; False when there is no such user."""
    found = await tx.value(
        "select 1 from user_account where id::text = %s for no key update", (user_id,)
    )
    return found is not None


async def count(querier: Any, user_id: str) -> int:
    """How many key pairs a user has."""
    found: int = await querier.value("select count(*) from key_pair where user_id = %s", (user_id,))
    return found


async def insert(tx: Any, user_id: str, name: str, text: str, fingerprint: str) -> bool:
    """Add a key pair; False when the name is taken."""
    touched: int = await tx.run(
        "insert into key_pair (user_id, name, public_key, fingerprint) values (%s, %s, %s, %s)"
        " on conflict (user_id, name) do nothing",
        (user_id, name, text, fingerprint),
    )
    return touched == 1


async def delete(querier: Any, user_id: str, name: str) -> bool:
    """Remove a key pair; False when there is none of that name."""
    touched: int = await querier.run(
        "delete from key_pair where user_id::text = %s and name = %s", (user_id, name)
    )
    return touched == 1
