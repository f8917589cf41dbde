"""One look at the networks of a cluster beside our records of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from cyclades_tx.model.instance import SeenNetwork
from cyclades_tx.model.names import Names
from cyclades_tx.model.network_drift import NetworkFinding, Rules, plan_networks
from cyclades_tx.model.network_record import KnownNetwork
from cyclades_tx.sections import GanetiSection
from cyclades_tx.store import network_drift, server_records, upkeep

#: Suspects up to so many are asked for one by one, more with one question for all networks.
FEW = 3


def rules_of(section: GanetiSection) -> Rules:
    """How patient the repair of networks is by the configuration."""
    return Rules(
        grace=timedelta(seconds=section.orphan_grace_seconds),
        removes=section.orphan_removal == "automatic",
        most_failures=section.repair_failures,
    )


@dataclass(frozen=True)
class Look:
    """What one look at the networks of a cluster gave.

    :ivar known: our networks as they were judged.
    :ivar at: when that was, by the database's clock.
    """

    findings: tuple[NetworkFinding, ...]
    known: dict[int, KnownNetwork]
    at: datetime


async def look(
    database: Any,
    cluster: Any,
    cluster_id: int,
    names: Names,
    rules: Rules,
    only: Collection[int] | None = None,
) -> Look:
    """Compare our networks with the cluster's; nothing is changed.

    Our records are read before and after the cluster is asked: what has moved between the two
    is not judged.

    :param only: just these networks; None: all.
    :raise GanetiError: when the cluster cannot be asked.
    """
    before = await network_drift.known(database, cluster_id, (), only)
    seen = await _seen(cluster, names, only)
    groups: tuple[str, ...] = await cluster.groups()
    ids = {
        network_id: each for each in seen if (network_id := names.network_id(each.name)) is not None
    }
    after = await network_drift.known(database, cluster_id, ids, only)
    after = await network_drift.with_reservations(
        database, cluster_id, after, {each: theirs.reserved for each, theirs in ids.items()}
    )
    known = {each: _judged(ours, before.get(each)) for each, ours in after.items()}
    # By the same clock as the times that are stored.
    now = await server_records.moment(database)
    first_seen = await upkeep.first_seen(database, upkeep.NETWORKS, cluster_id)
    findings = plan_networks(names, known, seen, groups, first_seen, now, rules)
    return Look(findings, known, now)


async def _seen(
    cluster: Any, names: Names, only: Collection[int] | None
) -> tuple[SeenNetwork, ...]:
    if only is not None and len(only) <= FEW:
        found = [await cluster.network(names.network(each)) for each in sorted(only)]
        return tuple(each for each in found if each is not None)
    every: tuple[SeenNetwork, ...] = await cluster.networks()
    return tuple(each for each in every if only is None or names.network_id(each.name) in only)


def _judged(ours: KnownNetwork, before: KnownNetwork | None) -> KnownNetwork:
    """The network as it is judged; one that has moved since ``before`` counts as busy."""
    if before is None and not ours.live and ours.state is None:
        return ours  # long gone here; only its name at the cluster brought it up
    return ours if ours.rests_as(before) else replace(ours, busy=True)
