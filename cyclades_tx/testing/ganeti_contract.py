"""The exam that every Ganeti cluster passes: the simulated one and a real one.

:func:`cluster_contract` makes a class of tests for pytest; a module that runs it binds the
class to a name that begins with ``Test`` and provides the fixture ``subject``.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cyclades_tx.errors import LostLease
from cyclades_tx.ganeti.interfaces import GanetiRefused, IGanetiCluster
from cyclades_tx.model.instance import (
    Instance,
    NewDisk,
    NewInstance,
    NewNetwork,
    NewNic,
    Power,
)
from cyclades_tx.model.job import Job, JobStatus

E = TypeVar("E", bound=Exception)

_octets = itertools.count(1)


@dataclass
class ClusterSubject:
    """A cluster under examination.

    :ivar connect: makes a client; takes ``username``, ``password`` and ``guard``.
    :ivar sleep: waits some seconds of the real clock.
    :ivar bridge: the link of networks of mode bridged, or "" where there are no bridges.
    :ivar prefix: of all names in one test; none is used twice.
    """

    connect: Callable[..., IGanetiCluster]
    sleep: Callable[[float], Awaitable[Any]]
    group: str = "default"
    os: str = "snf-image+default"
    template: str = "file"
    link: str = "100"
    bridge: str = ""
    job_timeout_seconds: float = 60.0
    prefix: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}-")
    cluster: IGanetiCluster = field(init=False)

    def __post_init__(self) -> None:
        self.cluster = self.connect()

    def name(self, rest: str) -> str:
        """Return a name of this test's own."""
        return self.prefix + rest

    def reason(self) -> str:
        """Return a reason that no other job has."""
        return f"cyclades:op:{secrets.token_hex(8)}"

    async def end_of(self, job_id: int) -> Job:
        """Wait until a job has ended; return it."""
        for _ in range(int(self.job_timeout_seconds / 0.05)):
            job: Job = (await self.cluster.jobs((job_id,)))[job_id]
            if job.status.final:
                return job
            await self.sleep(0.05)
        raise AssertionError(f"job {job_id} has not ended: {job}")

    async def done(self, job_id: int) -> Job:
        """Wait until a job has ended well; return it."""
        job = await self.end_of(job_id)
        assert job.status is JobStatus.SUCCESS, job
        return job

    async def failed(self, job_id: int) -> Job:
        """Wait until a job has failed; return it."""
        job = await self.end_of(job_id)
        assert job.status is JobStatus.ERROR, job
        assert job.message, job
        return job

    def new(self, rest: str = "vm", **parts: Any) -> NewInstance:
        """Return the wish for a small instance without interfaces."""
        values: dict[str, Any] = {
            "name": self.name(rest),
            "disk_template": self.template,
            "disks": (NewDisk(self.name(rest) + "-disk", 16),),
            "nics": (),
            "vcpus": 1,
            "memory_mib": 16,
            "os": self.os,
            "osparams": {"config_url": "http://127.0.0.1/none"},
        }
        return NewInstance(**{**values, **parts})

    async def created(self, rest: str = "vm", **parts: Any) -> Instance:
        """Create an instance and return it as it is seen then."""
        new = self.new(rest, **parts)
        await self.done(await self.cluster.create_instance(new, self.reason()))
        return await self.seen(new.name)

    async def seen(self, name: str) -> Instance:
        """Return an instance that must exist."""
        instance: Instance | None = await self.cluster.instance(name)
        assert instance is not None, name
        return instance

    def new_network(self, rest: str = "net") -> NewNetwork:
        """Return the wish for a network with a range of its own."""
        octet = next(_octets)
        base = f"10.{100 + octet // 200}.{octet % 200}"
        return NewNetwork(
            name=self.name(rest),
            cidr=f"{base}.0/24",
            gateway=f"{base}.1",
            cidr6=None,
            gateway6=None,
            mac_prefix="aa:00:7f",
            tags=("private",),
        )

    async def networked(self, rest: str = "net", mode: str = "routed") -> NewNetwork:
        """Create a network, connect it and return the wish."""
        new = self.new_network(rest)
        made = await self.cluster.create_network(new, self.reason())
        await self.done(
            await self.cluster.connect_network(
                new.name,
                self.reason(),
                self.group,
                mode,
                self.bridge if mode == "bridged" else self.link,
                depends=(made,),
            )
        )
        return new


async def raised(kind: type[E], call: Awaitable[Any]) -> E:
    """Return the exception of this kind that a call ends with."""
    try:
        result = await call
    except kind as failure:
        return failure
    raise AssertionError(f"{kind.__name__} was expected, the call returned {result!r}")


def address_in(network: NewNetwork, last: int) -> str:
    """Return an address of a network by its last number."""
    return network.cidr.rsplit(".", 1)[0] + f".{last}"


def cluster_contract() -> type:
    """Return the class of tests; each takes the fixture ``subject`` (:class:`ClusterSubject`)."""

    class ClusterContract:
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

        async def test_glance_shows_only_names_with_the_prefix(
            self, subject: ClusterSubject
        ) -> None:
            """The prefix chooses, and its dots are dots."""
            await subject.created("a.b")
            await subject.created("axb")
            seen = await subject.cluster.glance(subject.name("a.b"))
            assert [each.name for each in seen] == [subject.name("a.b")]
            assert seen[0].power is Power.RUNNING and isinstance(seen[0].serial, int)
            everyone = {each.name for each in await subject.cluster.glance("")}
            assert {subject.name("a.b"), subject.name("axb")} <= everyone

        async def test_jobs_are_unknown_when_the_queue_has_none(
            self, subject: ClusterSubject
        ) -> None:
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

        async def test_jobs_for_finds_them_by_name_and_reason(
            self, subject: ClusterSubject
        ) -> None:
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

        # Instances

        async def test_create_makes_what_was_asked_for(self, subject: ClusterSubject) -> None:
            """The instance runs and has its CPUs, memory, disk, interface and tags."""
            network = await subject.networked()
            ip = address_in(network, 7)
            vm = await subject.created(
                vcpus=2,
                memory_mib=24,
                nics=(NewNic(subject.name("nic"), network.name, ip),),
                tags=("b", "a"),
            )
            assert vm.power is Power.RUNNING and vm.status == "running"
            assert (vm.vcpus, vm.memory_mib, vm.tags) == (2, 24, ("a", "b"))
            assert [(disk.name, disk.size_mib) for disk in vm.disks] == [(vm.name + "-disk", 16)]
            (nic,) = vm.nics
            assert (nic.name, nic.network, nic.ip) == (subject.name("nic"), network.name, ip)
            assert nic.mac.startswith("aa:00:7f:") and nic.mode == "routed"
            assert vm.pnode and vm.uuid and vm.serial

        async def test_create_leaves_it_stopped_when_asked_to(
            self, subject: ClusterSubject
        ) -> None:
            """``start=False`` makes a stopped machine."""
            assert (await subject.created(start=False)).power is Power.STOPPED

        async def test_create_fails_when_the_name_is_taken(self, subject: ClusterSubject) -> None:
            """Names are unique: the second job fails and the first instance stays."""
            vm = await subject.created()
            job = await subject.failed(
                await subject.cluster.create_instance(subject.new(), subject.reason())
            )
            assert job.error_code == "already_exists"
            assert (await subject.seen(vm.name)).uuid == vm.uuid

        async def test_create_fails_when_the_address_is_taken(
            self, subject: ClusterSubject
        ) -> None:
            """An address is given once; the one of the gateway never."""
            network = await subject.networked()
            nics = (NewNic(subject.name("n1"), network.name, address_in(network, 9)),)
            await subject.created("vm1", nics=nics)
            for last, rest in ((9, "vm2"), (1, "vm3")):
                nics = (NewNic(subject.name(rest), network.name, address_in(network, last)),)
                new = subject.new(rest, nics=nics)
                job = await subject.failed(
                    await subject.cluster.create_instance(new, subject.reason())
                )
                assert job.error_code == "resource_not_unique"
                assert await subject.cluster.instance(new.name) is None

        async def test_create_takes_a_given_mac_address_once(self, subject: ClusterSubject) -> None:
            """An interface has the MAC address that was asked for; a second one is refused."""
            network = await subject.networked()

            def nics(name: str) -> tuple[NewNic, ...]:
                return (NewNic(subject.name(name), network.name, None, "aa:00:7f:00:00:09"),)

            vm = await subject.created("vm1", nics=nics("n1"))
            assert [nic.mac for nic in vm.nics] == ["aa:00:7f:00:00:09"]
            job = await subject.failed(
                await subject.cluster.create_instance(
                    subject.new("vm2", nics=nics("n2")), subject.reason()
                )
            )
            assert job.error_code == "resource_not_unique"

        async def test_create_fails_when_there_is_no_room(self, subject: ClusterSubject) -> None:
            """What fits on no node is an error of the job, with the reason."""
            new = subject.new(memory_mib=30_000_000)
            job = await subject.failed(await subject.cluster.create_instance(new, subject.reason()))
            assert job.error_code == "insufficient_resources"

        async def test_create_fails_when_the_os_is_unknown(self, subject: ClusterSubject) -> None:
            """An unknown OS is found out by the job."""
            new = subject.new(os="nothing+default")
            await subject.failed(await subject.cluster.create_instance(new, subject.reason()))
            assert await subject.cluster.instance(new.name) is None

        async def test_create_is_refused_when_the_template_is_no_word_of_ganeti(
            self, subject: ClusterSubject
        ) -> None:
            """A refused request has made no job."""
            reason, new = subject.reason(), subject.new(disk_template="clay")
            refused = await raised(GanetiRefused, subject.cluster.create_instance(new, reason))
            assert refused.status == 400 and "disk_template" in refused.message
            assert await subject.cluster.jobs_for(new.name, reason) == ()

        async def test_create_is_refused_when_a_text_is_not_ascii(
            self, subject: ClusterSubject
        ) -> None:
            """What would break the cluster's queue is not even sent."""
            for parts in ({"tags": ("\u00e9",)}, {"osparams": {"img_id": "\u03b1"}}):
                new = subject.new(**parts)
                await raised(GanetiRefused, subject.cluster.create_instance(new, "r"))
                assert await subject.cluster.jobs_for(new.name, "r") == ()

        async def test_stop_start_and_reboot_change_the_power(
            self, subject: ClusterSubject
        ) -> None:
            """A machine stops and starts; a reboot leaves it running."""
            vm = await subject.created()
            cluster, name = subject.cluster, vm.name
            for job_id, power in (
                (await cluster.stop_instance(name, subject.reason(), 0), Power.STOPPED),
            ):
                await subject.done(job_id)
                assert (await subject.seen(name)).power is power
            await subject.done(await cluster.start_instance(name, subject.reason()))
            assert (await subject.seen(name)).power is Power.RUNNING
            for hard in (False, True):
                await subject.done(await cluster.reboot_instance(name, subject.reason(), hard))
                assert (await subject.seen(name)).power is Power.RUNNING
            assert (await subject.seen(name)).uuid == vm.uuid

        async def test_stop_succeeds_when_it_is_stopped(self, subject: ClusterSubject) -> None:
            """Stopping twice is no error, so a repeated job does no harm."""
            vm = await subject.created(start=False)
            await subject.done(await subject.cluster.stop_instance(vm.name, subject.reason()))
            assert (await subject.seen(vm.name)).power is Power.STOPPED

        async def test_changes_fail_when_the_instance_is_unknown(
            self, subject: ClusterSubject
        ) -> None:
            """Whether an instance exists is found out by the job, not by the call."""
            cluster, name, reason = subject.cluster, subject.name("nobody"), subject.reason()
            for job_id in (
                await cluster.remove_instance(name, reason),
                await cluster.stop_instance(name, reason),
                await cluster.resize_instance(name, reason, 1, 16),
                await cluster.add_tags(name, reason, ("t",)),
            ):
                assert (await subject.failed(job_id)).error_code == "unknown_entity"

        async def test_remove_frees_name_and_address(self, subject: ClusterSubject) -> None:
            """A removed instance is gone, and what it had can be had again."""
            network = await subject.networked()
            nics = (NewNic(subject.name("nic"), network.name, address_in(network, 5)),)
            vm = await subject.created(nics=nics)
            await subject.done(await subject.cluster.remove_instance(vm.name, subject.reason(), 0))
            assert await subject.cluster.instance(vm.name) is None
            assert (await subject.created(nics=nics)).uuid != vm.uuid

        async def test_resize_changes_cpus_and_memory(self, subject: ClusterSubject) -> None:
            """The new sizes are seen, and the serial number tells of a change."""
            vm = await subject.created(start=False)
            await subject.done(
                await subject.cluster.resize_instance(vm.name, subject.reason(), 3, 48)
            )
            after = await subject.seen(vm.name)
            assert (after.vcpus, after.memory_mib) == (3, 48)
            assert (after.serial or 0) > (vm.serial or 0)

        async def test_interfaces_come_and_go(self, subject: ClusterSubject) -> None:
            """An interface is added with an address or without, and removed by its name."""
            cluster, network = subject.cluster, await subject.networked()
            vm = await subject.created()
            for name, ip in (("n1", address_in(network, 20)), ("n2", None)):
                nic = NewNic(subject.name(name), network.name, ip)
                await subject.done(await cluster.add_nic(vm.name, subject.reason(), nic, True))
            seen = (await subject.seen(vm.name)).nics
            assert [nic.ip for nic in seen] == [address_in(network, 20), None]
            await subject.done(
                await cluster.remove_nic(vm.name, subject.reason(), subject.name("n1"), True)
            )
            assert [nic.name for nic in (await subject.seen(vm.name)).nics] == [subject.name("n2")]
            unknown = cluster.remove_nic(vm.name, subject.reason(), subject.name("n1"), False)
            assert (await subject.failed(await unknown)).error_code == "unknown_entity"

        async def test_disks_come_and_go(self, subject: ClusterSubject) -> None:
            """A disk is added to a stopped machine and removed by its name."""
            vm = await subject.created(start=False)
            cluster, disk = subject.cluster, NewDisk(subject.name("more"), 24)
            await subject.done(await cluster.add_disk(vm.name, subject.reason(), disk, False))
            assert [each.size_mib for each in (await subject.seen(vm.name)).disks] == [16, 24]
            await subject.done(
                await cluster.remove_disk(vm.name, subject.reason(), disk.name, False)
            )
            assert [each.size_mib for each in (await subject.seen(vm.name)).disks] == [16]
            unknown = cluster.remove_disk(vm.name, subject.reason(), disk.name, False)
            await subject.failed(await unknown)

        async def test_tags_come_and_go(self, subject: ClusterSubject) -> None:
            """Tags are added and removed; Ganeti's characters only."""
            cluster, vm = subject.cluster, await subject.created(tags=("a",))
            await subject.done(await cluster.add_tags(vm.name, subject.reason(), ("b", "c:d/e")))
            assert (await subject.seen(vm.name)).tags == ("a", "b", "c:d/e")
            await subject.done(await cluster.remove_tags(vm.name, subject.reason(), ("a", "b")))
            assert (await subject.seen(vm.name)).tags == ("c:d/e",)
            await subject.failed(await cluster.add_tags(vm.name, subject.reason(), ("x y",)))
            absent = await subject.failed(
                await cluster.remove_tags(vm.name, subject.reason(), ("gone",))
            )
            assert absent.error_code == "unknown_entity"

        async def test_reinstall_installs_and_starts(self, subject: ClusterSubject) -> None:
            """A new system is put on the same instance, which runs only if asked to."""
            vm = await subject.created()
            for start, power in ((False, Power.STOPPED), (True, Power.RUNNING)):
                await subject.done(
                    await subject.cluster.reinstall_instance(
                        vm.name, subject.reason(), subject.os, {"img_id": "again"}, start
                    )
                )
                assert (await subject.seen(vm.name)).power is power

        async def test_os_parameters_are_set_for_a_reinstallation(
            self, subject: ClusterSubject
        ) -> None:
            """By a job of its own, so that each is found by its own reason."""
            vm, cluster = await subject.created(), subject.cluster
            reason = subject.reason()
            await subject.done(await cluster.set_os_parameters(vm.name, reason, {"img_id": "x"}))
            (found,) = await cluster.jobs_for(vm.name, reason)
            assert found.status is JobStatus.SUCCESS
            await subject.done(
                await cluster.reinstall_instance(vm.name, subject.reason(), subject.os, {}, True)
            )

        async def test_a_disk_grows_to_a_size_and_never_shrinks(
            self, subject: ClusterSubject
        ) -> None:
            """Asked for twice it is the same size; the job is found by its reason."""
            vm, cluster = await subject.created(start=False), subject.cluster
            reason = subject.reason()
            for _ in range(2):
                await subject.end_of(await cluster.grow_disk(vm.name, reason, 0, 32))
                assert [each.size_mib for each in (await subject.seen(vm.name)).disks] == [32]
            assert len(await cluster.jobs_for(vm.name, reason)) == 2
            await subject.failed(await cluster.grow_disk(vm.name, reason, 0, 8))
            await subject.failed(await cluster.grow_disk(vm.name, reason, 7, 64))

        async def test_hypervisor_parameters_make_a_job(self, subject: ClusterSubject) -> None:
            """The request is accepted; whether the hypervisor has the parameter, the job says."""
            vm = await subject.created(start=False)
            parameters: dict[str, object] = {"boot_order": "disk"}
            job = await subject.end_of(
                await subject.cluster.set_hypervisor_parameters(
                    vm.name, subject.reason(), parameters
                )
            )
            assert job.status is JobStatus.SUCCESS or "boot_order" in job.message

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
                await subject.cluster.disconnect_network(
                    network.name, subject.reason(), subject.group
                )
            )

        async def test_bridged_network_is_seen_on_the_interface(
            self, subject: ClusterSubject
        ) -> None:
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

    return ClusterContract
