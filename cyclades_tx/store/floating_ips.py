"""Floating IPs: addresses of an external network that a project keeps.

Where one is on a server, its address belongs to an interface of its own there (the extra port),
and ``floating_ip.port_id`` says which port of the user's it was put on.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.quota import FLOATING_IP
from cyclades_tx.model.who import Who
from cyclades_tx.store import addresses, firewalls, outbox, quotas

_COLUMNS = (
    "f.id, f.uuid::text, f.project_id, f.user_id, f.network_id, f.port_id, f.address_id,"
    " f.revision, host(a.address) as address, a.port_id as extra_id,"
    " f.released_at is not null as released"
)
_SEEN = "f.released_at is null and (%s or f.project_id = %s)"


async def find(tx: Any, who: Who, ref: str) -> Any:
    """A floating IP that the caller sees, not locked.

    :param ref: what stood in the URL: anything.
    :raise NotFound: when there is none.
    """
    uuid = parse_uuid(ref)
    row = uuid and await tx.first(
        f"select {_COLUMNS} from floating_ip f join address a on a.id = f.address_id"
        f" where f.uuid = %s and {_SEEN}",
        (uuid, who.admin, who.project_id),
    )
    if not row:
        raise NotFound(f"Floating IP {ref} could not be found.", "floatingip")
    return row


async def with_address(tx: Any, who: Who, address: str) -> Any:
    """The floating IP of the caller's project with an address, or None."""
    return await tx.first(
        f"select {_COLUMNS} from floating_ip f join address a on a.id = f.address_id"
        f" where host(a.address) = %s and {_SEEN} order by f.id limit 1",
        (address, False, who.project_id),
    )


async def lock(tx: Any, floating_id: int) -> Any:
    """Lock a floating IP and its address; None when it is gone.

    Holdings, the server and its ports, where they matter, are locked before.
    """
    return await tx.first(
        f"select {_COLUMNS} from floating_ip f join address a on a.id = f.address_id"
        " where f.id = %s for update",
        (floating_id,),
    )


async def take_address(tx: Any, network: Any, subnet_uuid: str | None, address: str | None) -> int:
    """Take an IPv4 address of a network; return the id of its row.

    :param address: this one; None: the first that is free.
    :raise Conflict: when it, or every one, is taken.
    """
    subnets = await tx.all(
        "select id, cidr, uuid::text from subnet where network_id = %s and family(cidr) = 4"
        " and (%s::uuid is null or uuid = %s::uuid)"
        " and (%s::inet is null or cidr >>= %s::inet) order by id",
        (network.id, subnet_uuid, subnet_uuid, address, address),
    )
    if not subnets:
        if subnet_uuid is not None:
            raise NotFound(f"Subnet {subnet_uuid} could not be found.", "subnet")
        if address is not None:
            raise BadRequest(
                f"IP address {address} is not a valid IP for any of the subnets of network "
                f"{network.uuid}.",
                neutron_type="InvalidIpForNetwork",
            )
        raise Conflict(f"Network {network.uuid} has no IPv4 subnet.", "IpAddressGenerationFailure")
    full: Conflict | None = None
    for subnet in subnets:
        try:
            if address is not None:
                taken = await addresses.take_given(tx, subnet.id, address)
            else:
                taken = await addresses.take(tx, subnet.id)
        except Conflict as error:
            full = error
            continue
        row_id: int = await tx.value(
            "select id from address where subnet_id = %s and address = %s", (subnet.id, taken)
        )
        return row_id
    assert full is not None
    raise full


async def insert(
    tx: Any, *, address_id: int, network_id: int, project_id: str, user_id: str, description: str
) -> Any:
    """Make a floating IP of a taken address; the quota was taken before."""
    row = await tx.first(
        "insert into floating_ip (address_id, network_id, project_id, user_id, description)"
        " values (%s, %s, %s, %s, %s) returning id, uuid::text",
        (address_id, network_id, project_id, user_id, description),
    )
    await tell(tx, "floating_ip.created", row.id)
    return row


async def set_port(tx: Any, floating_id: int, port_id: int | None) -> None:
    """Say which port of the user's it is on."""
    await tx.run(
        "update floating_ip set port_id = %s, updated_at = now(), revision = revision + 1"
        " where id = %s",
        (port_id, floating_id),
    )
    if port_id is not None:
        # Its interface has the rules of that port.
        await firewalls.wish_of_port(tx, port_id)
    await tell(tx, "floating_ip.changed", floating_id)


async def give_to_port(tx: Any, address_id: int, port_id: int) -> None:
    """Let an extra port have the address.

    :raise Conflict: when another one has it.
    """
    given = await tx.run(
        "update address set port_id = %s where id = %s and port_id is null", (port_id, address_id)
    )
    if not given:
        raise Conflict("The floating IP is on a server.", "FloatingIPPortAlreadyAssociated")


async def network_with_free(
    querier: Any, project_id: str, without: Collection[int] = frozenset()
) -> Any:
    """The network of a project's first floating IP that nothing uses; None: there is none.

    :param without: the ids of networks that are none of it.
    """
    return await querier.first(
        "select n.id, n.uuid::text, n.name, n.project_id from floating_ip f"
        " join address a on a.id = f.address_id join network n on n.id = f.network_id"
        " where f.project_id = %s and f.released_at is null and a.port_id is null"
        " and f.port_id is null and n.id <> all(%s::bigint[]) order by f.id limit 1",
        (project_id, list(without)),
    )


async def pool_named(querier: Any, name: str | None) -> str | None:
    """The UUID of a network that gives floating IPs; None: there is none.

    One with a free address comes first, and then the oldest.

    :param name: its name or UUID; None: any that gives them now.
    """
    found: str | None = await querier.value(
        "select n.uuid::text from network n where n.deleted_at is null and n.floating_ip_pool"
        " and (%s::text is null and not n.drained or n.name = %s::text or n.uuid = %s::uuid)"
        " order by n.drained, not exists (select from subnet s join free_address_range r"
        " on r.subnet_id = s.id where s.network_id = n.id and family(s.cidr) = 4), n.id limit 1",
        (name, name, parse_uuid(name or "")),
    )
    return found


async def take_free(tx: Any, project_id: str, network_id: int) -> Any:
    """Lock a project's floating IP of a network that nothing uses; None: there is none."""
    return await tx.first(
        f"select {_COLUMNS} from floating_ip f join address a on a.id = f.address_id"
        " where f.project_id = %s and f.network_id = %s and f.released_at is null"
        " and a.port_id is null and f.port_id is null order by f.id limit 1"
        " for update skip locked",
        (project_id, network_id),
    )


async def describe(tx: Any, floating_id: int, description: str) -> None:
    """Change the description."""
    await tx.run(
        "update floating_ip set description = %s, updated_at = now(), revision = revision + 1"
        " where id = %s",
        (description, floating_id),
    )
    await tell(tx, "floating_ip.changed", floating_id)


async def mark_released(tx: Any, floating_id: int) -> None:
    """It goes away with its interface, which is being removed."""
    await tell(tx, "floating_ip.deleted", floating_id)
    await tx.run(
        "update floating_ip set released_at = now(), port_id = null where id = %s", (floating_id,)
    )


async def delete(tx: Any, row: Any) -> None:
    """Delete a locked one that is on no server: address and quota are free again."""
    await tell(tx, "floating_ip.deleted", row.id)
    await tx.run("delete from floating_ip where id = %s", (row.id,))
    await addresses.give_back(tx, row.address_id)
    await quotas.add(tx, row.project_id, {FLOATING_IP: -1})


async def tell(tx: Any, kind: str, floating_id: int) -> None:
    """Tell of a floating IP as it is now."""
    row = await tx.first(
        "select f.uuid::text, f.project_id, host(a.address) as address, p.uuid::text as port_id"
        " from floating_ip f join address a on a.id = f.address_id"
        " left join port p on p.id = f.port_id where f.id = %s",
        (floating_id,),
    )
    body = {"floating_ip": {"id": row.uuid, "address": row.address, "port_id": row.port_id}}
    await outbox.put(tx, kind, row.uuid, row.project_id, body)
