"""Floating IPs over the wire: reserved, described, refused, given back."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.api.network import documents
from cyclades_tx.model.quota import FLOATING_IP
from cyclades_tx.testing import builders
from cyclades_tx.testing.network_builders import a_network
from tests.api.network.writing import Writing, everything, fits, kind

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest_twisted.async_yield_fixture
async def writing(database: Any) -> Any:
    """The service with everything that writes."""
    from twisted.internet import reactor

    service = Writing(reactor, database)
    yield service
    await service.wire.close()


async def outside(writing: Writing, cidr: str = "192.0.2.0/24") -> Any:
    """An external network that gives floating IPs."""
    return await a_network(writing.database, None, cidr, external=True, floating_ip_pool=True)


async def test_reserved_address_is_shown_described_and_given_back(writing: Writing) -> None:
    """Afterwards everything is as before."""
    who = await writing.somebody()
    network = await outside(writing)
    before = await everything(writing.database)
    made = await writing.made(
        who, "floatingips", "floatingip", floating_network_id=network.uuid, description="d"
    )
    fits(made, documents.FLOATING_IP)
    assert (made["status"], made["port_id"], made["description"]) == ("DOWN", None, "d")
    assert made["floating_ip_address"].startswith("192.0.2.")
    path = f"floatingips/{made['id']}"
    changed = await writing.send(who, "PUT", path, {"floatingip": {"description": "e"}})
    assert (changed.status, changed.json["floatingip"]["description"]) == (200, "e")
    none = await writing.send(who, "PUT", path, {"floatingip": {"port_id": None}})
    assert (none.status, none.json["floatingip"]["port_id"]) == (200, None)
    assert (await writing.send(who, "DELETE", path)).status == 204
    assert (await writing.send(who, "GET", path)).status == 404
    after = await everything(writing.database)
    for table in ("address", "floating_ip", "port", "holding"):
        assert after[table] == before[table]


async def test_limit_is_a_conflict_of_its_own_type(writing: Writing) -> None:
    """As Network says it: 409 OverQuota."""
    who = await writing.somebody()
    network = await outside(writing)
    await builders.a_holding(writing.database, who.project_id or "", FLOATING_IP, 0)
    body = {"floatingip": {"floating_network_id": network.uuid}}
    before = await everything(writing.database)
    assert kind(await writing.send(who, "POST", "floatingips", body)) == (409, "OverQuota")
    assert await everything(writing.database) == before


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"floating_network_id": NOBODY}, 404),
        ({"floating_network_id": "nothing"}, 404),
        ({"floating_network_id": None}, 400),
        ({"subnet_id": NOBODY}, 404),
        ({"subnet_id": "nothing"}, 404),
        ({"port_id": NOBODY}, 404),
        ({"port_id": "nothing"}, 404),
        ({"fixed_ip_address": "10.0.0.5"}, 400),
        ({"floating_ip_address": "192.0.2.9"}, 403),
        ({"project_id": "0" * 32}, 403),
        ({"description": "x" * 256}, 400),
        ({"dns_name": "x"}, 400),
    ],
)
async def test_wrong_wish_is_told_and_leaves_nothing(
    writing: Writing, members: dict[str, Any], status: int
) -> None:
    """No address and no quota is gone."""
    who = await writing.somebody()
    network = await outside(writing)
    before = await everything(writing.database)
    wanted = {"floatingip": {"floating_network_id": network.uuid, **members}}
    assert (await writing.send(who, "POST", "floatingips", wanted)).status == status
    assert await everything(writing.database) == before


async def test_private_network_gives_none(writing: Writing) -> None:
    """With the words that clients show."""
    who = await writing.somebody()
    network = await a_network(writing.database, who, "10.0.0.0/24")
    body = {"floatingip": {"floating_network_id": network.uuid}}
    answer = await writing.send(who, "POST", "floatingips", body)
    assert kind(answer) == (400, "BadRequest")
    assert "not a valid external network" in answer.json["NeutronError"]["message"]


async def test_full_network_is_a_conflict(writing: Writing) -> None:
    """And takes nothing of the quota."""
    who = await writing.somebody()
    network = await outside(writing, "192.0.2.0/30")
    body = {"floatingip": {"floating_network_id": network.uuid}}
    assert (await writing.send(who, "POST", "floatingips", body)).status == 201
    before = await everything(writing.database)
    answer = await writing.send(who, "POST", "floatingips", body)
    assert kind(answer) == (409, "IpAddressGenerationFailure")
    assert await everything(writing.database) == before


async def test_floating_ips_of_others_are_not_found(writing: Writing) -> None:
    """By no method, and nothing has changed."""
    who, stranger = await writing.somebody(), await writing.somebody()
    network = await outside(writing)
    made = await writing.made(who, "floatingips", "floatingip", floating_network_id=network.uuid)
    before = await everything(writing.database)
    path = f"floatingips/{made['id']}"
    for method, body in (
        ("GET", None),
        ("PUT", {"floatingip": {"description": "x"}}),
        ("PUT", {"floatingip": {"port_id": None}}),
        ("DELETE", None),
    ):
        answer = await writing.send(stranger, method, path, body)
        assert kind(answer) == (404, "FloatingIPNotFound"), method
    assert await everything(writing.database) == before
