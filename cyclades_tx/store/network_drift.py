"""Our networks as one cluster should have them, and the mending of what differs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from cyclades_tx.errors import Conflict, CycladesError
from cyclades_tx.model import network_drift as drift
from cyclades_tx.model.address import cluster_mac_prefix
from cyclades_tx.model.network_drift import NetworkFinding, Remedy
from cyclades_tx.model.network_record import KnownNetwork, Reservation, Shape
from cyclades_tx.store import addresses, cluster_networks, operations

#: The operation that a network's record waits for, by whether it still is a network.
_KIND = "case when n.deleted_at is null then 'make_network' else 'remove_network' end"

_KNOWN = f"""
select n.id, n.deleted_at is null as live,
    n.state = 'active' and n.everywhere as usable, c.state, c.updated_at,
    exists (select from operation o where o.network_id = n.id and o.cluster_id = %(cluster)s
        and o.server_id is null and o.finished_at is null) as busy,
    coalesce(t.failures, 0) as failures, t.tried_at, coalesce(t.why, '') as why,
    n.mode, n.link, n.tags, n.external, n.flavor = 'MAC_FILTERED' as filtered,
    c.mac_prefix, four.cidr, four.gateway, six.cidr as cidr6, six.gateway as gateway6,
    exists (select from subnet s where s.network_id = n.id and s.dhcp) as dhcp,
    array(select host(a.address) from subnet s join address a on a.subnet_id = s.id
        join address_reservation r on r.address_id = a.id
        where s.network_id = n.id and r.cluster_id = %(cluster)s) as held
from network n
left join cluster_network c on c.network_id = n.id and c.cluster_id = %(cluster)s
left join lateral (select s.cidr::text as cidr, host(s.gateway) as gateway from subnet s
    where s.network_id = n.id and family(s.cidr) = 4 order by s.id limit 1) four on true
left join lateral (select s.cidr::text as cidr, host(s.gateway) as gateway from subnet s
    where s.network_id = n.id and family(s.cidr) = 6 order by s.id limit 1) six on true
left join lateral (
    select count(*) as failures, max(o.finished_at) as tried_at,
        (array_agg(o.reason order by o.id desc))[1] as why
    from operation o where o.network_id = n.id and o.cluster_id = %(cluster)s
        and o.server_id is null and o.state = 'failed' and o.kind = {_KIND}
        and o.id > coalesce((select max(p.id) from operation p where p.network_id = n.id
            and p.cluster_id = %(cluster)s and p.server_id is null and p.kind = o.kind
            and p.state = 'succeeded'), 0)
) t on true
where (n.deleted_at is null or c.network_id is not null or n.id = any(%(seen)s::bigint[]))
    and (%(all)s or n.id = any(%(only)s::bigint[]))
"""


async def known(
    querier: Any, cluster_id: int, seen: Iterable[int], only: Collection[int] | None = None
) -> dict[int, KnownNetwork]:
    """Our networks as a cluster should have them, by id.

    :param seen: the ids of networks that the cluster has: those deleted here come along too.
    :param only: just these; None: all.
    """
    rows = await querier.all(
        _KNOWN,
        {
            "cluster": cluster_id,
            "seen": list(seen),
            "all": only is None,
            "only": list(only or ()),
        },
    )
    return {row.id: _known(row) for row in rows}


def _known(row: Any) -> KnownNetwork:
    shape = None
    if row.mac_prefix is not None:
        shape = Shape(
            cidr=row.cidr or cluster_networks.DUMMY_CIDR,
            gateway=row.gateway if row.cidr else None,
            cidr6=row.cidr6,
            gateway6=row.gateway6,
            mac_prefix=row.mac_prefix,
            mode=row.mode,
            link=row.link,
            tags=frozenset(cluster_networks.ganeti_tags(row)),
            filtered=row.filtered,
        )
    return KnownNetwork(
        id=row.id,
        live=row.live,
        usable=row.usable,
        state=row.state,
        changed_at=row.updated_at,
        busy=row.busy,
        failures=row.failures,
        tried_at=row.tried_at,
        why=row.why,
        shape=shape,
        held=frozenset(row.held),
    )


async def with_reservations(
    querier: Any,
    cluster_id: int,
    networks: Mapping[int, KnownNetwork],
    reserved: Mapping[int, Iterable[str]],
) -> dict[int, KnownNetwork]:
    """Add to networks what the cluster reserves of their pools.

    :param reserved: by network, as the cluster says it; anything may stand in it.
    """
    pairs = [
        (network_id, text)
        for network_id, texts in reserved.items()
        if network_id in networks
        for text in texts
        if _is_ipv4(text)
    ]
    if not pairs:
        return dict(networks)
    rows = await querier.all(
        "select distinct w.network_id, host(w.address) as address,"
        " a.id is not null and (a.port_id is not null or exists (select from floating_ip f"
        " where f.address_id = a.id)) as taken,"
        " exists (select from address_reservation r where r.address_id = a.id"
        " and r.cluster_id = %s) as held"
        " from unnest(%s::bigint[], %s::inet[]) as w (network_id, address)"
        " join subnet s on s.network_id = w.network_id and w.address <<= s.cidr"
        " and w.address is distinct from s.gateway"
        " join allocation_pool p on p.subnet_id = s.id"
        " and w.address between p.first_address and p.last_address"
        " left join address a on a.subnet_id = s.id and a.address = w.address order by 1, 2",
        (cluster_id, [pair[0] for pair in pairs], [pair[1] for pair in pairs]),
    )
    by_network: dict[int, list[Reservation]] = {}
    for row in rows:
        by_network.setdefault(row.network_id, []).append(
            Reservation(row.address, row.taken, row.held)
        )
    return {
        network_id: replace(each, reservations=tuple(by_network.get(network_id, ())))
        for network_id, each in networks.items()
    }


def _is_ipv4(text: str) -> bool:
    try:
        return ip_address(text).version == 4
    except ValueError:
        return False


async def mend(
    tx: Any,
    cluster_id: int,
    cluster_name: str,
    finding: NetworkFinding,
    judged: KnownNetwork,
    deadline_seconds: float,
) -> int | None:
    """Put one finding right, or open the operation that does.

    The network is locked and compared with what was judged, so that nothing is done about what
    has moved since.

    :return: the id of the operation to wait for; None when there is none: it is done.
    :raise Conflict: ``changed`` when the network is not as it was judged.
    """
    network = await tx.first(
        "select id, deleted_at is null as live, state = 'active' and everywhere as usable,"
        " mac_prefix from network where id = %s for share",
        (judged.id,),
    )
    row = await tx.first(
        "select state, updated_at from cluster_network where network_id = %s and cluster_id = %s"
        " for update",
        (judged.id, cluster_id),
    )
    busy = await operations.open_of_network(tx, judged.id, cluster_id) is not None
    now = KnownNetwork(
        id=judged.id,
        live=network is not None and network.live,
        usable=network is not None and network.usable,
        state=None if row is None else row.state,
        changed_at=None if row is None else row.updated_at,
        busy=busy,
    )
    if not judged.rests_as(now):
        raise Conflict("The network has changed meanwhile; it is looked at again.", "changed")
    if finding.remedy is Remedy.RECORD:
        await _mend_record(tx, cluster_id, finding, judged)
        return None
    if finding.remedy is Remedy.OPERATOR:
        raise Conflict("Only a person can mend this.", "operator")
    state = "making" if finding.remedy is Remedy.MAKE else "removing"
    if row is None:
        position = await tx.value("select position from cluster where id = %s", (cluster_id,))
        await tx.run(
            "insert into cluster_network (network_id, cluster_id, state, mac_prefix)"
            " values (%s, %s, %s, %s)",
            (judged.id, cluster_id, state, cluster_mac_prefix(network.mac_prefix, position)),
        )
    elif finding.kind != drift.UNCONNECTED or not finding.values:
        # What is connected to some groups stays usable while the others are connected.
        await cluster_networks.set_state(tx, judged.id, cluster_id, state, "")
    word = "made" if finding.remedy is Remedy.MAKE else "removed"
    return await operations.open_operation(
        tx,
        kind="make_network" if finding.remedy is Remedy.MAKE else "remove_network",
        cluster_id=cluster_id,
        network_id=judged.id,
        deadline_seconds=deadline_seconds,
        arguments={"repair": finding.kind},
        reason=f"Waits to be {word} on cluster {cluster_name}: found {finding.kind}.",
    )


async def _mend_record(
    tx: Any, cluster_id: int, finding: NetworkFinding, judged: KnownNetwork
) -> None:
    if finding.kind == drift.LEFTOVER:
        await cluster_networks.remove(tx, judged.id, cluster_id)
    elif finding.kind == drift.MAC_PREFIX:
        await tx.run(
            "update cluster_network set mac_prefix = %s, updated_at = now()"
            " where network_id = %s and cluster_id = %s",
            (finding.values[0], judged.id, cluster_id),
        )
    elif finding.kind == drift.RESERVED:
        for address in finding.values:
            await _hold(tx, cluster_id, judged.id, address)
    elif finding.kind == drift.UNRESERVED:
        for address in finding.values:
            await _let_go(tx, cluster_id, judged.id, address)
    else:
        raise ValueError(f"{finding.kind} has no record to mend")


_ADDRESS = (
    "select a.id, a.port_id is not null or exists (select from floating_ip f"
    " where f.address_id = a.id) as taken from address a join subnet s on s.id = a.subnet_id"
    " where s.network_id = %s and a.address = %s for update of a"
)


async def _hold(tx: Any, cluster_id: int, network_id: int, address: str) -> None:
    subnet_id = await tx.value(
        "select id from subnet where network_id = %s and %s::inet <<= cidr", (network_id, address)
    )
    if subnet_id is None:
        return
    there = await tx.first(_ADDRESS, (network_id, address))
    if there is None:
        try:
            await addresses.take_given(tx, subnet_id, address)
        except CycladesError:
            return  # somebody was faster: the next look tells of it
        there = await tx.first(_ADDRESS, (network_id, address))
    if not there.taken:
        await tx.run(
            "insert into address_reservation (address_id, cluster_id) values (%s, %s)"
            " on conflict do nothing",
            (there.id, cluster_id),
        )


async def _let_go(tx: Any, cluster_id: int, network_id: int, address: str) -> None:
    there = await tx.first(_ADDRESS, (network_id, address))
    if there is None:
        return
    await tx.run(
        "delete from address_reservation where address_id = %s and cluster_id = %s",
        (there.id, cluster_id),
    )
    others = await tx.value(
        "select exists (select from address_reservation where address_id = %(id)s)"
        " or exists (select from address_kept where address_id = %(id)s)",
        {"id": there.id},
    )
    if not others and not there.taken:
        await addresses.give_back(tx, there.id)
