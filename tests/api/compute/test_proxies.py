"""What Compute once passed on to Image and Network: there up to 2.35, and 404 from 2.36 on.

The metadata of images are there up to 2.38.
"""

from __future__ import annotations

import json

import pytest
import pytest_twisted

from cyclades_tx.api.compute.openapi import TABLE
from cyclades_tx.api.compute.proxies_table import TABLE as PROXIED
from cyclades_tx.flows.networks import Networks, WantedNetwork, WantedSubnet
from cyclades_tx.model import quota
from cyclades_tx.store import quotas
from cyclades_tx.store.networks import create_default_group
from cyclades_tx.testing import builders, network_builders

GROUPS = "/os-security-groups"
RULES = "/os-security-group-rules"
FLOATING = "/os-floating-ips"
NOWHERE = "0e1d2c3b-4a59-4687-9786-a5b4c3d2e1f0"


async def shown(wire, path, minor=1, **options):
    """A document that must fit the schema of its endpoint (the wire's frame looks at that)."""
    answer = await wire.get(path, version=f"2.{minor}", **options)
    assert answer.status == 200, answer.body
    return answer.json


def fitting(fits, request, minor, document, admin=False):
    """Check a reply against what the OpenAPI document says."""
    fits(document, TABLE[request].reply(minor, admin))


@pytest_twisted.async_fixture
async def pool(wire):
    """An external network that gives floating IPs, and room in the project's quota."""
    await wire.database.transaction(
        lambda tx: quotas.make_holdings(tx, wire.who.project_id, {quota.FLOATING_IP: 2})
    )
    return await network_builders.a_network(
        wire.database, None, "192.0.2.0/29", name="public", external=True, floating_ip_pool=True,
        everywhere=False, flavor="IP_LESS_ROUTED",
    )  # fmt: skip


@pytest.mark.parametrize("request_", sorted(PROXIED))
async def test_behind_its_last_microversion_there_is_none_of_it(wire, request_):
    """Whatever is asked for; that comes before a look at the body."""
    last = 38 if "/metadata" in request_ else 35
    assert PROXIED[request_].last == last
    method, _, path = request_.partition(" ")
    for part in ("<image_id>", "<group_id>", "<network_id>", "<floating_ip_id>", "<rule_id>"):
        path = path.replace(part, NOWHERE)
    path = path.replace("<key>", "k")
    for version in (f"2.{last + 1}", "2.96"):
        answer = await wire.ask(method, path, version=version, body={"x": 1})
        answer.fault(404, "itemNotFound")
    answer = await wire.ask(method, path, version=f"2.{last}", body={"x": 1})
    assert answer.status in (200, 400, 404, 410), answer.body


async def test_floating_ip_is_made_shown_and_given_back(wire, fits, pool, stranger):
    """By the name of its pool, by its id, and of the first pool."""
    assert await shown(wire, "/os-floating-ip-pools") == {"floating_ip_pools": [{"name": "public"}]}
    made = await wire.post(FLOATING, {"pool": "public"})
    assert made.status == 200
    fitting(fits, f"POST {FLOATING}", 1, made.json)
    document = made.json["floating_ip"]
    assert (document["ip"], document["pool"]) == ("192.0.2.2", "public")
    assert (document["fixed_ip"], document["instance_id"]) == (None, None)
    path = f"{FLOATING}/{document['id']}"
    assert await shown(wire, path, 35) == made.json
    assert await shown(wire, FLOATING) == {"floating_ips": [document]}
    assert (await wire.get(path, who=stranger)).status == 404
    assert await shown(wire, FLOATING, who=stranger) == {"floating_ips": []}
    assert (await wire.ask("DELETE", path, who=stranger)).status == 404
    assert (await wire.post(FLOATING, data=b"")).status == 200, "the first pool"
    (await wire.post(FLOATING, {"pool": pool.uuid})).fault(403, "forbidden")
    gone = await wire.ask("DELETE", path)
    assert (gone.status, gone.body) == (202, b"")
    (await wire.get(path)).fault(404, "itemNotFound")
    assert (await wire.post(FLOATING, {"pool": pool.uuid})).status == 200
    (await wire.post(FLOATING, {"pool": "nowhere"})).fault(404, "itemNotFound")


async def test_floating_ip_tells_its_server(wire, fits):
    """And the address that it stands beside."""
    database, who = wire.database, wire.who
    server = await builders.a_server(database, who, await builders.a_flavor(database))
    inside = await builders.a_network(database)
    port = await builders.a_port(database, server, inside, "10.0.0.5")
    outside = await builders.a_network(database, name="out", cidr="192.0.2.0/24", external=True)
    uuid = await builders.a_floating_ip(database, who, outside, "192.0.2.7", port)
    document = await shown(wire, f"{FLOATING}/{uuid}")
    fitting(fits, f"GET {FLOATING}/<floating_ip_id>", 1, document)
    assert document["floating_ip"] == {
        "id": str(uuid),
        "ip": "192.0.2.7",
        "pool": "out",
        "fixed_ip": "10.0.0.5",
        "instance_id": str(server.uuid),
    }


async def test_no_address_left_is_told_as_of_old(wire, pool):
    """404, as a pool that is not there."""
    await wire.database.run("delete from free_address_range")
    message = (await wire.post(FLOATING, {"pool": "public"})).fault(404, "itemNotFound")
    assert message.startswith("No more floating IPs are available.")


async def test_security_group_and_its_rules(wire, fits, stranger):
    """Made, listed, changed, and deleted; Network has the same ids."""
    body = {"security_group": {"name": "web", "description": "for the web"}}
    made = await wire.post(GROUPS, body)
    assert made.status == 200
    fitting(fits, f"POST {GROUPS}", 1, made.json)
    group = made.json["security_group"]
    assert group["rules"] == []
    path = f"{GROUPS}/{group['id']}"
    rules = []
    for words in (
        {"ip_protocol": "tcp", "from_port": 80, "to_port": "81", "cidr": "10.0.0.0/8"},
        {"ip_protocol": "icmp", "from_port": -1, "to_port": -1, "cidr": None},
        {"ip_protocol": "UDP", "from_port": 1, "to_port": 2, "group_id": group["id"]},
        {"ip_protocol": "tcp", "from_port": 22, "to_port": 22, "cidr": "2001:db8::/64"},
        {"ip_protocol": None},
    ):
        answer = await wire.post(
            RULES, {"security_group_rule": {"parent_group_id": group["id"], **words}}
        )
        assert answer.status == 200, answer.body
        fitting(fits, f"POST {RULES}", 1, answer.json)
        rules.append(answer.json["security_group_rule"])
    document = (await shown(wire, path, 35))["security_group"]
    assert document["rules"] == rules
    assert [
        (each["ip_protocol"], each["from_port"], each["to_port"], each["ip_range"], each["group"])
        for each in rules
    ] == [
        ("tcp", 80, 81, {"cidr": "10.0.0.0/8"}, {}),
        ("icmp", None, None, {"cidr": "0.0.0.0/0"}, {}),
        ("udp", 1, 2, {}, {"name": "web", "tenant_id": wire.who.project_id}),
        ("tcp", 22, 22, {"cidr": "2001:db8::/64"}, {}),
        (None, None, None, {"cidr": "0.0.0.0/0"}, {}),
    ]
    assert (await wire.ask("DELETE", f"{RULES}/{rules[0]['id']}", who=stranger)).status == 404
    assert (await wire.ask("DELETE", f"{RULES}/{rules[0]['id']}")).status == 202
    changed = await wire.ask(
        "PUT", path, body={"security_group": {"name": "www", "description": ""}}
    )
    assert (changed.status, changed.json["security_group"]["name"]) == (200, "www")
    for method in ("GET", "PUT", "DELETE"):
        answer = await wire.ask(
            method, path, body={"security_group": {"name": "mine"}}, who=stranger
        )
        assert answer.status == 404
    assert await shown(wire, GROUPS, who=stranger) == {"security_groups": []}
    names = [each["name"] for each in (await shown(wire, GROUPS))["security_groups"]]
    assert names == ["default", "www"]
    few = (await shown(wire, f"{GROUPS}?limit=1&offset=1"))["security_groups"]
    assert [each["name"] for each in few] == ["www"]
    assert (await wire.ask("DELETE", path)).status == 202
    (await wire.get(path)).fault(404, "itemNotFound")


async def test_all_groups_are_for_administrators(wire, admin):
    """Others see their own, whatever they ask for."""
    await wire.database.transaction(lambda tx: create_default_group(tx, wire.who.project_id))
    asked = f"{GROUPS}?all_tenants=1"
    assert len((await shown(wire, asked))["security_groups"]) == 1
    assert len((await shown(wire, asked, who=admin))["security_groups"]) == 1
    assert (await shown(wire, GROUPS, who=admin))["security_groups"] == []


@pytest.mark.parametrize(
    "rule",
    [
        {"ip_protocol": "tcp", "from_port": "x", "to_port": 1},
        {"ip_protocol": "tcp", "from_port": 2, "to_port": 1},
        {"ip_protocol": "tcp", "from_port": 1, "to_port": 99999},
        {"from_port": 1, "to_port": 2},
        {"ip_protocol": "tcp", "from_port": 1, "to_port": 2, "cidr": "10.0.0.0/33"},
        {"ip_protocol": "nonsense"},
        {"ip_protocol": "icmp", "from_port": 256, "to_port": -1},
        {"ip_protocol": "tcp", "from_port": 1, "to_port": 2, "cidr": "10.0.0.0/8",
         "group_id": NOWHERE},
        {"ip_protocol": "tcp", "from_port": "9" * 5000, "to_port": 1},
        {"tenant_id": "x"},
    ],
    ids=range(10),
)  # fmt: skip
async def test_wrong_rule_is_told(wire, rule):
    """400, and nothing is added."""
    made = await wire.post(GROUPS, {"security_group": {"name": "g", "description": "d"}})
    group = made.json["security_group"]["id"]
    body = {"security_group_rule": {"parent_group_id": group, **rule}}
    (await wire.post(RULES, body)).fault(400, "badRequest")
    assert (await shown(wire, f"{GROUPS}/{group}"))["security_group"]["rules"] == []


async def test_what_is_in_conflict_is_a_bad_request(wire):
    """A group that is used, the default one, a rule that is there already."""
    made = await wire.post(GROUPS, {"security_group": {"name": "g", "description": "d"}})
    group = made.json["security_group"]["id"]
    default = next(
        each["id"]
        for each in (await shown(wire, GROUPS))["security_groups"]
        if each["name"] == "default"
    )
    (await wire.ask("DELETE", f"{GROUPS}/{default}")).fault(400, "badRequest")
    again = {"security_group": {"name": "default", "description": ""}}
    (await wire.post(GROUPS, again)).fault(400, "badRequest")
    rule = {"security_group_rule": {"parent_group_id": group, "ip_protocol": "tcp",
                                    "from_port": 1, "to_port": 2}}  # fmt: skip
    assert (await wire.post(RULES, rule)).status == 200
    (await wire.post(RULES, rule)).fault(400, "badRequest")
    flavor = await builders.a_flavor(wire.database)
    server = await builders.a_server(wire.database, wire.who, flavor)
    network = await builders.a_network(wire.database)
    port = await builders.a_port(wire.database, server, network, None)
    await wire.database.run(
        "insert into port_security_group select %s, id from security_group where uuid = %s",
        (port.id, group),
    )
    (await wire.ask("DELETE", f"{GROUPS}/{group}")).fault(400, "badRequest")
    nobody = {"security_group_rule": {"parent_group_id": NOWHERE, "ip_protocol": "tcp",
                                      "from_port": 1, "to_port": 2}}  # fmt: skip
    (await wire.post(RULES, nobody)).fault(404, "itemNotFound")


@pytest.mark.parametrize("path", ["/os-networks", "/os-tenant-networks"])
async def test_networks_are_shown(wire, fits, path, stranger, admin):
    """The own ones and those for all, with what the subnets say."""
    subnets = (
        WantedSubnet("10.0.0.0/24", dns_nameservers=("192.0.2.1", "192.0.2.2")),
        WantedSubnet("2001:db8::/64"),
    )
    wanted = WantedNetwork(
        name="mine", project_id=wire.who.project_id, everywhere=False, subnets=subnets
    )
    made = await Networks(wire.database).create(admin, wanted)
    document = await shown(wire, f"{path}/{made.uuid}")
    fitting(fits, f"GET {path}/<network_id>", 1, document)
    network = document["network"]
    assert (network["id"], network["label"], network["cidr"]) == (made.uuid, "mine", "10.0.0.0/24")
    if path == "/os-networks":
        assert (network["netmask"], network["broadcast"]) == ("255.255.255.0", "10.0.0.255")
        assert (network["gateway"], network["dns1"], network["dns2"]) == (
            "10.0.0.1", "192.0.2.1", "192.0.2.2",
        )  # fmt: skip
        assert (network["cidr_v6"], network["netmask_v6"]) == ("2001:db8::/64", "64")
    assert await shown(wire, path) == {"networks": [network]}
    (await wire.get(f"{path}/{made.uuid}", who=stranger)).fault(404, "itemNotFound")
    assert await shown(wire, path, who=stranger) == {"networks": []}
    more = await shown(wire, path, who=admin)
    fitting(fits, f"GET {path}", 1, more, admin=True)
    assert len(more["networks"]) == 1
    (await wire.get(f"{path}/mine")).fault(404, "itemNotFound")
    for method, place in (("POST", path), ("DELETE", f"{path}/{made.uuid}")):
        assert (await wire.ask(method, place, body={})).status == 410


async def test_images_are_listed_and_shown(wire, fits, stranger):
    """Public ones and the project's own; by pages, and by what they are."""
    database = wire.database
    mine = await builders.an_image(
        database, name="mine", visibility="private", project_id=wire.who.project_id
    )
    public = await builders.an_image(database, name="public")
    details = await shown(wire, "/images/detail")
    fitting(fits, "GET /images/detail", 1, details)
    assert [each["name"] for each in details["images"]] == ["public", "mine"]
    assert {each["status"] for each in details["images"]} == {"ACTIVE"}
    items = await shown(wire, "/images")
    fitting(fits, "GET /images", 1, items)
    document = await shown(wire, f"/images/{mine.uuid}", 35)
    fitting(fits, "GET /images/<image_id>", 35, document)
    assert document["image"] == details["images"][1]
    page = await shown(wire, "/images?limit=1")
    fitting(fits, "GET /images", 1, page)
    (link,) = page["images_links"]
    assert link["href"].endswith(f"limit=1&marker={public.uuid}")
    rest = await shown(wire, f"/images?limit=1&marker={public.uuid}")
    assert [each["name"] for each in rest["images"]] == ["mine"]
    (await wire.get(f"/images?marker={NOWHERE}")).fault(400, "badRequest")
    assert [each["name"] for each in (await shown(wire, "/images?name=mine"))["images"]] == ["mine"]
    assert (await shown(wire, "/images?status=saving&minRam=1&minDisk=0&type=x"))["images"] == []
    seen = (await shown(wire, "/images", who=stranger))["images"]
    assert [each["name"] for each in seen] == ["public"]
    for method in ("GET", "DELETE"):
        answer = await wire.ask(method, f"/images/{mine.uuid}", who=stranger)
        answer.fault(404, "itemNotFound")
    (await wire.ask("DELETE", f"/images/{public.uuid}", who=stranger)).fault(403, "forbidden")
    assert (await wire.ask("DELETE", f"/images/{mine.uuid}")).status == 204
    (await wire.get(f"/images/{mine.uuid}")).fault(404, "itemNotFound")


async def test_metadata_of_an_image(wire, stranger):
    """Its properties, and nothing else of it."""
    mine = await builders.an_image(
        wire.database, name="mine", visibility="private", project_id=wire.who.project_id
    )
    path = f"/images/{mine.uuid}/metadata"
    start = (await shown(wire, path))["metadata"]
    assert await shown(wire, path, 38) == {"metadata": start}
    added = await wire.post(path, {"metadata": {"a": "1", "b": "2"}})
    assert added.json == {"metadata": {**start, "a": "1", "b": "2"}}
    assert await shown(wire, f"{path}/a") == {"meta": {"a": "1"}}
    answer = await wire.ask("PUT", f"{path}/a", body={"meta": {"a": "3"}})
    assert (answer.status, answer.json) == (200, {"meta": {"a": "3"}})
    (await wire.ask("PUT", f"{path}/a", body={"meta": {"b": "3"}})).fault(400, "badRequest")
    replaced = await wire.ask("PUT", path, body={"metadata": {"b": "4"}})
    assert replaced.json == {"metadata": {"b": "4"}}
    assert (await wire.ask("DELETE", f"{path}/b")).status == 204
    (await wire.ask("DELETE", f"{path}/b")).fault(404, "itemNotFound")
    (await wire.get(f"{path}/b")).fault(404, "itemNotFound")
    for key in ("visibility", "owner", "min_disk", "tags", "locations", "id", "name"):
        (await wire.post(path, {"metadata": {key: "public"}})).fault(400, "badRequest")
    (await wire.post(path, {"metadata": {"x" * 256: "1"}})).fault(400, "badRequest")
    (await wire.post(path, {"metadata": {"x": "1"}}, who=stranger)).fault(404, "itemNotFound")
    (await wire.get(path, who=stranger)).fault(404, "itemNotFound")
    row = await wire.database.first("select visibility from image where uuid = %s", (mine.uuid,))
    assert row.visibility == "private"


async def test_whoever_may_only_read_changes_nothing(wire, reader, pool):
    """And sees what the project has."""
    for path, body in (
        (FLOATING, {"pool": "public"}),
        (GROUPS, {"security_group": {"name": "g", "description": "d"}}),
    ):
        assert (await wire.post(path, body, who=reader)).status == 403
        assert (await wire.get(path, who=reader)).status == 200


@pytest.mark.parametrize("ref", ["x", "%00", "%2e%2e", "a" * 300, "%F0%9F%98%80", "1;drop"])
async def test_anything_can_stand_in_the_path(wire, ref):
    """404, never more."""
    for path in (FLOATING, GROUPS, "/os-networks", "/os-tenant-networks", "/images"):
        assert (await wire.get(f"{path}/{ref}")).status in (400, 404)
    assert (await wire.ask("DELETE", f"{RULES}/{ref}")).status in (400, 404)
    assert (await wire.ask("DELETE", f"{FLOATING}/{ref}")).status in (400, 404)


@pytest.mark.parametrize(
    "path",
    [FLOATING, GROUPS, RULES, f"/images/{NOWHERE}/metadata"],
    ids=["addresses", "groups", "rules", "metadata"],
)
@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b"1", b'{"pool": 1}', b"[" * 1000, b'{"security_group": null}', b"\xff",
     json.dumps({"security_group_rule": {"parent_group_id": 1}}).encode()],
    ids=range(8),
)  # fmt: skip
async def test_spoiled_body_is_told(wire, path, data):
    """400, never more."""
    (await wire.post(path, data=data)).fault(400, "badRequest")
