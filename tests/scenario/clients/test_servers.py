"""Servers: made in every way, listed, shown, changed, deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, for_administrators, refused, rows, supported
from tests.scenario.conftest import Cloud

pytestmark = pytest.mark.xdist_group("clients")

CREATE = "server create --flavor tiny --image debian-12"
NO_OTHER_DISKS = "there are no ephemeral disks and no swap disks on this cloud"


@rows(
    supported("server create --network N --wait S", "POST compute/servers → GET compute/servers/S"),
    supported("server create --flavor F --image I S", "POST compute/servers"),
    supported("server show S", "GET compute/servers/detail?name=S"),
    supported("server delete --wait S", "DELETE compute/servers/S → GET compute/servers/S"),
    supported("server list", "GET compute/servers/detail?deleted=False"),
    supported("server list --long", "GET compute/servers/detail → GET compute/flavors/detail"),
)
def test_a_server_from_beginning_to_end(demo: Person) -> None:
    """Made, seen with the names of its flavor and image, deleted."""
    made = demo.json(f"{CREATE} --network shared --wait begin")
    assert (made["status"], made["name"]) == ("ACTIVE", "begin")
    assert len(made["adminPass"]) > 8
    shown = demo.json("server show begin")
    assert shown["addresses"]["shared"][0].startswith("10.77.")
    assert shown["flavor"]["original_name"] == "tiny"
    assert shown["image"].startswith("debian-12 (")
    assert shown["OS-EXT-STS:vm_state"] == "active"
    (listed,) = demo.json("server list")
    assert (listed["Name"], listed["Status"], listed["Flavor"]) == ("begin", "ACTIVE", "tiny")
    assert (listed["Image"], list(listed["Networks"])) == ("debian-12", ["shared"])
    (long,) = demo.json("server list --long")
    assert (long["Power State"], long["Task State"]) == (1, None)
    demo("server delete --wait begin")
    assert demo.json("server list") == []
    demo.refused("server show begin", why="No Server found for begin")


@rows(
    supported("server create --key-name K --property P --tag T", "POST compute/servers"),
    supported("server create --user-data FILE --config-drive True", "POST compute/servers"),
    supported("server create --availability-zone ZONE", "POST compute/servers"),
    supported("server create --nic none", "POST compute/servers"),
    supported("server create --nic net-id=N,v4-fixed-ip=A", "POST compute/servers"),
    supported("server create --security-group G", "POST compute/servers"),
    supported("server create --description D --hostname H --password P", "POST compute/servers"),
    supported("server create --min 2 --max 2", "POST compute/servers"),
)
def test_options_of_a_creation(demo: Person, cloud: Cloud, tmp_path: Path) -> None:
    """Each is seen afterwards."""
    (tmp_path / "data").write_text("#!/bin/sh\n")
    demo("keypair create key")
    demo(f"{CREATE} --key-name key --property a=b --tag t --wait o1")
    shown = demo.json("server show o1")
    assert (shown["key_name"], shown["properties"], shown["tags"]) == ("key", {"a": "b"}, ["t"])
    assert list(shown["addresses"]) == ["shared"]
    drive = "--config-drive True"
    demo(f"{CREATE} --nic none --user-data {tmp_path / 'data'} {drive} --wait o2")
    shown = demo.json("server show o2")
    assert (shown["config_drive"], shown["addresses"]) == ("True", {})
    zone = "sim2.example.org"
    demo(f"{CREATE} --nic net-id=shared,v4-fixed-ip=10.77.9.9 --availability-zone {zone} --wait o3")
    shown = demo.json("server show o3")
    assert shown["OS-EXT-AZ:availability_zone"] == zone
    assert shown["addresses"] == {"shared": ["10.77.9.9"]}
    demo("security group create group")
    person = "--description d --hostname host --password Secret-1-password"
    made = demo.json(f"{CREATE} --security-group group {person} --wait o4")
    shown = demo.json("server show o4")
    assert made["adminPass"] == "Secret-1-password"
    assert (shown["description"], shown["OS-EXT-SRV-ATTR:hostname"]) == ("d", "host")
    assert shown["security_groups"] == [{"name": "group"}]
    demo(f"{CREATE} --min 2 --max 2 --wait many")
    assert demo.column("server list --name many") == ["many-1", "many-2"]
    demo("server delete --wait o1 o2 o3 o4 many-1 many-2")
    demo("security group delete group")
    demo("keypair delete key")
    assert cloud.books.faults() == []


@rows(
    refused("server create --swap SIZE", "POST compute/servers", 400, NO_OTHER_DISKS),
    refused("server create --ephemeral size=1", "POST compute/servers", 400, NO_OTHER_DISKS),
    supported("server delete S", "DELETE compute/servers/S"),
    approximated(
        "server create --hint HINT=X",
        "POST compute/servers",
        "Only the hint `group` has an effect.",
    ),
    refused(
        "server create --key-name missing",
        *("POST compute/servers", 400, "there is no key 'missing'"),
    ),
    refused(
        "server create --availability-zone nowhere",
        *("POST compute/servers", 400, "The requested availability zone nowhere is not available."),
    ),
)
def test_creations_that_are_refused(demo: Person) -> None:
    """At once, in words; nothing is left."""
    demo.refused(f"{CREATE} --swap 512 x")
    demo.refused(f"{CREATE} --ephemeral size=1 x")
    demo.refused(f"{CREATE} --key-name missing x")
    demo.refused(f"{CREATE} --availability-zone nowhere x")
    demo.refused(f"{CREATE.replace('tiny', 'none')} x", why="No Flavor found for none")
    assert demo.json("server list") == []
    demo(f"{CREATE} --nic none --hint colour=red --wait hinted")
    demo("server delete hinted")


@rows(
    supported("server list --name REGEX", "GET compute/servers/detail?name=REGEX"),
    supported("server list --status S", "GET compute/servers/detail?status=S"),
    supported("server list --flavor F --image I", "GET compute/servers/detail?flavor=F&image=I"),
    supported("server list --ip REGEX", "GET compute/servers/detail?ip=REGEX"),
    supported("server list --tags T", "GET compute/servers/detail?tags=T"),
    supported("server list --not-tags T", "GET compute/servers/detail?not-tags=T"),
    supported("server list --limit N", "GET compute/servers/detail?limit=N"),
    supported("server list --marker S", "GET compute/servers/detail?marker=S"),
    supported("server list --sort-column C", "GET compute/servers/detail"),
    supported("server list --changes-since T", "GET compute/servers/detail?changes-since=T"),
    supported("server list --changes-before T", "GET compute/servers/detail?changes-before=T"),
    supported("server list --locked", "GET compute/servers/detail?locked=True"),
    supported("server list --unlocked", "GET compute/servers/detail?locked=False"),
    supported("server list --key-name K", "GET compute/servers/detail?key_name=K"),
    for_administrators("server list --host H", "GET compute/servers/detail?host=H"),
    for_administrators("server list --deleted", "GET compute/servers/detail?deleted=True"),
    supported("server list --no-name-lookup", "GET compute/servers/detail"),
    for_administrators(
        "server list --availability-zone Z", "GET compute/servers/detail?availability_zone=Z"
    ),
    for_administrators("server list --all-projects", "GET compute/servers/detail?all_tenants=True"),
)
def test_filters_of_a_list(demo: Person, admin: Person, make_server: Callable[[], str]) -> None:
    """Each finds what it should of two servers."""
    one, two = make_server(), make_server()
    demo(f"server set --tag blue {one}")
    demo(f"server set --tag red {two}")
    demo(f"server lock {two}")
    both = sorted([one, two])

    def names(options: str) -> list[str]:
        return demo.column(f"server list {options}")

    assert names(f"--name ^{one}$") == [one]
    assert names("--status ACTIVE") == both
    assert names("--status SHUTOFF") == []
    assert names("--flavor tiny --image debian-12") == both
    address = demo.json(f"server show {one}")["addresses"]["shared"][0]
    assert names(f"--ip ^{address}$") == [one]
    assert names("--tags blue") == [one]
    assert names("--not-tags blue") == [two]
    assert len(names("--limit 1")) == 1
    newest = demo.json(f"server show {two}")["id"]
    assert names(f"--marker {newest}") == [one]
    listed = demo.json("server list --sort-column Name")
    assert [each["Name"] for each in listed] == both
    assert names("--changes-before 2020-01-01T00:00:00Z") == []
    assert set(both) <= set(names("--changes-since 2020-01-01T00:00:00Z"))
    assert names("--locked") == [two]
    assert names("--unlocked") == [one]
    assert names("--key-name none") == []
    assert set(names("--no-name-lookup")) == set(both)
    assert names("--availability-zone nowhere") == []
    demo.refused("server list --all-projects", why="get_all_tenants to be performed")
    assert set(both) <= set(admin.column("server list --all-projects --long"))
    host = admin.json("server list --all-projects --long")[0]["Host"]
    assert admin.column(f"server list --host {host}") == []
    assert not set(both) & set(admin.column("server list --deleted"))


@rows(
    supported("server set --name N S", "PUT compute/servers/S"),
    supported("server set --description D S", "PUT compute/servers/S"),
    supported("server set --hostname H S", "PUT compute/servers/S"),
    supported("server set --property K=V S", "POST compute/servers/S/metadata"),
    supported("server set --tag T S", "PUT compute/servers/S/tags/T"),
    supported("server unset --property K S", "DELETE compute/servers/S/metadata/K"),
    supported("server unset --tag T S", "DELETE compute/servers/S/tags/T"),
    supported("server unset --description S", "PUT compute/servers/S"),
    refused(
        "server set --password P S",
        *("POST compute/servers/S/action changePassword", 501),
        "The password of a running server cannot be changed from outside.",
    ),
)
def test_changes_of_a_server(demo: Person, server: str) -> None:
    """Name, description, host name, metadata, tags."""
    demo(f"server set --name {server}-b {server}")
    demo(f"server set --description d {server}-b")
    demo(f"server set --hostname h {server}-b")
    demo(f"server set --property x=1 --property y=2 {server}-b")
    demo(f"server set --tag t --tag u {server}-b")
    shown = demo.json(f"server show {server}-b")
    assert (shown["description"], shown["OS-EXT-SRV-ATTR:hostname"]) == ("d", "h")
    assert (shown["properties"], sorted(shown["tags"])) == ({"x": "1", "y": "2"}, ["t", "u"])
    demo(f"server unset --property x {server}-b")
    demo(f"server unset --tag t {server}-b")
    demo(f"server unset --description {server}-b")
    shown = demo.json(f"server show {server}-b")
    assert (shown["properties"], shown["tags"]) == ({"y": "2"}, ["u"])
    assert not shown["description"]
    demo.refused(f"server set --password Another-1-pass {server}-b")


@rows(
    supported("server group create NAME", "POST compute/os-server-groups"),
    supported("server group list", "GET compute/os-server-groups"),
    supported("server group show G", "GET compute/os-server-groups/G"),
    supported("server group delete G", "DELETE compute/os-server-groups/G"),
    approximated(
        "server create --server-group G",
        "POST compute/servers",
        "A host is a cluster: on which of its nodes a server runs is Ganeti's to decide.",
    ),
)
def test_server_groups(demo: Person) -> None:
    """Two servers that must not be on the same cluster, and are not."""
    made = demo.json("server group create --policy anti-affinity apart")
    assert made["policy"] == "anti-affinity"
    for name in ("a1", "a2"):
        demo(f"{CREATE} --nic none --server-group apart --wait {name}")
    shown = demo.json(f"server group show {made['id']}")
    assert len(shown["members"]) == 2
    zones = {
        demo.json(f"server show {name}")["OS-EXT-AZ:availability_zone"] for name in ("a1", "a2")
    }
    assert len(zones) == 2
    assert demo.column("server group list") == ["apart"]
    demo("server delete --wait a1 a2")
    demo("server group delete apart")
    assert demo.json("server group list") == []
