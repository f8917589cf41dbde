"""Networks as they stand on each cluster, in the database."""

from __future__ import annotations

from typing import Any

#: What a network without IPv4 gets, since Ganeti's networks must have an IPv4 range.
DUMMY_CIDR = "10.0.0.0/29"


def ganeti_tags(row: Any) -> tuple[str, ...]:
    """The tags that a network has at Ganeti, from its ``tags``, ``dhcp`` and ``external``."""
    return (
        *row.tags,
        *(("nfdhcpd",) if row.dhcp else ()),
        "public" if row.external else "private",
    )


async def for_making(querier: Any, network_id: int, cluster_id: int) -> Any:
    """What Ganeti must be told of a network: ranges, gateways, MAC prefix, mode, link, tags."""
    return await querier.first(
        "select n.id, n.mode, n.link, n.tags, n.external,"
        " cn.mac_prefix as cluster_mac_prefix,"
        " (select s.cidr::text from subnet s where s.network_id = n.id and family(s.cidr) = 4"
        " order by s.id limit 1) as cidr,"
        " (select host(s.gateway) from subnet s where s.network_id = n.id and family(s.cidr) = 4"
        " order by s.id limit 1) as gateway,"
        " (select s.cidr::text from subnet s where s.network_id = n.id and family(s.cidr) = 6"
        " order by s.id limit 1) as cidr6,"
        " (select host(s.gateway) from subnet s where s.network_id = n.id and family(s.cidr) = 6"
        " order by s.id limit 1) as gateway6,"
        " exists (select from subnet s where s.network_id = n.id and s.dhcp) as dhcp"
        " from network n join cluster_network cn on cn.network_id = n.id and cn.cluster_id = %s"
        " where n.id = %s",
        (cluster_id, network_id),
    )


async def set_state(tx: Any, network_id: int, cluster_id: int, state: str, reason: str) -> None:
    """Write down how a network stands on a cluster."""
    await tx.run(
        "update cluster_network set state = %s, reason = %s, updated_at = now()"
        " where network_id = %s and cluster_id = %s",
        (state, reason, network_id, cluster_id),
    )


async def set_failed(tx: Any, network_id: int, cluster_id: int, reason: str) -> None:
    """Making or removing a network did not succeed; one that stood meanwhile goes on standing."""
    await tx.run(
        "update cluster_network set state = case state when 'active' then state else 'error' end,"
        " reason = %s, updated_at = now() where network_id = %s and cluster_id = %s",
        (reason, network_id, cluster_id),
    )


async def remove(tx: Any, network_id: int, cluster_id: int) -> None:
    """The network is gone from the cluster."""
    await tx.run(
        "delete from cluster_network where network_id = %s and cluster_id = %s",
        (network_id, cluster_id),
    )


async def waiting_servers(tx: Any, network_id: int, cluster_id: int) -> list[int]:
    """The servers whose creation waits for a network on a cluster."""
    rows = await tx.all(
        "select distinct o.server_id from operation o join port p on p.server_id = o.server_id"
        " where o.cluster_id = %s and o.finished_at is null and o.kind = 'create'"
        " and o.state = 'pending' and p.network_id = %s",
        (cluster_id, network_id),
    )
    return [row.server_id for row in rows]
