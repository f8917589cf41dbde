"""Hypervisors, services and zones: what administrators see of the clusters."""

from __future__ import annotations

import pytest

from cyclades_tx.api.compute import hypervisors, zones
from cyclades_tx.testing import builders

BOUNDARIES = [1, 10, 11, 27, 28, 32, 33, 52, 53, 74, 75, 87, 88, 96]
PATHS = ["/os-hypervisors", "/os-hypervisors/detail", "/os-hypervisors/1", "/os-services",
         "/os-hypervisors/statistics", "/os-hypervisors/1/uptime", "/os-hypervisors/c/search",
         "/os-hypervisors/c/servers", "/os-aggregates", "/os-migrations"]  # fmt: skip


async def a_cluster(database, name="alpha", **columns):
    """A cluster with numbers."""
    row = await builders.a_cluster(database, name)
    await database.run(
        "update cluster set version = '3.1.2', memory_free_mib = 1024, memory_total_mib = 4096,"
        " disk_free_mib = 10240, disk_total_mib = 20480, cpus = 8 where id = %s",
        (row.id,),
    )
    return row


@pytest.mark.parametrize("minor", BOUNDARIES)
async def test_documents_have_exactly_the_members_of_their_version(
    wire, database, admin, fits, minor
):
    """Listed, in detail, shown; with the servers on them from 2.53."""
    cluster = await a_cluster(database)
    flavor = await builders.a_flavor(database)
    await builders.a_server(database, wire.who, flavor, cluster=cluster, vcpus=3)
    options = {"version": f"2.{minor}", "who": admin}
    (item,) = (await wire.get("/os-hypervisors", **options)).json["hypervisors"]
    fits(item, hypervisors.HYPERVISOR_ITEM.schema(minor, True))
    assert item["id"] == (cluster.id if minor < 53 else cluster.uuid)
    (detail,) = (await wire.get("/os-hypervisors/detail", **options)).json["hypervisors"]
    fits(detail, hypervisors.HYPERVISOR.schema(minor, True))
    shown = (await wire.get(f"/os-hypervisors/{item['id']}", **options)).json["hypervisor"]
    assert shown == detail
    assert detail["hypervisor_version"] == 3001002
    assert detail.get("vcpus_used") == (3 if minor < 88 else None)
    (service,) = (await wire.get("/os-services", **options)).json["services"]
    fits(service, hypervisors.SERVICE.schema(minor, True))
    found = (await wire.get("/os-hypervisors?with_servers=true", **options)).json["hypervisors"]
    assert ("servers" in found[0]) == (minor >= 53)


async def test_servers_are_named_as_at_the_cluster(wire, database, admin):
    """By prefix and id."""
    cluster = await a_cluster(database)
    flavor = await builders.a_flavor(database)
    server = await builders.a_server(database, wire.who, flavor, cluster=cluster)
    expected = [{"uuid": server.uuid, "name": f"snf-{server.id}"}]
    for path in ("/os-hypervisors?with_servers=1", "/os-hypervisors/detail?with_servers=1"):
        (found,) = (await wire.get(path, version="2.96", who=admin)).json["hypervisors"]
        assert found["servers"] == expected
    path = f"/os-hypervisors/{cluster.uuid}?with_servers=1"
    shown = (await wire.get(path, version="2.96", who=admin)).json["hypervisor"]
    assert shown["servers"] == expected
    (old,) = (await wire.get("/os-hypervisors/alp/servers", who=admin)).json["hypervisors"]
    assert old["servers"] == expected


async def test_cluster_that_does_not_answer_is_down(wire, database, admin):
    """And a drained one disabled, with the reason."""
    await a_cluster(database)
    await database.run("update cluster set reachable = false, drained = true")
    (found,) = (await wire.get("/os-hypervisors/detail", who=admin)).json["hypervisors"]
    assert (found["state"], found["status"]) == ("down", "disabled")
    assert found["service"]["disabled_reason"] == "drained"
    (service,) = (await wire.get("/os-services", who=admin)).json["services"]
    assert (service["state"], service["status"]) == ("down", "disabled")


async def test_numbers_are_added_up(wire, database, admin, fits):
    """Up to 2.87."""
    await a_cluster(database)
    await a_cluster(database, "beta")
    path = "/os-hypervisors/statistics"
    found = (await wire.get(path, who=admin)).json["hypervisor_statistics"]
    fits(found, hypervisors.STATISTICS.schema(1, True))
    assert (found["count"], found["vcpus"], found["memory_mb_used"]) == (2, 16, 6144)
    (await wire.get(path, version="2.88", who=admin)).fault(404, "itemNotFound")


async def test_no_cluster_is_an_empty_list(wire, admin):
    """And all numbers are zero."""
    assert (await wire.get("/os-hypervisors", who=admin)).json == {"hypervisors": []}
    assert (await wire.get("/os-services", who=admin)).json == {"services": []}
    found = (await wire.get("/os-hypervisors/statistics", who=admin)).json
    assert set(found["hypervisor_statistics"].values()) == {0}


async def test_pages_follow_each_other(wire, database, admin):
    """From 2.33 on."""
    for name in ("a1", "a2", "a3"):
        await builders.a_cluster(database, name)
    path, seen = "/os-hypervisors?limit=2", []
    while path:
        document = (await wire.get(path, version="2.53", who=admin)).json
        seen += [each["hypervisor_hostname"] for each in document["hypervisors"]]
        links = document.get("hypervisors_links")
        path = links and links[0]["href"].removeprefix("https://cloud.example.org/compute/v2.1")
    assert seen == ["a1", "a2", "a3"]


async def test_hypervisors_are_found_by_part_of_the_name(wire, database, admin):
    """With a path of their own before 2.53, with a parameter from then on."""
    await builders.a_cluster(database, "alpha")
    await builders.a_cluster(database, "beta")
    (found,) = (await wire.get("/os-hypervisors/lph/search", who=admin)).json["hypervisors"]
    assert found["hypervisor_hostname"] == "alpha"
    (await wire.get("/os-hypervisors/x/search", who=admin)).fault(404, "itemNotFound")
    path = "/os-hypervisors?hypervisor_hostname_pattern=et"
    (found,) = (await wire.get(path, version="2.53", who=admin)).json["hypervisors"]
    assert found["hypervisor_hostname"] == "beta"
    (service,) = (await wire.get("/os-services?host=beta", who=admin)).json["services"]
    assert service["host"] == "beta"
    none = (await wire.get("/os-services?binary=nova-scheduler", who=admin)).json
    assert none == {"services": []}


@pytest.mark.parametrize("path", PATHS)
async def test_machines_are_the_administrators(wire, path):
    """Everyone else gets 403."""
    (await wire.get(path)).fault(403, "forbidden")


@pytest.mark.parametrize("ref", ["x", "%00", "99999999999999999999", "%F0%9F%90%B7"])
async def test_anything_can_stand_where_an_id_belongs(wire, admin, ref):
    """400 for what is no UUID from 2.53, 404 before."""
    (await wire.get(f"/os-hypervisors/{ref}", who=admin)).fault(404, "itemNotFound")
    answer = await wire.get(f"/os-hypervisors/{ref}", who=admin, version="2.53")
    assert answer.status in (400, 404)
    (await wire.get(f"/os-hypervisors/{ref}/uptime", who=admin)).fault(404, "itemNotFound")


async def test_zones_have_their_hosts_in_detail(wire, database, admin, fits):
    """One service each."""
    await a_cluster(database)
    detail = (await wire.get("/os-availability-zone/detail", who=admin)).json
    fits(detail, zones.ZONES_DETAIL)
    (zone,) = detail["availabilityZoneInfo"]
    assert zone["hosts"]["alpha"]["nova-compute"]["active"] is True
    fits((await wire.get("/os-availability-zone")).json, zones.ZONES)


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/os-services/x"), ("POST", "/os-aggregates"), ("POST", "/os-server-external-events"),
     ("POST", "/os-assisted-volume-snapshots")],
)  # fmt: skip
async def test_what_operators_do_by_command_is_501(wire, admin, method, path):
    """Honestly, for administrators; 403 for all others."""
    (await wire.ask(method, path, body={})).fault(403, "forbidden")
    (await wire.ask(method, path, body={}, who=admin)).fault(501, "notImplemented")


@pytest.mark.parametrize("path", ["/os-cells", "/os-fping", "/servers/x/os-virtual-interfaces"])
async def test_what_compute_has_no_more_is_gone(wire, path):
    """410, as in the reference."""
    (await wire.get(path)).fault(410, "computeFault")
