"""Subnet pools over the wire: made, changed, cut into subnets, and how full networks are."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.api.network.documents import AVAILABILITY, SUBNET, SUBNET_POOL
from cyclades_tx.model.who import Who
from cyclades_tx.testing.shapes import misfits
from tests.api.network.writing import HOSTILE
from tests.api.network.written import Writing, a_port, fault

NOBODY = "00000000-0000-4000-8000-000000000000"


async def a_pool(writing: Writing, who: Who | None = None, **wanted: Any) -> Any:
    """A pool's document."""
    body = {"name": "p", "prefixes": ["10.0.0.0/16"], "default_prefixlen": 24} | wanted
    answer = await writing.send("POST", "subnetpools", {"subnetpool": body}, who)
    assert answer.status == 201, answer.body
    pool = answer.json["subnetpool"]
    assert misfits(pool, SUBNET_POOL.schema()) == []
    return pool


async def cut(writing: Writing, network: Any, who: Who | None = None, **wanted: Any) -> Any:
    """The reply to a wish for a subnet of a pool."""
    body = {"network_id": network["id"], "ip_version": 4} | wanted
    return await writing.send("POST", "subnets", {"subnet": body}, who)


async def free(writing: Writing) -> list[str]:
    """What of all pools is free, in order."""
    rows = await writing.database.all(
        "select prefix::text from subnet_pool_free order by prefix, subnet_pool_id"
    )
    return [row.prefix for row in rows]


async def test_a_pool_is_made_with_what_a_cluster_can_have(writing: Writing) -> None:
    """Prefixes as few as possible; numbers may be texts, as the command line sends them."""
    pool = await a_pool(
        writing,
        prefixes=["10.1.0.0/16", "10.0.0.0/16"],
        default_prefixlen="26",
        default_quota=512,
        description="d",
    )
    assert pool["prefixes"] == ["10.0.0.0/15"]
    lengths = [pool[f"{word}_prefixlen"] for word in ("min", "default", "max")]
    assert (lengths, pool["default_quota"], pool["ip_version"]) == ([16, 26, 30], 512, 4)
    assert (pool["shared"], pool["is_default"], pool["address_scope_id"]) == (False, False, None)
    assert await free(writing) == ["10.0.0.0/15"]
    six = await a_pool(writing, prefixes=["fd00::/48"], default_prefixlen=None)
    assert (six["ip_version"], six["default_prefixlen"]) == (6, 64)


async def test_subnets_are_cut_from_a_pool_and_given_back(writing: Writing) -> None:
    """Of the default length, another one, or just this one; with the network too."""
    pool = await a_pool(writing)
    networks = [await writing.make() for _ in range(3)]
    ref = {"subnetpool_id": pool["id"]}
    wanted: tuple[dict[str, Any], ...] = ({}, {"prefixlen": 30}, {"cidr": "10.0.200.0/24"})
    made = []
    for network, more in zip(networks, wanted, strict=True):
        answer = await cut(writing, network, **ref, **more)
        assert answer.status == 201, answer.body
        made.append(answer.json["subnet"])
        assert misfits(made[-1], SUBNET.schema()) == []
    assert [each["cidr"] for each in made] == ["10.0.0.0/24", "10.0.1.0/30", "10.0.200.0/24"]
    assert {each["subnetpool_id"] for each in made} == {pool["id"]}
    found = await writing.send("GET", f"subnets?subnetpool_id={pool['id']}&fields=id")
    assert [each["id"] for each in found.json["subnets"]] == [each["id"] for each in made]
    taken = await cut(writing, await writing.make(), **ref, cidr="10.0.0.0/25")
    fault(taken, 409, "SubnetAllocationError")
    fault(await writing.send("DELETE", f"subnetpools/{pool['id']}"), 400, "SubnetPoolDeleteError")
    assert (await writing.send("DELETE", f"subnets/{made[0]['id']}")).status == 204
    for network in networks[1:]:
        assert (await writing.send("DELETE", f"networks/{network['id']}")).status == 204
    assert await free(writing) == ["10.0.0.0/16"]
    assert (await writing.send("DELETE", f"subnetpools/{pool['id']}")).status == 204
    kinds = [row.kind for row in await writing.database.all("select kind from event order by id")]
    assert kinds.count("subnet.deleted") == 3
    assert kinds[-1] == "subnet_pool.deleted"


async def test_an_ipv6_subnet_is_cut_from_the_default_pool(writing: Writing, admin: Who) -> None:
    """Which everybody may use, and only an administrator makes; one for each version."""
    network = await writing.make()
    none = await cut(writing, network, ip_version=6, use_default_subnetpool=True)
    assert "No default subnetpool" in fault(none, 400, "BadRequest")
    wish = {"name": "six", "prefixes": ["fd00::/62"], "is_default": True}
    refused = await writing.send("POST", "subnetpools", {"subnetpool": wish})
    fault(refused, 403, "HTTPForbidden")
    pool = await a_pool(writing, admin, **wish, default_prefixlen=64)
    answer = await cut(writing, network, ip_version=6, use_default_subnetpool=True)
    subnet = answer.json["subnet"]
    assert (subnet["cidr"], subnet["subnetpool_id"]) == ("fd00::/64", pool["id"])
    assert subnet["ipv6_address_mode"] == "slaac"
    second = await writing.send("POST", "subnetpools", {"subnetpool": wish}, admin)
    assert "default subnetpool" in fault(second, 400, "InvalidInput")
    four = await a_pool(writing, admin)
    change = {"subnetpool": {"is_default": True}}
    assert (await writing.send("PUT", f"subnetpools/{four['id']}", change, admin)).status == 200


@pytest.mark.parametrize(
    ("wanted", "status", "kind"),
    [
        ({"prefixlen": 15}, 400, "MinPrefixSubnetAllocationError"),
        ({"prefixlen": 29}, 400, "MaxPrefixSubnetAllocationError"),
        ({"prefixlen": "x"}, 400, "InvalidInput"),
        ({"prefixlen": 24, "cidr": "10.0.0.0/24"}, 400, "HTTPBadRequest"),
        ({"cidr": "192.168.0.0/24"}, 409, "SubnetAllocationError"),
        ({"cidr": "10.0.0.1/24"}, 400, "HTTPBadRequest"),
        ({"ip_version": 6}, 400, "InvalidInput"),
        ({"ip_version": 6, "cidr": "fd00::/64"}, 400, "InvalidInput"),
        ({"use_default_subnetpool": True}, 400, "HTTPBadRequest"),
        ({"subnetpool_id": NOBODY}, 404, "SubnetPoolNotFound"),
        ({"subnetpool_id": None, "prefixlen": 24}, 400, "BadRequest"),
        ({"prefixlen": 28, "gateway_ip": "10.1.0.1"}, 400, "HTTPBadRequest"),
        ({"network_id": NOBODY}, 404, "NetworkNotFound"),
    ],
    ids=range(13),
)
async def test_a_subnet_that_a_pool_cannot_give_is_refused(
    writing: Writing, wanted: dict[str, Any], status: int, kind: str
) -> None:
    """With Neutron's word for it; nothing is taken from the pool."""
    pool = await a_pool(writing, max_prefixlen=28)
    network = await writing.make()
    body = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": pool["id"]} | wanted
    fault(await writing.send("POST", "subnets", {"subnet": body}), status, kind)
    assert await free(writing) == ["10.0.0.0/16"]
    assert await writing.database.value("select count(*) from subnet") == 0


async def test_a_project_may_have_so_much_of_a_pool(
    writing: Writing, admin: Who, stranger: Who
) -> None:
    """Another project has its own; a change of the limit counts at once."""
    pool = await a_pool(writing, admin, shared=True, default_quota=300)
    ref = {"subnetpool_id": pool["id"]}
    assert (await cut(writing, await writing.make(), **ref)).status == 201
    again = await writing.make()
    fault(await cut(writing, again, **ref), 409, "SubnetPoolQuotaExceeded")
    assert (await cut(writing, again, **ref, prefixlen=27)).status == 201
    theirs = await writing.make(stranger)
    assert (await cut(writing, theirs, stranger, **ref)).status == 201
    change = {"subnetpool": {"default_quota": None}}
    assert (await writing.send("PUT", f"subnetpools/{pool['id']}", change, admin)).status == 200
    assert (await cut(writing, await writing.make(), **ref)).status == 201


async def test_many_at_once_never_get_the_same(writing: Writing) -> None:
    """Ten want one of the four that a pool has: four get one, the others are told."""
    pool = await a_pool(writing, prefixes=["10.0.0.0/24"], default_prefixlen=26)
    networks = [await writing.make() for _ in range(10)]
    answers = await gatherResults(
        [
            Deferred.fromCoroutine(cut(writing, network, subnetpool_id=pool["id"]))
            for network in networks
        ]
    )
    made = [answer.json["subnet"]["cidr"] for answer in answers if answer.status == 201]
    assert sorted(made) == [f"10.0.0.{n}/26" for n in (0, 128, 192, 64)]
    for answer in answers:
        if answer.status != 201:
            fault(answer, 409, "SubnetAllocationError")
    for network in networks:
        await writing.send("DELETE", f"networks/{network['id']}")
    assert await free(writing) == ["10.0.0.0/24"]


async def test_a_pool_is_changed_and_only_grows(writing: Writing) -> None:
    """What is new is free, what is cut stays; a prefix cannot leave."""
    pool = await a_pool(writing, prefixes=["10.0.0.0/24"])
    network = await writing.make()
    assert (await cut(writing, network, subnetpool_id=pool["id"])).status == 201
    path = f"subnetpools/{pool['id']}"
    grown = {"subnetpool": {"prefixes": ["10.0.0.0/23"], "name": "n", "default_prefixlen": 25}}
    changed = (await writing.send("PUT", path, grown)).json["subnetpool"]
    assert misfits(changed, SUBNET_POOL.schema()) == []
    assert (changed["prefixes"], changed["name"]) == (["10.0.0.0/23"], "n")
    assert changed["revision_number"] == pool["revision_number"] + 1
    assert await free(writing) == ["10.0.1.0/24"]
    for members, word in (
        ({"prefixes": ["10.0.0.0/24"]}, "IllegalSubnetPoolUpdate"),
        ({"prefixes": []}, "InvalidInput"),
        ({"prefixes": ["fd00::/48"]}, "IllegalSubnetPoolUpdate"),
        ({"min_prefixlen": 26}, "IllegalSubnetPoolPrefixBounds"),
        ({"default_quota": -1}, "InvalidInput"),
        ({"address_scope_id": NOBODY}, "InvalidInput"),
        ({"shared": True}, "HTTPBadRequest"),
        ({"name": "x" * 256}, "InvalidInput"),
    ):
        fault(await writing.send("PUT", path, {"subnetpool": members}), 400, word)
    stale = await writing.send(
        "PUT", path, {"subnetpool": {"name": "x"}}, If_Match="revision_number=1"
    )
    fault(stale, 412, "RevisionNumberConstraintFailed")


async def test_several_pools_are_made_at_once_or_none(writing: Writing) -> None:
    """All or nothing."""
    good = {"name": "a", "prefixes": ["10.0.0.0/16"]}
    bad = {"name": "b", "prefixes": ["x"]}
    answer = await writing.send("POST", "subnetpools", {"subnetpools": [good, bad]})
    fault(answer, 400, "InvalidInput")
    assert await writing.database.value("select count(*) from subnet_pool") == 0
    answer = await writing.send("POST", "subnetpools", {"subnetpools": [good, good]})
    assert len(answer.json["subnetpools"]) == 2


async def test_pools_of_others_are_not_found(writing: Writing, admin: Who, stranger: Who) -> None:
    """By no method; a shared one is seen and used, and changed by nobody else."""
    own = await a_pool(writing)
    path = f"subnetpools/{own['id']}"
    change = {"subnetpool": {"name": "x"}}
    network = await writing.make(stranger)
    for method, body in (("GET", None), ("PUT", change), ("DELETE", None)):
        fault(await writing.send(method, path, body, stranger), 404, "SubnetPoolNotFound")
    taken = await cut(writing, network, stranger, subnetpool_id=own["id"])
    fault(taken, 404, "SubnetPoolNotFound")
    shared = await a_pool(writing, admin, shared=True)
    path = f"subnetpools/{shared['id']}"
    assert (await writing.send("GET", path, None, stranger)).status == 200
    for method, body in (("PUT", change), ("DELETE", None)):
        fault(await writing.send(method, path, body, stranger), 404, "SubnetPoolNotFound")
    assert (await cut(writing, network, stranger, subnetpool_id=shared["id"])).status == 201


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_body_is_a_bad_request(writing: Writing, body: bytes) -> None:
    """And makes nothing."""
    text = body.replace(b"NOUN", b"subnetpool")
    for method, path in (("POST", "subnetpools"), ("PUT", f"subnetpools/{NOBODY}")):
        answer = await writing.send(method, path, text)
        assert answer.status in ((400, 404) if method == "PUT" else (400,)), answer.body
    assert await writing.database.value("select count(*) from subnet_pool") == 0


async def test_how_full_networks_are(writing: Writing, admin: Who, stranger: Who) -> None:
    """The owner and administrators see it, by subnet; it can be read only."""
    network = await writing.make(name="n")
    for version, cidr in ((4, "10.0.0.0/29"), (6, "fd00::/64")):
        assert (await cut(writing, network, ip_version=version, cidr=cidr)).status == 201
    await a_port(writing, network["id"])
    path = "network-ip-availabilities"
    for who in (writing.who, admin):
        listed = (await writing.send("GET", f"{path}?ip_version=6", None, who)).json
        (found,) = listed["network_ip_availabilities"]
        assert misfits(found, AVAILABILITY.schema()) == []
        parts = [
            (each["ip_version"], each["total_ips"], each["used_ips"])
            for each in found["subnet_ip_availability"]
        ]
        assert parts == [(4, 5, 1), (6, 2**64, 1)]
        assert (found["total_ips"], found["used_ips"]) == (2**64 + 5, 2)
        alone = (await writing.send("GET", f"{path}/{network['id']}", None, who)).json
        assert alone == {"network_ip_availability": found}
    assert (await writing.send("GET", path, None, stranger)).json == {
        "network_ip_availabilities": []
    }
    missing = await writing.send("GET", f"{path}/{network['id']}", None, stranger)
    fault(missing, 404, "NetworkNotFound")
    for method, target in (("POST", path), ("PUT", f"{path}/x"), ("DELETE", f"{path}/x")):
        assert (await writing.send(method, target, {})).status == 405
