"""Consoles on the command line: listed, and closed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cyclades_tx.store import consoles
from cyclades_tx.testing import builders

Manage = Callable[..., Any]


async def a_ticket(world: Any, opened: bool) -> int:
    """A ticket of a browser, or the session that it became."""
    database = world.database
    who = await builders.somebody(database)
    await world.people.assign_role(who.user_id, who.project_id, "member")
    flavor, cluster = await builders.a_flavor(database), await builders.a_cluster(database)
    server = await builders.a_server(database, who, flavor, cluster=cluster)
    number = await consoles.insert(
        database,
        {
            "ticket_hash": bytes(31) + bytes([server.id % 256]),
            "kind": "novnc",
            "user_id": who.user_id,
            "project_id": who.project_id,
            "server_id": server.id,
            "request_id": "req-1",
            "node": "node1.example.org",
            "node_address": "192.0.2.1",
            "node_port": 11000,
            "lifetime_seconds": 600.0,
        },
    )
    if opened:
        await database.run(
            "update console_session set opened_at = now(), until_at = now() + interval '1 hour',"
            " seen_at = now(), client = '198.51.100.9' where id = %s",
            (number,),
        )
    return number


async def test_console_list_and_close(world: Any, manage: Manage) -> None:
    """Who waits, who looks; afterwards neither."""
    waiting, opened = await a_ticket(world, False), await a_ticket(world, True)
    said = await manage("console-list", "--output-format", "json", "-o", "id,state,client,node")
    assert (said.code, said.err) == (0, "")
    assert json.loads(said.out) == [
        {"id": waiting, "state": "waiting", "client": "", "node": "node1.example.org"},
        {"id": opened, "state": "open", "client": "198.51.100.9", "node": "node1.example.org"},
    ]
    closed = await manage("console-close", str(waiting), str(opened))
    assert (closed.code, closed.err) == (0, "")
    assert f"Console {waiting} cannot be opened any more." in closed.out
    assert f"Console {opened} is being closed." in closed.out
    assert await consoles.verdicts(world.database, [opened]) == {opened: "closed"}
    again = await manage("console-close", str(waiting), "999999")
    assert (again.code, again.out) == (1, f"Console {waiting} had ended before.\n")
    assert again.err == "snf-manage: There is no console 999999; see console-list.\n"
    past = await manage("console-list", "--deleted", "--no-headers", "-o", "id,reason")
    assert past.out.split() == [str(waiting), "closed"]
