"""Interfaces that come to a server and leave it while it lives.

A port that is being attached belongs to its server from the moment of the wish on, in state
``build``; one that is being detached belongs to it until the cluster says that it is gone. What
becomes of either when the operation has ended follows from what is seen at the cluster
(``observations.py``); here is only what cannot be seen there.
"""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import Conflict
from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.moves import Seen
from cyclades_tx.model.operation import PENDING, SUCCEEDED, Operation
from cyclades_tx.store import operations, outbox, ports, volume_attachments

#: The kinds of operations that change a server's interfaces.
KINDS = ("attach_port", "detach_port")

#: The kinds after which a machine has been started anew.
_RESTARTS = ("start", "reboot", "rebuild", "rescue", "unrescue", "resize")


async def next_position(tx: Any, server_id: int, most: int) -> int:
    """The place of one more interface of a locked server.

    :param most: how many a server may have.
    :raise Conflict: when it has them all.
    """
    row = await tx.first(
        "select count(*) as count, coalesce(max(position) + 1, 0) as next from port"
        " where server_id = %s",
        (server_id,),
    )
    if row.count >= most:
        raise Conflict(f"The server has {row.count} interfaces, and {most} is the most.", "full")
    position: int = row.next
    return position


async def can_hotplug(tx: Any, cluster_id: int) -> bool:
    """Whether a cluster changes the interfaces of running machines."""
    return bool(await tx.value("select hotplug from cluster where id = %s", (cluster_id,)))


async def put_on(tx: Any, port_id: int, server_id: int, position: int) -> None:
    """Give a locked port that belongs to nobody to a server, for an interface to be made.

    :raise Conflict: when it belongs to something.
    """
    moved = await tx.run(
        "update port set server_id = %s, position = %s, state = 'build', device_owner = %s,"
        " updated_at = now(), revision = revision + 1"
        " where id = %s and server_id is null and router_id is null",
        (server_id, position, ports.SERVER_OWNER, port_id),
    )
    if not moved:
        raise Conflict("The port is in use.", "PortInUse")
    await tx.run(
        "insert into address_history (address, network_id, server_id, user_id, project_id)"
        " select a.address, p.network_id, p.server_id, p.user_id, p.project_id"
        " from port p join network n on n.id = p.network_id and n.external"
        " join address a on a.port_id = p.id where p.id = %s on conflict do nothing",
        (port_id,),
    )
    await outbox.tell_ports(tx, "port.changed", (port_id,))


async def settled(
    tx: Any, server: Any, operation: Operation, end: str, seen: Seen, pending_restart: bool
) -> None:
    """Write what the end of an operation means for its server's interfaces.

    :param end: ``succeeded``, ``failed`` or ``canceled``.
    :param pending_restart: whether the running machine has taken no notice of the change.
    """
    if stands_still(seen) or (operation.kind in _RESTARTS and end == SUCCEEDED):
        await restarted(tx, server.id)
    if operation.kind == "delete" and end != SUCCEEDED:
        # What was released to go away with the server stays with its owner.
        await tx.run(
            "update floating_ip f set released_at = null from address a, port p"
            " where a.id = f.address_id and p.id = a.port_id and p.server_id = %s"
            " and f.released_at is not null",
            (server.id,),
        )
    if operation.kind not in KINDS:
        return
    port_id = operation.arguments.get("port_id")
    port = await tx.first(
        "select id, automatic from port where id = %s and server_id = %s for update",
        (port_id, server.id),
    )
    if port is None:
        return
    if end == SUCCEEDED:
        if pending_restart:
            await tx.run(
                "update port set pending_restart = %s, state = 'down', updated_at = now(),"
                " revision = revision + 1 where id = %s",
                (operation.kind.removesuffix("_port"), port_id),
            )
            await outbox.tell_ports(tx, "port.changed", (port.id,))
    elif operation.kind == "detach_port":
        # When the server goes, so does the interface, as was wished.
        if not await operations.is_leaving(tx, server.id):
            await _keep(tx, operation, port.id)
    elif operation.state == PENDING:
        # Nothing was ever sent: there is no interface.
        await ports.take_ports(tx, server.id, [port])


async def _keep(tx: Any, operation: Operation, port_id: int) -> None:
    """Undo what the wish to remove an interface has written, since the interface stays."""
    automatic = operation.arguments.get("automatic")
    if automatic is not None:
        await tx.run("update port set automatic = %s where id = %s", (automatic, port_id))
    await tx.run(
        "update floating_ip f set released_at = null, updated_at = now(),"
        " revision = f.revision + 1, port_id = (select id from port where id = %s)"
        " from address a where a.id = f.address_id and a.port_id = %s",
        (operation.arguments.get("floating_port_id"), port_id),
    )


def stands_still(seen: Seen) -> bool:
    """Whether a machine was seen stopped: nothing of it uses an interface."""
    return isinstance(seen, Instance) and seen.power is Power.STOPPED


async def restarted(tx: Any, server_id: int) -> None:
    """The machine has, or will have at its start, exactly the interfaces of its configuration."""
    await tx.run(
        "update port set pending_restart = null where server_id = %s"
        " and pending_restart is not null",
        (server_id,),
    )
    await volume_attachments.restarted(tx, server_id)
