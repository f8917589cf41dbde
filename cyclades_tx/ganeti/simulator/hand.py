"""What an administrator does at a simulated cluster with ``gnt-*``: without a job of ours.

Each word changes the configuration at once, and its serial number as Ganeti would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from cyclades_tx.ganeti.simulator.inventory import Inventory
from cyclades_tx.ganeti.simulator.values import SimDisk, SimInstance, SimNic


class Hand:
    """An administrator's hand.

    :param flush: called after each change.
    """

    def __init__(self, inventory: Inventory, flush: Callable[[], None]) -> None:
        self._has = inventory
        self._flush = flush

    def stop(self, name: str) -> None:
        """``gnt-instance shutdown``."""
        self.change(name, running=False, admin_up=False)

    def start(self, name: str) -> None:
        """``gnt-instance startup``."""
        self.change(name, running=True, admin_up=True)

    def remove(self, name: str) -> None:
        """``gnt-instance remove``."""
        self._has.drop(name)
        self._flush()

    def add(self, name: str, *, like: str | None = None, **parts: Any) -> SimInstance:
        """``gnt-instance add``: one of our names or a foreign one.

        :param like: an instance whose sizes and disks it gets, without interfaces.
        """
        if like is not None:
            old = self._has.instances[like]
            disks = tuple(replace(disk, uuid=self._has.new_uuid()) for disk in old.disks)
            made = replace(old, name=name, uuid=self._has.new_uuid(), nics=(), disks=disks)
        else:
            made = SimInstance(
                name=name,
                uuid=self._has.new_uuid(),
                pnode=next(iter(self._has.nodes)),
                os="snf-image+default",
                disk_template="file",
                vcpus=1,
                memory=128,
                admin_up=True,
                running=True,
            )
        made = replace(made, network_port=self._has.new_port(), **parts)
        self._has.put(made)
        self._flush()
        return made

    def resize(self, name: str, vcpus: int, memory_mib: int) -> None:
        """``gnt-instance modify -B``."""
        self.change(name, vcpus=vcpus, memory=memory_mib)

    def add_nic(
        self,
        name: str,
        network: str | None,
        ip: str | None = None,
        mac: str | None = None,
        nic_name: str | None = None,
        at: int | None = None,
    ) -> SimNic:
        """``gnt-instance modify --net N:add``.

        :param at: its place; None: the last.
        """
        has = self._has.networks.get(network or "")
        mode, link = (has.groups[0][1:3]) if has is not None and has.groups else ("bridged", "br0")
        nic = SimNic(
            nic_name, mac or self._has.new_mac(has), ip, network, self._has.new_uuid(), mode, link
        )
        nics = list(self._has.instances[name].nics)
        nics.insert(len(nics) if at is None else at, nic)
        self.change(name, nics=tuple(nics))
        return nic

    def change_nic(self, name: str, at: int, **parts: Any) -> None:
        """``gnt-instance modify --net N:modify``."""
        nics = list(self._has.instances[name].nics)
        nics[at] = replace(nics[at], **parts)
        self.change(name, nics=tuple(nics))

    def remove_nic(self, name: str, at: int) -> None:
        """``gnt-instance modify --net N:remove``."""
        nics = self._has.instances[name].nics
        self.change(name, nics=nics[:at] + nics[at + 1 :])

    def add_disk(self, name: str, size_mib: int, disk_name: str | None = None) -> None:
        """``gnt-instance modify --disk N:add``."""
        disk = SimDisk(disk_name, size_mib, self._has.new_uuid())
        self.change(name, disks=(*self._has.instances[name].disks, disk))

    def grow_disk(self, name: str, at: int, size_mib: int) -> None:
        """``gnt-instance grow-disk --absolute``."""
        disks = list(self._has.instances[name].disks)
        disks[at] = replace(disks[at], size=size_mib)
        self.change(name, disks=tuple(disks))

    def remove_disk(self, name: str, at: int) -> None:
        """``gnt-instance modify --disk N:remove``."""
        disks = self._has.instances[name].disks
        self.change(name, disks=disks[:at] + disks[at + 1 :])

    def tag(self, name: str, *tags: str) -> None:
        """``gnt-instance add-tags``; without a tag: all are removed."""
        old = self._has.instances[name].tags if tags else ()
        self.change(name, tags=tuple(sorted({*old, *tags})))

    def change(self, name: str, *, silently: bool = False, **parts: Any) -> None:
        """Change an instance in any way.

        :param silently: without a new serial number, as what happens outside the configuration.
        """
        old = self._has.instances[name]
        serial = old.serial_no + (not silently)
        self._has.put(replace(old, serial_no=serial, **parts))
        self._flush()

    def put_all(self, instances: Iterable[SimInstance]) -> None:
        """Put many instances there at once."""
        for instance in instances:
            self._has.put(instance)
        self._flush()
