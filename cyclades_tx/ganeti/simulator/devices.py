"""Interfaces and disks of a simulated instance: made, changed, taken away and brought back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cyclades_tx.ganeti.simulator.inventory import Inventory
from cyclades_tx.ganeti.simulator.values import (
    DetachedDisk,
    OpcodeError,
    SimDisk,
    SimInstance,
    SimNic,
    prerequisite,
)

Op = dict[str, Any]


class Devices:
    """What an opcode does to the devices of one instance, by the words that it has for each."""

    def __init__(self, inventory: Inventory) -> None:
        self._has = inventory

    def new_nic(self, words: Op, taken: str, others: list[SimNic]) -> SimNic:
        """Make an interface.

        :param taken: Ganeti's words when its address cannot be had.
        :raise OpcodeError: when it cannot be made.
        """
        ip, name = words.get("ip"), words.get("network")
        network = None if name is None else self._has.network(name)
        mode, link = words.get("mode") or "bridged", words.get("link") or "br0"
        if network is not None:
            if not network.groups:
                raise prerequisite(
                    f"Network '{network.name}' is not connected to group 'default'",
                    "wrong_state",
                )
            _, mode, link = network.groups[0]
            if ip == "pool":
                ip = self._has.next_address(network)
            same = any(nic.ip == ip and nic.network == name for nic in others)
            if ip is not None and (same or not self._has.address_free(network, ip)):
                raise prerequisite(taken.format(ip=ip, net=name), "resource_not_unique")
        mac = words.get("mac")
        if mac is None:
            mac = self._has.new_mac(network)
        elif not self._has.mac_free(mac) or any(nic.mac == mac for nic in others):
            raise prerequisite(
                f"MAC address {mac} already in use in cluster", "resource_not_unique"
            )
        return SimNic(
            name=words.get("name"),
            mac=mac,
            ip=ip,
            network=name,
            uuid=self._has.new_uuid(),
            mode=mode,
            link=link,
        )

    def new_disk(self, words: Op) -> SimDisk:
        """Make a disk.

        :raise OpcodeError: when it has no size.
        """
        size = words.get("size")
        if not isinstance(size, int) or size < 0:
            raise prerequisite(f"Invalid disk size '{size}'", "wrong_input")
        return SimDisk(name=words.get("name"), size=size, uuid=self._has.new_uuid())

    def change_nic(self, nics: list[SimNic], action: str, which: Any, words: Op) -> list[str]:
        """Add, remove or modify one of these interfaces; return what the job says of it.

        :param nics: changed in place.
        :raise OpcodeError: when it cannot be done.
        """
        if action == "add":
            nic = self.new_nic(words, "IP {ip} not available in network {net}", nics)
            nics.append(nic)
            seen = f"mac={nic.mac},ip={nic.ip},mode={nic.mode},link={nic.link}"
            return [f"nic.{len(nics) - 1}", f"add:{seen},network={nic.network}"]
        at = _index(nics, which)
        if at is None:
            raise prerequisite(f"Cannot find NIC with identifier {which}", "unknown_entity")
        if action == "remove":
            del nics[at]
            return [f"NIC/{at}", "remove"]
        network = nics[at].network or ""
        ip: Any = words.get("ip", nics[at].ip)
        moves = ip not in (None, nics[at].ip) and network != ""
        if moves and not self._has.address_free(self._has.network(network), ip):
            raise prerequisite(f"IP {ip} not available in network {network}", "resource_not_unique")
        nics[at] = replace(nics[at], ip=ip, name=words.get("name", nics[at].name))
        return [f"nic.ip/{at}", str(ip)]

    def change_disk(
        self, instance: SimInstance, disks: list[SimDisk], action: str, which: Any, words: Op
    ) -> list[str]:
        """Add, attach, detach, remove or modify one of these disks; return what the job says of it.

        :param disks: changed in place.
        :raise OpcodeError: when it cannot be done.
        """
        if action == "attach":
            disks.append(self._attached(instance, words))
            return [f"disk/{len(disks) - 1}", f"attach:size={disks[-1].size},mode=rw"]
        if action == "add":
            name = words.get("name")
            if name is not None and self._has.has_disk(name):
                raise prerequisite(f"disk name '{name}' already used", "resource_not_unique")
            disks.append(self.new_disk(words))
            return [f"disk/{len(disks) - 1}", f"add:size={disks[-1].size},mode=rw"]
        at = _index(disks, which)
        if at is None:
            raise OpcodeError("OpPrereqError", f"Lookup of disk '{which}' failed")
        if action in ("remove", "detach"):
            if action == "detach":
                kept = DetachedDisk(disks[at], instance.pnode, instance.disk_template)
                self._has.put_detached(kept)
            del disks[at]
            return [f"disk/{at}", action]
        disks[at] = replace(disks[at], name=words.get("name", disks[at].name))
        return [f"disk.name/{at}", str(disks[at].name)]

    def _attached(self, instance: SimInstance, words: Op) -> SimDisk:
        """A disk that was detached before, by its name or uuid."""
        if instance.disk_template == "ext":
            raise prerequisite("Missing provider for template 'ext'", "wrong_input")
        for each in self._has.detached.values():
            named = "name" in words and each.disk.name == words["name"]
            if named or each.disk.uuid == words.get("uuid"):
                break
        else:
            raise prerequisite(f"No disk was found with this {words}", "unknown_entity")
        if each.template != instance.disk_template:
            raise prerequisite(
                f"Instance has '{instance.disk_template}' template while disk has"
                f" '{each.template}' template",
                "wrong_input",
            )
        if each.pnode != instance.pnode:
            raise OpcodeError(
                "OpPrereqError",
                f"Disk nodes are ['{each.pnode}'] while the instance's nodes are"
                f" ['{instance.pnode}']",
                "wrong_input",
            )
        self._has.drop_detached(each.disk.uuid)
        return each.disk


def _index(things: list[Any], which: Any) -> int | None:
    """Find an interface or disk by its name, uuid or index."""
    for at, thing in enumerate(things):
        if which in (thing.name, thing.uuid):
            return at
    try:
        at = int(which)
    except (TypeError, ValueError):
        return None
    if at == -1 and things:
        return len(things) - 1
    return at if 0 <= at < len(things) else None
