"""Where new servers are put, and whether their project may have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cyclades_tx.errors import BadRequest, NoCapacity, OverQuota
from cyclades_tx.flows import server_disks
from cyclades_tx.flows.quotas import COUNTED
from cyclades_tx.flows.server_wishes import Wish
from cyclades_tx.model import creation, placement, quota
from cyclades_tx.store import project_limits, quotas, server_groups


def place(
    candidates: Sequence[placement.Candidate],
    wish: Wish,
    company: placement.Company | None = None,
) -> placement.Candidate:
    """The cluster for one of the servers.

    :param company: the clusters of the other servers of its group.
    :raise BadRequest: for a cluster or zone that is not there.
    :raise NoCapacity: when none can take it; operators are told the reason of each.
    """
    need, wanted = need_of(wish, company), wish.new.cluster_id
    if wanted is not None:
        for each in candidates:
            if each.id == wanted and need.home in (None, wanted):
                return each
        raise BadRequest(f"There is no cluster with the id {wanted}, or not for this server.")
    if need.zone is not None and all(each.name != need.zone for each in candidates):
        raise BadRequest(f"The requested availability zone {need.zone} is not available.")
    placed = placement.choose(candidates, need)
    if placed.chosen is None:
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(placed.reasons.items()))
        raise NoCapacity(*placed.kinds, inside=f"{why or 'There are no clusters yet'}.")
    return placed.chosen


async def place_in_group(
    tx: Any, wish: Wish, candidates: Sequence[placement.Candidate]
) -> placement.Candidate:
    """Place a server once more, now that nobody else can join its group."""
    assert wish.parts.group is not None
    group = await server_groups.lock(tx, wish.parts.group.id)
    if group is None:
        raise BadRequest(f"Instance group {wish.new.group_ref} could not be found.")
    company = await server_groups.company(tx, group)
    most = await project_limits.limit_of(
        tx, wish.project_id, "server_group_members", COUNTED["server_group_members"]
    )
    if most != project_limits.UNLIMITED and sum(company.servers.values()) >= most:
        raise OverQuota("Quota exceeded, too many servers in group.")
    return place(candidates, wish, company)


async def check_limits(tx: Any, wish: Wish, amounts: Mapping[str, int], count: int) -> None:
    """Refuse servers beyond the project's quota or its user's; its holdings are locked after."""
    new, flavor = wish.new, wish.parts.flavor
    holdings = await quotas.lock(tx, wish.project_id)
    wanted = {resource: count * amount for resource, amount in amounts.items()}
    if new.fresh_gib:
        more = count * new.fresh_gib * quota.GIB
        wanted[quota.DISK] = wanted.get(quota.DISK, 0) + more
    quotas.refuse_shortage(holdings, wanted)
    await project_limits.refuse_user_shortage(
        tx,
        wish.project_id,
        wish.who.user_id,
        instances=count,
        cores=count * flavor.vcpus,
        ram_mib=count * flavor.memory_mib,
    )


def need_of(wish: Wish, company: placement.Company | None = None) -> placement.Need:
    """What one of the servers needs of a cluster."""
    new, flavor = wish.new, wish.parts.flavor
    zone = None if new.availability_zone in (None, "", "nova") else new.availability_zone
    disk_gib = (0 if new.boots_from_volume else flavor.disk_gib) + new.fresh_gib
    home = server_disks.home_of(wish.parts.disks)
    if home is not None:
        disk_gib += creation.PLACE_MIB // 1024
    return placement.Need(
        flavor.memory_mib, disk_gib * 1024, flavor.disk_template, zone, company, home
    )
