"""Addresses recounted from scratch: what leaks, what is free and taken at once, what is neither.

Finding locks nothing; each statement sees one moment. Mending takes the locks of the documented
order, one subnet or one server at a time, looks again under them, and leaves what is in use to
the next time.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from cyclades_tx.model import address as arithmetic
from cyclades_tx.model import books
from cyclades_tx.model.books import BookFinding
from cyclades_tx.store import addresses
from cyclades_tx.store.ports import delete_ports, delete_ports_of_server

#: Subnets in one statement, and rows in one transaction.
MOST_SUBNETS = 500
MOST_ROWS = 200
#: Findings of one kind in one look; the rest is found in the next.
MOST_FOUND = 5000

_ORPHANED = (
    "a.port_id is null and not exists (select from floating_ip f where f.address_id = a.id)"
    " and not exists (select from address_reservation r where r.address_id = a.id)"
    " and not exists (select from address_kept k where k.address_id = a.id)"
)
#: A server that holds nothing any more, and that nothing moves.
_GONE = (
    "s.charge = 'none' and s.state in ('error', 'deleted') and not exists (select from operation o"
    " where o.server_id = s.id and o.finished_at is null)"
)
_NOBODYS = "p.automatic and p.server_id is null"
_OPEN_FOR_NOTHING = (
    "h.released_at is null and not exists (select from port p join address a on a.port_id = p.id"
    " where p.network_id = h.network_id and p.server_id = h.server_id and a.address = h.address)"
)

#: Subnets whose free ranges are not exactly their pools without what is taken.
_WRONG_FREE = """
with batch as (
    select id from subnet where id > %(after)s and family(cidr) = 4 order by id limit %(most)s
), pool as (
    select p.subnet_id, range_agg(int8range(first_address - '0.0.0.0'::inet,
        last_address - '0.0.0.0'::inet + 1)) as span
    from allocation_pool p join batch on batch.id = p.subnet_id
    where family(first_address) = 4 group by 1
), taken as (
    select a.subnet_id, range_agg(int8range(address - '0.0.0.0'::inet,
        address - '0.0.0.0'::inet + 1)) as span
    from address a join batch on batch.id = a.subnet_id where family(address) = 4 group by 1
), free as (
    select r.subnet_id, range_agg(int8range(first_address - '0.0.0.0'::inet,
        last_address - '0.0.0.0'::inet + 1)) as span,
        sum(last_address - first_address + 1)::bigint as number
    from free_address_range r join batch on batch.id = r.subnet_id
    where family(first_address) = 4 group by 1
), compared as (
    select batch.id, coalesce(pool.span, '{}') - coalesce(taken.span, '{}') as due,
        coalesce(free.span, '{}') as free, coalesce(free.number, 0) as number
    from batch left join pool on pool.subnet_id = batch.id
    left join taken on taken.subnet_id = batch.id left join free on free.subnet_id = batch.id
), counted as (
    select id,
        (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(due - free) r) as lost,
        (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(free - due) r) as wrong,
        number - (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(free) r)
            as doubled
    from compared
)
select c.id, c.lost, c.wrong, c.doubled, s.cidr::text as cidr, s.network_id,
    (select max(id) from batch) as last
from (select max(id) as id from batch) m left join counted c on c.lost + c.wrong + c.doubled > 0
left join subnet s on s.id = c.id where m.id is not null
"""


async def find(database: Any) -> list[BookFinding]:
    """Everything that is wrong with addresses, pools and ports."""
    found = await _leaked(database)
    found += await wrong_free_ranges(database)
    for row in await database.all(
        "select s.id, s.cidr::text as cidr, s.network_id, host(a.address) as address"
        " from address a join subnet s on s.id = a.subnet_id where not a.address <<= s.cidr"
        f" order by a.id limit {MOST_FOUND}"
    ):
        found.append(
            BookFinding(
                books.ADDRESS_OUTSIDE,
                f"subnet {row.id} address {row.address}",
                f"Address {row.address} is not in {row.cidr}, the subnet that it is taken from.",
                mendable=False,
            )
        )
    found += await _wrong_pools(database)
    for row in await database.all(
        "select s.id, s.cidr::text as cidr, s.network_id, t.id as other, t.cidr::text as over,"
        " t.network_id as other_network from subnet s join network n on n.id = s.network_id"
        " and n.external and n.deleted_at is null"
        " join subnet t on t.cidr && s.cidr and t.id > s.id"
        " join network m on m.id = t.network_id and m.external and m.deleted_at is null"
        f" order by s.id, t.id limit {MOST_FOUND}"
    ):
        found.append(
            BookFinding(
                books.OVERLAP,
                f"subnets {row.id} and {row.other}",
                f"Subnet {row.cidr} of network {row.network_id} and {row.over} of network"
                f" {row.other_network} overlap, and both are external: an address may be given"
                " out twice.",
                mendable=False,
            )
        )
    return found


async def _leaked(database: Any) -> list[BookFinding]:
    found = []
    for row in await database.all(
        "select a.subnet_id, s.cidr::text as cidr, array_agg(a.id order by a.id) as ids,"
        " (array_agg(host(a.address) order by a.id))[1] as first"
        f" from address a join subnet s on s.id = a.subnet_id where {_ORPHANED}"
        " group by 1, 2 order by 1"
    ):
        found.append(
            BookFinding(
                books.LEAKED_ADDRESSES,
                f"subnet {row.subnet_id}",
                f"{len(row.ids)} addresses of {row.cidr} are taken but nobody has them"
                f" ({row.first} …).",
                ids=tuple(row.ids[:MOST_FOUND]),
            )
        )
    for row in await database.all(
        "select p.network_id, array_agg(p.id order by p.id) as ids from port p"
        f" where {_NOBODYS} group by 1 order by 1"
    ):
        found.append(
            BookFinding(
                books.LEAKED_PORTS,
                f"network {row.network_id}",
                f"{len(row.ids)} ports of network {row.network_id} were made for servers and have"
                " none.",
                ids=tuple(row.ids[:MOST_FOUND]),
            )
        )
    for row in await database.all(
        "select s.id, s.state, count(*) as ports from server s join port p on p.server_id = s.id"
        f" where {_GONE} group by 1, 2 order by 1 limit {MOST_FOUND}"
    ):
        word = "is deleted" if row.state == "deleted" else "failed and holds nothing"
        found.append(
            BookFinding(
                books.PORTS_OF_GONE_SERVER,
                f"server {row.id}",
                f"Server {row.id} {word}, but {row.ports} ports are still its.",
                ids=(row.id,),
            )
        )
    for row in await database.all(
        "select h.network_id, array_agg(h.id order by h.id) as ids from address_history h"
        f" where {_OPEN_FOR_NOTHING} group by 1 order by 1"
    ):
        found.append(
            BookFinding(
                books.OPEN_HISTORY,
                f"network {row.network_id}",
                f"The history of network {row.network_id} says of {len(row.ids)} addresses that a"
                " server has them which has not.",
                ids=tuple(row.ids[:MOST_FOUND]),
            )
        )
    return found


async def wrong_free_ranges(database: Any) -> list[BookFinding]:
    """The IPv4 subnets whose free addresses are not exactly the pools without the taken ones."""
    found: list[BookFinding] = []
    after = 0
    while True:
        rows = await database.all(_WRONG_FREE, {"after": after, "most": MOST_SUBNETS})
        if not rows:
            return found
        after = rows[0].last
        for row in rows:
            if row.id is not None:
                found.append(
                    BookFinding(
                        books.FREE_ADDRESSES,
                        f"subnet {row.id}",
                        f"In {row.cidr} of network {row.network_id} {row.lost} addresses are"
                        f" neither free nor taken, {row.wrong} free that should not be,"
                        f" {row.doubled} free twice.",
                        ids=(row.id,),
                    )
                )


async def _wrong_pools(database: Any) -> list[BookFinding]:
    rows = await database.all(
        "select s.id, s.cidr::text as cidr, s.network_id, host(p.first_address) as first,"
        " host(p.last_address) as last,"
        " s.gateway between p.first_address and p.last_address as gateway,"
        " not (p.first_address <<= s.cidr and p.last_address <<= s.cidr) as outside,"
        " exists (select from allocation_pool q where q.subnet_id = p.subnet_id"
        " and q.first_address < p.first_address and q.last_address >= p.first_address) as over"
        " from allocation_pool p join subnet s on s.id = p.subnet_id"
        " where s.gateway between p.first_address and p.last_address"
        " or not (p.first_address <<= s.cidr and p.last_address <<= s.cidr)"
        " or exists (select from allocation_pool q where q.subnet_id = p.subnet_id"
        " and q.first_address < p.first_address and q.last_address >= p.first_address)"
        f" order by s.id, p.first_address limit {MOST_FOUND}"
    )
    found = []
    for row in rows:
        why = (
            f"is not inside {row.cidr}"
            if row.outside
            else "holds the gateway"
            if row.gateway
            else "overlaps another pool"
        )
        found.append(
            BookFinding(
                books.WRONG_POOL,
                f"subnet {row.id} pool {row.first}",
                f"The pool {row.first}-{row.last} of network {row.network_id} {why}.",
                mendable=False,
            )
        )
    return found


async def mend(database: Any, finding: BookFinding) -> bool:
    """Put one finding of :func:`find` right.

    :return: False when somebody was at work there: the next look finds it again.
    """
    work = _MENDERS[finding.kind]
    whole = True
    for start in range(0, len(finding.ids), MOST_ROWS):
        part = list(finding.ids[start : start + MOST_ROWS])

        async def write(tx: Any, part: list[int] = part) -> bool:
            return await work(tx, part)

        whole = await database.transaction(write, f"books.{finding.kind}") and whole
    return whole


async def _give_back_addresses(tx: Any, ids: list[int]) -> bool:
    # Whoever wants one of them must wait; and whoever took one before is seen after the lock.
    await tx.run(
        "select 1 from address where id = any(%s::bigint[]) order by id for update", (ids,)
    )
    rows = await tx.all(
        f"select a.id from address a where a.id = any(%s::bigint[]) and {_ORPHANED}"
        " order by a.subnet_id, a.address",
        (ids,),
    )
    for row in rows:
        await addresses.give_back(tx, row.id)
    return True


async def _delete_leaked_ports(tx: Any, ids: list[int]) -> bool:
    rows = await tx.all(
        f"select p.id from port p where p.id = any(%s::bigint[]) and {_NOBODYS}"
        " order by p.id for update",
        (ids,),
    )
    await delete_ports(tx, [row.id for row in rows])
    return True


async def _free_ports_of_servers(tx: Any, ids: list[int]) -> bool:
    await tx.run("select 1 from server where id = any(%s::bigint[]) order by id for update", (ids,))
    rows = await tx.all(
        f"select s.id from server s where s.id = any(%s::bigint[]) and {_GONE} order by s.id",
        (ids,),
    )
    for row in rows:
        await delete_ports_of_server(tx, row.id)
    return True


async def _close_history(tx: Any, ids: list[int]) -> bool:
    await tx.run(
        "update address_history h set released_at = now() where h.id = any(%s::bigint[])"
        f" and {_OPEN_FOR_NOTHING}",
        (ids,),
    )
    return True


async def _recount_free(tx: Any, ids: list[int]) -> bool:
    whole = True
    for subnet_id in ids:
        whole = await recount_subnet(tx, subnet_id) and whole
    return whole


async def recount_subnet(tx: Any, subnet_id: int) -> bool:
    """Write the free ranges of an IPv4 subnet anew, from its pools and what is taken.

    Takers lock a range and then, by the foreign key of what they insert, the subnet: the same
    order as here. A range that came in between and is already being taken from is somebody
    else's: then nothing is done.

    :return: whether it was done.
    """
    ranges = "select 1 from free_address_range where subnet_id = %s"
    await tx.all(f"{ranges} order by first_address for update", (subnet_id,))
    if not await tx.all("select 1 from subnet where id = %s for update", (subnet_id,)):
        return True
    held = len(await tx.all(f"{ranges} for update skip locked", (subnet_id,)))
    if held != len(await tx.all(ranges, (subnet_id,))):
        return False
    pieces = [
        piece
        for row in await tx.all(
            "select host(first_address) as first, host(last_address) as last"
            " from allocation_pool where subnet_id = %s and family(first_address) = 4",
            (subnet_id,),
        )
        for piece in arithmetic.pieces(
            arithmetic.Range(ip_address(row.first), ip_address(row.last))
        )
    ]
    await tx.run("delete from free_address_range where subnet_id = %s", (subnet_id,))
    await tx.run(
        """
        with taken as (
            select coalesce(range_agg(int8range(address - '0.0.0.0'::inet,
                address - '0.0.0.0'::inet + 1)), '{}') as span
            from address where subnet_id = %(subnet)s and family(address) = 4
        ), free as (
            select distinct unnest(int8multirange(int8range(low, high + 1)) - taken.span) as part
            from unnest(%(lows)s::bigint[], %(highs)s::bigint[]) as piece (low, high), taken
        )
        insert into free_address_range (subnet_id, first_address, last_address)
        select %(subnet)s, '0.0.0.0'::inet + lower(part), '0.0.0.0'::inet + (upper(part) - 1)
        from free on conflict do nothing
        """,
        {
            "subnet": subnet_id,
            "lows": [int(piece.first) for piece in pieces],
            "highs": [int(piece.last) for piece in pieces],
        },
    )
    return True


_MENDERS = {
    books.LEAKED_ADDRESSES: _give_back_addresses,
    books.LEAKED_PORTS: _delete_leaked_ports,
    books.PORTS_OF_GONE_SERVER: _free_ports_of_servers,
    books.OPEN_HISTORY: _close_history,
    books.FREE_ADDRESSES: _recount_free,
}
