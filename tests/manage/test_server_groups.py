"""``snf-manage server-group-list``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cyclades_tx.flows.server_groups import ServerGroups
from cyclades_tx.testing import builders

Manage = Callable[..., Any]


async def test_server_groups_are_listed(manage: Manage, world: Any) -> None:
    """With their servers, and the clusters that have these."""
    database = world.database
    who = await builders.somebody(database)
    flavor, cluster = await builders.a_flavor(database), await builders.a_cluster(database, "c1")
    uuid = await ServerGroups(database).create(who, "apart", "anti-affinity")
    made = [await builders.a_server(database, who, flavor, cluster=cluster) for _ in range(3)]
    for server in made[:2]:
        await database.run(
            "insert into server_group_member select id, %s from server_group where uuid = %s",
            (server.id, uuid),
        )
    said = await manage("server-group-list", "--user", who.user_id, "--output-format=json")
    (group,) = json.loads(said.out)
    numbers = f"{made[0].id},{made[1].id}"
    assert (group["policy"], group["servers"], group["backends"]) == (
        "anti-affinity",
        numbers,
        "c1",
    )
    assert (await manage("server-group-list", "--project=none", "--no-headers")).out == ""
