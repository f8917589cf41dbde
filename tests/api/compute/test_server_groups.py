"""Server groups: their documents, their limits, and where their servers are put."""

from __future__ import annotations

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults

from cyclades_tx.api.compute import server_groups
from cyclades_tx.testing import builders
from tests.api.compute.real_flows import real_servers

BOUNDARIES = [1, 12, 13, 14, 15, 63, 64, 96]
PATH = "/os-server-groups"


@pytest.fixture
def flow(database):
    """The real flows of servers."""
    return real_servers(database)


async def a_group(wire, policy="anti-affinity", name="g", **more):
    """Make a group; return its document."""
    body = {"server_group": {"name": name, "policy": policy, **more}}
    return (await wire.post(PATH, body, version="2.64")).json["server_group"]


async def a_body(wire, clusters=1):
    """What a creation needs; return a body that asks for one."""
    flavor = await builders.a_flavor(wire.database)
    image = await builders.an_image(wire.database)
    for number in range(clusters):
        await builders.a_cluster(wire.database, f"c{number + 1}")
    server = {"name": "x", "flavorRef": flavor.uuid, "imageRef": image.uuid, "networks": "none"}
    return {"server": server}


async def create(wire, body, group):
    """Ask for a server of a group."""
    hints = {"os:scheduler_hints": {"group": group["id"]}}
    return await wire.post("/servers", {**body, **hints}, version="2.96")


async def places(wire):
    """On which clusters the servers are."""
    rows = await wire.database.all(
        "select c.name from server s join cluster c on c.id = s.cluster_id"
        " where s.deleted_at is null order by s.id"
    )
    return [row.name for row in rows]


@pytest.mark.parametrize("minor", BOUNDARIES)
async def test_group_has_exactly_the_members_of_its_version(wire, fits, minor):
    """Made, shown and listed."""
    version = f"2.{minor}"
    wanted = {"policies": ["affinity"]} if minor < 64 else {"policy": "affinity"}
    made = await wire.post(PATH, {"server_group": {"name": "g", **wanted}}, version=version)
    assert made.status == 200
    document = made.json["server_group"]
    fits(document, server_groups.SERVER_GROUP.schema(minor))
    assert (await wire.get(f"{PATH}/{document['id']}", version=version)).json == made.json
    assert (await wire.get(PATH, version=version)).json == {"server_groups": [document]}
    assert document["members"] == []
    gone = await wire.ask("DELETE", f"{PATH}/{document['id']}", version=version)
    assert (gone.status, gone.body) == (204, b"")
    assert (await wire.get(PATH)).json == {"server_groups": []}


async def test_rules_are_kept_and_shown(wire):
    """How many may share a host."""
    group = await a_group(wire, rules={"max_server_per_host": "3"})
    assert group["rules"] == {"max_server_per_host": 3}
    assert (await a_group(wire))["rules"] == {}


@pytest.mark.parametrize(
    ("minor", "wanted"),
    [
        (14, {"name": "g", "policies": ["soft-affinity"]}),
        (63, {"name": "g", "policies": ["affinity", "anti-affinity"]}),
        (63, {"name": "g", "policies": []}),
        (63, {"name": "g", "policies": ["x"]}),
        (63, {"name": "g", "policy": "affinity"}),
        (63, {"name": "g", "policies": ["anti-affinity"], "rules": {}}),
        (63, {"name": "g"}),
        (64, {"name": "g", "policies": ["affinity"]}),
        (64, {"name": "g"}),
        (64, {"name": "", "policy": "affinity"}),
        (64, {"name": " g", "policy": "affinity"}),
        (64, {"name": "g" * 256, "policy": "affinity"}),
        (64, {"name": "g", "policy": "x" * 1000}),
        (64, {"name": "g", "policy": "affinity", "rules": {"max_server_per_host": 2}}),
        (64, {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}}),
        (64, {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": "²"}}),
        (64, {"name": "g", "policy": "anti-affinity", "rules": {"x": 2}}),
        (64, {"name": 1, "policy": "affinity"}),
        (64, []),
    ],
)
async def test_group_that_makes_no_sense_is_400(wire, minor, wanted):
    """And none is made."""
    answer = await wire.post(PATH, {"server_group": wanted}, version=f"2.{minor}")
    answer.fault(400, "badRequest")
    assert await wire.database.value("select count(*) from server_group") == 0


async def test_groups_of_another_project_are_not_there(wire, stranger, admin):
    """Neither shown, listed, deleted nor joined; administrators see all when they ask."""
    group = await a_group(wire)
    path = f"{PATH}/{group['id']}"
    (await wire.get(path, who=stranger)).fault(404, "itemNotFound")
    (await wire.ask("DELETE", path, who=stranger)).fault(404, "itemNotFound")
    for query in ("", "?all_projects=True"):
        listed = (await wire.get(PATH + query, who=stranger)).json
        assert listed == {"server_groups": []}
    body = await a_body(wire)
    hints = {"os:scheduler_hints": {"group": group["id"]}}
    answer = await wire.post("/servers", {**body, **hints}, version="2.96", who=stranger)
    assert "could not be found" in answer.fault(400, "badRequest")
    assert (await wire.get(PATH, who=admin)).json == {"server_groups": []}
    everything = (await wire.get(f"{PATH}?all_projects=True", who=admin)).json
    assert [each["id"] for each in everything["server_groups"]] == [group["id"]]
    assert (await wire.get(path)).status == 200


async def test_reader_makes_and_deletes_nothing(wire, reader):
    """Looking is allowed."""
    group = await a_group(wire)
    body = {"server_group": {"name": "g", "policy": "affinity"}}
    (await wire.post(PATH, body, version="2.64", who=reader)).fault(403, "forbidden")
    (await wire.ask("DELETE", f"{PATH}/{group['id']}", who=reader)).fault(403, "forbidden")
    assert (await wire.get(f"{PATH}/{group['id']}", who=reader)).status == 200


@pytest.mark.parametrize("ref", ["x", "%00", "%F0%9F%90%B7", "a" * 300, "1"])
async def test_anything_can_stand_where_an_id_belongs(wire, ref):
    """It is not found."""
    (await wire.get(f"{PATH}/{ref}")).fault(404, "itemNotFound")
    (await wire.ask("DELETE", f"{PATH}/{ref}")).fault(404, "itemNotFound")


async def test_list_is_cut_by_limit_and_offset(wire):
    """In the order of making."""
    names = [(await a_group(wire, name=f"g{number}"))["name"] for number in range(4)]
    listed = (await wire.get(f"{PATH}?limit=2&offset=1")).json["server_groups"]
    assert [each["name"] for each in listed] == names[1:3]
    for bad in ("limit=x", "offset=-1", "offset=99999999999999999999"):
        (await wire.get(f"{PATH}?{bad}")).fault(400, "badRequest")


async def test_project_has_as_many_groups_as_it_may(wire):
    """Also when they are asked for at the same time."""
    await wire.database.run(
        "insert into project_limit values (%s, 'server_groups', 2)", (wire.who.project_id,)
    )
    body = {"server_group": {"name": "g", "policy": "affinity"}}
    asked = [ensureDeferred(wire.post(PATH, body, version="2.64")) for _ in range(5)]
    answers = await gatherResults(asked)
    assert sorted(each.status for each in answers) == [200, 200, 403, 403, 403]
    refused = next(each for each in answers if each.status == 403)
    assert refused.fault(403, "forbidden") == "Quota exceeded, too many server groups."
    absolute = (await wire.get("/limits")).json["limits"]["absolute"]
    assert (absolute["maxServerGroups"], absolute["totalServerGroupsUsed"]) == (2, 2)


async def test_servers_that_keep_apart_are_on_different_clusters(wire):
    """And the one for whom there is no cluster left is refused with the reasons."""
    body = await a_body(wire, clusters=2)
    group = await a_group(wire)
    for _ in range(2):
        assert (await create(wire, body, group)).status == 202
    assert sorted(await places(wire)) == ["c1", "c2"]
    answer = await create(wire, body, group)
    message = answer.fault(503, "serviceUnavailable")
    assert "found (a server of the group is there already (anti-affinity))" in message
    assert len(await places(wire)) == 2
    shown = (await wire.get(f"{PATH}/{group['id']}")).json["server_group"]
    assert len(shown["members"]) == 2


async def test_as_many_as_the_rule_says_share_a_cluster(wire):
    """Then no more."""
    body = await a_body(wire)
    group = await a_group(wire, rules={"max_server_per_host": 2})
    statuses = [(await create(wire, body, group)).status for _ in range(3)]
    assert statuses == [202, 202, 503]


async def test_servers_that_stay_together_follow_the_first(wire):
    """Even when another cluster has less to do, and not onto one that is full."""
    body = await a_body(wire, clusters=2)
    group = await a_group(wire, "affinity")
    for _ in range(3):
        assert (await create(wire, body, group)).status == 202
    first, *others = await places(wire)
    assert others == [first, first]
    await wire.database.run("update cluster set drained = true where name = %s", (first,))
    message = (await create(wire, body, group)).fault(503, "serviceUnavailable")
    assert "the servers of the group are elsewhere (affinity)" in message


@pytest.mark.parametrize(("policy", "clusters"), [("soft-affinity", 1), ("soft-anti-affinity", 2)])
async def test_soft_policies_prefer_and_never_refuse(wire, policy, clusters):
    """Together or apart as far as that goes."""
    body = await a_body(wire, clusters=2)
    group = await a_group(wire, policy)
    for _ in range(3):
        assert (await create(wire, body, group)).status == 202
    found = await places(wire)
    assert len(set(found[:2])) == clusters
    await wire.database.run("update cluster set drained = true where name = %s", (found[0],))
    assert (await create(wire, body, group)).status == 202


async def test_two_at_once_do_not_meet(wire):
    """Nobody joins a group while another one of it is placed."""
    body = await a_body(wire, clusters=2)
    group = await a_group(wire)
    asked = [ensureDeferred(create(wire, body, group)) for _ in range(4)]
    answers = await gatherResults(asked)
    assert sorted(each.status for each in answers) == [202, 202, 503, 503]
    assert sorted(await places(wire)) == ["c1", "c2"]


async def test_group_takes_as_many_servers_as_it_may(wire):
    """Then it is Compute's 403."""
    body = await a_body(wire)
    group = await a_group(wire, "affinity")
    await wire.database.run(
        "insert into project_limit values (%s, 'server_group_members', 1)", (wire.who.project_id,)
    )
    assert (await create(wire, body, group)).status == 202
    message = (await create(wire, body, group)).fault(403, "forbidden")
    assert message == "Quota exceeded, too many servers in group."


async def test_server_shows_its_group_from_2_71(wire):
    """And a deleted one is no member any more."""
    body = await a_body(wire)
    group = await a_group(wire)
    made = (await create(wire, body, group)).json["server"]
    path = f"/servers/{made['id']}"
    shown = (await wire.get(path, version="2.71")).json["server"]
    assert shown["server_groups"] == [group["id"]]
    assert "server_groups" not in (await wire.get(path, version="2.70")).json["server"]
    assert (await wire.ask("DELETE", path)).status == 204
    shown = (await wire.get(f"{PATH}/{group['id']}")).json["server_group"]
    assert shown["members"] == []


@pytest.mark.parametrize("group", ["x", 1, ["a", "b"], {"a": 1}, "", True])
async def test_hint_that_is_no_group_is_400(wire, group):
    """With either name of the hints."""
    body = await a_body(wire)
    for name in ("os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"):
        answer = await wire.post("/servers", {**body, name: {"group": group}}, version="2.96")
        answer.fault(400, "badRequest")
    assert await wire.database.value("select count(*) from server") == 0


async def test_deleted_group_leaves_its_servers(wire):
    """They only belong to none."""
    body = await a_body(wire)
    group = await a_group(wire)
    made = (await create(wire, body, group)).json["server"]
    assert (await wire.ask("DELETE", f"{PATH}/{group['id']}")).status == 204
    shown = (await wire.get(f"/servers/{made['id']}", version="2.71")).json["server"]
    assert shown["server_groups"] == []
