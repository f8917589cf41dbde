"""The part of the exam of Ganeti clusters that is about instances."""

from __future__ import annotations

from ipaddress import ip_address

from cyclades_tx.ganeti.interfaces import GanetiRefused
from cyclades_tx.model.instance import (
    KeptDisk,
    NewDisk,
    NewNic,
    Power,
)
from cyclades_tx.model.job import JobStatus
from cyclades_tx.testing.cluster_subject import ClusterSubject, address_in
from cyclades_tx.testing.expected import raised


class InstanceContract:
    """What every cluster does with instances."""

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
        address = await subject.cluster.node_address(vm.pnode)
        assert address is not None and ip_address(address)
        assert await subject.cluster.node_address("no-such-node.test") is None

    async def test_create_leaves_it_stopped_when_asked_to(self, subject: ClusterSubject) -> None:
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

    async def test_create_fails_when_the_address_is_taken(self, subject: ClusterSubject) -> None:
        """An address is given once; the one of the gateway never."""
        network = await subject.networked()
        nics = (NewNic(subject.name("n1"), network.name, address_in(network, 9)),)
        await subject.created("vm1", nics=nics)
        for last, rest in ((9, "vm2"), (1, "vm3")):
            nics = (NewNic(subject.name(rest), network.name, address_in(network, last)),)
            new = subject.new(rest, nics=nics)
            job = await subject.failed(await subject.cluster.create_instance(new, subject.reason()))
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

    async def test_stop_start_and_reboot_change_the_power(self, subject: ClusterSubject) -> None:
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

    async def test_changes_fail_when_the_instance_is_unknown(self, subject: ClusterSubject) -> None:
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
        await subject.done(await subject.cluster.resize_instance(vm.name, subject.reason(), 3, 48))
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
        await subject.done(await cluster.remove_disk(vm.name, subject.reason(), disk.name, False))
        assert [each.size_mib for each in (await subject.seen(vm.name)).disks] == [16]
        unknown = cluster.remove_disk(vm.name, subject.reason(), disk.name, False)
        await subject.failed(await unknown)

    async def test_detached_disk_comes_back_with_its_uuid(self, subject: ClusterSubject) -> None:
        """As it was, and to an instance of the same node; an unknown one does not."""
        cluster, disk = subject.cluster, NewDisk(subject.name("kept"), 24)
        name = (await subject.created(start=False)).name
        await subject.done(await cluster.add_disk(name, subject.reason(), disk, False))
        uuid = (await subject.seen(name)).disks[1].uuid
        await subject.done(await cluster.detach_disk(name, subject.reason(), disk.name, False))
        assert len((await subject.seen(name)).disks) == 1
        await subject.done(await cluster.attach_disk(name, subject.reason(), uuid, False))
        seen = (await subject.seen(name)).disks[1]
        assert (seen.name, seen.size_mib, seen.uuid) == (disk.name, 24, uuid)
        await subject.failed(await cluster.attach_disk(name, subject.reason(), name, False))

    async def test_kept_disk_takes_the_place_of_the_only_one(self, subject: ClusterSubject) -> None:
        """On an instance of its node where nothing was installed; new disks come behind it."""
        cluster, disk = subject.cluster, NewDisk(subject.name("kept"), 24)
        first = await subject.created(start=False)
        await subject.done(await cluster.add_disk(first.name, subject.reason(), disk, False))
        uuid = (await subject.seen(first.name)).disks[1].uuid
        await subject.done(await cluster.detach_disk(first.name, subject.reason(), uuid, False))
        vm = await subject.created("vm2", node=first.pnode, install=False)
        assert (vm.power, vm.pnode) == (Power.STOPPED, first.pnode)
        (place,) = vm.disks
        fresh = NewDisk(subject.name("fresh"), 16)
        wanted = (KeptDisk(uuid), fresh)
        await subject.done(
            await cluster.put_disks(vm.name, subject.reason(), wanted, place.name or "")
        )
        seen = await subject.seen(vm.name)
        assert [(each.name, each.size_mib) for each in seen.disks] == [
            (disk.name, 24),
            (fresh.name, 16),
        ]
        assert seen.disks[0].uuid == uuid
        await subject.done(await cluster.start_instance(vm.name, subject.reason()))
        await subject.done(await cluster.stop_instance(vm.name, subject.reason(), 0))
        for each in seen.disks:
            await subject.done(
                await cluster.detach_disk(vm.name, subject.reason(), each.uuid, False)
            )
        assert (await subject.seen(vm.name)).disks == ()

    async def test_kept_disk_is_held_grown_and_goes_with_its_holder(
        self, subject: ClusterSubject
    ) -> None:
        """By an instance that never runs, and that no policy allows or forbids."""
        cluster, disk = subject.cluster, NewDisk(subject.name("kept"), 24)
        first = await subject.created(start=False)
        await subject.done(await cluster.add_disk(first.name, subject.reason(), disk, False))
        uuid = (await subject.seen(first.name)).disks[1].uuid
        await subject.done(await cluster.detach_disk(first.name, subject.reason(), uuid, False))
        bare = {"nics": (), "install": False, "start": False, "within_policy": False}
        name = (await subject.created("vm2", node=first.pnode, **bare)).name

        async def hold() -> list[int]:
            await subject.done(
                await cluster.attach_disk(name, subject.reason(), uuid, False, within_policy=False)
            )
            return [each.size_mib for each in (await subject.seen(name)).disks]

        assert await hold() == [16, 24]
        await subject.done(await cluster.grow_disk(name, subject.reason(), 1, 48))
        await subject.done(
            await cluster.detach_disk(name, subject.reason(), uuid, False, within_policy=False)
        )
        assert await hold() == [16, 48]
        await subject.done(await cluster.remove_instance(name, subject.reason(), 0))
        await subject.failed(await cluster.attach_disk(first.name, subject.reason(), uuid, False))

    async def test_instance_on_an_unknown_node_is_not_made(self, subject: ClusterSubject) -> None:
        """The job says so."""
        new = subject.new(node="nowhere.test", install=False)
        await subject.failed(await subject.cluster.create_instance(new, subject.reason()))
        assert await subject.cluster.instance(new.name) is None

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

    async def test_a_disk_grows_to_a_size_and_never_shrinks(self, subject: ClusterSubject) -> None:
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
            await subject.cluster.set_hypervisor_parameters(vm.name, subject.reason(), parameters)
        )
        assert job.status is JobStatus.SUCCESS or "boot_order" in job.message
