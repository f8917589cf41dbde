"""Subnets written over the real wire: made, changed, deleted, by whom, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from cyclades_tx.api.network.documents import SUBNET
from cyclades_tx.model.who import Who
from cyclades_tx.store import addresses
from cyclades_tx.testing import builders
from cyclades_tx.testing.network_builders import a_bare_cluster
from cyclades_tx.testing.shapes import misfits
from tests.api.network.written import Writing, a_port, fault


async def a_subnet(writing: Writing, network: Any, cidr: str = "10.0.0.0/28", **wanted: Any) -> Any:
    """A subnet's document."""
    body = {"network_id": network["id"], "ip_version": 6 if ":" in cidr else 4, "cidr": cidr}
    answer = await writing.send("POST", "subnets", {"subnet": body | wanted})
    assert answer.status == 201, answer.body
    subnet = answer.json["subnet"]
    assert misfits(subnet, SUBNET.schema()) == []
    return subnet


async def right(writing: Writing, subnet: Any) -> tuple[int, int]:
    """Check the books of a subnet; what is free and what is taken."""
    subnet_id = await writing.database.value(
        "select id from subnet where uuid = %s", (subnet["id"],)
    )
    count = await addresses.recount(writing.database, subnet_id)
    assert count.right, count
    return count.free, count.taken


async def test_a_subnet_gets_a_gateway_and_a_pool_of_the_rest(writing: Writing) -> None:
    """As Neutron chooses them; the network shows it and its revision grows."""
    network = await writing.make()
    subnet = await a_subnet(writing, network, name="four")
    assert (subnet["gateway_ip"], subnet["ip_version"], subnet["enable_dhcp"]) == (
        *("10.0.0.1", 4, True),
    )
    assert subnet["allocation_pools"] == [{"start": "10.0.0.2", "end": "10.0.0.14"}]
    assert subnet["project_id"] == writing.who.project_id
    shown = (await writing.send("GET", f"networks/{network['id']}")).json["network"]
    assert shown["subnets"] == [subnet["id"]]
    assert shown["revision_number"] == network["revision_number"] + 1
    assert await right(writing, subnet) == (13, 0)


async def test_everything_about_a_subnet_is_kept(writing: Writing) -> None:
    """As it was sent, in the usual writing."""
    network = await writing.make()
    routes = [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]
    subnet = await a_subnet(
        writing,
        network,
        gateway_ip=None,
        allocation_pools=[{"start": "10.0.0.4", "end": "10.0.0.6"}],
        dns_nameservers=["9.9.9.9", "1.1.1.1"],
        host_routes=routes,
        enable_dhcp=False,
        description="d",
    )
    assert subnet["gateway_ip"] is None
    assert subnet["dns_nameservers"] == ["9.9.9.9", "1.1.1.1"]
    assert subnet["host_routes"] == routes
    assert (subnet["enable_dhcp"], subnet["description"]) == (False, "d")
    assert await right(writing, subnet) == (3, 0)


@pytest.mark.parametrize("mode", [None, "slaac", "dhcpv6-stateful", "dhcpv6-stateless"])
async def test_an_ipv6_subnet_has_its_mode(writing: Writing, mode: str | None) -> None:
    """One for both; without a word it is SLAAC, which is what the machines do."""
    network = await writing.make()
    modes = {} if mode is None else {"ipv6_ra_mode": mode, "ipv6_address_mode": mode}
    subnet = await a_subnet(writing, network, "fd00:1::/64", **modes)
    assert subnet["ipv6_ra_mode"] == subnet["ipv6_address_mode"] == (mode or "slaac")
    assert (subnet["gateway_ip"], subnet["allocation_pools"]) == ("fd00:1::1", [])


async def test_a_network_has_one_subnet_of_each_version(writing: Writing) -> None:
    """A second one is refused, by the word for what is wrong with it."""
    network = await writing.make()
    await a_subnet(writing, network)
    await a_subnet(writing, network, "fd00:1::/64")
    for cidr, word in (("10.0.0.0/24", "overlaps"), ("10.1.0.0/24", "at most one subnet of each")):
        body = {"subnet": {"network_id": network["id"], "ip_version": 4, "cidr": cidr}}
        message = fault(await writing.send("POST", "subnets", body), 400, "InvalidInput")
        assert word in message


async def test_several_subnets_are_made_at_once_or_none(writing: Writing) -> None:
    """On one network or several."""
    first, second = await writing.make(), await writing.make()
    bodies = [
        {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}
        for network in (first, second)
    ]
    answer = await writing.send("POST", "subnets", {"subnets": [*bodies, bodies[0]]})
    fault(answer, 400, "InvalidInput")
    assert await writing.database.value("select count(*) from subnet") == 0
    answer = await writing.send("POST", "subnets", {"subnets": bodies})
    assert [each["network_id"] for each in answer.json["subnets"]] == [first["id"], second["id"]]


@pytest.mark.parametrize(
    ("wanted", "status", "kind"),
    [
        ({"cidr": "10.0.0.1/24"}, 400, "HTTPBadRequest"),
        ({"cidr": "10.0.0.0/15"}, 400, "HTTPBadRequest"),
        ({"cidr": "10.0.0.0/31"}, 400, "HTTPBadRequest"),
        ({"cidr": "fd00::/64"}, 400, "InvalidInput"),
        ({"cidr": "x"}, 400, "HTTPBadRequest"),
        ({"cidr": None}, 400, "BadRequest"),
        ({"ip_version": 5}, 400, "InvalidInput"),
        ({"ip_version": 6}, 400, "InvalidInput"),
        ({"ip_version": 6, "cidr": "fd00::/48"}, 400, "HTTPBadRequest"),
        ({"gateway_ip": "10.0.1.1"}, 400, "HTTPBadRequest"),
        ({"gateway_ip": "10.0.0.255"}, 400, "HTTPBadRequest"),
        ({"gateway_ip": "first"}, 400, "InvalidInput"),
        ({"allocation_pools": [{"start": "10.0.0.1", "end": "10.0.0.9"}]}, 409,
         "GatewayConflictWithAllocationPools"),
        ({"allocation_pools": [{"start": "10.0.0.9", "end": "10.0.0.8"}]}, 409,
         "InvalidAllocationPool"),
        ({"allocation_pools": [{"start": "10.0.0.9", "end": "10.0.1.8"}]}, 409,
         "OutOfBoundsAllocationPool"),
        ({"allocation_pools": [{"start": "10.0.0.9"}]}, 400, "HTTPBadRequest"),
        ({"dns_nameservers": ["x"]}, 400, "HTTPBadRequest"),
        ({"dns_nameservers": ["9.9.9.9", "9.9.9.9"]}, 400, "InvalidInput"),
        ({"dns_nameservers": [f"9.9.9.{n}" for n in range(6)]}, 400, "DNSNameServersExhausted"),
        ({"host_routes": [{"destination": "10.9.0.0/16", "nexthop": "fd00::1"}]}, 400,
         "InvalidInput"),
        ({"host_routes": [{"destination": "x", "nexthop": "10.0.0.1"}]}, 400, "InvalidInput"),
        ({"ipv6_ra_mode": "slaac"}, 400, "InvalidInput"),
        ({"ipv6_ra_mode": "x", "ip_version": 6, "cidr": "fd00::/64"}, 400, "InvalidInput"),
        ({"ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful", "ip_version": 6,
          "cidr": "fd00::/64"}, 400, "InvalidInput"),
        ({"ipv6_ra_mode": "slaac", "enable_dhcp": False, "ip_version": 6, "cidr": "fd00::/64"},
         400, "InvalidInput"),
        ({"subnetpool_id": "x"}, 404, "SubnetPoolNotFound"),
        ({"service_types": ["x"]}, 400, "InvalidInput"),
        ({"network_id": "x"}, 404, "NetworkNotFound"),
        ({"network_id": None}, 400, "HTTPBadRequest"),
        ({"project_id": "someone"}, 403, "HTTPForbidden"),
        ({"name": "x" * 256}, 400, "HTTPBadRequest"),
        ({"unknown": 1}, 400, "HTTPBadRequest"),
    ],
    ids=range(32),
)  # fmt: skip
async def test_a_wrong_subnet_is_refused(
    writing: Writing, wanted: dict[str, Any], status: int, kind: str
) -> None:
    """With Neutron's word for it, and nothing is made."""
    network = await writing.make()
    body = {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/24"} | wanted
    fault(await writing.send("POST", "subnets", {"subnet": body}), status, kind)
    assert await writing.database.value("select count(*) from subnet") == 0


async def test_a_subnet_is_changed(writing: Writing) -> None:
    """All that can be, at once; taken addresses stay taken."""
    network = await writing.make()
    subnet = await a_subnet(writing, network)
    await a_port(writing, network["id"])
    routes = [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]
    change = {
        "name": "n",
        "description": "d",
        "gateway_ip": "10.0.0.14",
        "allocation_pools": [{"start": "10.0.0.1", "end": "10.0.0.5"}],
        "dns_nameservers": ["9.9.9.9"],
        "host_routes": routes,
        "enable_dhcp": False,
    }
    answer = await writing.send("PUT", f"subnets/{subnet['id']}", {"subnet": change})
    assert answer.status == 200, answer.body
    changed = answer.json["subnet"]
    assert {name: changed[name] for name in change} == change
    assert changed["revision_number"] == subnet["revision_number"] + 1
    assert misfits(changed, SUBNET.schema()) == []
    assert await right(writing, subnet) == (4, 1)


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"cidr": "10.1.0.0/24"}, 400, "HTTPBadRequest"),
        ({"ip_version": 6}, 400, "HTTPBadRequest"),
        ({"ipv6_ra_mode": "slaac"}, 400, "HTTPBadRequest"),
        ({"gateway_ip": "10.0.0.5"}, 409, "GatewayConflictWithAllocationPools"),
        ({"gateway_ip": "10.0.0.2"}, 409, "GatewayIpInUse"),
        ({"gateway_ip": "10.0.1.2"}, 400, "HTTPBadRequest"),
        ({"allocation_pools": [{"start": "10.0.0.1", "end": "10.0.0.5"}]}, 409,
         "GatewayConflictWithAllocationPools"),
        ({"allocation_pools": None}, 400, "HTTPBadRequest"),
        ({"name": 1}, 400, "HTTPBadRequest"),
        ({"enable_dhcp": "x"}, 400, "HTTPBadRequest"),
    ],
    ids=range(10),
)  # fmt: skip
async def test_a_wrong_change_is_refused(
    writing: Writing, change: dict[str, Any], status: int, kind: str
) -> None:
    """And nothing of it is done."""
    network = await writing.make()
    subnet = await a_subnet(writing, network)
    await a_port(writing, network["id"])
    answer = await writing.send("PUT", f"subnets/{subnet['id']}", {"subnet": change})
    fault(answer, status, kind)
    assert (await writing.send("GET", f"subnets/{subnet['id']}")).json["subnet"] == subnet
    assert await right(writing, subnet) == (12, 1)


async def test_a_subnet_in_use_stays(writing: Writing) -> None:
    """Until no port has an address of it; then its network can have another."""
    network = await writing.make()
    subnet = await a_subnet(writing, network)
    await a_port(writing, network["id"])
    fault(await writing.send("DELETE", f"subnets/{subnet['id']}"), 409, "SubnetInUse")
    await writing.database.run("update address set port_id = null")
    assert (await writing.send("DELETE", f"subnets/{subnet['id']}")).status == 204
    fault(await writing.send("GET", f"subnets/{subnet['id']}"), 404, "SubnetNotFound")
    await a_subnet(writing, network, "10.5.0.0/24")


async def test_another_projects_subnet_is_not_there(writing: Writing, stranger: Who) -> None:
    """For no method; one of a shared network is seen, but not changed."""
    network = await writing.make()
    subnet = await a_subnet(writing, network)
    path = f"subnets/{subnet['id']}"
    requests: list[tuple[str, str, Any]] = [
        ("PUT", path, {"subnet": {"name": "x"}}),
        ("DELETE", path, None),
        ("PUT", f"{path}/tags", {"tags": ["x"]}),
    ]
    for method, where, body in requests:
        fault(await writing.send(method, where, body, stranger), 404, "SubnetNotFound")
    await writing.database.run("update network set shared = true")
    for method, where, body in requests:
        fault(await writing.send(method, where, body, stranger), 403, "HTTPForbidden")
    made = {"subnet": {"network_id": network["id"], "ip_version": 6, "cidr": "fd00::/64"}}
    fault(await writing.send("POST", "subnets", made, stranger), 403, "HTTPForbidden")


async def test_subnets_have_tags(writing: Writing) -> None:
    """And lists are filtered by them."""
    network = await writing.make()
    subnet = await a_subnet(writing, network)
    answer = await writing.send("PUT", f"subnets/{subnet['id']}/tags", {"tags": ["red"]})
    assert answer.json == {"tags": ["red"]}
    listed = (await writing.send("GET", "subnets?tags=red")).json["subnets"]
    assert [(each["id"], each["tags"]) for each in listed] == [(subnet["id"], ["red"])]
    assert (await writing.send("GET", "subnets?not-tags-any=red")).json["subnets"] == []


async def test_a_network_that_stands_is_made_anew_when_nothing_is_on_it(writing: Writing) -> None:
    """With ports on it the change is refused."""
    network = await writing.make()
    cluster_id = await a_bare_cluster(writing.database)
    await writing.database.run(
        "insert into cluster_network (network_id, cluster_id, state, mac_prefix)"
        " select id, %s, 'active', 'aa:00:10' from network",
        (cluster_id,),
    )
    subnet = await a_subnet(writing, network)
    found = await writing.database.all(
        "select o.kind, o.arguments->>'round' as round, m.state from operation o"
        " join cluster_network m on m.network_id = o.network_id"
    )
    assert [tuple(each) for each in found] == [("make_network", "1", "making")]
    await a_subnet(writing, network, "fd00::/64")
    rounds = await writing.database.all("select arguments->>'round' as round from operation")
    assert [each.round for each in rounds] == ["2"]
    await a_port(writing, network["id"])
    path = f"subnets/{subnet['id']}"
    for change in ({"gateway_ip": None}, {"enable_dhcp": False}):
        fault(await writing.send("PUT", path, {"subnet": change}), 409, "NetworkInUse")
    harmless = {"subnet": {"name": "x", "dns_nameservers": ["9.9.9.9"], "enable_dhcp": True}}
    assert (await writing.send("PUT", path, harmless)).status == 200


async def test_a_reader_and_a_quota_of_another_matter_not(writing: Writing) -> None:
    """Subnets are not counted; a reader writes none."""
    network = await writing.make()
    reader = await builders.somebody(writing.database, "reader", project_id=writing.who.project_id)
    body = {"subnet": {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}}
    fault(await writing.send("POST", "subnets", body, reader), 403, "HTTPForbidden")
    assert (await writing.send("POST", "subnets", body)).status == 201


HOSTILE = [
    b"",
    b"{",
    b"null",
    b"{}",
    b'{"subnet": null}',
    b'{"subnets": {}}',
    b'{"subnets": []}',
    b'{"subnet": {"name": 1}}',
    b'{"subnet": {"name": "a\\u0000b"}}',
    b'{"subnet": {"allocation_pools": [1]}}',
    b'{"subnet": {"allocation_pools": [{"start": "x", "end": "y"}]}}',
    b'{"subnet": {"host_routes": [[]]}}',
    b'{"subnet": {"host_routes": [{"destination": "10.0.0.1/8", "nexthop": "10.0.0.1"}]}}',
    b'{"subnet": {"dns_nameservers": "9.9.9.9"}}',
    b'{"subnet": {"dns_nameservers": ["fe80::1%eth0"]}}',
    b'{"subnet": {"gateway_ip": "10.0.0.1/24"}}',
    b'{"subnet": {"gateway_ip": "fd00::1"}}',
    b'{"subnet": {"gateway_ip": 1}}',
    b'{"subnet": ' + b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"}",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
async def test_a_hostile_body_changes_nothing(writing: Writing, number: int) -> None:
    """Whatever is sent to make or to change: 400 in Neutron's shape."""
    subnet = await a_subnet(writing, await writing.make())
    path = f"subnets/{subnet['id']}"
    for method, where in (("POST", "subnets"), ("PUT", path)):
        answer = await writing.send(method, where, HOSTILE[number])
        assert answer.status == 400, (method, answer.status, answer.body)
        assert set(answer.json["NeutronError"]) == {"type", "message", "detail"}
    assert (await writing.send("GET", path)).json["subnet"] == subnet
    assert await right(writing, subnet) == (13, 0)
