"""Tokens that an operator writes for a moment, with access to the database as the proof."""

from __future__ import annotations

from typing import Any

from cyclades_tx.store import tokens


async def issue(
    querier: Any,
    token_hash: bytes,
    user_id: str,
    project_id: str,
    method: str,
    audit_id: str,
    lifetime_seconds: float,
) -> bool:
    """Store a token for a user in a project; False when one of them is disabled or gone."""
    stored: int = await querier.run(
        "insert into token (hash, user_id, project_id, methods, audit_ids, expires_at)"
        " select %s, u.id, p.id, array[%s], array[%s], now() + make_interval(secs => %s)"
        " from user_account u, project p"
        " where u.id = %s and u.enabled and p.id = %s and p.enabled",
        (token_hash, method, audit_id, lifetime_seconds, user_id, project_id),
    )
    return stored > 0


async def revoke(database: Any, token_hash: bytes) -> None:
    """End such a token."""

    async def work(tx: Any) -> None:
        await tokens.revoke(tx, token_hash)

    await database.transaction(work, "token.revoke")
