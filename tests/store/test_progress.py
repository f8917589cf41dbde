"""Build progress and diagnostics: hints that only rise, are bounded, and are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg2 import connect as connect_apart

from cyclades_tx.model.diagnostic import Diagnostic
from cyclades_tx.store import operations, progress
from cyclades_tx.testing import builders

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


async def building(database: Any, state: str = "building", kind: str = "create") -> Any:
    """A server with an open operation, which is being built unless said otherwise."""
    who = await builders.somebody(database)
    cluster = await builders.a_cluster(database)
    flavor = await builders.a_flavor(database)
    charge = "none" if state == "building" else "on"
    server = await builders.a_server(
        database, who, flavor, cluster=cluster, state=state, charge=charge
    )
    await database.transaction(
        lambda tx: operations.open_operation(
            tx, kind=kind, cluster_id=cluster.id, deadline_seconds=60.0, server_id=server.id,
            project_id=who.project_id,
        )
    )  # fmt: skip
    await database.run("delete from event")
    return server


async def record(database: Any, percents: Any = (), diagnostics: Any = ()) -> None:
    """Record in a transaction."""
    await database.transaction(lambda tx: progress.record(tx, percents, diagnostics))


async def percent(database: Any, server: Any) -> int:
    """How far the build is."""
    found: int = await database.value(
        "select progress from operation where server_id = %s", (server.id,)
    )
    return found


async def test_progress_only_rises_and_each_rise_is_told(database: Any) -> None:
    """Repeats, late ones and nonsense change nothing."""
    server = await building(database)
    heard = (12, 12, 5, -4, 40, 2**31, 99)
    for value, expected in zip(heard, (12, 12, 12, 12, 40, 100, 100), strict=True):
        await record(database, [(server.id, value)])
        assert await percent(database, server) == expected
    rows = await database.all("select kind, subject, body from event order by id")
    assert [row.body["server"]["progress"] for row in rows] == [12, 40, 100]
    assert {(row.kind, row.subject) for row in rows} == {("server.progress", server.uuid)}
    assert rows[0].body["server"]["status"] == "BUILD"


async def test_many_servers_are_one_statement_and_the_highest_counts(database: Any) -> None:
    """Whatever the order in the batch; a server that is not there is ignored."""
    servers = [await building(database) for _ in range(3)]
    pairs = [
        (each.id, 10 * number + step) for number, each in enumerate(servers) for step in (7, 3)
    ]
    await record(database, [*pairs, (999_999, 50), (2**63, 50), (-1, 50)])
    assert [await percent(database, each) for each in servers] == [7, 17, 27]


@pytest.mark.parametrize(("state", "kind"), [("active", "reboot"), ("error", "delete")])
async def test_a_server_that_is_not_being_built_makes_no_progress(
    database: Any, state: str, kind: str
) -> None:
    """A message that comes late is too late."""
    server = await building(database, state, kind)
    await record(database, [(server.id, 50)])
    assert await percent(database, server) == 0
    assert await database.value("select count(*) from event") == 0


async def test_progress_moves_the_servers_time_of_change(database: Any) -> None:
    """So that whoever asks for what has changed since sees it."""
    server = await building(database)
    await database.run("update server set updated_at = now() - interval '1 hour'")
    await record(database, [(server.id, 50)])
    assert await database.value("select updated_at > now() - interval '1 minute' from server")


async def test_progress_waits_for_nobody(database: Any, dsn: str) -> None:
    """A server that somebody works on is left out; the others are not."""
    held, free = await building(database), await building(database)
    other = connect_apart(dsn)
    with other.cursor() as cursor:
        cursor.execute("select 1 from server where id = %s for update", (held.id,))
    await record(database, [(held.id, 30), (free.id, 30)])
    other.close()
    assert [await percent(database, held), await percent(database, free)] == [0, 30]


async def test_diagnostics_are_kept_once_and_told(database: Any) -> None:
    """A message that comes again is known by its time and text."""
    server = await building(database)
    lines = [
        Diagnostic(server.id, "INFO", "image-info", "Copying", None, AT),
        Diagnostic(server.id, "ERROR", "image-error", "image-error", "tar: no space", AT),
        Diagnostic(999_999, "INFO", "image-info", "of nobody", None, AT),
        Diagnostic(2**63, "INFO", "image-info", "of nobody", None, AT),
    ]
    await record(database, (), lines)
    await record(database, (), lines)
    rows = await database.all(
        "select level, source, message, details, source_at from server_diagnostic order by id"
    )
    assert [tuple(row) for row in rows] == [
        ("INFO", "image-info", "Copying", None, AT),
        ("ERROR", "image-error", "image-error", "tar: no space", AT),
    ]
    events = await database.all("select kind, body from event order by id")
    assert [event.kind for event in events] == ["server.diagnostic"] * 2
    assert events[0].body["message"] == "Copying"
    assert events[0].body["server"]["id"] == server.uuid


async def test_of_one_server_the_latest_are_kept(database: Any) -> None:
    """The first lines of an endless diary go."""
    server, other = await building(database), await building(database)
    await record(database, (), [Diagnostic(other.id, "INFO", "image-info", "quiet", None, AT)])
    for batch in range(3):
        await record(
            database, (),
            [
                Diagnostic(server.id, "DEBUG", "s", f"{batch}-{n}", None, AT + timedelta(seconds=n))
                for n in range(60)
            ],
        )  # fmt: skip
    messages = await database.all(
        "select message from server_diagnostic where server_id = %s order by id", (server.id,)
    )
    assert len(messages) == progress.KEPT
    assert messages[0].message == "1-20" and messages[-1].message == "2-59"
    assert await database.value("select count(*) from server_diagnostic") == progress.KEPT + 1


async def test_hostile_text_is_cut_and_cleaned(database: Any) -> None:
    """No NUL, no half of a surrogate pair, no password, no novel."""
    server = await building(database)
    hostile = Diagnostic(
        server.id, "WARNING", "s" * 500, "a\0b\ud800 password=hunter2 " + "x" * 9000,
        "\0" * 9000, None,
    )  # fmt: skip
    await record(database, (), [hostile])
    row = await database.first("select source, message, details from server_diagnostic")
    assert len(row.source) == 64 and len(row.message) == 1000 and row.details == ""
    assert "hunter2" not in row.message and "\0" not in row.message
