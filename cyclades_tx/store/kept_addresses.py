"""Addresses that an operator keeps back: nobody gets them."""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import BadRequest, Conflict
from cyclades_tx.store import addresses

_THERE = (
    "select a.id, a.port_id is not null or exists (select from floating_ip f"
    " where f.address_id = a.id) as taken from address a where a.subnet_id = %s"
    " and a.address = %s::inet for update of a"
)


async def keep(tx: Any, network_id: int, address: str) -> None:
    """Keep an address of a network back.

    :raise BadRequest: when no subnet of the network has it.
    :raise Conflict: when somebody has it.
    """
    subnet_id = await _subnet(tx, network_id, address)
    there = await tx.first(_THERE, (subnet_id, address))
    if there is None:
        await addresses.take_given(tx, subnet_id, address)
        there = await tx.first(_THERE, (subnet_id, address))
    if there.taken:
        raise Conflict(f"{address} is in use: it cannot be kept back.", "IpAddressInUse")
    await tx.run(
        "insert into address_kept (address_id) values (%s) on conflict do nothing", (there.id,)
    )


async def let_go(tx: Any, network_id: int, address: str) -> None:
    """Give an address out again, unless a cluster reserves it.

    :raise Conflict: when it is not kept back.
    """
    subnet_id = await _subnet(tx, network_id, address)
    there = await tx.first(_THERE, (subnet_id, address))
    gone = 0
    if there is not None:
        gone = await tx.run("delete from address_kept where address_id = %s", (there.id,))
    if not gone:
        raise Conflict(f"{address} is not kept back.", "not_kept")
    if not await tx.value(
        "select exists (select from address_reservation where address_id = %s)", (there.id,)
    ):
        await addresses.give_back(tx, there.id)


async def _subnet(tx: Any, network_id: int, address: str) -> int:
    found: int | None = await tx.value(
        "select id from subnet where network_id = %s and %s::inet <<= cidr", (network_id, address)
    )
    if found is None:
        raise BadRequest(f"The network has no subnet with the address {address}.")
    return found
