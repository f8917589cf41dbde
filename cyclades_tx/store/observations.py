"""Following a cluster: sizes, interfaces and disks of a server at rest become what was seen.

Everything happens in the transaction that also writes the power; what cannot be followed (a
network that is not ours, an address that somebody else has) is told and holds up nothing else.
The project's holdings and the server's row are locked before; then ports, networks, pools.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Network, ip_network
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict
from cyclades_tx.model import address as arithmetic
from cyclades_tx.model.differences import (
    PASSING,
    Difference,
    DiskDiffers,
    DiskExtra,
    DiskMissing,
    NicDiffers,
    NicExtra,
    NicMissing,
    ServerRecord,
    SizeDiffers,
    differences,
    pairs_of_disks,
    pairs_of_nics,
)
from cyclades_tx.model.instance import Instance
from cyclades_tx.model.names import Names
from cyclades_tx.model.quota import difference, server_amounts
from cyclades_tx.store import addresses, outbox, quotas, server_records, volume_attachments
from cyclades_tx.store.ports import SERVER_OWNER, note_released, note_taken, take_ports

#: Added to places that are about to change, so that two never have the same in between.
_ASIDE = 1_000_000


#: Ports before volumes, each by id.
_LOCK = (
    "with ports as materialized (select id from port where server_id = %(id)s order by id"
    " for update), volumes as materialized (select id from volume where server_id = %(id)s"
    " and (select count(*) from ports) >= 0 order by id for update)"
    " select count(*) from volumes"
)
_SIZES = (
    "select s.vcpus, s.memory_mib, (select coalesce(sum(v.size_gib), 0)::bigint from volume v"
    " where v.server_id = s.id and v.local and v.deleted_at is null) from server s where s.id = %s"
)


@dataclass
class Followed:
    """What came of following a cluster.

    :ivar changes: the differences that were written, by their kind and subject.
    :ivar refused: those that could not be, with the reason.
    """

    changes: list[tuple[str, str]] = field(default_factory=list)
    refused: dict[tuple[str, str], str] = field(default_factory=dict)


class Unfollowable(Exception):
    """A difference that the records cannot follow; the message says why."""


async def follow(tx: Any, server: Any, charge: str, seen: Instance, names: Names) -> Followed:
    """Make a locked server's sizes, ports and volumes what its instance shows.

    :param server: its locked row, with the sizes that are charged.
    :param charge: what its project is charged for now.
    """
    await tx.first(_LOCK, {"id": server.id})
    (record,) = await server_records.of_ids(tx, None, [server.id])
    before = server_amounts(charge, server.vcpus, server.memory_mib, record.disks_gib)
    done = Followed()
    found = differences(record, seen, names)
    if found:
        work = _Work(tx, server, record, seen, names)
        await work.set_places_aside(found)
        for each in found:
            key = (each.kind, each.subject)
            # Somebody may take an address between the look at it and its taking.
            await tx.run("savepoint difference")
            try:
                await work.apply(each)
            except (Unfollowable, BadRequest, Conflict) as error:
                await tx.run("rollback to savepoint difference")
                done.refused[key] = str(error)
            else:
                done.changes.append(key)
            await tx.run("release savepoint difference")
        await work.put_places_back()
        after = server_amounts(charge, *await tx.first(_SIZES, (server.id,)))
        await quotas.add(tx, server.project_id, difference(before, after))
        if work.changed_ports:
            await outbox.tell_ports(tx, "port.changed", sorted(work.changed_ports))
    if done.changes:
        await outbox.tell_servers(tx, (server.id,), always=True)
    await _remember(tx, record, seen, names)
    return done


async def take_ipv6(tx: Any, port_id: int, network: Any, mac: str) -> None:
    """The addresses that the machine makes for itself from its MAC, where they are free.

    :param network: its id, and whether it is external.
    """
    for subnet in await tx.all(
        "select id, cidr from subnet where network_id = %s and family(cidr) = 6 order by id",
        (network.id,),
    ):
        made = str(arithmetic.eui64_address(IPv6Network(subnet.cidr), mac))
        taken = await tx.value(
            "insert into address (subnet_id, address, port_id) values (%s, %s, %s)"
            " on conflict do nothing returning id",
            (subnet.id, made, port_id),
        )
        if taken is not None and network.external:
            await note_taken(tx, port_id, made)


async def _remember(tx: Any, record: ServerRecord, seen: Instance, names: Names) -> None:
    """Keep Ganeti's ids, by which an interface or a disk is known under any name."""
    ports = [
        (port.id, nic.uuid)
        for port, nic in pairs_of_nics(record, seen, names)
        if port is not None and nic.uuid and nic.uuid != port.ganeti_uuid
    ]
    volumes = [
        (volume.id, disk.uuid)
        for volume, disk in pairs_of_disks(record, seen, names)
        if volume is not None and disk.uuid and disk.uuid != volume.ganeti_uuid
    ]
    if ports or volumes:
        await tx.run(
            "with named as (update port t set ganeti_uuid = u.uuid"
            " from unnest(%s::bigint[], %s::text[]) as u (id, uuid) where t.id = u.id)"
            " update volume t set ganeti_uuid = u.uuid"
            " from unnest(%s::bigint[], %s::text[]) as u (id, uuid) where t.id = u.id",
            (
                [port_id for port_id, _ in ports],
                [uuid for _, uuid in ports],
                [volume_id for volume_id, _ in volumes],
                [uuid for _, uuid in volumes],
            ),
        )


class _Work:
    """The writes for one server."""

    def __init__(
        self, tx: Any, server: Any, record: ServerRecord, seen: Instance, names: Names
    ) -> None:
        self._tx = tx
        self._server = server
        self._record = record
        self._seen = seen
        self._names = names
        self._moved = False
        self.changed_ports: set[int] = set()

    async def apply(self, found: Difference) -> None:
        """Write one difference.

        :raise Unfollowable: when it cannot be; nothing was written then.
        """
        writes: dict[type, Callable[[Any], Awaitable[None]]] = {
            SizeDiffers: self._size,
            NicMissing: self._nic_missing,
            NicExtra: self._nic_extra,
            NicDiffers: self._nic_differs,
            DiskMissing: self._disk_missing,
            DiskExtra: self._disk_extra,
            DiskDiffers: self._disk_differs,
        }
        await writes[type(found)](found)

    # Places

    async def set_places_aside(self, found: tuple[Difference, ...]) -> None:
        """Keep every place free for what stands there at the cluster."""
        self._moved = any(
            isinstance(each, (NicMissing, NicExtra, DiskMissing, DiskExtra))
            or (isinstance(each, (NicDiffers, DiskDiffers)) and "position" in each.fields)
            for each in found
        )
        if self._moved:
            for table in ("port", "volume"):
                live = " and deleted_at is null" if table == "volume" else ""
                await self._tx.run(
                    f"update {table} set position = position + {_ASIDE} where server_id = %s{live}",
                    (self._server.id,),
                )

    async def put_places_back(self) -> None:
        """Give what was there its place at the cluster; what is not, the next ones behind."""
        if not self._moved:
            return
        for table, pairs, live in (
            ("port", pairs_of_nics(self._record, self._seen, self._names), ""),
            (
                "volume",
                pairs_of_disks(self._record, self._seen, self._names),
                " and t.deleted_at is null",
            ),
        ):
            known = [(thing.id, at) for at, (thing, _) in enumerate(pairs) if thing is not None]
            await self._tx.run(
                f"update {table} t set position = u.place"
                " from unnest(%s::bigint[], %s::int[]) as u (id, place)"
                " where t.id = u.id and t.server_id = %s",
                ([pair[0] for pair in known], [pair[1] for pair in known], self._server.id),
            )
            await self._tx.run(
                f"with late as (select t.id, row_number() over (order by t.position) - 1 as n"
                f" from {table} t where t.server_id = %s and t.position >= {_ASIDE}{live})"
                f" update {table} t set position = late.n + %s from late where t.id = late.id",
                (self._server.id, len(pairs)),
            )
        await self._tx.run(
            f"update volume set position = position - {_ASIDE}"
            f" where server_id = %s and position >= {_ASIDE}",
            (self._server.id,),
        )

    # Sizes

    async def _size(self, found: SizeDiffers) -> None:
        await self._tx.run(
            "update server set vcpus = %(vcpus)s, memory_mib = %(memory)s, updated_at = now(),"
            # The flavor follows where there is one of these sizes; where there is none, the
            # server keeps its own, and these are what is shown and charged.
            " flavor_id = coalesce((select n.id from flavor n, flavor o"
            " where o.id = server.flavor_id and n.vcpus = %(vcpus)s and n.memory_mib = %(memory)s"
            " and n.disk_gib = o.disk_gib and n.volume_type_id = o.volume_type_id"
            " and n.deleted_at is null and n.public order by n.id limit 1), flavor_id)"
            " where id = %(id)s",
            {"id": self._server.id, "vcpus": found.vcpus, "memory": found.memory_mib},
        )

    # Interfaces

    async def _nic_missing(self, found: NicMissing) -> None:
        ports = await self._tx.all(
            "select id, automatic from port where id = %s and server_id = %s",
            (found.port.id, self._server.id),
        )
        await take_ports(self._tx, self._server.id, ports)

    async def _network(self, network_id: int | None, name: str | None) -> Any:
        """A network on which this server may have an interface."""
        row = None
        if network_id is not None:
            row = await self._tx.first(
                "select id, project_id, shared, external from network"
                " where id = %s and deleted_at is null for share",
                (network_id,),
            )
        if row is None:
            raise Unfollowable(f"{name or 'Its link'} is not one of our networks.")
        if not (row.shared or row.external or row.project_id == self._server.project_id):
            raise Unfollowable(f"Network {row.id} belongs to another project.")
        return row

    async def _mac(self, text: str, port_id: int) -> str:
        mac = arithmetic.mac_from(text)
        if await self._tx.value(
            "select exists (select from port where mac = %s and id <> %s)", (mac, port_id)
        ):
            raise Unfollowable(f"Another port has the MAC address {mac}.")
        return mac

    async def _subnet(self, network_id: int, ip: str, port_id: int) -> int:
        """The subnet of a network in which an address is free, or this port's already."""
        wanted = arithmetic.parse_address(ip, "IP address")
        rows = await self._tx.all(
            "select id, cidr, host(gateway) as gateway from subnet where network_id = %s order by"
            " id",
            (network_id,),
        )
        row = next((row for row in rows if wanted in ip_network(row.cidr)), None)
        if row is None:
            raise Unfollowable(f"{ip} is in no subnet of network {network_id}.")
        if not arithmetic.usable(ip_network(row.cidr), wanted) or ip == row.gateway:
            raise Unfollowable(f"{ip} is not an address for a machine in {row.cidr}.")
        holder = await self._tx.first(
            "select a.port_id, f.project_id from address a"
            " left join floating_ip f on f.address_id = a.id"
            " where a.subnet_id = %s and a.address = %s",
            (row.id, ip),
        )
        idle = holder is None or holder.port_id == port_id
        ours = holder is not None and holder.port_id is None
        if not idle and not (ours and holder.project_id == self._server.project_id):
            raise Unfollowable(f"{ip} is somebody else's.")
        number: int = row.id
        return number

    async def _take(self, port_id: int, subnet_id: int, ip: str, external: bool) -> None:
        floating = await self._tx.value(
            "update address a set port_id = %s from floating_ip f where f.address_id = a.id"
            " and a.subnet_id = %s and a.address = %s returning f.id",
            (port_id, subnet_id, ip),
        )
        if floating is None:
            await addresses.take_given(self._tx, subnet_id, ip, port_id)
        else:
            await self._tx.run(
                "update floating_ip set port_id = %s, updated_at = now(),"
                " revision = revision + 1 where id = %s",
                (port_id, floating),
            )
        if external:
            await note_taken(self._tx, port_id, ip)

    async def _release(self, port_id: int, families: tuple[int, ...]) -> None:
        """Give a port's addresses back; floating ones stay with their project."""
        rows = await self._tx.all(
            "select a.id, f.id as floating from address a"
            " left join floating_ip f on f.address_id = a.id"
            " where a.port_id = %s and family(a.address) = any(%s::int[])"
            " order by a.subnet_id, a.address",
            (port_id, list(families)),
        )
        if rows:
            await note_released(self._tx, self._server.id, [port_id])
        for row in rows:
            if row.floating is None:
                await addresses.give_back(self._tx, row.id)
                continue
            await self._tx.run("update address set port_id = null where id = %s", (row.id,))
            await self._tx.run(
                "update floating_ip set port_id = null, updated_at = now(),"
                " revision = revision + 1 where id = %s",
                (row.floating,),
            )

    async def _nic_extra(self, found: NicExtra) -> None:
        nic = found.nic
        network = await self._network(found.network_id, nic.network)
        mac = await self._mac(nic.mac, 0)
        subnet_id = None if nic.ip is None else await self._subnet(network.id, nic.ip, 0)
        port_id: int = await self._tx.value(
            "insert into port (network_id, project_id, user_id, server_id, position, mac, state,"
            " automatic, device_owner, firewall_profile, ganeti_uuid)"
            " values (%s, %s, %s, %s, %s, %s, 'active', true, %s, %s, %s) returning id",
            (
                network.id,
                self._server.project_id,
                self._server.user_id,
                self._server.id,
                found.position,
                mac,
                SERVER_OWNER,
                found.firewall,
                nic.uuid,
            ),
        )
        if nic.ip is not None and subnet_id is not None:
            await self._take(port_id, subnet_id, nic.ip, network.external)
        await take_ipv6(self._tx, port_id, network, mac)
        await outbox.tell_ports(self._tx, "port.created", (port_id,))

    async def _nic_differs(self, found: NicDiffers) -> None:
        port, nic = found.port, found.nic
        moved, readdressed = "network" in found.fields, "ip" in found.fields
        remade = "mac" in found.fields
        mac = port.mac
        # What cannot be followed is found out before anything is written.
        if moved or readdressed or remade:
            network = await self._network(found.network_id, nic.network)
            if remade:
                mac = await self._mac(nic.mac, port.id)
            subnet_id = None
            if (moved or readdressed) and nic.ip is not None:
                subnet_id = await self._subnet(network.id, nic.ip, port.id)
            if moved:
                await self._release(port.id, (4, 6))
            else:
                families = ((4,) if readdressed else ()) + ((6,) if remade else ())
                await self._release(port.id, families)
            await self._tx.run(
                "update port set network_id = %s, mac = %s where id = %s",
                (network.id, mac, port.id),
            )
            if subnet_id is not None and nic.ip is not None:
                await self._take(port.id, subnet_id, nic.ip, network.external)
            if moved or remade:
                await take_ipv6(self._tx, port.id, network, mac)
        await self._tx.run(
            "update port set firewall_profile = %s, updated_at = now(), revision = revision + 1,"
            " state = case when pending_restart is null then 'active' else 'down' end"
            " where id = %s",
            (found.firewall, port.id),
        )
        self.changed_ports.add(port.id)

    # Disks

    async def _disk_missing(self, found: DiskMissing) -> None:
        volume = found.volume
        if volume.busy or volume.status in PASSING:
            raise Unfollowable(f"Volume {volume.id} is being worked on ({volume.status}).")
        await volume_attachments.disk_is_gone(self._tx, self._server, volume.id)

    async def _disk_extra(self, found: DiskExtra) -> None:
        known = self._names.volume_id(found.disk.name or "")
        size_gib = found.disk.size_mib >> 10
        if known is not None and await volume_attachments.take_found(
            self._tx, self._server, known, size_gib, found.position, found.disk.uuid
        ):
            return
        await self._tx.run(
            "insert into volume (user_id, project_id, size_gib, volume_type_id, local, status,"
            " server_id, position, initialised, ganeti_uuid)"
            " select s.user_id, s.project_id, %s, f.volume_type_id, true, 'in_use', s.id, %s, true,"
            " %s from server s join flavor f on f.id = s.flavor_id where s.id = %s",
            (size_gib, found.position, found.disk.uuid, self._server.id),
        )

    async def _disk_differs(self, found: DiskDiffers) -> None:
        volume = found.volume
        if volume.busy or volume.status in PASSING:
            raise Unfollowable(f"Volume {volume.id} is being worked on ({volume.status}).")
        await volume_attachments.disk_is_there(self._tx, volume.id, found.size_gib)
