"""The ground on which tests meet real clusters: a cloud with a private network, and looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cyclades_tx.store.embedded import EmbeddedPostgres
from tests.real.ganeti import GANETIS
from tests.scenario.cloud import Client, Refused
from tests.scenario.conftest import Cloud, running_cloud
from tests.scenario.real_servers import (
    Machine,
    create,
    ganeti_network,
    machine_of,
    real_clusters,
    wait,
)

#: Of the private network that every machine may have.
LAB = "10.8.0"


@dataclass
class Ground:
    """A cloud on real clusters in which the tests of one hypervisor meet.

    :ivar lab: the UUID of a private network.
    :ivar bridge: where private networks are.
    :ivar spare: machines that serve another test when they are as they were made.
    """

    cloud: Cloud
    client: Client
    lab: str
    bridge: str
    spare: list[Machine] = field(default_factory=list)

    def network(self, name: str) -> str:
        """The UUID of a network that everybody knows by its name."""
        (row,) = self.cloud.books.rows("select uuid::text from network where name = %s", name)
        found: str = row.uuid
        return found

    def make(self, name: str, networks: tuple[str, ...] = (), zone: str = "") -> Machine:
        """A machine that runs."""
        server = create(self.cloud, self.client, name, networks=networks, zone=zone)
        return machine_of(self.cloud, self.client, server)

    def sound(self) -> None:
        """See that the books add up."""
        wait(self.cloud, lambda: not self.cloud.books.open_operations(), "all is at rest")
        assert self.cloud.books.faults() == []


@contextmanager
def ground(
    name: str,
    postgres: EmbeddedPostgres,
    administer: Callable[[str], None],
    template: str,
    folder: Path,
    ganeti: str = "",
    **options: Any,
) -> Iterator[Ground]:
    """A cloud that runs, with a private network."""
    first = GANETIS.kvm() if options.get("kvm") else GANETIS.get(2)[0]
    assert first.bridge, "this machine lets nobody make bridges"
    administer(f"create database {name} template {template} strategy file_copy")
    try:
        with running_cloud(
            folder,
            postgres.dsn(name),
            real=True,
            ganeti=f'{ganeti}mac_filtered_bridge = "{first.bridge}"\n',
            **options,
        ) as cloud:
            cloud.service.start()
            wait(cloud, lambda: not cloud.books.open_operations(), "the networks are made")
            client = cloud.client()
            yield Ground(cloud, client, private(client, "lab", LAB), first.bridge)
    finally:
        administer(f"drop database {name} with (force)")


def private(client: Client, name: str, base: str) -> str:
    """Make a private network with an IPv4 subnet; return its UUID."""
    made = client.send("POST", "/network/v2.0/networks", {"network": {"name": name}})[2]
    found: str = made["network"]["id"]
    subnet = {"network_id": found, "ip_version": 4, "cidr": f"{base}.0/24"}
    client.send("POST", "/network/v2.0/subnets", {"subnet": subnet})
    return found


def address_of(port: Any) -> str:
    """The IPv4 address of a port."""
    (found,) = [each["ip_address"] for each in port["fixed_ips"] if ":" not in each["ip_address"]]
    return str(found)


def refused(call: Callable[[], Any]) -> Refused:
    """What a call is refused with."""
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


def same_on_both_sides(machine: Machine) -> list[dict[str, str]]:
    """See that all interfaces are as ``gnt-instance info`` tells; return what that says.

    Names, networks, addresses and MAC addresses, in their order.
    """
    cloud, nics = machine.cloud, machine.nics()
    ports = machine.ports()
    prefix = real_clusters(cloud).prefix
    known = {
        row.uuid: f"{prefix}nic-{row.id}"
        for row in cloud.books.rows("select uuid::text, id from port")
    }
    assert [(nic["name"], nic["network"], nic["MAC"], nic["IP"]) for nic in nics] == [
        (
            known[port["id"]],
            ganeti_network(cloud, port["network_id"]),
            port["mac_address"],
            address_of(port),
        )
        for port in ports
    ]
    addresses = [each["addr"] for many in machine.shown()["addresses"].values() for each in many]
    assert sorted(addresses) == sorted(address_of(port) for port in ports)
    return nics
