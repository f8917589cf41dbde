"""Routers over the wire: made, tied to what the hosts route, and refused to all else."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.api.network import documents
from cyclades_tx.testing.network_builders import a_network
from tests.api.network.writing import HOSTILE, Writing, fits, kind

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest_twisted.async_yield_fixture
async def writing(database: Any) -> Any:
    """The service with everything that writes."""
    from twisted.internet import reactor

    service = Writing(reactor, database)
    yield service
    await service.wire.close()


async def test_router_is_tied_to_an_external_network_and_untied(writing: Writing) -> None:
    """Changed and deleted as clients do it."""
    who = await writing.somebody()
    outside = await a_network(writing.database, None, "192.0.2.0/24", external=True)
    made = await writing.made(who, "routers", "router", name="r", admin_state_up=False)
    fits(made, documents.ROUTER)
    assert (made["name"], made["external_gateway_info"]) == ("r", None)
    path = f"routers/{made['id']}"
    gateway = {"external_gateway_info": {"network_id": outside.uuid, "enable_snat": False}}
    tied = (await writing.send(who, "PUT", path, {"router": gateway})).json["router"]
    fits(tied, documents.ROUTER)
    assert tied["external_gateway_info"]["network_id"] == outside.uuid
    for nothing in ({}, None):
        body = {"router": {"external_gateway_info": nothing, "routes": []}}
        untied = (await writing.send(who, "PUT", path, body)).json["router"]
        assert untied["external_gateway_info"] is None
    assert (await writing.send(who, "DELETE", path)).status == 204
    assert (await writing.send(who, "DELETE", path)).status == 404


async def a_routed(writing: Writing, who: Any, cidr: str, **wanted: Any) -> Any:
    """A routed network of a project, and the UUID of its subnet."""
    network = await a_network(
        writing.database, None, cidr, flavor="IP_LESS_ROUTED", project_id=who.project_id, **wanted
    )
    uuid = await writing.database.value(
        "select uuid::text from subnet where network_id = %s", (network.id,)
    )
    return network, uuid


async def test_routed_subnet_is_tied_to_a_router_and_untied(writing: Writing) -> None:
    """Its interface is a port at the gateway; neither it, the router nor the subnet goes before."""
    who = await writing.somebody()
    network, subnet = await a_routed(writing, who, "10.5.0.0/24")
    made = await writing.made(who, "routers", "router", name="r")
    path = f"routers/{made['id']}"
    tied = (
        await writing.send(who, "PUT", f"{path}/add_router_interface", {"subnet_id": subnet})
    ).json
    port_id = tied["port_id"]
    assert tied == {
        "id": made["id"],
        "tenant_id": who.project_id,
        "project_id": who.project_id,
        "port_id": port_id,
        "network_id": network.uuid,
        "subnet_id": subnet,
        "subnet_ids": [subnet],
        "tags": [],
    }
    (port,) = (await writing.send(who, "GET", f"ports?device_id={made['id']}")).json["ports"]
    fits(port, documents.PORT)
    assert (port["id"], port["device_owner"]) == (port_id, "network:router_interface")
    assert port["fixed_ips"] == [{"subnet_id": subnet, "ip_address": "10.5.0.1"}]
    shown = (await writing.send(who, "GET", path)).json["router"]
    assert shown["revision_number"] == made["revision_number"] + 1
    same = {"port": {"device_id": made["id"], "name": "kept"}}
    assert (await writing.send(who, "PUT", f"ports/{port_id}", same)).status == 200
    moved = {"port": {"fixed_ips": [{"subnet_id": subnet, "ip_address": "10.5.0.9"}]}}
    for method, target, body, word in (
        ("PUT", f"{path}/add_router_interface", {"subnet_id": subnet}, (400, "BadRequest")),
        ("PUT", f"ports/{port_id}", moved, (409, "PortBound")),
        ("DELETE", f"ports/{port_id}", None, (409, "ServicePortInUse")),
        ("DELETE", path, None, (409, "RouterInUse")),
    ):
        assert kind(await writing.send(who, method, target, body)) == word, target
    body = {"subnet_id": subnet, "port_id": port_id}
    gone = await writing.send(who, "PUT", f"{path}/remove_router_interface", body)
    assert gone.json == tied
    assert (await writing.send(who, "DELETE", path)).status == 204
    kinds = [row.kind for row in await writing.database.all("select kind from event order by id")]
    assert kinds[-3:] == ["port.deleted", "router.changed", "router.deleted"]
    assert await writing.database.value("select count(*) from address") == 0


async def test_only_what_the_hosts_route_gets_an_interface(writing: Writing) -> None:
    """All else is refused, with what to do instead, and leaves nothing."""
    who, stranger = await writing.somebody(), await writing.somebody()
    made = await writing.made(who, "routers", "router", name="r")
    path = f"routers/{made['id']}/add_router_interface"
    bridged = await a_network(writing.database, who, "10.6.0.0/24", flavor="CUSTOM")
    outside = await a_network(
        writing.database, None, "192.0.2.0/24", external=True, shared=True, flavor="IP_LESS_ROUTED"
    )
    _, others = await a_routed(writing, stranger, "10.7.0.0/24", shared=True)
    _, first = await a_routed(writing, who, "10.8.0.0/24")
    _, over = await a_routed(writing, who, "10.8.0.128/25")
    subnets = {
        row.id: row.uuid
        for row in await writing.database.all(
            "select network_id as id, uuid::text from subnet where network_id in (%s, %s)",
            (bridged.id, outside.id),
        )
    }
    refused = await writing.send(who, "PUT", path, {"subnet_id": subnets[bridged.id]})
    assert kind(refused) == (409, "RouterInterfaceNotSupported")
    assert "A floating IP needs none" in refused.json["NeutronError"]["message"]
    assert (await writing.send(who, "PUT", path, {"subnet_id": first})).status == 200
    other = await writing.made(who, "routers", "router", name="second")
    port = await writing.made(who, "ports", "port", network_id=bridged.uuid)
    before = await writing.database.value("select count(*) from port")
    for target, body, word in (
        (path, {"subnet_id": subnets[outside.id]}, (403, "HTTPForbidden")),
        (path, {"subnet_id": others}, (403, "HTTPForbidden")),
        (path, {"subnet_id": over}, (400, "BadRequest")),
        (path, {"subnet_id": NOBODY}, (404, "SubnetNotFound")),
        (path, {"port_id": NOBODY}, (404, "PortNotFound")),
        (path, {"port_id": port["id"]}, (409, "RouterInterfaceNotSupported")),
        (path.replace(made["id"], other["id"]), {"subnet_id": first}, (409, "IpAddressInUse")),
        (path.replace("add_", "remove_"), {"subnet_id": over},
         (404, "RouterInterfaceNotFoundForSubnet")),
        (path.replace("add_", "remove_"), {"port_id": NOBODY}, (404, "RouterInterfaceNotFound")),
    ):  # fmt: skip
        assert kind(await writing.send(who, "PUT", target, body)) == word, body
    for body in ({}, {"subnet_id": NOBODY, "port_id": NOBODY}, {"x": 1}, [], {"subnet_id": 7}):
        assert (await writing.send(who, "PUT", path, body)).status == 400
    assert await writing.database.value("select count(*) from port") == before


async def test_floating_ip_shows_the_router_between_its_networks(writing: Writing) -> None:
    """That follows from what is tied; putting one on a port needs none."""
    who = await writing.somebody()
    outside = await a_network(
        writing.database, None, "192.0.2.0/24", external=True, floating_ip_pool=True
    )
    network, subnet = await a_routed(writing, who, "10.5.0.0/24")
    port = await writing.made(who, "ports", "port", network_id=network.uuid)
    made = await writing.made(who, "floatingips", "floatingip", floating_network_id=outside.uuid)
    await writing.database.run(
        "update floating_ip set port_id = (select id from port where uuid = %s)", (port["id"],)
    )
    gateway = {"network_id": outside.uuid}
    router = await writing.made(who, "routers", "router", external_gateway_info=gateway)
    path = f"floatingips/{made['id']}"
    assert (await writing.send(who, "GET", path)).json["floatingip"]["router_id"] is None
    tie = f"routers/{router['id']}/add_router_interface"
    assert (await writing.send(who, "PUT", tie, {"subnet_id": subnet})).status == 200
    assert (await writing.send(who, "GET", path)).json["floatingip"]["router_id"] == router["id"]
    found = (await writing.send(who, "GET", f"floatingips?router_id={router['id']}")).json
    assert [each["id"] for each in found["floatingips"]] == [made["id"]]


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"external_gateway_info": {"network_id": NOBODY}}, 404),
        ({"external_gateway_info": {"network_id": "nothing"}}, 404),
        ({"external_gateway_info": {"network_id": 7}}, 400),
        ({"routes": [{"destination": "10.0.0.0/8", "nexthop": "10.0.0.1"}]}, 400),
        ({"ha": True}, 400),
        ({"distributed": True}, 400),
        ({"project_id": "0" * 32}, 403),
        ({"name": "x" * 256}, 400),
    ],
)
async def test_wrong_wish_is_told_and_leaves_nothing(
    writing: Writing, members: dict[str, Any], status: int
) -> None:
    """No router is there then; a private network is no gateway either."""
    who = await writing.somebody()
    inside = await a_network(writing.database, who, "10.0.0.0/24")
    answer = await writing.send(who, "POST", "routers", {"router": members})
    assert answer.status == status
    private = {"router": {"external_gateway_info": {"network_id": inside.uuid}}}
    assert (await writing.send(who, "POST", "routers", private)).status == 400
    assert await writing.database.value("select count(*) from router") == 0


async def test_routers_of_others_are_not_found(writing: Writing) -> None:
    """By no method."""
    who, stranger = await writing.somebody(), await writing.somebody()
    made = await writing.made(who, "routers", "router", name="r")
    path = f"routers/{made['id']}"
    for method, target, body in (
        ("GET", path, None),
        ("PUT", path, {"router": {"name": "x"}}),
        ("DELETE", path, None),
        ("PUT", f"{path}/add_router_interface", {"subnet_id": NOBODY}),
        ("PUT", f"{path}/remove_router_interface", {"subnet_id": NOBODY}),
    ):
        answer = await writing.send(stranger, method, target, body)
        assert kind(answer)[0] == 404, (method, target)
    assert (await writing.send(who, "GET", path)).json["router"]["name"] == "r"


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_body_is_a_bad_request(writing: Writing, body: bytes) -> None:
    """A router of nothing but an empty object is one; all else is refused."""
    who = await writing.somebody()
    text = body.replace(b"NOUN", b"router")
    for method, path in (("POST", "routers"), ("PUT", f"routers/{NOBODY}")):
        answer = await writing.send(who, method, path, text)
        assert answer.status in ((400, 404) if method == "PUT" else (400,)), answer.body
    assert await writing.database.value("select count(*) from router") == 0
