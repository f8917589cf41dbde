"""Rules of security groups as firewall tags at simulated clusters."""

from __future__ import annotations

from typing import Any

import pytest_twisted

from cyclades_tx.flows.floating_ips import WantedFloatingIp
from cyclades_tx.flows.interfaces import WantedInterface
from cyclades_tx.flows.networks import WantedNetwork
from cyclades_tx.flows.ports import WantedPort
from cyclades_tx.flows.security_groups import WantedGroup, WantedRule
from cyclades_tx.flows.subnets import WantedSubnet
from cyclades_tx.ganeti.simulator.behaviors import Misbehavior
from cyclades_tx.model.firewall import MOST_TRIES
from cyclades_tx.model.firewall_rule import RuleWords
from cyclades_tx.store import firewalls
from tests.loops.cloud import Cloud


@pytest_twisted.async_fixture
async def walled(make_cloud: Any) -> Cloud:
    """A driven cloud whose site says what it lets in, a second network, and a closed group."""
    cloud: Cloud = make_cloud(ganeti={"firewall_limited": ["icmp", "tcp/22"]})
    await cloud.equip()
    await cloud.database.run("update cluster set hotplug = true")
    await cloud.drive()
    cloud.second = await cloud.a_network("10.2.0.0/24")  # type: ignore[attr-defined]
    (cloud.closed,) = await cloud.world.security_groups.create(  # type: ignore[attr-defined]
        cloud.who, [WantedGroup("closed")]
    )
    await cloud.settled()
    return cloud


async def let_in(cloud: Any, protocol: str, port: int | None = None) -> str:
    """Add a rule to the closed group; its UUID."""
    words = RuleWords("ingress", "IPv4", protocol, port, port)
    (uuid,) = await cloud.world.security_groups.create_rules(
        cloud.who, [WantedRule(cloud.closed, words)]
    )
    return str(uuid)


async def a_closed_port(cloud: Any) -> str:
    """A port in the closed group that no server has."""
    wanted = WantedPort(cloud.second, security_groups=(cloud.closed,))
    (uuid,) = await cloud.world.ports.create(cloud.who, [wanted])
    return str(uuid)


async def words(cloud: Cloud, server: str) -> dict[int, str]:
    """The word of each interface's tag at the cluster, by the port's id."""
    instance = cloud.ganeti.instances[cloud.instance(await cloud.row(server))]
    split = [tag.split(":") for tag in instance.tags if tag.startswith("synnefo:network:")]
    return {cloud.world.names.port_id(parts[2]) or 0: parts[3] for parts in split}


async def profiles(cloud: Cloud, server: str) -> dict[int, str | None]:
    """What the ports of a server show."""
    rows = await cloud.database.all(
        "select p.id, p.firewall_profile as profile from port p join server s on"
        " s.id = p.server_id where s.uuid = %s order by p.id",
        (server,),
    )
    return {row.id: row.profile for row in rows}


async def walls(cloud: Cloud, server: str) -> list[str | None]:
    """The words of a server's ports in order, when all has come to rest and records are right."""

    async def quiet() -> bool:
        return not await cloud.database.value(
            "select exists (select from firewall_wish)"
            " or exists (select from operation where finished_at is null)"
        )

    await cloud.until(quiet, "no wish is left")
    shown, there = await profiles(cloud, server), await words(cloud, server)
    meant = {"protected": "ENABLED", "limited": "PROTECTED", None: None}
    assert {port: meant[there.get(port)] for port in shown} == shown
    assert not there.keys() - shown.keys(), "a tag of nobody's is left"
    return [there.get(port) for port in shown]


async def kinds(cloud: Cloud, server: str) -> list[str]:
    """The kinds of a server's operations."""
    return [row.kind for row in await cloud.operations(server)]


async def test_new_server_has_the_tags_of_its_groups(walled: Any) -> None:
    """From its creation on; members of the default group send each other anything."""
    closed = await walled.active("a", security_groups=(walled.closed,))
    default = await walled.active("b")
    assert await walls(walled, closed) == ["protected"]
    assert await walls(walled, default) == [None]
    assert await kinds(walled, closed) == ["create"], "no job of its own"


async def test_changed_rules_change_the_tags_of_every_server(walled: Any) -> None:
    """Only where something else is let in, and at a stopped one too."""
    servers = [await walled.active(name, security_groups=(walled.closed,)) for name in ("a", "b")]
    await walled.world.servers.stop(walled.who, servers[1], "req-stop")
    await walled.settled()
    steps: list[Any] = []
    ssh = await let_in(walled, "tcp", 22)
    steps.append([await walls(walled, each) for each in servers])
    ping = await let_in(walled, "icmp")
    steps.append([await walls(walled, each) for each in servers])
    web = await let_in(walled, "tcp", 80)
    steps.append([await walls(walled, each) for each in servers])
    for rule in (web, ssh, ping):
        await walled.world.security_groups.delete_rule(walled.who, rule)
        steps.append([await walls(walled, each) for each in servers])
    assert steps == [[[word], [word]] for word in
                     ("limited", "limited", None, "limited", "limited", "protected")]  # fmt: skip
    assert (await kinds(walled, servers[0])).count("firewall") == 4
    rows = await walled.database.all("select state, project_id from operation where kind = %s",
                                     ("firewall",))  # fmt: skip
    assert {row.state for row in rows} == {"succeeded"}
    assert {row.project_id for row in rows} == {walled.who.project_id}


async def test_membership_changes_the_tags(walled: Any) -> None:
    """Of one port, or of all of a server; without any group nothing comes in."""
    server = await walled.active()
    (port_id,) = await profiles(walled, server)
    uuid = await walled.database.value("select uuid::text from port where id = %s", (port_id,))
    await walled.world.ports.update(walled.who, uuid, {"security_groups": ()})
    assert await walls(walled, server) == ["protected"]
    seen = "select revision from port where id = %s"
    before = await walled.database.value(seen, (port_id,))
    await walled.world.security_groups.add_to_server(walled.who, server, "default")
    assert await walled.database.value(seen, (port_id,)) > before
    assert await walls(walled, server) == [None]
    await walled.world.ports.update(walled.who, uuid, {"security_groups": (walled.closed,)})
    assert await walls(walled, server) == ["protected"]


async def test_interface_is_tagged_before_it_comes_and_untagged_after(walled: Any) -> None:
    """In the order of the cluster's jobs."""
    server = await walled.active()
    port = await a_closed_port(walled)
    before = len(walled.ganeti.jobs)
    await walled.world.interfaces.attach(
        walled.who, server, WantedInterface(port_ref=port), "req-attach"
    )
    assert await walls(walled, server) == [None, "protected"]
    await walled.world.interfaces.detach(walled.who, server, port, "req-detach")
    assert await walls(walled, server) == [None]
    done = [job.summary[0].partition("(")[0] for job in walled.ganeti.jobs.values()][before:]
    assert done == ["TAGS_SET", "INSTANCE_SET_PARAMS", "INSTANCE_SET_PARAMS", "TAGS_DEL"]
    await walled.check_books()


async def test_interface_whose_tag_cannot_be_set_does_not_come(walled: Any) -> None:
    """It would be open; the port is free again, with its address."""
    server = await walled.active()
    port = await a_closed_port(walled)
    walled.ganeti.misbehave(Misbehavior.FAIL_JOB, times=1, path="/tags")
    await walled.world.interfaces.attach(
        walled.who, server, WantedInterface(port_ref=port), "req-attach"
    )
    await walled.settled()
    last = (await walled.operations(server))[-1]
    assert (last.kind, last.state, last.step) == ("attach_port", "failed", "tag")
    assert await walls(walled, server) == [None]
    row = await walled.database.first("select server_id, state from port where uuid = %s", (port,))
    assert (row.server_id, row.state) == (None, "down")
    await walled.check_books()


async def test_wish_waits_for_what_is_done_to_the_server(walled: Any) -> None:
    """It is no conflict with it, and no conflict for whoever changes the rules."""
    server = await walled.active(security_groups=(walled.closed,))
    walled.ganeti.queue._job_seconds = 0.5
    await walled.world.servers.stop(walled.who, server, "req-stop")
    await let_in(walled, "tcp", 22)
    assert [each.kind for each in await walled.operations(server) if not each.finished_at] == [
        "stop"
    ]
    assert await walls(walled, server) == ["limited"]
    assert (await walled.row(server)).state == "stopped"


async def test_wish_of_a_cluster_that_nobody_drives_is_kept(walled: Any) -> None:
    """And seen to when somebody does."""
    server = await walled.active(security_groups=(walled.closed,))
    await walled.stop()
    await let_in(walled, "tcp", 22)
    await walled.drive()
    assert await walls(walled, server) == ["limited"]


async def test_lost_answers_set_each_tag_once(walled: Any) -> None:
    """The jobs are found by their reason."""
    server = await walled.active(security_groups=(walled.closed,))
    walled.ganeti.misbehave(Misbehavior.DROP_REPLY, times=1, methods=("PUT",), path="/tags")
    walled.ganeti.misbehave(Misbehavior.DROP_REPLY, times=1, methods=("DELETE",), path="/tags")
    await let_in(walled, "tcp", 22)
    assert await walls(walled, server) == ["limited"]
    jobs = [job for job in walled.ganeti.jobs.values() if job.summary[0].startswith("TAGS_")]
    assert len(jobs) == 2


async def test_floating_ip_has_the_rules_of_its_port(walled: Any) -> None:
    """From the moment on that its interface comes."""
    who = walled.who
    outside = await walled.world.networks.create(
        None,
        WantedNetwork(
            name="public",
            flavor="IP_LESS_ROUTED",
            external=True,
            floating_ip_pool=True,
            subnets=(WantedSubnet("192.0.2.0/24"),),
        ),
    )
    await walled.settled()
    server = await walled.active(security_groups=(walled.closed,))
    (port_id,) = await profiles(walled, server)
    uuid = await walled.database.value("select uuid::text from port where id = %s", (port_id,))
    await walled.world.floating_ips.create(
        who, WantedFloatingIp(outside.uuid, port_ref=uuid), "req-float"
    )
    assert await walls(walled, server) == ["protected", "protected"]
    await let_in(walled, "tcp", 22)
    assert await walls(walled, server) == ["limited", "limited"]


async def test_tag_that_an_operator_sets_stands_until_the_rules_change(walled: Any) -> None:
    """At rest the cluster is right."""
    server = await walled.active()
    (port_id,) = await profiles(walled, server)
    name = walled.instance(await walled.row(server))
    walled.ganeti.by_hand.tag(name, f"synnefo:network:snf-nic-{port_id}:limited")

    async def followed() -> bool:
        return await profiles(walled, server) == {port_id: "PROTECTED"}

    await walled.until(followed, "the tag is followed", 30.0)
    assert await walls(walled, server) == ["limited"]
    await walled.world.security_groups.add_to_server(walled.who, server, walled.closed)
    assert await walls(walled, server) == [None]


async def outcomes(cloud: Cloud, server: str) -> list[str]:
    """How the operations that set a server's tags have ended."""
    return [row.state for row in await cloud.operations(server) if row.kind == "firewall"]


async def test_failed_job_is_tried_again(walled: Any) -> None:
    """Also the removal of a tag; meanwhile nothing of the server's is a conflict."""
    server = await walled.active(security_groups=(walled.closed,))
    walled.ganeti.misbehave(Misbehavior.FAIL_JOB, times=2, methods=("PUT",), path="/tags")
    walled.ganeti.misbehave(Misbehavior.FAIL_JOB, times=1, methods=("DELETE",), path="/tags")
    await let_in(walled, "tcp", 22)
    assert await walls(walled, server) == ["limited"]
    assert await outcomes(walled, server) == ["failed", "failed", "failed", "succeeded"]


async def test_cluster_that_is_away_uses_up_no_tries(walled: Any) -> None:
    """However long it is away: the wish waits until it answers."""
    server = await walled.active(security_groups=(walled.closed,))
    walled.ganeti.misbehave(Misbehavior.GO_AWAY)

    async def answers() -> bool:
        return (await walled.database.value("select reachable from cluster")) is not False

    async def away() -> bool:
        return not await answers()

    await walled.until(away, "the cluster is known to be away", 60.0)
    await let_in(walled, "tcp", 22)
    server_id = (await walled.row(server)).id
    drive = walled.drive_of(walled.cluster_id)
    assert await drive._server_work._firewalls.open(server_id) is None
    assert await firewalls.wished(walled.database, walled.cluster_id, 10) == []
    assert await outcomes(walled, server) == []
    walled.ganeti.behave()
    await walled.until(answers, "the cluster is known to be back", 60.0)
    assert await walls(walled, server) == ["limited"]
    assert await outcomes(walled, server) == ["succeeded"]


async def test_tries_are_bounded_and_a_new_wish_begins_anew(walled: Any) -> None:
    """The server is left as it is, and can still be changed."""
    server = await walled.active(security_groups=(walled.closed,))
    walled.ganeti.misbehave(Misbehavior.FAIL_JOB, path="/tags")
    await let_in(walled, "tcp", 22)
    assert await walls(walled, server) == ["protected"]
    assert await outcomes(walled, server) == ["failed"] * MOST_TRIES
    ping = await let_in(walled, "icmp")
    assert await walls(walled, server) == ["protected"]
    assert len(await outcomes(walled, server)) == MOST_TRIES + 1, "one try of each further wish"
    walled.ganeti.behave()
    await walled.world.security_groups.delete_rule(walled.who, ping)
    assert await walls(walled, server) == ["limited"]
    await walled.world.servers.stop(walled.who, server, "req-stop")
    await walled.settled()
    assert (await walled.row(server)).state == "stopped"
