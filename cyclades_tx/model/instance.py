"""Ganeti instances: what one asks for, and what is seen of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Power(StrEnum):
    """Whether a machine runs, by Ganeti's ``status`` word.

    ``running`` is RUNNING; ``ADMIN_down``, ``ADMIN_offline``, ``ERROR_down`` and
    ``USER_down`` are STOPPED; node trouble (``ERROR_nodedown``, ``ERROR_nodeoffline``,
    ``ERROR_wrongnode``) is UNKNOWN, since the cluster itself does not know; ``ERROR_up`` runs.
    """

    RUNNING = "running"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class SeenNic:
    """One network interface of an instance, as the cluster reports it."""

    name: str | None
    mac: str
    ip: str | None
    network: str | None
    uuid: str = ""
    mode: str | None = None
    link: str | None = None


@dataclass(frozen=True)
class SeenDisk:
    """One disk of an instance; size in MiB."""

    name: str | None
    size_mib: int
    uuid: str = ""


@dataclass(frozen=True)
class Instance:
    """One instance at the moment of looking.

    :ivar status: Ganeti's word, kept for operators.
    :ivar memory_mib: ``be/maxmem``.
    :ivar network_port: where its VNC server listens on ``pnode``, if it has one.
    :ivar serial: Ganeti's ``serial_no``: changes with each change of configuration.
    """

    name: str
    status: str
    power: Power
    pnode: str | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
    network_port: int | None = None
    nics: tuple[SeenNic, ...] = ()
    disks: tuple[SeenDisk, ...] = ()
    tags: tuple[str, ...] = ()
    serial: int | None = None
    uuid: str = ""


@dataclass(frozen=True)
class InstanceGlance:
    """The few fields of one instance that reveal a change (for polling many)."""

    name: str
    status: str
    power: Power
    serial: int | None


@dataclass(frozen=True)
class NewNic:
    """An interface to be made: on a Ganeti network, with an address or none.

    :ivar mac: its MAC; None: Ganeti makes one with the network's prefix.
    """

    name: str
    network: str
    ip: str | None
    mac: str | None = None


@dataclass(frozen=True)
class NewDisk:
    """A disk to be made; ``extra`` goes along as further disk parameters (``origin``…)."""

    name: str
    size_mib: int
    provider: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KeptDisk:
    """A disk that was taken off an instance and is kept, by Ganeti's own id of it."""

    uuid: str


@dataclass(frozen=True)
class NewInstance:
    """Everything that a create job needs (OP_INSTANCE_CREATE, RAPI ``POST /2/instances``).

    :ivar node: where it is to be; None: Ganeti's allocator chooses.
    :ivar install: whether its OS is installed; without that it is not started either.
    :ivar within_policy: whether it must have the sizes that the cluster allows instances.
    """

    name: str
    disk_template: str
    disks: tuple[NewDisk, ...]
    nics: tuple[NewNic, ...]
    vcpus: int
    memory_mib: int
    os: str
    osparams: dict[str, str]
    hvparams: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    wait_for_sync: bool = False
    opportunistic_locking: bool = True
    start: bool = True
    node: str | None = None
    install: bool = True
    within_policy: bool = True


@dataclass(frozen=True)
class NewNetwork:
    """A Ganeti network to be made (OP_NETWORK_ADD)."""

    name: str
    cidr: str
    gateway: str | None
    cidr6: str | None
    gateway6: str | None
    mac_prefix: str | None
    tags: tuple[str, ...] = ()
    reserved_ips: tuple[str, ...] = ()
    conflicts_check: bool = False


@dataclass(frozen=True)
class SeenNetwork:
    """A Ganeti network as reported; ``groups`` holds (group, mode, link).

    :ivar reserved: the addresses that the cluster gives to no instance, among them the ends of
        the subnet and its gateway.
    :ivar instances: how many instances have an interface on it.
    """

    name: str
    cidr: str | None
    groups: tuple[tuple[str, str, str], ...] = ()
    tags: tuple[str, ...] = ()
    gateway: str | None = None
    cidr6: str | None = None
    gateway6: str | None = None
    mac_prefix: str | None = None
    reserved: tuple[str, ...] = ()
    instances: int = 0


@dataclass(frozen=True)
class ClusterInfo:
    """What ``GET /2/info`` says, as far as it matters here."""

    name: str
    version: str
    master: str
    hypervisor: str
    hypervisors: tuple[str, ...]
    disk_templates: tuple[str, ...]
    default_iallocator: str | None = None


@dataclass(frozen=True)
class Node:
    """A machine of a cluster; one that is offline has no figures: they are 0."""

    name: str
    drained: bool
    offline: bool
    vm_capable: bool
    memory_free_mib: int
    memory_total_mib: int
    disk_free_mib: int
    disk_total_mib: int
    cpus: int
    instances: int


@dataclass(frozen=True)
class Capacity:
    """Sums over the usable nodes (vm-capable, not drained, not offline, with CPUs)."""

    memory_free_mib: int
    memory_total_mib: int
    disk_free_mib: int
    disk_total_mib: int
    cpus: int
    instances: int
    nodes: int
