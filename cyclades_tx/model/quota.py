"""Quota arithmetic: what a server is charged for, and whether a project may have more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VM = "cyclades.vm"
CPU = "cyclades.cpu"
TOTAL_CPU = "cyclades.total_cpu"
RAM = "cyclades.ram"
TOTAL_RAM = "cyclades.total_ram"
DISK = "cyclades.disk"
FLOATING_IP = "cyclades.floating_ip"
PRIVATE_NETWORK = "cyclades.network.private"

RESOURCES = (CPU, DISK, FLOATING_IP, PRIVATE_NETWORK, RAM, TOTAL_CPU, TOTAL_RAM, VM)

#: Charges of a server: nothing, a stopped machine, a running machine.
NONE = "none"
OFF = "off"
ON = "on"

MIB = 2**20
GIB = 2**30

_WORDS = {
    VM: "instances",
    CPU: "running cores",
    TOTAL_CPU: "cores",
    RAM: "running ram",
    TOTAL_RAM: "ram",
    DISK: "gigabytes",
    FLOATING_IP: "floating ips",
    PRIVATE_NETWORK: "networks",
}
_UNITS = {RAM: (MIB, " MiB"), TOTAL_RAM: (MIB, " MiB"), DISK: (GIB, " GiB")}


@dataclass(frozen=True)
class Holding:
    """What a project holds of one resource; a None maximum is no limit."""

    resource: str
    maximum: int | None
    used: int
    reserved: int


@dataclass(frozen=True)
class Shortage:
    """A resource of which a project would need more than it may have."""

    resource: str
    maximum: int
    used: int
    requested: int

    def sentence(self) -> str:
        """For the person who asked: ``Requested 4, but already used 18 of 20 cores``."""
        divisor, unit = _UNITS.get(self.resource, (1, ""))
        return (
            f"Requested {self.requested // divisor}{unit}, but already used "
            f"{self.used // divisor} of {self.maximum // divisor}{unit} {word(self.resource)}"
        )


def word(resource: str) -> str:
    """The resource in the words of OpenStack's clients."""
    return _WORDS.get(resource, resource)


def server_amounts(charge: str, vcpus: int, memory_mib: int, disk_gib: int) -> dict[str, int]:
    """What a server with this charge takes of each resource; memory and disk in bytes."""
    if charge == NONE:
        return {}
    amounts = {
        VM: 1,
        TOTAL_CPU: vcpus,
        TOTAL_RAM: memory_mib * MIB,
        DISK: disk_gib * GIB,
    }
    if charge == ON:
        amounts[CPU] = vcpus
        amounts[RAM] = memory_mib * MIB
    return {resource: amount for resource, amount in amounts.items() if amount}


def difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What must be added to come from ``before`` to ``after``, without zeros."""
    changes = {
        resource: after.get(resource, 0) - before.get(resource, 0) for resource in {*before, *after}
    }
    return {resource: change for resource, change in sorted(changes.items()) if change}


def shortages(holdings: Mapping[str, Holding], amounts: Mapping[str, int]) -> tuple[Shortage, ...]:
    """The resources that would pass their limit if the amounts were added.

    Only growth is refused: a project over its limit may still give back.
    """
    found = []
    for resource, amount in sorted(amounts.items()):
        holding = holdings.get(resource)
        if holding is None or holding.maximum is None or amount <= 0:
            continue
        if holding.used + holding.reserved + amount > holding.maximum:
            found.append(
                Shortage(resource, holding.maximum, holding.used + holding.reserved, amount)
            )
    return tuple(found)


def quota_message(found: tuple[Shortage, ...]) -> str:
    """One sentence that names each shortage, as Compute's clients expect it to begin."""
    names = ", ".join(word(shortage.resource) for shortage in found)
    facts = "; ".join(shortage.sentence() for shortage in found)
    return f"Quota exceeded for {names}: {facts}."
