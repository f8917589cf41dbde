"""What hangs on a server (metadata, tags, changes) and what stands beside servers."""

from __future__ import annotations

import pytest

from cyclades_tx.api.compute import limits, quotas
from cyclades_tx.errors import Conflict, NoCapacity, OverQuota
from cyclades_tx.model import quota
from cyclades_tx.testing import builders


async def a_server(wire, **options):
    """A server of the one who asks."""
    flavor = await builders.a_flavor(wire.database)
    return await builders.a_server(wire.database, wire.who, flavor, **options)


async def test_metadata_is_shown_whole_and_by_item(wire):
    """An item that is not there is 404."""
    server = await a_server(wire, metadata={"a": "1", "ключ": ""})
    path = f"/servers/{server.uuid}/metadata"
    assert (await wire.get(path)).json == {"metadata": {"a": "1", "ключ": ""}}
    assert (await wire.get(path + "/a")).json == {"meta": {"a": "1"}}
    assert (await wire.get(path + "/%D0%BA%D0%BB%D1%8E%D1%87")).json == {"meta": {"ключ": ""}}
    (await wire.get(path + "/b")).fault(404, "itemNotFound")


async def test_metadata_is_merged_by_post_and_replaced_by_put(wire):
    """What the flow gives back is answered."""
    document = {"metadata": {"a": "b"}}
    for method, replace in (("POST", False), ("PUT", True)):
        answer = await wire.ask(method, "/servers/x/metadata", body=document)
        assert (answer.status, answer.json) == (200, document)
        assert wire.servers.calls.pop() == ("set_metadata", "x", {"a": "b"}, replace)
    answer = await wire.ask("PUT", "/servers/x/metadata/a", body={"meta": {"a": "b"}})
    assert answer.json == {"meta": {"a": "b"}}
    assert wire.servers.calls.pop() == ("set_metadata", "x", {"a": "b"}, False)
    answer = await wire.ask("DELETE", "/servers/x/metadata/a")
    assert (answer.status, answer.body) == (204, b"")
    assert wire.servers.calls.pop() == ("delete_metadata", "x", "a")


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("", {}),
        ("", {"metadata": None}),
        ("", {"metadata": {"a": 1}}),
        ("", {"metadata": {"": "x"}}),
        ("", {"metadata": {"a": "x" * 256}}),
        ("", {"metadata": {}, "more": 1}),
        ("/a", {"meta": {}}),
        ("/a", {"meta": {"b": "x"}}),
        ("/a", {"meta": {"a": "x", "b": "x"}}),
        ("/a", {"metadata": {"a": "x"}}),
    ],
)
async def test_bad_metadata_is_400(wire, path, document):
    """And nothing is changed."""
    answer = await wire.ask("PUT", f"/servers/x/metadata{path}", body=document)
    answer.fault(400, "badRequest")
    assert wire.servers.calls == []


async def test_tags_are_there_from_2_26(wire):
    """Shown, replaced, cleared, and one by one."""
    server = await a_server(wire, tags=("b", "a"))
    path = f"/servers/{server.uuid}/tags"

    async def ask(method, tag="", **options):
        return await wire.ask(method, path + tag, version="2.26", **options)

    assert (await ask("GET")).json == {"tags": ["a", "b"]}
    assert (await ask("GET", "/a")).status == 204
    (await ask("GET", "/c")).fault(404, "itemNotFound")
    added = await ask("PUT", "/c")
    assert added.body == b""
    assert wire.servers.calls.pop() == ("add_tag", server.uuid, "c")
    (await ask("PUT", "/a%2Cb")).fault(400, "badRequest")
    assert wire.servers.calls == []
    assert (await ask("DELETE", "/a")).status == 204
    assert wire.servers.calls.pop() == ("delete_tag", server.uuid, "a")
    assert (await ask("PUT", body={"tags": ["z", "y", "z"]})).json == {"tags": ["y", "z"]}
    assert wire.servers.calls.pop() == ("set_tags", server.uuid, ("z", "y"))
    assert (await ask("DELETE")).status == 204
    assert wire.servers.calls.pop() == ("set_tags", server.uuid, ())
    for bad in ({"tags": [""]}, {"tags": ["a,b"]}, {"tags": "a"}, {}):
        (await ask("PUT", body=bad)).fault(400, "badRequest")
    (await wire.get(path, version="2.25")).fault(404, "itemNotFound")


async def test_put_reads_each_change_in_its_version(wire):
    """What is absent stays; null takes the description away."""
    server = await a_server(wire)

    async def put(version, **members):
        return await wire.ask(
            "PUT", f"/servers/{server.uuid}", version=version, body={"server": members}
        )

    everything = {
        "name": "n",
        "description": None,
        "accessIPv4": "192.0.2.1",
        "accessIPv6": "2001:DB8::0:1",
        "hostname": "h",
    }
    assert (await put("2.96", **everything)).status == 200
    assert wire.servers.calls.pop()[2] == {
        "name": "n",
        "description": None,
        "access_ipv4": "192.0.2.1",
        "access_ipv6": "2001:db8::1",
        "hostname": "h",
    }
    assert (await put("2.1")).status == 200
    assert wire.servers.calls.pop()[2] == {}
    for version, members in (
        ("2.18", {"description": "d"}),
        ("2.18", {"description": None}),
        ("2.89", {"hostname": "h"}),
        ("2.96", {"name": None}),
        ("2.96", {"name": ""}),
        ("2.96", {"accessIPv4": "x"}),
        ("2.96", {"flavorRef": "x"}),
        ("2.96", {"OS-DCF:diskConfig": "AUTO"}),
    ):
        (await put(version, **members)).fault(400, "badRequest")
    assert wire.servers.calls == []


async def test_delete_is_204_without_body(wire):
    """Whatever the reference is, the flow decides."""
    answer = await wire.ask("DELETE", "/servers/x")
    assert (answer.status, answer.body) == (204, b"")
    assert wire.servers.calls == [("delete", "x", answer.header("x-compute-request-id"))]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Conflict("Cannot 'start' instance x while it is in vm_state active"), 409,
         "conflictingRequest"),
        (OverQuota("Quota exceeded for cores."), 403, "forbidden"),
        (NoCapacity(), 503, "serviceUnavailable"),
        (RuntimeError("secret"), 500, "computeFault"),
    ],
)  # fmt: skip
async def test_errors_of_a_flow_are_said_in_the_dialect(
    wire, monkeypatch, logged_errors, error, status, kind
):
    """What nobody expected tells the request id and nothing else."""

    async def fails(*_):
        raise error

    monkeypatch.setattr(wire.servers, "start", fails, raising=False)
    answer = await wire.post("/servers/x/action", {"os-start": None})
    message = answer.fault(status, kind)
    if status == 500:
        assert "secret" not in message
        assert answer.header("x-compute-request-id") in message
        assert len(logged_errors.flush(RuntimeError)) == 1
    else:
        assert message == str(error)


@pytest.mark.parametrize("minor", [1, 35, 36, 38, 39, 56, 57, 96])
async def test_limits_have_exactly_the_members_of_their_version(wire, fits, minor):
    """With what is used; a project without holdings has no limits."""
    project = wire.who.project_id
    await builders.a_holding(wire.database, project, quota.VM, 10, 3)
    await builders.a_holding(wire.database, project, quota.CPU, 20, 4)
    await builders.a_holding(wire.database, project, quota.RAM, None, 3 * quota.MIB)
    document = (await wire.get("/limits?reserved=False", version=f"2.{minor}")).json
    assert list(document) == ["limits"]
    assert document["limits"]["rate"] == []
    absolute = document["limits"]["absolute"]
    fits(absolute, limits.ABSOLUTE.schema(minor))
    assert (absolute["maxTotalInstances"], absolute["totalInstancesUsed"]) == (10, 3)
    assert (absolute["maxTotalCores"], absolute["totalCoresUsed"]) == (20, 4)
    assert (absolute["maxTotalRAMSize"], absolute["totalRAMUsed"]) == (-1, 3)
    assert ("maxSecurityGroups" in absolute) == (minor < 36)
    assert ("maxImageMeta" in absolute) == (minor < 39)
    assert ("maxPersonality" in absolute) == (minor < 57)


@pytest.mark.parametrize("minor", [1, 35, 36, 56, 57, 96])
async def test_quota_set_has_exactly_the_members_of_its_version(wire, fits, minor):
    """As numbers, as defaults, and in detail."""
    project, version = wire.who.project_id, f"2.{minor}"
    await builders.a_holding(wire.database, project, quota.VM, 10, 3)
    path = f"/os-quota-sets/{project}"
    shown = (await wire.get(path, version=version)).json["quota_set"]
    fits(shown, quotas.QUOTA_SET.schema(minor))
    assert (shown["id"], shown["instances"]) == (project, 10)
    defaults = (await wire.get(path + "/defaults", version=version)).json["quota_set"]
    fits(defaults, quotas.QUOTA_SET.schema(minor))
    detail = (await wire.get(path + "/detail", version=version)).json["quota_set"]
    fits(detail, quotas.QUOTA_SET_DETAIL.schema(minor))
    assert detail["instances"] == {"limit": 10, "in_use": 3, "reserved": 0}
    assert ("floating_ips" in shown) == (minor < 36)
    assert ("injected_files" in shown) == (minor < 57)


async def test_quotas_of_another_project_are_the_administrators(wire, stranger, admin):
    """Also in detail."""
    path = f"/os-quota-sets/{stranger.project_id}"
    (await wire.get(path)).fault(403, "forbidden")
    (await wire.get(path + "/detail")).fault(403, "forbidden")
    assert (await wire.get(path, who=admin)).status == 200


async def test_zones_are_the_clusters_that_a_project_may_use(wire, database, admin):
    """Details are the administrators': clients wait for the 403."""
    await builders.a_cluster(database, "alpha")
    await builders.a_cluster(database, "beta", drained=True)
    await builders.a_cluster(database, "gamma", public=False)
    zones = (await wire.get("/os-availability-zone")).json["availabilityZoneInfo"]
    assert zones == [
        {"zoneName": "alpha", "zoneState": {"available": True}, "hosts": None},
        {"zoneName": "beta", "zoneState": {"available": False}, "hosts": None},
    ]
    (await wire.get("/os-availability-zone/detail")).fault(403, "forbidden")
    assert (await wire.get("/os-availability-zone/detail", who=admin)).status == 200


async def test_extensions_are_listed_and_shown(wire):
    """Unknown ones, in any writing, are 404."""
    extensions = (await wire.get("/extensions")).json["extensions"]
    one = extensions[0]
    assert set(one) == {"name", "alias", "description", "updated", "namespace", "links"}
    assert (await wire.get(f"/extensions/{one['alias']}")).json == {"extension": one}
    (await wire.get("/extensions/Availability%20Zone")).fault(404, "itemNotFound")


async def test_security_groups_of_a_server_have_their_rules(wire, database):
    """In the form of old: ingress only."""
    server = await a_server(wire)
    network = await builders.a_network(database, shared=True)
    port = await builders.a_port(database, server, network, "10.0.0.5")
    group = await database.value(
        "insert into security_group (project_id, name) values (%s, 'web') returning id",
        (wire.who.project_id,),
    )
    await database.run("insert into port_security_group values (%s, %s)", (port.id, group))
    await database.run(
        "insert into security_group_rule (security_group_id, direction, ethertype, protocol,"
        " port_range_min, port_range_max) values (%s, 'ingress', 'IPv4', 'tcp', 80, 80),"
        " (%s, 'egress', 'IPv4', null, null, null)",
        (group, group),
    )
    (found,) = (await wire.get(f"/servers/{server.uuid}/os-security-groups")).json[
        "security_groups"
    ]
    assert (found["name"], found["tenant_id"]) == ("web", wire.who.project_id)
    (rule,) = found["rules"]
    assert (rule["from_port"], rule["ip_range"]) == (80, {"cidr": "0.0.0.0/0"})
    shown = (await wire.get(f"/servers/{server.uuid}")).json["server"]
    assert shown["security_groups"] == [{"name": "web"}]


@pytest.mark.parametrize("minor", [1, 70, 79, 89])
async def test_attached_volumes_follow_the_version(wire, database, fits, minor):
    """Its own root disk is none of them."""
    from cyclades_tx.api.compute.volume_attachments import VOLUME

    server = await a_server(wire)
    uuid = await database.value(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, local, status,"
        " server_id, position) select %s, %s, 1, id, each.local, 'in_use', %s, each.position"
        " from volume_type, (values (true, 0), (false, 1)) as each (local, position)"
        " returning uuid",
        (wire.who.user_id, wire.who.project_id, server.id),
    )
    assert uuid
    path, version = f"/servers/{server.uuid}/os-volume_attachments", f"2.{minor}"
    (one,) = (await wire.get(path, version=version)).json["volumeAttachments"]
    fits(one, VOLUME.schema(minor))
    assert one["device"] == "/dev/vdb"
    shown = (await wire.get(f"{path}/{one['volumeId']}", version=version)).json
    assert shown == {"volumeAttachment": one}
    (await wire.get(f"{path}/{server.uuid}", version=version)).fault(404, "itemNotFound")
    server = (await wire.get(f"/servers/{server.uuid}")).json["server"]
    assert server["os-extended-volumes:volumes_attached"] == [{"id": one["volumeId"]}]
