"""Servers that are given to other owners, with everything that is on them, in the database.

The holdings of both projects and the server's row are locked before; then ports, volumes,
floating IPs, networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cyclades_tx.store import (
    firewalls,
    floating_ips,
    network_changes,
    outbox,
    ports,
    security_groups,
    volumes,
)


@dataclass(frozen=True)
class Belongings:
    """What is on a server; everything but the groups is locked.

    :ivar ports: also those of its floating IPs.
    :ivar volumes: also its own root disk.
    :ivar networks: those that its ports are on.
    :ivar groups: the security groups of its ports, with ``port_id``.
    """

    ports: Sequence[Any]
    volumes: Sequence[Any]
    floating_ips: Sequence[Any]
    networks: Sequence[Any]
    groups: Sequence[Any]

    @property
    def kept_volumes(self) -> list[Any]:
        """The volumes that are charged apart from the server."""
        return [volume for volume in self.volumes if not volume.local]


async def belongings(tx: Any, server_id: int, *, change_networks: bool) -> Belongings:
    """Lock what is on a locked server.

    :param change_networks: whether the networks may be changed afterwards.
    """
    locked_ports = await tx.all(
        "select id, uuid::text, project_id, network_id, device_owner, pending_restart from port"
        " where server_id = %s order by id for update",
        (server_id,),
    )
    locked_volumes = await tx.all(
        "select id, uuid::text, project_id, size_gib, local, pending_restart from volume"
        " where server_id = %s and deleted_at is null order by id for update",
        (server_id,),
    )
    ids = [port.id for port in locked_ports]
    floating = await tx.all(
        "select f.id, host(a.address) as address, f.project_id from floating_ip f"
        " join address a on a.id = f.address_id where f.released_at is null"
        " and (a.port_id = any(%s::bigint[]) or f.port_id = any(%s::bigint[]))"
        " order by f.id for update of f",
        (ids, ids),
    )
    networks = await tx.all(
        "select id, uuid::text, name, project_id, shared, external from network"
        f" where id = any(%s::bigint[]) order by id for {'update' if change_networks else 'share'}",
        (sorted({port.network_id for port in locked_ports}),),
    )
    groups = await tx.all(
        "select m.port_id, g.id, g.name, g.project_id from port_security_group m"
        " join security_group g on g.id = m.security_group_id"
        " where m.port_id = any(%s::bigint[]) order by g.id, m.port_id",
        (ids,),
    )
    return Belongings(locked_ports, locked_volumes, floating, networks, groups)


async def used_beside(querier: Any, network_id: int, server_id: int) -> bool:
    """Whether anything but one server has a port on a network."""
    found: bool = await querier.value(
        "select exists (select from port where network_id = %s"
        " and server_id is distinct from %s::bigint)",
        (network_id, server_id),
    )
    return found


async def leave_group(tx: Any, server_id: int) -> str | None:
    """Take a server out of its server group, which stays with its project; the group's name."""
    found: str | None = await tx.value(
        "delete from server_group_member m using server_group g"
        " where g.id = m.server_group_id and m.server_id = %s returning g.name",
        (server_id,),
    )
    return found


async def move(
    tx: Any,
    server_id: int,
    found: Belongings,
    networks: Sequence[Any],
    user_id: str,
    project_id: str,
) -> None:
    """Make a server of another project another owner's, with what is on it; tell both projects.

    Who had which public address stays as it was until now in the history.

    :param networks: the networks that go along.
    """
    port_ids = [port.id for port in found.ports]
    volume_ids = [volume.id for volume in found.volumes]
    floating_ids = [each.id for each in found.floating_ips]
    network_ids = [network.id for network in networks]
    await _tell(tx, "deleted", server_id, port_ids, volume_ids, floating_ids, network_ids)
    public = await _public_addresses(tx, server_id, port_ids)
    await ports.note_released(tx, server_id, port_ids)
    await own(tx, server_id, found, user_id, project_id)
    for row in public:
        await ports.note_taken(tx, row.port_id, row.address)
    for network in networks:
        await network_changes.give(tx, network, project_id, user_id)
    moving = sorted({row.port_id for row in found.groups if row.project_id != project_id})
    if moving:
        group_id = await security_groups.default_of(tx, project_id)
        await tx.run(
            "delete from port_security_group m using security_group g"
            " where g.id = m.security_group_id and m.port_id = any(%s::bigint[])"
            " and g.project_id <> %s",
            (moving, project_id),
        )
        await tx.run(
            "insert into port_security_group (port_id, security_group_id)"
            " select unnest(%s::bigint[]), %s on conflict do nothing",
            (moving, group_id),
        )
        await firewalls.wish_of_server(tx, server_id)
    await _tell(tx, "created", server_id, port_ids, volume_ids, floating_ids, network_ids)


async def own(tx: Any, server_id: int, found: Belongings, user_id: str, project_id: str) -> None:
    """Write whose a server is from now on, and what is on it."""
    owner = {"user": user_id, "project": project_id}
    await tx.run(
        "update server set user_id = %(user)s, project_id = %(project)s, updated_at = now()"
        " where id = %(server)s",
        {**owner, "server": server_id},
    )
    await tx.run(
        "update volume set user_id = %(user)s, project_id = %(project)s, updated_at = now()"
        " where id = any(%(ids)s::bigint[])",
        {**owner, "ids": [volume.id for volume in found.volumes]},
    )
    for table, rows in (("port", found.ports), ("floating_ip", found.floating_ips)):
        await tx.run(
            f"update {table} set user_id = %(user)s, project_id = %(project)s,"
            " updated_at = now(), revision = revision + 1 where id = any(%(ids)s::bigint[])",
            {**owner, "ids": [row.id for row in rows]},
        )


async def _public_addresses(tx: Any, server_id: int, port_ids: list[int]) -> list[Any]:
    """The addresses that the history says the server has, and by which port."""
    return list(
        await tx.all(
            "select p.id as port_id, host(a.address) as address from address_history h"
            " join port p on p.network_id = h.network_id and p.id = any(%s::bigint[])"
            " join address a on a.port_id = p.id and a.address = h.address"
            " where h.server_id = %s and h.released_at is null order by p.id, a.id",
            (port_ids, server_id),
        )
    )


async def _tell(
    tx: Any,
    ending: str,
    server_id: int,
    port_ids: list[int],
    volume_ids: list[int],
    floating_ids: list[int],
    network_ids: list[int],
) -> None:
    for network_id in network_ids:
        await outbox.tell_network(tx, f"network.{ending}", network_id)
    await outbox.tell_server(tx, f"server.{ending}", server_id)
    await outbox.tell_ports(tx, f"port.{ending}", port_ids)
    for floating_id in floating_ids:
        await floating_ips.tell(tx, f"floating_ip.{ending}", floating_id)
    for volume_id in volume_ids:
        await volumes.tell(tx, f"volume.{ending}", volume_id)
