"""Holdings that drifted are found, and put right while others change them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.model import books, quota
from cyclades_tx.store import books as recounts
from cyclades_tx.store import quota_recount, quotas
from cyclades_tx.testing import builders


async def a_holder(database: Any) -> Any:
    """A project with holdings and a running server that is charged rightly."""
    who = await builders.somebody(database)
    await quotas.make_holdings(database, who.project_id, dict.fromkeys(quota.RESOURCES, 10**12))
    flavor = await builders.a_flavor(database)
    cluster = await builders.a_cluster(database)
    await builders.a_server(database, who, flavor, cluster=cluster, charge="on")
    await database.transaction(
        lambda tx: quotas.add(tx, who.project_id, quota.server_amounts("on", 1, 512, 0))
    )
    return who


async def test_holdings_that_are_right_are_left_alone(database: Any) -> None:
    """Also those with an open reservation."""
    who = await a_holder(database)
    flavor, cluster = await builders.a_flavor(database), await builders.a_cluster(database)
    server = await builders.a_server(database, who, flavor, cluster=cluster, state="building")
    operation = await builders.an_operation(database, server, cluster, "create")
    await quotas.reserve(database, who.project_id, operation, {quota.VM: 1})
    result = await recounts.recount_quotas(database)
    assert result.found == []


async def test_a_drifted_holding_is_set_to_what_is_counted(database: Any) -> None:
    """Used and reserved; other projects are not touched."""
    who, other = await a_holder(database), await a_holder(database)
    await database.run(
        "update holding set used = used + 5, reserved = 3 where resource = %s and project_id = %s",
        (quota.VM, who.project_id),
    )
    found = await quota_recount.find(database)
    assert [(each.kind, each.project_id) for each in found] == [(books.HOLDING, who.project_id)]
    assert "cyclades.vm is 6 used and 3 reserved in the books, but 1 and 0" in found[0].sentence
    assert await quota_recount.find(database, other.project_id) == []
    result = await recounts.recount_quotas(database)
    assert (len(result.mended), result.left) == (1, [])
    assert await quotas.drift(database) == []
    assert await quota_recount.find(database) == []


async def test_nothing_is_changed_when_it_is_only_looked(database: Any) -> None:
    """The plan alone."""
    who = await a_holder(database)
    await database.run("update holding set used = 77 where resource = %s", (quota.VM,))
    result = await recounts.recount_quotas(database, fix=False, project_id=who.project_id)
    assert (len(result.left), result.mended) == (1, [])
    assert len(await quotas.drift(database)) == 1


async def test_a_missing_holding_that_is_used_is_made(database: Any) -> None:
    """Without a limit, with what is counted."""
    who = await a_holder(database)
    await database.run("delete from holding where resource = %s", (quota.VM,))
    result = await recounts.recount_quotas(database)
    assert len(result.mended) == 1
    row = await database.first(
        "select used, maximum from holding where project_id = %s and resource = %s",
        (who.project_id, quota.VM),
    )
    assert row == (1, None)


async def test_reservations_of_operations_that_are_over_go(database: Any) -> None:
    """With what they kept, even though nothing else differs."""
    who = await a_holder(database)
    flavor, cluster = await builders.a_flavor(database), await builders.a_cluster(database)
    server = await builders.a_server(database, who, flavor, cluster=cluster, state="building")
    operation = await builders.an_operation(database, server, cluster, "create")
    await quotas.reserve(database, who.project_id, operation, {quota.VM: 1})
    await database.run("update operation set state = 'failed', finished_at = now()")
    result = await recounts.recount_quotas(database)
    assert sorted(each.kind for each in result.mended) == [books.HOLDING, books.RESERVATION]
    assert await database.value("select count(*) from reservation") == 0
    assert await database.value("select sum(reserved) from holding") == 0
    assert (await recounts.recount_quotas(database)).found == []


async def test_recounting_while_servers_come_and_go_breaks_nothing(database: Any) -> None:
    """Every change takes the holdings' locks, so no recount sees half of one."""
    who = await a_holder(database)
    flavor, cluster = await builders.a_flavor(database), await builders.a_cluster(database)
    amounts = quota.server_amounts("on", 1, 512, 0)

    async def live(_: int) -> None:
        async def come(tx: Any) -> None:
            await quotas.lock(tx, who.project_id)
            await builders.a_server(tx, who, flavor, cluster=cluster, charge="on")
            await quotas.add(tx, who.project_id, amounts)

        await database.transaction(come, turn=who.project_id)

    going = True

    async def recount() -> int:
        found = 0
        while going:
            found += len(await quota_recount.find(database))
            await quota_recount.mend(database, who.project_id)
        return found

    recounting = Deferred.fromCoroutine(recount())
    await gatherResults([Deferred.fromCoroutine(live(number)) for number in range(50)])
    going = False
    assert await recounting == 0
    assert await quotas.drift(database) == []
    used = "select used from holding where resource = %s and project_id = %s"
    assert await database.value(used, (quota.VM, who.project_id)) == 51
