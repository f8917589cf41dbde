"""Ports over the wire: one and many, changed, deleted, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.api.network import documents
from cyclades_tx.testing.network_builders import a_network
from tests.api.network.writing import HOSTILE, Writing, everything, fits, kind

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest_twisted.async_yield_fixture
async def writing(database: Any) -> Any:
    """The service with everything that writes."""
    from twisted.internet import reactor

    service = Writing(reactor, database)
    yield service
    await service.wire.close()


async def test_made_port_has_addresses_and_the_default_group(writing: Writing) -> None:
    """As the GET shows it, too."""
    who = await writing.somebody()
    network = await a_network(writing.database, who, "10.0.0.0/24", "fd00:1::/64")
    port = await writing.made(
        who, "ports", "port", network_id=network.uuid, name="p", description="d",
        admin_state_up=False,
    )  # fmt: skip
    fits(port, documents.PORT)
    assert (port["status"], port["device_id"], port["device_owner"]) == ("DOWN", "", "")
    assert (port["name"], port["description"], port["admin_state_up"]) == ("p", "d", False)
    assert [each["ip_address"][:4] for each in port["fixed_ips"]] == ["10.0", "fd00"]
    (group,) = port["security_groups"]
    shown = await writing.send(who, "GET", f"security-groups/{group}")
    assert shown.json["security_group"]["name"] == "default"
    assert (await writing.send(who, "GET", f"ports/{port['id']}")).json["port"] == port


async def test_many_ports_come_in_the_order_of_the_body(writing: Writing) -> None:
    """Each with its own address."""
    who = await writing.somebody()
    network = await a_network(writing.database, who, "10.0.0.0/24")
    wanted = [
        {"network_id": network.uuid, "name": f"p{number}", "fixed_ips": [{"ip_address": address}]}
        for number, address in enumerate(("10.0.0.9", "10.0.0.4"))
    ]
    answer = await writing.send(who, "POST", "ports", {"ports": wanted})
    assert answer.status == 201
    assert [
        (each["name"], each["fixed_ips"][0]["ip_address"]) for each in answer.json["ports"]
    ] == [("p0", "10.0.0.9"), ("p1", "10.0.0.4")]


async def test_addresses_are_chosen_by_subnet_address_or_not_at_all(writing: Writing) -> None:
    """An IPv6 address follows from the MAC in any case but the last."""
    who = await writing.somebody()
    network = await a_network(writing.database, who, "10.0.0.0/24", "fd00:1::/64")
    rows = await writing.database.all(
        "select uuid::text, family(cidr) as family from subnet where network_id = %s"
        " order by family",
        (network.id,),
    )
    four, six = (row.uuid for row in rows)
    for fixed_ips, families in (
        ([{"subnet_id": four}], ".:"),
        ([{"subnet_id": six}], ":"),
        ([{"subnet_id": four, "ip_address": "10.0.0.50"}], ".:"),
        ([], ""),
    ):
        port = await writing.made(
            who, "ports", "port", network_id=network.uuid, fixed_ips=fixed_ips
        )
        shown = [each["ip_address"] for each in port["fixed_ips"]]
        assert "".join("." if "." in address else ":" for address in shown) == families, fixed_ips


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"network_id": NOBODY}, (404, "NetworkNotFound")),
        ({"network_id": "nothing"}, (404, "NetworkNotFound")),
        ({"fixed_ips": [{"ip_address": "10.9.9.9"}]}, (400, "InvalidIpForNetwork")),
        ({"fixed_ips": [{"ip_address": "nothing"}]}, (400, "HTTPBadRequest")),
        ({"fixed_ips": [{"subnet_id": NOBODY}]}, (400, "InvalidInput")),
        ({"fixed_ips": [{}]}, (400, "HTTPBadRequest")),
        ({"fixed_ips": [{"ip_address": "10.0.0.0"}]}, (400, "InvalidIpForSubnet")),
        ({"fixed_ips": [{"ip_address": "10.0.0.1"}]}, (400, "InvalidIpForSubnet")),
        (
            {"fixed_ips": [{"ip_address": "10.0.0.5"}, {"ip_address": "10.0.0.6"}]},
            (400, "InvalidInput"),
        ),
        ({"security_groups": [NOBODY]}, (404, "SecurityGroupNotFound")),
        ({"mac_address": "aa:00:00:00:00:01"}, (403, "HTTPForbidden")),
        ({"project_id": "0" * 32}, (403, "HTTPForbidden")),
        ({"project_id": "0" * 32, "tenant_id": "1" * 32}, (400, "HTTPBadRequest")),
        ({"device_id": NOBODY}, (400, "HTTPBadRequest")),
        ({"device_owner": "network:dhcp"}, (400, "HTTPBadRequest")),
        ({"port_security_enabled": False}, (400, "HTTPBadRequest")),
        ({"allowed_address_pairs": [{"ip_address": "10.0.0.9"}]}, (400, "HTTPBadRequest")),
        ({"name": "x" * 256}, (400, "HTTPBadRequest")),
        ({"binding:vnic_type": "direct"}, (400, "HTTPBadRequest")),
    ],
)
async def test_wrong_wish_is_told_and_leaves_nothing(
    writing: Writing, members: dict[str, Any], fault: tuple[int, str]
) -> None:
    """With Neutron's words for it."""
    who = await writing.somebody()
    network = await a_network(writing.database, who, "10.0.0.0/24")
    await writing.made(who, "ports", "port", network_id=network.uuid)
    before = await everything(writing.database)
    answer = await writing.send(
        who, "POST", "ports", {"port": {"network_id": network.uuid, **members}}
    )
    assert kind(answer) == fault, answer.body
    assert await everything(writing.database) == before


async def test_taken_address_is_a_conflict_and_a_full_network_too(writing: Writing) -> None:
    """With the types that clients look for."""
    who = await writing.somebody()
    network = await a_network(writing.database, who, "10.0.0.0/30")
    wanted = {"network_id": network.uuid, "fixed_ips": [{"ip_address": "10.0.0.2"}]}
    assert (await writing.send(who, "POST", "ports", {"port": wanted})).status == 201
    assert kind(await writing.send(who, "POST", "ports", {"port": wanted})) == (
        409,
        "IpAddressInUse",
    )
    answer = await writing.send(who, "POST", "ports", {"port": {"network_id": network.uuid}})
    assert kind(answer) == (409, "IpAddressGenerationFailure")


async def test_external_network_gives_ports_to_administrators_only(writing: Writing) -> None:
    """Others get its addresses as floating IPs."""
    who, admin = await writing.somebody(), await writing.somebody("admin")
    network = await a_network(writing.database, None, "192.0.2.0/24", external=True)
    body = {"port": {"network_id": network.uuid}}
    assert (await writing.send(who, "POST", "ports", body)).status == 403
    assert (await writing.send(admin, "POST", "ports", body)).status == 201


@pytest.mark.parametrize("project", ["0" * 32, "nothing", "x" * 500])
async def test_administrator_s_thing_for_no_project_is_not_found(
    writing: Writing, project: str
) -> None:
    """Whatever is to be made; nothing is there then."""
    admin = await writing.somebody("admin")
    network = await a_network(
        writing.database, None, "192.0.2.0/24", external=True, floating_ip_pool=True
    )
    before = await everything(writing.database)
    for path, body in (
        ("ports", {"port": {"network_id": network.uuid, "project_id": project}}),
        (
            "floatingips",
            {"floatingip": {"floating_network_id": network.uuid, "tenant_id": project}},
        ),
        ("security-groups", {"security_group": {"name": "g", "project_id": project}}),
    ):
        assert (await writing.send(admin, "POST", path, body)).status == 404, path
    assert await everything(writing.database) == before


async def test_port_is_changed_and_deleted(writing: Writing) -> None:
    """What it had is free again."""
    who = await writing.somebody()
    network = await a_network(writing.database, who, "10.0.0.0/24")
    before = await everything(writing.database)
    port = await writing.made(who, "ports", "port", network_id=network.uuid)
    path = f"ports/{port['id']}"
    group = await writing.made(who, "security-groups", "security_group", name="g")
    change = {
        "name": "new", "description": "new", "security_groups": [group["id"]],
        "fixed_ips": [{"ip_address": "10.0.0.99"}], "device_id": "", "device_owner": "",
    }  # fmt: skip
    answer = await writing.send(who, "PUT", path, {"port": change})
    assert answer.status == 200, answer.body
    changed = answer.json["port"]
    fits(changed, documents.PORT)
    assert (changed["name"], changed["security_groups"]) == ("new", [group["id"]])
    assert [each["ip_address"] for each in changed["fixed_ips"]] == ["10.0.0.99"]
    assert changed["revision_number"] > port["revision_number"]
    none = await writing.send(who, "PUT", path, {"port": {"security_groups": []}})
    assert none.json["port"]["security_groups"] == []
    answer = await writing.send(who, "DELETE", path)
    assert (answer.status, answer.body) == (204, b"")
    assert (await writing.send(who, "DELETE", path)).status == 404
    after = await everything(writing.database)
    for table in ("port", "address", "port_security_group", "floating_ip", "operation"):
        assert after[table] == before[table]


async def test_only_compute_gives_a_port_to_a_server(writing: Writing) -> None:
    """A PUT of another device is refused."""
    who = await writing.somebody()
    network = await a_network(writing.database, who, "10.0.0.0/24")
    port = await writing.made(who, "ports", "port", network_id=network.uuid)
    answer = await writing.send(who, "PUT", f"ports/{port['id']}", {"port": {"device_id": NOBODY}})
    assert answer.status == 400
    assert "os-interface" in answer.json["NeutronError"]["message"]


async def test_ports_of_others_are_not_found(writing: Writing) -> None:
    """Nor are their networks and groups something to use."""
    who, stranger = await writing.somebody(), await writing.somebody()
    network = await a_network(writing.database, who, "10.0.0.0/24")
    port = await writing.made(who, "ports", "port", network_id=network.uuid)
    group = await writing.made(who, "security-groups", "security_group", name="g")
    shared = await a_network(writing.database, None, "10.9.0.0/24", shared=True)
    before = await everything(writing.database)
    path = f"ports/{port['id']}"
    for method, target, body, fault in (
        ("PUT", path, {"port": {"name": "x"}}, "PortNotFound"),
        ("DELETE", path, None, "PortNotFound"),
        ("POST", "ports", {"port": {"network_id": network.uuid}}, "NetworkNotFound"),
        (
            "POST",
            "ports",
            {"port": {"network_id": shared.uuid, "security_groups": [group["id"]]}},
            "SecurityGroupNotFound",
        ),
    ):
        assert kind(await writing.send(stranger, method, target, body)) == (404, fault)
    assert await everything(writing.database) == before


async def test_reader_may_change_nothing(writing: Writing) -> None:
    """Whatever the method."""
    reader = await writing.somebody("reader")
    for method, path in (
        ("POST", "ports"),
        ("PUT", f"ports/{NOBODY}"),
        ("DELETE", f"ports/{NOBODY}"),
    ):
        assert (await writing.send(reader, method, path, b"{}")).status == 403


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("noun", ["port", "floatingip", "security_group", "security_group_rule"])
async def test_hostile_body_is_a_bad_request(writing: Writing, noun: str, body: bytes) -> None:
    """In a POST and in a PUT; nothing has changed."""
    who = await writing.somebody()
    path = noun.replace("_", "-") + "s"
    before = await everything(writing.database)
    text = body.replace(b"NOUN", noun.encode())
    # A name alone is a whole group.
    for method, target in (("POST", path), ("PUT", f"{path}/{NOBODY}")):
        answer = await writing.send(who, method, target, text)
        expected = (400, 404) if method == "PUT" else (400,)
        assert answer.status in expected, (method, answer.status, answer.body)
    assert await everything(writing.database) == before


@pytest.mark.parametrize("ref", ["nothing", "%00", "..", "%2e%2e%2f", "1' or '1'='1", "x" * 5000])
async def test_hostile_id_is_not_found(writing: Writing, ref: str) -> None:
    """In every path that takes one."""
    who = await writing.somebody()
    quoted = ref.replace(" ", "%20").replace("'", "%27")
    for path in ("ports", "floatingips", "security-groups", "security-group-rules"):
        answer = await writing.send(who, "DELETE", f"{path}/{quoted}")
        assert answer.status == 404, (path, answer.status)
