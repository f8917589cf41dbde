"""Volumes: made, shown, changed, deleted, charged; whose they are; what makes no sense."""

from __future__ import annotations

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults

from cyclades_tx.store import quotas
from cyclades_tx.testing import builders

NOBODY = "00000000-0000-4000-8000-000000000000"


async def on_a_server(wire, volume):
    """Put a volume on a server, as the end of an operation leaves it; return the server."""
    flavor = await builders.a_flavor(wire.database)
    cluster = await builders.a_cluster(wire.database)
    server = await builders.a_server(
        wire.database, wire.who, flavor, cluster=cluster, state="stopped"
    )
    await wire.database.run(
        "update volume set status = 'in_use', server_id = %s, position = 1, initialised = true"
        " where uuid = %s::uuid",
        (server.id, volume["id"]),
    )
    return server


async def test_volume_has_exactly_the_members_of_its_version(wire, admin):
    """Made, shown and listed; the schemas are checked with every reply."""
    for minor in (0, 12, 13, 20, 21, 47, 48, 60, 61, 62, 63, 64, 65, 71):
        await made_and_shown(wire, admin, minor)


async def made_and_shown(wire, admin, minor):
    """Make a volume in a microversion, look at it, and delete it."""
    version = f"3.{minor}"
    body = {"volume": {"size": 2, "name": "v", "description": "d", "metadata": {"a": "b"}}}
    made = await wire.post("/volumes", body, version=version)
    assert made.status == 202, made.body
    volume = made.json["volume"]
    assert "os-vol-tenant-attr:tenant_id" not in volume
    shown = (await wire.get(f"/volumes/{volume['id']}", version=version)).json["volume"]
    assert shown == {**volume, "os-vol-tenant-attr:tenant_id": wire.who.project_id}
    assert (shown["status"], shown["size"], shown["bootable"]) == ("available", 2, "false")
    assert (shown["volume_type"], shown["attachments"]) == ("plain", [])
    assert (shown["metadata"], shown["availability_zone"]) == ({"a": "b"}, "nova")
    assert ("group_id" in shown, "volume_type_id" in shown) == (minor >= 13, minor >= 63)
    listed = (await wire.get("/volumes/detail", version=version)).json
    assert listed == {"volumes": [shown]}
    (item,) = (await wire.get("/volumes", version=version)).json["volumes"]
    assert item == {key: shown[key] for key in ("id", "name", "links")}
    seen = await wire.get(f"/volumes/{volume['id']}", version=version, who=admin)
    assert ("provider_id" in seen.json["volume"]) == (minor >= 21)
    assert ("cluster_name" in seen.json["volume"]) == (minor >= 61)
    assert (await wire.ask("DELETE", f"/volumes/{volume['id']}")).status == 202


async def test_volume_is_charged_from_its_making_to_its_end(wire):
    """And events tell of it; the recount finds the same."""
    volume = await wire.volume(3, name="v")
    assert await wire.used_gib() == 3
    assert await quotas.drift(wire.database) == []
    gone = await wire.ask("DELETE", f"/volumes/{volume['id']}?cascade=False&force=False")
    assert (gone.status, gone.body) == (202, b"")
    assert await wire.used_gib() == 0
    assert await quotas.drift(wire.database) == []
    (await wire.get(f"/volumes/{volume['id']}")).fault(404, "itemNotFound")
    (await wire.ask("DELETE", f"/volumes/{volume['id']}")).fault(404, "itemNotFound")
    assert (await wire.get("/volumes/detail")).json == {"volumes": []}
    rows = await wire.database.all("select kind, project_id, body from event order by id")
    assert [row.kind for row in rows] == ["volume.created", "volume.deleted"]
    assert {row.project_id for row in rows} == {wire.who.project_id}
    assert rows[0].body["volume"] == {
        "id": volume["id"], "name": "v", "size": 3, "status": "available", "server_id": None,
    }  # fmt: skip


async def test_nulls_are_as_good_as_nothing(wire):
    """Clients send them for every option that was not given."""
    names = (
        "name", "description", "volume_type", "availability_zone", "metadata", "imageRef",
        "snapshot_id", "source_volid", "consistencygroup_id", "backup_id", "multiattach",
    )  # fmt: skip
    body = {"volume": {"size": "1", **dict.fromkeys(names)}, "OS-SCH-HNT:scheduler_hints": None}
    assert (await wire.post("/volumes", body)).status == 202


async def test_what_older_clients_always_send_has_no_effect(wire):
    """The volume is the caller's and available, whatever else they say."""
    volume = await wire.volume(
        size=1,
        status="creating",
        attach_status="detached",
        user_id=NOBODY,
        project_id=NOBODY,
        source_replica=None,
    )
    shown = (await wire.get(f"/volumes/{volume['id']}")).json["volume"]
    assert (shown["status"], shown["user_id"]) == ("available", wire.who.user_id)
    assert shown["os-vol-tenant-attr:tenant_id"] == wire.who.project_id
    answer = await wire.post("/volumes", {"volume": {"size": 1, "source_replica": NOBODY}})
    answer.fault(400, "badRequest")


@pytest.mark.parametrize("ref", ["fast", "uuid"])
async def test_type_is_named_or_given_by_its_id(wire, ref):
    """As clients have it."""
    uuid = str(await wire.database.value("select uuid from volume_type where name = 'fast'"))
    volume = await wire.volume(volume_type=uuid if ref == "uuid" else ref)
    assert (volume["volume_type"], volume["volume_type_id"]) == ("fast", uuid)


async def test_zone_is_a_cluster_of_the_project(wire):
    """Another one is refused, so is one that other projects have for themselves."""
    await builders.a_cluster(wire.database, "north")
    await builders.a_cluster(wire.database, "secret", public=False)
    assert (await wire.volume(availability_zone="north"))["availability_zone"] == "north"
    assert (await wire.volume(availability_zone="nova"))["availability_zone"] == "nova"
    for name in ("south", "secret"):
        body = {"volume": {"size": 1, "availability_zone": name}}
        (await wire.post("/volumes", body)).fault(400, "badRequest")
    zones = (await wire.get("/os-availability-zone")).json["availabilityZoneInfo"]
    assert zones == [{"zoneName": "north", "zoneState": {"available": True}}]


NONSENSE = [
    ({}, 400),
    ({"size": 0}, 400),
    ({"size": -1}, 400),
    ({"size": "x"}, 400),
    ({"size": "1.5"}, 400),
    ({"size": "²"}, 400),
    ({"size": True}, 400),
    ({"size": 1_048_577}, 400),
    ({"size": 10**30}, 400),
    ({"size": [1]}, 400),
    ({"size": 1, "name": "x" * 256}, 400),
    ({"size": 1, "description": "x" * 256}, 400),
    ({"size": 1, "metadata": {"": "x"}}, 400),
    ({"size": 1, "metadata": {"x" * 256: "x"}}, 400),
    ({"size": 1, "metadata": {"x": "x" * 256}}, 400),
    ({"size": 1, "metadata": {str(number): "x" for number in range(129)}}, 400),
    ({"size": 1, "metadata": {"x": 1}}, 400),
    ({"size": 1, "multiattach": True}, 400),
    ({"size": 1, "nonsense": 1}, 400),
    ({"size": 1, "volume_type": "none"}, 400),
    ({"size": 1, "volume_type": "unknown"}, 404),
    ({"size": 1, "volume_type": NOBODY}, 404),
    ({"size": 1, "imageRef": "unknown"}, 400),
    ({"size": 1, "imageRef": NOBODY}, 400),
    ({"size": 1, "snapshot_id": NOBODY}, 404),
    ({"size": 1, "source_volid": NOBODY}, 404),
    ({"size": 1, "backup_id": NOBODY}, 404),
    ({"size": 1, "group_id": NOBODY}, 404),
    ({"size": 1, "snapshot_id": NOBODY, "source_volid": NOBODY}, 400),
]


async def test_what_makes_no_sense_makes_nothing(wire):
    """Neither a row nor a charge."""
    for wanted, status in NONSENSE:
        answer = await wire.post("/volumes", {"volume": wanted})
        answer.fault(status, "badRequest" if status == 400 else "itemNotFound")
    assert await wire.database.value("select count(*) from volume") == 0
    assert await wire.used_gib() == 0


async def test_volumes_with_data_are_refused_honestly(wire, stranger):
    """501 for what there is; of what others have nothing is told."""
    image = await builders.an_image(wire.database)
    hidden = await builders.an_image(
        wire.database, project_id=stranger.project_id, visibility="private"
    )
    large = await builders.an_image(wire.database, min_disk_gib=2)
    mine, theirs = await wire.volume(), await wire.volume(who=stranger)
    for wanted, status, kind in (
        ({"imageRef": hidden.uuid}, 400, "badRequest"),
        ({"imageRef": large.uuid}, 400, "badRequest"),
        ({"imageRef": image.uuid, "source_volid": mine["id"]}, 400, "badRequest"),
        ({"source_volid": mine["id"]}, 501, "notImplemented"),
        ({"source_volid": theirs["id"]}, 404, "itemNotFound"),
    ):
        answer = await wire.post("/volumes", {"volume": {"size": 1, **wanted}})
        answer.fault(status, kind)
    assert await wire.database.value("select count(*) from volume") == 2


@pytest.mark.parametrize("word", ["imageRef", "image_id"])
async def test_volume_of_an_image_is_bootable_and_names_it(wire, word):
    """Its data get on it when a server boots from it."""
    image = await builders.an_image(wire.database, name="system")
    made = await wire.volume(1, **{word: image.uuid})
    assert made["bootable"] == "true"
    shown = (await wire.get(f"/volumes/{made['id']}")).json["volume"]
    assert shown["volume_image_metadata"] == {"image_id": image.uuid, "image_name": "system"}
    assert (shown["status"], shown["snapshot_id"]) == ("available", None)


async def test_quota_of_the_disk_and_of_the_number_hold(wire):
    """Volume's 413; of many at once as many succeed as there is room for."""
    await builders.a_holding(wire.database, wire.who.project_id, "cyclades.disk", 5 * 2**30)
    body = {"volume": {"size": 2}}
    asked = [ensureDeferred(wire.post("/volumes", body)) for _ in range(5)]
    answers = await gatherResults(asked)
    assert sorted(each.status for each in answers) == [202, 202, 413, 413, 413]
    refused = next(each for each in answers if each.status == 413)
    assert "gigabytes" in refused.fault(413, "overLimit")
    assert await wire.used_gib() == 4
    await wire.database.run(
        "insert into project_limit values (%s, 'volumes', 2)", (wire.who.project_id,)
    )
    message = (await wire.post("/volumes", {"volume": {"size": 1}})).fault(413, "overLimit")
    assert "volumes" in message
    assert await quotas.drift(wire.database) == []


async def test_volume_is_changed(wire):
    """Name, description and metadata, under either name of the fields."""
    volume = await wire.volume(name="old", description="old", metadata={"a": "b"})
    path = f"/volumes/{volume['id']}"
    changed = await wire.ask("PUT", path, {"volume": {"name": "new", "description": None}})
    assert changed.status == 200
    document = changed.json["volume"]
    assert (document["name"], document["description"]) == ("new", None)
    assert document["updated_at"] > volume["updated_at"]
    changed = await wire.ask(
        "PUT", path, {"volume": {"display_name": "newer", "metadata": {"c": "d"}}}
    )
    assert changed.json["volume"]["metadata"] == {"c": "d"}
    assert changed.json["volume"]["name"] == "newer"
    for body in ({}, {"volume": {}}, {"volume": {"size": 2}}, {"volume": {"name": "x" * 256}}):
        (await wire.ask("PUT", path, body)).fault(400, "badRequest")
    assert (await wire.get(path)).json["volume"]["name"] == "newer"


async def test_metadata_is_read_and_written(wire):
    """As a whole and item by item."""
    volume = await wire.volume()
    path = f"/volumes/{volume['id']}/metadata"
    assert (await wire.get(path)).json == {"metadata": {}}
    merged = await wire.post(path, {"metadata": {"a": "1", "Ω": "é"}})
    assert (merged.status, merged.json) == (200, {"metadata": {"a": "1", "Ω": "é"}})
    merged = await wire.post(path, {"metadata": {"a": "2"}})
    assert merged.json == {"metadata": {"a": "2", "Ω": "é"}}
    replaced = await wire.ask("PUT", path, {"metadata": {"b": "3"}})
    assert replaced.json == {"metadata": {"b": "3"}}
    assert (await wire.get(f"{path}/b")).json == {"meta": {"b": "3"}}
    assert (await wire.ask("PUT", f"{path}/c", {"meta": {"c": "4"}})).json == {"meta": {"c": "4"}}
    (await wire.ask("PUT", f"{path}/c", {"meta": {"d": "4"}})).fault(400, "badRequest")
    (await wire.get(f"{path}/x")).fault(404, "itemNotFound")
    gone = await wire.ask("DELETE", f"{path}/b")
    assert (gone.status, gone.body) == (200, b"")
    (await wire.ask("DELETE", f"{path}/b")).fault(404, "itemNotFound")
    many = {str(number): "x" for number in range(128)}
    (await wire.post(path, {"metadata": many})).fault(400, "badRequest")
    assert (await wire.get(path)).json == {"metadata": {"c": "4"}}


async def test_volume_that_a_server_has_tells_so_and_stays(wire):
    """Its attachment is shown; it cannot be deleted, offered or given another type."""
    volume = await wire.volume(name="data")
    server = await on_a_server(wire, volume)
    path = f"/volumes/{volume['id']}"
    shown = (await wire.get(path)).json["volume"]
    assert shown["status"] == "in-use"
    (attachment,) = shown["attachments"]
    assert (attachment["server_id"], attachment["device"]) == (server.uuid, "/dev/vdb")
    assert attachment["volume_id"] == attachment["id"] == volume["id"]
    message = (await wire.ask("DELETE", path)).fault(400, "badRequest")
    assert "is in-use" in message
    answer = await wire.act(volume, "os-retype", {"new_type": "fast"})
    answer.fault(400, "badRequest")
    offer = {"transfer": {"volume_id": volume["id"]}}
    (await wire.post("/os-volume-transfer", offer)).fault(400, "badRequest")
    (item,) = (await wire.get("/attachments")).json["attachments"]
    assert (item["instance"], item["status"]) == (server.uuid, "attached")
    (item,) = (await wire.get(f"/attachments/detail?volume_id={volume['id']}")).json["attachments"]
    assert (await wire.get(f"/attachments/{item['id']}")).json == {"attachment": item}
    assert (await wire.get("/attachments?instance_id=x")).json == {"attachments": []}


async def test_root_disks_of_servers_are_no_volumes(wire, admin):
    """Neither shown nor changed, even for administrators."""
    flavor = await builders.a_flavor(wire.database)
    server = await builders.a_server(wire.database, wire.who, flavor)
    uuid = await wire.database.value(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, local, status,"
        " server_id, position) select user_id, project_id, 1, 1, true, 'in_use', id, 0"
        " from server where id = %s returning uuid::text",
        (server.id,),
    )
    for who in (wire.who, admin):
        assert (await wire.get("/volumes/detail?all_tenants=1", who=who)).json == {"volumes": []}
        (await wire.get(f"/volumes/{uuid}", who=who)).fault(404, "itemNotFound")
        (await wire.ask("DELETE", f"/volumes/{uuid}", who=who)).fault(404, "itemNotFound")
        answer = await wire.act({"id": uuid}, "os-extend", {"new_size": 5}, who=who)
        answer.fault(404, "itemNotFound")


async def test_volumes_of_another_project_are_not_there(wire, stranger, admin):
    """Nothing is read, changed or deleted; an administrator sees all when he asks."""
    volume = await wire.volume(2, name="mine", metadata={"a": "b"})
    path = f"/volumes/{volume['id']}"
    for method, where, body in (
        ("GET", path, None),
        ("PUT", path, {"volume": {"name": "theirs"}}),
        ("DELETE", path, None),
        ("DELETE", f"{path}?force=True", None),
        ("GET", f"{path}/metadata", None),
        ("POST", f"{path}/metadata", {"metadata": {"x": "y"}}),
        ("PUT", f"{path}/metadata", {"metadata": {"x": "y"}}),
        ("GET", f"{path}/metadata/a", None),
        ("PUT", f"{path}/metadata/a", {"meta": {"a": "y"}}),
        ("DELETE", f"{path}/metadata/a", None),
        ("POST", f"{path}/action", {"os-extend": {"new_size": 5}}),
        ("POST", f"{path}/action", {"os-set_bootable": {"bootable": True}}),
        ("POST", f"{path}/action", {"os-retype": {"new_type": "fast"}}),
        ("POST", f"{path}/action", {"os-force_delete": None}),
        ("POST", f"{path}/action", {"os-attach": {}}),
        ("POST", "/os-volume-transfer", {"transfer": {"volume_id": volume["id"]}}),
        ("POST", "/snapshots", {"snapshot": {"volume_id": volume["id"]}}),
        ("POST", "/backups", {"backup": {"volume_id": volume["id"]}}),
        ("POST", "/attachments", {"attachment": {"volume_uuid": volume["id"]}}),
        ("GET", f"/attachments/{volume['id']}", None),
    ):
        (await wire.ask(method, where, body, who=stranger)).fault(404, "itemNotFound")
    for query in ("", "?all_tenants=1", f"?marker={volume['id']}"):
        answer = await wire.get(f"/volumes/detail{query}", who=stranger)
        if "marker" in query:
            answer.fault(404, "itemNotFound")
        else:
            assert answer.json == {"volumes": []}
    assert (await wire.get("/attachments/detail", who=stranger)).json == {"attachments": []}
    assert (await wire.get(path)).json["volume"] == {
        **volume, "os-vol-tenant-attr:tenant_id": wire.who.project_id,
    }  # fmt: skip
    assert (await wire.get("/volumes", who=admin)).json == {"volumes": []}
    everything = (await wire.get("/volumes/detail?all_tenants=1", who=admin)).json["volumes"]
    assert [each["name"] for each in everything] == ["mine"]
    assert (await wire.ask("DELETE", path, who=admin)).status == 202
    assert await wire.used_gib() == 0


async def test_reader_changes_nothing(wire, reader):
    """Looking is allowed."""
    volume = await wire.volume()
    path = f"/volumes/{volume['id']}"
    assert (await wire.get(path, who=reader)).status == 200
    for method, where, body in (
        ("POST", "/volumes", {"volume": {"size": 1}}),
        ("PUT", path, {"volume": {"name": "x"}}),
        ("DELETE", path, None),
        ("POST", f"{path}/metadata", {"metadata": {"x": "y"}}),
        ("POST", f"{path}/action", {"os-extend": {"new_size": 5}}),
        ("POST", "/os-volume-transfer", {"transfer": {"volume_id": volume["id"]}}),
    ):
        (await wire.ask(method, where, body, who=reader)).fault(403, "forbidden")


async def test_anything_can_stand_where_an_id_belongs(wire):
    """It is not found."""
    for ref in ("x", "%00", "%F0%9F%90%B7", "a" * 300, "1", "..", "%2F"):
        for noun in ("volumes", "types", "snapshots", "attachments", "os-volume-transfer"):
            (await wire.get(f"/{noun}/{ref}")).fault(404, "itemNotFound")
        (await wire.ask("DELETE", f"/volumes/{ref}")).fault(404, "itemNotFound")


async def test_bodies_that_cannot_be_read_are_400(wire):
    """And nothing is made."""
    for data in (
        b"", b"{", b"[]", b"null", b'{"volume": 1}', b'{"volume": {"size": 1, "name": "\\u0000"}}',
        b'{"volume": {"size": 1}}{}', b'{"a":' * 5000, b"\xff", b'{"volume": {"size": 1e400}}',
        b'{"volume": {"size": 1, "name": "\\ud800"}}',
    ):  # fmt: skip
        (await wire.ask("POST", "/volumes", data=data)).fault(400, "badRequest")
    kind = {"Content-Type": "application/xml"}
    answer = await wire.ask("POST", "/volumes", data=b"<volume/>", headers=kind)
    answer.fault(415, "badMediaType")
    assert await wire.database.value("select count(*) from volume") == 0


async def test_summary_adds_up(wire, stranger):
    """From 3.12; with metadata from 3.36."""
    await wire.volume(2, metadata={"a": "x"})
    await wire.volume(3, metadata={"a": "y", "b": "z"})
    await wire.volume(5, who=stranger)
    (await wire.get("/volumes/summary", version="3.11")).fault(404, "itemNotFound")
    old = (await wire.get("/volumes/summary", version="3.12")).json["volume-summary"]
    assert old == {"total_count": 2, "total_size": 5}
    new = (await wire.get("/volumes/summary")).json["volume-summary"]
    assert new["metadata"] == {"a": ["x", "y"], "b": ["z"]}


async def test_path_with_the_project_in_it_is_the_same(wire, stranger, admin):
    """Of one's own project; another one is refused but for administrators."""
    volume = await wire.volume()
    path = f"/{wire.who.project_id}/volumes/{volume['id']}"
    assert (await wire.get(path)).json == (await wire.get(f"/volumes/{volume['id']}")).json
    (await wire.get(path, who=stranger)).fault(400, "badRequest")
    assert (await wire.get(path, who=admin)).status == 200
    (await wire.get(f"/{'x' * 32}/volumes")).fault(404, "itemNotFound")
