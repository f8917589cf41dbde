"""Events: what is told, in which order, and that nobody misses one."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg2 import connect as connect_apart

from cyclades_tx.api.compute import documents
from cyclades_tx.flows.suspension import suspend
from cyclades_tx.store import networks, operations, outbox, ports, servers
from cyclades_tx.store.server_status import STATUS
from cyclades_tx.testing import builders

PUBLISHED = (
    "select position, kind, body, project_id from event where position is not null order by 1"
)


async def publish(database: Any, most: int = 100, reasons: bool = False) -> tuple[int, Any]:
    """Do the publisher's work once."""
    found: tuple[int, Any] = await database.transaction(
        lambda tx: outbox.publish(tx, most, reasons)
    )
    return found


async def some(database: Any, count: int, project_id: str | None = None) -> None:
    """Add events."""
    for number in range(count):
        await outbox.put(database, "thing.made", "x", project_id, {"number": number})


async def a_server(database: Any, state: str = "active", charge: str = "on") -> Any:
    """A server, its cluster and its owner."""
    who = await builders.somebody(database)
    cluster = await builders.a_cluster(database)
    flavor = await builders.a_flavor(database)
    server = await builders.a_server(
        database, who, flavor, cluster=cluster, state=state, charge=charge
    )
    return server, cluster, who


async def opened(database: Any, server: Any, cluster: Any, who: Any, kind: str, **more: Any) -> int:
    """Open an operation; its id."""
    number: int = await database.transaction(
        lambda tx: operations.open_operation(
            tx, kind=kind, cluster_id=cluster.id, deadline_seconds=60.0, server_id=server.id,
            project_id=who.project_id, reason="Waits to be sent.", **more,
        )
    )  # fmt: skip
    return number


async def test_positions_follow_each_other_over_batches_and_pruning(database: Any) -> None:
    """Also when every event was thrown away between."""
    await some(database, 5)
    assert await publish(database, 3) == (3, 3)
    assert await publish(database, 3) == (2, 5)
    assert await publish(database, 3) == (0, None)
    await database.run("update event set at = now() - interval '2 hours'")
    assert await outbox.prune(database, 3600.0, 100) == 5
    assert await outbox.place(database) == (5, 5)
    await some(database, 1)
    assert await publish(database) == (1, 6)
    assert await outbox.place(database) == (6, 5)


async def test_pruning_takes_old_ones_a_batch_at_a_time_and_spares_what_waits(
    database: Any,
) -> None:
    """An event without a position was not told yet."""
    await some(database, 4)
    await publish(database, 3)
    await database.run("update event set at = now() - interval '2 hours'")
    await database.run("update event set at = now() where position = 3")
    assert await outbox.prune(database, 3600.0, 1) == 1
    assert await outbox.prune(database, 3600.0, 10) == 1
    assert await outbox.prune(database, 3600.0, 10) == 0
    assert await database.value("select count(*) from event") == 2
    assert (await outbox.place(database)).pruned == 2


async def test_while_one_publishes_another_does_nothing(database: Any, dsn: str) -> None:
    """And the one that ends without a commit gives its turn back, and no position is lost."""
    await some(database, 2)
    other = connect_apart(dsn)
    with other.cursor() as cursor:
        cursor.execute("select pg_try_advisory_xact_lock(%s)", (outbox._LOCK,))
        cursor.execute("update event set position = 1 where id = (select min(id) from event)")
    assert await publish(database) == (0, None)
    # Killed before its commit.
    other.close()
    found = (0, None)
    for _ in range(200):
        found = await publish(database)
        if found[0]:
            break
    assert found == (2, 2)


async def test_an_event_that_commits_late_comes_after_those_that_were_told(
    database: Any, dsn: str
) -> None:
    """Its id is lower, its position is higher: a reader by position does not miss it."""
    late = connect_apart(dsn)
    with late.cursor() as cursor:
        cursor.execute("insert into event (kind, subject, body) values ('late', '', '{}')")
    await some(database, 1)
    assert await publish(database) == (1, 1)
    late.commit()
    late.close()
    assert await publish(database) == (1, 2)
    rows = await database.all(PUBLISHED)
    assert [row.kind for row in rows] == ["thing.made", "late"]


async def test_an_event_wakes_the_publisher_and_a_position_the_readers(database: Any) -> None:
    """With the commit."""
    heard: list[tuple[str, str]] = []
    stops = [
        database.listen(channel, lambda payload, channel=channel: heard.append((channel, payload)))
        for channel in (outbox.CHANNEL, outbox.PUBLISHED)
    ]
    await database.when_listening()
    await some(database, 1)
    await publish(database)
    for _ in range(100):
        if len(heard) >= 2:
            break
        await database.value("select pg_sleep(0.01)::text")
    for stop in stops:
        stop()
    assert heard == [(outbox.CHANNEL, ""), (outbox.PUBLISHED, "1")]


async def test_what_waits_is_counted_with_its_age(database: Any) -> None:
    """For operators."""
    assert await outbox.lag(database) == (0, 0.0)
    await some(database, 2)
    await database.run("update event set at = now() - interval '1 minute' where id = 1")
    count, age = await outbox.lag(database)
    assert count == 2 and 59 < age < 70


async def test_a_reboot_is_told_from_its_wish_to_its_end(database: Any) -> None:
    """With the status before and after, the reason, and the request that asked for it."""
    server, cluster, who = await a_server(database)
    await database.transaction(lambda tx: outbox.tell_servers(tx, (server.id,)))
    await opened(
        database, server, cluster, who, "reboot", request_id="req-1", arguments={"type": "SOFT"}
    )
    (operation,) = await operations.open_of_server(database, server.id)
    await database.transaction(lambda tx: operations.mark_submitting(tx, operation, "reboot", 0))
    await database.transaction(
        lambda tx: operations.mark_submitted(tx, operation.id, "reboot", 0, 7)
    )
    await database.transaction(
        lambda tx: operations.close_operation(tx, operation.id, "failed", "No.")
    )
    await database.transaction(
        lambda tx: outbox.tell_operation(tx, "operation.ended", operation.id)
    )
    await publish(database)
    rows = await database.all(PUBLISHED)
    assert [row.kind for row in rows] == [
        "server.changed",
        "operation.started", "server.changed",
        "operation.running",
        "operation.ended", "server.changed",
    ]  # fmt: skip
    assert {row.project_id for row in rows} == {who.project_id}
    changes = [row.body["server"] for row in rows if row.kind == "server.changed"]
    assert [(change["previous_status"], change["status"]) for change in changes] == [
        (None, "ACTIVE"), ("ACTIVE", "REBOOT"), ("REBOOT", "ACTIVE"),
    ]  # fmt: skip
    started, running, ended = (
        row.body["operation"] for row in rows if row.kind.startswith("operation.")
    )
    assert (started["state"], started["reason"]) == ("pending", "Waits to be sent.")
    assert (running["state"], running["request_id"]) == ("submitted", "req-1")
    assert (ended["state"], ended["reason"], ended["kind"]) == ("failed", "No.", "reboot")
    assert ended["finished_at"].endswith("Z") and rows[1].body["server"]["id"] == server.uuid


async def test_a_body_holds_no_argument_of_an_operation(database: Any) -> None:
    """Among them are sealed secrets."""
    server, cluster, who = await a_server(database)
    await opened(
        database, server, cluster, who, "start", arguments={"config_token": "sealed-token"}
    )
    text = await database.value("select string_agg(body::text, '') from event")
    assert "operation" in text and "sealed-token" not in text


async def test_a_reason_that_stands_is_told_once_and_again_when_it_changes(database: Any) -> None:
    """What the operation began with was told with its start."""
    server, cluster, who = await a_server(database)
    number = await opened(database, server, cluster, who, "stop")
    await publish(database, reasons=True)
    for reason in ("The cluster is away.", "The cluster is away.", "The network is made."):
        await operations.mark_waiting(database, number, reason, 5.0)
        await publish(database, reasons=True)
        await publish(database, reasons=True)
    rows = await database.all(PUBLISHED)
    told = [row.body for row in rows if row.kind == "operation.waiting"]
    assert [body["operation"]["reason"] for body in told] == [
        "The cluster is away.", "The network is made.",
    ]  # fmt: skip
    assert {body["server"]["id"] for body in told} == {server.uuid}


async def test_reasons_are_told_without_waiting_for_whoever_works_on_the_operation(
    database: Any, dsn: str
) -> None:
    """The next turn tells it."""
    server, cluster, who = await a_server(database)
    number = await opened(database, server, cluster, who, "stop")
    await operations.mark_waiting(database, number, "It waits.", 5.0)
    other = connect_apart(dsn)
    with other.cursor() as cursor:
        cursor.execute("select 1 from operation where id = %s for update", (number,))
    await publish(database, reasons=True)
    kind = "select count(*) from event where kind = 'operation.waiting'"
    assert await database.value(kind) == 0
    other.rollback()
    other.close()
    await publish(database, reasons=True)
    assert await database.value(kind) == 1


async def test_a_suspension_is_told_as_a_status(database: Any) -> None:
    """As the server's document shows it."""
    server, _, _ = await a_server(database)
    assert await suspend(database, server.id, True)
    assert await suspend(database, server.id, False)
    rows = await database.all("select body from event order by id")
    assert [row.body["server"]["status"] for row in rows] == ["SUSPENDED", "ACTIVE"]


async def test_the_status_in_an_event_is_the_one_of_the_document() -> None:
    """Both come from one expression."""
    assert STATUS in outbox._TELL_SERVERS
    assert STATUS in documents.SERVER_ROWS


async def test_ports_and_networks_are_told_of(database: Any) -> None:
    """With addresses, before they are given back."""
    server, _, who = await a_server(database)
    network = await builders.a_network(database, project_id=who.project_id, cidr="2001:db8::/64")
    await database.transaction(lambda tx: outbox.tell_network(tx, "network.created", network.id))

    async def work(tx: Any) -> None:
        made = await ports.create_port(
            tx, network_id=network.id, project_id=who.project_id, user_id=who.user_id,
            server_id=server.id, position=0, automatic=True, state="build",
        )  # fmt: skip
        await ports.delete_ports(tx, [made.id])

    await database.transaction(work)
    rows = await database.all("select kind, body, project_id from event order by id")
    assert [row.kind for row in rows] == ["network.created", "port.created", "port.deleted"]
    assert {row.project_id for row in rows} == {who.project_id}
    assert rows[0].body["network"]["status"] == "ACTIVE"
    port = rows[1].body["port"]
    assert (port["server_id"], port["network_id"], port["status"]) == (
        server.uuid, network.uuid, "BUILD",
    )  # fmt: skip
    assert len(port["addresses"]) == 1
    assert rows[2].body["port"]["addresses"] == port["addresses"]


async def test_an_operation_on_a_network_belongs_to_the_networks_project(database: Any) -> None:
    """Nobody else may read of it."""
    who = await builders.somebody(database)
    cluster = await builders.a_cluster(database)
    network = await builders.a_network(database, project_id=who.project_id)
    await database.transaction(
        lambda tx: networks.ensure_on_cluster(tx, network.id, cluster.id, 60.0)
    )
    await publish(database, reasons=True)
    (row,) = await database.all(PUBLISHED)
    assert (row.kind, row.project_id) == ("operation.started", who.project_id)
    assert row.body["network"]["id"] == network.uuid
    assert row.body["operation"]["kind"] == "make_network"


async def test_an_event_of_a_transaction_that_fails_is_not_there(database: Any) -> None:
    """Nor is the status noted as told."""
    server, _, _ = await a_server(database)

    async def work(tx: Any) -> None:
        await servers.lock(tx, server.id)
        await outbox.tell_servers(tx, (server.id,), always=True)
        raise ValueError

    with pytest.raises(ValueError):
        await database.transaction(work)
    assert await database.value("select count(*) from event") == 0
    assert await database.value("select told_status from server") is None
