"""Taking values (bridges, MAC prefixes) from their pools and giving them back.

What is free is a set of ranges of numbers (``free_value_range``), what is taken stands in the
networks. Taking locks one range and shortens it; takers skip ranges that others have locked, and
wait only when all are. A value of a deleted network is taken until no cluster has the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, CycladesError, NotFound, Unavailable
from cyclades_tx.model import values as arithmetic
from cyclades_tx.model.books import value_number

#: Each turn means that somebody else's transaction came to an end between two statements.
_TURNS = 100

#: Whose values a pool gives out: the flavor of the networks, and the column that has the value.
USERS = {
    arithmetic.BRIDGE: ("PHYSICAL_VLAN", "link"),
    arithmetic.MAC_PREFIX: ("MAC_FILTERED", "mac_prefix"),
}
_NOUN = {arithmetic.BRIDGE: "bridge", arithmetic.MAC_PREFIX: "MAC prefix"}


def exhausted(kind: str) -> CycladesError:
    """Neutron's fault for a pool that is empty or not there."""
    error = Unavailable(
        f"Unable to create the network: no {_NOUN[kind]} is free. An administrator can make a pool"
        " of them larger (snf-manage pool-create, pool-modify).",
        retry_after_seconds=60,
    )
    error.details["neutron_type"] = "NoNetworkAvailable"
    return error


async def take(tx: Any, kind: str) -> str:
    """Take a free value, the lowest that nobody else is taking.

    :raise Unavailable: ``NoNetworkAvailable`` when none is free.
    """
    lowest = (
        "select r.value_pool_id as pool_id, r.first_value as number, p.base"
        " from free_value_range r join value_pool p on p.id = r.value_pool_id where p.kind = %s"
        " order by p.id, r.first_value limit 1 for update of r"
    )
    for _ in range(_TURNS):
        found = await tx.first(f"{lowest} skip locked", (kind,))
        if found is None:
            # All that there are, if any, are being taken from: stand in line for one.
            found = await tx.first(lowest, (kind,))
        if found is not None:
            await _shorten(tx, found.pool_id, found.number, found.number)
            return arithmetic.value_text(kind, found.base, found.number)
        # The line may have ended at a range that is gone, while another came.
        if not await tx.value(
            "select exists (select from free_value_range r join value_pool p"
            " on p.id = r.value_pool_id where p.kind = %s)",
            (kind,),
        ):
            raise exhausted(kind)
    raise Unavailable("Too many networks are being made; try again.")


async def take_number(tx: Any, kind: str, number: int) -> str:
    """Take the value that was asked for by its number.

    :raise BadRequest: when no pool has it.
    :raise Conflict: ``VlanIdInUse`` when it is not free.
    """
    pools = await tx.all(
        "select id, base, first_value, last_value from value_pool where kind = %s"
        " and %s between first_value and last_value order by id",
        (kind, number),
    )
    if not pools:
        raise BadRequest(
            f"There is no {_NOUN[kind]} with the number {number}.", neutron_type="InvalidInput"
        )
    for pool in pools:
        low = await _cut_out(tx, pool.id, number)
        if low is not None:
            return arithmetic.value_text(kind, pool.base, number)
    raise Conflict(f"Unable to create the network. {number} is in use.", "VlanIdInUse")


async def _cut_out(tx: Any, pool_id: int, number: int) -> int | None:
    """Take a number out of the free range that holds it; the range's beginning, if one did."""
    around = (
        "select first_value as low, last_value as high from free_value_range"
        " where value_pool_id = %s and first_value <= %s order by first_value desc limit 1"
    )
    for _ in range(_TURNS):
        found = await tx.first(f"{around} for update", (pool_id, number))
        if found is not None and found.high >= number:
            await _shorten(tx, pool_id, found.low, number)
            low: int = found.low
            return low
        # Waiting for a lock shows the new end of that range, but not the one split off it.
        again = await tx.first(around, (pool_id, number))
        if again is None or again.high < number:
            return None
    raise Unavailable("Too many networks are being made; try again.")


async def _shorten(tx: Any, pool_id: int, low: int, number: int) -> None:
    """Take a number from the locked free range that begins at ``low``."""
    args = {"pool": pool_id, "low": low, "number": number}
    if low == number:
        # The row stays, so that those who wait for it get the next number.
        await tx.run(
            """
            with emptied as (
                delete from free_value_range where value_pool_id = %(pool)s
                    and first_value = %(low)s::bigint and last_value = first_value
            )
            update free_value_range set first_value = first_value + 1
            where value_pool_id = %(pool)s and first_value = %(low)s::bigint
                and last_value > first_value
            """,
            args,
        )
        return
    await tx.run(
        """
        with upper as (
            insert into free_value_range (value_pool_id, first_value, last_value)
            select value_pool_id, %(number)s::bigint + 1, last_value from free_value_range
            where value_pool_id = %(pool)s and first_value = %(low)s::bigint
                and last_value > %(number)s::bigint
        )
        update free_value_range set last_value = %(number)s::bigint - 1
        where value_pool_id = %(pool)s and first_value = %(low)s::bigint
        """,
        args,
    )


async def give_back(tx: Any, kind: str, text: str) -> bool:
    """Free a value; it joins the free ranges beside it in its piece of the pool.

    A neighbour that somebody else is working with is left alone. What belongs to no pool, is
    reserved, in use or free already, stays as it is.

    :return: whether it became free.
    """
    flavor, column = USERS[kind]
    if await tx.value(
        f"select exists (select from network n where n.flavor = %s and n.{column} = %s"
        " and (n.deleted_at is null"
        " or exists (select from cluster_network c where c.network_id = n.id)))",
        (flavor, text),
    ):
        return False
    # Whoever writes a pool anew holds its row.
    for pool in await tx.all(
        "select id, base, first_value, last_value from value_pool where kind = %s order by id"
        " for share",
        (kind,),
    ):
        number = value_number(kind, pool.base, text)
        if number is None:
            continue
        piece = _piece(kind, pool, number)
        if piece is None:
            continue
        args = {"pool": pool.id, "number": number}
        if await tx.value(
            "select exists (select from free_value_range where value_pool_id = %(pool)s"
            " and %(number)s between first_value and last_value)"
            " or exists (select from reserved_value where value_pool_id = %(pool)s"
            " and value = %(number)s)",
            args,
        ):
            return False
        await _join(tx, pool.id, number, piece)
        return True
    return False


def _piece(kind: str, pool: Any, number: int) -> tuple[int, int] | None:
    """The piece of a pool's usable values that a number is in."""
    for low, high in arithmetic.usable_ranges(kind, pool.base, pool.first_value, pool.last_value):
        if low <= number <= high:
            return next(
                piece for piece in arithmetic.pieces(low, high) if piece[0] <= number <= piece[1]
            )
    return None


async def _join(tx: Any, pool_id: int, number: int, piece: tuple[int, int]) -> None:
    first = last = number
    if number > piece[0]:
        left = await tx.first(
            "delete from free_value_range where value_pool_id = %(pool)s and first_value ="
            " (select first_value from free_value_range where value_pool_id = %(pool)s"
            " and last_value = %(beside)s for update skip locked) returning first_value",
            {"pool": pool_id, "beside": number - 1},
        )
        first = left.first_value if left is not None else first
    if number < piece[1]:
        right = await tx.first(
            "delete from free_value_range where value_pool_id = %(pool)s and first_value ="
            " (select first_value from free_value_range where value_pool_id = %(pool)s"
            " and first_value = %(beside)s for update skip locked) returning last_value",
            {"pool": pool_id, "beside": number + 1},
        )
        last = right.last_value if right is not None else last
    await tx.run(
        "insert into free_value_range (value_pool_id, first_value, last_value) values (%s, %s, %s)",
        (pool_id, first, last),
    )


async def give_back_of(tx: Any, network: Any) -> None:
    """Free the value of a network that is gone everywhere.

    :param network: its row, with ``flavor``, ``link`` and ``mac_prefix``.
    """
    for kind, (flavor, column) in USERS.items():
        if network.flavor == flavor:
            await give_back(tx, kind, getattr(network, column))


async def used(querier: Any, pool: Any) -> frozenset[int]:
    """The numbers of a pool that networks have or that are reserved."""
    flavor, column = USERS[pool.kind]
    rows = await querier.all(
        f"select n.{column} as value from network n where n.flavor = %s and (n.deleted_at is null"
        " or exists (select from cluster_network c where c.network_id = n.id))",
        (flavor,),
    )
    # What was made by hand and belongs to no pool is no fault.
    numbers = {value_number(pool.kind, pool.base, row.value) for row in rows}
    reserved = await querier.all(
        "select value from reserved_value where value_pool_id = %s", (pool.id,)
    )
    numbers |= {row.value for row in reserved}
    return frozenset(number for number in numbers if number is not None)


async def due(querier: Any, pool: Any) -> tuple[tuple[int, int], ...]:
    """What should be free of a pool."""
    return arithmetic.unused_ranges(
        pool.kind, pool.base, pool.first_value, pool.last_value, await used(querier, pool)
    )


async def write_free(tx: Any, pool_id: int) -> None:
    """Write what is free of a pool anew, from what is used; the lock keeps takers out.

    :raise NotFound: when the pool is gone.
    """
    await tx.all(
        "select 1 from free_value_range where value_pool_id = %s order by first_value for update",
        (pool_id,),
    )
    pool = await tx.first("select * from value_pool where id = %s for update", (pool_id,))
    if pool is None:
        raise NotFound("The pool could not be found.", "pool")
    ranges = [piece for low, high in await due(tx, pool) for piece in _within(pool, low, high)]
    await tx.run("delete from free_value_range where value_pool_id = %s", (pool_id,))
    await tx.run(
        "insert into free_value_range (value_pool_id, first_value, last_value)"
        " select %s, * from unnest(%s::bigint[], %s::bigint[])",
        (pool_id, [low for low, _ in ranges], [high for _, high in ranges]),
    )


def _within(pool: Any, low: int, high: int) -> Iterable[tuple[int, int]]:
    """A free range cut at the borders of the pieces that it lies in."""
    for begins, ends in arithmetic.usable_ranges(
        pool.kind, pool.base, pool.first_value, pool.last_value
    ):
        for piece in arithmetic.pieces(begins, ends):
            if max(low, piece[0]) <= min(high, piece[1]):
                yield max(low, piece[0]), min(high, piece[1])
