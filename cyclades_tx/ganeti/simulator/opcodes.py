"""What each opcode does to a simulated cluster.

An opcode has a beginning, when its job starts to run, and an end. Only a create does
something at its beginning: the instance is there, stopped, while its OS is installed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cyclades_tx.ganeti.simulator.devices import Devices
from cyclades_tx.ganeti.simulator.inventory import Inventory, check_tags
from cyclades_tx.ganeti.simulator.values import (
    OpcodeError,
    SimInstance,
    SimNetwork,
    SimNic,
    prerequisite,
)

Op = dict[str, Any]

_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_MOST_CPUS = 64


class Opcodes:
    """The opcodes, carried out on an inventory.

    :param now: the time, in seconds.
    :param groups: names of the node groups.
    :param systems: the operating systems that can be installed.
    """

    def __init__(
        self,
        inventory: Inventory,
        now: Callable[[], float],
        groups: tuple[str, ...],
        systems: tuple[str, ...],
        disk_templates: tuple[str, ...],
        with_ports: bool,
    ) -> None:
        self._has = inventory
        self._devices = Devices(inventory)
        self._now = now
        self._groups = groups
        self._systems = systems
        self._templates = disk_templates
        self._with_ports = with_ports
        self._ends: dict[str, Callable[[Op], Any]] = {
            "OP_INSTANCE_REMOVE": self._remove,
            "OP_INSTANCE_STARTUP": self._startup,
            "OP_INSTANCE_SHUTDOWN": self._shutdown,
            "OP_INSTANCE_REBOOT": self._startup,
            "OP_INSTANCE_GROW_DISK": self._grow,
            "OP_TAGS_SET": self._tags_set,
            "OP_TAGS_DEL": self._tags_del,
            "OP_NETWORK_ADD": self._network_add,
            "OP_NETWORK_CONNECT": self._network_connect,
            "OP_NETWORK_DISCONNECT": self._network_disconnect,
            "OP_NETWORK_REMOVE": self._network_remove,
            "OP_CLUSTER_SET_PARAMS": lambda op: None,
        }

    def begin(self, op: Op) -> list[str]:
        """Begin an opcode; return log lines.

        :raise OpcodeError: when it cannot be done; nothing has changed then.
        """
        if op["OP_ID"] != "OP_INSTANCE_CREATE" or op.get("dry_run"):
            return []
        instance = self._created(op)
        self._has.put(instance)
        return [
            f" - INFO: Selected nodes for instance {instance.name} via iallocator hail: "
            f"{instance.pnode}",
            "* creating instance disks...",
            f"adding instance {instance.name} to cluster config",
            "* running the instance OS create scripts...",
        ]

    def finish(self, op: Op, os_fault: str | None = None, hotplug: bool = True) -> Any:
        """End an opcode; return its result.

        :param os_fault: the last words of an OS script that is to fail.
        :param hotplug: whether a running machine takes notice of changed devices.
        :raise OpcodeError: when it cannot be done.
        """
        if op.get("dry_run"):
            return None
        if op["OP_ID"] == "OP_INSTANCE_CREATE":
            return self._installed(op, os_fault)
        if op["OP_ID"] == "OP_INSTANCE_REINSTALL":
            return self._reinstall(op, os_fault)
        if op["OP_ID"] == "OP_INSTANCE_SET_PARAMS":
            return self._set_params(op, hotplug)
        return self._ends[op["OP_ID"]](op)

    # Instances

    def _created(self, op: Op) -> SimInstance:
        name = op["instance_name"].lower()
        if len(name) > 255 or not _HOST_NAME.fullmatch(name):
            raise prerequisite(f"Invalid hostname '{op['instance_name']}'", "wrong_input")
        if op["disk_template"] not in self._templates:
            raise OpcodeError(
                "OpPrereqError",
                f"Disk template '{op['disk_template']}' is not enabled in cluster. Enabled disk "
                f"templates are: {','.join(self._templates)}",
            )
        if name in self._has.instances:
            raise prerequisite(f"Instance '{name}' is already in the cluster", "already_exists")
        check_tags(op["tags"])
        vcpus, memory = self._beparams(op["beparams"], 1, 128)
        if not op.get("no_install"):
            self._check_system(op["os_type"])
        port = self._has.new_port() if self._with_ports else None
        disks = tuple(self._devices.new_disk(disk) for disk in op["disks"])
        nics: list[SimNic] = []
        for words in op["nics"]:
            taken = "IP address {ip} already in use or does not belong to network {net}"
            nics.append(self._devices.new_nic(words, taken, nics))
        now = self._now()
        return SimInstance(
            name=name,
            uuid=self._has.new_uuid(),
            pnode=self._node(op, memory, sum(disk.size for disk in disks)),
            os=op["os_type"],
            disk_template=op["disk_template"],
            vcpus=vcpus,
            memory=memory,
            nics=tuple(nics),
            disks=disks,
            tags=tuple(sorted(set(op["tags"]))),
            osparams=op["osparams"],
            installed=op["osparams"],
            hvparams=op["hvparams"],
            network_port=port,
            ctime=now,
            mtime=now,
        )

    def _node(self, op: Op, memory: int, disk: int) -> str:
        """Where a new instance is: where it was asked for, else where there is room."""
        wanted: str | None = op.get("pnode")
        if wanted is None:
            return self._has.choose_node(memory, disk)
        if op.get("opportunistic_locking"):
            raise prerequisite(
                "Opportunistic locking is only available in combination with an instance allocator",
                "wrong_input",
            )
        if wanted not in self._has.nodes:
            raise prerequisite(f"Node '{wanted}' not known", "unknown_entity")
        return wanted

    def _installed(self, op: Op, os_fault: str | None) -> Any:
        instance = self._has.instance(op["instance_name"].lower())
        bare = bool(op.get("no_install"))
        if os_fault is not None and not bare:
            raise OpcodeError(
                "OpExecError",
                f"Could not add os for instance {instance.name} on node {instance.pnode}: OS "
                "create script failed (exited with exit code 1), last lines in the log file:\n"
                f"{os_fault}",
            )
        start = op.get("start", True) and not bare
        self._change(instance, admin_up=start, running=start)
        return [instance.pnode]

    def _check_system(self, name: str) -> None:
        if name not in self._systems:
            raise OpcodeError(
                "OpExecError",
                "OS Parameters validation failed on node: Directory for OS "
                f"{name.split('+', maxsplit=1)[0]} not found in search path",
            )

    def _beparams(self, given: Op, old_vcpus: int, old_memory: int) -> tuple[int, int]:
        vcpus: Any = given.get("vcpus", old_vcpus)
        memory: Any = given.get("maxmem", given.get("memory", old_memory))
        if not isinstance(vcpus, int) or not 1 <= vcpus <= _MOST_CPUS:
            raise prerequisite(
                "Instance allocation to group default violates policy: cpu-count value "
                f"{vcpus} is not in range [1, {_MOST_CPUS}]",
                "wrong_input",
            )
        if not isinstance(memory, int) or memory < 1:
            raise prerequisite(f"Invalid memory size {memory}", "wrong_input")
        return vcpus, memory

    def _change(self, instance: SimInstance, **parts: Any) -> SimInstance:
        changed = replace(instance, serial_no=instance.serial_no + 1, mtime=self._now(), **parts)
        self._has.put(changed)
        return changed

    def _remove(self, op: Op) -> None:
        self._has.drop(self._has.instance(op["instance_name"]).name)

    def _startup(self, op: Op) -> None:
        """Start or reboot: a reboot of a stopped instance starts it."""
        instance = self._has.instance(op["instance_name"])
        node = self._has.nodes[instance.pnode]
        if not instance.running and self._has.free_memory(node) < instance.memory:
            raise prerequisite(
                f"Not enough memory on node {node.name} for starting instance {instance.name}: "
                f"needed {instance.memory} MiB, available {self._has.free_memory(node)} MiB",
                "insufficient_resources",
            )
        self._change(instance, admin_up=True, running=True)

    def _shutdown(self, op: Op) -> None:
        self._change(self._has.instance(op["instance_name"]), admin_up=False, running=False)

    def _grow(self, op: Op) -> None:
        instance = self._has.instance(op["instance_name"])
        disks, index = list(instance.disks), op["disk"]
        if index >= len(disks):
            raise prerequisite(f"Invalid disk index: {index}", "wrong_input")
        old: int = disks[index].size
        size = op["amount"] if op.get("absolute") else old + op["amount"]
        if size < old:
            raise prerequisite(
                f"Requested size ({size} MiB) is smaller than current disk size ({old} MiB)",
                "wrong_state",
            )
        disks[index] = replace(disks[index], size=size)
        self._change(instance, disks=tuple(disks))

    def _reinstall(self, op: Op, os_fault: str | None) -> None:
        instance = self._has.instance(op["instance_name"])
        system = op.get("os_type") or instance.os
        self._check_system(system)
        given = op.get("osparams") or {}
        told = {**instance.osparams, **given}
        self._change(instance, os=system, osparams=given, installed=told)
        if os_fault is not None:
            raise OpcodeError(
                "OpExecError",
                f"Could not install os for instance {instance.name} on node {instance.pnode}: OS "
                f"create script failed (exited with exit code 1), last lines in the log file:\n"
                f"{os_fault}",
            )

    def _set_params(self, op: Op, hotplug: bool) -> list[Any]:
        instance = self._has.instance(op["instance_name"])
        asked = ("nics", "disks", "beparams", "hvparams", "osparams", "os_name")
        if not any(op.get(key) for key in asked):
            raise prerequisite("No changes submitted", "wrong_input")
        done: list[Any] = []
        nics, disks = list(instance.nics), list(instance.disks)
        for action, which, words in op.get("nics") or ():
            done.append(self._devices.change_nic(nics, action, which, words))
        for action, which, words in op.get("disks") or ():
            if action == "remove" and instance.running and not self._plugs(op):
                raise prerequisite(
                    f"Instance '{instance.name}' is marked to be up, can't remove volume from a "
                    "running instance without using hotplug",
                    "wrong_state",
                )
            done.append(self._devices.change_disk(instance, disks, action, which, words))
        if instance.running and self._plugs(op):
            # Only KVM plugs; the others take it as a change for the next start, and say nothing.
            done += [[device, f"hotplug:{'done' if hotplug else 'failed'}"] for device, _ in done]
        beparams = op.get("beparams") or {}
        vcpus, memory = self._beparams(beparams, instance.vcpus, instance.memory)
        done += [[f"be/{key}", value] for key, value in beparams.items()]
        hvparams = op.get("hvparams") or {}
        done += [[f"hv/{key}", value] for key, value in hvparams.items()]
        osparams = op.get("osparams") or {}
        done += [[f"os/{key}", value] for key, value in osparams.items()]
        self._change(
            instance,
            nics=tuple(nics),
            disks=tuple(disks),
            vcpus=vcpus,
            memory=memory,
            hvparams={**instance.hvparams, **hvparams},
            osparams={**instance.osparams, **osparams},
        )
        return done

    def _plugs(self, op: Op) -> bool:
        return self._with_ports and bool(op.get("hotplug_if_possible"))

    def _tags_set(self, op: Op) -> None:
        instance = self._has.instance(op["name"])
        check_tags(op["tags"])
        self._change(instance, tags=tuple(sorted({*instance.tags, *op["tags"]})))

    def _tags_del(self, op: Op) -> None:
        instance = self._has.instance(op["name"])
        check_tags(op["tags"])
        missing = sorted(set(op["tags"]) - set(instance.tags))
        if missing:
            words = ", ".join(f"'{tag}'" for tag in missing)
            raise prerequisite(f"Tag(s) {words} not found", "unknown_entity")
        kept = tuple(tag for tag in instance.tags if tag not in op["tags"])
        self._change(instance, tags=kept)

    # Networks

    def _network_add(self, op: Op) -> None:
        name = op["network_name"]
        if name in self._has.networks:
            raise prerequisite(
                f"Desired network name '{name}' already exists as a network (UUID: "
                f"{self._has.networks[name].uuid})",
                "already_exists",
            )
        prefix = op.get("mac_prefix")
        if prefix is not None and not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){2}", prefix):
            raise prerequisite(f"Invalid MAC address prefix '{prefix}'", "wrong_input")
        check_tags(op.get("tags") or ())
        pool = ipaddress.ip_network(op["network"])
        reserved = tuple(op.get("add_reserved_ips") or ())
        for address in (*reserved, *filter(None, (op.get("gateway"),))):
            if ipaddress.ip_address(address) not in pool:
                raise OpcodeError(
                    "OpExecError",
                    f"Cannot create IP address pool for network '{name}': {op['network']} does "
                    f"not contain {address}",
                )
        self._has.put_network(
            SimNetwork(
                name=name,
                uuid=self._has.new_uuid(),
                cidr=op["network"],
                gateway=op.get("gateway"),
                cidr6=op.get("network6"),
                gateway6=op.get("gateway6"),
                mac_prefix=prefix.lower() if prefix else None,
                reserved=reserved,
                tags=tuple(sorted(set(op.get("tags") or ()))),
            )
        )

    def _network_connect(self, op: Op) -> None:
        network = self._has.network(op["network_name"])
        group = self._group(op)
        if any(known == group for known, _, _ in network.groups):
            return
        connected = (group, op["network_mode"], op["network_link"])
        self._put_network(network, groups=(*network.groups, connected))

    def _network_disconnect(self, op: Op) -> None:
        network = self._has.network(op["network_name"])
        group = self._group(op)
        if not any(known == group for known, _, _ in network.groups):
            return
        if self._has.users_of(network.name):
            raise prerequisite(
                "Conflicting IP addresses found;  remove/modify the corresponding network "
                "interfaces",
                "wrong_state",
            )
        kept = tuple(entry for entry in network.groups if entry[0] != group)
        self._put_network(network, groups=kept)

    def _network_remove(self, op: Op) -> None:
        network = self._has.network(op["network_name"])
        if network.groups:
            raise prerequisite("Network still connected", "wrong_state")
        self._has.drop_network(network.name)

    def _group(self, op: Op) -> str:
        group: str = op["group_name"]
        if group not in self._groups:
            raise prerequisite(f"Node group '{group}' not found", "unknown_entity")
        return group

    def _put_network(self, network: SimNetwork, **parts: Any) -> None:
        self._has.put_network(replace(network, serial_no=network.serial_no + 1, **parts))
