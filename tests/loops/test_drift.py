"""What goes wrong behind our back is found, and mended or told; never while something moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cyclades_tx.ganeti.simulator.hand import Hand
from cyclades_tx.loops import drift as drift_module
from cyclades_tx.loops.drift import ALL, PRESSING, Drift
from cyclades_tx.manage import reconcile_servers
from cyclades_tx.model.drift import Finding, Memory, Remedy
from cyclades_tx.store import addresses, clusters, drift_findings, operations, quotas
from tests.loops.cloud import Cloud


class Site:
    """A driven cloud with some servers, looked at when the test says so."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    @property
    def hand(self) -> Hand:
        """An administrator of the only cluster."""
        return self.cloud.ganeti.by_hand

    @property
    def drift(self) -> Drift:
        """The loop of drift of the only cluster."""
        return self.cloud.drive_of(self.cloud.cluster_id).drift

    async def look(self) -> None:
        """Look at everything now, and wait until that is over."""
        loop = self.drift.loop
        turns = loop.turns
        loop.wake(ALL)

        async def over() -> bool:
            return loop.turns > turns and not loop.status()["running"]

        await self.cloud.until(over, "the look is over")
        loop.wake_later(ALL, 3600.0)

    async def findings(self) -> list[Any]:
        """All findings that are or were, the oldest first."""
        found: list[Any] = await self.cloud.database.all("select * from drift_finding order by id")
        return found

    async def kinds(self, open_only: bool = False) -> list[str]:
        """Their kinds."""
        rows = await self.findings()
        return sorted(row.kind for row in rows if not open_only or row.remedied_at is None)

    async def books(self) -> None:
        """Quota and addresses are what they count up to."""
        assert await quotas.drift(self.cloud.database) == []
        for row in await self.cloud.database.all("select id from subnet"):
            assert (await addresses.recount(self.cloud.database, row.id)).right


def quiet(cloud: Cloud) -> None:
    """Let nothing but the test begin looks."""
    for drive in cloud.drives._drives.values():  # type: ignore[union-attr]
        drive._polling.stop()
        for timer in drive.drift.loop._timers.values():
            timer.cancel()
        drive.drift.loop._timers.clear()


@pytest_twisted.async_fixture
async def site(driven: Cloud) -> Site:
    """A cloud whose poll is blind."""
    quiet(driven)
    return Site(driven)


async def test_nothing_is_invented(site: Site) -> None:
    """Servers that are well, stopped ones, and instances of others."""
    await site.cloud.active("a")
    stopped = await site.cloud.active("b")
    await site.cloud.world.servers.stop(site.cloud.who, stopped, "r")
    await site.cloud.settled()
    site.hand.add("web1.example.org")
    await site.look()
    assert await site.findings() == []
    row = await site.cloud.database.first("select * from drift_look")
    assert (row.servers, row.instances) == (2, 2)


async def _stopped(site: Site, name: str, uuid: str) -> None:
    site.hand.stop(name)


async def _resized(site: Site, name: str, uuid: str) -> None:
    site.hand.resize(name, 3, 2048)


async def _nic_gone(site: Site, name: str, uuid: str) -> None:
    site.hand.remove_nic(name, 0)


async def _nic_added(site: Site, name: str, uuid: str) -> None:
    (nic,) = site.cloud.ganeti.instances[name].nics
    site.hand.add_nic(name, nic.network, "10.1.0.99")


async def _nic_added_in_front(site: Site, name: str, uuid: str) -> None:
    (nic,) = site.cloud.ganeti.instances[name].nics
    site.hand.add_nic(name, nic.network, None, at=0)


async def _address(site: Site, name: str, uuid: str) -> None:
    site.hand.change_nic(name, 0, ip="10.1.0.77")


async def _no_address(site: Site, name: str, uuid: str) -> None:
    site.hand.change_nic(name, 0, ip=None)


async def _mac(site: Site, name: str, uuid: str) -> None:
    site.hand.change_nic(name, 0, mac="aa:00:00:12:34:56")


async def _firewall(site: Site, name: str, uuid: str) -> None:
    (nic,) = site.cloud.ganeti.instances[name].nics
    site.hand.tag(name, f"synnefo:network:{nic.name}:protected")


async def _grown(site: Site, name: str, uuid: str) -> None:
    site.hand.grow_disk(name, 0, 5 * 1024)


async def _disk_added(site: Site, name: str, uuid: str) -> None:
    site.hand.add_disk(name, 2048)


async def _disk_gone(site: Site, name: str, uuid: str) -> None:
    site.hand.remove_disk(name, 0)


async def _gone(site: Site, name: str, uuid: str) -> None:
    site.hand.remove(name)


FAULTS: list[tuple[Callable[[Site, str, str], Awaitable[None]], list[str], dict[str, Any]]] = [
    (_stopped, ["power_differs"], {"state": "stopped", "charge": "off"}),
    (_resized, ["size_differs"], {"vcpus": 3, "memory_mib": 2048}),
    (_nic_gone, ["nic_missing"], {"ports": []}),
    (_nic_added, ["nic_extra"], {"ports": [(0, "10.1.0.2"), (1, "10.1.0.99")]}),
    (_nic_added_in_front, ["nic_differs", "nic_extra"], {"ports": [(0, None), (1, "10.1.0.2")]}),
    (_address, ["nic_differs"], {"ports": [(0, "10.1.0.77")]}),
    (_no_address, ["nic_differs"], {"ports": [(0, None)]}),
    (_mac, ["nic_differs"], {"macs": ["aa:00:00:12:34:56"]}),
    (_firewall, ["nic_differs"], {"firewalls": ["ENABLED"]}),
    (_grown, ["disk_differs"], {"sizes": [5]}),
    (_disk_added, ["disk_extra"], {"sizes": [1, 2]}),
    (_disk_gone, ["disk_missing"], {"sizes": []}),
    (_gone, ["stale"], {"state": "deleted", "charge": "none", "ports": [], "sizes": []}),
]


async def shape(site: Site, uuid: str) -> dict[str, Any]:
    """What the tests compare of a server."""
    row = await site.cloud.row(uuid)
    ports = await site.cloud.database.all(
        "select p.position, p.mac::text, p.firewall_profile, (select host(a.address) from address a"
        " where a.port_id = p.id) as ip from port p where p.server_id = %s order by p.position",
        (row.id,),
    )
    disks = await site.cloud.database.all(
        "select size_gib from volume where server_id = %s and deleted_at is null order by position",
        (row.id,),
    )
    return {
        "state": row.state,
        "charge": row.charge,
        "vcpus": row.vcpus,
        "memory_mib": row.memory_mib,
        "ports": [(port.position, port.ip) for port in ports],
        "macs": [port.mac for port in ports],
        "firewalls": [port.firewall_profile for port in ports],
        "sizes": [disk.size_gib for disk in disks],
    }


@pytest.mark.parametrize(
    ("plant", "kinds", "after"), FAULTS, ids=[plant.__name__ for plant, *_ in FAULTS]
)
async def test_a_planted_fault_is_found_and_the_record_follows(
    site: Site,
    plant: Callable[[Site, str, str], Awaitable[None]],
    kinds: list[str],
    after: dict[str, Any],
) -> None:
    """In one look; the next one finds nothing, and the books are right."""
    uuid = await site.cloud.active()
    name = site.cloud.instance(await site.cloud.row(uuid))
    before = await shape(site, uuid)
    await plant(site, name, uuid)
    await site.look()
    assert await site.kinds() == kinds
    for row in await site.findings():
        assert row.mended and row.remedied_at is not None, row
    seen = await shape(site, uuid)
    assert {key: seen[key] for key in after} == after
    unchanged = set(before) - set(after) - {"macs", "firewalls", "ports"}
    assert {key: seen[key] for key in unchanged} == {key: before[key] for key in unchanged}
    await site.books()
    await site.look()
    assert await site.kinds() == kinds
    assert await site.kinds(open_only=True) == []


async def test_the_books_follow_each_size(site: Site) -> None:
    """Memory, CPUs and disk of the project."""
    uuid = await site.cloud.active()
    name = site.cloud.instance(await site.cloud.row(uuid))
    site.hand.resize(name, 4, 3072)
    site.hand.grow_disk(name, 0, 7 * 1024)
    site.hand.add_disk(name, 2 * 1024 + 500)
    await site.look()
    assert await site.cloud.used("cyclades.cpu") == 4
    assert await site.cloud.used("cyclades.ram") == 3 * 2**30
    assert await site.cloud.used("cyclades.disk") == 9 * 2**30
    await site.books()


async def test_what_cannot_be_followed_holds_up_nothing_else(
    site: Site, logged_errors: Any
) -> None:
    """An interface on a network of nobody's, and the power: one is told, the other followed."""
    uuid = await site.cloud.active()
    name = site.cloud.instance(await site.cloud.row(uuid))
    site.hand.add_nic(name, None)
    site.hand.stop(name)
    await site.look()
    assert await site.cloud.state(uuid) == ("stopped", "off")
    extra = next(row for row in await site.findings() if row.kind == "nic_extra")
    assert extra.remedied_at is None
    assert "not one of our networks" in extra.trouble
    for _ in range(3):
        await site.look()
    extra = next(row for row in await site.findings() if row.kind == "nic_extra")
    assert (extra.remedy, extra.failures) == (Remedy.GAVE_UP, 3)
    assert "Given up after 3 tries" in extra.plan
    await site.books()
    site.hand.remove_nic(name, 1)
    await site.look()
    assert await site.kinds(open_only=True) == []


@pytest.mark.parametrize("ip", ["192.168.7.7", "10.1.0.1", "10.1.0.255"])
async def test_an_address_that_nobody_may_have_is_told(site: Site, ip: str) -> None:
    """Outside the subnet, its gateway, its broadcast: the port keeps its own."""
    uuid = await site.cloud.active()
    name = site.cloud.instance(await site.cloud.row(uuid))
    site.hand.change_nic(name, 0, ip=ip)
    site.hand.stop(name)
    await site.look()
    assert await site.cloud.state(uuid) == ("stopped", "off")
    assert (await shape(site, uuid))["ports"] == [(0, "10.1.0.2")]
    assert await site.kinds(open_only=True) == ["nic_differs"]
    await site.books()


async def test_two_that_have_exchanged_their_addresses_are_told(site: Site) -> None:
    """Neither can be followed alone; nothing is lost."""
    first, second = await site.cloud.active("a"), await site.cloud.active("b")
    names = [site.cloud.instance(await site.cloud.row(uuid)) for uuid in (first, second)]
    site.hand.change_nic(names[0], 0, ip="10.1.0.99")
    site.hand.change_nic(names[1], 0, ip="10.1.0.2")
    await site.look()
    await site.look()
    assert (await shape(site, first))["ports"] == [(0, "10.1.0.99")]
    assert (await shape(site, second))["ports"] == [(0, "10.1.0.2")]
    assert await site.kinds(open_only=True) == []
    await site.books()


async def test_nothing_is_judged_while_an_operation_is_open(site: Site) -> None:
    """It says itself what becomes of the server."""
    site.cloud.ganeti.queue._job_seconds = 1.0
    uuid = await site.cloud.active()
    row = await site.cloud.row(uuid)
    await site.cloud.world.servers.reboot(site.cloud.who, uuid, True, "r")
    site.hand.resize(site.cloud.instance(row), 4, 4096)
    await site.look()
    assert await site.findings() == []
    assert (await site.cloud.row(uuid)).vcpus == row.vcpus
    await site.cloud.settled()
    # The sight at the operation's end was followed.
    assert (await site.cloud.row(uuid)).vcpus == 4
    await site.look()
    assert await site.findings() == []
    await site.books()


async def test_a_node_that_is_down_is_told_and_nothing_is_changed(site: Site) -> None:
    """The cluster does not know; the server stays what it was."""
    uuid = await site.cloud.active()
    node = next(iter(site.cloud.ganeti.inventory.nodes))
    site.cloud.ganeti.set_node(node, offline=True)
    await site.look()
    assert await site.kinds(open_only=True) == ["power_unknown"]
    assert await site.cloud.state(uuid) == ("active", "on")
    site.cloud.ganeti.set_node(node, offline=False)
    await site.look()
    assert await site.kinds(open_only=True) == []


async def _deleted(site: Site) -> str:
    """A server that is deleted; the name of its instance."""
    uuid = await site.cloud.active()
    name = site.cloud.instance(await site.cloud.row(uuid))
    await site.cloud.world.servers.delete(site.cloud.who, uuid, "r")
    await site.cloud.settled()
    return name


async def test_an_orphan_is_left_to_an_operator(site: Site) -> None:
    """It is told, and stays, however long it is there."""
    name = await _deleted(site)
    site.hand.add(name)
    await site.look()
    await site.cloud.database.run("update drift_finding set first_seen_at = now() - interval '9 y'")
    await site.look()
    (orphan,) = await site.findings()
    assert (orphan.kind, orphan.remedy, orphan.remedied_at) == ("orphan", Remedy.OPERATOR, None)
    assert name in site.cloud.ganeti.instances


async def test_an_orphan_that_an_operator_wants_removed_is_removed(site: Site) -> None:
    """At once, by the process that drives the cluster."""
    name = await _deleted(site)
    site.hand.add(name)
    await site.look()

    async def want(tx: Any) -> None:
        await tx.run("update drift_finding set wanted_at = now()")
        await tx.notify(operations.WAKE, f"{site.cloud.cluster_id}:drift")

    await site.cloud.database.transaction(want)

    async def gone() -> bool:
        return name not in site.cloud.ganeti.instances and not await site.kinds(open_only=True)

    await site.cloud.until(gone, "the orphan is removed")
    (orphan,) = await site.findings()
    assert orphan.mended


async def test_a_stranger_is_never_touched(site: Site) -> None:
    """Nor is what has our prefix and no number."""
    site.hand.add("snf-999999")
    site.hand.add("snf-router")
    await site.look()
    await site.cloud.database.run("update drift_finding set wanted_at = now()")
    site.drift.loop.wake(PRESSING)
    await site.look()
    assert await site.kinds(open_only=True) == ["stranger", "stranger"]
    assert {row.remedy for row in await site.findings()} == {Remedy.OPERATOR}
    assert len(site.cloud.ganeti.instances) == 2


async def _automatic(make_cloud: Any, **keys: Any) -> Site:
    """A site whose orphans are removed by themselves."""
    cloud: Cloud = make_cloud(ganeti={"orphan_removal": "automatic", **keys})
    await cloud.equip()
    await cloud.drive()
    quiet(cloud)
    return Site(cloud)


async def test_an_orphan_waits_for_its_grace_time(make_cloud: Any) -> None:
    """Which counts from the first sight, also over restarts."""
    site = await _automatic(make_cloud, orphan_grace_seconds=3600.0)
    name = await _deleted(site)
    site.hand.add(name)
    await site.look()
    (orphan,) = await site.findings()
    assert orphan.remedy == Remedy.WAIT and "removed after" in orphan.plan
    assert name in site.cloud.ganeti.instances
    await site.cloud.stop()
    await site.cloud.database.run(
        "update drift_finding set first_seen_at = now() - interval '2 hours'"
    )
    await site.cloud.drive()
    quiet(site.cloud)
    await site.look()

    async def gone() -> bool:
        return name not in site.cloud.ganeti.instances

    await site.cloud.until(gone, "the orphan is removed")
    await site.look()
    (orphan,) = await site.findings()
    assert orphan.mended


async def test_one_look_removes_no_more_than_it_may(make_cloud: Any) -> None:
    """The others have their turn in the next ones."""
    site = await _automatic(make_cloud, orphan_grace_seconds=0.05, repairs_per_turn=2)
    names = [await _deleted(site) for _ in range(5)]
    for name in names:
        site.hand.add(name)
    await site.look()
    await site.cloud.sleep(0.1)
    jobs = len(site.cloud.ganeti.jobs)
    await site.look()
    assert len(site.cloud.ganeti.jobs) == jobs + 2
    for _ in range(3):
        await site.cloud.sleep(0.1)
        await site.look()
    assert len(site.cloud.ganeti.instances) == 0
    await site.look()
    assert await site.kinds(open_only=True) == []


async def test_a_removal_that_fails_is_given_up(make_cloud: Any) -> None:
    """After the tries that the configuration grants, with the cluster's own words."""
    site = await _automatic(make_cloud, orphan_grace_seconds=0.05, repair_failures=2)
    name = await _deleted(site)
    site.hand.add(name)
    site.cloud.ganeti.misbehave("fail-job", message="disk is busy")
    for _ in range(6):
        await site.look()
        await site.cloud.sleep(0.1)
    (orphan,) = await site.findings()
    assert (orphan.remedy, orphan.failures) == (Remedy.GAVE_UP, 2)
    assert "disk is busy" in orphan.plan
    assert name in site.cloud.ganeti.instances


async def test_a_failed_creation_whose_instance_turns_up_is_left_to_an_operator(
    site: Site,
) -> None:
    """It gave everything back: its instance must not run for free, nor be removed unasked."""
    uuid = await site.cloud.active()
    row = await site.cloud.row(uuid)
    name = site.cloud.instance(row)
    parts = site.cloud.ganeti.instances[name]
    site.hand.remove(name)
    await site.cloud.database.run(
        "update server set state = 'error', fault_message = 'x', fault_at = now() where id = %s",
        (row.id,),
    )
    await site.look()
    assert await site.cloud.state(uuid) == ("error", "none")
    site.hand.put_all([parts])
    await site.look()
    (risen,) = [row for row in await site.findings() if row.remedied_at is None]
    assert (risen.kind, risen.remedy) == ("risen", Remedy.OPERATOR)
    await site.books()


async def test_a_given_up_creation_whose_instance_turns_up_is_taken_over(site: Site) -> None:
    """As long as its project pays for it."""
    uuid = await site.cloud.active()
    row = await site.cloud.row(uuid)
    await site.cloud.database.run(
        "update server set state = 'error', fault_message = 'x', fault_at = now() where id = %s",
        (row.id,),
    )
    await site.look()
    assert await site.cloud.state(uuid) == ("active", "on")
    assert await site.kinds() == ["risen"]
    await site.books()


async def test_a_server_that_nothing_builds_ends_as_failed(site: Site) -> None:
    """Its operation is gone, and no instance is there."""
    uuid = await site.cloud.active()
    row = await site.cloud.row(uuid)
    site.hand.remove(site.cloud.instance(row))
    await site.cloud.database.run("update server set state = 'building' where id = %s", (row.id,))
    await site.look()
    assert await site.cloud.state(uuid) == ("error", "none")
    assert "lost" in (await site.cloud.row(uuid)).fault_message
    assert await site.kinds() == ["lost_build"]
    await site.books()


async def test_an_operation_whose_job_is_long_over_is_looked_at(site: Site) -> None:
    """Its end was never noticed."""
    uuid = await site.cloud.active()
    drive = site.cloud.drive_of(site.cloud.cluster_id)
    drive._sweeping.stop()
    watch = drive.work.watch
    kept = watch.watch
    watch.watch = lambda *_: None  # type: ignore[method-assign]
    await site.cloud.world.servers.stop(site.cloud.who, uuid, "r")
    await site.cloud.until_operation(uuid, "submitted")
    await site.cloud.sleep(0.2)
    await site.cloud.database.run(
        "update operation set submitted_at = now() - interval '1 hour' where finished_at is null"
    )
    watch.watch = kept  # type: ignore[method-assign]
    job = next(reversed(site.cloud.ganeti.jobs.values()))
    site.cloud.ganeti.queue.jobs[job.id] = replace(job, ended_at=job.ended_at - 3600)  # type: ignore[operator]
    await site.look()
    await site.cloud.settled()
    assert await site.kinds() == ["unreported"]
    assert await site.cloud.state(uuid) == ("stopped", "off")


async def test_a_server_that_was_moved_to_another_cluster_is_not_given_away(
    make_cloud: Any,
) -> None:
    """First on two clusters, then on the wrong one: an operator must say what is right."""
    cloud: Cloud = make_cloud()
    await cloud.equip(clusters=2)
    await cloud.drive()
    quiet(cloud)
    uuid = await cloud.active()
    row = await cloud.row(uuid)
    name = cloud.instance(row)
    other = next(number for number in cloud.ganetis if number != row.cluster_id)
    cloud.ganetis[other].by_hand.add(name)
    site = Site(cloud)
    await look_at(cloud, other)
    assert await site.kinds(open_only=True) == ["twice"]
    cloud.ganetis[row.cluster_id].by_hand.remove(name)
    await look_at(cloud, row.cluster_id)
    await look_at(cloud, other)
    assert await site.kinds(open_only=True) == ["elsewhere", "stale"]
    assert await cloud.state(uuid) == ("active", "on")
    stale = next(row for row in await site.findings() if row.kind == "stale")
    assert stale.remedy == Remedy.OPERATOR


async def look_at(cloud: Cloud, cluster_id: int) -> None:
    """Look at one of several clusters."""
    loop = cloud.drive_of(cluster_id).drift.loop
    turns = loop.turns
    loop.wake(ALL)

    async def over() -> bool:
        return loop.turns > turns and not loop.status()["running"]

    await cloud.until(over, "the look is over")
    loop.wake_later(ALL, 3600.0)


async def test_a_cluster_that_has_lost_most_at_once_is_not_believed(
    site: Site, logged_errors: Any
) -> None:
    """Its row may point at the wrong cluster: an operator must say so."""
    await site.cloud.database.run("update holding set maximum = null")
    uuids = [await site.cloud.active(f"s{number}") for number in range(10)]
    for name in list(site.cloud.ganeti.instances)[:6]:
        site.hand.remove(name)
    await site.look()
    logged_errors.events.clear()
    (mass,) = await site.findings()
    assert (mass.kind, mass.server_id, mass.remedy) == ("missing_at_once", None, Remedy.OPERATOR)
    assert "6 of 10 servers are missing at once" in mass.sentence
    for uuid in uuids:
        assert await site.cloud.state(uuid) == ("active", "on")
    row = await clusters.by_id(site.cloud.database, site.cloud.cluster_id)
    seen = await reconcile_servers.look(site.cloud.world, row)
    assert "6 servers are missing at once" in seen.summary
    assert reconcile_servers.wanted(seen, (), fix_all=True) == []
    stale = reconcile_servers.wanted(seen, ("stale",), fix_all=False)
    assert len(stale) == 6

    async def want(tx: Any) -> None:
        await drift_findings.want(tx, site.cloud.cluster_id, stale)
        await tx.notify(operations.WAKE, f"{site.cloud.cluster_id}:drift")

    await site.cloud.database.transaction(want)

    async def over() -> bool:
        return await site.kinds(open_only=True) == ["missing_at_once"]

    await site.cloud.until(over, "an operator's word is taken")
    await site.look()
    assert await site.kinds(open_only=True) == []
    states = sorted([await site.cloud.state(uuid) for uuid in uuids])
    assert states == [("active", "on")] * 4 + [("deleted", "none")] * 6
    await site.books()


async def test_a_former_driver_writes_nothing(site: Site) -> None:
    """Its epoch is over."""
    uuid = await site.cloud.active()
    site.hand.stop(site.cloud.instance(await site.cloud.row(uuid)))
    await site.cloud.database.run("update cluster_lease set epoch = epoch + 1")
    await site.look()
    assert await site.findings() == []
    assert await site.cloud.state(uuid) == ("active", "on")


async def test_a_drained_cluster_is_looked_at(site: Site) -> None:
    """What stands there is still somebody's."""
    uuid = await site.cloud.active()
    await site.cloud.database.run("update cluster set drained = true")
    site.hand.stop(site.cloud.instance(await site.cloud.row(uuid)))
    await site.look()
    assert await site.cloud.state(uuid) == ("stopped", "off")


async def test_who_drives_a_cluster_is_known(site: Site) -> None:
    """A command says so when nobody does."""
    database, cluster_id = site.cloud.database, site.cloud.cluster_id
    assert await drift_findings.driver_of(database, cluster_id, 8.0) == site.cloud.world.driver
    await site.cloud.stop()
    await database.run("update process set beaten_at = now() - interval '1 minute'")
    assert await drift_findings.driver_of(database, cluster_id, 8.0) is None


async def test_what_is_missing_beside_a_wish_waits_for_a_look_at_all(
    site: Site, logged_errors: Any
) -> None:
    """A look at a few cannot tell a lost instance from a wrong cluster."""
    uuid = await site.cloud.active()
    row = await site.cloud.row(uuid)
    site.hand.stop(site.cloud.instance(row))
    power = Finding("power_differs", f"server {row.id}", "x", Remedy.RECORD, row.id)
    site.hand.remove(site.cloud.instance(row))

    async def want(tx: Any) -> None:
        await drift_findings.want(tx, site.cloud.cluster_id, [power])
        await tx.notify(operations.WAKE, f"{site.cloud.cluster_id}:drift")

    await site.cloud.database.transaction(want)

    async def told() -> bool:
        return "stale" in await site.kinds(open_only=True)

    await site.cloud.until(told, "it is told")
    (stale,) = [each for each in await site.findings() if each.remedied_at is None]
    assert (stale.remedy, stale.attempted_at) == (Remedy.WAIT, None)
    assert await site.cloud.state(uuid) == ("active", "on")
    await site.look()
    assert await site.cloud.state(uuid) == ("deleted", "none")


async def test_wishes_take_turns_and_do_not_spin(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose job runs keeps no other waiting, and a turn is not repeated without a pause."""
    monkeypatch.setattr(drift_module, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(drift_module, "JOB_SECONDS", 0.2)
    for name in [await _deleted(site) for _ in range(3)]:
        site.hand.add(name)
    await site.look()
    site.cloud.ganeti.queue._job_seconds = 30.0

    async def want(tx: Any) -> None:
        await tx.run("update drift_finding set wanted_at = now()")
        await tx.notify(operations.WAKE, f"{site.cloud.cluster_id}:drift")

    turns = site.drift.loop.turns
    began = site.cloud.reactor.seconds()
    await site.cloud.database.transaction(want)

    async def begun() -> bool:
        return all(row.job_id is not None for row in await site.findings())

    await site.cloud.until(begun, "all are being removed")
    most = (site.cloud.reactor.seconds() - began) / 0.2 + 1
    assert 3 <= site.drift.loop.turns - turns <= most


async def test_mends_that_nobody_answers_are_waited_for_together(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one after the other."""
    drift, clock = site.drift, Clock()
    asked: list[Deferred[Any]] = []

    def mend(server_id: int, insist: bool) -> Deferred[Any]:
        asked.append(Deferred())
        return asked[-1]

    monkeypatch.setattr(drift._work, "clock", clock)
    monkeypatch.setattr(drift._server_work.resting, "mend", mend)
    findings = [Finding("power_differs", f"server {n}", "x", Remedy.RECORD, n) for n in (1, 2, 3)]
    waiting = Deferred.fromCoroutine(drift._mend(findings, {}))

    async def all_asked() -> bool:
        return len(asked) == 3

    await site.cloud.until(all_asked, "all are asked")
    assert not waiting.called
    clock.advance(drift_module.MEND_SECONDS)
    await site.cloud.until(lambda: _is_over(waiting), "nobody waits any more")
    assert drift._mending == set()


async def _is_over(waiting: Deferred[Any]) -> bool:
    return waiting.called


async def test_many_findings_are_decided_in_parts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else waits for thousands; each is decided once, also when it was found twice."""
    parts: list[int] = []
    decide = drift_module.decide

    def counted(findings: Any, *rest: Any) -> Any:
        parts.append(len(findings))
        return decide(findings, *rest)

    monkeypatch.setattr(drift_module, "decide", counted)
    found = [Finding("stale", f"server {n}", "x", Remedy.RECORD, n) for n in range(1000)]
    now = (await site.cloud.database.first("select now() as now")).now
    memories = {found[7].key: Memory(now, failures=99)}
    decided = await site.drift._decided([*found, found[0]], memories, now)
    assert max(parts) <= 200
    assert [each.server_id for each in decided] == list(range(1000))
    assert [each.server_id for each in decided if each.remedy is Remedy.GAVE_UP] == [7]


async def test_a_mass_costs_one_row_however_many_are_missing(site: Site) -> None:
    """Those that were known before are held back one by one; what an operator wants goes on."""
    found = [Finding("stale", f"server {n}", "x", Remedy.RECORD, n) for n in range(3000)]
    now = (await site.cloud.database.first("select now() as now")).now
    memories = {found[1].key: Memory(now), found[2].key: Memory(now, wanted=True)}
    look = drift_module.Look(found, servers=3000, at_rest=3000)
    believed = await site.drift._looker.believed(look, memories, whole=True, summary=True)
    assert [(each.kind, each.server_id, each.remedy) for each in believed] == [
        ("stale", 1, Remedy.OPERATOR),
        ("stale", 2, Remedy.RECORD),
        ("missing_at_once", None, Remedy.OPERATOR),
    ]
    assert len(await site.drift._looker.believed(look, memories, whole=True)) == 3000


async def test_findings_are_written_with_one_parameter_for_all(site: Site) -> None:
    """Quoting an array element by element holds up everything else."""
    found = [Finding("stale", f"server {n}", "é'\\", Remedy.RECORD, n, "p") for n in range(1, 300)]
    sizes: list[int] = []

    async def write(tx: Any) -> Any:
        class Counted:
            async def all(self, sql: str, args: Any) -> Any:
                sizes.extend(len(each) for each in args if isinstance(each, list))
                return await tx.all(sql, args)

        return await drift_findings.save(Counted(), site.cloud.cluster_id, found, None)

    first = await site.cloud.database.transaction(write)
    again = await site.cloud.database.transaction(write)
    assert max(sizes) == 0
    assert (len(first.new), again.new, again.gone) == (299, [], [])
    rows = await site.findings()
    assert {(row.kind, row.sentence, row.remedy, row.plan) for row in rows} == {
        ("stale", "é'\\", Remedy.RECORD, "p")
    }
    assert sorted(row.server_id for row in rows) == list(range(1, 300))
