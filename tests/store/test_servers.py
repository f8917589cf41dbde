"""Settling and observing servers: everything in one transaction, once."""

from __future__ import annotations

from typing import Any

import pytest

from cyclades_tx.model import quota
from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.moves import ABSENT, UNSEEN, Rest, Seen
from cyclades_tx.model.names import Names
from cyclades_tx.model.operation import CANCELED, FAILED, SUCCEEDED
from cyclades_tx.store import operations, quotas, servers
from cyclades_tx.testing import builders

RUNNING = Instance("snf-1", "running", Power.RUNNING, pnode="n1", network_port=11_000, serial=4)
DOWN = Instance("snf-1", "ADMIN_down", Power.STOPPED, pnode="n1", serial=5)
AMOUNTS = {quota.VM: 1, quota.CPU: 1, quota.RAM: 512 * quota.MIB}


class Case:
    """A server of a project with holdings, and an open operation on it."""

    def __init__(self, database: Any) -> None:
        self.database = database

    async def begin(self, kind: str, state: str, charge: str) -> Any:
        """Make it; return the operation."""
        self.who = await builders.somebody(self.database)
        project_id = self.who.project_id
        await quotas.make_holdings(self.database, project_id, dict.fromkeys(quota.RESOURCES))
        self.cluster = await builders.a_cluster(self.database)
        flavor = await builders.a_flavor(self.database)
        self.server = await builders.a_server(
            self.database, self.who, flavor, cluster=self.cluster, state=state, charge=charge
        )
        held = quota.server_amounts(charge, 1, 512, 0)
        await quotas.add(self.database, project_id, held)
        return await self.open(kind)

    async def open(self, kind: str) -> Any:
        """Open one more operation."""

        async def work(tx: Any) -> int:
            return await operations.open_operation(
                tx, kind=kind, cluster_id=self.cluster.id, deadline_seconds=60,
                server_id=self.server.id, project_id=self.who.project_id,
            )  # fmt: skip

        number = await self.database.transaction(work)
        if kind == "create":
            await quotas.reserve(self.database, self.who.project_id, number, AMOUNTS)
        opened = await operations.open_of_server(self.database, self.server.id)
        return next(each for each in opened if each.id == number)

    async def settle(self, operation: Any, end: str, seen: Seen, reason: str = "") -> bool:
        """Settle in a transaction."""
        done: bool = await self.database.transaction(
            lambda tx: servers.settle(tx, operation, end, reason, seen)
        )
        return done

    async def observe(self, seen: Seen) -> Rest | None:
        """Observe in a transaction."""
        found: servers.Observed | None = await self.database.transaction(
            lambda tx: servers.observe(tx, self.server.id, seen, Names())
        )
        return None if found is None else found.rest

    async def row(self) -> Any:
        """The server's row."""
        return await self.database.first("select * from server where id = %s", (self.server.id,))


@pytest.fixture
def case(database: Any) -> Case:
    """A case that has not begun."""
    return Case(database)


async def test_a_success_moves_the_server_and_tells_of_it(case: Case) -> None:
    """What was reserved is used; what was seen is written down."""
    operation = await case.begin("create", "building", "none")
    assert await case.settle(operation, SUCCEEDED, RUNNING)
    row = await case.row()
    assert (row.state, row.charge, row.node, row.vnc_port, row.ganeti_serial) == (
        "active", "on", "n1", 11_000, 4,
    )  # fmt: skip
    assert row.launched_at is not None and row.seen_at is not None
    assert await quotas.drift(case.database) == []
    events = await case.database.all("select kind, body from event order by id")
    assert [event.kind for event in events] == [
        "operation.started", "server.created", "server.changed", "operation.ended",
    ]  # fmt: skip
    assert events[2].body["server"]["status"] == "ACTIVE"
    assert events[3].body["operation"]["state"] == "succeeded"


async def test_settling_twice_is_settling_once(case: Case) -> None:
    """A second driver, or a second turn, changes nothing."""
    operation = await case.begin("create", "building", "none")
    assert await case.settle(operation, SUCCEEDED, RUNNING)
    before = await case.database.all("select * from holding order by 1, 2")
    assert not await case.settle(operation, FAILED, ABSENT, "again")
    assert await case.database.all("select * from holding order by 1, 2") == before
    assert (await case.row()).state == "active"
    assert await case.database.value("select count(*) from event") == 4


@pytest.mark.parametrize(
    ("end", "seen", "state", "charge"),
    [
        (FAILED, ABSENT, "error", "none"),
        (FAILED, UNSEEN, "error", "on"),
        (FAILED, RUNNING, "error", "on"),
        (CANCELED, ABSENT, "error", "none"),
    ],
)
async def test_a_creation_that_ends_badly_adds_up(
    case: Case, end: str, seen: Seen, state: str, charge: str
) -> None:
    """With a fault for its owner."""
    operation = await case.begin("create", "building", "none")
    assert await case.settle(operation, end, seen, "because")
    row = await case.row()
    assert (row.state, row.charge) == (state, charge)
    assert row.fault_message == ("because" if end == FAILED else row.fault_message)
    assert row.fault_at is not None
    assert await quotas.drift(case.database) == []


async def test_a_failed_change_leaves_no_fault_on_a_server_that_is_well(case: Case) -> None:
    """The operation has the reason."""
    operation = await case.begin("reboot", "active", "on")
    assert await case.settle(operation, FAILED, RUNNING, "no node")
    row = await case.row()
    assert (row.state, row.fault_message) == ("active", None)
    reason = await case.database.value("select reason from operation")
    assert reason == "no node"


async def test_a_canceled_change_changes_nothing(case: Case) -> None:
    """Whatever it was for."""
    operation = await case.begin("stop", "active", "on")
    assert await case.settle(operation, CANCELED, ABSENT)
    assert ((await case.row()).state, (await case.row()).charge) == ("active", "on")


async def test_a_deleted_server_has_nothing_left(case: Case) -> None:
    """Ports with their addresses, and its own disk."""
    operation = await case.begin("delete", "active", "on")
    network = await builders.a_network(case.database)
    await builders.a_port(case.database, case.server, network, "10.0.0.9")
    await case.database.run("update port set automatic = true")
    await case.settle(operation, SUCCEEDED, ABSENT)
    row = await case.row()
    assert (row.state, row.charge) == ("deleted", "none")
    assert row.deleted_at is not None and row.terminated_at is not None
    assert await case.database.value("select count(*) from port") == 0
    assert await case.database.value("select count(*) from address") == 0
    assert await quotas.drift(case.database) == []


async def test_nothing_is_observed_while_something_moves(case: Case) -> None:
    """The operation will say what became of it."""
    operation = await case.begin("stop", "active", "on")
    assert await case.observe(ABSENT) is None
    await case.settle(operation, SUCCEEDED, DOWN)
    assert await case.observe(ABSENT) == Rest("deleted", "none")
    assert await case.observe(RUNNING) is None
    assert await quotas.drift(case.database) == []


async def test_an_observation_tells_of_a_change_only(case: Case) -> None:
    """A repeated fact is silent."""
    operation = await case.begin("stop", "active", "on")
    await case.settle(operation, SUCCEEDED, DOWN)
    await case.database.run("delete from event")
    assert await case.observe(DOWN) == Rest("stopped", "off")
    assert await case.database.value("select count(*) from event") == 0
    await case.observe(RUNNING)
    (event,) = await case.database.all("select * from event")
    assert event.kind == "server.changed"
    server = event.body["server"]
    assert (server["previous_status"], server["status"]) == ("SHUTOFF", "ACTIVE")


@pytest.mark.parametrize(("disk_template", "times"), [("plain", 1), ("drbd", 2), ("diskless", 0)])
async def test_a_cluster_gets_its_room_back_when_a_server_is_gone(
    case: Case, disk_template: str, times: int
) -> None:
    """So the next one is placed by how things stand, not by how they were a while ago."""
    operation = await case.begin("delete", "active", "on")
    database, number = case.database, case.server.id
    await database.run("update volume_type set disk_template = %s", (disk_template,))

    async def room() -> tuple[int, int, int]:
        row = await database.first(
            "select instances, memory_free_mib, disk_free_mib from cluster where id = %s",
            (case.cluster.id,),
        )
        return tuple(row)

    empty = await room()
    disk_gib = 3
    await database.run(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, local, server_id,"
        " position, status) select user_id, project_id, %s, (select id from volume_type limit 1),"
        " true, id, 0, 'in_use' from server where id = %s",
        (disk_gib, number),
    )
    await quotas.add(database, case.who.project_id, {quota.DISK: disk_gib * quota.GIB})
    await database.transaction(lambda tx: servers.count_on_cluster(tx, number, disk_gib, 1))
    assert await room() == (1, empty[1] - 512, empty[2] - times * disk_gib * 1024)
    await case.settle(operation, SUCCEEDED, ABSENT)
    assert await room() == empty
    await case.observe(ABSENT)
    assert await room() == empty


async def test_nobody_observes_what_is_not_there(database: Any) -> None:
    """A server of no number."""
    assert await servers.observe(database, 10**9, RUNNING, Names()) is None


async def test_who_finds_a_server(case: Case) -> None:
    """Its project and administrators, by UUID, as long as it lives."""
    operation = await case.begin("delete", "active", "on")
    database, uuid = case.database, case.server.uuid
    stranger = await builders.somebody(database)
    admin = await builders.somebody(database, "admin")
    for ref in (uuid, uuid.upper(), uuid.replace("-", "")):
        assert (await servers.find(database, ref, case.who)).id == case.server.id
    assert (await servers.find(database, uuid, admin)).id == case.server.id
    assert await servers.find(database, uuid, stranger) is None
    for ref in ("", "x", str(case.server.id), f"{uuid}\n", "' or 1=1 --"):
        assert await servers.find(database, ref, admin) is None
    assert [row.id for row in await servers.at_rest_on(database, case.cluster.id)] == []
    await case.settle(operation, FAILED, RUNNING)
    resting = await servers.at_rest_on(database, case.cluster.id)
    assert [(row.id, row.ganeti_status) for row in resting] == [(case.server.id, "running")]
    await case.settle(await case.open("delete"), SUCCEEDED, ABSENT)
    assert await servers.find(database, uuid, case.who) is None
    assert await servers.at_rest_on(database, case.cluster.id) == []
