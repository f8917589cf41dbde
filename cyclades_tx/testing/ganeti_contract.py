"""The exam that every Ganeti cluster passes: the simulated one and a real one.

:func:`cluster_contract` makes a class of tests for pytest; a module that runs it binds the
class to a name that begins with ``Test`` and provides the fixture ``subject``.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from cyclades_tx.errors import LostLease
from cyclades_tx.ganeti.interfaces import GanetiRefused
from cyclades_tx.model.instance import (
    NewNic,
    Power,
)
from cyclades_tx.model.job import JobStatus
from cyclades_tx.testing.cluster_subject import ClusterSubject, address_in
from cyclades_tx.testing.expected import raised
from cyclades_tx.testing.instance_contract import InstanceContract


class ClusterContract(InstanceContract):
    """What every cluster does."""

    # Questions

    async def test_info_names_cluster_and_hypervisor(self, subject: ClusterSubject) -> None:
        """The cluster tells who and what it is."""
        info = await subject.cluster.info()
        assert info.name and info.master and info.version.startswith("3.")
        assert info.hypervisor in info.hypervisors
        assert subject.template in info.disk_templates

    async def test_capacity_sums_over_nodes(self, subject: ClusterSubject) -> None:
        """There are nodes, with no more free than in all."""
        seen = await subject.cluster.capacity()
        assert seen.nodes >= 1 and seen.cpus >= 1
        assert 0 < seen.memory_free_mib <= seen.memory_total_mib
        assert 0 < seen.disk_free_mib <= seen.disk_total_mib

    async def test_nodes_have_what_is_summed_up(self, subject: ClusterSubject) -> None:
        """Each by its name; those in use make the sums."""
        nodes = await subject.cluster.nodes()
        seen = await subject.cluster.capacity()
        used = [node for node in nodes if not node.offline and not node.drained]
        assert len({node.name for node in nodes}) == len(nodes) >= seen.nodes
        assert sum(node.memory_total_mib for node in used) == seen.memory_total_mib
        assert sum(node.cpus for node in used) == seen.cpus

    async def test_groups_are_named(self, subject: ClusterSubject) -> None:
        """The node groups are listed by name."""
        assert subject.group in await subject.cluster.groups()

    async def test_instance_is_none_when_unknown(self, subject: ClusterSubject) -> None:
        """An unknown instance is None, and does not spoil the answer for others."""
        assert await subject.cluster.instance(subject.name("nobody")) is None
        vm = await subject.created()
        found = await subject.cluster.instances((subject.name("nobody"), vm.name))
        assert list(found) == [vm.name]
        assert await subject.cluster.instances(()) == {}

    async def test_instances_with_shows_all_details_of_names_with_the_prefix(
        self, subject: ClusterSubject
    ) -> None:
        """The same as asking for each by its name, and no others."""
        first, second = await subject.created("p.9"), await subject.created("p.10")
        await subject.created("px3")
        slices = await subject.cluster.instances_with(subject.name("p."))
        seen = {each.name: each for part in slices for each in part}
        assert seen == await subject.cluster.instances((first.name, second.name))
        assert list(seen) == [first.name, second.name]
        assert list(await subject.cluster.instances_with(subject.name("none"))) == []

    async def test_instances_are_found_by_their_tags(self, subject: ClusterSubject) -> None:
        """Under whatever name; a tag that nothing has is left out."""
        tags = tuple(f"cyclades:server:{subject.name(word)}" for word in ("a", "b", "c"))
        first = await subject.created("one", tags=(tags[0], "x"))
        second = await subject.created("two", tags=(tags[1],))
        await subject.created("three", tags=(f"{tags[2]}d",))
        found = await subject.cluster.tagged(tags)
        assert found == {tags[0]: first.name, tags[1]: second.name}
        assert await subject.cluster.tagged(tags[2:]) == {}
        assert await subject.cluster.tagged(()) == {}

    async def test_glance_shows_only_names_with_the_prefix(self, subject: ClusterSubject) -> None:
        """The prefix chooses, and its dots are dots."""
        await subject.created("a.b")
        await subject.created("axb")
        seen = await subject.cluster.glance(subject.name("a.b"))
        assert [each.name for each in seen] == [subject.name("a.b")]
        assert seen[0].power is Power.RUNNING and isinstance(seen[0].serial, int)
        everyone = {each.name for each in await subject.cluster.glance("")}
        assert {subject.name("a.b"), subject.name("axb")} <= everyone

    async def test_jobs_are_unknown_when_the_queue_has_none(self, subject: ClusterSubject) -> None:
        """Known and unknown jobs come together, an unknown one with that status."""
        known = await subject.cluster.start_instance(subject.name("x"), subject.reason())
        await subject.end_of(known)
        jobs = await subject.cluster.jobs((known, 99_999_999))
        assert jobs[99_999_999].status is JobStatus.UNKNOWN
        assert jobs[known].status is JobStatus.ERROR
        assert jobs[known].error_code == "unknown_entity"
        assert jobs[known].ended_at is not None
        assert jobs[known].summary == f"INSTANCE_STARTUP({subject.name('x')})"
        assert await subject.cluster.jobs(()) == {}

    async def test_jobs_for_finds_them_by_name_and_reason(self, subject: ClusterSubject) -> None:
        """A job is recognised by its reason, newest first, and no other is."""
        reason, name = subject.reason(), subject.name("vm")
        created = await subject.cluster.create_instance(subject.new(), reason)
        assert [job.id for job in await subject.cluster.jobs_for(name, reason)] == [created]
        await subject.done(created)
        stopped = await subject.cluster.stop_instance(name, reason)
        tagged = await subject.cluster.add_tags(name, reason, ("t1",))
        await subject.cluster.start_instance(name, subject.reason())
        await subject.end_of(tagged)
        found = await subject.cluster.jobs_for(name, reason)
        assert [job.id for job in found] == [tagged, stopped, created]
        assert all(reason in job.reasons for job in found)
        assert await subject.cluster.jobs_for(name, subject.reason()) == ()
        assert await subject.cluster.jobs_for(subject.name("other"), reason) == ()

    async def test_jobs_for_finds_those_of_a_network(self, subject: ClusterSubject) -> None:
        """Network jobs are recognised too."""
        reason, new = subject.reason(), subject.new_network()
        made = await subject.cluster.create_network(new, reason)
        await subject.done(made)
        assert [j.id for j in await subject.cluster.jobs_for(new.name, reason)] == [made]

    # Networks

    async def test_network_is_made_connected_and_removed(self, subject: ClusterSubject) -> None:
        """A network's whole life; jobs that depend on each other run in order."""
        cluster, new, reason = subject.cluster, subject.new_network(), subject.reason()
        made = await cluster.create_network(new, reason)
        joined = await cluster.connect_network(
            new.name, reason, subject.group, "routed", subject.link, depends=(made,)
        )
        await subject.done(joined)
        seen = await cluster.network(new.name)
        assert seen is not None
        assert (seen.cidr, seen.tags) == (new.cidr, ("private",))
        assert (seen.gateway, seen.mac_prefix) == (new.gateway, new.mac_prefix)
        assert (seen.cidr6, seen.gateway6, seen.instances) == (new.cidr6, new.gateway6, 0)
        assert new.gateway in seen.reserved
        assert seen.groups == ((subject.group, "routed", subject.link),)
        assert new.name in [each.name for each in await cluster.networks()]
        await subject.failed(await cluster.remove_network(new.name, reason))
        parted = await cluster.disconnect_network(new.name, reason, subject.group)
        await subject.done(await cluster.remove_network(new.name, reason, depends=(parted,)))
        assert await cluster.network(new.name) is None

    async def test_network_is_made_anew_with_another_range(self, subject: ClusterSubject) -> None:
        """Under its old name, when it was taken away first: a range cannot be changed."""
        cluster, old = subject.cluster, await subject.networked()
        parted = await cluster.disconnect_network(old.name, subject.reason(), subject.group)
        await subject.done(
            await cluster.remove_network(old.name, subject.reason(), depends=(parted,))
        )
        new = replace(
            subject.new_network(), cidr6="fd00:7f::/64", gateway6="fd00:7f::1", gateway=None
        )
        made = await cluster.create_network(new, subject.reason())
        await subject.done(
            await cluster.connect_network(
                new.name,
                subject.reason(),
                subject.group,
                "routed",
                subject.link,
                depends=(made,),
            )
        )
        seen = await cluster.network(old.name)
        assert seen is not None
        assert new.cidr != old.cidr
        assert (seen.cidr, seen.cidr6, seen.gateway6) == (new.cidr, new.cidr6, new.gateway6)
        assert (seen.gateway, seen.groups) == (
            None,
            ((subject.group, "routed", subject.link),),
        )

    async def test_network_fails_when_the_name_is_taken(self, subject: ClusterSubject) -> None:
        """Network names are unique."""
        new = subject.new_network()
        await subject.done(await subject.cluster.create_network(new, subject.reason()))
        again = await subject.cluster.create_network(new, subject.reason())
        assert (await subject.failed(again)).error_code == "already_exists"

    async def test_connect_succeeds_when_it_is_connected(self, subject: ClusterSubject) -> None:
        """Connecting twice is no error, so a repeated job does no harm."""
        new = await subject.networked()
        again = await subject.cluster.connect_network(
            new.name, subject.reason(), subject.group, "routed", subject.link
        )
        await subject.done(again)

    async def test_disconnect_fails_when_the_network_is_in_use(
        self, subject: ClusterSubject
    ) -> None:
        """A network with machines on it cannot be taken away."""
        network = await subject.networked()
        nics = (NewNic(subject.name("nic"), network.name, address_in(network, 5)),)
        await subject.created(nics=nics)
        await subject.failed(
            await subject.cluster.disconnect_network(network.name, subject.reason(), subject.group)
        )

    async def test_bridged_network_is_seen_on_the_interface(self, subject: ClusterSubject) -> None:
        """Where bridges can be made, an interface is on the network's bridge."""
        mode = "bridged" if subject.bridge else "routed"
        network = await subject.networked(mode=mode)
        nics = (NewNic(subject.name("nic"), network.name, None),)
        (nic,) = (await subject.created(nics=nics)).nics
        assert (nic.mode, nic.link) == (mode, subject.bridge or subject.link)
        assert nic.ip is None

    # Jobs

    async def test_cancel_stops_a_job_that_has_not_begun(self, subject: ClusterSubject) -> None:
        """A waiting job is canceled and its effect never comes; an ended one is not."""
        network = await subject.networked()
        new = subject.new(osparams={"img_id": "test:sleep=2"})
        created = await subject.cluster.create_instance(new, subject.reason())
        nic = NewNic(subject.name("nic"), network.name, address_in(network, 30))
        waiting = await subject.cluster.add_nic(
            new.name, subject.reason(), nic, False, depends=(created,)
        )
        assert await subject.cluster.cancel_job(waiting) is True
        assert (await subject.end_of(waiting)).status is JobStatus.CANCELED
        await subject.done(created)
        assert (await subject.seen(new.name)).nics == ()
        assert await subject.cluster.cancel_job(created) is False
        assert await subject.cluster.cancel_job(99_999_999) is False

    # Who asks

    async def test_write_access_is_proved(self, subject: ClusterSubject) -> None:
        """Good credentials pass, a wrong password is refused."""
        await subject.cluster.check_write_access()
        stranger = subject.connect(password=secrets.token_hex(8))
        for call in (stranger.check_write_access(), stranger.info(), stranger.glance("")):
            refused = await raised(GanetiRefused, call)
            assert refused.status == 401

    async def test_lost_lease_changes_nothing(self, subject: ClusterSubject) -> None:
        """A guard that raises stops each kind of change before Ganeti takes it."""

        def lost() -> None:
            raise LostLease("Another process drives this cluster.")

        cluster, reason = subject.connect(guard=lost), subject.reason()
        vm = await subject.created(tags=("kept",))
        for call in (
            cluster.create_instance(subject.new("second"), reason),
            cluster.remove_instance(vm.name, reason),
            cluster.stop_instance(vm.name, reason),
            cluster.remove_tags(vm.name, reason, ("kept",)),
            cluster.cancel_job(1),
        ):
            await raised(LostLease, call)
        await subject.sleep(0.3)
        assert await subject.cluster.jobs_for(vm.name, reason) == ()
        assert await subject.cluster.jobs_for(subject.name("second"), reason) == ()
        assert await subject.seen(vm.name) == vm


def cluster_contract() -> type:
    """Return the class of tests; each takes the fixture ``subject`` (:class:`ClusterSubject`)."""
    return ClusterContract
