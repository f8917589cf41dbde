"""The views with the real flows: what a request leaves in the database, and what it does not."""

from __future__ import annotations

import random

import pytest
from twisted.internet.task import Clock

from cyclades_tx.api.compute import documents
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.servers import Servers
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.model import quota
from cyclades_tx.model.keypair import generate
from cyclades_tx.sections import GanetiSection, OperationsSection, QuotaSection, VmapiSection
from cyclades_tx.store import quotas
from cyclades_tx.testing import builders
from cyclades_tx.vault import MemorySecretStore


@pytest.fixture
def flow(database):
    """The real flows."""
    operations = OperationsSection()
    return Servers(
        database,
        MemorySecretStore(Clock()),
        Keyring([b"k" * 32]),
        Networks(database, deadline_seconds=operations.deadline_seconds("make_network")),
        Images(database),
        GanetiSection(),
        operations,
        VmapiSection(),
        random.Random(1),
    )


async def a_cloud(wire):
    """Everything that a creation needs; return a body that asks for one."""
    database = wire.database
    flavor = await builders.a_flavor(database, vcpus=2)
    image = await builders.an_image(database)
    await builders.a_cluster(database, "alpha")
    await database.transaction(
        lambda tx: quotas.make_holdings(tx, wire.who.project_id, QuotaSection().limits())
    )
    server = {"name": "x", "flavorRef": flavor.uuid, "imageRef": image.uuid, "networks": "none"}
    return {"server": server}


async def everything(database):
    """All rows that requests about servers may touch, as texts."""
    return {
        table: sorted(
            row.text for row in await database.all(f"select t::text as text from {table} t")
        )
        for table in (
            "server", "server_metadata", "server_tag", "operation", "holding", "reservation",
            "port", "address", "volume", "key_pair", "event",
        )
    }  # fmt: skip


async def test_created_server_is_seen_in_build_at_once(wire, fits):
    """Right after the 202, with the request id in its actions."""
    document = await a_cloud(wire)
    document["server"].update(metadata={"a": "b"}, tags=["t"], description="d")
    made = await wire.post("/servers", document, version="2.96")
    assert made.status == 202
    path = f"/servers/{made.json['server']['id']}"
    shown = (await wire.get(path, version="2.96")).json["server"]
    fits(shown, documents.SERVER.schema(96))
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("BUILD", "scheduling")
    assert (shown["metadata"], shown["tags"], shown["description"]) == ({"a": "b"}, ["t"], "d")
    assert shown["OS-EXT-AZ:availability_zone"] == "alpha"
    actions = (await wire.get(path + "/os-instance-actions")).json["instanceActions"]
    assert [(each["action"], each["request_id"]) for each in actions] == [
        ("create", made.header("x-compute-request-id"))
    ]
    absolute = (await wire.get("/limits")).json["limits"]["absolute"]
    assert (absolute["totalInstancesUsed"], absolute["totalCoresUsed"]) == (1, 2)


async def test_creation_over_quota_is_403_and_leaves_nothing(wire):
    """In the words that clients look for."""
    document = await a_cloud(wire)
    await builders.a_holding(wire.database, wire.who.project_id, quota.CPU, 1)
    before = await everything(wire.database)
    message = (await wire.post("/servers", document, version="2.96")).fault(403, "forbidden")
    assert message.startswith("Quota exceeded for")
    assert await everything(wire.database) == before


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("flavorRef", "nothing"),
        ("flavorRef", "00000000-0000-4000-8000-000000000000"),
        ("imageRef", "00000000-0000-4000-8000-000000000000"),
        ("networks", [{"uuid": "00000000-0000-4000-8000-000000000000"}]),
        ("networks", [{"uuid": "nothing"}]),
        ("networks", [{"port": "nothing"}]),
        ("key_name", "nothing"),
        ("security_groups", [{"name": "nothing"}]),
        ("availability_zone", "nothing"),
    ],
)
async def test_unknown_part_of_a_server_is_400_and_leaves_nothing(wire, member, value):
    """Each with a sentence."""
    document = await a_cloud(wire)
    document["server"][member] = value
    before = await everything(wire.database)
    assert (await wire.post("/servers", document, version="2.96")).fault(400, "badRequest")
    assert await everything(wire.database) == before


async def test_life_of_a_server_in_the_dialects_words(wire):
    """Stop, start, and what is refused in each state."""
    await a_cloud(wire)
    flavor = await builders.a_flavor(wire.database)
    cluster = await builders.a_cluster(wire.database)
    server = await builders.a_server(wire.database, wire.who, flavor, cluster=cluster)
    path = f"/servers/{server.uuid}"

    async def act(name, argument=None):
        return await wire.post(path + "/action", {name: argument})

    message = (await act("os-start")).fault(409, "conflictingRequest")
    assert message.startswith(
        f"Cannot 'start' instance {server.uuid} while it is in vm_state active"
    )
    assert (await act("os-stop")).status == 202
    shown = (await wire.get(path)).json["server"]
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ACTIVE", "powering-off")
    (await act("os-stop")).fault(409, "conflictingRequest")
    assert (await act("lock")).status == 202
    (await wire.ask("DELETE", path)).fault(409, "conflictingRequest")
    assert (await act("unlock")).status == 202
    assert (await wire.ask("DELETE", path)).status == 204


async def test_stranger_changes_nothing(wire, stranger):
    """Every write on another project's server is 404, and no row differs afterwards."""
    await a_cloud(wire)
    flavor = await builders.a_flavor(wire.database)
    cluster = await builders.a_cluster(wire.database)
    server = await builders.a_server(
        wire.database, wire.who, flavor, cluster=cluster, metadata={"a": "b"}, tags=("t",)
    )
    key = {"keypair": {"name": "k", "public_key": generate().public.text}}
    assert (await wire.post("/os-keypairs", key)).status == 200
    before = await everything(wire.database)
    path = f"/servers/{server.uuid}"
    requests = [
        ("DELETE", path, None),
        ("PUT", path, {"server": {"name": "mine"}}),
        ("POST", path + "/metadata", {"metadata": {"a": "c"}}),
        ("PUT", path + "/metadata", {"metadata": {}}),
        ("PUT", path + "/metadata/a", {"meta": {"a": "c"}}),
        ("DELETE", path + "/metadata/a", None),
        ("PUT", path + "/tags", {"tags": []}),
        ("DELETE", path + "/tags", None),
        ("PUT", path + "/tags/u", None),
        ("DELETE", path + "/tags/t", None),
        ("DELETE", "/os-keypairs/k", None),
    ]
    requests += [
        ("POST", path + "/action", {name: argument})
        for name, argument in (
            ("os-stop", None), ("os-start", None), ("reboot", {"type": "HARD"}), ("lock", None),
            ("unlock", None),
        )
    ]  # fmt: skip
    for method, target, document in requests:
        answer = await wire.ask(method, target, body=document, who=stranger, version="2.96")
        answer.fault(404, "itemNotFound")
    assert await everything(wire.database) == before


async def test_changes_are_answered_with_what_is_there_then(wire):
    """Metadata, tags and name."""
    flavor = await builders.a_flavor(wire.database)
    server = await builders.a_server(
        wire.database, wire.who, flavor, metadata={"a": "b"}, tags=("t",)
    )
    path = f"/servers/{server.uuid}"

    async def ask(method, more, document=None):
        return await wire.ask(method, path + more, body=document, version="2.96")

    merged = await ask("POST", "/metadata", {"metadata": {"c": "d"}})
    assert merged.json == {"metadata": {"a": "b", "c": "d"}}
    replaced = await ask("PUT", "/metadata", {"metadata": {"e": "f"}})
    assert replaced.json == {"metadata": {"e": "f"}}
    (await ask("DELETE", "/metadata/a")).fault(404, "itemNotFound")
    assert (await ask("PUT", "/tags/u")).status == 201
    assert (await ask("GET", "/tags")).json == {"tags": ["t", "u"]}
    renamed = await ask("PUT", "", {"server": {"name": "new", "accessIPv6": "2001:db8:0::1"}})
    assert renamed.json["server"]["name"] == "new"
    assert renamed.json["server"]["accessIPv6"] == "2001:db8::1"


async def test_one_tag_is_added_and_removed_without_touching_the_others(wire):
    """New: 201 with its URL; there already: 204; gone already: 404."""
    made = await wire.post("/servers", await a_cloud(wire), version="2.96")
    path = f"/servers/{made.json['server']['id']}/tags"

    async def ask(method, tag=""):
        return await wire.ask(method, path + tag, version="2.26")

    first = await ask("PUT", "/b")
    assert (first.status, first.body) == (201, b"")
    assert first.header("location").endswith(f"/compute/v2.1{path}/b")
    assert (await ask("PUT", "/b")).status == 204
    assert (await ask("PUT", "/a")).status == 201
    assert (await ask("GET")).json == {"tags": ["a", "b"]}
    assert (await ask("DELETE", "/a")).status == 204
    (await ask("DELETE", "/a")).fault(404, "itemNotFound")
    assert (await ask("GET")).json == {"tags": ["b"]}
