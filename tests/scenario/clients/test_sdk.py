"""openstacksdk: its cloud layer as programs use it, and what no command of ``openstack`` sends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, for_administrators, refused, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

DATA = "The data of an image is sent as application/octet-stream."
POWER = "POST compute/servers/S/action"
GONE = "This resource has been removed from Compute."


@rows(
    supported(
        "conn.create_server(NAME, auto_ip)",
        "GET network/networks?name=N → GET image/images?name=I → GET compute/flavors/detail"
        " → POST compute/servers → GET compute/servers/S",
    ),
    supported(
        "conn.create_server(NAME, auto_ip, wait)",
        "POST compute/servers → GET compute/servers/S → POST network/floatingips"
        " → GET compute/servers/S",
    ),
    supported("conn.get_compute_usage(P)", "GET compute/os-simple-tenant-usage/P"),
    supported("conn.list_servers()", "GET compute/servers/detail"),
    supported("conn.get_server(S)", "GET compute/servers/detail?name=S"),
    supported("conn.compute.servers(limit)", "GET compute/servers/detail?limit=1&marker=S"),
    supported("conn.compute.servers(details, limit)", "GET compute/servers?limit=5&marker=S"),
    supported("conn.add_ips_to_server(S, ips)", "PUT network/floatingips/F"),
    supported("conn.create_floating_ip(network)", "POST network/floatingips"),
    supported("conn.create_floating_ip(network, server, port)", "POST network/floatingips"),
    supported("conn.delete_server(S, wait)", "DELETE compute/servers/S → GET compute/servers/S"),
    supported(
        "conn.delete_server(S, wait, delete_ips)",
        "DELETE network/floatingips/F → DELETE compute/servers/S",
    ),
    supported("conn.delete_floating_ip(F)", "DELETE network/floatingips/F"),
)
def test_servers_of_the_cloud_layer(demo: Person, settled: Callable[[], None]) -> None:
    """Made with and without an address of the outside, listed page by page, deleted."""
    conn = demo.conn
    wanted = {"image": "debian-12", "flavor": "tiny", "network": "shared"}
    first = conn.create_server("first", auto_ip=False, **wanted)
    settled()
    second = conn.create_server("second", auto_ip=True, wait=True, **wanted)
    assert second["status"] == "ACTIVE"
    kinds = [each["OS-EXT-IPS:type"] for each in second["addresses"]["shared"]]
    assert sorted(kinds) == ["fixed", "floating"]
    assert {each["name"] for each in conn.list_servers()} == {"first", "second"}
    assert conn.get_server("first")["id"] == first["id"]
    usages = conn.get_compute_usage("demo")["server_usages"]
    assert {each["name"] for each in usages} >= {"first", "second"}
    paged = conn.compute.servers(limit=1)
    assert [each["name"] for each in paged] == ["second", "first"]
    names = conn.compute.servers(details=False, limit=5)
    assert [each["name"] for each in names] == ["second", "first"]
    (port,) = demo.json("port list --server first")
    made = conn.create_floating_ip(network="public", server=first, port=port["ID"])
    settled()
    public = made["floating_ip_address"]
    found = conn.get_server("first")["addresses"]["shared"]
    assert public in [each["addr"] for each in found if each["OS-EXT-IPS:type"] == "floating"]
    spare = conn.create_floating_ip(network="public")
    conn.add_ips_to_server(second, ips=[spare["floating_ip_address"]])
    settled()
    conn.delete_floating_ip(made["id"])
    conn.delete_floating_ip(spare["id"])
    settled()
    assert conn.delete_server("first", wait=True) is True
    assert conn.delete_server("second", wait=True, delete_ips=True) is True
    settled()
    assert demo.json("floating ip list") == []
    assert conn.list_servers() == []


@rows(
    supported("conn.get_compute_limits()", "GET compute/limits"),
    supported(
        "conn.get_compute_quotas(P)", "GET identity/projects?name=P → GET compute/os-quota-sets/P"
    ),
    supported("conn.get_network_quotas(P)", "GET network/quotas/P"),
    supported("conn.list_availability_zone_names()", "GET compute/os-availability-zone"),
    supported("conn.list_flavors()", "GET compute/flavors/detail"),
    supported("conn.get_flavor_by_ram(N)", "GET compute/flavors/F/os-extra_specs"),
    supported("conn.search_images(I)", "GET image/images"),
    supported("conn.list_networks()", "GET network/networks"),
    supported("conn.get_external_ipv4_networks()", "GET network/networks → GET network/subnets"),
    supported("conn.list_security_groups()", "GET network/security-groups"),
    supported("conn.compute.find_extension(ALIAS)", "GET compute/extensions/ALIAS"),
    supported("conn.compute.get_quota_set_defaults(P)", "GET compute/os-quota-sets/P/defaults"),
)
def test_facts_of_the_cloud_layer(demo: Person) -> None:
    """What programs look up before they make something."""
    conn = demo.conn
    assert conn.get_compute_limits()["server_meta"] == 128
    quotas = conn.get_compute_quotas("demo")
    assert quotas["instances"] == 100000
    assert conn.compute.get_quota_set_defaults(quotas["id"])["cores"] == quotas["cores"]
    assert conn.get_network_quotas("demo")["floating_ips"] > 0
    assert len(conn.list_availability_zone_names()) == 2
    assert {each["name"] for each in conn.list_flavors()} >= {"tiny", "larger"}
    assert conn.get_flavor_by_ram(200)["name"] == "larger"
    assert [each["name"] for each in conn.search_images("debian-12")] == ["debian-12"]
    assert {each["name"] for each in conn.list_networks()} == {"public", "shared"}
    assert [each["name"] for each in conn.get_external_ipv4_networks()] == ["public"]
    assert [each["name"] for each in conn.list_security_groups()] == ["default"]
    assert conn.compute.find_extension("os-quota-sets")["alias"] == "os-quota-sets"


@rows(
    supported("conn.create_network(N)", "POST network/networks"),
    supported("conn.create_subnet(N, CIDR)", "POST network/subnets"),
    supported("conn.network.create_ports(LIST)", "POST network/ports", "All of them, or none."),
    supported("conn.network.get_network(N)", "GET network/networks/N"),
    supported("conn.network.ports(limit)", "GET network/ports?limit=1&marker=P"),
    supported("conn.network.networks(sort_key, sort_dir)", "GET network/networks?sort_key=name"),
    supported("conn.create_security_group(G, DESCRIPTION)", "POST network/security-groups"),
    supported("conn.create_security_group_rule(G, protocol)", "POST network/security-group-rules"),
    refused(
        "conn.network.put(/security-group-rules/R)",
        *("PUT network/security-group-rules/R", 400, "delete it and make another one."),
    ),
    supported("conn.delete_security_group(G)", "DELETE network/security-groups/G"),
    supported("conn.delete_network(N)", "DELETE network/networks/N"),
)
def test_networks_of_the_cloud_layer(demo: Person) -> None:
    """A network with a subnet, ports made at once and listed page by page, a group."""
    conn = demo.conn
    made = conn.create_network("lane")
    subnet = conn.create_subnet("lane", "10.3.0.0/24")
    wanted = [{"network_id": made["id"], "name": f"port-{number}"} for number in range(3)]
    ports = conn.network.create_ports(wanted)
    assert [each["fixed_ips"][0]["ip_address"] for each in ports] != []
    assert conn.network.get_network(made["id"])["subnet_ids"] == [subnet["id"]]
    assert len(conn.network.ports(limit=1, network_id=made["id"])) == 3
    names = [each["name"] for each in conn.network.networks(sort_key="name", sort_dir="desc")]
    assert names == ["shared", "public", "lane"]
    conn.create_security_group("lane", "d")
    rule = conn.create_security_group_rule("lane", protocol="tcp")
    conn.network.put.refused(f"/security-group-rules/{rule['id']}", json={})
    conn.delete_security_group("lane")
    demo(f"port delete {' '.join(each['id'] for each in ports)}")
    assert conn.delete_network("lane") is True


@rows(
    supported("conn.compute.get_server_interface(P, S)", "GET compute/servers/S/os-interface/P"),
    supported(
        "conn.compute.fetch_server_security_groups(S)", "GET compute/servers/S/os-security-groups"
    ),
    supported("conn.compute.put(/servers/S/metadata)", "PUT compute/servers/S/metadata"),
    supported("conn.compute.fetch_server_metadata(S)", "GET compute/servers/S/metadata"),
    supported("conn.compute.get(/servers/S/tags/T)", "GET compute/servers/S/tags/T"),
    supported("conn.compute.server_ips(S)", "GET compute/servers/S/ips"),
    supported("conn.compute.server_ips(S, network_label)", "GET compute/servers/S/ips/NETWORK"),
    supported(
        "conn.compute.get_server_action(A, S)", "GET compute/servers/S/os-instance-actions/A"
    ),
    refused(
        "conn.compute.get_server_diagnostics(S)",
        *("GET compute/servers/S/diagnostics", 501, "Diagnostics"),
    ),
    *(
        approximated(
            f"conn.compute.post(/servers/S/action, {name})", f"{POWER} {name}", "Up to 2.43 only."
        )
        for name in ("addFixedIp", "addFloatingIp", "removeFloatingIp", "removeFixedIp")
    ),
    refused(
        "conn.compute.post(/servers/S/action, injectNetworkInfo)",
        *(f"{POWER} injectNetworkInfo", 410, "The network of a server cannot be reset."),
    ),
)
def test_parts_of_a_server(
    demo: Person, admin: Person, server: str, settled: Callable[[], None]
) -> None:
    """One by one, and the actions on addresses that ended with 2.43."""
    compute = demo.conn.compute
    identity = demo.json(f"server show {server}")["id"]
    (port,) = demo.json(f"port list --server {server}")
    shown = compute.get_server_interface(port["ID"], identity)
    assert shown["port_state"] == "ACTIVE"
    found = compute.fetch_server_security_groups(identity)["security_groups"]
    assert [each["name"] for each in found] == ["default"]
    compute.put(f"/servers/{identity}/metadata", json={"metadata": {"only": "this"}})
    assert compute.fetch_server_metadata(identity)["metadata"] == {"only": "this"}
    demo(f"server set --tag t {server}")
    assert compute.get(f"/servers/{identity}/tags/t", microversion="2.26")["status"] == 204
    (address,) = compute.server_ips(identity)
    assert address["address"].startswith("10.77.")
    assert len(compute.server_ips(identity, network_label="shared")) == 1
    (event,) = demo.json(f"server event list {server}")
    assert compute.get_server_action(event["Request ID"], identity)["action"] == "create"
    compute.get_server_diagnostics.refused(identity)
    network = demo.json("network show shared")["id"]
    action, old = f"/servers/{identity}/action", {"microversion": "2.43"}
    compute.post(action, json={"addFixedIp": {"networkId": network}}, **old)
    settled()
    first, second = (each["address"] for each in compute.server_ips(identity))
    assert first != second
    compute.post(action, json={"removeFixedIp": {"address": second}}, **old)
    settled()
    floating = demo.json("floating ip create public")["floating_ip_address"]
    compute.post(action, json={"addFloatingIp": {"address": floating}}, **old)
    settled()
    assert [each["address"] for each in compute.server_ips(identity)] == [first, floating]
    compute.post(action, json={"removeFloatingIp": {"address": floating}}, **old)
    settled()
    assert [each["address"] for each in compute.server_ips(identity)] == [first]
    demo(f"floating ip delete {floating}")
    admin.conn.compute.post.refused(action, json={"injectNetworkInfo": None})


@rows(
    for_administrators("conn.identity.get_user(U)", "GET identity/users/U"),
    supported("conn.identity.get_role(R)", "GET identity/roles/R"),
    for_administrators(
        "conn.identity.validate_user_has_project_role(P, U, R)",
        "HEAD identity/projects/P/users/U/roles/R",
    ),
    for_administrators(
        "conn.identity.get(/projects/P/users/U/roles)", "GET identity/projects/P/users/U/roles"
    ),
    supported("conn.identity.get(/)", "GET /identity/v3"),
    supported("conn.identity.get(/openapi.json)", "GET identity/openapi.json"),
    supported("conn.compute.get(/openapi.json)", "GET compute/openapi.json"),
    supported("conn.network.get(/openapi.json)", "GET network/openapi.json"),
    supported("conn.network.get(/)", "GET /network/v2.0"),
    supported("conn.image.get(/openapi.json)", "GET image/openapi.json"),
    supported("conn.image.get(/)", "GET /image/v2"),
)
def test_people_and_documents(admin: Person) -> None:
    """Roles as programs look them up, and what each service says of itself."""
    conn = admin.conn
    user = admin.json("user show demo")
    assert conn.identity.get_user(user["id"])["name"] == "demo"
    (role,) = [each["ID"] for each in admin.json("role list") if each["Name"] == "member"]
    assert conn.identity.get_role(role)["name"] == "member"
    project = user["default_project_id"]
    assert conn.identity.validate_user_has_project_role(project, user["id"], role) is True
    found = conn.identity.get(f"/projects/{project}/users/{user['id']}/roles")["body"]["roles"]
    assert {each["name"] for each in found} == {"member", "reader"}
    assert conn.identity.get("/")["body"]["version"]["id"] == "v3.14"
    assert conn.network.get("/")["status"] == 200
    assert conn.image.get("/")["status"] in (200, 300)
    for answer in (
        conn.identity.get("/openapi.json"),
        conn.compute.get("/openapi.json"),
        conn.network.get("/openapi.json"),
        conn.image.get("/openapi.json"),
    ):
        assert answer["body"]["openapi"] == "3.1.0"


@rows(
    supported("conn.image.get_image(I)", "GET image/images/I"),
    supported("conn.image.get_image_schema()", "GET image/schemas/image"),
    supported(
        "conn.image.post(/images/I/actions/deactivate)", "POST image/images/I/actions/deactivate"
    ),
    supported(
        "conn.image.post(/images/I/actions/reactivate)", "POST image/images/I/actions/reactivate"
    ),
    supported("conn.image.put(/images/I/tags/T)", "PUT image/images/I/tags/T"),
    supported("conn.image.delete(/images/I/tags/T)", "DELETE image/images/I/tags/T"),
    supported("conn.image.add_member(I, member_id)", "POST image/images/I/members"),
    supported("conn.image.get_member(M, image)", "GET image/images/I/members/M"),
    supported("conn.image.update_member(M, image, status)", "PUT image/images/I/members/M"),
    supported("conn.image.remove_member(M, image)", "DELETE image/images/I/members/M"),
    supported("conn.image.update_image(I)", "PATCH image/images/I"),
    refused("conn.image.put(/images/I/file)", "PUT image/images/I/file", 415, DATA),
    supported("conn.create_image(I)", "POST image/images"),
    supported("conn.delete_image(I)", "DELETE image/images/I"),
)
def test_images_for_programs(demo: Person, admin: Person) -> None:
    """Made, changed, shared, deleted."""
    image = admin.conn.image
    identity = demo.json("image show debian-12")["id"]
    assert image.get_image(identity)["status"] == "active"
    assert image.get_image_schema()["name"] == "image"
    image.post(f"/images/{identity}/actions/deactivate")
    image.post(f"/images/{identity}/actions/reactivate")
    made = demo.conn.create_image("sdk", disk_format="qcow2", OSFAMILY="linux")["id"]
    image.put(f"/images/{made}/tags/t")
    image.delete(f"/images/{made}/tags/t")
    project = demo.json("image show sdk")["owner"]
    changed = demo.conn.image.update_image(made, name="sdk2", visibility="shared", extra="1")
    assert (changed["name"], changed["visibility"]) == ("sdk2", "shared")
    assert image.add_member(made, member_id=project)["status"] == "pending"
    assert image.get_member(project, image=made)["member_id"] == project
    accepted = image.update_member(project, image=made, status="accepted")
    assert accepted["status"] == "accepted"
    image.remove_member(project, image=made)
    image.put.refused(f"/images/{made}/file")
    demo.conn.delete_image("sdk2")


#: What Compute had before microversions: 410, whoever asks.
REMOVED = (
    *("/os-cells", "/os-cells/X", "/os-certificates", "/os-cloudpipe", "/os-consoles"),
    *("/os-fixed-ips/X", "/os-floating-ip-dns", "/os-floating-ips-bulk", "/os-fping"),
    *("/os-security-group-default-rules", "/servers/X/os-virtual-interfaces"),
    "/servers/X/consoles",
)


@rows(
    *(refused(f"conn.compute.get({path})", f"GET compute{path}", 410, GONE) for path in REMOVED),
)
def test_what_compute_once_had(admin: Person) -> None:
    """It says that it is gone."""
    for path in REMOVED:
        admin.conn.compute.get.refused(path.replace("X", "x"))
