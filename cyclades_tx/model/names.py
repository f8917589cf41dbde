"""The names that our things have in Ganeti: ``snf-42``, ``snf-net-7``, ``snf-vol-3``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """Makes and reads Ganeti names.

    :param prefix: the deployment's prefix, with its dash (``snf-``).
    """

    prefix: str = "snf-"

    def instance(self, server_id: int) -> str:
        """The instance of a server."""
        return f"{self.prefix}{server_id}"

    def network(self, network_id: int) -> str:
        """The Ganeti network of a network."""
        return f"{self.prefix}net-{network_id}"

    def nic(self, port_id: int) -> str:
        """The interface of a port."""
        return f"{self.prefix}nic-{port_id}"

    def disk(self, volume_id: int) -> str:
        """The disk of a volume."""
        return f"{self.prefix}vol-{volume_id}"

    def place(self, server_id: int) -> str:
        """The disk that keeps the place of those that a new instance is about to get."""
        return f"{self.prefix}place-{server_id}"

    def holder(self, volume_id: int) -> str:
        """The instance that has the disk of a volume while it is changed and no server has it."""
        return f"{self.prefix}hold-{volume_id}"

    def link(self, network_id: int) -> str:
        """The link of a routed network that was given none."""
        return f"{self.prefix}link-{network_id}"

    def server_id(self, instance: str) -> int | None:
        """The server of an instance, or None when the name is not one of ours."""
        return _number(instance, self.prefix)

    def network_id(self, network: str) -> int | None:
        """The network of a Ganeti network, or None when the name is not one of ours."""
        return _number(network, f"{self.prefix}net-")

    def port_id(self, nic: str) -> int | None:
        """The port of an interface, or None when the name is not one of ours."""
        return _number(nic, f"{self.prefix}nic-")

    def volume_id(self, disk: str) -> int | None:
        """The volume of a disk, or None when the name is not one of ours."""
        return _number(disk, f"{self.prefix}vol-")

    def held_volume_id(self, instance: str) -> int | None:
        """The volume whose disk an instance holds, or None when the name is not one of ours."""
        return _number(instance, f"{self.prefix}hold-")


def _number(name: str, prefix: str) -> int | None:
    digits = name.removeprefix(prefix)
    if digits == name or not digits.isascii() or not digits.isdigit() or digits[0] == "0":
        return None
    return int(digits) if len(digits) < 19 else None
