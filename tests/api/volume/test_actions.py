"""Actions on a volume: done at once while it has no disk, by an operation where a server has it."""

from __future__ import annotations

from cyclades_tx.api.volume import refused
from cyclades_tx.store import quotas
from cyclades_tx.testing import builders
from tests.api.volume.test_volumes import on_a_server


async def shown(wire, volume):
    """A volume as it is now."""
    return (await wire.get(f"/volumes/{volume['id']}")).json["volume"]


async def test_volume_without_a_disk_grows_at_once(wire):
    """And is charged for it; a number may be text."""
    volume = await wire.volume(1)
    answer = await wire.act(volume, "os-extend", {"new_size": 3})
    assert (answer.status, answer.body) == (202, b"")
    assert (await wire.act(volume, "os-extend", {"new_size": "4"})).status == 202
    assert ((await shown(wire, volume))["size"], await wire.used_gib()) == (4, 4)
    assert await quotas.drift(wire.database) == []
    assert await wire.database.value("select count(*) from operation") == 0


async def test_a_size_that_is_not_larger_is_refused(wire):
    """Nothing shrinks."""
    volume = await wire.volume(2)
    for size in (0, 1, 2, -1, "x", 1.5, True, None, 10**30, 1_048_577, [3]):
        (await wire.act(volume, "os-extend", {"new_size": size})).fault(400, "badRequest")
    assert ((await shown(wire, volume))["size"], await wire.used_gib()) == (2, 2)


async def test_growing_beyond_the_quota_is_413(wire):
    """And nothing has changed."""
    volume = await wire.volume(2)
    await wire.database.run(
        "update holding set maximum = 3::bigint << 30 where resource = 'cyclades.disk'"
    )
    answer = await wire.act(volume, "os-extend", {"new_size": 4})
    assert "gigabytes" in answer.fault(413, "overLimit")
    assert await wire.used_gib() == 2
    assert (await wire.act(volume, "os-extend", {"new_size": 3})).status == 202


async def test_volume_of_a_server_grows_by_an_operation(wire):
    """From 3.42; what it will add is reserved until then."""
    volume = await wire.volume(1)
    server = await on_a_server(wire, volume)
    answer = await wire.act(volume, "os-extend", {"new_size": 3}, version="3.41")
    assert "must be available" in answer.fault(400, "badRequest")
    assert (await wire.act(volume, "os-extend", {"new_size": 3})).status == 202
    row = await wire.database.first("select kind, server_id, arguments from operation")
    assert (row.kind, row.server_id, row.arguments["size_gib"]) == ("extend_volume", server.id, 3)
    now = await shown(wire, volume)
    assert (now["status"], now["size"], await wire.used_gib()) == ("extending", 1, 1)
    reserved = await wire.database.value(
        "select reserved from holding where project_id = %s and resource = 'cyclades.disk'",
        (wire.who.project_id,),
    )
    assert reserved == 2 << 30
    answer = await wire.act(volume, "os-extend", {"new_size": 4})
    assert "is extending" in answer.fault(400, "badRequest")
    assert await quotas.drift(wire.database) == []


async def test_volume_that_is_kept_by_a_cluster_is_changed_by_an_operation(wire):
    """When it is known where its disk is; meanwhile nothing else can be done with it."""
    volume = await wire.volume(1)
    cluster = await builders.a_cluster(wire.database, "north")
    await wire.database.run("update volume set initialised = true, cluster_id = %s", (cluster.id,))
    assert (await shown(wire, volume))["availability_zone"] == "north"
    answer = await wire.act(volume, "os-extend", {"new_size": 3})
    assert "where it is is not known" in answer.fault(409, "conflictingRequest")
    for query in ("", "?force=True"):
        answer = await wire.ask("DELETE", f"/volumes/{volume['id']}{query}")
        answer.fault(409, "conflictingRequest")
    answer = await wire.act(volume, "os-retype", {"new_type": "fast"})
    answer.fault(400, "badRequest")
    await wire.database.run("update volume set ganeti_uuid = 'aa-bb', node = 'n1'")
    assert (await wire.act(volume, "os-extend", {"new_size": 3})).status == 202
    row = await wire.database.first("select kind, server_id, cluster_id, arguments from operation")
    assert (row.kind, row.server_id, row.cluster_id) == ("extend_volume", None, cluster.id)
    assert row.arguments == {"size_gib": 3}
    now = await shown(wire, volume)
    assert (now["status"], now["size"], await wire.used_gib()) == ("extending", 1, 1)
    assert await quotas.drift(wire.database) == []
    for query in ("", "?force=True"):
        answer = await wire.ask("DELETE", f"/volumes/{volume['id']}{query}")
        answer.fault(400, "badRequest")
    await wire.database.run("delete from operation")
    await wire.database.run("update holding set reserved = 0")
    await wire.database.run("update volume set status = 'available'")
    assert (await wire.ask("DELETE", f"/volumes/{volume['id']}")).status == 202
    assert (await shown(wire, volume))["status"] == "deleting"
    assert await wire.database.value("select kind from operation") == "delete"
    assert await wire.used_gib() == 1
    assert await quotas.drift(wire.database) == []


async def test_volume_whose_disk_was_taken_away_by_hand_can_be_deleted(wire):
    """Nobody is charged for it for ever."""
    volume = await wire.volume(1)
    await wire.database.run("update volume set initialised = true, status = 'error'")
    assert (await wire.ask("DELETE", f"/volumes/{volume['id']}")).status == 202
    assert await wire.used_gib() == 0


async def test_owner_gives_up_the_disk_of_a_volume_that_a_server_has(wire):
    """By force: an operation takes it off and removes it."""
    volume = await wire.volume(1)
    server = await on_a_server(wire, volume)
    assert (await wire.act(volume, "os-force_delete")).status == 202
    row = await wire.database.first("select kind, server_id from operation")
    assert (row.kind, row.server_id) == ("detach_volume", server.id)
    assert (await shown(wire, volume))["status"] == "deleting"
    assert await wire.used_gib() == 1


async def test_flags_are_set(wire):
    """Bootable by 200, the read-only flag where it is to be off."""
    volume = await wire.volume()
    answer = await wire.act(volume, "os-set_bootable", {"bootable": "True"})
    assert (answer.status, answer.body) == (200, b"")
    assert (await shown(wire, volume))["bootable"] == "true"
    assert (await wire.act(volume, "os-set_bootable", {"bootable": False})).status == 200
    assert (await shown(wire, volume))["bootable"] == "false"
    assert (await wire.act(volume, "os-update_readonly_flag", {"readonly": False})).status == 202
    answer = await wire.act(volume, "os-update_readonly_flag", {"readonly": True})
    answer.fault(501, "notImplemented")
    (await wire.act(volume, "os-set_bootable", {"bootable": "x"})).fault(400, "badRequest")


async def test_type_is_changed_before_the_first_disk(wire):
    """Then it is what it is."""
    volume = await wire.volume()
    wanted = {"new_type": "fast", "migration_policy": "never"}
    assert (await wire.act(volume, "os-retype", wanted)).status == 202
    assert (await shown(wire, volume))["volume_type"] == "fast"
    (await wire.act(volume, "os-retype", {"new_type": "x"})).fault(404, "itemNotFound")
    (await wire.act(volume, "os-retype", {"new_type": "none"})).fault(400, "badRequest")


async def test_administrator_resets_a_status(wire, admin):
    """To what fits to where the volume is."""
    volume = await wire.volume()
    (await wire.act(volume, "os-reset_status", {"status": "error"})).fault(403, "forbidden")
    answer = await wire.act(volume, "os-reset_status", {"status": "error"}, who=admin)
    assert answer.status == 202
    assert (await shown(wire, volume))["status"] == "error"
    for wrong in ("in-use", "deleted", "x", "creating", ""):
        answer = await wire.act(volume, "os-reset_status", {"status": wrong}, who=admin)
        answer.fault(400, "badRequest")
    answer = await wire.act(volume, "os-reset_status", {"attach_status": "detached"}, who=admin)
    answer.fault(400, "badRequest")
    answer = await wire.act(volume, "os-reset_status", {"status": "available"}, who=admin)
    assert answer.status == 202
    await on_a_server(wire, volume)
    answer = await wire.act(volume, "os-reset_status", {"status": "available"}, who=admin)
    answer.fault(400, "badRequest")


async def test_nothing_is_reset_or_deleted_while_an_operation_works_on_it(wire, admin):
    """It would be in its way."""
    volume = await wire.volume()
    server = await on_a_server(wire, volume)
    cluster = await wire.database.first("select id from cluster")
    await builders.an_operation(
        wire.database, server, builders.Row(cluster.id, ""), "attach_volume", state="pending"
    )
    answer = await wire.act(volume, "os-reset_status", {"status": "in-use"}, who=admin)
    assert "under way" in answer.fault(400, "badRequest")
    answer = await wire.act(volume, "os-force_delete")
    answer.fault(409, "conflictingRequest")


async def test_action_that_this_cloud_cannot_do_says_so(wire, admin):
    """501, after what else is wrong."""
    volume, nobody = await wire.volume(), {"id": "00000000-0000-4000-8000-000000000000"}
    for name, refusal in sorted(refused.ACTIONS.items()):
        who = admin if refusal.admin else wire.who
        said = (await wire.act(volume, name, {}, who=who)).fault(501, "notImplemented")
        assert said == refusal.sentence
        (await wire.act(nobody, name, {}, who=who)).fault(404, "itemNotFound")
        if refusal.admin:
            (await wire.act(volume, name, {})).fault(403, "forbidden")
        if refusal.first:
            answer = await wire.act(volume, name, {}, version=f"3.{refusal.first - 1}", who=who)
            answer.fault(400, "badRequest")


async def test_body_that_is_no_action_is_400(wire):
    """And nothing has changed."""
    volume = await wire.volume()
    for body in (
        {}, [], None, {"x": 1}, {"os-extend": None}, {"os-extend": {}}, {"os-extend": [3]},
        {"os-extend": {"new_size": 3, "more": 1}}, {"os-extend": {"new_size": 3}, "x": 1},
        {"os-set_bootable": {"bootable": None}}, {"os-retype": {}}, {"os-retype": "fast"},
    ):  # fmt: skip
        answer = await wire.post(f"/volumes/{volume['id']}/action", body)
        answer.fault(400, "badRequest")
    assert (await shown(wire, volume))["size"] == 1


async def test_what_there_is_none_of_is_empty_or_refused(wire):
    """Snapshots and backups; honest about why."""
    volume = await wire.volume()
    for noun in ("snapshots", "backups"):
        for path in (f"/{noun}", f"/{noun}/detail"):
            assert (await wire.get(path)).json == {noun: []}
        body = {noun[:-1]: {"volume_id": volume["id"], "name": "x"}}
        (await wire.post(f"/{noun}", body)).fault(501, "notImplemented")
        (await wire.post(f"/{noun}", {})).fault(400, "badRequest")
        for method in ("GET", "PUT", "DELETE"):
            answer = await wire.ask(method, f"/{noun}/{volume['id']}", {})
            answer.fault(404, "itemNotFound")
    body = {"attachment": {"volume_uuid": volume["id"]}}
    (await wire.post("/attachments", body)).fault(501, "notImplemented")
    (await wire.get("/attachments", version="3.26")).fault(404, "itemNotFound")
