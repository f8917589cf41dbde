"""Replies to requests that may be repeated: one row for each key of a user in a project."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson


class Owner(NamedTuple):
    """Whose key it is, and the key."""

    project_id: str
    user_id: str
    key: str


_WHERE = " where project_id = %s and user_id = %s and key = %s"


async def begin(querier: Any, owner: Owner, request: bytes, request_id: str) -> bool:
    """Take a key for a request; False when it is taken."""
    taken: int = await querier.run(
        "insert into idempotency_key (project_id, user_id, key, request, request_id)"
        " values (%s, %s, %s, %s, %s) on conflict do nothing",
        (*owner, request, request_id),
    )
    return taken > 0


async def find(querier: Any, owner: Owner, cut_off_seconds: float) -> Any:
    """What a key was used for: ``request``, ``status`` (null: no reply yet), ``body``, ``headers``.

    :param cut_off_seconds: age at which a request without a reply is ``cut_off``; then ``began``
        says whether an operation of it is known.
    """
    return await querier.first(
        "select found.*, cut_off and exists"
        " (select from operation o where o.request_id = found.request_id) as began"
        " from (select request, status, body, headers, request_id,"
        " status is null and created_at < now() - make_interval(secs => %s) as cut_off"
        f" from idempotency_key{_WHERE}) found",
        (cut_off_seconds, *owner),
    )


async def take_over(querier: Any, owner: Owner, old_request_id: str, request_id: str) -> bool:
    """Take a key from a request that was cut off; False when another one was faster."""
    taken: int = await querier.run(
        f"update idempotency_key set created_at = now(), request_id = %s{_WHERE}"
        " and status is null and request_id = %s",
        (request_id, *owner, old_request_id),
    )
    return taken > 0


async def keep(
    querier: Any,
    owner: Owner,
    request_id: str,
    status: int,
    body: bytes,
    headers: dict[str, str],
) -> None:
    """Keep the reply.

    :param body: sealed.
    """
    await querier.run(
        f"update idempotency_key set status = %s, body = %s, headers = %s{_WHERE}"
        " and request_id = %s",
        (status, body, orjson.dumps(headers).decode(), *owner, request_id),
    )


async def forget(querier: Any, owner: Owner, request_id: str) -> None:
    """Give a key back: nothing was made."""
    await querier.run(
        f"delete from idempotency_key{_WHERE} and status is null and request_id = %s",
        (*owner, request_id),
    )


async def sweep(querier: Any, keep_seconds: float, most: int) -> int:
    """Throw old replies away; return how many."""
    gone: int = await querier.run(
        "delete from idempotency_key where ctid = any (array(select ctid from idempotency_key"
        " where created_at < now() - make_interval(secs => %s) limit %s))",
        (keep_seconds, most),
    )
    return gone
