"""``os-instance-actions``: what was done with a server."""

from __future__ import annotations

import pytest

from cyclades_tx.api.compute import instance_actions
from cyclades_tx.store import progress
from cyclades_tx.testing import builders

REQUEST = "req-00000000-0000-4000-8000-00000000000{}"


async def a_life(database, who, state="active"):
    """A server that was created, and could not be stopped."""
    flavor = await builders.a_flavor(database)
    cluster = await builders.a_cluster(database)
    server = await builders.a_server(database, who, flavor, cluster=cluster, state=state)
    made = await builders.an_operation(
        database, server, cluster, "create", state="succeeded", request_id=REQUEST.format(1)
    )
    failed = await builders.an_operation(
        database, server, cluster, "stop", state="failed", request_id=REQUEST.format(2)
    )
    await database.run(
        "insert into operation_step (operation_id, step, attempt, finished_at, result, message)"
        " values (%s, 'submit', 0, now(), 'success', ''), (%s, 'submit', 0, now(), 'error', 'No.'),"
        " (%s, 'submit', 1, null, null, '')",
        (made, failed, failed),
    )
    return server


@pytest.mark.parametrize("minor", [1, 50, 51, 57, 58, 61, 62, 83, 84, 96])
async def test_action_has_exactly_the_members_of_its_version(wire, database, fits, admin, minor):
    """In the list and alone, for users and administrators."""
    server = await a_life(database, wire.who)
    path, version = f"/servers/{server.uuid}/os-instance-actions", f"2.{minor}"
    for who in (wire.who, admin):
        listed = (await wire.get(path, version=version, who=who)).json
        assert list(listed) == ["instanceActions"]
        for item in listed["instanceActions"]:
            fits(item, instance_actions.ACTION_ITEM.schema(minor))
        shown = (await wire.get(f"{path}/{REQUEST.format(2)}", version=version, who=who)).json
        schema = instance_actions.action(minor, who.admin).schema(minor, who.admin)
        fits(shown["instanceAction"], schema)
        assert ("events" in shown["instanceAction"]) == (minor >= 51 or who.admin)


async def test_newest_action_comes_first_and_failures_say_so(wire, database):
    """With the ids of the requests that began them."""
    server = await a_life(database, wire.who)
    path = f"/servers/{server.uuid}/os-instance-actions"
    listed = (await wire.get(path)).json["instanceActions"]
    assert [(each["action"], each["request_id"], each["message"]) for each in listed] == [
        ("stop", REQUEST.format(2), "Error"),
        ("create", REQUEST.format(1), None),
    ]
    assert {each["user_id"] for each in listed} == {wire.who.user_id}
    shown = (await wire.get(f"{path}/{REQUEST.format(2)}", version="2.84")).json
    events = {
        (each["result"], each["details"], each["finish_time"] is None)
        for each in shown["instanceAction"]["events"]
    }
    assert events == {("Error", "No.", False), (None, None, True)}


async def test_what_the_cluster_said_is_for_administrators(wire, database, admin):
    """Beside what the owner reads, and only where a step has failed."""
    server = await a_life(database, wire.who)
    await database.run(
        """update operation set arguments = '{"inside": "7 MiB on n1"}' where kind = 'stop'"""
    )
    path = f"/servers/{server.uuid}/os-instance-actions/{REQUEST.format(2)}"
    own = await wire.get(path, version="2.84")
    assert b"n1" not in own.body
    shown = (await wire.get(path, version="2.84", who=admin)).json["instanceAction"]["events"]
    assert {(each["result"], each["traceback"]) for each in shown} == {
        ("Error", "7 MiB on n1"),
        (None, None),
    }


async def test_actions_outlive_their_server_from_2_21(wire, database):
    """Before, the server is not found."""
    server = await a_life(database, wire.who, state="deleted")
    path = f"/servers/{server.uuid}/os-instance-actions"
    (await wire.get(path, version="2.20")).fault(404, "itemNotFound")
    assert len((await wire.get(path, version="2.21")).json["instanceActions"]) == 2
    path += "/" + REQUEST.format(1)
    (await wire.get(path, version="2.20")).fault(404, "itemNotFound")
    assert (await wire.get(path, version="2.21")).status == 200


@pytest.mark.parametrize("request_id", [REQUEST.format(9), "x", "%00", "req-", "ä"])
async def test_unknown_request_is_404(wire, database, request_id):
    """Whatever it looks like."""
    server = await a_life(database, wire.who)
    path = f"/servers/{server.uuid}/os-instance-actions/{request_id}"
    (await wire.get(path)).fault(404, "itemNotFound")


async def test_request_of_another_server_is_404(wire, database):
    """The same id on two servers names two actions."""
    server, other = await a_life(database, wire.who), await builders.a_flavor(database)
    idle = await builders.a_server(database, wire.who, other)
    path = f"/servers/{idle.uuid}/os-instance-actions/{REQUEST.format(1)}"
    (await wire.get(path)).fault(404, "itemNotFound")
    assert server.uuid != idle.uuid


async def test_list_has_pages_from_2_58(wire, database):
    """By request id; older versions give all."""
    server = await a_life(database, wire.who)
    path = f"/servers/{server.uuid}/os-instance-actions"
    page = (await wire.get(path + "?limit=1", version="2.58")).json
    assert [each["action"] for each in page["instanceActions"]] == ["stop"]
    link = page["links"][0]["href"].partition("/v2.1")[2]
    rest = (await wire.get(link, version="2.58")).json
    assert [each["action"] for each in rest["instanceActions"]] == ["create"]
    assert "links" not in rest
    assert len((await wire.get(path + "?limit=1")).json["instanceActions"]) == 2
    (await wire.get(path + "?marker=x", version="2.58")).fault(400, "badRequest")


async def test_list_can_be_narrowed_by_time(wire, database):
    """``changes-since`` from 2.58, ``changes-before`` from 2.66."""
    server = await a_life(database, wire.who)
    path = f"/servers/{server.uuid}/os-instance-actions"
    later = "2099-01-01T00:00:00Z"

    async def count(query, version):
        return len((await wire.get(f"{path}?{query}", version=version)).json["instanceActions"])

    assert await count(f"changes-since={later}", "2.57") == 2
    assert await count(f"changes-since={later}", "2.58") == 0
    assert await count("changes-before=2000-01-01", "2.65") == 2
    assert await count("changes-before=2000-01-01", "2.66") == 0
    for query in ("changes-since=x", f"changes-since={later}&changes-before=2000-01-01"):
        (await wire.get(f"{path}?{query}", version="2.66")).fault(400, "badRequest")


async def test_an_action_that_waits_says_why_and_a_build_what_it_says_of_itself(wire, database):
    """For as long as it waits; then what went wrong inside stands with the step."""
    flavor = await builders.a_flavor(database)
    cluster = await builders.a_cluster(database)
    server = await builders.a_server(database, wire.who, flavor, cluster=cluster, state="building")
    number = await builders.an_operation(
        database, server, cluster, "create", request_id=REQUEST.format(1)
    )
    await database.run(
        "update operation set reason = 'Waits for network n.' where id = %s", (number,)
    )
    await database.run(
        "insert into operation_step (operation_id, step, attempt) values (%s, 'create', 0)",
        (number,),
    )
    await database.run(
        "insert into server_diagnostic (server_id, level, source, message, details)"
        " values (%(s)s, 'ERROR', 'image-error', 'tar', 'no space'),"
        " (%(s)s, 'INFO', 'image-info', 'Copying', null)",
        {"s": server.id},
    )
    path = f"/servers/{server.uuid}/os-instance-actions/{REQUEST.format(1)}"
    shown = (await wire.get(path, version="2.84")).json["instanceAction"]
    assert shown["message"] == "Waits for network n."
    assert [event["details"] for event in shown["events"]] == ["Copying"]
    await database.run("update operation set state = 'failed', reason = 'No.', finished_at = now()")
    await database.run(
        "update operation_step set result = 'error', message = 'The job failed.',"
        " finished_at = now()"
    )
    shown = (await wire.get(path, version="2.84")).json["instanceAction"]
    assert shown["message"] == "Error"
    assert [event["details"] for event in shown["events"]] == ["The job failed.\ntar: no space"]


@pytest.mark.parametrize("minor", [1, 96])
async def test_a_server_that_is_built_shows_how_far_it_is(wire, database, minor):
    """From 0 to 100, in every microversion."""
    flavor = await builders.a_flavor(database)
    cluster = await builders.a_cluster(database)
    server = await builders.a_server(database, wire.who, flavor, cluster=cluster, state="building")
    await builders.an_operation(database, server, cluster, "create")
    path, version = f"/servers/{server.uuid}", f"2.{minor}"
    assert (await wire.get(path, version=version)).json["server"]["progress"] == 0
    await progress.record(database, [(server.id, 63)], [])
    assert (await wire.get(path, version=version)).json["server"]["progress"] == 63
    listed = (await wire.get("/servers/detail", version=version)).json["servers"]
    assert [each["progress"] for each in listed] == [63]
