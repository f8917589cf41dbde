"""Networks as they stand on each cluster, in the database."""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import Conflict
from cyclades_tx.store import operations, values

#: What a network without IPv4 gets, since Ganeti's networks must have an IPv4 range.
DUMMY_CIDR = "10.0.0.0/29"


def ganeti_tags(row: Any) -> tuple[str, ...]:
    """The tags that a network has at Ganeti, from its ``tags``, ``dhcp`` and ``external``."""
    return (
        *row.tags,
        *(("nfdhcpd",) if row.dhcp else ()),
        "public" if row.external else "private",
    )


def fits(row: Any, seen: Any) -> bool:
    """Whether a network is at a cluster what it should be.

    :param row: of :func:`for_making`.
    :param seen: the :class:`~cyclades_tx.model.instance.SeenNetwork`.
    """
    wanted = (
        row.cidr or DUMMY_CIDR,
        row.gateway if row.cidr else None,
        row.cidr6,
        row.gateway6,
    )
    there = (seen.cidr, seen.gateway, seen.cidr6, seen.gateway6)
    tags = set(ganeti_tags(row))
    return (
        tuple(each or None for each in there) == wanted
        and tags <= set(seen.tags)
        and not ({"nfdhcpd", "public", "private"} - tags) & set(seen.tags)
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
    """The network is gone from the cluster.

    A deleted one that is gone from all gives back what it had of a pool.
    """
    # Locked, so that of two clusters that end at once one sees that it is the last.
    network = await tx.first(
        "select deleted_at, flavor, link, mac_prefix from network where id = %s for update",
        (network_id,),
    )
    gone = await tx.run(
        "delete from cluster_network where network_id = %s and cluster_id = %s",
        (network_id, cluster_id),
    )
    if not gone or network is None or network.deleted_at is None:
        return
    if not await tx.value(
        "select exists (select from cluster_network where network_id = %s)", (network_id,)
    ):
        await values.give_back_of(tx, network)


async def change_everywhere(
    tx: Any,
    network_id: int,
    kind: str,
    deadline_seconds: float,
    request_id: str = "",
    cluster_id: int | None = None,
) -> bool:
    """Have each cluster that has a network make it anew (``make_network``) or remove it.

    Ganeti cannot change the range of a network, so that one that nothing is on is taken away and
    made as it should be. What is open already for the network goes on as this: it is told by a
    new round, whose steps have names of their own. The network is locked.

    :param cluster_id: only this one; None: all.
    :return: whether there is such a cluster.
    """
    opened = await tx.all(
        "select id, cluster_id from operation where network_id = %s and server_id is null"
        " and finished_at is null order by id for update",
        (network_id,),
    )
    by_cluster = {row.cluster_id: row.id for row in opened}
    rows = await tx.all(
        "select m.cluster_id, c.name from cluster_network m join cluster c on c.id = m.cluster_id"
        " where m.network_id = %s and m.cluster_id = coalesce(%s::bigint, m.cluster_id)"
        " order by m.cluster_id for update of m",
        (network_id, cluster_id),
    )
    making = kind == "make_network"
    for row in rows:
        await set_state(tx, network_id, row.cluster_id, "making" if making else "removing", "")
        word = "made anew on" if making else "removed from"
        reason = f"Waits to be {word} cluster {row.name}."
        operation_id = by_cluster.get(row.cluster_id)
        if operation_id is None:
            await operations.open_operation(
                tx,
                kind=kind,
                cluster_id=row.cluster_id,
                network_id=network_id,
                deadline_seconds=deadline_seconds,
                request_id=request_id,
                arguments={"round": 1},
                reason=reason,
            )
            continue
        await tx.run(
            "update operation set kind = %s, reason = %s, arguments = arguments ||"
            " jsonb_build_object('round', coalesce((arguments->>'round')::integer, 0) + 1),"
            " deadline_at = greatest(deadline_at, now() + make_interval(secs => %s)),"
            " wake_at = now() where id = %s",
            (kind, reason, deadline_seconds, operation_id),
        )
        await operations.wake(tx, row.cluster_id, None, network_id)
    return bool(rows)


async def take_off(
    tx: Any, network_id: int, cluster_id: int, deadline_seconds: float, request_id: str
) -> None:
    """Have one cluster remove a locked network that no server there is on.

    :raise Conflict: when one is, or the cluster does not have it.
    """
    used = await tx.value(
        "select count(distinct s.id) from port p join server s on s.id = p.server_id"
        " where p.network_id = %s and s.cluster_id = %s",
        (network_id, cluster_id),
    )
    if used:
        raise Conflict(
            f"{used} servers of the cluster are on the network: take it off them first.",
            "NetworkInUse",
        )
    if not await change_everywhere(
        tx, network_id, "remove_network", deadline_seconds, request_id, cluster_id
    ):
        raise Conflict("The cluster does not have the network.", "not_there")
    # Else it would be found to be missing there.
    await tx.run("update network set everywhere = false where id = %s", (network_id,))


async def note_everywhere(tx: Any, network_id: int) -> None:
    """Have new clusters get a locked network, too, if every one has it or makes it by now."""
    await tx.run(
        "update network set everywhere = true where id = %s and not exists (select from cluster c"
        " where not exists (select from cluster_network m where m.network_id = network.id"
        " and m.cluster_id = c.id and m.state <> 'removing'))",
        (network_id,),
    )


async def reshape(tx: Any, network_id: int, deadline_seconds: float, request_id: str = "") -> None:
    """Bring a network whose subnets or tags have changed to the clusters that have it already.

    :raise Conflict: when interfaces are on it: no cluster can change it then.
    """
    if not await tx.value(
        "select exists (select from cluster_network where network_id = %s)", (network_id,)
    ):
        return
    if await tx.value(
        "select exists (select from port where network_id = %s and router_id is null)",
        (network_id,),
    ):
        raise Conflict(
            "The network stands on clusters with ports on it, and a cluster cannot change what a"
            " network is like while it is in use: delete its ports first.",
            "NetworkInUse",
        )
    await change_everywhere(tx, network_id, "make_network", deadline_seconds, request_id)


async def unchanged(tx: Any, operation: Any) -> bool:
    """Whether an operation still is what it was when it was read; it stays so until the commit."""
    if operation.kind == "remove_network":
        # Before the operation, as whoever changes it does.
        await tx.run("select 1 from network where id = %s for update", (operation.network_id,))
    row = await tx.first(
        "select kind, coalesce((arguments->>'round')::integer, 0) as round from operation"
        " where id = %s for update",
        (operation.id,),
    )
    known = (operation.kind, operation.arguments.get("round", 0))
    return row is not None and (row.kind, row.round) == known


async def waiting_servers(tx: Any, network_id: int, cluster_id: int) -> list[int]:
    """The servers whose creation, or new interface, waits for a network on a cluster."""
    rows = await tx.all(
        "select distinct o.server_id from operation o join port p on p.server_id = o.server_id"
        " where o.cluster_id = %s and o.finished_at is null and o.kind in ('create', 'attach_port')"
        " and o.state = 'pending' and p.network_id = %s",
        (cluster_id, network_id),
    )
    return [row.server_id for row in rows]
