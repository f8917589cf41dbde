"""Routers over the wire: kept for clients that want one, and refused an interface."""

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


async def test_router_gets_no_interface_and_says_why(writing: Writing) -> None:
    """With what to do instead."""
    who = await writing.somebody()
    made = await writing.made(who, "routers", "router", name="r")
    path = f"routers/{made['id']}/add_router_interface"
    refused = await writing.send(who, "PUT", path, {"subnet_id": NOBODY})
    assert kind(refused) == (409, "RouterInterfaceNotSupported")
    assert "floating IP needs no router" in refused.json["NeutronError"]["message"]
    gone = await writing.send(who, "PUT", path.replace("add_", "remove_"), {"port_id": NOBODY})
    assert kind(gone) == (404, "RouterInterfaceNotFoundForSubnet")
    for body in ({}, {"subnet_id": NOBODY, "port_id": NOBODY}, {"x": 1}, []):
        assert (await writing.send(who, "PUT", path, body)).status == 400


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
