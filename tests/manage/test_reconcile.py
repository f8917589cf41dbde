"""What an operator has looked at and mended now: networks, pools, holdings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest_twisted

from cyclades_tx.app import Cyclades
from cyclades_tx.ganeti.simulator.values import SimNetwork
from cyclades_tx.loops.drives import Drives
from cyclades_tx.loops.leases import Leases
from cyclades_tx.manage.reconcile_networks import FIXES, begin, finish, see
from cyclades_tx.model import books, quota
from cyclades_tx.model import network_drift as drift
from cyclades_tx.store import addresses, clusters, quotas
from cyclades_tx.store import books as recounts
from cyclades_tx.testing import builders
from cyclades_tx.testing.network_builders import a_network
from tests.manage.conftest import NAME, Simulated

Manage = Callable[..., Any]


@pytest_twisted.async_fixture
async def added(manage: Manage, simulated: Simulated) -> Simulated:
    """The simulated cluster, added to the cloud; nobody drives it."""
    password = simulated.cluster.credentials.writer[1].encode()
    options = [*simulated.options(), "--password-stdin"]
    said = await manage("backend-add", *options, given=password)
    assert said.code == 0, said.err
    return simulated


@pytest_twisted.async_yield_fixture
async def driven(world: Any, added: Simulated) -> Any:
    """The same, driven by this process."""
    service = Cyclades(world)
    drives = Drives(world.reactor, world.database, service._connect, service._drive)
    drives.start()
    leases = Leases(world.reactor, world.dsn, world.driver, drives.gained, drives.lost, 4.0)
    leases.start()
    yield added
    await leases.stop()
    await drives.stop()


async def findings(manage: Manage, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """Run a command that reconciles; its exit code and what it listed."""
    said = await manage(*arguments, "--output-format", "json")
    assert said.out, said.err
    listed: list[dict[str, str]] = json.loads(said.out)
    return said.code, listed


async def test_networks_that_differ_are_shown_and_mended(
    manage: Manage, driven: Simulated, world: Any
) -> None:
    """The driver carries the operations out; what only a person can mend is left."""
    network = await a_network(world.database, None, "10.0.0.0/24", shared=True)
    inventory = driven.cluster.ganeti.inventory

    async def rests() -> bool:
        return bool(
            await world.database.value("select state = 'active' from cluster_network")
        ) and not await world.database.value(
            "select exists (select from operation where finished_at is null)"
        )

    await _until(world, rests)
    assert await findings(manage, "reconcile-networks") == (0, [])
    inventory.drop_network(f"snf-net-{network.id}")
    inventory.put_network(SimNetwork("snf-net-99", "u", "10.3.0.0/24"))
    code, listed = await findings(manage, "reconcile-networks", "--fix-unsynced")
    assert (code, [(each["kind"], each["network"], each["result"]) for each in listed]) == (
        1,
        [
            (drift.ORPHAN, "snf-net-99", "left"),
            (drift.MISSING, f"snf-net-{network.id}", "left"),
        ],
    )
    assert f"snf-net-{network.id}" not in inventory.networks
    code, listed = await findings(manage, "reconcile-networks", "--fix-missing")
    assert (code, [each["result"] for each in listed]) == (1, ["left", "done"])
    assert f"snf-net-{network.id}" in inventory.networks


async def _until(world: Any, so: Callable[[], Any], seconds: float = 60.0) -> None:
    from twisted.internet.task import deferLater

    end = world.reactor.seconds() + seconds
    while not await so():
        assert world.reactor.seconds() < end
        await deferLater(world.reactor, 0.05)


async def test_an_operation_that_nobody_carries_out_is_told(
    manage: Manage, added: Simulated, world: Any
) -> None:
    """The command never changes the cluster itself, and does not wait for ever."""
    await a_network(world.database, None, "10.0.0.0/24", shared=True)
    await world.database.run("delete from operation")
    await world.database.run("update cluster_network set state = 'error'")
    code, listed = await findings(
        manage, "reconcile-networks", "--fix-missing", "--wait-seconds", "0.5"
    )
    assert code == 1
    assert listed[0]["result"].startswith("not yet: Waits to be made on cluster")
    assert added.cluster.ganeti.networks == {}
    jobs = added.cluster.ganeti.jobs.values()
    assert {op["OP_ID"] for job in jobs for op in job.ops} == {"OP_CLUSTER_SET_PARAMS"}


async def test_networks_of_a_wrong_cluster_are_made_only_by_name(
    manage: Manage, added: Simulated, world: Any
) -> None:
    """Not by --fix-all: when so many are missing at once, it is rather another cluster."""
    for number in range(10):
        await a_network(world.database, None, f"10.0.{number}.0/24", shared=True)
    await world.database.run("delete from operation")
    await world.database.run("update cluster_network set state = 'active'")
    code, listed = await findings(
        manage, "reconcile-networks", "--fix-all", "--wait-seconds", "0.1"
    )
    assert (code, {each["result"] for each in listed}, len(listed)) == (1, {"left"}, 10)
    assert await world.database.value("select count(*) from operation") == 0
    await findings(
        manage, "reconcile-networks", "--fix-all", "--fix-missing", "--wait-seconds", "0.1"
    )
    assert await world.database.value("select count(*) from operation") == 10


async def test_a_deleted_network_is_removed_when_an_operator_says_so(
    driven: Simulated, world: Any
) -> None:
    """Without waiting for its grace, and only when that was said."""
    await a_network(world.database, None, "10.0.0.0/24", shared=True)

    async def made() -> bool:
        return len(driven.cluster.ganeti.networks) == 1 and not await world.database.value(
            "select exists (select from operation where finished_at is null)"
        )

    await _until(world, made)
    await world.database.run("update network set state = 'deleted', deleted_at = now()")
    row = (await clusters.everyone(world.database))[0]
    seen = await see(world, row)
    await begin(world, seen, FIXES["missing"])
    assert (seen.left(), seen.waiting) == (1, {})
    await begin(world, seen, FIXES["undeleted"])
    again = replace(seen, results={}, waiting={})
    await begin(world, again, FIXES["undeleted"])
    assert again.results[0].startswith("not mended")
    await finish(world, [seen], 20.0)
    assert (seen.left(), seen.results) == (0, {0: "done"})
    assert driven.cluster.ganeti.networks == {}


async def test_what_has_moved_since_the_look_is_not_mended(added: Simulated, world: Any) -> None:
    """It is told, and nothing is opened."""
    await a_network(world.database, None, "10.0.0.0/24", shared=True)
    await world.database.run("delete from operation")
    await world.database.run("update cluster_network set state = 'error'")
    seen = await see(world, (await clusters.everyone(world.database))[0])
    await world.database.run("update cluster_network set state = 'active', updated_at = now()")
    await begin(world, seen, FIXES["missing"])
    assert seen.results[0].startswith("not mended: The network has changed meanwhile")
    assert await world.database.value("select count(*) from operation") == 0


async def test_clusters_that_are_offline_or_silent_are_told(
    manage: Manage, added: Simulated, world: Any
) -> None:
    """The first is not asked; the second makes the command fail."""
    await world.database.run("update cluster set offline = true")
    said = await manage("reconcile-networks")
    assert said.code == 0
    assert f"{NAME}: not asked, it is offline." in said.err
    await world.database.run("update cluster set offline = false, rapi_port = 1")
    said = await manage("reconcile-networks")
    assert said.code == 1
    assert f"{NAME} cannot be looked at" in said.err


async def test_a_cluster_that_there_is_not_is_refused(manage: Manage) -> None:
    """With its name."""
    said = await manage("reconcile-networks", "--backend-name=nowhere")
    assert said.code == 1
    assert "There is no backend nowhere" in said.err


async def test_pools_are_shown_and_mended(manage: Manage, world: Any) -> None:
    """What only a person can mend is left, and so is what was not asked for."""
    database = world.database
    await a_network(database, None, "10.0.0.0/24", external=True)
    subnet_id = await database.value("select id from subnet")
    await database.transaction(lambda tx: addresses.take(tx, subnet_id))
    await database.run("delete from free_address_range where first_address > '10.0.0.99'")
    code, listed = await findings(manage, "reconcile-pools")
    assert code == 1
    assert [each["kind"] for each in listed] == [books.LEAKED_ADDRESSES, books.FREE_ADDRESSES]
    assert "result" not in listed[0]
    assert await database.value("select count(*) from upkeep_finding") == 2
    result = await recounts.recount_pools(database, (books.LEAKED_PORTS,))
    assert (len(result.left), result.mended) == (2, [])
    code, listed = await findings(manage, "reconcile-pools", "--fix-addresses")
    assert (code, {each["result"] for each in listed}) == (0, {"done"})
    assert await addresses.recount(database, subnet_id) == (253, 253, 0, True)
    assert await database.value("select count(*) from upkeep_finding") == 0
    await a_network(database, None, "10.0.0.0/25", external=True)
    said = await manage("reconcile-pools", "--fix")
    assert said.code == 1
    assert "an operator decides" in said.out
    assert "1 differences are left." in said.err


async def test_holdings_are_shown_and_mended(manage: Manage, world: Any) -> None:
    """Of all projects, or of one; by either name of the command."""
    who = await builders.somebody(world.database)
    other = await builders.somebody(world.database)
    for each in (who, other):
        await quotas.make_holdings(world.database, each.project_id or "", {quota.VM: 5})
    await world.database.run("update holding set used = 3")
    project = str(who.project_id)
    code, listed = await findings(manage, "reconcile-quotas", "--project", project, "--fix")
    assert (code, len(listed), listed[0]["result"]) == (0, 1, "done")
    code, listed = await findings(manage, "reconcile-resources-cyclades")
    assert (code, len(listed)) == (1, 1)
    assert [row.project_id for row in await quotas.drift(world.database)] == [other.project_id]
