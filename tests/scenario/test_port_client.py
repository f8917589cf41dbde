"""Ports, interfaces, floating IPs and security groups with the real client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.scenario.cloud import OpenStack, until
from tests.scenario.conftest import Cloud


@pytest.fixture
def cloud(make_cloud: Callable[..., Cloud]) -> Cloud:
    """A cloud that runs, with its networks made."""
    made = make_cloud(job_seconds=0.2)
    made.service.start()
    until(lambda: not made.books.open_operations(), "the networks are made")
    return made


def settled(cloud: Cloud) -> None:
    """Wait until nothing is in motion."""
    until(lambda: not cloud.books.open_operations(), "nothing is in motion")


def nics(cloud: Cloud) -> list[str | None]:
    """The address of every interface of the only instance at the cluster."""
    (name,) = cloud.simulators.instances()
    (cluster,) = cloud.simulators.clusters
    shown: Any = cloud.simulators.ask(cluster, f"/2/instances/{name}")  # type: ignore[union-attr]
    ips: list[str | None] = shown["nic.ips"]
    return ips


def test_ports_and_interfaces_as_people_type_them(cloud: Cloud) -> None:
    """A port alone, in a new server, taken off, put on; a network added."""
    openstack = OpenStack(cloud.folder)
    port = openstack.json(
        *("port", "create", "--network", "shared", "--fixed-ip", "ip-address=10.77.0.50"),
        *("--description", "d", "p"),
    )
    assert (port["status"], port["device_id"]) == ("DOWN", "")
    assert port["fixed_ips"][0]["ip_address"] == "10.77.0.50"
    openstack("port", "set", "--name", "q", "--disable", "p")
    assert openstack.json("port", "show", "q")["admin_state_up"] is False
    openstack(
        *("server", "create", "--flavor", "tiny", "--image", "debian-12", "--port", "q"),
        *("--wait", "s"),
    )
    assert nics(cloud) == ["10.77.0.50"]
    openstack("server", "add", "network", "s", "shared")
    settled(cloud)
    assert len(nics(cloud)) == 2
    openstack("server", "remove", "port", "s", "q")
    settled(cloud)
    assert "10.77.0.50" not in nics(cloud)
    assert openstack.json("port", "show", "q")["status"] == "DOWN"
    openstack("server", "add", "port", "s", "q")
    settled(cloud)
    assert openstack.json("port", "show", "q")["status"] == "ACTIVE"
    openstack("port", "delete", "q")
    settled(cloud)
    assert len(openstack.json("port", "list")) == 1
    openstack("server", "delete", "--wait", "s")
    settled(cloud)
    assert openstack.json("port", "list") == []
    assert cloud.books.faults() == []


def test_floating_ips_as_people_type_them(cloud: Cloud) -> None:
    """Reserved, put on a server and a port, shown, taken off, given back."""
    openstack = OpenStack(cloud.folder)
    openstack(
        *("server", "create", "--flavor", "tiny", "--image", "debian-12"),
        *("--network", "shared", "--wait", "s"),
    )
    made = openstack.json("floating", "ip", "create", "--description", "d", "public")
    address = made["floating_ip_address"]
    assert (made["status"], made["port_id"], made["router_id"]) == ("DOWN", None, None)
    openstack("server", "add", "floating", "ip", "s", address)
    settled(cloud)
    assert address in nics(cloud)
    shown = openstack.json("floating", "ip", "show", address)
    assert (shown["status"], shown["fixed_ip_address"][:6]) == ("ACTIVE", "10.77.")
    server = openstack.json("server", "show", "s")
    assert address in server["addresses"]["shared"]
    assert len(openstack.json("port", "list")) == 1, "its interface is none of the project's ports"
    openstack("server", "remove", "floating", "ip", "s", address)
    settled(cloud)
    assert address not in nics(cloud)
    (port,) = openstack.json("port", "list", "--server", "s")
    openstack("floating", "ip", "set", "--port", port["ID"], address)
    settled(cloud)
    assert openstack.json("floating", "ip", "list")[0]["Port"] == port["ID"]
    openstack("floating", "ip", "unset", "--port", address)
    openstack("floating", "ip", "delete", address)
    settled(cloud)
    assert openstack.json("floating", "ip", "list") == []
    assert address not in nics(cloud)
    assert cloud.books.faults() == []
    (row,) = cloud.books.rows(
        "select count(*) as count from address_history where host(address) = %s"
        " and released_at is not null",
        address,
    )
    assert row.count == 2


def test_security_groups_as_people_type_them(cloud: Cloud) -> None:
    """A group with rules, on a port and on a server; what is used stays."""
    openstack = OpenStack(cloud.folder)
    openstack("security", "group", "create", "--description", "d", "web")
    openstack("security", "group", "set", "--name", "www", "web")
    rule = openstack.json(
        *("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "80:81"),
        *("--remote-ip", "192.0.2.0/24", "www"),
    )
    assert (rule["port_range_min"], rule["port_range_max"]) == (80, 81)
    assert len(openstack.json("security", "group", "rule", "list", "www")) == 3
    openstack("port", "create", "--network", "shared", "--security-group", "www", "p")
    openstack(
        *("server", "create", "--flavor", "tiny", "--image", "debian-12", "--port", "p"),
        *("--wait", "s"),
    )
    openstack("server", "add", "security", "group", "s", "default")
    names = {each["name"] for each in openstack.json("server", "show", "s")["security_groups"]}
    assert names == {"default", "www"}
    with pytest.raises(AssertionError, match="in use"):
        openstack("security", "group", "delete", "www")
    openstack("server", "remove", "security", "group", "s", "www")
    openstack("security", "group", "rule", "delete", rule["id"])
    openstack("security", "group", "delete", "www")
    assert [each["Name"] for each in openstack.json("security", "group", "list")] == ["default"]
    openstack("server", "delete", "--wait", "s")


def test_routers_as_people_type_them(cloud: Cloud) -> None:
    """Tied to the external network, and refused an interface in words that help."""
    openstack = OpenStack(cloud.folder)
    openstack("router", "create", "r")
    openstack("router", "set", "--external-gateway", "public", "r")
    assert openstack.json("router", "show", "r")["external_gateway_info"]["enable_snat"] is True
    with pytest.raises(AssertionError, match="belongs to another project"):
        openstack("router", "add", "subnet", "r", "shared-v4")
    openstack("router", "unset", "--external-gateway", "r")
    openstack("router", "delete", "r")
