"""Taking addresses from a subnet and giving them back.

What is free is a set of ranges (``free_address_range``), what is taken a row of ``address``;
every address of a pool is in exactly one of the two. Taking locks one range and shortens it.
Takers skip ranges that others have locked, and wait only when all are.

The statements rely on ``read committed``: each sees what others committed before it began.
"""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import Any, NamedTuple

from cyclades_tx.errors import BadRequest, Conflict, NotFound, Unavailable
from cyclades_tx.model import address as arithmetic
from cyclades_tx.model.books import free_ranges

#: Each turn means that somebody else's transaction came to an end between two statements.
_TURNS = 100


class Recount(NamedTuple):
    """What a subnet's pools hold, counted from scratch.

    :ivar right: whether free and taken addresses together are exactly the pools.
    """

    pooled: int
    free: int
    taken: int
    right: bool


async def fill(tx: Any, subnet_id: int, pools: tuple[arithmetic.Range, ...]) -> None:
    """Write the pools of a new subnet, with every address free."""
    for pool in pools:
        await tx.run(
            "insert into allocation_pool (subnet_id, first_address, last_address)"
            " values (%s, %s, %s)",
            (subnet_id, str(pool.first), str(pool.last)),
        )
        for piece in arithmetic.pieces(pool):
            await tx.run(
                "insert into free_address_range (subnet_id, first_address, last_address)"
                " values (%s, %s, %s)",
                (subnet_id, str(piece.first), str(piece.last)),
            )


async def replace_pools(tx: Any, subnet_id: int, pools: tuple[arithmetic.Range, ...]) -> None:
    """Give a subnet other pools; what is taken stays taken, also outside of them."""
    # Takers wait for the ranges, and find the new ones.
    await tx.all(
        "select 1 from free_address_range where subnet_id = %s order by first_address for update",
        (subnet_id,),
    )
    taken = await tx.all("select address from address where subnet_id = %s", (subnet_id,))
    used = frozenset(int(ip_interface(row.address).ip) for row in taken)
    await tx.run("delete from free_address_range where subnet_id = %s", (subnet_id,))
    await tx.run("delete from allocation_pool where subnet_id = %s", (subnet_id,))
    free: list[tuple[str, str]] = []
    for pool in pools:
        await tx.run(
            "insert into allocation_pool (subnet_id, first_address, last_address)"
            " values (%s, %s, %s)",
            (subnet_id, str(pool.first), str(pool.last)),
        )
        kind = type(pool.first)
        for piece in arithmetic.pieces(pool):
            free += [
                (str(kind(low)), str(kind(high)))
                for low, high in free_ranges(int(piece.first), int(piece.last), used)
            ]
    await tx.run(
        "insert into free_address_range (subnet_id, first_address, last_address)"
        " select %s, first, last from unnest(%s::inet[], %s::inet[]) as r (first, last)",
        (subnet_id, [first for first, _ in free], [last for _, last in free]),
    )


async def take(tx: Any, subnet_id: int, port_id: int | None = None) -> str:
    """Take a free address for a port, the lowest that nobody else is taking.

    :return: the address as text.
    :raise Conflict: ``IpAddressGenerationFailure`` when no address is free.
    """
    lowest = (
        "select host(first_address) as first from free_address_range where subnet_id = %s"
        " order by first_address limit 1 for update"
    )
    for _ in range(_TURNS):
        found = await tx.value(f"{lowest} skip locked", (subnet_id,))
        if found is None:
            # All that there are, if any, are being taken from: stand in line for one.
            found = await tx.value(lowest, (subnet_id,))
        if found is not None:
            await tx.run(
                """
                with emptied as (
                    delete from free_address_range
                    where subnet_id = %(subnet)s and first_address = %(taken)s::inet
                        and last_address = first_address
                ), shortened as (
                    update free_address_range set first_address = first_address + 1
                    where subnet_id = %(subnet)s and first_address = %(taken)s::inet
                        and last_address > first_address
                )
                insert into address (subnet_id, address, port_id)
                values (%(subnet)s, %(taken)s::inet, %(port)s)
                """,
                {"subnet": subnet_id, "taken": found, "port": port_id},
            )
            return str(found)
        # The line may have ended at a range that is gone, while another came.
        if not await tx.value(
            "select exists (select from free_address_range where subnet_id = %s)", (subnet_id,)
        ):
            raise Conflict(
                "No more IP addresses are available on the network.", "IpAddressGenerationFailure"
            )
    raise Unavailable("Too many addresses are being taken from this subnet; try again.")


async def take_given(tx: Any, subnet_id: int, address: str, port_id: int | None = None) -> str:
    """Take the address that was asked for.

    It may lie outside the pools, but must be an address for a machine of the subnet.

    :return: the address in its usual writing.
    :raise BadRequest: when it is not an address of the subnet, or the gateway.
    :raise Conflict: ``IpAddressInUse`` when it is taken.
    """
    row = await tx.first(
        "select cidr, host(gateway) as gateway from subnet where id = %s", (subnet_id,)
    )
    if row is None:
        raise NotFound("The subnet could not be found.", "subnet")
    wanted = arithmetic.parse_address(address, "IP address")
    subnet = ip_network(row.cidr)
    text = str(wanted)
    if not arithmetic.usable(subnet, wanted) or text == row.gateway:
        raise BadRequest(
            f"IP address {text} is not a valid IP for the specified subnet {subnet}.",
            neutron_type="InvalidIpForSubnet",
        )
    if not await _cut_out(tx, subnet_id, text) and await tx.value(
        "select exists (select from allocation_pool where subnet_id = %s"
        " and %s::inet between first_address and last_address)",
        (subnet_id, text),
    ):
        raise _in_use(text)
    taken = await tx.value(
        "insert into address (subnet_id, address, port_id) values (%s, %s, %s)"
        " on conflict do nothing returning id",
        (subnet_id, text, port_id),
    )
    if taken is None:
        raise _in_use(text)
    return text


def _in_use(address: str) -> Conflict:
    return Conflict(f"IP address {address} is already in use.", "IpAddressInUse")


async def _cut_out(tx: Any, subnet_id: int, address: str) -> bool:
    """Take an address out of the free range that holds it; whether one did."""
    around = (
        " from free_address_range"
        " where subnet_id = %(subnet)s and first_address <= %(wanted)s::inet"
        " order by first_address desc limit 1"
    )
    args: dict[str, Any] = {"subnet": subnet_id, "wanted": address}
    for _ in range(_TURNS):
        found = await tx.first(
            "select host(first_address) as first, last_address >= %(wanted)s::inet as holds"
            f"{around} for update",
            args,
        )
        if found is not None and found.holds:
            args["first"] = found.first
            await tx.run(
                """
                with upper as (
                    insert into free_address_range (subnet_id, first_address, last_address)
                    select subnet_id, %(wanted)s::inet + 1, last_address from free_address_range
                    where subnet_id = %(subnet)s and first_address = %(first)s::inet
                        and last_address > %(wanted)s::inet
                ), emptied as (
                    delete from free_address_range
                    where subnet_id = %(subnet)s and first_address = %(first)s::inet
                        and first_address = %(wanted)s::inet
                )
                update free_address_range set last_address = %(wanted)s::inet - 1
                where subnet_id = %(subnet)s and first_address = %(first)s::inet
                    and first_address < %(wanted)s::inet
                """,
                args,
            )
            return True
        # Waiting for a lock shows the new end of that range, but not the one split off it.
        if not await tx.value(
            f"select coalesce((select last_address >= %(wanted)s::inet{around}), false)", args
        ):
            return False
    raise Unavailable("Too many addresses are being taken from this subnet; try again.")


async def give_back(tx: Any, address_id: int) -> bool:
    """Free an address; one of a pool joins the free ranges beside it in its piece of the pool.

    A neighbour that somebody else is working with is left alone: two short ranges are as good
    as one long one.

    :return: whether there was such an address.
    """
    gone = await tx.first(
        "delete from address where id = %s returning subnet_id, host(address) as address",
        (address_id,),
    )
    if gone is None:
        return False
    pool = await tx.first(
        "select host(first_address) as first, host(last_address) as last from allocation_pool"
        " where subnet_id = %s and first_address <= %s::inet and last_address >= %s::inet",
        (gone.subnet_id, gone.address, gone.address),
    )
    if pool is None:
        return True
    address = arithmetic.parse_address(gone.address)
    piece = arithmetic.piece_of(
        arithmetic.Range(arithmetic.parse_address(pool.first), arithmetic.parse_address(pool.last)),
        address,
    )
    args = {"subnet": gone.subnet_id, "address": gone.address}
    first = last = gone.address
    if address != piece.first:
        left = await tx.first(
            "select host(first_address) as first from free_address_range"
            " where subnet_id = %(subnet)s and last_address = %(address)s::inet - 1"
            " for update skip locked",
            args,
        )
        first = left.first if left is not None else first
    if address != piece.last:
        right = await tx.first(
            "select host(last_address) as last from free_address_range"
            " where subnet_id = %(subnet)s and first_address = %(address)s::inet + 1"
            " for update skip locked",
            args,
        )
        if right is not None:
            last = right.last
            await tx.run(
                "delete from free_address_range"
                " where subnet_id = %(subnet)s and first_address = %(address)s::inet + 1",
                args,
            )
    await tx.run(
        "insert into free_address_range (subnet_id, first_address, last_address)"
        " values (%s, %s, %s) on conflict (subnet_id, first_address)"
        " do update set last_address = excluded.last_address",
        (gone.subnet_id, first, last),
    )
    return True


async def recount(tx: Any, subnet_id: int) -> Recount:
    """Count a subnet's addresses from scratch, in one statement, hence at one moment."""
    row = await tx.first(
        """
        with part as (
            select first_address - '0.0.0.0'::inet as low,
                last_address - '0.0.0.0'::inet + 1 as high, true as free
            from free_address_range where subnet_id = %(subnet)s
            union all
            select a.address - '0.0.0.0'::inet, a.address - '0.0.0.0'::inet + 1, false
            from address a join allocation_pool p on p.subnet_id = a.subnet_id
                and a.address between p.first_address and p.last_address
            where a.subnet_id = %(subnet)s and family(a.address) = 4
        ), pool as (
            select first_address - '0.0.0.0'::inet as low,
                last_address - '0.0.0.0'::inet + 1 as high
            from allocation_pool where subnet_id = %(subnet)s
        )
        select coalesce((select sum(high - low) from pool), 0)::bigint as pooled,
            coalesce(sum(high - low) filter (where free), 0)::bigint as free,
            count(*) filter (where not free) as taken,
            coalesce(range_agg(int8range(low, high)), '{}'::int8multirange) =
                coalesce((select range_agg(int8range(low, high)) from pool), '{}'::int8multirange)
                as covered
        from part
        """,
        {"subnet": subnet_id},
    )
    return Recount(
        row.pooled, row.free, row.taken, row.covered and row.pooled == row.free + row.taken
    )
