"""Networks, their subnets, how they stand on each cluster, and every project's default group.

Who sees a network: its project, everybody if it is shared or external, administrators always.
Who may attach to it: its project, everybody if it is shared.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson

from cyclades_tx.errors import Conflict, NotFound
from cyclades_tx.model.address import cluster_mac_prefix
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who
from cyclades_tx.store import operations, outbox

#: Taken shared by whoever makes networks, alone by whoever adds a cluster: none misses the other.
_LOCK = "select pg_advisory_xact_lock{}(hashtext('cyclades networks of clusters'))"

_COLUMNS = (
    "id, uuid::text, name, description, project_id, user_id, flavor, mode, link, mac_prefix, tags,"
    " shared, external, floating_ip_pool, drained, admin_up, mtu, state, created_at, updated_at"
)


def visible(network: str) -> str:
    """The SQL condition of whether a network is seen; two arguments: admin, project id.

    :param network: the name of the network's row in the statement.
    """
    return (
        f"({network}.deleted_at is null and (%s::boolean or {network}.project_id = %s::text"
        f" or {network}.shared or {network}.external))"
    )


async def insert(
    tx: Any,
    *,
    name: str,
    description: str,
    project_id: str | None,
    user_id: str | None,
    flavor: str,
    mode: str,
    link: str | None,
    link_prefix: str,
    mac_prefix: str,
    tags: tuple[str, ...],
    shared: bool,
    external: bool,
    floating_ip_pool: bool,
    mtu: int,
    everywhere: bool = True,
) -> Any:
    """Write the row of a new network; without a link it gets ``link_prefix`` and its id.

    :param everywhere: whether every cluster has it, or only those whose servers need it.
    :raise Conflict: when another network has the link and the flavor shares none.
    """
    row = await tx.first(
        "with number as (select nextval(pg_get_serial_sequence('network', 'id')) as id)"
        " insert into network (id, name, description, project_id, user_id, flavor, mode, link,"
        " mac_prefix, tags, shared, external, floating_ip_pool, mtu, everywhere)"
        " overriding system value"
        " select number.id, %s, %s, %s, %s, %s, %s, coalesce(%s, %s || number.id), %s, %s::text[],"
        " %s, %s, %s, %s, %s from number"
        f" on conflict do nothing returning {_COLUMNS}",
        (
            name,
            description,
            project_id,
            user_id,
            flavor,
            mode,
            link,
            link_prefix,
            mac_prefix,
            list(tags),
            shared,
            external,
            floating_ip_pool,
            mtu,
            everywhere,
        ),
    )
    if row is None:
        raise Conflict(f"The link {link} belongs to another network.", "NetworkInUse")
    return row


async def insert_subnet(
    tx: Any,
    network_id: int,
    *,
    cidr: str,
    gateway: str | None,
    name: str,
    description: str,
    dhcp: bool,
    dns_nameservers: tuple[str, ...],
    host_routes: tuple[tuple[str, str], ...] = (),
    ra_mode: str | None = None,
    address_mode: str | None = None,
    subnet_pool_id: int | None = None,
) -> Any:
    """Write the row of a new subnet, without its pools.

    :param host_routes: pairs of destination and next hop.
    :param subnet_pool_id: the subnet pool that its range was taken from.
    :param ra_mode: of an IPv6 subnet; None with DHCP is ``slaac``, as for ``address_mode``.
    """
    otherwise = "slaac" if ":" in cidr and dhcp else None
    return await tx.first(
        "insert into subnet (network_id, cidr, gateway, name, description, dhcp, dns_nameservers,"
        " host_routes, ipv6_ra_mode, ipv6_address_mode, subnet_pool_id)"
        " values (%s, %s, %s, %s, %s, %s, %s::inet[], %s, %s, %s, %s)"
        " returning id, uuid::text",
        (
            network_id,
            cidr,
            gateway,
            name,
            description,
            dhcp,
            list(dns_nameservers),
            routes_text(host_routes),
            ra_mode or address_mode or otherwise,
            address_mode or ra_mode or otherwise,
            subnet_pool_id,
        ),
    )


def routes_text(routes: tuple[tuple[str, str], ...]) -> str:
    """Pairs of destination and next hop as the JSON that is kept."""
    pairs = [{"destination": destination, "nexthop": hop} for destination, hop in routes]
    return orjson.dumps(pairs).decode()


async def everywhere(tx: Any, who: Who | None) -> list[Any]:
    """Every network that the caller sees (None: the operator, who sees all), by id."""
    rows: list[Any] = await tx.all(
        f"select {_COLUMNS} from network n where {visible('n')} order by id", _args(who)
    )
    return rows


async def seen(tx: Any, who: Who | None, ref: str, *, attach: bool = False) -> Any:
    """The network with this UUID, if the caller sees it.

    :param who: None is the operator.
    :param attach: whether it must be one that the caller may attach to.
    :raise NotFound: when there is none; anything can stand in ``ref``.
    """
    uuid = parse_uuid(ref)
    condition = visible("n")
    args: tuple[Any, ...] = (uuid, *_args(who))
    if attach:
        condition += " and (%s::boolean or n.project_id = %s::text or n.shared)"
        args += _args(who)
    row = uuid and await tx.first(
        f"select {_COLUMNS} from network n where n.uuid = %s and {condition}", args
    )
    if not row:
        raise NotFound(f"Network {ref} could not be found.", "network")
    return row


async def first_external(querier: Any, version: int, without: Collection[int] = frozenset()) -> Any:
    """The first external network that takes servers, or None.

    :param version: 4: one with a free IPv4 address; 6: one of IPv6 only.
    :param without: the ids of networks that are none of it.
    """
    four = "select from subnet s {join} where s.network_id = n.id and family(s.cidr) = 4"
    free = four.format(join="join free_address_range r on r.subnet_id = s.id")
    six = (
        "exists (select from subnet s where s.network_id = n.id and family(s.cidr) = 6)"
        f" and not exists ({four.format(join='')})"
    )
    return await querier.first(
        f"select {_COLUMNS} from network n where n.deleted_at is null and n.external"
        f" and n.state = 'active' and not n.drained"
        f" and {f'exists ({free})' if version == 4 else six}"
        " and n.id <> all(%s::bigint[]) order by n.id limit 1",
        (list(without),),
    )


async def forced(querier: Any, uuid: str, project_id: str | None) -> Any:
    """The network that every new server is put on, if it is the project's own or external.

    :return: its row; None also when it takes no servers now, or has no free address.
    """
    return await querier.first(
        f"select {_COLUMNS} from network n where n.uuid = %s::uuid and n.deleted_at is null"
        " and (n.external or n.shared or n.project_id = %s::text)"
        " and n.state = 'active' and not n.drained"
        " and (not exists (select from subnet s where s.network_id = n.id and family(s.cidr) = 4)"
        " or exists (select from subnet s join free_address_range r on r.subnet_id = s.id"
        " where s.network_id = n.id and family(s.cidr) = 4))",
        (uuid, project_id),
    )


def _args(who: Who | None) -> tuple[bool, str | None]:
    return (True, None) if who is None else (who.admin, who.project_id)


async def ensure_on_cluster(
    tx: Any, network_id: int, cluster_id: int, deadline_seconds: float
) -> int | None:
    """See that a network stands on a cluster, or is being made there.

    :param deadline_seconds: after so long the making, if it must be begun, is given up.
    :return: the operation to wait for; None when the network is there.
    :raise NotFound: when the network or the cluster is gone.
    :raise Conflict: when the network is being taken away from the cluster.
    """
    # Shared by all who make something on it; whoever takes it off a cluster waits, and then sees.
    await tx.run("select from network where id = %s for key share", (network_id,))
    facts = await tx.first(
        "select n.mac_prefix, c.position, c.name, s.state, o.id as operation_id"
        " from network n cross join cluster c"
        " left join cluster_network s on s.network_id = n.id and s.cluster_id = c.id"
        " left join operation o on o.network_id = n.id and o.cluster_id = c.id"
        " and o.server_id is null and o.finished_at is null and o.kind = 'make_network'"
        " where n.id = %s and n.deleted_at is null and c.id = %s",
        (network_id, cluster_id),
    )
    if facts is None:
        raise NotFound("The network or the cluster could not be found.", "network")
    # The usual cases take no lock, or all creates on one network would stand in one line.
    if facts.state == "active":
        return None
    if facts.state == "making" and facts.operation_id is not None:
        found: int = facts.operation_id
        return found
    await tx.run(
        "insert into cluster_network (network_id, cluster_id, mac_prefix) values (%s, %s, %s)"
        " on conflict do nothing",
        (network_id, cluster_id, cluster_mac_prefix(facts.mac_prefix, facts.position)),
    )
    state = await tx.value(
        "select state from cluster_network where network_id = %s and cluster_id = %s for update",
        (network_id, cluster_id),
    )
    if state == "active":
        return None
    if state == "removing":
        raise Conflict(f"The network is being removed from cluster {facts.name}.", "NetworkInUse")
    if state == "error":
        await tx.run(
            "update cluster_network set state = 'making', reason = '', updated_at = now()"
            " where network_id = %s and cluster_id = %s",
            (network_id, cluster_id),
        )
    reason = f"Waits to be made on cluster {facts.name}."
    # What an attempt that failed has left there may be of another shape: it is made anew then.
    arguments = '{"round": 1}' if state == "error" else "{}"
    operation_id: int | None = await tx.value(
        "insert into operation (kind, network_id, cluster_id, arguments, reason, told_reason,"
        " deadline_at) values ('make_network', %s, %s, %s, %s, %s,"
        " now() + make_interval(secs => %s)) on conflict do nothing returning id",
        (network_id, cluster_id, arguments, reason, reason, deadline_seconds),
    )
    if operation_id is None:
        operation_id = await tx.value(
            "select id from operation where network_id = %s and cluster_id = %s"
            " and server_id is null and finished_at is null",
            (network_id, cluster_id),
        )
    else:
        await outbox.tell_operation(tx, "operation.started", operation_id)
        await operations.wake(tx, cluster_id, None, network_id)
    return operation_id


async def ensure_on_all_clusters(tx: Any, network_id: int, deadline_seconds: float) -> None:
    """See that a network is made on every cluster that is not offline."""
    await tx.run(_LOCK.format("_shared"))
    clusters = await tx.all("select id from cluster where not offline order by id")
    for cluster in clusters:
        await ensure_on_cluster(tx, network_id, cluster.id, deadline_seconds)


async def ensure_all_on_cluster(tx: Any, cluster_id: int, deadline_seconds: float) -> None:
    """See that every network is made on a cluster: a new one, or one that was offline."""
    await tx.run(_LOCK.format(""))
    networks = await tx.all(
        "select n.id from network n left join cluster_network c"
        " on c.network_id = n.id and c.cluster_id = %s"
        " where n.state = 'active' and n.everywhere"
        " and coalesce(c.state, 'error') <> 'removing' order by n.id",
        (cluster_id,),
    )
    for network in networks:
        await ensure_on_cluster(tx, network.id, cluster_id, deadline_seconds)


async def create_default_group(tx: Any, project_id: str) -> None:
    """Give a new project its security group ``default``.

    It lets everything out, and in what comes from its own members.

    Does nothing when the project has one.
    """
    group_id = await tx.value(
        "insert into security_group (project_id, name, description)"
        " values (%s, 'default', 'Default security group') on conflict do nothing returning id",
        (project_id,),
    )
    if group_id is not None:
        await tx.run(
            "insert into security_group_rule (security_group_id, direction, ethertype)"
            " values (%(group)s, 'egress', 'IPv4'), (%(group)s, 'egress', 'IPv6')",
            {"group": group_id},
        )
        await tx.run(
            "insert into security_group_rule (security_group_id, direction, ethertype,"
            " remote_group_id) values (%(group)s, 'ingress', 'IPv4', %(group)s),"
            " (%(group)s, 'ingress', 'IPv6', %(group)s)",
            {"group": group_id},
        )
