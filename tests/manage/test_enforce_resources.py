"""enforce-resources-cyclades: what it shows, what it does, and what it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from cyclades_tx.flows.floating_ips import WantedFloatingIp
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.model import quota
from cyclades_tx.model.moves import ABSENT, UNSEEN, Seen
from cyclades_tx.model.operation import SUCCEEDED
from cyclades_tx.model.who import ADMIN, MEMBER, Who
from cyclades_tx.store import operations, quotas
from cyclades_tx.store import servers as store
from cyclades_tx.testing import builders
from tests.manage.a_machine import Machine

Manage = Callable[..., Any]
COMMAND = "enforce-resources-cyclades"


class Fleet:
    """A project with three servers that run on one cluster, and a fourth that is stopped."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.project_id = ""
        self.user_id = ""
        self.servers: list[Any] = []

    async def fill(self) -> None:
        """Make them, and count them."""
        database, people = self.world.database, self.world.people
        self.project_id = await people.create_project("home")
        self.user_id = await people.create_user("demo", None)
        who = Who(self.user_id, "demo", self.project_id, "home", frozenset((MEMBER,)))
        flavor = await builders.a_flavor(database)
        cluster = await builders.a_cluster(database, "c1")
        for state, charge in (("active", "on"),) * 3 + (("stopped", "off"),):
            row = await builders.a_server(
                database, who, flavor, state=state, charge=charge, cluster=cluster, vcpus=2
            )
            self.servers.append(row)
        await database.run(
            "insert into holding (project_id, resource, used)"
            " select project_id, resource, counted_used"
            f" from ({quotas.RECOUNT}) found"
            " on conflict (project_id, resource) do update set used = excluded.used"
        )

    async def limit(self, resource: str, maximum: int) -> None:
        """Set a limit, which may be passed already."""
        await self.world.database.run(
            "update holding set maximum = %s where project_id = %s and resource = %s",
            (maximum, self.project_id, resource),
        )

    async def settle(self, kind: str, count: int, seen: Seen = ABSENT) -> None:
        """End so many operations of a kind as soon as they are there, as a loop would."""
        from twisted.internet import reactor

        database = self.world.database
        ended = 0
        while ended < count:
            rows = await database.all(
                "select server_id from operation where finished_at is null and kind = %s", (kind,)
            )
            for row in rows:

                async def work(tx: Any, server_id: int = row.server_id) -> None:
                    (operation,) = await operations.open_of_server(tx, server_id)
                    await store.settle(tx, operation, SUCCEEDED, "", seen)

                await database.transaction(work, "test.end")
                ended += 1
            await deferLater(reactor, 0.05)  # type: ignore[arg-type]


@pytest_twisted.async_fixture
async def fleet(world: Any) -> Fleet:
    made = Fleet(world)
    await made.fill()
    return made


async def test_a_cloud_within_its_limits_has_nothing_to_do(fleet: Fleet, manage: Manage) -> None:
    """Exit code 0."""
    said = await manage(COMMAND, "--resources", "cpu,ram")
    assert (said.code, said.out) == (0, "No limit is passed.\n"), said.err


async def test_the_plan_is_shown_and_nothing_changes(fleet: Fleet, manage: Manage) -> None:
    """Which limit, by how much, and which server would go; exit code 1."""
    await fleet.limit(quota.CPU, 4)
    said = await manage(COMMAND, "--resources", "cpu", "--output-format", "json")
    assert said.code == 1, said.err
    found = json.loads(said.out)
    (violation,) = found["violations"]
    assert (violation["resource"], violation["limit"], violation["usage"]) == (quota.CPU, 4, 6)
    (action,) = found["actions"]
    assert (action["id"], action["action"]) == (fleet.servers[2].id, "shutdown")
    assert await fleet.world.database.value("select count(*) from operation") == 0
    said = await manage(COMMAND, "--resources", "cpu")
    assert "cyclades.cpu" in said.out
    assert "shutdown" in said.out


async def test_with_fix_the_servers_are_stopped(fleet: Fleet, manage: Manage) -> None:
    """At most so many on a cluster as was said; the rest is left for later."""
    await fleet.limit(quota.CPU, 0)
    running = Deferred.fromCoroutine(
        manage(COMMAND, "--resources", "cpu", "--fix", "--max-operations", "2",
               "--shutdown-timeout=7", "--output-format", "json")
    )  # fmt: skip
    await fleet.settle("stop", 2)
    said = await running
    assert said.code == 1, said.err
    results = sorted(each["result"] for each in json.loads(said.out)["actions"])
    assert results == ["DONE", "DONE", "LATER"]
    rows = await fleet.world.database.all("select kind, arguments from operation")
    assert [tuple(row) for row in rows] == [("stop", {"timeout_seconds": 7})] * 2


async def test_removing_is_asked_for_unless_forced(fleet: Fleet, manage: Manage) -> None:
    """Without an answer nothing is removed; with --force the youngest go, the stopped one first."""
    await fleet.limit(quota.VM, 3)
    words = (COMMAND, "--resources", "vm", "--fix", "--output-format", "json")
    said = await manage(*words, given=b"n\n")
    assert said.code in (1, 130)
    assert await fleet.world.database.value("select count(*) from operation") == 0
    running = Deferred.fromCoroutine(manage(*words, "--force"))
    await fleet.settle("delete", 1)
    said = await running
    assert said.code == 0, said.err
    (action,) = json.loads(said.out)["actions"]
    assert (action["id"], action["result"]) == (fleet.servers[3].id, "DONE")


async def test_projects_and_users_can_be_left_out(fleet: Fleet, manage: Manage) -> None:
    """By name or id."""
    await fleet.limit(quota.CPU, 4)
    for words in (("--exclude-projects", "home"), ("--users", "demo")):
        said = await manage(COMMAND, "--resources", "cpu", *words)
        assert (said.code, said.out) == (0, "No limit is passed.\n"), said.err
    said = await manage(COMMAND, "--resources", "cpu", "--projects", "home,nobody")
    assert said.code == 1
    assert "nobody" in said.err


async def test_a_user_s_limit_is_enforced(fleet: Fleet, manage: Manage) -> None:
    """It is the user's servers that go."""
    await fleet.world.database.run(
        "insert into user_limit values (%s, %s, 'instances', 3)",
        (fleet.project_id, fleet.user_id),
    )
    said = await manage(COMMAND, "--soft-resources", "vm", "--output-format", "json")
    (violation,) = json.loads(said.out)["violations"]
    assert (violation["type"], violation["holder"]) == ("user", fleet.user_id)
    assert (violation["limit"], violation["usage"]) == (3, 4)


async def test_addresses_are_taken_off_first_and_given_back(fleet: Fleet, manage: Manage) -> None:
    """A free one at once, one on a server by an operation; the servers stay as they are."""
    world = fleet.world
    who = Who(fleet.user_id, "demo", fleet.project_id, "home", frozenset((ADMIN,)))
    pool = await world.networks.create(
        None,
        WantedNetwork(
            name="outside", external=True, floating_ip_pool=True, everywhere=False,
            subnets=(WantedSubnet("192.0.2.0/28"),),
        ),
    )  # fmt: skip
    inside = await builders.a_network(world.database, "inside")
    server = fleet.servers[3]
    await builders.a_port(world.database, server, inside, "10.0.0.7")
    for address in ("192.0.2.3", "192.0.2.4", "192.0.2.5"):
        wanted = WantedFloatingIp(pool.uuid, address=address)
        await world.floating_ips.create(who, wanted, "req-1")
    await world.floating_ips.add_to_server(who, server.uuid, "192.0.2.4", None, "req-2")
    await fleet.settle("attach_port", 1, UNSEEN)
    await fleet.limit(quota.FLOATING_IP, 0)
    words = (COMMAND, "--soft-resources", "floating_ip", "--output-format", "json")
    said = await manage(*words)
    (action,) = json.loads(said.out)["actions"]
    assert (action["name"], action["action"], action["type"]) == (
        "192.0.2.4", "detach", "floating ip",
    )  # fmt: skip
    words = (COMMAND, "--resources", "floating_ip", "--fix", "--output-format", "json")
    said = await manage(*words, "--max-operations=0", given=b"y\n")
    assert "3 floating IPs" in said.err
    results = {each["name"]: each["result"] for each in json.loads(said.out)["actions"]}
    assert results == {"192.0.2.3": "DONE", "192.0.2.4": "LATER", "192.0.2.5": "DONE"}
    running = Deferred.fromCoroutine(manage(*words, "--force"))
    machine = Machine(world, who, server.id, server.uuid)
    await machine.end("detach_port")
    said = await running
    assert said.code == 0, said.err
    (action,) = json.loads(said.out)["actions"]
    assert (action["name"], action["result"]) == ("192.0.2.4", "DONE")
    used = await world.database.value(
        "select used from holding where project_id = %s and resource = %s",
        (fleet.project_id, quota.FLOATING_IP),
    )
    assert used == 0


async def test_resources_are_listed(manage: Manage) -> None:
    """With whether stopping may be enough."""
    said = await manage(COMMAND, "--list-resources", "--output-format", "csv")
    assert "cyclades.vm,yes" in said.out
    assert "cyclades.cpu,no" in said.out


@pytest.mark.parametrize(
    "words",
    [(), ("--resources", "pigs"), ("--soft-resources", "cpu"),
     ("--resources", "vm", "--soft-resources", "vm"),
     ("--resources", "vm", "--max-operations", "-1"),
     ("--resources", "vm", "--shutdown-timeout", "soon")],
)  # fmt: skip
async def test_what_makes_no_sense_is_wrong_usage(manage: Manage, words: tuple[str, ...]) -> None:
    """Exit code 2, with a sentence."""
    said = await manage(COMMAND, *words)
    assert said.code == 2
    assert said.err
