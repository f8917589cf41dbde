"""Where a server's record and its instance differ: sizes, interfaces, disks.

A function of values, used twice: the drift loop asks it what is wrong, and the transaction that
follows the cluster asks it, under the rows' locks, what to write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cyclades_tx.model.instance import Instance, SeenDisk, SeenNic
from cyclades_tx.model.names import Names

SIZE = "size_differs"
NIC_MISSING = "nic_missing"
NIC_EXTRA = "nic_extra"
NIC_DIFFERS = "nic_differs"
DISK_MISSING = "disk_missing"
DISK_EXTRA = "disk_extra"
DISK_DIFFERS = "disk_differs"

#: What a tag on an instance says of an interface's firewall; the strictest word wins.
FIREWALLS = {"protected": "ENABLED", "limited": "PROTECTED", "unprotected": "DISABLED"}
FIREWALL_TAG = "synnefo:network:{nic}:{word}"

#: A volume in one of these is being read, or an operator works on it: nobody takes its record away.
#: What an operation on a server does with its volumes ends with that operation: then what is seen
#: of their disks says how.
PASSING = frozenset(("creating", "uploading", "error_deleting"))


@dataclass(frozen=True)
class PortRecord:
    """A port of a server as the database has it.

    :ivar ips: its IPv4 addresses, the oldest first; its interface has the first.
    :ivar ganeti_uuid: the interface's at Ganeti; empty until it was seen.
    :ivar pending_restart: ``attach`` or ``detach`` when its running machine has not noticed yet.
    """

    id: int
    network_id: int
    position: int
    mac: str
    ips: tuple[str, ...] = ()
    firewall: str | None = None
    state: str = "active"
    ganeti_uuid: str = ""
    pending_restart: str | None = None


@dataclass(frozen=True)
class VolumeRecord:
    """A volume of a server as the database has it.

    :ivar busy: whether an open operation works on it.
    :ivar pending_restart: ``detach`` when its running machine still uses a disk that has left.
    """

    id: int
    position: int
    size_gib: int
    status: str = "in_use"
    ganeti_uuid: str = ""
    busy: bool = False
    pending_restart: str | None = None


@dataclass(frozen=True)
class ServerRecord:
    """A server that is not deleted, as the database has it.

    :ivar disks_gib: what its own disks are charged for.
    :ivar diskless: whether its instance has no disks although it has a root volume.
    :ivar moving: whether an operation on it is open.
    :ivar fresh: whether it was changed after the look at the cluster began.
    :ivar given_up: whether a creation was given up before anyone saw the end of its job.
    :ivar launched: whether its creation was seen to succeed.
    """

    id: int
    cluster_id: int | None
    state: str
    charge: str
    vcpus: int
    memory_mib: int
    ports: tuple[PortRecord, ...] = ()
    volumes: tuple[VolumeRecord, ...] = ()
    disks_gib: int = 0
    diskless: bool = False
    moving: bool = False
    fresh: bool = False
    given_up: bool = False
    uuid: str = ""
    launched: bool = False


def record_of(row: dict[str, Any]) -> ServerRecord:
    """The value of a row as the store's JSON has it."""
    ports = tuple(
        PortRecord(**{**port, "ips": tuple(port["ips"] or ())}) for port in row["ports"] or ()
    )
    volumes = tuple(VolumeRecord(**volume) for volume in row["volumes"] or ())
    return ServerRecord(**{**row, "ports": ports, "volumes": volumes})


@dataclass(frozen=True)
class SizeDiffers:
    """The instance has other CPUs or another memory."""

    record: ServerRecord
    vcpus: int
    memory_mib: int
    kind = SIZE
    subject = ""

    @property
    def sentence(self) -> str:
        """For an operator."""
        was = self.record
        return (
            f"It has {self.vcpus} CPUs and {self.memory_mib} MiB, its record says {was.vcpus} and"
            f" {was.memory_mib} MiB."
        )


@dataclass(frozen=True)
class NicMissing:
    """The instance has no interface for a port."""

    port: PortRecord
    kind = NIC_MISSING

    @property
    def subject(self) -> str:
        """Which port."""
        return f"port {self.port.id}"

    @property
    def sentence(self) -> str:
        """For an operator."""
        return f"Port {self.port.id} ({self.port.mac}) has no interface at the cluster."


@dataclass(frozen=True)
class NicExtra:
    """The instance has an interface without a port.

    :ivar network_id: the network by its name at Ganeti, None when that is not one of ours.
    """

    nic: SeenNic
    position: int
    network_id: int | None
    firewall: str | None
    kind = NIC_EXTRA

    @property
    def subject(self) -> str:
        """Which interface."""
        return f"interface {self.nic.mac}"

    @property
    def sentence(self) -> str:
        """For an operator."""
        where = self.nic.network or "no network"
        return f"Interface {self.position} ({self.nic.mac}, {where}) has no port."


@dataclass(frozen=True)
class NicDiffers:
    """A port and its interface are not the same.

    :ivar fields: of ``network``, ``mac``, ``ip``, ``position``, ``firewall``, ``state``.
    :ivar network_id: the interface's network, None when it is not one of ours.
    """

    port: PortRecord
    nic: SeenNic
    position: int
    network_id: int | None
    firewall: str | None
    fields: tuple[str, ...]
    kind = NIC_DIFFERS

    @property
    def subject(self) -> str:
        """Which port."""
        return f"port {self.port.id}"

    @property
    def sentence(self) -> str:
        """For an operator."""
        port, nic = self.port, self.nic
        pairs = {
            "network": (f"network {port.network_id}", nic.network or "no network"),
            "mac": (port.mac, nic.mac),
            "ip": (port.ips[0] if port.ips else "no address", nic.ip or "no address"),
            "position": (f"place {port.position}", f"place {self.position}"),
            "firewall": (f"firewall {port.firewall}", f"firewall {self.firewall}"),
            "state": (port.state, "active"),
        }
        told = "; ".join(
            f"{pairs[each][0]}, at the cluster {pairs[each][1]}" for each in self.fields
        )
        return f"Port {port.id} differs: {told}."


@dataclass(frozen=True)
class DiskMissing:
    """The instance has no disk for a volume."""

    volume: VolumeRecord
    kind = DISK_MISSING

    @property
    def subject(self) -> str:
        """Which volume."""
        return f"volume {self.volume.id}"

    @property
    def sentence(self) -> str:
        """For an operator."""
        return f"Volume {self.volume.id} ({self.volume.status}) has no disk at the cluster."


@dataclass(frozen=True)
class DiskExtra:
    """The instance has a disk without a volume."""

    disk: SeenDisk
    position: int
    kind = DISK_EXTRA

    @property
    def subject(self) -> str:
        """Which disk."""
        return f"disk {self.disk.uuid or self.position}"

    @property
    def sentence(self) -> str:
        """For an operator."""
        return f"Disk {self.position} ({self.disk.size_mib} MiB) has no volume."


@dataclass(frozen=True)
class DiskDiffers:
    """A volume and its disk are not the same.

    :ivar fields: of ``size``, ``position``, ``status``.
    """

    volume: VolumeRecord
    disk: SeenDisk
    position: int
    fields: tuple[str, ...]
    kind = DISK_DIFFERS

    @property
    def size_gib(self) -> int:
        """What is charged for: whole GiB, the rest of one is free."""
        return self.disk.size_mib >> 10

    @property
    def subject(self) -> str:
        """Which volume."""
        return f"volume {self.volume.id}"

    @property
    def sentence(self) -> str:
        """For an operator."""
        volume = self.volume
        pairs = {
            "size": (f"{volume.size_gib} GiB", f"{self.size_gib} GiB"),
            "position": (f"place {volume.position}", f"place {self.position}"),
            "status": (volume.status, "in_use"),
        }
        told = "; ".join(
            f"{pairs[each][0]}, at the cluster {pairs[each][1]}" for each in self.fields
        )
        return f"Volume {volume.id} differs: {told}."


Difference = (
    SizeDiffers | NicMissing | NicExtra | NicDiffers | DiskMissing | DiskExtra | DiskDiffers
)


def differences(record: ServerRecord, seen: Instance, names: Names) -> tuple[Difference, ...]:
    """Where a record and an instance differ, but for the power.

    What is gone comes first, so that its places and addresses are free for what has come.
    """
    found: list[Difference] = []
    vcpus = seen.vcpus or record.vcpus
    memory_mib = seen.memory_mib or record.memory_mib
    if (vcpus, memory_mib) != (record.vcpus, record.memory_mib):
        found.append(SizeDiffers(record, vcpus, memory_mib))
    found += _nics(record, seen, names)
    found += _disks(record, seen, names)
    return tuple(found)


def pairs_of_nics(
    record: ServerRecord, seen: Instance, names: Names
) -> list[tuple[PortRecord | None, SeenNic]]:
    """Each interface in order with its port: by our name, else by the uuid that was seen before."""
    by_id = {port.id: port for port in record.ports}
    by_uuid = {port.ganeti_uuid: port for port in record.ports if port.ganeti_uuid}
    pairs: list[tuple[PortRecord | None, SeenNic]] = []
    for nic in seen.nics:
        port = by_id.pop(names.port_id(nic.name or "") or 0, None)
        if port is None:
            port = by_uuid.get(nic.uuid)
            port = None if port is None else by_id.pop(port.id, None)
        pairs.append((port, nic))
    return pairs


def pairs_of_disks(
    record: ServerRecord, seen: Instance, names: Names
) -> list[tuple[VolumeRecord | None, SeenDisk]]:
    """Each disk in order with its volume: by our name, else by the uuid that was seen before."""
    by_id = {volume.id: volume for volume in record.volumes}
    by_uuid = {volume.ganeti_uuid: volume for volume in record.volumes if volume.ganeti_uuid}
    pairs: list[tuple[VolumeRecord | None, SeenDisk]] = []
    for disk in seen.disks:
        volume = by_id.pop(names.volume_id(disk.name or "") or 0, None)
        if volume is None:
            volume = by_uuid.get(disk.uuid)
            volume = None if volume is None else by_id.pop(volume.id, None)
        pairs.append((volume, disk))
    return pairs


def firewall_of(tags: Iterable[str], nic_name: str | None) -> str | None:
    """The firewall profile that an instance's tags give an interface, or None."""
    if nic_name is None:
        return None
    kept = frozenset(tags)
    for word, profile in FIREWALLS.items():
        if FIREWALL_TAG.format(nic=nic_name, word=word) in kept:
            return profile
    return None


def _nics(record: ServerRecord, seen: Instance, names: Names) -> list[Difference]:
    pairs = pairs_of_nics(record, seen, names)
    there = {port.id for port, _ in pairs if port is not None}
    found: list[Difference] = [
        NicMissing(port)
        for port in record.ports
        # A running machine may use one that has left its configuration.
        if port.id not in there and port.pending_restart != "detach"
    ]
    for position, (port, nic) in enumerate(pairs):
        network_id = names.network_id(nic.network or "")
        if port is None:
            firewall = firewall_of(seen.tags, nic.name)
            found.append(NicExtra(nic, position, network_id, firewall))
            continue
        firewall = firewall_of(seen.tags, names.nic(port.id)) or firewall_of(seen.tags, nic.name)
        differs = {
            "network": network_id != port.network_id,
            "mac": nic.mac.lower() != port.mac,
            "ip": nic.ip not in port.ips if nic.ip else bool(port.ips),
            "position": position != port.position,
            "firewall": firewall != port.firewall,
            "state": port.state != ("down" if port.pending_restart else "active"),
        }
        fields = tuple(name for name, so in differs.items() if so)
        if fields:
            found.append(NicDiffers(port, nic, position, network_id, firewall, fields))
    return found


def _disks(record: ServerRecord, seen: Instance, names: Names) -> list[Difference]:
    if record.diskless and not seen.disks:
        return []
    pairs = pairs_of_disks(record, seen, names)
    there = {volume.id for volume, _ in pairs if volume is not None}
    found: list[Difference] = [
        DiskMissing(volume)
        for volume in record.volumes
        # A running machine may use one that has left its configuration.
        if volume.id not in there and volume.pending_restart != "detach"
    ]
    for position, (volume, disk) in enumerate(pairs):
        if volume is None:
            found.append(DiskExtra(disk, position))
            continue
        differs = {
            "size": disk.size_mib >> 10 != volume.size_gib,
            "position": position != volume.position,
            "status": volume.status != "in_use"
            and not volume.busy
            and volume.status not in PASSING,
        }
        fields = tuple(name for name, so in differs.items() if so)
        if fields:
            found.append(DiskDiffers(volume, disk, position, fields))
    return found
