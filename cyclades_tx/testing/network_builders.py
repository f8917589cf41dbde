"""Rows of projects, networks, clusters and images for tests; each call makes one."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import uuid4

from cyclades_tx.flows.networks import Networks, WantedNetwork, WantedSubnet
from cyclades_tx.model.who import Who

_numbers = count(1)


async def a_member(database: Any, *roles: str) -> Who:
    """A user in a project of its own.

    :param roles: ``member`` unless others are named.
    """
    number = next(_numbers)
    project_id, user_id = uuid4().hex, uuid4().hex
    name = f"project-{number}-{project_id[:4]}"
    await database.run("insert into project (id, name) values (%s, %s)", (project_id, name))
    await database.run(
        "insert into user_account (id, name) values (%s, %s)", (user_id, f"user-{user_id[:8]}")
    )
    return Who(user_id, f"user-{user_id[:8]}", project_id, name, frozenset(roles or ("member",)))


async def a_bare_cluster(database: Any, *, offline: bool = False) -> int:
    """A cluster's row, with credentials that nothing can use; returns its id."""
    cluster_id: int = await database.value(
        "insert into cluster (name, position, rapi_host, rapi_username, rapi_password, offline)"
        " select 'cluster-' || n, n, '127.0.0.1', 'cyclades', '', %s"
        " from (select coalesce(max(position) + 1, 0) as n from cluster) as free returning id",
        (offline,),
    )
    return cluster_id


async def a_network(database: Any, who: Who | None = None, *subnets: str, **wanted: Any) -> Any:
    """A network with subnets; made by the operator unless somebody is named.

    :param subnets: CIDRs.
    """
    wanted.setdefault("name", f"network-{next(_numbers)}")
    networks = Networks(database)
    return await networks.create(
        who, WantedNetwork(subnets=tuple(WantedSubnet(cidr) for cidr in subnets), **wanted)
    )


async def a_subnet(database: Any, cidr: str, **wanted: Any) -> int:
    """The id of the only subnet of a new shared network."""
    network = await a_network(database, None, cidr, shared=True, **wanted)
    subnet_id: int = await database.value(
        "select id from subnet where network_id = %s", (network.id,)
    )
    return subnet_id
