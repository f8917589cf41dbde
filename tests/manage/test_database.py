"""A database that was restored from a backup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclades_tx.identity.tokens import hash_of, new_token
from cyclades_tx.store import operator_tokens, outbox, restored
from cyclades_tx.testing import builders

Manage = Callable[..., Any]


async def test_nothing_new_gets_a_number_from_after_the_backup(manage: Manage, world: Any) -> None:
    """Not a server, whose instance may be there; not an operation, whose job may be."""
    database = world.database
    who = await builders.somebody(database)
    cluster = await builders.a_cluster(database)
    flavor = await builders.a_flavor(database)
    server = await builders.a_server(database, who, flavor, cluster=cluster)
    operation_id = await builders.an_operation(database, server, cluster, "stop")
    await outbox.put(database, "thing.made", "x", None, {})
    await database.transaction(lambda tx: outbox.publish(tx, 10, reasons=False))
    before = await outbox.place(database)
    said = await manage("database-restored")
    assert said.code == 0, said.err
    assert "reconcile-servers" in said.out
    later = await builders.a_server(database, who, flavor, cluster=cluster)
    assert later.id == server.id + restored.LEFT_OUT + 1
    assert (
        await builders.an_operation(database, later, cluster, "stop")
        == operation_id + restored.LEFT_OUT + 1
    )
    # Whoever has read as far as the backup knows that something may be missing.
    place = await outbox.place(database)
    assert place == (before.last + restored.LEFT_OUT, before.last + restored.LEFT_OUT)
    await outbox.put(database, "thing.made", "x", None, {})
    await database.transaction(lambda tx: outbox.publish(tx, 10, reasons=False))
    assert (await outbox.place(database)).last == place.last + 1


async def test_tokens_and_consoles_of_the_backup_have_ended(manage: Manage, world: Any) -> None:
    """Whether they were revoked since, the backup does not know."""
    database = world.database
    who = await builders.somebody(database)
    token = new_token()
    assert await operator_tokens.issue(
        database, hash_of(token), who.user_id, who.project_id, "password", "audit", 60.0
    )
    server = await builders.a_server(database, who, await builders.a_flavor(database))
    await database.run(
        "insert into console_session (ticket_hash, kind, user_id, project_id, server_id, node,"
        " node_address, node_port, expires_at) values (sha256('x'), 'vnc', %s, %s, %s, 'n',"
        " '10.0.0.1', 5900, now() + interval '1 hour')",
        (who.user_id, who.project_id, server.id),
    )
    said = await manage("database-restored")
    assert said.code == 0, said.err
    assert "1 tokens have ended" in said.out
    assert await database.value("select count(*) from token") == 0
    assert await database.value("select count(*) from console_session where ended_at is null") == 0


async def test_it_is_refused_while_a_service_runs(manage: Manage, open_database: Any) -> None:
    """Its tokens and consoles would go on."""
    service = open_database(least=1, most=1)
    await service.value("select 1")
    said = await manage("database-restored")
    assert said.code == 1
    assert "stop every one first" in said.err
