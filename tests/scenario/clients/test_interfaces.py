"""Interfaces and addresses of servers, as Compute's commands put them on and take them off."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import refused, rows, supported
from tests.scenario.conftest import Cloud

pytestmark = pytest.mark.xdist_group("clients")


@pytest.fixture
def addresses(demo: Person) -> Callable[[str], list[str]]:
    """The addresses of a server on the shared network."""

    def look(server: str) -> list[str]:
        found: list[str] = demo.json(f"server show {server}")["addresses"].get("shared", [])
        return found

    return look


@rows(
    supported("server add network S N", "POST compute/servers/S/os-interface"),
    supported(
        "server remove network S N",
        "GET compute/servers/S/os-interface → DELETE compute/servers/S/os-interface/P",
    ),
    supported("server add port S P", "POST compute/servers/S/os-interface"),
    supported("server remove port S P", "DELETE compute/servers/S/os-interface/P"),
    supported("server add fixed ip S N", "POST compute/servers/S/os-interface"),
    supported(
        "server add fixed ip --fixed-ip-address A S N", "POST compute/servers/S/os-interface"
    ),
    refused(
        "server remove fixed ip S A",
        "POST compute/servers/S/action removeFixedIp",
        *(400, "There is no such action: removeFixedIp"),
    ),
)
def test_interfaces_come_and_go(
    demo: Person,
    server: str,
    addresses: Callable[[str], list[str]],
    settled: Callable[[], None],
    cloud: Cloud,
) -> None:
    """By network, by port, with an address of one's choice."""
    demo(f"server add network {server} shared")
    settled()
    assert len(addresses(server)) == 2
    demo(f"server add fixed ip {server} shared")
    settled()
    demo(f"server add fixed ip --fixed-ip-address 10.77.4.4 {server} shared")
    settled()
    assert "10.77.4.4" in addresses(server)
    demo.refused(f"server remove fixed ip {server} 10.77.4.4")
    port = demo.json("port create --network shared --fixed-ip ip-address=10.77.4.5 extra")
    assert port["status"] == "DOWN"
    demo(f"server add port {server} extra")
    settled()
    assert "10.77.4.5" in addresses(server)
    assert len(addresses(server)) == 5
    demo(f"server remove port {server} extra")
    settled()
    assert "10.77.4.5" not in addresses(server)
    demo("port delete extra")
    demo(f"server add network {server} shared")
    settled()
    with_one = demo.json(f"port list --server {server}")
    for each in with_one[1:]:
        demo(f"server remove port {server} {each['ID']}")
        settled()
    demo(f"server remove network {server} shared")
    settled()
    assert addresses(server) == []
    assert cloud.books.faults() == []


@rows(
    supported(
        "server add floating ip S A", "GET network/ports?device_id=S → PUT network/floatingips/F"
    ),
    supported("server remove floating ip S A", "PUT network/floatingips/F"),
    supported("server create --port P --wait S", "POST compute/servers"),
)
def test_floating_ips_of_servers(
    demo: Person,
    server: str,
    addresses: Callable[[str], list[str]],
    settled: Callable[[], None],
    cloud: Cloud,
) -> None:
    """Put on an interface and taken off; a server on a port of one's own."""
    address = demo.json("floating ip create public")["floating_ip_address"]
    demo(f"server add floating ip {server} {address}")
    settled()
    assert address in addresses(server)
    assert demo.json(f"floating ip show {address}")["status"] == "ACTIVE"
    demo(f"server remove floating ip {server} {address}")
    settled()
    assert address not in addresses(server)
    demo(f"floating ip delete {address}")
    demo("port create --network shared --fixed-ip ip-address=10.77.4.6 own")
    demo("server create --flavor tiny --image debian-12 --port own --wait on-a-port")
    assert addresses("on-a-port") == ["10.77.4.6"]
    demo("server delete --wait on-a-port")
    demo("port delete own")
    assert cloud.books.faults() == []


@rows(
    supported("server add security group S G", "POST compute/servers/S/action addSecurityGroup"),
    supported(
        "server remove security group S G", "POST compute/servers/S/action removeSecurityGroup"
    ),
)
def test_security_groups_of_servers(demo: Person, server: str) -> None:
    """Groups come and go."""
    demo("security group create door")
    demo(f"server add security group {server} door")
    names = {each["name"] for each in demo.json(f"server show {server}")["security_groups"]}
    assert names == {"default", "door"}
    demo(f"server remove security group {server} door")
    demo("security group delete door")
