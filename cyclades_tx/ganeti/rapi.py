"""The client of one Ganeti cluster, over its Remote API (RAPI, protocol version 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from twisted.internet.task import deferLater
from twisted.web.iweb import IAgent
from zope.interface import implementer

from cyclades_tx.ganeti import instance_slices, replies, words
from cyclades_tx.ganeti.exchange import Gate, RapiCredentials, RapiLimits, RapiWire, no_guard
from cyclades_tx.ganeti.interfaces import (
    GanetiRefused,
    GanetiUnavailable,
    GanetiUncertain,
    IGanetiCluster,
)
from cyclades_tx.ganeti.large_json import LargeJson
from cyclades_tx.ganeti.replies import OddReply
from cyclades_tx.ganeti.tls import RapiAddress
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
from cyclades_tx.model.job import Job, JobStatus

__all__ = ["RapiAddress", "RapiCluster", "RapiCredentials", "RapiLimits"]

T = TypeVar("T")

#: Ganeti 3.1 dropped ``hotplug_if_possible`` and gave ``hotplug`` the default true.
_HOTPLUG_CHANGED_IN = (3, 1)
_WAIT_STEP_SECONDS = 0.25


@implementer(IGanetiCluster)
class RapiCluster:
    """One cluster, asked and changed over its RAPI.

    :param reactor: for connections and time.
    :param address: where the RAPI listens and what proves its identity.
    :param credentials: a RAPI user with write access.
    :param guard: called when the bytes of a change are about to leave; what it raises stops
        the change and comes out of the call (``LostLease``).
    :param gate: what every exchange goes through: a connection limit and a breaker.
    :param large_json: parses replies over the limit; without it they are parsed here.
    :param agent: in place of connections of our own (an in-memory agent in tests).
    """

    def __init__(
        self,
        reactor: Any,
        address: RapiAddress,
        credentials: RapiCredentials,
        *,
        limits: RapiLimits | None = None,
        guard: Callable[[], None] = no_guard,
        gate: Gate | None = None,
        large_json: LargeJson | None = None,
        agent: IAgent | None = None,
    ) -> None:
        self._reactor = reactor
        self._limits = limits or RapiLimits()
        self._wire = RapiWire(
            reactor, address, credentials, self._limits, guard, gate, large_json, agent
        )
        self._version: str | None = None

    async def close(self) -> None:
        """Close the connections that are kept open."""
        await self._wire.close()

    # Questions -----------------------------------------------------------------------------

    async def info(self) -> ClusterInfo:
        found = replies.info(await self._wire.ask("GET", "/2/info"))
        self._version = found.version
        return found

    async def capacity(self) -> Capacity:
        return replies.capacity(await self._wire.ask("GET", "/2/nodes", {"bulk": "1"}))

    async def nodes(self) -> tuple[Node, ...]:
        return replies.nodes(await self._wire.ask("GET", "/2/nodes", {"bulk": "1"}))

    async def groups(self) -> tuple[str, ...]:
        return replies.groups(await self._wire.ask("GET", "/2/groups"))

    async def instance(self, name: str) -> Instance | None:
        return (await self.instances((name,))).get(name)

    async def instances(self, names: tuple[str, ...]) -> dict[str, Instance]:
        if not names:
            return {}
        rows = await self._wire.query(
            "instance", replies.INSTANCE_FIELDS, words.any_of("name", names)
        )
        found = (replies.instance(row) for row in rows)
        return {instance.name: instance for instance in found}

    async def tagged(self, tags: tuple[str, ...]) -> dict[str, str]:
        if not tags:
            return {}
        rows = await self._wire.query("instance", replies.TAG_FIELDS, words.has_one_of(tags))
        found = [replies.tags_of(row) for row in rows]
        return {tag: name for name, theirs in found for tag in tags if tag in theirs}

    async def instances_with(self, prefix: str) -> Iterator[tuple[Instance, ...]]:
        reply = await self._wire.query_apart(
            "instance", replies.INSTANCE_FIELDS, words.begins_with(prefix), instance_slices.pack
        )
        return instance_slices.slices_of(reply, instance_slices.read)

    async def glance(self, prefix: str) -> tuple[InstanceGlance, ...]:
        reply = await self._wire.query_apart(
            "instance",
            replies.GLANCE_FIELDS,
            words.begins_with(prefix),
            instance_slices.pack_glances,
        )
        seen: list[InstanceGlance] = []
        for part in instance_slices.slices_of(reply, instance_slices.read_glances):
            seen += part
            if len(part) == instance_slices.GLANCES:
                await deferLater(self._reactor, 0)
        return tuple(seen)

    async def node_address(self, name: str) -> str | None:
        rows = await self._wire.query("node", replies.NODE_FIELDS, words.any_of("name", (name,)))
        return replies.node_address(rows[0]) if rows else None

    async def jobs(self, ids: tuple[int, ...]) -> dict[int, Job]:
        if not ids:
            return {}
        rows = await self._wire.query("job", replies.JOB_FIELDS, words.these_jobs(ids))
        found = {number: Job(number, JobStatus.UNKNOWN) for number in ids}
        found.update((job.id, job) for job in map(replies.job, rows))
        return found

    async def jobs_for(self, name: str, reason: str) -> tuple[Job, ...]:
        rows = await self._wire.query("job", replies.JOB_FIELDS_WITH_REASON, words.jobs_on(name))
        found = [replies.job(row) for row in rows if replies.concerns(row, name)]
        ours = (job for job in found if reason in job.reasons)
        return tuple(sorted(ours, key=lambda job: job.id, reverse=True))

    async def network(self, name: str) -> SeenNetwork | None:
        rows = await self._wire.query(
            "network", replies.NETWORK_FIELDS, words.any_of("name", (name,))
        )
        return replies.network(rows[0]) if rows else None

    async def networks(self) -> tuple[SeenNetwork, ...]:
        rows = await self._wire.query("network", replies.NETWORK_FIELDS, None)
        return tuple(replies.network(row) for row in rows)

    # Changes -------------------------------------------------------------------------------

    async def create_instance(self, new: NewInstance, reason: str) -> int:
        return await self._submit("POST", "/2/instances", reason, words.create_body(new))

    async def remove_instance(
        self, name: str, reason: str, shutdown_timeout_seconds: int | None = None
    ) -> int:
        body = _given(shutdown_timeout=shutdown_timeout_seconds)
        return await self._submit("DELETE", _path("instances", name), reason, body)

    async def start_instance(self, name: str, reason: str) -> int:
        return await self._submit("PUT", _path("instances", name, "startup"), reason)

    async def stop_instance(
        self, name: str, reason: str, timeout_seconds: int | None = None
    ) -> int:
        body = _given(timeout=timeout_seconds)
        return await self._submit("PUT", _path("instances", name, "shutdown"), reason, body)

    async def reboot_instance(self, name: str, reason: str, hard: bool) -> int:
        body = _given(shutdown_timeout=0 if hard else None)
        path = _path("instances", name, "reboot")
        return await self._submit("POST", path, reason, body, [("type", "hard")])

    async def resize_instance(self, name: str, reason: str, vcpus: int, memory_mib: int) -> int:
        beparams = {"vcpus": vcpus, "minmem": memory_mib, "maxmem": memory_mib}
        return await self._modify(name, reason, {"beparams": beparams})

    async def add_nic(
        self, name: str, reason: str, nic: NewNic, hotplug: bool, depends: tuple[int, ...] = ()
    ) -> int:
        body: dict[str, Any] = {"nics": [["add", "-1", words.nic_words(nic)]]}
        if depends:
            body["depends"] = words.depends_words(depends)
        return await self._modify(name, reason, body, hotplug)

    async def remove_nic(self, name: str, reason: str, nic_name: str, hotplug: bool) -> int:
        return await self._modify(name, reason, {"nics": [["remove", nic_name, {}]]}, hotplug)

    async def add_disk(
        self,
        name: str,
        reason: str,
        disk: NewDisk,
        hotplug: bool,
        wait_for_sync: bool | None = None,
    ) -> int:
        body: dict[str, Any] = {"disks": [["add", "-1", words.disk_words(disk)]]}
        if wait_for_sync is not None:
            body["wait_for_sync"] = wait_for_sync
        return await self._modify(name, reason, body, hotplug)

    async def remove_disk(self, name: str, reason: str, disk_name: str, hotplug: bool) -> int:
        return await self._modify(name, reason, {"disks": [["remove", disk_name, {}]]}, hotplug)

    async def detach_disk(
        self, name: str, reason: str, disk_name: str, hotplug: bool, within_policy: bool = True
    ) -> int:
        body = words.within({"disks": [["detach", disk_name, {}]]}, within_policy)
        return await self._modify(name, reason, body, hotplug)

    async def attach_disk(
        self, name: str, reason: str, disk_uuid: str, hotplug: bool, within_policy: bool = True
    ) -> int:
        body = words.within({"disks": [["attach", "-1", {"uuid": disk_uuid}]]}, within_policy)
        return await self._modify(name, reason, body, hotplug)

    async def put_disks(
        self, name: str, reason: str, disks: Sequence[NewDisk | KeptDisk], instead_of: str
    ) -> int:
        return await self._modify(name, reason, {"disks": words.put_on_words(disks, instead_of)})

    async def set_hypervisor_parameters(
        self, name: str, reason: str, hvparams: dict[str, object]
    ) -> int:
        return await self._modify(name, reason, {"hvparams": hvparams})

    async def set_os_parameters(self, name: str, reason: str, osparams: dict[str, str]) -> int:
        return await self._modify(name, reason, {"osparams": osparams})

    async def grow_disk(self, name: str, reason: str, index: int, size_mib: int) -> int:
        # To a size, not by an amount: asked for twice it is the same.
        body = {"amount": size_mib, "absolute": True, "wait_for_sync": False}
        path = _path("instances", name, "disk", str(index), "grow")
        return await self._submit("POST", path, reason, body)

    async def reinstall_instance(
        self, name: str, reason: str, os: str, osparams: dict[str, str], start: bool
    ) -> int:
        # RAPI takes parameters for the OS or a reason, never both, and no dependency: they are
        # set by a job of its own, which is waited for. Its reason is another one, since finding
        # it does not mean that the reinstallation was submitted.
        if osparams:
            first = await self._modify(name, f"{reason}:osparams", {"osparams": osparams})
            await self._wait_for(first)
        query = [("os", os), ("nostartup", "0" if start else "1")]
        return await self._submit("POST", _path("instances", name, "reinstall"), reason, {}, query)

    async def add_tags(self, name: str, reason: str, tags: tuple[str, ...]) -> int:
        pairs = [("tag", tag) for tag in tags]
        return await self._submit("PUT", _path("instances", name, "tags"), reason, {}, pairs)

    async def remove_tags(self, name: str, reason: str, tags: tuple[str, ...]) -> int:
        pairs = [("tag", tag) for tag in tags]
        return await self._submit("DELETE", _path("instances", name, "tags"), reason, {}, pairs)

    async def create_network(self, new: NewNetwork, reason: str) -> int:
        return await self._submit("POST", "/2/networks", reason, words.network_body(new))

    async def connect_network(
        self,
        name: str,
        reason: str,
        group: str,
        mode: str,
        link: str,
        conflicts_check: bool = False,
        depends: tuple[int, ...] = (),
    ) -> int:
        body: dict[str, Any] = {
            "group_name": group,
            "network_mode": mode,
            "network_link": link,
            "conflicts_check": conflicts_check,
        }
        if depends:
            body["depends"] = words.depends_words(depends)
        return await self._submit("PUT", _path("networks", name, "connect"), reason, body)

    async def disconnect_network(self, name: str, reason: str, group: str) -> int:
        body = {"group_name": group}
        return await self._submit("PUT", _path("networks", name, "disconnect"), reason, body)

    async def remove_network(self, name: str, reason: str, depends: tuple[int, ...] = ()) -> int:
        body = {"depends": words.depends_words(depends)} if depends else {}
        return await self._submit("DELETE", _path("networks", name), reason, body)

    async def cancel_job(self, job_id: int) -> bool:
        answer = await self._wire.change("DELETE", _path("jobs", str(job_id)), [], {})
        return _certain(replies.cancelled, answer)

    async def check_write_access(self) -> None:
        await self._wire.change("PUT", "/2/modify", [], {})

    async def _modify(
        self, name: str, reason: str, body: dict[str, Any], hotplug: bool | None = None
    ) -> int:
        if hotplug is not None:
            body.update(await self._hotplug(hotplug))
        return await self._submit("PUT", _path("instances", name, "modify"), reason, body)

    async def _wait_for(self, job_id: int) -> None:
        """Wait until a quick job has succeeded.

        :raise GanetiRefused: with its error, when it has not.
        :raise GanetiUnavailable: when it does not end in the time of a change.
        """
        for _ in range(int(self._limits.change_timeout_seconds / _WAIT_STEP_SECONDS)):
            job = (await self.jobs((job_id,)))[job_id]
            if job.status is JobStatus.SUCCESS:
                return
            if job.status.final:
                raise GanetiRefused(f"The cluster refused: {job.message or job.status}", 0)
            await deferLater(self._reactor, _WAIT_STEP_SECONDS)
        raise GanetiUnavailable(f"The job {job_id} has not ended yet.")

    async def _hotplug(self, wanted: bool) -> dict[str, bool]:
        """Return the word for hot-plugging that this cluster's version understands."""
        if self._version is None:
            await self.info()
        if _version_tuple(self._version) >= _HOTPLUG_CHANGED_IN:
            return {"hotplug": wanted}
        return {"hotplug_if_possible": True} if wanted else {}

    async def _submit(
        self,
        method: str,
        path: str,
        reason: str,
        body: Mapping[str, Any] | None = None,
        query: Sequence[tuple[str, str]] = (),
    ) -> int:
        answer = await self._wire.change(method, path, [*query, ("reason", reason)], body or {})
        return _certain(replies.job_id, answer)


def _certain(read: Callable[[Any], T], answer: Any) -> T:
    """Read the answer to a change; one that cannot be read leaves us uncertain."""
    try:
        return read(answer)
    except OddReply as odd:
        raise GanetiUncertain(odd.message) from None


def _path(*parts: str) -> str:
    for part in parts:
        words.check_ascii(part, "a name")
        if part in ("", ".", ".."):
            raise GanetiRefused(f"{part!r} cannot be a name in Ganeti.", status=0)
    return "/2/" + "/".join(quote(part, safe="") for part in parts)


def _given(**values: Any) -> dict[str, Any]:
    """Return those that are not None."""
    return {key: value for key, value in values.items() if value is not None}


def _version_tuple(version: str | None) -> tuple[int, ...]:
    parts = (version or "").replace("~", ".").split(".")
    return tuple(int(part) for part in parts[:2] if part.isdecimal())
