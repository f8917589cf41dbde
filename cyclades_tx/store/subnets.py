"""Subnets that are there: who sees them, what uses them, their changes.

A subnet follows its network. Whoever changes one has locked the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.errors import NotFound
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who

_COLUMNS = (
    "s.id, s.uuid::text, s.network_id, s.name, s.cidr, host(s.gateway) as gateway, s.dhcp,"
    " s.ipv6_ra_mode, s.revision, n.project_id, n.uuid::text as network_uuid, s.subnet_pool_id"
)

#: What a request may change, each with how its value is written.
_CHANGEABLE = {
    "name": "%s",
    "description": "%s",
    "dhcp": "%s",
    "gateway": "%s::inet",
    "dns_nameservers": "%s::inet[]",
    "host_routes": "%s::jsonb",
    "ipv6_ra_mode": "%s",
    "ipv6_address_mode": "%s",
}


async def seen(querier: Any, who: Who | None, ref: str) -> Any:
    """The subnet with this UUID, if the caller sees it: an own or a shared network's.

    :param who: None is the operator.
    :raise NotFound: when there is none; anything can stand in ``ref``.
    """
    uuid = parse_uuid(ref)
    admin, project_id = (True, None) if who is None else (who.admin, who.project_id)
    row = uuid and await querier.first(
        f"select {_COLUMNS} from subnet s join network n on n.id = s.network_id"
        " where s.uuid = %s::uuid and n.deleted_at is null"
        " and (%s::boolean or n.project_id = %s::text or n.shared)",
        (uuid, admin, project_id),
    )
    if not row:
        raise NotFound(f"Subnet {ref} could not be found.", "subnet")
    return row


async def lock(tx: Any, subnet_id: int) -> Any:
    """A subnet's row as it is now; its network is locked.

    :raise NotFound: when it is gone.
    """
    row = await tx.first(
        f"select {_COLUMNS} from subnet s join network n on n.id = s.network_id where s.id = %s"
        " for update of s",
        (subnet_id,),
    )
    if row is None:
        raise NotFound("The subnet could not be found.", "subnet")
    return row


async def cidrs_of(querier: Any, network_id: int) -> list[str]:
    """The ranges of the subnets that a network has."""
    rows = await querier.all("select cidr from subnet where network_id = %s", (network_id,))
    return [row.cidr for row in rows]


async def pools_of(querier: Any, subnet_id: int) -> list[tuple[str, str]]:
    """First and last address of each pool."""
    rows = await querier.all(
        "select host(first_address) as first, host(last_address) as last from allocation_pool"
        " where subnet_id = %s order by first_address",
        (subnet_id,),
    )
    return [(row.first, row.last) for row in rows]


async def is_taken(querier: Any, subnet_id: int, address: str) -> bool:
    """Whether somebody has an address of a subnet."""
    return bool(
        await querier.value(
            "select exists (select from address where subnet_id = %s and address = %s::inet)",
            (subnet_id, address),
        )
    )


async def is_used(querier: Any, subnet_id: int) -> bool:
    """Whether a port or a floating IP has an address of a subnet."""
    return bool(
        await querier.value(
            "select exists (select from address a where a.subnet_id = %s and (a.port_id is not null"
            " or exists (select from floating_ip f where f.address_id = a.id)))",
            (subnet_id,),
        )
    )


async def change(tx: Any, subnet_id: int, columns: Mapping[str, Any]) -> None:
    """Set columns of a subnet; its revision number grows."""
    names = sorted(columns)
    settings = "".join(f"{name} = {_CHANGEABLE[name]}, " for name in names)
    await tx.run(
        f"update subnet set {settings}revision = revision + 1, updated_at = now() where id = %s",
        (*(columns[name] for name in names), subnet_id),
    )


async def delete(tx: Any, subnet_id: int) -> None:
    """Delete a subnet that nobody has an address of; what is held back for others goes along."""
    await tx.run("delete from address where subnet_id = %s", (subnet_id,))
    await tx.run("delete from subnet where id = %s", (subnet_id,))
