"""Interfaces of a server over the wire: attached, detached, refused; groups and addresses."""

from __future__ import annotations

from typing import Any

import pytest

from cyclades_tx.api.compute.addresses import INTERFACE
from cyclades_tx.store.networks import create_default_group
from cyclades_tx.testing import builders
from cyclades_tx.testing.network_builders import a_network

NOBODY = "00000000-0000-4000-8000-000000000000"


async def a_server(wire: Any, **columns: Any) -> tuple[str, Any]:
    """The path of a stopped server on a cluster, and a network of its project."""
    flavor = await builders.a_flavor(wire.database)
    cluster = await builders.a_cluster(wire.database)
    server = await builders.a_server(
        wire.database, wire.who, flavor, cluster=cluster, **{"state": "stopped", **columns}
    )
    network = await a_network(wire.database, wire.who, "10.0.0.0/24")
    await wire.database.run(
        "insert into holding (project_id, resource) values (%s, 'cyclades.vm')"
        " on conflict do nothing",
        (wire.who.project_id,),
    )
    return f"/servers/{server.uuid}", network


async def count(wire: Any) -> tuple[int, int, int]:
    """How many ports, addresses and operations of servers there are."""
    row = await wire.database.first(
        "select (select count(*) from port) as ports, (select count(*) from address) as addresses,"
        " (select count(*) from operation where server_id is not null) as operations"
    )
    return tuple(row)


@pytest.mark.parametrize("version", ["2.1", "2.69", "2.70", "2.96"])
async def test_attached_interface_is_shown_at_once(wire, fits, version):
    """With exactly the members of the microversion, in the list and alone too."""
    path, network = await a_server(wire)
    body = {
        "interfaceAttachment": {"net_id": network.uuid, "fixed_ips": [{"ip_address": "10.0.0.9"}]}
    }
    made = await wire.post(f"{path}/os-interface", body, version=version)
    assert made.status == 200, made.body
    shown = made.json["interfaceAttachment"]
    fits(shown, INTERFACE.schema(int(version[2:])))
    assert (shown["net_id"], shown["port_state"]) == (network.uuid, "BUILD")
    assert [each["ip_address"] for each in shown["fixed_ips"]] == ["10.0.0.9"]
    alone = await wire.get(f"{path}/os-interface/{shown['port_id']}", version=version)
    assert alone.json == made.json
    actions = (await wire.get(f"{path}/os-instance-actions")).json["instanceActions"]
    assert (actions[0]["action"], actions[0]["request_id"]) == (
        "attach_interface",
        made.header("x-openstack-request-id"),
    )


async def test_project_s_only_network_is_meant_when_none_is_named(wire):
    """Two of them are ambiguous."""
    path, network = await a_server(wire)
    made = await wire.post(f"{path}/os-interface", {})
    assert made.json["interfaceAttachment"]["net_id"] == network.uuid
    other, _ = await a_server(wire)
    (await wire.post(f"{other}/os-interface", {})).fault(400, "badRequest")


@pytest.mark.parametrize(
    ("attachment", "status", "kind"),
    [
        ({"net_id": NOBODY}, 404, "itemNotFound"),
        ({"net_id": "nothing"}, 404, "itemNotFound"),
        ({"port_id": NOBODY}, 404, "itemNotFound"),
        ({"port_id": "nothing"}, 404, "itemNotFound"),
        ({"port_id": NOBODY, "net_id": NOBODY}, 400, "badRequest"),
        ({"fixed_ips": [{"ip_address": "10.0.0.9"}]}, 400, "badRequest"),
        ({"net_id": NOBODY, "fixed_ips": []}, 400, "badRequest"),
        ({"net_id": NOBODY, "fixed_ips": [{"ip_address": "x"}]}, 400, "badRequest"),
        ({"net_id": NOBODY, "fixed_ips": [{}]}, 400, "badRequest"),
        ({"net_id": 7}, 400, "badRequest"),
        ({"unknown": 1}, 400, "badRequest"),
        ({"tag": "x"}, 400, "badRequest"),
        ([], 400, "badRequest"),
    ],
)
async def test_wrong_wish_for_an_interface_leaves_nothing(wire, attachment, status, kind):
    """In Nova's words."""
    path, _ = await a_server(wire)
    before = await count(wire)
    answer = await wire.post(f"{path}/os-interface", {"interfaceAttachment": attachment})
    answer.fault(status, kind)
    assert await count(wire) == before


@pytest.mark.parametrize("columns", [{"state": "error"}, {"state": "active"}, {"locked": True}])
async def test_server_that_cannot_be_changed_is_a_conflict(wire, columns):
    """In error, running where the cluster plugs nothing, or locked."""
    path, network = await a_server(wire, **columns)
    before = await count(wire)
    body = {"interfaceAttachment": {"net_id": network.uuid}}
    (await wire.post(f"{path}/os-interface", body)).fault(409, "conflictingRequest")
    assert await count(wire) == before


async def test_detached_interface_is_accepted_once(wire):
    """While it goes on, the second one hears that the server is busy."""
    path, network = await a_server(wire)
    server = builders.Row(
        await wire.database.value("select id from server"), path.rpartition("/")[2]
    )
    port = await builders.a_port(
        wire.database, server, builders.Row(network.id, network.uuid), None
    )
    answer = await wire.ask("DELETE", f"{path}/os-interface/{port.uuid}")
    assert (answer.status, answer.body) == (202, b"")
    again = await wire.ask("DELETE", f"{path}/os-interface/{port.uuid}")
    again.fault(409, "conflictingRequest")
    for ref in (NOBODY, "nothing"):
        (await wire.ask("DELETE", f"{path}/os-interface/{ref}")).fault(409, "conflictingRequest")


async def test_interfaces_of_others_are_not_found(wire, stranger):
    """Neither to attach nor to detach."""
    path, network = await a_server(wire)
    server = builders.Row(
        await wire.database.value("select id from server"), path.rpartition("/")[2]
    )
    port = await builders.a_port(
        wire.database, server, builders.Row(network.id, network.uuid), None
    )
    before = await count(wire)
    body = {"interfaceAttachment": {"net_id": network.uuid}}
    (await wire.post(f"{path}/os-interface", body, who=stranger)).fault(404, "itemNotFound")
    answer = await wire.ask("DELETE", f"{path}/os-interface/{port.uuid}", who=stranger)
    answer.fault(404, "itemNotFound")
    for action in ("addSecurityGroup", "removeSecurityGroup"):
        answer = await wire.post(f"{path}/action", {action: {"name": "default"}}, who=stranger)
        answer.fault(404, "itemNotFound")
    assert await count(wire) == before


async def test_groups_of_a_server_are_those_of_its_ports(wire):
    """Added by name or id, taken away, and not found when it is in none."""
    path, network = await a_server(wire)
    server = builders.Row(
        await wire.database.value("select id from server"), path.rpartition("/")[2]
    )
    await builders.a_port(wire.database, server, builders.Row(network.id, network.uuid), None)
    await wire.database.transaction(lambda tx: create_default_group(tx, wire.who.project_id))
    uuid = await wire.database.value("select uuid::text from security_group")
    for name in ("default", uuid):
        added = await wire.post(f"{path}/action", {"addSecurityGroup": {"name": name}})
        assert added.status == 202
    shown = (await wire.get(f"{path}/os-security-groups")).json["security_groups"]
    assert [each["name"] for each in shown] == ["default"]
    gone = {"removeSecurityGroup": {"name": "default"}}
    assert (await wire.post(f"{path}/action", gone)).status == 202
    (await wire.post(f"{path}/action", gone)).fault(404, "itemNotFound")
    unknown = {"addSecurityGroup": {"name": "nothing"}}
    (await wire.post(f"{path}/action", unknown)).fault(404, "itemNotFound")


@pytest.mark.parametrize(
    ("action", "argument"),
    [
        ("addFloatingIp", {"address": "192.0.2.1"}),
        ("removeFloatingIp", {"address": "192.0.2.1"}),
        ("addFixedIp", {"networkId": NOBODY}),
        ("removeFixedIp", {"address": "10.0.0.1"}),
    ],
)
async def test_old_actions_end_with_their_microversion(wire, action, argument):
    """From 2.44 on there are none of that name; before, hostile arguments are bad requests."""
    path, _ = await a_server(wire)
    for version in ("2.44", "2.96"):
        answer = await wire.post(f"{path}/action", {action: argument}, version=version)
        assert "no such action" in answer.fault(400, "badRequest")
    last = await wire.post(f"{path}/action", {action: argument}, version="2.43")
    assert last.status in (400, 404), last.body
    for hostile in (None, [], 7, {}, {"address": 7}, {"networkId": None}, {**argument, "x": 1}):
        answer = await wire.post(f"{path}/action", {action: hostile}, version="2.43")
        answer.fault(400, "badRequest")
