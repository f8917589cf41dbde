"""Operations: what still waits is canceled, and what was sent goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclades_tx.store import operations, quotas
from cyclades_tx.testing import builders

Manage = Callable[..., Any]


async def a_start(world: Any, state: str = "pending") -> int:
    """A stopped server whose start waits, with what it will take kept for it."""
    database = world.database
    who = await builders.somebody(database)
    limits = world.config.quota.limits()
    await database.transaction(lambda tx: quotas.make_holdings(tx, who.project_id, limits))
    flavor, cluster = await builders.a_flavor(database), await builders.a_cluster(database)
    server = await builders.a_server(database, who, flavor, cluster=cluster, state="stopped")
    await world.servers.start(who, server.uuid, "req-1")
    (found,) = await operations.open_of_server(database, server.id)
    await database.run("update operation set state = %s where id = %s", (state, found.id))
    number: int = found.id
    return number


async def test_operation_cancel_gives_everything_back(world: Any, manage: Manage) -> None:
    """It says what it did; a second time there is nothing to cancel."""
    number = await a_start(world)
    said = await manage("operation-cancel", str(number))
    assert (said.code, said.err) == (0, "")
    assert f"Operation {number} (start of server" in said.out
    assert await quotas.drift(world.database) == []
    again = await manage("operation-cancel", str(number))
    assert (again.code, again.err) == (1, f"snf-manage: Operation {number} is over.\n")


async def test_operation_cancel_of_several_tells_of_each(world: Any, manage: Manage) -> None:
    """One that cannot be canceled does not stop the rest."""
    sent, waiting = await a_start(world, "submitting"), await a_start(world)
    said = await manage("operation-cancel", str(sent), str(waiting), "999999")
    assert said.code == 1
    assert f"Operation {waiting} (start" in said.out
    assert f"Operation {sent} has been sent to its cluster: it goes on." in said.err
    assert "There is no operation 999999 on a server." in said.err
