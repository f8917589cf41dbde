"""Routers: objects that tie a project to an external network; no cluster knows of them."""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import NotFound
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who
from cyclades_tx.store import outbox


async def lock(tx: Any, who: Who, ref: str) -> Any:
    """Lock a router that the caller sees.

    :param ref: what stood in the URL: anything.
    :raise NotFound: when there is none.
    """
    uuid = parse_uuid(ref)
    row = uuid and await tx.first(
        "select id, uuid::text, project_id, name from router where uuid = %s"
        " and (%s or project_id = %s) for update",
        (uuid, who.admin, who.project_id),
    )
    if not row:
        raise NotFound(f"Router {ref} could not be found.", "router")
    return row


async def insert(tx: Any, project_id: str, columns: dict[str, Any]) -> str:
    """Add a router; return its UUID."""
    row = await tx.first(
        "insert into router (project_id, name) values (%s, '') returning id, uuid::text",
        (project_id,),
    )
    await _write(tx, row.id, columns)
    await tell(tx, "router.created", row.id)
    return str(row.uuid)


async def change(tx: Any, router_id: int, columns: dict[str, Any]) -> None:
    """Change columns of a locked router."""
    await _write(tx, router_id, columns)
    await tx.run(
        "update router set revision = revision + 1, updated_at = now() where id = %s", (router_id,)
    )
    await tell(tx, "router.changed", router_id)


async def delete(tx: Any, router_id: int) -> None:
    """Delete a locked router that has no interfaces."""
    await tell(tx, "router.deleted", router_id)
    await tx.run("delete from router where id = %s", (router_id,))


async def tell(tx: Any, kind: str, router_id: int) -> None:
    """Tell of a router as it is now."""
    row = await tx.first(
        "select uuid::text, project_id, name from router where id = %s", (router_id,)
    )
    await outbox.put(
        tx, kind, row.uuid, row.project_id, {"router": {"id": row.uuid, "name": row.name}}
    )


async def _write(tx: Any, router_id: int, columns: dict[str, Any]) -> None:
    if columns:
        assignments = ", ".join(f"{column} = %({column})s" for column in columns)
        await tx.run(
            f"update router set {assignments} where id = %(id)s", {**columns, "id": router_id}
        )
