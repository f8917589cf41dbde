"""Servers that are made of instances which were there before, in the database.

Their numbers, and those of interfaces and disks that have our kind of name, are those of their
names. The project's holdings are locked before.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from cyclades_tx.errors import Conflict
from cyclades_tx.model.instance import SeenNic
from cyclades_tx.store.observations import take_ipv6

#: So many numbers are left out behind one that was far ahead of those that were given: another
#: process may be giving the next ones at this moment.
_LEFT_OUT = 1000
#: No number is further ahead than what a person could have typed on purpose.
MOST_NUMBER = 10**12


class NewServer(NamedTuple):
    """The columns of a server whose machine is there already."""

    id: int
    uuid: UUID
    name: str
    hostname: str
    user_id: str
    project_id: str
    cluster_id: int
    zone: str
    flavor_id: int
    vcpus: int
    memory_mib: int
    image_id: int | None
    reservation_id: str


async def reserve(database: Any) -> int:
    """A number for a server to come, which no other one will get."""
    number: int = await database.value("select nextval(pg_get_serial_sequence('server', 'id'))")
    return number


async def claimed(tx: Any, number: int, uuid: UUID | None) -> Any:
    """The server that has a number or UUID, also a deleted one: id and deleted; or None."""
    return await tx.first(
        "select id, deleted_at is not null as deleted from server"
        " where id = %s or uuid = %s::uuid order by id = %s desc limit 1",
        (number, uuid, number),
    )


async def insert(tx: Any, row: NewServer) -> None:
    """Add a server with its own number, which nothing holds yet and that was seen to succeed."""
    await _keep_ahead(tx, "server", row.id)
    await tx.run(
        "insert into server (id, uuid, name, hostname, user_id, project_id, cluster_id,"
        " availability_zone, flavor_id, vcpus, memory_mib, image_id, reservation_id, launched_at)"
        " overriding system value values (%(id)s, %(uuid)s, %(name)s, %(hostname)s, %(user_id)s,"
        " %(project_id)s, %(cluster_id)s, %(zone)s, %(flavor_id)s, %(vcpus)s, %(memory_mib)s,"
        " %(image_id)s, %(reservation_id)s, now())",
        row._asdict(),
    )


async def insert_port(
    tx: Any, server: NewServer, number: int, position: int, network: Any, nic: SeenNic
) -> None:
    """Add the port of an interface that has our kind of name, without its IPv4 address.

    :raise Conflict: when the number or the MAC address is another port's.
    """
    if await tx.value("select exists (select from port where id = %s)", (number,)):
        raise Conflict(
            f"Interface {position} is called {nic.name}, which is another port here: give it"
            f" another name (gnt-instance modify --net {position}:modify,name=…)."
        )
    await _keep_ahead(tx, "port", number)
    made = await tx.run(
        "insert into port (id, network_id, project_id, user_id, server_id, position, mac, state,"
        " automatic, device_owner, ganeti_uuid) overriding system value"
        " values (%s, %s, %s, %s, %s, %s, %s, 'active', true, 'compute:nova', %s)"
        " on conflict do nothing",
        (
            number,
            network.id,
            server.project_id,
            server.user_id,
            server.id,
            position,
            nic.mac,
            nic.uuid,
        ),
    )
    if not made:
        raise Conflict(f"Another port has the MAC address {nic.mac}.")
    await take_ipv6(tx, number, network, nic.mac)


async def insert_volume(
    tx: Any, server: NewServer, number: int, position: int, size_gib: int, uuid: str
) -> None:
    """Add the volume of a disk that has our kind of name.

    :param uuid: Ganeti's own id of the disk.
    :raise Conflict: when the number is another volume's.
    """
    if await tx.value("select exists (select from volume where id = %s)", (number,)):
        raise Conflict(
            f"Disk {position} has the name of volume {number}, which is another one here: give it"
            f" another name (gnt-instance modify --disk {position}:modify,name=…)."
        )
    await _keep_ahead(tx, "volume", number)
    await tx.run(
        "insert into volume (id, user_id, project_id, size_gib, volume_type_id, local, status,"
        " server_id, position, initialised, ganeti_uuid) overriding system value"
        " select %s, s.user_id, s.project_id, %s, f.volume_type_id, true, 'in_use', s.id, %s,"
        " true, %s from server s join flavor f on f.id = s.flavor_id where s.id = %s",
        (number, size_gib, position, uuid, server.id),
    )


async def note_root(tx: Any, server_id: int) -> None:
    """The first disk is what the machine boots from."""
    await tx.run(
        "update volume set bootable = true where server_id = %s and position = 0"
        " and deleted_at is null",
        (server_id,),
    )


async def open_network(tx: Any, network_id: int, project_id: str) -> Any:
    """The network of this number, if the project may have ports on it: id, and whether external."""
    return await tx.first(
        "select id, external from network where id = %s and deleted_at is null"
        " and (shared or external or project_id = %s) for share",
        (network_id, project_id),
    )


async def _keep_ahead(tx: Any, table: str, number: int) -> None:
    """See that a number is never given to something else of its kind."""
    await tx.value(
        "select case when coalesce(pg_sequence_last_value(s.name), 0) < %(number)s"
        " then setval(s.name, %(number)s + %(left_out)s) end::text"
        " from (select pg_get_serial_sequence(%(table)s, 'id')::regclass as name) s",
        {"number": number, "left_out": _LEFT_OUT, "table": table},
    )
