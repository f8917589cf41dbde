"""Networks and subnets with the unmodified ``openstack`` command, down to two clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.scenario.cloud import OpenStack, until
from tests.scenario.conftest import Cloud


@pytest.fixture
def running(make_cloud: Callable[..., Cloud]) -> Iterator[Cloud]:
    """A service over two simulated clusters."""
    cloud = make_cloud(clusters=2, job_seconds=0.1)
    cloud.service.start()
    yield cloud


def refused(client: OpenStack, *words: str) -> str:
    """What a command says that must fail."""
    with pytest.raises(AssertionError) as caught:
        client(*words)
    return str(caught.value)


def test_a_network_and_its_subnets_from_beginning_to_end(running: Cloud) -> None:
    """Made, changed, shown, listed, used by servers on both clusters, and deleted."""
    demo = OpenStack(running.folder)
    made = demo.json("network", "create", "lab", "--description", "mine", "--tag", "red")
    assert (made["name"], made["description"]) == ("lab", "mine")
    assert made["router:external"] is False
    four = demo.json(
        *("subnet", "create", "four", "--network", "lab", "--subnet-range", "10.8.0.0/24"),
        *("--dns-nameserver", "9.9.9.9", "--allocation-pool", "start=10.8.0.10,end=10.8.0.20"),
        *("--host-route", "destination=10.9.0.0/16,gateway=10.8.0.9", "--tag", "blue"),
    )
    assert four["gateway_ip"] == "10.8.0.1"
    six = demo.json(
        *("subnet", "create", "six", "--network", "lab", "--subnet-range", "fd00:8::/64"),
        *("--ip-version", "6", "--ipv6-ra-mode", "slaac", "--ipv6-address-mode", "slaac"),
    )
    assert six["ipv6_ra_mode"] == "slaac"
    demo("network", "set", "lab", "--name", "work", "--tag", "green", "--mtu", "1400")
    demo("network", "unset", "work", "--tag", "red")
    shown = demo.json("network", "show", "work")
    assert (sorted(shown["tags"]), shown["mtu"]) == (["green"], 1400)
    assert sorted(shown["subnets"]) == sorted([four["id"], six["id"]])
    assert shown["provider:network_type"] is None
    listed = demo.json("network", "list", "--tags", "green", "--long")
    assert [each["Name"] for each in listed] == ["work"]
    demo("subnet", "set", "four", "--name", "v4", "--no-dns-nameservers", "--description", "d")
    demo("subnet", "unset", "v4", "--host-route", "destination=10.9.0.0/16,gateway=10.8.0.9")
    shown = demo.json("subnet", "show", "v4")
    assert (shown["dns_nameservers"], shown["host_routes"]) == ([], [])
    assert (shown["description"], shown["tags"]) == ("d", ["blue"])
    listed = demo.json("subnet", "list", "--network", "work", "--ip-version", "4")
    assert [each["Name"] for each in listed] == ["v4"]
    assert "overlaps" in refused(
        demo, "subnet", "create", "x", "--network", "work", "--subnet-range", "10.8.0.0/25"
    )
    networks = f"--network={made['id']}"
    create = ("server", "create", "--flavor", "tiny", "--image", "debian-12", networks)
    for number, cluster in enumerate(running.simulators.clusters):
        running.books.rows("update cluster set drained = name <> %s", cluster.name)
        demo(*create, "--wait", f"s{number}")
    states = running.books.rows(
        "select m.state from cluster_network m join network n on n.id = m.network_id"
        " where n.name = 'work'"
    )
    assert [tuple(each) for each in states] == [("active",), ("active",)]
    assert "in use" in refused(demo, "network", "delete", "work")
    assert "IP allocation" in refused(demo, "subnet", "delete", "v4")
    demo("server", "delete", "--wait", "s0", "s1")
    demo("subnet", "delete", "v4", "six")
    demo("network", "delete", "work")
    gone = "select 1 from cluster_network m join network n on n.id = m.network_id"
    until(
        lambda: not running.books.rows(f"{gone} where n.name = 'work'"),
        "no cluster has the network any more",
    )
    assert [each["Name"] for each in demo.json("network", "list")] != []
    assert "No Network found" in refused(demo, "network", "show", "work")


def test_an_administrator_chooses_flavors_and_quotas(running: Cloud) -> None:
    """By the attributes of a provider; a project that may have no more is told so."""
    admin, demo = OpenStack(running.folder, "admin"), OpenStack(running.folder)
    vlan = admin.json(
        *("network", "create", "office", "--provider-network-type", "vlan"),
        *("--provider-segment", "7", "--share"),
    )
    assert (vlan["provider:network_type"], vlan["provider:segmentation_id"]) == ("vlan", 7)
    assert vlan["shared"] is True
    outside = admin.json("network", "create", "outside", "--external")
    assert (outside["router:external"], outside["provider:network_type"]) == (True, "flat")
    admin("network", "set", "office", "--no-share")
    project = demo.json("token", "issue")["project_id"]
    admin("quota", "set", "--networks", "1", "--floating-ips", "2", project)
    demo("network", "create", "one")
    message = refused(demo, "network", "create", "two")
    assert "409" in message
    assert "Quota exceeded" in message
    assert "403" in refused(demo, "network", "create", "x", "--share")
