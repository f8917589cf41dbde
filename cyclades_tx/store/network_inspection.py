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


async def addresses_of(querier: Any, port_id: int) -> list[Any]:
    """The addresses of a port, with the subnet of each and whether it is a floating IP."""
    rows: list[Any] = await querier.all(
        "select host(a.address) as address, s.id as subnet_id, s.cidr::text as cidr,"
        " exists (select from floating_ip f where f.address_id = a.id) as floating"
        " from address a join subnet s on s.id = a.subnet_id where a.port_id = %s"
        " order by family(a.address), a.id",
        (port_id,),
    )
    return rows


async def groups_of(querier: Any, port_id: int) -> list[str]:
    """The names of the security groups that a port is in."""
    rows = await querier.all(
        "select g.name from security_group g join port_security_group m"
        " on m.security_group_id = g.id where m.port_id = %s order by g.name, g.id",
        (port_id,),
    )
    return [row.name for row in rows]


async def leaves_at_restart(querier: Any, port_id: int | None) -> bool:
    """Whether an interface was removed that its machine has until its next start."""
    found: bool = await querier.value(
        "select exists (select from port where id = %s and pending_restart = 'detach')",
        (port_id,),
    )
    return found


async def clusters_of(querier: Any, network_id: int) -> list[Any]:
    """The clusters that a network stands on, or should: id, name, state, why, what is done."""
    rows: list[Any] = await querier.all(
        "select m.cluster_id, c.name, m.state, m.mac_prefix,"
        " coalesce(nullif(m.reason, ''), o.reason, '') as reason,"
        " coalesce(o.kind, '') as action, o.job_id"
        " from cluster_network m join cluster c on c.id = m.cluster_id"
        " left join operation o on o.network_id = m.network_id and o.cluster_id = m.cluster_id"
        " and o.server_id is null and o.finished_at is null"
        " where m.network_id = %s order by c.id",
        (network_id,),
    )
    return rows
