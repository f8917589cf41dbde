"""Holdings and reservations in the database."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.errors import OverQuota
from cyclades_tx.model import quota
from cyclades_tx.store import quotas
from cyclades_tx.testing import builders

WANTED = {quota.VM: 1, quota.CPU: 2}


async def an_open_operation(database: Any, who: Any) -> int:
    """An operation to reserve for."""
    flavor = await builders.a_flavor(database)
    cluster = await builders.a_cluster(database)
    server = await builders.a_server(database, who, flavor, cluster=cluster, state="building")
    return await builders.an_operation(database, server, cluster, "create")


async def held(database: Any, project_id: str) -> dict[str, tuple[int, int]]:
    """What is used and reserved."""
    rows = await database.all("select * from holding where project_id = %s", (project_id,))
    return {row.resource: (row.used, row.reserved) for row in rows}


@pytest.fixture
def limits() -> dict[str, int | None]:
    """One server, four CPUs, and as much memory as one likes."""
    return {quota.VM: 1, quota.CPU: 4, quota.RAM: None}


async def test_a_reservation_is_made_and_given_back_once(
    database: Any, limits: dict[str, int | None]
) -> None:
    """A second release finds nothing."""
    who = await builders.somebody(database)
    await quotas.make_holdings(database, who.project_id, limits)
    operation_id = await an_open_operation(database, who)
    await quotas.reserve(database, who.project_id, operation_id, {**WANTED, quota.RAM: -5})
    assert await held(database, who.project_id) == {
        quota.VM: (0, 1), quota.CPU: (0, 2), quota.RAM: (0, 0),
    }  # fmt: skip
    assert await quotas.drift(database) == []
    for _ in range(2):
        await quotas.release(database, operation_id)
        assert set((await held(database, who.project_id)).values()) == {(0, 0)}
    assert await quotas.drift(database) == []


async def test_what_is_reserved_counts_against_the_limit(
    database: Any, limits: dict[str, int | None]
) -> None:
    """As if it were used."""
    who = await builders.somebody(database)
    await quotas.make_holdings(database, who.project_id, limits)
    operation_id = await an_open_operation(database, who)

    async def take(tx: Any) -> None:
        holdings = await quotas.lock(tx, who.project_id)
        quotas.refuse_shortage(holdings, WANTED)
        await quotas.reserve(tx, who.project_id, operation_id, WANTED)

    await database.transaction(take)
    with pytest.raises(OverQuota) as caught:
        await database.transaction(take)
    assert [each.resource for each in caught.value.shortages] == [quota.VM]


async def test_of_many_at_once_as_many_as_fit_get_it(
    database: Any, limits: dict[str, int | None]
) -> None:
    """The lock of the holdings puts them in a line."""
    who = await builders.somebody(database)
    await quotas.make_holdings(database, who.project_id, {**limits, quota.VM: 3, quota.CPU: None})

    async def take(tx: Any) -> None:
        holdings = await quotas.lock(tx, who.project_id)
        quotas.refuse_shortage(holdings, {quota.VM: 1})
        await quotas.add(tx, who.project_id, {quota.VM: 1})

    async def one() -> bool:
        try:
            await database.transaction(take)
        except OverQuota:
            return False
        return True

    took = await gatherResults([Deferred.fromCoroutine(one()) for _ in range(8)])
    assert took.count(True) == 3
    assert (await held(database, who.project_id))[quota.VM] == (3, 0)


async def test_nothing_falls_below_zero_and_a_drift_is_found(
    database: Any, limits: dict[str, int | None]
) -> None:
    """Giving back more than there is must not keep a server from being deleted."""
    who = await builders.somebody(database)
    await quotas.make_holdings(database, who.project_id, limits)
    await quotas.add(database, who.project_id, {quota.VM: -5})
    assert (await held(database, who.project_id))[quota.VM] == (0, 0)
    await quotas.add(database, who.project_id, {quota.CPU: 2})
    (row,) = await quotas.drift(database)
    assert (row.resource, row.used, row.counted_used) == (quota.CPU, 2, 0)


async def test_holdings_that_there_are_keep_their_limits(
    database: Any, limits: dict[str, int | None]
) -> None:
    """An operator may have changed them."""
    who = await builders.somebody(database)
    await quotas.make_holdings(database, who.project_id, {quota.VM: 7})
    await quotas.make_holdings(database, who.project_id, limits)
    found = await database.transaction(lambda tx: quotas.lock(tx, who.project_id))
    assert {key: found[key].maximum for key in limits} == {**limits, quota.VM: 7}
