"""64 clients at once take what there is less of than they want, over the real application.

Each test asks for more than there is, counts who got what, gives everything back in the same
way, and recounts. Two processes share the database, and nothing may have needed a second try.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from cyclades_tx.api.network import documents
from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.testing.network_builders import a_network
from cyclades_tx.testing.shapes import misfits
from tests.api.application import (
    CLIENTS,
    Answer,
    Application,
    Somebody,
    divided,
    neutron_fault,
    together,
)

NETWORK = "/network/v2.0"
#: A /24 without its own address, the broadcast and the gateway.
IN_A_SLASH_24 = 253
full = partial(neutron_fault, status=409, kind="IpAddressGenerationFailure")
over_quota = partial(neutron_fault, status=409, kind="OverQuota")
empty_pool = partial(neutron_fault, status=503, kind="NoNetworkAvailable")


async def people(application: Application, count: int, **limits: int) -> list[Somebody]:
    """Users of so many projects."""
    return [await application.somebody(**limits) for _ in range(count)]


def fit(made: list[Any], noun: str, declared: Any) -> list[Any]:
    """What was made, each as it is declared; no id twice."""
    things = [document[noun] for document in made]
    for thing in things:
        assert misfits(thing, declared.schema()) == []
    assert len({thing["id"] for thing in things}) == len(things)
    return things


async def give_back(
    application: Application, path: str, things: list[Any], owners: list[Somebody]
) -> None:
    """Delete things, each by its owner, all at once."""
    by_project = {owner.project_id: owner for owner in owners}
    answers = await application.at_once(
        (by_project[thing["project_id"]], "DELETE", f"{NETWORK}/{path}/{thing['id']}")
        for thing in things
    )
    assert {answer.status for answer in answers} == {204}
    await application.books_are_empty()


async def test_ports_get_every_address_of_a_slash_24_once(application: Application) -> None:
    """Eight projects want 280 of 253; the rest hears that there is none, and all come back."""
    owners = await people(application, 8)
    network = await a_network(application.database, None, "10.0.0.0/24", shared=True)
    body = {"port": {"network_id": network.uuid}}
    answers = await application.at_once(
        (owners[number % 8], "POST", f"{NETWORK}/ports", body) for number in range(280)
    )
    ports = fit(divided(answers, 201, full, IN_A_SLASH_24), "port", documents.PORT)
    taken = [each["ip_address"] for port in ports for each in port["fixed_ips"]]
    assert sorted(taken) == sorted(f"10.0.0.{last}" for last in range(2, 255))
    assert len({port["mac_address"] for port in ports}) == IN_A_SLASH_24
    await application.books_are_right()
    await give_back(application, "ports", ports, owners)


async def test_one_address_that_all_want_goes_to_one(application: Application) -> None:
    """By its number; the others hear that it is in use."""
    owners = await people(application, 8)
    network = await a_network(application.database, None, "10.0.0.0/24", shared=True)
    body = {"port": {"network_id": network.uuid, "fixed_ips": [{"ip_address": "10.0.0.99"}]}}
    in_use = partial(neutron_fault, status=409, kind="IpAddressInUse")
    answers = await application.at_once(
        (owners[number % 8], "POST", f"{NETWORK}/ports", body) for number in range(CLIENTS)
    )
    ports = fit(divided(answers, 201, in_use, 1), "port", documents.PORT)
    await give_back(application, "ports", ports, owners)


async def test_addresses_that_come_and_go_are_never_with_two(application: Application) -> None:
    """64 clients want the 13 of a /28 and give them back; who gets none hears so."""
    owners = await people(application, 4)
    network = await a_network(application.database, None, "10.0.0.0/28", shared=True)
    body = {"port": {"network_id": network.uuid}}
    held: set[str] = set()
    had = 0

    async def take_and_give(number: int) -> None:
        nonlocal had
        who = owners[number % 4]
        for _ in range(4):
            answer: Answer = await application.ask(who, "POST", f"{NETWORK}/ports", body)
            if answer.status != 201:
                full(answer)
                continue
            (fixed,) = answer.json["port"]["fixed_ips"]
            assert fixed["ip_address"] not in held
            held.add(fixed["ip_address"])
            had += 1
            # It is somebody else's from the moment of the commit, before the reply.
            held.remove(fixed["ip_address"])
            path = f"{NETWORK}/ports/{answer.json['port']['id']}"
            assert (await application.ask(who, "DELETE", path)).status == 204

    await together(take_and_give(number) for number in range(CLIENTS))
    assert had >= 13
    await application.books_are_empty()


async def test_ports_on_two_tiny_networks_in_any_order_do_not_block_each_other(
    application: Application,
) -> None:
    """Bulk requests that name the same networks the other way around."""
    owners = await people(application, 8)
    networks = [
        await a_network(application.database, None, cidr, shared=True)
        for cidr in ("10.0.0.0/29", "10.0.1.0/29", "10.0.2.0/29")
    ]

    def bulk(number: int) -> Any:
        turned = networks[number % 3 :] + networks[: number % 3]
        ordered = turned if number % 2 else turned[::-1]
        return {"ports": [{"network_id": each.uuid} for each in ordered]}

    answers = await application.at_once(
        (owners[number % 8], "POST", f"{NETWORK}/ports", bulk(number)) for number in range(CLIENTS)
    )
    # Five in each network, and each request takes one of each or nothing.
    made = divided(answers, 201, full, 5)
    ports = fit(
        [{"port": port} for document in made for port in document["ports"]], "port", documents.PORT
    )
    for number, answer in enumerate(answers):
        if answer.status == 201:
            wanted = [each["network_id"] for each in bulk(number)["ports"]]
            assert [port["network_id"] for port in answer.json["ports"]] == wanted
    await give_back(application, "ports", ports, owners)


async def test_subnets_of_several_networks_in_any_order_do_not_block_each_other(
    application: Application,
) -> None:
    """Bulk requests for the same two networks and pools, which only the first of them gets."""
    owner = await application.somebody()
    await ValuePools(application.database).create("mac_prefix", "aa:00:0", 100)
    networks, pools = [], []
    for number in range(8):
        made = await application.ask(
            owner, "POST", f"{NETWORK}/networks", {"network": {"name": "n"}}
        )
        networks.append(made.json["network"]["id"])
        pool = {"name": "p", "prefixes": [f"10.{number}.0.0/16"], "default_prefixlen": 24}
        made = await application.ask(owner, "POST", f"{NETWORK}/subnetpools", {"subnetpool": pool})
        pools.append(made.json["subnetpool"]["id"])

    def bulk(number: int) -> Any:
        pair = [number % 8, (number + 3) % 8]
        wishes = [
            {"network_id": networks[each], "subnetpool_id": pools[-each], "ip_version": 4}
            for each in (pair if number % 3 else pair[::-1])
        ]
        return {"subnets": wishes}

    answers = await application.at_once(
        (owner, "POST", f"{NETWORK}/subnets", bulk(number)) for number in range(CLIENTS)
    )
    subnets = []
    for number, answer in enumerate(answers):
        if answer.status == 201:
            wanted = [each["network_id"] for each in bulk(number)["subnets"]]
            assert [subnet["network_id"] for subnet in answer.json["subnets"]] == wanted
            subnets += answer.json["subnets"]
        else:
            # A network has one subnet of a version.
            neutron_fault(answer, 400, "InvalidInput")
    assert len({subnet["network_id"] for subnet in subnets}) == len(subnets) >= 4
    assert len({subnet["cidr"] for subnet in subnets}) == len(subnets)
    await application.books_are_right()


async def test_floating_ips_end_at_the_quota(application: Application) -> None:
    """128 requests of one project's two users for 100; another project is not in their way."""
    owner = await application.somebody(floating_ip=100)
    colleague = await application.colleague(owner.project_id)
    other = await application.somebody()
    network = await a_network(
        application.database, None, "192.0.2.0/24", external=True, floating_ip_pool=True
    )
    body = {"floatingip": {"floating_network_id": network.uuid}}
    path = f"{NETWORK}/floatingips"
    askers = [other if number % 4 == 3 else (owner, colleague)[number % 2] for number in range(170)]
    answers = await application.at_once((who, "POST", path, body) for who in askers)
    of_other = [answer for who, answer in zip(askers, answers, strict=True) if who is other]
    ours = [answer for who, answer in zip(askers, answers, strict=True) if who is not other]
    assert len(ours) == 128
    made = divided(ours, 201, over_quota, 100) + divided(of_other, 201, over_quota, len(of_other))
    floating = fit(made, "floatingip", documents.FLOATING_IP)
    assert len({each["floating_ip_address"] for each in floating}) == len(floating)
    await application.books_are_right()
    await give_back(application, "floatingips", floating, [owner, other])


async def test_floating_ips_end_with_their_network(application: Application) -> None:
    """Eight projects want 64 of the 29 of a /27."""
    owners = await people(application, 8)
    network = await a_network(
        application.database, None, "192.0.2.0/27", external=True, floating_ip_pool=True
    )
    body = {"floatingip": {"floating_network_id": network.uuid}}
    answers = await application.at_once(
        (owners[number % 8], "POST", f"{NETWORK}/floatingips", body) for number in range(CLIENTS)
    )
    floating = fit(divided(answers, 201, full, 29), "floatingip", documents.FLOATING_IP)
    assert len({each["floating_ip_address"] for each in floating}) == 29
    await application.books_are_right()
    await give_back(application, "floatingips", floating, owners)


@pytest.mark.parametrize(
    ("kind", "base", "size", "members"),
    [
        ("mac_prefix", "aa:00:0", 40, {}),
        ("bridge", "prv", 30, {"provider:network_type": "vlan"}),
    ],
    ids=["prefixes", "bridges"],
)
async def test_private_networks_end_with_their_pool(
    application: Application, kind: str, base: str, size: int, members: dict[str, str]
) -> None:
    """Eight projects want twice what it has, and no two get the same."""
    owners = [await application.somebody("admin" if members else "member") for _ in range(8)]
    # Of prefixes number 0 is left to other networks.
    await ValuePools(application.database).create(kind, base, size + (kind == "mac_prefix"))
    body = {"network": {"name": "mine", **members}}
    answers = await application.at_once(
        (owners[number % 8], "POST", f"{NETWORK}/networks", body) for number in range(2 * size)
    )
    made = divided(answers, 201, empty_pool, size)
    networks = [document["network"] for document in made]
    column = "mac_prefix" if kind == "mac_prefix" else "link"
    values = [
        row.value
        for row in await application.database.all(f"select {column} as value from network")
    ]
    assert len(set(values)) == len(values) == size
    await application.books_are_right()
    await give_back(application, "networks", networks, owners)


async def test_private_networks_end_at_the_quota(application: Application) -> None:
    """128 requests for 100; what is deleted meanwhile can be had again."""
    owner = await application.somebody(private=100)
    await ValuePools(application.database).create("mac_prefix", "aa:00:0", 1000)
    body = {"network": {"name": "mine"}}
    path = f"{NETWORK}/networks"
    answers = await application.at_once((owner, "POST", path, body) for _ in range(128))
    networks = fit(divided(answers, 201, over_quota, 100), "network", documents.NETWORK)
    await application.books_are_right()
    some, rest = networks[:20], networks[20:]
    answers = await application.at_once(
        request
        for each in some
        for request in (
            (owner, "DELETE", f"{path}/{each['id']}"),
            (owner, "POST", path, {"network": {"name": "another"}}),
        )
    )
    assert [answer.status for answer in answers[::2]] == [204] * 20
    again = [answer.json["network"] for answer in answers[1::2] if answer.status == 201]
    for answer in answers[1::2]:
        if answer.status != 201:
            over_quota(answer)
    await application.books_are_right()
    await give_back(application, "networks", rest + again, [owner])
