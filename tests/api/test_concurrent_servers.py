"""64 clients at once make and delete servers, over the real application on one database."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from cyclades_tx.api.compute import documents
from cyclades_tx.store import quotas
from cyclades_tx.testing import builders
from cyclades_tx.testing.network_builders import a_network
from cyclades_tx.testing.shapes import misfits
from tests.api.application import (
    CLIENTS,
    Answer,
    Application,
    Somebody,
    divided,
    nova_fault,
    together,
)

SERVERS = "/compute/v2.1/servers"
forbidden = partial(nova_fault, status=403, kind="forbidden")
conflict = partial(nova_fault, status=409, kind="conflictingRequest")


class Site:
    """What servers need: a cluster, a flavor, an image, networks."""

    def __init__(self, flavor: str, image: str, networks: list[str]) -> None:
        self._flavor = flavor
        self._image = image
        self.networks = networks

    def body(self, networks: list[str], **members: Any) -> Any:
        """A request for a server."""
        return {
            "server": {
                "name": "s",
                "flavorRef": self._flavor,
                "imageRef": self._image,
                "networks": [{"uuid": each} for each in networks],
                **members,
            }
        }


async def a_site(application: Application, *cidrs: str) -> Site:
    """A cluster that nobody drives, with shared networks."""
    database = application.database
    flavor = await builders.a_flavor(database, vcpus=2)
    image = await builders.an_image(database)
    cluster = await builders.a_cluster(database)
    networks = []
    for cidr in cidrs:
        row = await a_network(database, None, cidr, shared=True)
        networks.append(str(row.uuid))
    await database.run("delete from operation where network_id is not null")
    await database.run(
        "insert into cluster_network (network_id, cluster_id, state, mac_prefix)"
        " select id, %s, 'active', 'aa:00:00' from network"
        " on conflict (network_id, cluster_id) do update set state = 'active'",
        (cluster.id,),
    )
    return Site(flavor.uuid, image.uuid, networks)


async def delete_all(application: Application, made: list[tuple[Somebody, str]]) -> None:
    """Delete servers, all at once; nothing of them was sent yet, so they are gone."""
    answers = await application.at_once((who, "DELETE", f"{SERVERS}/{uuid}") for who, uuid in made)
    assert {answer.status for answer in answers} <= {204}
    assert (
        await application.database.value("select count(*) from server where deleted_at is null")
        == 0
    )
    assert (
        await application.database.value("select count(*) from operation where finished_at is null")
        == 0
    )
    assert (
        await application.database.value("select count(*) from volume where deleted_at is null")
        == 0
    )
    await application.books_are_empty()


async def test_servers_end_at_the_quota(application: Application) -> None:
    """128 requests of two users for 100; all are shown, all are deleted at once."""
    site = await a_site(application, "10.0.0.0/24")
    owner = await application.somebody(vm=100)
    askers = [owner, await application.colleague(owner.project_id)]
    body = site.body(site.networks)
    answers = await application.at_once(
        (askers[number % 2], "POST", SERVERS, body) for number in range(128)
    )
    made = [document["server"]["id"] for document in divided(answers, 202, forbidden, 100)]
    assert len(set(made)) == 100
    await application.books_are_right()
    listed = (await application.ask(owner, "GET", f"{SERVERS}/detail")).json["servers"]
    assert {server["id"] for server in listed} == set(made)
    schema = documents.SERVER_DETAIL.schema(96)
    assert [misfits(server, schema) for server in listed] == [[]] * 100
    shown = [
        entry["addr"] for server in listed for entry in next(iter(server["addresses"].values()))
    ]
    assert len(set(shown)) == len(shown) == 100
    await delete_all(application, [(owner, uuid) for uuid in made])


async def test_cores_end_at_the_quota_whoever_asks_for_several(application: Application) -> None:
    """Three servers of two cores or none: eight of sixteen requests have room in 50 cores."""
    site = await a_site(application, "10.0.0.0/24")
    owner = await application.somebody(cpu=50)
    body = site.body(site.networks, min_count=3, max_count=3, return_reservation_id=True)
    answers = await application.at_once((owner, "POST", SERVERS, body) for _ in range(16))
    divided(answers, 202, forbidden, 8)
    used = await application.database.value(
        "select used + reserved from holding where project_id = %s and resource = 'cyclades.cpu'",
        (owner.project_id,),
    )
    servers = (await application.ask(owner, "GET", SERVERS)).json["servers"]
    assert (used, len(servers)) == (48, 24)
    await application.books_are_right()
    await delete_all(application, [(owner, server["id"]) for server in servers])


async def test_servers_end_with_the_addresses(application: Application) -> None:
    """Eight projects want 64 servers on the 29 addresses of a /27; the rest costs nothing."""
    site = await a_site(application, "10.0.0.0/27")
    owners = [await application.somebody() for _ in range(8)]
    askers = [owners[number % 8] for number in range(CLIENTS)]
    body = site.body(site.networks)
    answers = await application.at_once((who, "POST", SERVERS, body) for who in askers)
    divided(answers, 202, conflict, 29)
    assert await application.database.value("select count(*) from server") == 29
    await application.books_are_right()
    made = [
        (who, answer.json["server"]["id"])
        for who, answer in zip(askers, answers, strict=True)
        if answer.status == 202
    ]
    await delete_all(application, made)


async def test_servers_with_networks_in_any_order_come_and_go(application: Application) -> None:
    """Few addresses, every order of three networks: nobody waits for who waits for him."""
    site = await a_site(application, "10.0.0.0/29", "10.0.1.0/29", "10.0.2.0/28")
    owners = [await application.somebody() for _ in range(6)]
    orders = [list(order) for order in itertools.permutations(site.networks)]
    made = 0

    async def come_and_go(number: int) -> None:
        nonlocal made
        who = owners[number % 6]
        for turn in range(2):
            body = site.body(orders[(number + turn) % 6])
            answer: Answer = await application.ask(who, "POST", SERVERS, body)
            if answer.status != 202:
                conflict(answer)
                continue
            made += 1
            path = f"{SERVERS}/{answer.json['server']['id']}"
            # Twice at once: one of them may find nothing any more.
            gone = await together(application.ask(who, "DELETE", path) for _ in range(2))
            assert {each.status for each in gone} <= {204, 404}
            assert 204 in {each.status for each in gone}

    await together(come_and_go(number) for number in range(CLIENTS))
    assert made >= 5
    await delete_all(application, [])


async def test_busy_project_leaves_connections_to_the_others(application: Application) -> None:
    """While 64 changes wait for what their project holds, another project is answered."""
    site = await a_site(application, "10.0.0.0/24")
    owner, other = await application.somebody(), await application.somebody()
    outside = await a_network(
        application.database, None, "192.0.2.0/24", external=True, floating_ip_pool=True
    )
    body = site.body(site.networks)
    made = await application.at_once((owner, "POST", SERVERS, body) for _ in range(8))
    server = f"{SERVERS}/{made[0].json['server']['id']}"
    floating = {"floatingip": {"floating_network_id": str(outside.uuid)}}
    kinds: list[tuple[str, str, Any]] = [
        ("POST", f"{server}/action", {"os-stop": None}),
        ("POST", f"{server}/action", {"lock": None}),
        ("POST", f"{server}/action", {"resize": {"flavorRef": "x"}}),
        ("PUT", f"{server}/metadata", {"metadata": {"a": "b"}}),
        ("PUT", f"{server}/tags/x", None),
        ("PUT", server, {"server": {"name": "other"}}),
        ("POST", f"{server}/os-interface", {}),
        ("POST", SERVERS, body),
        ("POST", "/network/v2.0/floatingips", floating),
    ]
    gate: Deferred[None] = Deferred()
    locked: Deferred[None] = Deferred()

    async def hold(tx: Any) -> None:
        await quotas.lock(tx, owner.project_id)
        locked.callback(None)
        await gate

    holding = Deferred.fromCoroutine(application.database.transaction(hold))
    await locked
    waiting = [
        Deferred.fromCoroutine(application.ask(owner, *kinds[number % len(kinds)]))
        for number in range(CLIENTS)
    ]
    try:
        for _ in range(4):
            answer = await application.ask(other, "POST", SERVERS, body)
            assert answer.status == 202
            answer = await application.ask(owner, "GET", server)
            assert answer.status == 200
        assert not any(each.called for each in waiting)
    finally:
        gate.callback(None)
        answers = [await each for each in waiting]
        await holding
    assert {answer.status for answer in answers} <= {200, 201, 202, 204, 400, 409}
    await application.books_are_right()
