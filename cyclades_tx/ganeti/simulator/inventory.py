"""The instances, networks and nodes of a simulated cluster, with the indexes to find them."""

from __future__ import annotations

import ipaddress
import random
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from cyclades_tx.ganeti.simulator.journal import Journal, Key
from cyclades_tx.ganeti.simulator.values import (
    DetachedDisk,
    OpcodeError,
    SimInstance,
    SimNetwork,
    SimNode,
    mebibytes_used,
    prerequisite,
)

#: As Ganeti gives out the ports of its screens.
FIRST_PORT = 11000


class Inventory:
    """What the cluster has. Every change goes through :meth:`put` and its like.

    :param mac_prefix: of interfaces on networks without one of their own.
    :param first_port: where the screen of the first machine is; each other one has its own.
    """

    def __init__(
        self,
        nodes: Iterable[SimNode],
        random_source: random.Random,
        mac_prefix: str,
        first_port: int,
    ) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.instances: dict[str, SimInstance] = {}
        self.networks: dict[str, SimNetwork] = {}
        self.detached: dict[str, DetachedDisk] = {}
        self.journal: Journal | None = None
        #: Told the name of each instance that was changed or dropped.
        self.changed: Callable[[str], None] | None = None
        self._random = random_source
        self._mac_prefix = mac_prefix
        self._memory: Counter[str] = Counter()
        self._count: Counter[str] = Counter()
        self._disk: Counter[str] = Counter()
        self._users: Counter[str] = Counter()
        self._addresses: dict[tuple[str, str], str] = {}
        self._macs: set[str] = set()
        self._disks: set[str] = set()
        self._ports: set[int] = set()
        self._next_port = first_port

    # Changing

    def put(self, instance: SimInstance) -> None:
        """Add an instance, or put it in the place of the one of its name."""
        old = self.instances.get(instance.name)
        if old is not None:
            self._count_in(old, -1)
        self.instances[instance.name] = instance
        self._count_in(instance, 1)
        self._note("instance", instance.name, instance)

    def drop(self, name: str) -> None:
        """Forget an instance; its addresses are free again."""
        self._count_in(self.instances.pop(name), -1)
        self._note("instance", name, None)

    def put_network(self, network: SimNetwork) -> None:
        """Add or replace a network."""
        self.networks[network.name] = network
        self._note("network", network.name, network)

    def drop_network(self, name: str) -> None:
        """Forget a network."""
        del self.networks[name]
        self._note("network", name, None)

    def put_detached(self, detached: DetachedDisk) -> None:
        """Keep a disk that no instance has, by its uuid."""
        self.detached[detached.disk.uuid] = detached
        self._note("disk", detached.disk.uuid, detached)

    def drop_detached(self, uuid: str) -> None:
        """Forget a disk that an instance has again."""
        del self.detached[uuid]
        self._note("disk", uuid, None)

    def put_node(self, node: SimNode) -> None:
        """Replace a node; nodes come from the configuration and are not kept in the file."""
        self.nodes[node.name] = node

    def _note(self, kind: str, name: str, value: Any) -> None:
        if self.journal is not None:
            self.journal.note(kind, name, value)
        if self.changed is not None and kind == "instance":
            self.changed(name)

    def _count_in(self, instance: SimInstance, sign: int) -> None:
        self._memory[instance.pnode] += sign * mebibytes_used(instance)
        self._count[instance.pnode] += sign
        self._disk[instance.pnode] += sign * sum(disk.size for disk in instance.disks)
        for network in {nic.network for nic in instance.nics if nic.network is not None}:
            self._users[network] += sign
        addresses = {
            (nic.network, nic.ip): instance.name
            for nic in instance.nics
            if nic.network is not None and nic.ip is not None
        }
        macs = {nic.mac for nic in instance.nics}
        disks = {disk.name for disk in instance.disks if disk.name is not None}
        if sign > 0:
            self._addresses.update(addresses)
            self._macs |= macs
            self._disks |= disks
            if instance.network_port is not None:
                self._ports.add(instance.network_port)
        else:
            for key in addresses:
                self._addresses.pop(key, None)
            self._macs -= macs
            self._disks -= disks
            self._ports.discard(instance.network_port or 0)

    # Asking

    def instance(self, name: str) -> SimInstance:
        """Return an instance, or fail the opcode."""
        found = self.instances.get(name)
        if found is None:
            raise prerequisite(f"Instance '{name}' not known", "unknown_entity")
        return found

    def network(self, name: str) -> SimNetwork:
        """Return a network, or fail the opcode."""
        found = self.networks.get(name)
        if found is None:
            raise prerequisite(f"Network '{name}' not found", "unknown_entity")
        return found

    def users_of(self, network: str) -> list[str]:
        """Return the names of the instances with an interface on a network."""
        return [
            instance.name
            for instance in self.instances.values()
            if any(nic.network == network for nic in instance.nics)
        ]

    def number_of_users(self, network: str) -> int:
        """Return how many instances have an interface on a network."""
        return self._users[network]

    def address_free(self, network: SimNetwork, ip: str) -> bool:
        """Whether a machine can get this address.

        :raise OpcodeError: when it is no address.
        """
        try:
            return network.holds(ip) and (network.name, ip) not in self._addresses
        except ValueError:
            raise prerequisite(f"Invalid IP address '{ip}'", "wrong_input") from None

    def mac_free(self, mac: str) -> bool:
        """Whether no interface has this MAC address."""
        return mac not in self._macs

    def next_address(self, network: SimNetwork) -> str:
        """Return the first free address (``"ip": "pool"``)."""
        for address in ipaddress.ip_network(network.cidr).hosts():
            if self.address_free(network, str(address)):
                return str(address)
        raise prerequisite(f"Network '{network.name}' is full", "insufficient_resources")

    def has_disk(self, name: str) -> bool:
        """Whether a disk has this name."""
        return name in self._disks

    def status(self, instance: SimInstance) -> str:
        """Return Ganeti's status word."""
        node = self.nodes.get(instance.pnode)
        if node is None or node.offline:
            return "ERROR_nodeoffline"
        if instance.running:
            return "running" if instance.admin_up else "ERROR_up"
        return "ERROR_down" if instance.admin_up else "ADMIN_down"

    def free_memory(self, node: SimNode) -> int:
        """Return a node's free memory in MiB."""
        return node.memory - self._memory[node.name]

    def free_disk(self, node: SimNode) -> int:
        """Return a node's free disk in MiB."""
        return node.disk - self._disk[node.name]

    def count(self, node: SimNode) -> int:
        """Return how many instances a node has."""
        return self._count[node.name]

    def choose_node(self, memory: int, disk: int) -> str:
        """Pick the node with the most free memory that has room, as an allocator would."""
        usable = [node for node in self.nodes.values() if not (node.offline or node.drained)]
        room = [
            node
            for node in usable
            if self.free_memory(node) >= memory and self.free_disk(node) >= disk
        ]
        if not room:
            short = any(self.free_memory(node) >= memory for node in usable)
            raise prerequisite(
                "Can't compute nodes using iallocator 'hail': Request failed: Group default "
                "(preferred): No valid allocation solutions, failure reasons: "
                f"{'FailDisk' if short else 'FailMem'}: {max(1, len(usable))}",
                "insufficient_resources",
            )
        return max(room, key=self.free_memory).name

    # Making

    def new_uuid(self) -> str:
        """Return a fresh uuid."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def new_mac(self, network: SimNetwork | None) -> str:
        """Return a MAC address that no interface has, under the network's prefix."""
        prefix = (network.mac_prefix if network else None) or self._mac_prefix
        while True:
            tail = ":".join(f"{self._random.getrandbits(8):02x}" for _ in range(3))
            if (mac := f"{prefix}:{tail}") not in self._macs:
                return mac

    def new_port(self) -> int:
        """Return a port for a VNC server."""
        while self._next_port in self._ports:
            self._next_port += 1
        return self._next_port

    # Keeping

    def snapshot(self) -> Iterable[tuple[Key, Any]]:
        """Return everything that the file must hold."""
        for name, instance in self.instances.items():
            yield ("instance", name), instance
        for name, network in self.networks.items():
            yield ("network", name), network
        for name, detached in self.detached.items():
            yield ("disk", name), detached

    def load(self, state: dict[Key, Any]) -> None:
        """Take over what the file held."""
        for (kind, name), value in state.items():
            if kind == "instance":
                instance = msgspec.convert(value, SimInstance)
                self.instances[name] = instance
                self._count_in(instance, 1)
            elif kind == "network":
                self.networks[name] = msgspec.convert(value, SimNetwork)
            elif kind == "disk":
                self.detached[name] = msgspec.convert(value, DetachedDisk)


def check_tags(tags: Iterable[str]) -> None:
    """Fail the opcode for a tag that Ganeti would not take."""
    for tag in tags:
        if not isinstance(tag, str) or not re.fullmatch(r"[A-Za-z0-9_.+*/:@-]+", tag):
            raise OpcodeError("TagError", "Tag contains invalid characters")
        if len(tag) > 128:
            raise OpcodeError("TagError", f"Tag too long (maximum 128): {tag[:20]}")
