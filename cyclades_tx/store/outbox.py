"""The outbox: what users may be told, written in the transaction that makes it true."""

from __future__ import annotations

from typing import Any

import orjson


async def put(
    tx: Any, kind: str, subject: str, project_id: str | None, body: dict[str, Any]
) -> None:
    """Add an event.

    :param kind: ``server.created``, ``operation.ended`` …
    :param subject: the UUID of what it tells of.
    """
    await tx.run(
        "insert into event (kind, subject, project_id, body) values (%s, %s, %s, %s)",
        (kind, subject, project_id, orjson.dumps(body).decode()),
    )
