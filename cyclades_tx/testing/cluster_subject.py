"""A Ganeti cluster under examination, and what an examination makes there."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from cyclades_tx.ganeti.interfaces import IGanetiCluster
from cyclades_tx.model.instance import (
    Instance,
    NewDisk,
    NewInstance,
    NewNetwork,
)
from cyclades_tx.model.job import Job, JobStatus

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


def address_in(network: NewNetwork, last: int) -> str:
    """Return an address of a network by its last number."""
    return network.cidr.rsplit(".", 1)[0] + f".{last}"
