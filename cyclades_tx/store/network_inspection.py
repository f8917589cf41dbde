"""What an operator sees of a network: its subnets, and how it stands on each cluster."""

from __future__ import annotations

from typing import Any

#: How many addresses a range of either family has.
_SIZE = "({last} - {first} + 1)"


async def subnets_of(querier: Any, network_id: int) -> list[Any]:
    """The subnets of a network, with how many of their addresses are free."""
    free = _SIZE.format(first="r.first_address", last="r.last_address")
    total = _SIZE.format(first="l.first_address", last="l.last_address")
    rows: list[Any] = await querier.all(
        "select s.id, s.uuid::text as uuid, s.name, s.cidr::text as cidr,"
        " host(s.gateway) as gateway, s.dhcp,"
        f" (select coalesce(sum{free}, 0) from free_address_range r where r.subnet_id = s.id)"
        " as free,"
        f" (select coalesce(sum{total}, 0) from allocation_pool l where l.subnet_id = s.id)"
        " as pooled"
        " from subnet s where s.network_id = %s order by s.id",
        (network_id,),
    )
    return rows


async def of_subnet(querier: Any, subnet_id: int) -> Any:
    """Name servers, pools, how many addresses are taken, and those that an operator keeps back."""
    return await querier.first(
        "select array(select host(d) from unnest(s.dns_nameservers) d) as dns_nameservers,"
        " array(select host(l.first_address) || '-' || host(l.last_address)"
        " from allocation_pool l where l.subnet_id = s.id order by l.first_address) as pools,"
        " (select count(*) from address a where a.subnet_id = s.id) as taken,"
        " array(select host(a.address) from address a join address_kept k on k.address_id = a.id"
        " where a.subnet_id = s.id order by a.address) as kept"
        " from subnet s where s.id = %s",
        (subnet_id,),
    )


async def clusters_of(querier: Any, network_id: int) -> list[Any]:
    """The clusters that a network stands on, or should: id, name, state and why."""
    rows: list[Any] = await querier.all(
        "select m.cluster_id, c.name, m.state, m.mac_prefix,"
        " coalesce(nullif(m.reason, ''), o.reason, '') as reason"
        " from cluster_network m join cluster c on c.id = m.cluster_id"
        " left join operation o on o.network_id = m.network_id and o.cluster_id = m.cluster_id"
        " and o.server_id is null and o.finished_at is null"
        " where m.network_id = %s order by c.id",
        (network_id,),
    )
    return rows
