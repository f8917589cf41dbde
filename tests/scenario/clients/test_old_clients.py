"""What old clients ask Compute for: images, networks, addresses and groups of other services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import refused, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

CHANGED_THERE = "Networks are changed at the Network service."
IMAGE = "compute/images/I"


@rows(
    supported("old.list_floating_ip_pools()", "GET compute/os-floating-ip-pools"),
    supported("old.create_floating_ip(network)", "POST compute/os-floating-ips"),
    supported("old.list_floating_ips()", "GET compute/os-floating-ips"),
    supported("old.get_floating_ip_by_id(F)", "GET compute/os-floating-ips/F"),
    supported("old.add_ips_to_server(S, ips)", "POST compute/servers/S/action addFloatingIp"),
    supported("old.delete_floating_ip(F)", "DELETE compute/os-floating-ips/F"),
)
def test_floating_ips_of_compute(demo: Person, settled: Callable[[], None]) -> None:
    """Made by the name of a pool, put on a server, given back."""
    old = demo.old
    assert [each["name"] for each in old.list_floating_ip_pools()] == ["public"]
    made = old.create_floating_ip(network="public")
    address = made["floating_ip_address"]
    assert [each["floating_ip_address"] for each in old.list_floating_ips()] == [address]
    assert old.get_floating_ip_by_id(made["id"])["floating_ip_address"] == address
    demo("server create --image debian-12 --flavor tiny --network shared old")
    settled()
    server: dict[str, Any] = demo.conn.get_server("old")
    old.add_ips_to_server(server, ips=[address])
    settled()
    shown = old.get_floating_ip_by_id(made["id"])
    assert shown["fixed_ip_address"] in str(server["addresses"])
    assert old.delete_floating_ip(made["id"]) is True
    settled()
    assert old.list_floating_ips() == []
    demo("server delete old")
    settled()


@rows(
    supported("old.create_security_group(G, DESCRIPTION)", "POST compute/os-security-groups"),
    supported("old.list_security_groups()", "GET compute/os-security-groups"),
    supported("old.get_security_group_by_id(G)", "GET compute/os-security-groups/G"),
    supported("old.update_security_group(G, description)", "PUT compute/os-security-groups/G"),
    supported(
        "old.create_security_group_rule(G, protocol)", "POST compute/os-security-group-rules"
    ),
    supported("old.delete_security_group_rule(R)", "DELETE compute/os-security-group-rules/R"),
    supported("old.delete_security_group(G)", "DELETE compute/os-security-groups/G"),
)
def test_security_groups_of_compute(demo: Person) -> None:
    """A group with a rule; Network shows the same."""
    old = demo.old
    made = old.create_security_group("old", "made at Compute")
    assert {each["name"] for each in old.list_security_groups()} == {"default", "old"}
    rule = old.create_security_group_rule(
        "old", protocol="tcp", port_range_min=22, port_range_max=22
    )
    shown = old.get_security_group_by_id(made["id"])
    assert [each["id"] for each in shown["security_group_rules"]] == [rule["id"]]
    seen = demo.json("security group rule list old --ingress")
    assert [(each["ID"], each["Port Range"]) for each in seen] == [(rule["id"], "22:22")]
    changed = old.update_security_group("old", description="changed")
    assert changed["description"] == "changed"
    assert old.delete_security_group_rule(rule["id"]) is True
    assert old.delete_security_group("old") is True
    assert {each["name"] for each in demo.conn.list_security_groups()} == {"default"}


@rows(
    supported("conn.compute.get(/os-networks)", "GET compute/os-networks"),
    supported("conn.compute.get(/os-networks/N)", "GET compute/os-networks/N"),
    supported("conn.compute.get(/os-tenant-networks)", "GET compute/os-tenant-networks"),
    supported("conn.compute.get(/os-tenant-networks/N)", "GET compute/os-tenant-networks/N"),
    refused("conn.compute.post(/os-networks)", "POST compute/os-networks", 410, CHANGED_THERE),
    refused(
        "conn.compute.delete(/os-networks/N)", "DELETE compute/os-networks/N", 410, CHANGED_THERE
    ),
    refused(
        "conn.compute.post(/os-tenant-networks)",
        *("POST compute/os-tenant-networks", 410, CHANGED_THERE),
    ),
    refused(
        "conn.compute.delete(/os-tenant-networks/N)",
        *("DELETE compute/os-tenant-networks/N", 410, CHANGED_THERE),
    ),
)
def test_networks_of_compute(demo: Person) -> None:
    """Read, never changed."""
    compute = demo.conn.compute
    for path in ("/os-networks", "/os-tenant-networks"):
        listed = compute.get(path)["body"]["networks"]
        assert {each["label"] for each in listed} == {"public", "shared"}
        one = f"{path}/{listed[0]['id']}"
        assert compute.get(one)["body"]["network"] == listed[0]
        compute.post.refused(path)
        compute.delete.refused(one)


@rows(
    supported("conn.compute.images(details)", "GET compute/images"),
    supported("conn.compute.images()", "GET compute/images/detail"),
    supported("conn.compute.get_image(I)", f"GET {IMAGE}"),
    supported("conn.compute.set_image_metadata(I)", f"POST {IMAGE}/metadata"),
    supported("conn.compute.get_image_metadata(I)", f"GET {IMAGE}/metadata"),
    supported("conn.compute.delete_image_metadata(I, keys)", f"DELETE {IMAGE}/metadata/K"),
    supported("conn.compute.put(/images/I/metadata)", f"PUT {IMAGE}/metadata"),
    supported("conn.compute.get(/images/I/metadata/K)", f"GET {IMAGE}/metadata/K"),
    supported("conn.compute.put(/images/I/metadata/K)", f"PUT {IMAGE}/metadata/K"),
    supported("conn.compute.delete_image(I)", f"DELETE {IMAGE}"),
)
def test_images_of_compute(demo: Person) -> None:
    """Listed, shown, given metadata, deleted."""
    compute = demo.conn.compute
    made = demo.json("image create old-image")["id"]
    names = {each["name"] for each in compute.images(details=False)}
    assert {"debian-12", "old-image"} <= names
    assert {each["status"] for each in compute.images()} >= {"ACTIVE", "SAVING"}
    assert compute.get_image(made)["name"] == "old-image"
    assert compute.set_image_metadata(made, flower="rose")["metadata"]["flower"] == "rose"
    assert compute.get_image_metadata(made)["metadata"]["flower"] == "rose"
    item = f"/images/{made}/metadata/flower"
    assert compute.get(item)["body"] == {"meta": {"flower": "rose"}}
    assert compute.put(item, json={"meta": {"flower": "lily"}})["status"] == 200
    compute.delete_image_metadata(made, keys=["flower"])
    replaced = compute.put(f"/images/{made}/metadata", json={"metadata": {"a": "b"}})
    assert replaced["body"] == {"metadata": {"a": "b"}}
    compute.delete_image(made)
    assert "old-image" not in demo.column("image list")
