"""Volumes of a server over the wire: attached, shown, changed, detached, refused."""

from __future__ import annotations

from typing import Any

import pytest

from cyclades_tx.api.compute.volume_attachments import VOLUME
from cyclades_tx.testing import builders

NOBODY = "00000000-0000-4000-8000-000000000000"


async def a_volume(wire: Any, **columns: Any) -> str:
    """A volume of the caller's project; its UUID."""
    values = {
        "user_id": wire.who.user_id,
        "project_id": wire.who.project_id,
        "size_gib": 1,
        "status": "available",
        **columns,
    }
    names, slots = ", ".join(values), ", ".join(f"%({name})s" for name in values)
    return await wire.database.value(
        f"insert into volume ({names}, volume_type_id) select {slots}, min(id) from volume_type"
        " returning uuid::text",
        values,
    )


async def a_server(wire: Any, **columns: Any) -> tuple[str, builders.Row]:
    """The path of the volumes of a stopped server on a cluster, and the server."""
    flavor = await builders.a_flavor(wire.database, template="file")
    cluster = await builders.a_cluster(wire.database)
    server = await builders.a_server(
        wire.database, wire.who, flavor, cluster=cluster, **{"state": "stopped", **columns}
    )
    await builders.a_holding(wire.database, wire.who.project_id, "cyclades.disk", None)
    return f"/servers/{server.uuid}/os-volume_attachments", server


async def state(wire: Any) -> list[Any]:
    """All that an attachment changes."""
    volumes = await wire.database.all(
        "select id, status, server_id, delete_on_termination from volume order by id"
    )
    return [*volumes, await wire.database.value("select count(*) from operation")]


@pytest.mark.parametrize("version", ["2.1", "2.69", "2.70", "2.79", "2.89", "2.96"])
async def test_attached_volume_is_shown_at_once(wire, fits, version):
    """With exactly the members of the microversion, alone, in the list and in the server."""
    path, server = await a_server(wire)
    uuid = await a_volume(wire)
    body = {"volumeAttachment": {"volumeId": uuid, "device": None}}
    made = await wire.post(path, body, version=version)
    assert made.status == 200, made.body
    shown = made.json["volumeAttachment"]
    fits(shown, VOLUME.schema(int(version[2:])))
    assert (shown["volumeId"], shown["device"]) == (uuid, "/dev/vda")
    assert (await wire.get(f"{path}/{uuid}", version=version)).json == made.json
    assert (await wire.get(path, version=version)).json == {"volumeAttachments": [shown]}
    whole = (await wire.get(f"/servers/{server.uuid}", version=version)).json["server"]
    assert [each["id"] for each in whole["os-extended-volumes:volumes_attached"]] == [uuid]
    actions = (await wire.get(f"/servers/{server.uuid}/os-instance-actions")).json
    assert (actions["instanceActions"][0]["action"],) == ("attach_volume",)
    request_id = actions["instanceActions"][0]["request_id"]
    assert request_id == made.header("x-openstack-request-id")


async def test_tag_and_termination_are_kept(wire):
    """As they were said, in the microversions that have them."""
    path, _ = await a_server(wire)
    uuid = await a_volume(wire)
    wanted = {"volumeId": uuid, "tag": "data", "delete_on_termination": True, "device": "/dev/vdx"}
    made = await wire.post(path, {"volumeAttachment": wanted}, version="2.89")
    shown = made.json["volumeAttachment"]
    assert (shown["tag"], shown["delete_on_termination"]) == ("data", True)
    assert shown["device"] == "/dev/vda", "the device is chosen here"


async def test_list_has_pages(wire):
    """By ``limit`` and ``offset``, in the order of the devices."""
    path, server = await a_server(wire)
    uuids = [
        await a_volume(wire, server_id=server.id, position=position, status="in_use")
        for position in (2, 1, 3)
    ]
    for query, wanted in (
        ("?limit=2", [uuids[1], uuids[0]]),
        ("?limit=2&offset=1", [uuids[0], uuids[2]]),
        ("?offset=7", []),
    ):
        found = (await wire.get(f"{path}{query}")).json["volumeAttachments"]
        assert [each["volumeId"] for each in found] == wanted
    for query in ("?limit=x", "?limit=-1", "?offset=-1", "?offset=x"):
        (await wire.get(f"{path}{query}")).fault(400, "badRequest")


@pytest.mark.parametrize(
    ("attachment", "version", "status", "kind"),
    [
        ({}, "2.1", 400, "badRequest"),
        ({"volumeId": "nothing"}, "2.1", 400, "badRequest"),
        ({"volumeId": 7}, "2.1", 400, "badRequest"),
        ({"volumeId": None}, "2.1", 400, "badRequest"),
        ({"volumeId": NOBODY}, "2.1", 404, "itemNotFound"),
        ({"volumeId": "V", "unknown": 1}, "2.96", 400, "badRequest"),
        ({"volumeId": "V", "device": "a b"}, "2.1", 400, "badRequest"),
        ({"volumeId": "V", "device": "/dev/../x"}, "2.1", 400, "badRequest"),
        ({"volumeId": "V", "tag": "x"}, "2.48", 400, "badRequest"),
        ({"volumeId": "V", "tag": "a/b"}, "2.49", 400, "badRequest"),
        ({"volumeId": "V", "tag": "x" * 61}, "2.49", 400, "badRequest"),
        ({"volumeId": "V", "delete_on_termination": True}, "2.78", 400, "badRequest"),
        ({"volumeId": "V", "delete_on_termination": "maybe"}, "2.79", 400, "badRequest"),
        ([], "2.1", 400, "badRequest"),
        (None, "2.1", 400, "badRequest"),
    ],
)
async def test_wrong_wish_for_a_volume_changes_nothing(wire, attachment, version, status, kind):
    """In Nova's words."""
    path, _ = await a_server(wire)
    uuid = await a_volume(wire)
    if isinstance(attachment, dict) and attachment.get("volumeId") == "V":
        attachment = {**attachment, "volumeId": uuid}
    before = await state(wire)
    answer = await wire.post(path, {"volumeAttachment": attachment}, version=version)
    answer.fault(status, kind)
    assert await state(wire) == before


@pytest.mark.parametrize(
    "columns", [{"state": "error"}, {"state": "active"}, {"locked": True}, {"state": "building"}]
)
async def test_server_that_cannot_be_changed_is_a_conflict(wire, columns):
    """In error, running where the cluster plugs nothing, locked, or not made yet."""
    path, _ = await a_server(wire, **columns)
    uuid = await a_volume(wire)
    before = await state(wire)
    body = {"volumeAttachment": {"volumeId": uuid}}
    (await wire.post(path, body)).fault(409, "conflictingRequest")
    assert await state(wire) == before


@pytest.mark.parametrize("status", ["error", "in_use", "awaiting_transfer", "deleting"])
async def test_volume_that_is_not_available_is_a_bad_request(wire, status):
    """Whatever else it is."""
    path, _ = await a_server(wire)
    body = {"volumeAttachment": {"volumeId": await a_volume(wire, status=status)}}
    before = await state(wire)
    shown = status if status in ("error", "deleting") else status.replace("_", "-")
    assert f"is '{shown}'," in (await wire.post(path, body)).fault(400, "badRequest")
    assert await state(wire) == before


async def test_detached_volume_is_accepted_once(wire):
    """While it goes on, the second one hears that the server is busy; the first disk stays."""
    path, server = await a_server(wire)
    columns = {"status": "in_use", "server_id": server.id, "initialised": True}
    root = await a_volume(wire, position=0, **columns)
    uuid = await a_volume(wire, position=1, **columns)
    (await wire.ask("DELETE", f"{path}/{root}")).fault(403, "forbidden")
    for ref in (NOBODY, "nothing"):
        (await wire.ask("DELETE", f"{path}/{ref}")).fault(404, "itemNotFound")
    answer = await wire.ask("DELETE", f"{path}/{uuid}")
    assert (answer.status, answer.body) == (202, b"")
    (await wire.ask("DELETE", f"{path}/{uuid}")).fault(409, "conflictingRequest")


async def test_changed_termination_is_accepted_from_2_85_on(wire, admin):
    """What cannot change must be as it is; another volume in its place is refused."""
    path, server = await a_server(wire)
    columns = {"status": "in_use", "server_id": server.id, "delete_on_termination": False}
    uuid = await a_volume(wire, position=1, **columns)
    other = await a_volume(wire)

    async def put(version: str, who: Any = None, **said: Any) -> Any:
        body = {"volumeAttachment": {"volumeId": uuid, **said}}
        return await wire.ask("PUT", f"{path}/{uuid}", body=body, version=version, who=who)

    ends = "select delete_on_termination from volume where uuid = %s"
    answer = await put("2.85", delete_on_termination=True, device="/dev/vdb", serverId=server.uuid)
    assert (answer.status, answer.body) == (202, b"")
    assert await wire.database.value(ends, (uuid,)) is True
    assert (await put("2.89", delete_on_termination=False, id=uuid)).status == 202
    assert await wire.database.value(ends, (uuid,)) is False
    assert (await put("2.85")).status == 202
    for said in (
        {"device": "/dev/vdc"}, {"tag": "x"}, {"serverId": NOBODY}, {"id": NOBODY},
        {"delete_on_termination": "maybe"}, {"unknown": 1},
    ):  # fmt: skip
        (await put("2.85", **said)).fault(400, "badRequest")
    (await put("2.84", delete_on_termination=True)).fault(400, "badRequest")
    (await put("2.84", volumeId=other)).fault(403, "forbidden")
    (await put("2.85", volumeId=other)).fault(403, "forbidden")
    (await put("2.85", who=admin, volumeId=other)).fault(400, "badRequest")
    assert await wire.database.value(ends, (uuid,)) is False


async def test_volumes_of_others_are_not_found(wire, stranger, reader):
    """Neither to see nor to attach, change or detach; a reader changes nothing."""
    path, server = await a_server(wire)
    uuid = await a_volume(wire, position=1, status="in_use", server_id=server.id)
    free = await a_volume(wire)
    before = await state(wire)
    body = {"volumeAttachment": {"volumeId": free}}
    change = {"volumeAttachment": {"volumeId": uuid, "delete_on_termination": True}}
    for who, status, kind in ((stranger, 404, "itemNotFound"), (reader, 403, "forbidden")):
        (await wire.post(path, body, who=who)).fault(status, kind)
        (await wire.ask("DELETE", f"{path}/{uuid}", who=who)).fault(status, kind)
        answer = await wire.ask("PUT", f"{path}/{uuid}", body=change, version="2.85", who=who)
        answer.fault(status, kind)
    for each in (path, f"{path}/{uuid}"):
        (await wire.get(each, who=stranger)).fault(404, "itemNotFound")
        assert (await wire.get(each, who=reader)).status == 200
    assert await state(wire) == before


async def test_server_that_boots_from_a_volume_has_no_image(wire):
    """An empty text, as in Compute."""
    _, server = await a_server(wire)
    image = await builders.an_image(wire.database)
    await wire.database.run(
        "update server set image_id = %s, boots_from_volume = true where id = %s",
        (image.id, server.id),
    )
    assert (await wire.get(f"/servers/{server.uuid}")).json["server"]["image"] == ""
