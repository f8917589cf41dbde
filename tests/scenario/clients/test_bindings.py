"""The bindings of novaclient and neutronclient, which older programs use."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import (
    Row,
    approximated,
    for_administrators,
    refused,
    rows,
    supported,
)

pytestmark = pytest.mark.xdist_group("clients")

ACTION = "POST compute/servers/S/action"
SERVER = "compute/servers/S"
OPERATORS = "The clusters are managed by the operators' commands."
NO_CONSOLE = "This cloud has no such console."
NOBODY = "00000000-0000-4000-8000-000000000000"


@rows(
    supported("nova.versions.get_current()", "GET /compute/v2.1"),
    supported("nova.servers.create(NAME, IMAGE, FLAVOR, nics)", "POST compute/servers"),
    supported("nova.servers.list()", "GET compute/servers/detail"),
    supported("nova.servers.get(S)", f"GET {SERVER}"),
    supported("nova.servers.update(S, name)", f"PUT {SERVER}"),
    supported("nova.servers.set_meta(S, META)", f"POST {SERVER}/metadata"),
    supported("nova.servers.set_meta_item(S, K, V)", f"PUT {SERVER}/metadata/K"),
    supported("nova.servers.get_meta(S, K)", f"GET {SERVER}/metadata/K"),
    supported("nova.servers.delete_meta(S, KEYS)", f"DELETE {SERVER}/metadata/K"),
    supported("nova.servers.ips(S)", f"GET {SERVER}/ips"),
    supported("nova.servers.interface_list(S)", f"GET {SERVER}/os-interface"),
    supported("nova.servers.list_security_group(S)", f"GET {SERVER}/os-security-groups"),
    supported("nova.servers.set_tags(S, TAGS)", f"PUT {SERVER}/tags"),
    supported("nova.servers.tag_list(S)", f"GET {SERVER}/tags"),
    supported("nova.servers.delete_all_tags(S)", f"DELETE {SERVER}/tags"),
    supported("nova.servers.stop(S)", f"{ACTION} os-stop"),
    supported("nova.servers.start(S)", f"{ACTION} os-start"),
    supported("nova.servers.force_delete(S)", f"{ACTION} forceDelete"),
)
def test_servers_of_novaclient(demo: Person, settled: Callable[[], None]) -> None:
    """The same server seen with the oldest and with the newest microversion."""
    new, old = demo.nova(), demo.nova("2.1")
    assert new.versions.get_current()["version"] == "2.96"
    image = demo.json("image show debian-12")["id"]
    flavor = demo.json("flavor show tiny")["id"]
    network = demo.json("network show shared")["id"]
    made = new.servers.create("nova", image, flavor, nics=[{"net-id": network}])
    identity = made["id"]
    settled()
    newest, oldest = new.servers.get(identity), old.servers.get(identity)
    assert (newest["flavor"]["original_name"], oldest["flavor"]["id"]) == ("tiny", flavor)
    assert ("tags" in newest, "tags" in oldest) == (True, False)
    assert [each["name"] for each in new.servers.list()] == ["nova"]
    assert new.servers.update(identity, name="nova-2")["name"] == "nova-2"
    new.servers.set_meta(identity, {"a": "1", "b": "2"})
    new.servers.set_meta_item(identity, "a", "3")
    assert new.servers.get_meta(identity, "a") == {"meta": {"a": "3"}}
    new.servers.delete_meta(identity, ["b"])
    assert new.servers.get(identity)["metadata"] == {"a": "3"}
    assert list(new.servers.ips(identity)) == ["shared"]
    assert len(new.servers.interface_list(identity)) == 1
    (group,) = new.servers.list_security_group(identity)
    assert group["name"] == "default"
    new.servers.set_tags(identity, ["x", "y"])
    assert sorted(new.servers.tag_list(identity)) == ["x", "y"]
    new.servers.delete_all_tags(identity)
    assert new.servers.tag_list(identity) == []
    new.servers.stop(identity)
    settled()
    assert old.servers.get(identity)["status"] == "SHUTOFF"
    new.servers.start(identity)
    settled()
    new.servers.force_delete(identity)
    settled()
    assert new.servers.list() == []


@rows(
    refused("nova.servers.unshelve(S)", f"{ACTION} unshelve", 409, "while it is in vm_state"),
    refused(
        "nova.servers.shelve_offload(S)", f"{ACTION} shelveOffload", 409, "while it is in vm_state"
    ),
    refused(
        "nova.servers.reset_network(S)",
        *(f"{ACTION} resetNetwork", 410, "The network of a server cannot be reset."),
    ),
    *(
        refused(
            f"nova.servers.get_{kind.lower()}_console(S, TYPE)",
            *(f"{ACTION} os-get{kind}Console", 501, NO_CONSOLE),
        )
        for kind in ("SPICE", "RDP")
    ),
    supported("nova.servers.get_vnc_console(S, TYPE)", f"{ACTION} os-getVNCConsole"),
    refused(
        "nova.servers.get_serial_console(S, TYPE)",
        *(f"{ACTION} os-getSerialConsole", 501, NO_CONSOLE),
    ),
    refused(
        "nova.volumes.create_server_volume(S, V)",
        *(f"POST {SERVER}/os-volume_attachments", 404, "could not be found"),
    ),
    refused(
        "nova.volumes.get_server_volume(S, V)",
        *(f"GET {SERVER}/os-volume_attachments/V", 404, "could not be found"),
    ),
    refused(
        "nova.volumes.delete_server_volume(S, V)",
        *(f"DELETE {SERVER}/os-volume_attachments/V", 404, "could not be found"),
    ),
)  # fmt: skip
def test_what_novaclient_is_refused(demo: Person, admin: Person, server: str) -> None:
    """Consoles, shelves, volumes that are not there: each with its own fault."""
    identity = demo.json(f"server show {server}")["id"]
    servers, old = demo.nova().servers, demo.nova("2.5").servers
    servers.unshelve.refused(identity)
    admin.nova().servers.shelve_offload.refused(identity)
    admin.nova().servers.reset_network.refused(identity)
    assert "/console/#" in old.get_vnc_console(identity, "novnc")["console"]["url"]
    old.get_spice_console.refused(identity, "spice-html5")
    old.get_rdp_console.refused(identity, "rdp-html5")
    old.get_serial_console.refused(identity, "serial")
    volumes = demo.nova().volumes
    volumes.create_server_volume.refused(identity, NOBODY)
    volumes.get_server_volume.refused(identity, NOBODY)
    volumes.delete_server_volume.refused(identity, NOBODY)


@rows(
    supported("nova.flavors.list(detailed)", "GET compute/flavors"),
    refused(
        "nova.keypairs.create(NAME, KEY, key_type)",
        "POST compute/os-keypairs",
        400,
        "Only keys of the type 'ssh'",
    ),
    approximated(
        "nova.keypairs.create(NAME)",
        "POST compute/os-keypairs",
        "The service makes the pair: an Ed25519 key, up to 2.91.",
    ),
    supported("nova.keypairs.delete(NAME)", "DELETE compute/os-keypairs/NAME"),
    for_administrators("nova.quota_classes.get(CLASS)", "GET compute/os-quota-class-sets/CLASS"),
    for_administrators(
        "nova.quota_classes.update(CLASS, instances)", "PUT compute/os-quota-class-sets/CLASS"
    ),
    for_administrators("nova.hypervisors.search(NAME)", "GET compute/os-hypervisors/NAME/search"),
    for_administrators(
        "nova.hypervisors.search(NAME, servers)", "GET compute/os-hypervisors/NAME/servers"
    ),
    refused(
        "nova.hypervisors.uptime(H)",
        "GET compute/os-hypervisors/H/uptime",
        400,
        "does not implement",
    ),
    refused(
        "nova.server_external_events.create(EVENTS)",
        *("POST compute/os-server-external-events", 501, OPERATORS),
    ),
    refused(
        "nova.assisted_volume_snapshots.create(V, INFO)",
        *("POST compute/os-assisted-volume-snapshots", 501, OPERATORS),
    ),
    refused(
        "nova.assisted_volume_snapshots.delete(X, INFO)",
        *("DELETE compute/os-assisted-volume-snapshots/X", 501, OPERATORS),
    ),
    for_administrators(
        "conn.compute.update_flavor_extra_specs_property(F, K, V)",
        "PUT compute/flavors/F/os-extra_specs/K",
    ),
    supported(
        "conn.compute.get_flavor_extra_specs_property(F, K)",
        "GET compute/flavors/F/os-extra_specs/K",
    ),
)
def test_catalogue_and_machines_of_novaclient(demo: Person, admin: Person) -> None:
    """What its managers ask besides servers."""
    nova, theirs = demo.nova(), admin.nova()
    assert {each["name"] for each in nova.flavors.list(detailed=False)} >= {"tiny", "small"}
    nova.keypairs.create.refused("cert", "-----BEGIN CERTIFICATE-----", key_type="x509")
    made = demo.nova("2.91").keypairs.create("made", None)
    assert "PRIVATE KEY" in made["private_key"]
    nova.keypairs.delete("made")
    before = theirs.quota_classes.get("default")["instances"]
    assert theirs.quota_classes.update("default", instances=before)["instances"] == before
    middle = admin.nova("2.52").hypervisors
    (found,) = middle.search("sim1")
    assert found["hypervisor_hostname"] == "sim1.example.org"
    assert len(middle.search("sim", servers=True)) == 2
    middle.uptime.refused(found["id"])
    theirs.server_external_events.create.refused(
        [{"name": "network-changed", "server_uuid": NOBODY}]
    )
    theirs.assisted_volume_snapshots.create.refused(NOBODY, {"snapshot_id": NOBODY})
    theirs.assisted_volume_snapshots.delete.refused(NOBODY, {"volume_id": NOBODY})
    flavor = admin.json("flavor show small")["id"]
    compute = admin.conn.compute
    compute.update_flavor_extra_specs_property(flavor, "k", "v")
    assert compute.get_flavor_extra_specs_property(flavor, "k") == "v"
    admin("flavor unset --property k small")


@rows(
    supported("neutron.create_network(BODY)", "POST network/networks"),
    supported("neutron.create_subnet(BODY)", "POST network/subnets"),
    supported("neutron.list_networks(fields)", "GET network/networks?fields=id"),
    supported("neutron.update_network(N, BODY)", "PUT network/networks/N"),
    supported("neutron.create_router(BODY)", "POST network/routers"),
    supported("neutron.show_router(R)", "GET network/routers/R"),
    supported("neutron.delete_router(R)", "DELETE network/routers/R"),
    supported("neutron.show_security_group(G)", "GET network/security-groups/G"),
    supported("neutron.show_quota_details(P)", "GET network/quotas/P/details.json"),
    supported("neutron.show_quota_default(P)", "GET network/quotas/P/default"),
    supported("neutron.list_extensions()", "GET network/extensions"),
    supported("neutron.list_availability_zones()", "GET network/availability_zones", "None."),
    refused(
        "neutron.show_rbac_policy(X)", "GET network/rbac-policies/X", 404, "could not be found"
    ),
    refused("neutron.show_address_scope(X)", "GET network/address-scopes/X", 404, "could not be"),
    refused("neutron.show_qos_policy(X)", "GET network/qos/policies/X", 404, "could not be found"),
    refused(
        "conn.network.get(/service-providers/X)",
        *("GET network/service-providers/X", 404, "could not be found"),
    ),
    refused(
        "conn.network.get(/availability_zones/X)",
        *("GET network/availability_zones/X", 404, "could not be found"),
    ),
    supported("neutron.delete_network(N)", "DELETE network/networks/N"),
)
def test_networks_of_neutronclient(demo: Person) -> None:
    """Exceptions have the names that it knows."""
    neutron = demo.neutron
    made = neutron.create_network({"network": {"name": "old"}})["network"]["id"]
    body = {"network_id": made, "cidr": "10.4.0.0/24", "ip_version": 4}
    subnet = neutron.create_subnet({"subnet": body})["subnet"]["id"]
    listed = neutron.list_networks(fields=["id"], name="old")["networks"]
    assert listed == [{"id": made}]
    changed = neutron.update_network(made, {"network": {"description": "d"}})
    assert changed["network"]["description"] == "d"
    router = neutron.create_router({"router": {"name": "r"}})["router"]["id"]
    assert neutron.show_router(router)["router"]["routes"] == []
    neutron.delete_router(router)
    group = demo.json("security group show default")["id"]
    assert neutron.show_security_group(group)["security_group"]["name"] == "default"
    project = demo.json("token issue")["project_id"]
    details = neutron.show_quota_details(project)["quota"]
    assert details["network"]["used"] == 1
    assert neutron.show_quota_default(project)["quota"]["network"] == details["network"]["limit"]
    assert "quotas" in [each["alias"] for each in neutron.list_extensions()["extensions"]]
    assert neutron.list_availability_zones() == {"availability_zones": []}
    neutron.show_rbac_policy.refused(NOBODY)
    neutron.show_address_scope.refused(NOBODY)
    neutron.show_qos_policy.refused(NOBODY)
    get = demo.conn.network.get
    get.refused(f"/service-providers/{NOBODY}")
    get.refused(f"/availability_zones/{NOBODY}")
    said = neutron.show_network.refused(NOBODY, why="could not be found")
    assert said.startswith("NetworkNotFoundClient:")
    neutron.delete_network(made)
    neutron.show_subnet.refused(subnet, why=f"Subnet {subnet} could not be found.")


def tags_of(kind: str) -> tuple[Row, ...]:
    """The rows about the tags of a kind of things."""
    thing = f"network/{kind}/X/tags"
    return (
        supported(f"neutron.add_tag({kind}, X, T)", f"PUT {thing}/T"),
        supported(f"neutron.remove_tag({kind}, X, T)", f"DELETE {thing}/T"),
        supported(f"neutron.replace_tag({kind}, X, BODY)", f"PUT {thing}"),
        supported(f"neutron.remove_tag_all({kind}, X)", f"DELETE {thing}"),
        supported(f"conn.network.get(/{kind}/X/tags)", f"GET {thing}"),
        supported(f"conn.network.get(/{kind}/X/tags/T)", f"GET {thing}/T"),
    )


#: What has tags, and a command that makes one.
TAGGED = {
    "networks": "network create tagged",
    "subnets": "subnet create --network home --subnet-range 10.4.0.0/24 tagged",
    "subnetpools": (
        "subnet pool create --pool-prefix 10.5.0.0/16 --default-prefix-length 24"
        " --default-quota 100 tagged"
    ),
    "ports": "port create --network home tagged",
    "routers": "router create tagged",
    "floatingips": "floating ip create public",
    "security-groups": "security group create tagged",
}


@rows(*(row for kind in TAGGED for row in tags_of(kind)))
def test_tags_of_everything_with_neutronclient(demo: Person) -> None:
    """One by one and all at once."""
    neutron, get = demo.neutron, demo.conn.network.get
    demo("network create home")
    for kind, command in TAGGED.items():
        identity = demo.json(command)["id"]
        neutron.add_tag(kind, identity, "a")
        assert get(f"/{kind}/{identity}/tags/a")["status"] == 204
        neutron.replace_tag(kind, identity, {"tags": ["b", "c"]})
        neutron.remove_tag(kind, identity, "b")
        assert get(f"/{kind}/{identity}/tags")["body"] == {"tags": ["c"]}
        neutron.remove_tag_all(kind, identity)
        get.refused(f"/{kind}/{identity}/tags/c", why="TagNotFound")
        demo.conn.network.delete(f"/{kind}/{identity}")
    demo("network delete home")


@rows(
    supported("neutron.show_network(N)", "GET network/networks/N"),
    supported("neutron.show_subnet(S)", "GET network/subnets/S"),
    supported("conn.network.delete(/KIND/X)", "DELETE network/KIND/X"),
)
def test_things_by_id_with_neutronclient(demo: Person) -> None:
    """Shown and deleted without a look-up by name."""
    neutron = demo.neutron
    network = demo.json("network create byid")["id"]
    subnet = demo.json("subnet create --network byid --subnet-range 10.4.0.0/24 s")["id"]
    assert neutron.show_network(network)["network"]["subnets"] == [subnet]
    assert neutron.show_subnet(subnet)["subnet"]["cidr"] == "10.4.0.0/24"
    demo.conn.network.delete(f"/subnets/{subnet}")
    neutron.show_subnet.refused(subnet, why=f"Subnet {subnet} could not be found.")
    demo.conn.network.delete(f"/networks/{network}")
