"""Servers shown and listed: the shape of every version, states, isolation."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cyclades_tx.api.compute import documents
from cyclades_tx.testing import builders

#: Each microversion at which a member of the document comes or goes, and its neighbors.
BOUNDARIES = sorted(
    {
        minor
        for member in documents.SERVER.members
        for edge in (member.first, (member.last or 0) + 1)
        for minor in (edge - 1, edge)
        if 1 <= minor <= 96
    }
    | {1, 74, 75, 96}
)


async def a_full_server(database, who, **columns):
    """A server with one of everything."""
    flavor = await builders.a_flavor(database, "tiny", specs={"k": "v"})
    image = await builders.an_image(database)
    cluster = await builders.a_cluster(database)
    server = await builders.a_server(
        database,
        who,
        flavor,
        image=image,
        cluster=cluster,
        metadata={"role": "web", "a": ""},
        tags=("z", "a"),
        node="node1.example.org",
        ganeti_status="running",
        launched_at=datetime(2026, 1, 1, 0, 0, 5, 7, UTC),
        created_at=datetime(2026, 1, 1, 0, 0, 0, 999_999, UTC),
        **columns,
    )
    return server, flavor, image, cluster


@pytest.mark.parametrize("minor", BOUNDARIES)
async def test_server_has_exactly_the_members_of_its_version(wire, database, fits, admin, minor):
    """Shown, listed in detail and in short, for a user and for an administrator."""
    server, *_ = await a_full_server(database, wire.who)
    version = f"2.{minor}"
    for who in (wire.who, admin):
        shown = (await wire.get(f"/servers/{server.uuid}", version=version, who=who)).json
        assert list(shown) == ["server"]
        fits(shown["server"], documents.SERVER.schema(minor, who.admin))
        path = "/servers/detail" + ("?all_tenants=1" if who.admin else "")
        listed = (await wire.get(path, version=version, who=who)).json
        assert list(listed) == ["servers"]
        fits(listed["servers"][0], documents.SERVER_DETAIL.schema(minor, who.admin))
        short = (await wire.get(path.replace("/detail", ""), version=version, who=who)).json
        fits(short["servers"][0], documents.SERVER_ITEM.schema(minor))


@pytest.mark.parametrize("minor", [1, 9, 46, 47, 74, 75, 96])
async def test_reply_to_put_is_smaller_before_2_75(wire, database, fits, minor):
    """From 2.75 it is the document of GET."""
    server, *_ = await a_full_server(database, wire.who)
    answer = await wire.ask(
        "PUT", f"/servers/{server.uuid}", version=f"2.{minor}", body={"server": {"name": "new"}}
    )
    document = documents.SERVER if minor >= 75 else documents.SERVER_CHANGED
    fits(answer.json["server"], document.schema(minor))
    assert wire.servers.calls == [("update", server.uuid, {"name": "new"})]


async def test_server_says_what_is_in_its_rows(wire, database):
    """The oldest version, word for word."""
    server, flavor, image, _ = await a_full_server(database, wire.who)
    shown = (await wire.get(f"/servers/{server.uuid}")).json["server"]
    base = "https://cloud.example.org/compute"
    updated, host = shown.pop("updated"), shown.pop("hostId")
    assert updated.endswith("Z") and len(host) == 56
    assert shown == {
        "id": server.uuid,
        "name": "server",
        "status": "ACTIVE",
        "tenant_id": wire.who.project_id,
        "user_id": wire.who.user_id,
        "created": "2026-01-01T00:00:00Z",
        "image": {
            "id": image.uuid,
            "links": [{"rel": "bookmark", "href": f"{base}/images/{image.uuid}"}],
        },
        "flavor": {
            "id": flavor.uuid,
            "links": [{"rel": "bookmark", "href": f"{base}/flavors/{flavor.uuid}"}],
        },
        "addresses": {},
        "accessIPv4": "",
        "accessIPv6": "",
        "metadata": {"a": "", "role": "web"},
        "links": [
            {"rel": "self", "href": f"{base}/v2.1/servers/{server.uuid}"},
            {"rel": "bookmark", "href": f"{base}/servers/{server.uuid}"},
        ],
        "progress": 0,
        "key_name": None,
        "config_drive": "",
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": "nova",
        "OS-EXT-STS:power_state": 1,
        "OS-EXT-STS:task_state": None,
        "OS-EXT-STS:vm_state": "active",
        "OS-SRV-USG:launched_at": "2026-01-01T00:00:05.000007",
        "OS-SRV-USG:terminated_at": None,
        "os-extended-volumes:volumes_attached": [],
        "security_groups": [],
    }


async def test_administrator_sees_where_a_server_is(wire, database, admin):
    """Others do not see it in any version."""
    server, *_ = await a_full_server(database, wire.who)
    shown = (await wire.get(f"/servers/{server.uuid}", who=admin)).json["server"]
    assert shown["OS-EXT-SRV-ATTR:host"] == "node1.example.org"
    assert shown["OS-EXT-SRV-ATTR:instance_name"] == f"snf-{server.id}"


async def test_flavor_is_embedded_from_2_47(wire, database):
    """With the sizes that the server has, and without an id."""
    server, *_ = await a_full_server(database, wire.who)
    shown = (await wire.get(f"/servers/{server.uuid}", version="2.47")).json["server"]
    assert shown["flavor"] == {
        "original_name": "tiny",
        "vcpus": 1,
        "ram": 512,
        "disk": 2,
        "ephemeral": 0,
        "swap": 0,
        "extra_specs": {"k": "v"},
    }
    assert (await wire.get(f"/servers/{server.uuid}", version="2.26")).json["server"]["tags"] == [
        "a",
        "z",
    ]


async def test_server_without_image_has_an_empty_text(wire, database):
    """Absent or null makes clients crash."""
    flavor = await builders.a_flavor(database)
    server = await builders.a_server(database, wire.who, flavor)
    assert (await wire.get(f"/servers/{server.uuid}")).json["server"]["image"] == ""


async def test_addresses_stand_by_network_and_floating_ones_with_their_port(wire, database):
    """The extra interface of a floating IP is not shown as one."""
    server, *_ = await a_full_server(database, wire.who, access_ipv6="2001:DB8:0::1")
    net = await builders.a_network(database, "net1", project_id=wire.who.project_id)
    six = await builders.a_network(database, "six", shared=True, cidr="2001:db8::/64")
    outside = await builders.a_network(database, "ext", external=True, cidr="192.0.2.0/24")
    port = await builders.a_port(
        database, server, net, "10.0.0.5", position=1, mac="AA:00:00:00:00:01"
    )
    await builders.a_port(
        database, server, six, "2001:db8:0:0::5", position=0, mac="aa:00:00:00:00:02"
    )
    await builders.a_floating_ip(database, wire.who, outside, "192.0.2.9", port)
    shown = (await wire.get(f"/servers/{server.uuid}")).json["server"]
    mac = {"OS-EXT-IPS-MAC:mac_addr": "aa:00:00:00:00:01"}
    assert shown["accessIPv6"] == "2001:db8::1"
    assert list(shown["addresses"]) == ["six", "net1"]
    assert shown["addresses"]["net1"] == [
        {"addr": "10.0.0.5", "version": 4, "OS-EXT-IPS:type": "fixed", **mac},
        {"addr": "192.0.2.9", "version": 4, "OS-EXT-IPS:type": "floating", **mac},
    ]
    assert shown["addresses"]["six"][0]["addr"] == "2001:db8::5"
    ips = (await wire.get(f"/servers/{server.uuid}/ips")).json
    assert ips["addresses"]["net1"][0] == {"addr": "10.0.0.5", "version": 4}
    one = (await wire.get(f"/servers/{server.uuid}/ips/net1")).json
    assert one == {"net1": ips["addresses"]["net1"]}
    (await wire.get(f"/servers/{server.uuid}/ips/other")).fault(404, "itemNotFound")
    ports = (await wire.get(f"/servers/{server.uuid}/os-interface")).json["interfaceAttachments"]
    assert [each["mac_addr"] for each in ports] == ["aa:00:00:00:00:02", "aa:00:00:00:00:01"]
    assert ports[1]["port_id"] == port.uuid
    path = f"/servers/{server.uuid}/os-interface/{port.uuid}"
    assert (await wire.get(path)).json == {"interfaceAttachment": ports[1]}


#: State at rest, open operation (kind, state, arguments) → status, task, machine, power.
STATES = [
    ("building", None, "BUILD", "scheduling", "building", 0),
    ("building", ("create", "pending", "{}"), "BUILD", "scheduling", "building", 0),
    ("building", ("create", "submitting", "{}"), "BUILD", "spawning", "building", 0),
    ("building", ("create", "submitted", "{}"), "BUILD", "spawning", "building", 0),
    ("active", None, "ACTIVE", None, "active", 1),
    ("active", ("stop", "pending", "{}"), "ACTIVE", "powering-off", "active", 1),
    ("stopped", None, "SHUTOFF", None, "stopped", 4),
    ("stopped", ("start", "submitted", "{}"), "SHUTOFF", "powering-on", "stopped", 4),
    ("active", ("reboot", "pending", '{"type": "SOFT"}'), "REBOOT", "rebooting", "active", 1),
    ("active", ("reboot", "pending", '{"type": "HARD"}'), "HARD_REBOOT", "rebooting_hard",
     "active", 1),
    ("stopped", ("reboot", "pending", '{"type": "HARD"}'), "HARD_REBOOT", "rebooting_hard",
     "stopped", 4),
    ("active", ("delete", "pending", "{}"), "ACTIVE", "deleting", "active", 1),
    ("building", ("delete", "submitted", "{}"), "BUILD", "deleting", "building", 0),
    ("error", None, "ERROR", None, "error", 0),
    ("error", ("delete", "pending", "{}"), "ERROR", "deleting", "error", 0),
    ("resized", None, "VERIFY_RESIZE", None, "resized", 0),
    ("resized", ("resize", "pending", "{}"), "REVERT_RESIZE", "resize_reverting", "resized", 0),
    ("active", ("resize", "pending", "{}"), "RESIZE", "resize_migrating", "active", 1),
    ("active", ("rebuild", "pending", "{}"), "REBUILD", "rebuilding", "active", 1),
    ("rescued", None, "RESCUE", None, "rescued", 0),
]  # fmt: skip


@pytest.mark.parametrize(("state", "operation", "status", "task", "machine", "power"), STATES)
async def test_status_follows_the_state_and_the_open_operation(
    wire, database, state, operation, status, task, machine, power
):
    """So that whoever polls right after the 202 sees the change begun."""
    flavor = await builders.a_flavor(database)
    cluster = await builders.a_cluster(database)
    server = await builders.a_server(database, wire.who, flavor, state=state, cluster=cluster)
    # What ended does not count.
    await builders.an_operation(database, server, cluster, "reboot", state="succeeded")
    if operation is not None:
        kind, at, arguments = operation
        await builders.an_operation(
            database, server, cluster, kind, state=at, arguments=arguments, progress=30
        )
    shown = (await wire.get(f"/servers/{server.uuid}")).json["server"]
    assert (
        shown["status"],
        shown["OS-EXT-STS:task_state"],
        shown["OS-EXT-STS:vm_state"],
        shown["OS-EXT-STS:power_state"],
    ) == (status, task, machine, power)
    shows_progress = status in {
        "ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "REBOOT", "HARD_REBOOT",
    }  # fmt: skip
    assert ("progress" in shown) == shows_progress
    if shows_progress and operation is not None and operation[0] != "delete":
        assert shown["progress"] == 30
    listed = (await wire.get(f"/servers?status={status.lower()}")).json["servers"]
    assert [each["id"] for each in listed] == [server.uuid]


async def test_fault_is_shown_in_error_only(wire, database):
    """With code, time and message."""
    flavor = await builders.a_flavor(database)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    facts = {"fault_message": "No room.", "fault_at": at, "fault_code": 500}
    broken = await builders.a_server(database, wire.who, flavor, state="error", **facts)
    healed = await builders.a_server(database, wire.who, flavor, **facts)
    shown = (await wire.get(f"/servers/{broken.uuid}")).json["server"]
    assert shown["fault"] == {"code": 500, "created": "2026-01-02T00:00:00Z", "message": "No room."}
    assert "fault" not in (await wire.get(f"/servers/{healed.uuid}")).json["server"]


async def test_deleted_server_is_gone(wire, database, admin):
    """For everybody."""
    flavor = await builders.a_flavor(database)
    server = await builders.a_server(database, wire.who, flavor, state="deleted")
    for who in (wire.who, admin):
        answer = await wire.get(f"/servers/{server.uuid}", who=who)
        assert answer.fault(404, "itemNotFound") == f"Instance {server.uuid} could not be found."


@pytest.mark.parametrize(
    "path",
    ["", "/metadata", "/metadata/role", "/ips", "/ips/net1", "/os-interface", "/diagnostics",
     "/os-interface/00000000-0000-4000-8000-000000000000", "/os-volume_attachments",
     "/os-volume_attachments/00000000-0000-4000-8000-000000000000", "/os-instance-actions",
     "/os-instance-actions/req-00000000-0000-4000-8000-000000000000", "/os-security-groups",
     "/tags", "/tags/a"],
)  # fmt: skip
async def test_another_projects_server_is_not_there(wire, database, stranger, path):
    """Whatever of it is asked for."""
    server, *_ = await a_full_server(database, stranger)
    answer = await wire.get(f"/servers/{server.uuid}{path}", version="2.96")
    answer.fault(404, "itemNotFound")
    assert server.uuid not in (await wire.get("/servers")).body.decode()


@pytest.mark.parametrize("ref", ["web", "%C3%A4%20b", "1", "%00", "..", "a" * 500, "%ED%A0%80"])
async def test_anything_else_than_an_id_is_not_found(wire, ref):
    """Never a 500: clients try names first."""
    answer = await wire.get(f"/servers/{ref}")
    if ref == "%ED%A0%80":
        answer.fault(400, "badRequest")
    else:
        answer.fault(404, "itemNotFound")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/servers/"), ("DELETE", "/servers/"), ("DELETE", "/os-keypairs/"),
     ("POST", "/servers//action"), ("GET", "/servers//metadata"), ("GET", "/flavors/")],
)  # fmt: skip
async def test_empty_id_is_not_found(wire, method, path):
    """It is neither the collection nor a wrong method."""
    (await wire.ask(method, path)).fault(404, "itemNotFound")


async def test_wrong_method_is_405_and_names_the_right_ones(wire):
    """In ``Allow``."""
    answer = await wire.ask("PATCH", "/servers")
    answer.fault(405, "badMethod")
    assert answer.header("allow") == "GET, HEAD, POST"


async def test_head_is_get_without_body(wire, database):
    """Same headers, no body."""
    server, *_ = await a_full_server(database, wire.who)
    shown = await wire.get(f"/servers/{server.uuid}")
    answer = await wire.ask("HEAD", f"/servers/{server.uuid}")
    assert answer.status == 200
    assert answer.body == b""
    assert answer.header("content-length") == str(len(shown.body))


async def test_project_in_the_path_is_taken_when_it_is_ones_own(wire, database, stranger, admin):
    """As old catalogs have it; another's is refused, except to administrators."""
    server, *_ = await a_full_server(database, wire.who)
    path = f"/{wire.who.project_id}/servers/{server.uuid}"
    assert (await wire.get(path)).json == (await wire.get(f"/servers/{server.uuid}")).json
    (await wire.get(path, who=stranger)).fault(403, "forbidden")
    assert (await wire.get(path, who=admin)).status == 200
    (await wire.get(f"/{'z' * 32}/servers")).fault(404, "itemNotFound")


@pytest.mark.parametrize("token", [None, "", "nobody", "é", "x" * 5000])
async def test_bad_token_is_401_with_the_way_to_log_in(wire, token):
    """In the dialect of the service."""
    answer = await wire.get("/servers", token=token)
    answer.fault(401, "unauthorized")
    assert answer.header("www-authenticate") == (
        'Keystone uri="https://cloud.example.org/identity"'
    )


async def test_reader_reads_and_nothing_else(wire, database, reader):
    """Everything that changes is 403, before anything is looked at."""
    server, *_ = await a_full_server(database, wire.who)
    assert (await wire.get(f"/servers/{server.uuid}", who=reader)).status == 200
    for method, path in (
        ("POST", "/servers"),
        ("DELETE", f"/servers/{server.uuid}"),
        ("PUT", f"/servers/{server.uuid}"),
        ("POST", f"/servers/{server.uuid}/action"),
        ("POST", "/os-keypairs"),
    ):
        (await wire.ask(method, path, who=reader, body={})).fault(403, "forbidden")
    assert wire.servers.calls == []
