"""What a simulated cluster holds: frozen values, replaced and never changed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SimNode:
    """A node with room for machines; sizes in MiB.

    :ivar address: where its machines' screens are.
    """

    name: str
    memory: int = 262144
    disk: int = 4194304
    cpus: int = 64
    offline: bool = False
    drained: bool = False
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class SimNic:
    """An interface of an instance; ``network`` is the network's name."""

    name: str | None
    mac: str
    ip: str | None
    network: str | None
    uuid: str
    mode: str
    link: str


@dataclass(frozen=True)
class SimDisk:
    """A disk of an instance; size in MiB."""

    name: str | None
    size: int
    uuid: str


@dataclass(frozen=True)
class DetachedDisk:
    """A disk that no instance has; it can come back to one of its node and template."""

    disk: SimDisk
    pnode: str
    template: str


@dataclass(frozen=True)
class SimInstance:
    """An instance: what is wanted of it (``admin_up``) and whether it runs.

    :ivar osparams: for the next installation; each of them forgets its own, as Ganeti 3.0 does.
    :ivar installed: what the last installation was told.
    """

    name: str
    uuid: str
    pnode: str
    os: str
    disk_template: str
    vcpus: int
    memory: int
    nics: tuple[SimNic, ...] = ()
    disks: tuple[SimDisk, ...] = ()
    tags: tuple[str, ...] = ()
    osparams: dict[str, Any] = field(default_factory=dict)
    installed: dict[str, Any] = field(default_factory=dict)
    hvparams: dict[str, Any] = field(default_factory=dict)
    admin_up: bool = False
    running: bool = False
    network_port: int | None = None
    serial_no: int = 1
    ctime: float = 0.0
    mtime: float = 0.0


@dataclass(frozen=True)
class SimNetwork:
    """A network with the groups that it is connected to: (group, mode, link)."""

    name: str
    uuid: str
    cidr: str
    gateway: str | None = None
    cidr6: str | None = None
    gateway6: str | None = None
    mac_prefix: str | None = None
    reserved: tuple[str, ...] = ()
    groups: tuple[tuple[str, str, str], ...] = ()
    tags: tuple[str, ...] = ()
    serial_no: int = 1

    def holds(self, ip: str) -> bool:
        """Whether a machine may have this address: inside, not an end, not reserved."""
        pool = ipaddress.ip_network(self.cidr)
        address = ipaddress.ip_address(ip)
        ends = (pool.network_address, pool.broadcast_address)
        return address in pool and address not in ends and ip not in self.external()

    def external(self) -> tuple[str, ...]:
        """The addresses that no machine may have, besides the two ends."""
        return self.reserved if self.gateway is None else (self.gateway, *self.reserved)


@dataclass(frozen=True)
class SimJob:
    """A job: its opcodes in Ganeti's words, and how far it is; times by the cluster's clock."""

    id: int
    ops: tuple[dict[str, Any], ...]
    summary: tuple[str, ...]
    status: str
    received_at: float
    started_at: float | None = None
    ended_at: float | None = None
    opstatus: tuple[str, ...] = ()
    results: tuple[Any, ...] = ()
    log: tuple[tuple[float, str], ...] = ()
    fault: str | None = None  # "job", "os" or "hotplug": it will fail there
    fault_text: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens in it."""
        return self.status in ("success", "error", "canceled")


class OpcodeError(Exception):
    """An opcode fails: class, text and code as Ganeti gives them in a job's result."""

    def __init__(self, kind: str, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.result = [kind, [text] if code is None else [text, code]]


def prerequisite(text: str, code: str) -> OpcodeError:
    """Return the commonest error: something asked for cannot be."""
    return OpcodeError("OpPrereqError", text, code)


def mebibytes_used(instance: SimInstance) -> int:
    """Return the memory that an instance takes from its node now."""
    return instance.memory if instance.running else 0
