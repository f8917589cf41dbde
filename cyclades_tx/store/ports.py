"""Ports: the interfaces of servers, with their MACs and addresses.

Locks are taken in this order: ports, their network, the ranges of free addresses.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from ipaddress import IPv6Network, ip_network
from typing import Any, NamedTuple

from cyclades_tx.errors import BadRequest, Conflict, NotFound, Unavailable
from cyclades_tx.model import address as arithmetic
from cyclades_tx.model.quota import FLOATING_IP
from cyclades_tx.store import addresses, floating_ips, outbox

#: What a server's port says of its owner.
SERVER_OWNER = "compute:nova"
FLOATING_OWNER = "network:floatingip"

_MAC_TRIES = 20


class NewPort(NamedTuple):
    """A port that was just made.

    :ivar addresses: its addresses as text, IPv4 before IPv6.
    """

    id: int
    uuid: str
    network_id: int
    position: int | None
    mac: str
    addresses: tuple[str, ...]


async def create_port(
    tx: Any,
    *,
    network_id: int,
    project_id: str,
    user_id: str,
    server_id: int | None = None,
    position: int | None = None,
    name: str = "",
    mac: str | None = None,
    subnet_ids: Sequence[int] | None = None,
    address: str | None = None,
    automatic: bool = False,
    state: str = "down",
    device_owner: str | None = None,
    drained_too: bool = False,
    random_bits: Callable[[int], int] = secrets.randbits,
) -> NewPort:
    """Make a port with a MAC and its addresses.

    :param mac: None: one with the network's prefix is made up.
    :param subnet_ids: one address of each; None: one IPv4 address of any of the network's
        subnets and the address of each IPv6 subnet that belongs to the MAC.
    :param address: this address, of the subnet that it lies in, instead of any of its kind.
    :param automatic: whether it goes away with its server.
    :param drained_too: whether a network that gives no new addresses will do.
    :param random_bits: gives an integer of so many random bits.
    :raise NotFound: when the network or a subnet is gone.
    :raise Conflict: when the network takes no new ports, or an address or the MAC is in use.
    :raise BadRequest: when the address is not one of the network's.
    """
    network = await tx.first(
        "select name, mac_prefix, state, drained, external from network"
        " where id = %s and deleted_at is null for share",
        (network_id,),
    )
    if network is None:
        raise NotFound("The network could not be found.", "network")
    if network.state != "active" or (network.drained and not drained_too):
        raise Conflict(f"Network {network.name} takes no new ports now.", "NetworkNotUsable")
    if device_owner is None:
        device_owner = SERVER_OWNER if server_id is not None else ""
    row = None
    for _ in range(1 if mac else _MAC_TRIES):
        row = await tx.first(
            "insert into port (network_id, project_id, user_id, server_id, position, name, mac,"
            " state, automatic, device_owner) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict do nothing returning id, uuid::text, mac::text",
            (
                network_id,
                project_id,
                user_id,
                server_id,
                position,
                name,
                mac or arithmetic.make_mac(network.mac_prefix, random_bits),
                state,
                automatic,
                device_owner,
            ),
        )
        if row is not None:
            break
    if row is None:
        if server_id is not None and await tx.value(
            "select exists (select from port where server_id = %s and position = %s)",
            (server_id, position),
        ):
            raise Conflict("The server has an interface in this place already.", "PortInUse")
        if mac:
            raise Conflict(f"MAC address {mac} is already in use.", "MacAddressInUse")
        raise Unavailable("No free MAC address was found; try again.")
    taken = await _take_addresses(tx, network_id, row.id, row.mac, subnet_ids, address)
    if network.external and server_id is not None:
        for each in taken:
            await note_taken(tx, row.id, each)
    await outbox.tell_ports(tx, "port.created", (row.id,))
    return NewPort(row.id, row.uuid, network_id, position, row.mac, taken)


async def _take_addresses(
    tx: Any,
    network_id: int,
    port_id: int,
    mac: str,
    subnet_ids: Sequence[int] | None,
    address: str | None,
) -> tuple[str, ...]:
    subnets = await tx.all(
        "select id, cidr, family(cidr) as family from subnet where network_id = %s"
        " and (%s or id = any(%s::bigint[])) order by family(cidr), id",
        (network_id, subnet_ids is None, list(subnet_ids or ())),
    )
    if subnet_ids is not None and len(subnets) != len(set(subnet_ids)):
        raise NotFound("A subnet could not be found in the network.", "subnet")
    taken: list[str] = []
    done = None
    if address is not None:
        wanted = arithmetic.parse_address(address, "IP address")
        done = next((subnet for subnet in subnets if wanted in ip_network(subnet.cidr)), None)
        if done is None:
            raise BadRequest(
                f"IP address {wanted} is not a valid IP for any of the subnets of the network.",
                neutron_type="InvalidIpForNetwork",
            )
        taken.append(await addresses.take_given(tx, done.id, str(wanted), port_id))
    full: Conflict | None = None
    any_of = subnet_ids is None
    # Where any IPv4 subnet will do, one address is enough.
    satisfied = any_of and done is not None and done.family == 4
    for subnet in subnets:
        if subnet is done:
            continue
        if subnet.family == 6:
            made = arithmetic.eui64_address(IPv6Network(subnet.cidr), mac)
            taken.append(await addresses.take_given(tx, subnet.id, str(made), port_id))
        elif not satisfied:
            try:
                taken.append(await addresses.take(tx, subnet.id, port_id))
                satisfied = any_of
                full = None
            except Conflict as error:
                if not any_of:
                    raise
                full = error
    if full is not None:
        raise full
    return tuple(sorted(taken, key=lambda text: ":" in text))


async def change_addresses(
    tx: Any, port: Any, subnet_ids: Sequence[int] | None, address: str | None
) -> None:
    """Give the addresses of a locked port that no server has back, and take others.

    :param subnet_ids: as of :func:`create_port`, and so is ``address``.
    """
    for row in await tx.all(
        "select id from address where port_id = %s order by subnet_id, address", (port.id,)
    ):
        await addresses.give_back(tx, row.id)
    await _take_addresses(tx, port.network_id, port.id, port.mac, subnet_ids, address)


async def note_taken(tx: Any, port_id: int, address: str) -> None:
    """Write into the history that a server's port has a public address from now on."""
    await tx.run(
        "insert into address_history (address, network_id, server_id, user_id, project_id)"
        " select %s, network_id, server_id, user_id, project_id from port where id = %s"
        " on conflict do nothing",
        (address, port_id),
    )


async def note_released(tx: Any, server_id: int, port_ids: list[int]) -> None:
    """Write into the history that a server's ports have their addresses no longer."""
    await tx.run(
        "update address_history h set released_at = now()"
        " from address a join port p on p.id = a.port_id"
        " where a.port_id = any(%s::bigint[]) and h.network_id = p.network_id"
        " and h.address = a.address and h.server_id = %s and h.released_at is null",
        (port_ids, server_id),
    )


async def delete_ports_of_server(tx: Any, server_id: int) -> tuple[str, ...]:
    """Take a server's ports from it, when it is gone; see :func:`take_ports`.

    :return: the addresses that are free again.
    """
    ports = await tx.all(
        "select id, automatic from port where server_id = %s order by id for update", (server_id,)
    )
    return await take_ports(tx, server_id, ports)


async def take_ports(tx: Any, server_id: int, ports: Sequence[Any]) -> tuple[str, ...]:
    """Take ports from their server, whose interfaces are gone.

    Those that were made for it go away, and their addresses are free again, but for floating
    ones, which stay with their project. Those that a user made stay, with their addresses.

    :param ports: locked, with ``id`` and ``automatic``.
    :return: the addresses that are free again.
    """
    if not ports:
        return ()
    await note_released(tx, server_id, [port.id for port in ports])
    kept = [port.id for port in ports if not port.automatic]
    if kept:
        await tx.run(
            "update port set server_id = null, position = null, device_owner = '', state = 'down',"
            " ganeti_uuid = '', pending_restart = null, updated_at = now(),"
            " revision = revision + 1 where id = any(%s::bigint[])",
            (kept,),
        )
        await outbox.tell_ports(tx, "port.changed", kept)
    return await delete_ports(tx, [port.id for port in ports if port.automatic])


async def delete_ports(tx: Any, port_ids: Sequence[int]) -> tuple[str, ...]:
    """Delete ports that no cluster has (any more); return the addresses that are free again.

    A floating IP that was released meanwhile goes too; its project's holdings are locked.
    """
    if not port_ids:
        return ()
    ids = list(port_ids)
    await outbox.tell_ports(tx, "port.deleted", ids)
    await tx.run(
        "with gone as (delete from floating_ip f using address a where a.id = f.address_id"
        " and a.port_id = any(%s::bigint[]) and f.released_at is not null returning f.project_id),"
        " counted as (select project_id, count(*) as count from gone group by project_id)"
        " update holding h set used = greatest(h.used - c.count, 0) from counted c"
        " where h.project_id = c.project_id and h.resource = %s",
        (ids, FLOATING_IP),
    )
    for row in await tx.all(
        "update floating_ip f set port_id = null, updated_at = now(), revision = f.revision + 1"
        " from address a where a.id = f.address_id and a.port_id = any(%s::bigint[])"
        " returning f.id",
        (ids,),
    ):
        await floating_ips.tell(tx, "floating_ip.changed", row.id)
    await tx.run(
        "update address set port_id = null where port_id = any(%s::bigint[])"
        " and exists (select from floating_ip where address_id = address.id)",
        (ids,),
    )
    released = await tx.all(
        "select id, host(address) as address from address where port_id = any(%s::bigint[])"
        " order by subnet_id, address.address",
        (ids,),
    )
    for row in released:
        await addresses.give_back(tx, row.id)
    await tx.run("delete from port where id = any(%s::bigint[])", (ids,))
    return tuple(row.address for row in released)
