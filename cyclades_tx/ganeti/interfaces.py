"""The doors to a Ganeti cluster: questions that anyone may ask, and changes for loops only.

Every call is a coroutine. A change returns the id of the job that Ganeti accepted; whether
the job succeeds is found out later by :meth:`IClusterQuestions.jobs`. ``reason`` is the
ASCII text that ends in the job's reason trail (RAPI's ``?reason=``), by which a lost answer
is recognised; ours is ``cyclades:op:<operation id>``.

What a call raises:

* :class:`GanetiRefused`: the cluster said no (4xx, or a 5xx that means "not accepted"): no
  job was made, and the same request would be refused again.
* :class:`GanetiUnavailable`: nothing was sent (breaker open, connection refused, TLS failed
  before the request): no job was made, trying later helps.
* :class:`GanetiUncertain`: the request may have been accepted, the answer was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zope.interface import Interface

from cyclades_tx.errors import CycladesError
from cyclades_tx.model.instance import (
    Capacity,
    ClusterInfo,
    Instance,
    InstanceGlance,
    KeptDisk,
    NewDisk,
    NewInstance,
    NewNetwork,
    NewNic,
    Node,
    SeenNetwork,
)
from cyclades_tx.model.job import Job


class GanetiError(CycladesError):
    """A call to a cluster did not succeed."""

    code = "ganeti"


class GanetiRefused(GanetiError):
    """The cluster refused: no job was made.

    :ivar status: the HTTP status of the reply.
    """

    code = "ganeti_refused"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status=status)
        self.status = status


class GanetiUnavailable(GanetiError):
    """The cluster was not reached; nothing was sent."""

    code = "ganeti_unavailable"


class GanetiUncertain(GanetiError):
    """The request may have been accepted; look for its reason before sending it again."""

    code = "ganeti_uncertain"


class IClusterQuestions(Interface):
    """Questions to one cluster; they change nothing there."""

    async def info() -> ClusterInfo:
        """Who and what the cluster is (``GET /2/info``); also the health check."""

    async def capacity() -> Capacity:
        """Free and total memory, disk, CPUs over the usable nodes (``GET /2/nodes?bulk=1``)."""

    async def nodes() -> tuple[Node, ...]:
        """Every node, with its figures (``GET /2/nodes?bulk=1``)."""

    async def groups() -> tuple[str, ...]:
        """The names of the node groups (``GET /2/groups``)."""

    async def instance(name: str) -> Instance | None:
        """One instance with all details, or None when the cluster has none of that name."""

    async def instances(names: tuple[str, ...]) -> dict[str, Instance]:
        """The details of those of the named instances that exist, by name, with one query."""

    async def tagged(tags: tuple[str, ...]) -> dict[str, str]:
        """The names of instances by those of these tags that they have, with one query."""

    async def instances_with(prefix: str) -> Iterator[tuple[Instance, ...]]:
        """The details of every instance whose name begins with ``prefix``, with one query.

        They come in slices, ordered by the length of the name and the name itself, so that
        numbers behind a prefix rise. Each takes a few milliseconds to make: whoever takes them
        lets the reactor run between two, and keeps none.
        """

    async def glance(prefix: str) -> tuple[InstanceGlance, ...]:
        """The few revealing fields of every instance whose name begins with ``prefix``."""

    async def node_address(name: str) -> str | None:
        """A node's primary IP address, or None when the cluster has no such node."""

    async def jobs(ids: tuple[int, ...]) -> dict[int, Job]:
        """The named jobs, with one query; an unknown one has :attr:`JobStatus.UNKNOWN`."""

    async def jobs_for(name: str, reason: str) -> tuple[Job, ...]:
        """Every job on the instance or network ``name`` whose reason trail holds ``reason``.

        Newest first; empty when the cluster has accepted none (archived jobs do not count).
        """

    async def network(name: str) -> SeenNetwork | None:
        """One Ganeti network, or None."""

    async def networks() -> tuple[SeenNetwork, ...]:
        """All Ganeti networks."""


class IClusterChanges(Interface):
    """Changes at one cluster; only loops call these. Each returns the id of the accepted job."""

    async def create_instance(new: NewInstance, reason: str) -> int:
        """OP_INSTANCE_CREATE."""

    async def remove_instance(
        name: str, reason: str, shutdown_timeout_seconds: int | None = None
    ) -> int:
        """OP_INSTANCE_REMOVE."""

    async def start_instance(name: str, reason: str) -> int:
        """OP_INSTANCE_STARTUP."""

    async def stop_instance(name: str, reason: str, timeout_seconds: int | None = None) -> int:
        """OP_INSTANCE_SHUTDOWN."""

    async def reboot_instance(name: str, reason: str, hard: bool) -> int:
        """OP_INSTANCE_REBOOT, Ganeti type ``hard``; ``hard`` here: shutdown timeout 0."""

    async def resize_instance(name: str, reason: str, vcpus: int, memory_mib: int) -> int:
        """OP_INSTANCE_SET_PARAMS with ``beparams``."""

    async def add_nic(
        name: str, reason: str, nic: NewNic, hotplug: bool, depends: tuple[int, ...] = ()
    ) -> int:
        """OP_INSTANCE_SET_PARAMS: add an interface."""

    async def remove_nic(name: str, reason: str, nic_name: str, hotplug: bool) -> int:
        """OP_INSTANCE_SET_PARAMS: remove the interface of that name."""

    async def add_disk(
        name: str, reason: str, disk: NewDisk, hotplug: bool, wait_for_sync: bool | None = None
    ) -> int:
        """OP_INSTANCE_SET_PARAMS: add a disk."""

    async def remove_disk(name: str, reason: str, disk_name: str, hotplug: bool) -> int:
        """OP_INSTANCE_SET_PARAMS: remove the disk of that name, with what is on it."""

    async def detach_disk(
        name: str, reason: str, disk_name: str, hotplug: bool, within_policy: bool = True
    ) -> int:
        """OP_INSTANCE_SET_PARAMS: take the disk of that name off, and keep what is on it.

        :param within_policy: whether the instance must be as the cluster allows instances to be.
        """

    async def attach_disk(
        name: str, reason: str, disk_uuid: str, hotplug: bool, within_policy: bool = True
    ) -> int:
        """OP_INSTANCE_SET_PARAMS: put a disk on that was taken off an instance of this cluster.

        :param disk_uuid: Ganeti's own id of it, since its name may be another's by now.
        :param within_policy: whether the instance must be as the cluster allows instances to be.
        """

    async def put_disks(
        name: str, reason: str, disks: Sequence[NewDisk | KeptDisk], instead_of: str
    ) -> int:
        """OP_INSTANCE_SET_PARAMS: give a stopped instance disks in place of its only one.

        :param disks: kept ones of its node or cluster, and new ones, in their order.
        :param instead_of: the name of the disk that goes.
        """

    async def set_hypervisor_parameters(name: str, reason: str, hvparams: dict[str, object]) -> int:
        """OP_INSTANCE_SET_PARAMS with ``hvparams`` (rescue)."""

    async def set_os_parameters(name: str, reason: str, osparams: dict[str, str]) -> int:
        """OP_INSTANCE_SET_PARAMS with ``osparams`` (before a reinstallation)."""

    async def grow_disk(name: str, reason: str, index: int, size_mib: int) -> int:
        """OP_INSTANCE_GROW_DISK of the disk at that place, to a size."""

    async def reinstall_instance(
        name: str, reason: str, os: str, osparams: dict[str, str], start: bool
    ) -> int:
        """OP_INSTANCE_REINSTALL."""

    async def add_tags(name: str, reason: str, tags: tuple[str, ...]) -> int:
        """OP_TAGS_SET on an instance."""

    async def remove_tags(name: str, reason: str, tags: tuple[str, ...]) -> int:
        """OP_TAGS_DEL on an instance."""

    async def create_network(new: NewNetwork, reason: str) -> int:
        """OP_NETWORK_ADD."""

    async def connect_network(
        name: str,
        reason: str,
        group: str,
        mode: str,
        link: str,
        conflicts_check: bool = False,
        depends: tuple[int, ...] = (),
    ) -> int:
        """OP_NETWORK_CONNECT to one node group; ``depends``: jobs that must end first."""

    async def disconnect_network(name: str, reason: str, group: str) -> int:
        """OP_NETWORK_DISCONNECT from one node group."""

    async def remove_network(name: str, reason: str, depends: tuple[int, ...] = ()) -> int:
        """OP_NETWORK_REMOVE."""

    async def cancel_job(job_id: int) -> bool:
        """Cancel a job that has not begun; True when it will not run."""

    async def check_write_access() -> None:
        """Prove that the credentials may write (``PUT /2/modify`` with nothing); raises if not."""


class IGanetiCluster(IClusterQuestions, IClusterChanges):
    """One cluster, with everything."""
