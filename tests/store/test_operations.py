"""Operations in the database: their marks, and who may make them."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest

from cyclades_tx.errors import LostLease
from cyclades_tx.store import operations
from cyclades_tx.testing import builders


async def a_server_of_somebody(database: Any) -> tuple[Any, Any]:
    """A server on a cluster."""
    who = await builders.somebody(database)
    cluster = await builders.a_cluster(database)
    flavor = await builders.a_flavor(database)
    return await builders.a_server(database, who, flavor, cluster=cluster), cluster


async def opened(database: Any, server: Any, cluster: Any, kind: str = "stop") -> Any:
    """Open an operation; return it as it is read."""
    await database.transaction(
        lambda tx: operations.open_operation(
            tx, kind=kind, cluster_id=cluster.id, deadline_seconds=60.0, server_id=server.id
        )
    )
    return (await operations.open_of_server(database, server.id))[-1]


async def test_opening_wakes_the_driver_with_the_commit(database: Any) -> None:
    """By cluster and server."""
    server, cluster = await a_server_of_somebody(database)
    heard: list[str] = []
    stop = database.listen(operations.WAKE, heard.append)
    await database.when_listening()
    operation = await opened(database, server, cluster)
    for _ in range(6000):
        if heard:
            break
        await database.value("select pg_sleep(0.01)::text")
    stop()
    assert heard == [f"{cluster.id}:s{server.id}"]
    assert (operation.kind, operation.state, operation.arguments) == ("stop", "pending", {})
    assert 59 < await operations.seconds_left(database, operation.id) <= 60


async def test_a_server_has_one_open_change_and_one_open_delete(database: Any) -> None:
    """The change comes first."""
    server, cluster = await a_server_of_somebody(database)
    await opened(database, server, cluster, "delete")
    await opened(database, server, cluster, "stop")
    for kind in ("delete", "start"):
        with pytest.raises(psycopg2.errors.UniqueViolation):
            await opened(database, server, cluster, kind)
    found = await operations.open_of_server(database, server.id, lock=True)
    assert [each.kind for each in found] == ["stop", "delete"]


async def test_only_the_driver_of_the_present_epoch_passes(database: Any) -> None:
    """No row, or another number, is somebody else's."""
    _, cluster = await a_server_of_somebody(database)
    with pytest.raises(LostLease):
        await operations.check_epoch(database, cluster.id, 0)
    await database.run("insert into cluster_lease values (%s, 3, 'one')", (cluster.id,))
    await operations.check_epoch(database, cluster.id, 3)
    with pytest.raises(LostLease):
        await operations.check_epoch(database, cluster.id, 2)


async def test_of_two_that_read_the_same_state_one_may_send(database: Any) -> None:
    """The other finds that it was taken further."""
    server, cluster = await a_server_of_somebody(database)
    operation = await opened(database, server, cluster)
    assert await operations.mark_submitting(database, operation, "stop", 0)
    assert not await operations.mark_submitting(database, operation, "stop", 0)
    (again,) = await operations.open_of_server(database, server.id)
    assert (again.state, again.trail()) == ("submitting", f"cyclades:op:{operation.id}:stop.0")
    assert await operations.mark_submitting(database, again, "stop", 0)
    assert not await operations.mark_submitting(database, again, "stop", 0)


async def test_what_was_accepted_is_not_taken_back(database: Any) -> None:
    """Only a request on its way can turn out to be unsent."""
    server, cluster = await a_server_of_somebody(database)
    operation = await opened(database, server, cluster)
    assert await operations.mark_submitting(database, operation, "stop", 0)
    await operations.mark_unsent(database, operation.id, "pending", "full", 5.0)
    (waiting,) = await operations.open_of_server(database, server.id)
    assert (waiting.state, waiting.reason, waiting.failures) == ("pending", "full", 1)
    assert await operations.due(database, cluster.id, 10) == []
    assert await operations.mark_submitting(database, waiting, "stop", 0)
    await operations.mark_submitted(database, operation.id, "stop", 0, 12)
    await operations.mark_unsent(database, operation.id, "pending", "late", 5.0)
    (accepted,) = await operations.open_of_server(database, server.id)
    assert (accepted.state, accepted.job_id, accepted.failures) == ("submitted", 12, 0)


async def test_a_closed_operation_stays_closed(database: Any) -> None:
    """No mark reaches it, and its token is gone."""
    server, cluster = await a_server_of_somebody(database)
    operation = await opened(database, server, cluster)
    await operations.remember(database, operation.id, "config_token", "sealed")
    assert await operations.close_operation(database, operation.id, "failed", "because")
    assert not await operations.close_operation(database, operation.id, "succeeded", "")
    assert not await operations.mark_submitting(database, operation, "stop", 0)
    await operations.mark_submitted(database, operation.id, "stop", 0, 1)
    await operations.mark_waiting(database, operation.id, "x", 1.0)
    await operations.mark_failed_cluster(database, operation.id, "x", 1.0)
    await operations.mark_jobs(database, [(operation.id, "running")])
    await operations.remember(database, operation.id, "a", "b")
    row = await database.first("select * from operation")
    assert (row.state, row.reason, row.arguments, row.job_id, row.job_status, row.failures) == (
        "failed", "because", {}, None, None, 0,
    )  # fmt: skip
    assert await operations.open_of_server(database, server.id) == []


async def test_a_creation_given_up_unseen_is_remembered_until_its_job_was_seen(
    database: Any,
) -> None:
    """With what is needed to find the job."""
    server, cluster = await a_server_of_somebody(database)
    creation = await opened(database, server, cluster, "create")
    assert await operations.unseen_creation(database, server.id) is None
    assert await operations.mark_submitting(database, creation, "create", 0)
    (creation,) = await operations.open_of_server(database, server.id)
    await operations.end_step(database, creation, "unknown", "")
    assert await operations.unseen_creation(database, server.id) is None
    await operations.close_operation(database, creation.id, "failed", "too late")
    found = await operations.unseen_creation(database, server.id)
    assert tuple(found) == (creation.id, "create", 0, None)
    await database.run("update operation_step set result = 'error'")
    assert await operations.unseen_creation(database, server.id) is None


async def test_statuses_of_many_jobs_are_one_statement(database: Any) -> None:
    """Each with its own operation."""
    server, cluster = await a_server_of_somebody(database)
    first = await opened(database, server, cluster, "stop")
    second = await opened(database, server, cluster, "delete")
    await operations.mark_jobs(database, [(first.id, "running"), (second.id, "queued")])
    rows = await database.all("select job_status from operation order by id")
    assert [row.job_status for row in rows] == ["running", "queued"]
    keys = await operations.open_keys(database, cluster.id)
    assert {row.server_id for row in keys} == {server.id}
