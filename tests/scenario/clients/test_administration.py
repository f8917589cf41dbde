"""Quotas and usage, and the machines as administrators see them."""

from __future__ import annotations

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, for_administrators, refused, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

CLUSTERS = ["sim1.example.org", "sim2.example.org"]
HYPERVISOR = (
    "Administrators only. A cluster is one hypervisor; its numbers are those that it gave last."
)
POLICY = "Policy does not allow this request to be performed."
OPERATORS = "The clusters are managed by the operators' commands."


@rows(
    approximated(
        "quota set --instances N P",
        "PUT compute/os-quota-sets/P",
        "Administrators only. Cores and ram are those of all servers and of running ones alike.",
    ),
    for_administrators("quota set --networks N --floating-ips N P", "PUT network/quotas/P"),
    refused(
        "quota set --ports N P",
        *("PUT network/quotas/P", 400, "is not limited on this cloud."),
    ),
    approximated(
        "quota set --default --instances N default",
        "PUT compute/os-quota-class-sets/default",
        "Administrators only. Projects that are there keep theirs until they are reset.",
    ),
    for_administrators("quota list --compute", "GET compute/os-quota-sets/P/defaults"),
    for_administrators("quota list --network", "GET network/quotas/P/default"),
    for_administrators("quota delete --compute P", "DELETE compute/os-quota-sets/P"),
    for_administrators("quota delete --network P", "DELETE network/quotas/P"),
)
def test_quotas(admin: Person, demo: Person) -> None:
    """Set for a project of its own, seen, and taken back."""
    admin("project create quoted")
    admin("quota set --instances 11 --cores 21 --ram 40000 quoted")
    admin("quota set --networks 5 --floating-ips 6 quoted")
    shown = {each["Resource"]: each["Limit"] for each in admin.json("quota show quoted")}
    wanted = {"instances": 11, "cores": 21, "ram": 40000, "networks": 5, "floating_ips": 6}
    assert {name: shown[name] for name in wanted} == wanted
    admin.refused("quota set --ports 5 quoted")
    (listed,) = admin.json("quota list --compute")
    assert (listed["Cores"], listed["Instances"]) == (21, 11)
    (listed,) = admin.json("quota list --network")
    assert (listed["Networks"], listed["Floating IPs"]) == (5, 6)
    admin("quota set --default --instances 12 default")
    admin("quota delete --compute quoted")
    admin("quota delete --network quoted")
    shown = {each["Resource"]: each["Limit"] for each in admin.json("quota show quoted")}
    assert shown["instances"] == 12
    admin("quota set --default --instances 100000 default")
    demo.refused("quota set --instances 1000 demo", why=POLICY)
    admin("project delete quoted")


@rows(
    supported("usage show", "GET compute/os-simple-tenant-usage/P"),
    supported(
        "usage show --project P --start DAY --end DAY", "GET compute/os-simple-tenant-usage/P"
    ),
    for_administrators("usage list", "GET compute/os-simple-tenant-usage?detailed=True"),
)
def test_usage(demo: Person, admin: Person, server: str) -> None:
    """Of one's own project, and of all."""
    mine = demo.json("usage show")
    assert len(mine["Servers"]) >= 1
    days = "--start 2020-01-01 --end 2020-01-02"
    assert not demo.json(f"usage show --project demo {days}")["Servers"]
    project = demo.json("token issue")["project_id"]
    assert project in admin.column("usage list", "Project")
    demo.refused("usage list", why=POLICY)
    assert server


@rows(
    approximated("hypervisor list", "GET compute/os-hypervisors/detail", HYPERVISOR),
    approximated("hypervisor list --long", "GET compute/os-hypervisors/detail", HYPERVISOR),
    approximated(
        "hypervisor list --matching NAME",
        "GET compute/os-hypervisors/detail?hypervisor_hostname_pattern=NAME",
        HYPERVISOR,
    ),
    approximated(
        "hypervisor show H",
        "GET compute/os-hypervisors → GET compute/os-hypervisors/H → GET compute/os-aggregates",
        HYPERVISOR,
    ),
    for_administrators("hypervisor stats show", "GET compute/os-hypervisors/statistics"),
    approximated(
        "compute service list",
        "GET compute/os-services",
        "Administrators only. Each cluster is one nova-compute.",
    ),
    for_administrators(
        "availability zone list --compute", "GET compute/os-availability-zone/detail"
    ),
)
def test_the_clusters_as_hypervisors(admin: Person, demo: Person) -> None:
    """Each cluster is one, for administrators."""
    assert admin.column("hypervisor list", "Hypervisor Hostname") == CLUSTERS
    assert admin.column("hypervisor list --long", "State") == ["up", "up"]
    found = admin.column("hypervisor list --matching sim1", "Hypervisor Hostname")
    assert found == ["sim1.example.org"]
    shown = admin.json("hypervisor show sim1.example.org")
    assert (shown["state"], shown["status"]) == ("up", "enabled")
    stats = admin.json("hypervisor stats show")
    assert stats["count"] == 2
    assert admin.column("compute service list", "Host") == CLUSTERS
    assert set(admin.column("availability zone list --compute", "Zone Name")) == set(CLUSTERS)
    demo.refused("hypervisor list", why=POLICY)
    demo.refused("compute service list", why="403")


@rows(
    refused(
        "compute service set --disable HOST nova-compute",
        *("PUT compute/os-services/S", 501, "Failed to set service status to disabled"),
    ),
    refused("compute service delete S", "DELETE compute/os-services/S", 501, OPERATORS),
    for_administrators("aggregate list", "GET compute/os-aggregates"),
    refused("aggregate create A", "POST compute/os-aggregates", 501, OPERATORS),
    refused("aggregate show A", "GET compute/os-aggregates/A", 501, OPERATORS),
    refused("host list", "GET compute/os-hosts", 404, "The resource could not be found."),
    refused("host show H", "GET compute/os-hosts/H", 404, "The resource could not be found."),
    refused(
        "compute agent list",
        *("GET compute/os-agents", 410, "This resource has been removed from Compute."),
    ),
)
def test_machines_are_not_managed_here(admin: Person) -> None:
    """That is for the operators of the clusters."""
    admin.refused("compute service set --disable sim1.example.org nova-compute")
    admin.refused("compute service delete 1")
    assert admin.json("aggregate list") == []
    admin.refused("aggregate create rack")
    admin.refused("aggregate show rack")
    admin.refused("host list")
    admin.refused("host show sim1.example.org")
    admin.refused("compute agent list")
