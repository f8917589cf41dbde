"""Routers: objects that tie networks to an external one; no cluster knows of them."""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import NotFound
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who
from cyclades_tx.store import outbox, ports

#: What a port says that is the interface of a router.
INTERFACE_OWNER = "network:router_interface"


async def lock(tx: Any, who: Who, ref: str) -> Any:
    """Lock a router that the caller sees.

    :param ref: what stood in the URL: anything.
    :raise NotFound: when there is none.
    """
    uuid = parse_uuid(ref)
    row = uuid and await tx.first(
        "select id, uuid::text, project_id, name, revision from router where uuid = %s"
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
    """Change columns of a locked router; its revision number grows, also when nothing is new."""
    await _write(tx, router_id, columns)
    await tx.run(
        "update router set revision = revision + 1, updated_at = now() where id = %s", (router_id,)
    )
    await tell(tx, "router.changed", router_id)


async def delete(tx: Any, router_id: int) -> None:
    """Delete a locked router that has no interfaces."""
    await tell(tx, "router.deleted", router_id)
    await tx.run("delete from router where id = %s", (router_id,))


async def interfaces(tx: Any, router_id: int) -> list[Any]:
    """The interfaces of a router: port, subnet and network of each."""
    rows: list[Any] = await tx.all(
        "select p.id, p.uuid::text, p.network_id, n.uuid::text as network_uuid, s.id as subnet_id,"
        " s.uuid::text as subnet_uuid, s.cidr from port p join address a on a.port_id = p.id"
        " join subnet s on s.id = a.subnet_id join network n on n.id = p.network_id"
        " where p.router_id = %s order by p.id for update of p",
        (router_id,),
    )
    return rows


async def insert_interface(tx: Any, router: Any, subnet: Any, user_id: str) -> str:
    """Give a locked router an interface at the gateway of a subnet; return the port's UUID.

    :param subnet: with ``id``, ``network_id`` and ``gateway``, which nobody has.
    """
    made = await ports.create_port(
        tx,
        network_id=subnet.network_id,
        project_id=router.project_id,
        user_id=user_id,
        subnet_ids=(),
        state="active",
        device_owner=INTERFACE_OWNER,
    )
    await tx.run("update port set router_id = %s where id = %s", (router.id, made.id))
    # No pool has the gateway, so that nothing is taken from one.
    await tx.run(
        "insert into address (subnet_id, address, port_id) values (%s, %s, %s)",
        (subnet.id, subnet.gateway, made.id),
    )
    await outbox.tell_ports(tx, "port.changed", (made.id,))
    return made.uuid


async def delete_interface(tx: Any, port_id: int) -> None:
    """Delete a locked interface of a router."""
    await ports.delete_ports(tx, (port_id,))


async def tags_of(tx: Any, router_id: int) -> list[str]:
    """The tags of a router, in order."""
    rows = await tx.all(
        "select tag from router_user_tag where router_id = %s order by tag", (router_id,)
    )
    return [row.tag for row in rows]


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
