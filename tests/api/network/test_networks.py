"""Networks written over the real wire: made, changed, deleted, by whom, and what is refused."""

from __future__ import annotations

from uuid import uuid4

import pytest
from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.api.network.documents import NETWORK
from cyclades_tx.model.who import READER, Who
from cyclades_tx.store import value_recount
from cyclades_tx.testing import builders
from cyclades_tx.testing.shapes import misfits
from tests.api.network.written import PRIVATE, Writing, a_port, fault


async def test_a_private_network_takes_a_prefix_and_is_charged(writing: Writing) -> None:
    """It waits for a server before any cluster has it; deleting gives all of it back."""
    made = await writing.make(name="own", description="d", mtu=1400)
    assert misfits(made, NETWORK.schema()) == []
    assert (made["name"], made["mtu"], made["status"]) == ("own", 1400, "ACTIVE")
    assert made["project_id"] == made["tenant_id"] == writing.who.project_id
    row = await writing.database.first(
        "select flavor, mode, link, mac_prefix, tags, everywhere from network"
    )
    assert row == ("MAC_FILTERED", "bridged", "prv0", "aa:00:1", ["private-filtered"], False)
    assert await writing.used() == 1
    answer = await writing.send("DELETE", f"networks/{made['id']}")
    assert (answer.status, answer.body) == (204, b"")
    assert await writing.used() == 0
    assert await value_recount.find(writing.database) == []
    fault(await writing.send("GET", f"networks/{made['id']}"), 404, "NetworkNotFound")
    fault(await writing.send("DELETE", f"networks/{made['id']}"), 404, "NetworkNotFound")


async def test_several_networks_are_made_at_once_or_none(writing: Writing) -> None:
    """In the order of the request; one wrong one leaves nothing."""
    answer = await writing.send(
        "POST", "networks", {"networks": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}
    )
    assert answer.status == 201
    assert [each["name"] for each in answer.json["networks"]] == ["a", "b", "c"]
    assert all(misfits(each, NETWORK.schema()) == [] for each in answer.json["networks"])
    wrong = await writing.send("POST", "networks", {"networks": [{"name": "d"}, {"mtu": 10}]})
    fault(wrong, 400, "HTTPBadRequest")
    assert await writing.used() == 3
    assert await writing.database.value("select count(*) from network") == 3


async def test_over_the_quota_nothing_is_made(writing: Writing) -> None:
    """Neutron's own fault, also for a bulk that is too large as a whole."""
    await builders.a_holding(writing.database, writing.who.project_id or "", PRIVATE, 2)
    many = {"networks": [{"name": str(n)} for n in range(3)]}
    message = fault(await writing.send("POST", "networks", many), 409, "OverQuota")
    assert "networks" in message
    assert await writing.used() == 0
    await writing.make()
    await writing.make()
    fault(await writing.send("POST", "networks", {"network": {}}), 409, "OverQuota")
    assert await value_recount.find(writing.database) == []


async def test_an_empty_pool_is_said(writing: Writing, admin: Who) -> None:
    """503 with Neutron's word, and nothing charged."""
    await writing.database.run("delete from value_pool where kind = 'mac_prefix'")
    answer = await writing.send("POST", "networks", {"network": {"name": "n"}})
    fault(answer, 503, "NoNetworkAvailable")
    assert answer.headers["retry-after"] == "60"
    assert await writing.used() == 0


async def test_an_administrator_chooses_the_flavor(writing: Writing, admin: Who) -> None:
    """By the attributes of a provider, which only administrators see."""
    for sent, shown, flavor in (
        (("vlan", None, 7), ("vlan", "prv7", 7), "PHYSICAL_VLAN"),
        (("vlan", None, "8"), ("vlan", "prv8", 8), "PHYSICAL_VLAN"),
        (("flat", "br9", None), ("flat", "br9", None), "CUSTOM"),
        (("MAC_FILTERED", None, None), ("mac_filtered", "prv0", None), "MAC_FILTERED"),
    ):
        names = ("provider:network_type", "provider:physical_network", "provider:segmentation_id")
        wanted = {name: value for name, value in zip(names, sent, strict=True) if value is not None}
        made = await writing.make(admin, **wanted)
        assert tuple(made[name] for name in names) == shown
        assert misfits(made, NETWORK.schema(admin=True)) == []
        found = await writing.database.value(
            "select flavor from network where uuid = %s", (made["id"],)
        )
        assert found == flavor
    routed = await writing.make(admin, **{"provider:network_type": "ip_less_routed"})
    assert routed["provider:physical_network"].startswith("snf-link-")
    again = {"network": {"provider:network_type": "vlan", "provider:segmentation_id": 7}}
    fault(await writing.send("POST", "networks", again, admin), 409, "VlanIdInUse")
    for wrong in (
        {"provider:network_type": "vxlan"},
        {"provider:segmentation_id": 3},
        {"provider:network_type": "vlan", "provider:segmentation_id": 99},
        {"provider:network_type": "vlan", "provider:segmentation_id": "x"},
    ):
        fault(
            await writing.send("POST", "networks", {"network": wrong}, admin), 400, "InvalidInput"
        )
        fault(await writing.send("POST", "networks", {"network": wrong}), 403, "HTTPForbidden")


async def test_only_administrators_make_networks_for_others(writing: Writing, admin: Who) -> None:
    """External, shared, of another project: the other project is charged."""
    for wrong in (
        {"shared": True},
        {"router:external": True},
        {"project_id": admin.project_id},
    ):
        fault(await writing.send("POST", "networks", {"network": wrong}), 403, "HTTPForbidden")
    made = await writing.make(admin, project_id=writing.who.project_id, name="gift")
    assert await writing.used() == 1
    assert (await writing.send("GET", f"networks/{made['id']}")).status == 200
    outside = await writing.make(admin, **{"router:external": True})
    row = await writing.database.first(
        "select external, floating_ip_pool, flavor from network where uuid = %s", (outside["id"],)
    )
    assert row == (True, True, "CUSTOM")
    nobody = {"network": {"project_id": uuid4().hex}}
    fault(await writing.send("POST", "networks", nobody, admin), 400, "InvalidInput")


async def test_a_network_is_changed_and_its_revision_grows(writing: Writing) -> None:
    """Name, description and MTU; what is absent stays."""
    made = await writing.make(name="a", description="d")
    answer = await writing.send(
        "PUT", f"networks/{made['id']}", {"network": {"name": "b", "mtu": 9000}}
    )
    assert answer.status == 200
    changed = answer.json["network"]
    assert (changed["name"], changed["description"], changed["mtu"]) == ("b", "d", 9000)
    assert changed["revision_number"] == made["revision_number"] + 1
    assert misfits(changed, NETWORK.schema()) == []


async def test_a_change_can_depend_on_the_revision(writing: Writing) -> None:
    """412 when it is another one, for changes and for the deletion."""
    made = await writing.make(name="a")
    path, body = f"networks/{made['id']}", {"network": {"name": "b"}}
    match = f"revision_number={made['revision_number']}"
    assert (await writing.send("PUT", path, body, If_Match=match)).status == 200
    for method, sent in (("PUT", body), ("DELETE", None)):
        answer = await writing.send(method, path, sent, If_Match=match)
        fault(answer, 412, "RevisionNumberConstraintFailed")
    fault(await writing.send("PUT", path, body, If_Match="*"), 400, "BadRequest")


async def test_sharing_moves_the_charge(writing: Writing, admin: Who) -> None:
    """A shared network is not charged; a private one again is, if the quota allows it."""
    made = await writing.make()
    path = f"networks/{made['id']}"
    fault(await writing.send("PUT", path, {"network": {"shared": True}}), 403, "HTTPForbidden")
    assert (await writing.send("PUT", path, {"network": {"shared": True}}, admin)).status == 200
    assert await writing.used() == 0
    await builders.a_holding(writing.database, writing.who.project_id or "", PRIVATE, 0)
    back = {"network": {"shared": False}}
    fault(await writing.send("PUT", path, back, admin), 409, "OverQuota")
    await builders.a_holding(writing.database, writing.who.project_id or "", PRIVATE, 1)
    assert (await writing.send("PUT", path, back, admin)).status == 200
    assert await writing.used() == 1


async def test_a_shared_network_with_others_ports_stays_shared(
    writing: Writing, admin: Who, stranger: Who
) -> None:
    """Until they are gone."""
    made = await writing.make(admin, shared=True)
    await a_port(writing, made["id"], stranger)
    answer = await writing.send(
        "PUT", f"networks/{made['id']}", {"network": {"shared": False}}, admin
    )
    fault(answer, 409, "InvalidSharedSetting")
    refused = await writing.send(
        "PUT", f"networks/{made['id']}", {"network": {"name": "x"}}, stranger
    )
    fault(refused, 403, "HTTPForbidden")
    fault(
        await writing.send("DELETE", f"networks/{made['id']}", None, stranger), 403, "HTTPForbidden"
    )


async def test_a_network_with_ports_is_not_deleted(writing: Writing) -> None:
    """409 with Neutron's word; nothing is changed."""
    made = await writing.make()
    await a_port(writing, made["id"])
    fault(await writing.send("DELETE", f"networks/{made['id']}"), 409, "NetworkInUse")
    assert await writing.used() == 1


async def test_another_projects_network_is_not_there(writing: Writing, stranger: Who) -> None:
    """For no method, and neither are its tags."""
    made = await writing.make()
    path = f"networks/{made['id']}"
    for method, where, body in (
        ("GET", path, None),
        ("PUT", path, {"network": {"name": "x"}}),
        ("DELETE", path, None),
        ("GET", f"{path}/tags", None),
        ("PUT", f"{path}/tags", {"tags": ["x"]}),
        ("DELETE", f"{path}/tags", None),
        ("PUT", f"{path}/tags/x", None),
        ("DELETE", f"{path}/tags/x", None),
    ):
        fault(await writing.send(method, where, body, stranger), 404, "NetworkNotFound")
    subnet = {"subnet": {"network_id": made["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}}
    fault(await writing.send("POST", "subnets", subnet, stranger), 404, "NetworkNotFound")


async def test_a_reader_writes_nothing(writing: Writing) -> None:
    """Neither networks nor tags."""
    made = await writing.make()
    reader = await builders.somebody(writing.database, READER, project_id=writing.who.project_id)
    for method, path, body in (
        ("POST", "networks", {"network": {}}),
        ("PUT", f"networks/{made['id']}", {"network": {"name": "x"}}),
        ("DELETE", f"networks/{made['id']}", None),
        ("PUT", f"networks/{made['id']}/tags/x", None),
    ):
        fault(await writing.send(method, path, body, reader), 403, "HTTPForbidden")


HOSTILE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b'{"network": null}',
    b'{"network": []}',
    b'{"networks": {}}',
    b'{"networks": []}',
    b'{"networks": [1]}',
    b'{"network": {}, "networks": []}',
    b'{"network": {"nmae": "x"}}',
    b'{"network": {"name": 1}}',
    b'{"network": {"name": null}}',
    b'{"network": {"name": "a\\u0000b"}}',
    b'{"network": {"name": "' + b"x" * 256 + b'"}}',
    b'{"network": {"name": "\xff"}}',
    b'{"network": {"shared": "yes"}}',
    b'{"network": {"mtu": 67}}',
    b'{"network": {"mtu": 1e99}}',
    b'{"network": {"admin_state_up": false}}',
    b'{"network": {"port_security_enabled": false}}',
    b'{"network": {"availability_zone_hints": ["nova"]}}',
    b'{"network": {"project_id": "a", "tenant_id": "b"}}',
    b'{"network": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    b'{"networks": [' + b"{}," * 100 + b"{}]}",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
async def test_a_hostile_body_changes_nothing(writing: Writing, number: int) -> None:
    """Whatever is sent to make or to change: 400 in Neutron's shape."""
    made = await writing.make(name="kept")
    for method, path in (("POST", "networks"), ("PUT", f"networks/{made['id']}")):
        if method == "PUT" and b"availability" in HOSTILE[number]:
            continue
        answer = await writing.send(method, path, HOSTILE[number])
        assert answer.status == 400, (method, answer.status, answer.body)
        assert set(answer.json["NeutronError"]) == {"type", "message", "detail"}
    assert await writing.database.value("select count(*) from network") == 1
    assert (await writing.send("GET", f"networks/{made['id']}")).json["network"] == made


@pytest.mark.parametrize(
    "ref", ["x", "%00", "1", "..%2f..", "a" * 300, "3c4b7576-fe23-4a8d-9af5-c6b1aa1aa3e6"]
)
async def test_a_strange_id_is_not_found(writing: Writing, ref: str) -> None:
    """For each method."""
    for method, body in (("PUT", {"network": {"name": "x"}}), ("DELETE", None)):
        assert (await writing.send(method, f"networks/{ref}", body)).status == 404


async def test_tags_are_replaced_added_and_taken(writing: Writing) -> None:
    """All at once or one by one; the revision grows with each change."""
    made = await writing.make()
    path = f"networks/{made['id']}/tags"
    answer = await writing.send("PUT", path, {"tags": ["b", "a", "b"]})
    assert (answer.status, answer.json) == (200, {"tags": ["a", "b"]})
    assert (await writing.send("PUT", f"{path}/c")).status == 201
    assert (await writing.send("PUT", f"{path}/c")).status == 201
    assert (await writing.send("GET", f"{path}/c")).status == 204
    assert (await writing.send("DELETE", f"{path}/a")).status == 204
    fault(await writing.send("DELETE", f"{path}/a"), 404, "TagNotFound")
    fault(await writing.send("GET", f"{path}/a"), 404, "TagNotFound")
    assert (await writing.send("GET", path)).json == {"tags": ["b", "c"]}
    shown = (await writing.send("GET", f"networks/{made['id']}")).json["network"]
    assert shown["tags"] == ["b", "c"]
    assert shown["revision_number"] == made["revision_number"] + 3
    listed = await writing.send("GET", "networks?tags=b,c&not-tags=a")
    assert [each["id"] for each in listed.json["networks"]] == [made["id"]]
    assert (await writing.send("DELETE", path)).status == 204
    for wrong in (
        {"tags": [""]},
        {"tags": ["x" * 256]},
        {"tags": "x"},
        {"tags": [str(n) for n in range(51)]},
    ):
        assert (await writing.send("PUT", path, wrong)).status == 400


async def test_an_administrator_sets_and_resets_quotas(
    writing: Writing, admin: Who, stranger: Who
) -> None:
    """Of networks and floating IPs; of the rest there are none, which is said."""
    path = f"quotas/{writing.who.project_id}"
    body = {"quota": {"network": 3, "floatingip": -1, "port": -1}}
    answer = await writing.send("PUT", path, body, admin)
    assert answer.status == 200, answer.body
    assert (answer.json["quota"]["network"], answer.json["quota"]["floatingip"]) == (3, -1)
    assert (await writing.send("GET", path)).json == answer.json
    fault(await writing.send("PUT", path, body), 403, "HTTPForbidden")
    fault(await writing.send("DELETE", path, None, stranger), 403, "HTTPForbidden")
    fault(await writing.send("PUT", path, {"quota": {"port": 5}}, admin), 400, "InvalidInput")
    for wrong in ({"quota": {"network": -2}}, {"quota": {"x": 1}}, {"quota": {"network": "1"}}, {}):
        assert (await writing.send("PUT", path, wrong, admin)).status == 400
    assert (await writing.send("DELETE", path, None, admin)).status == 204
    reset = (await writing.send("GET", path)).json["quota"]
    assert (reset["network"], reset["floatingip"]) == (10, 5)
    fault(await writing.send("PUT", "quotas/nobody", body, admin), 404, "HTTPNotFound")
    await writing.make()
    less = {"quota": {"network": 0, "check_limit": True}}
    fault(await writing.send("PUT", path, less, admin), 409, "InvalidQuotaValue")
    less = {"quota": {"network": 0, "force": True}}
    assert (await writing.send("PUT", path, less, admin)).status == 200


async def test_what_happens_to_a_network_is_told(writing: Writing) -> None:
    """Each to its project."""
    made = await writing.make(name="a")
    await writing.send("PUT", f"networks/{made['id']}", {"network": {"name": "b"}})
    await writing.send("DELETE", f"networks/{made['id']}")
    told = await writing.database.all(
        "select kind, project_id, subject, body->'network'->>'name' as name from event order by id"
    )
    assert [tuple(each) for each in told] == [
        (kind, writing.who.project_id, made["id"], name)
        for kind, name in (
            ("network.created", "a"),
            ("network.changed", "b"),
            ("network.deleted", "b"),
        )
    ]


async def test_64_at_once_pass_a_quota_exactly_as_often_as_it_allows(writing: Writing) -> None:
    """The rest are told; each network has a prefix of its own; afterwards all is given back."""
    await builders.a_holding(writing.database, writing.who.project_id or "", PRIVATE, 20)
    answers = await gatherResults(
        [
            Deferred.fromCoroutine(writing.send("POST", "networks", {"network": {}}))
            for _ in range(64)
        ]
    )
    made = [each.json["network"]["id"] for each in answers if each.status == 201]
    assert len(set(made)) == 20
    for answer in answers:
        if answer.status != 201:
            fault(answer, 409, "OverQuota")
    prefixes = await writing.database.value("select count(distinct mac_prefix) from network")
    assert prefixes == 20
    assert await writing.used() == 20
    gone = await gatherResults(
        [Deferred.fromCoroutine(writing.send("DELETE", f"networks/{each}")) for each in made]
    )
    assert {each.status for each in gone} == {204}
    assert await writing.used() == 0
    assert await value_recount.find(writing.database) == []
