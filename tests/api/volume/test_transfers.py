"""Transfers: offered, taken with the key, withdrawn; charged to whoever has the volume."""

from __future__ import annotations

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults

from cyclades_tx.model.who import READER
from cyclades_tx.store import quotas
from cyclades_tx.testing import builders

PATHS = ["/os-volume-transfer", "/volume-transfers"]


async def offered(wire, volume, path=PATHS[0], **options):
    """Offer a volume; its document with the key."""
    body = {"transfer": {"volume_id": volume["id"], "name": "gift"}}
    answer = await wire.post(path, body, **options)
    assert answer.status == 202, answer.body
    return answer.json["transfer"]


@pytest.mark.parametrize(("path", "minor"), [(PATHS[0], 55), (PATHS[1], 56), (PATHS[1], 71)])
async def test_volume_changes_hands(wire, stranger, path, minor):
    """The other project has it then, and is charged."""
    version = f"3.{minor}"
    volume = await wire.volume(2, name="v")
    made = await offered(wire, volume, path, version=version)
    key = made.pop("auth_key")
    assert len(key) == 32
    assert (await wire.get(f"{path}/{made['id']}", version=version)).json == {"transfer": made}
    assert (await wire.get(f"{path}/detail", version=version)).json == {"transfers": [made]}
    (item,) = (await wire.get(path, version=version)).json["transfers"]
    assert (item["id"], item["volume_id"]) == (made["id"], volume["id"])
    status = (await wire.get(f"/volumes/{volume['id']}")).json["volume"]["status"]
    assert status == "awaiting-transfer"
    (await wire.ask("DELETE", f"/volumes/{volume['id']}")).fault(400, "badRequest")
    accept = {"accept": {"auth_key": key}}
    taken = await wire.post(f"{path}/{made['id']}/accept", accept, version=version, who=stranger)
    assert (taken.status, taken.json["transfer"]["volume_id"]) == (202, volume["id"])
    (await wire.get(f"/volumes/{volume['id']}")).fault(404, "itemNotFound")
    theirs = (await wire.get(f"/volumes/{volume['id']}", who=stranger)).json["volume"]
    assert (theirs["status"], theirs["user_id"]) == ("available", stranger.user_id)
    assert (await wire.used_gib(), await wire.used_gib(stranger)) == (0, 2)
    assert await quotas.drift(wire.database) == []
    again = await wire.post(f"{path}/{made['id']}/accept", accept, version=version)
    again.fault(404, "itemNotFound")
    events = await wire.database.all(
        "select kind, project_id from event where kind <> 'volume.changed' order by id"
    )
    assert [(row.kind, row.project_id) for row in events] == [
        ("volume.created", wire.who.project_id),
        ("volume.deleted", wire.who.project_id),
        ("volume.created", stranger.project_id),
    ]


async def test_key_is_kept_nowhere(wire):
    """Only its hash is."""
    made = await offered(wire, await wire.volume())
    for table in ("volume_transfer", "event", "idempotency_key"):
        rows = await wire.database.all(f"select t::text as text from {table} t")
        assert all(made["auth_key"] not in row.text for row in rows), table
    assert "auth_key" not in (await wire.get(f"{PATHS[0]}/{made['id']}")).json["transfer"]


async def test_wrong_key_takes_nothing(wire, stranger):
    """However it looks."""
    volume = await wire.volume()
    made = await offered(wire, volume)
    path = f"{PATHS[0]}/{made['id']}/accept"
    for key in ("", "x", "0" * 32, "é" * 1000, "\ud7ff", made["auth_key"].upper() + "x"):
        answer = await wire.post(path, {"accept": {"auth_key": key}}, who=stranger)
        answer.fault(400, "badRequest")
    assert (await wire.get(f"/volumes/{volume['id']}")).status == 200
    assert await wire.used_gib(stranger) == 0


async def test_transfers_of_another_project_are_not_there(wire, stranger, admin):
    """Whoever has no key learns nothing of them."""
    made = await offered(wire, await wire.volume())
    path = f"{PATHS[0]}/{made['id']}"
    (await wire.get(path, who=stranger)).fault(404, "itemNotFound")
    (await wire.ask("DELETE", path, who=stranger)).fault(404, "itemNotFound")
    for query in ("", "?all_tenants=1"):
        for listed in (PATHS[0], f"{PATHS[0]}/detail"):
            answer = await wire.get(listed + query, who=stranger)
            assert answer.json == {"transfers": []}
    (item,) = (await wire.get(f"{PATHS[0]}?all_tenants=1", who=admin)).json["transfers"]
    assert item["id"] == made["id"]


async def test_offer_is_withdrawn(wire):
    """The volume is available again."""
    volume = await wire.volume()
    made = await offered(wire, volume)
    (await wire.post(PATHS[0], {"transfer": {"volume_id": volume["id"]}})).fault(400, "badRequest")
    gone = await wire.ask("DELETE", f"{PATHS[0]}/{made['id']}")
    assert (gone.status, gone.body) == (202, b"")
    assert (await wire.get(f"/volumes/{volume['id']}")).json["volume"]["status"] == "available"
    (await wire.get(f"{PATHS[0]}/{made['id']}")).fault(404, "itemNotFound")
    (await wire.ask("DELETE", f"{PATHS[0]}/{made['id']}")).fault(404, "itemNotFound")


async def test_taking_needs_room(wire, stranger):
    """In the quota of the one who takes; nothing has changed else."""
    volume = await wire.volume(3)
    made = await offered(wire, volume)
    await builders.a_holding(wire.database, stranger.project_id, "cyclades.disk", 2 << 30)
    accept = {"accept": {"auth_key": made["auth_key"]}}
    path = f"{PATHS[0]}/{made['id']}/accept"
    (await wire.post(path, accept, who=stranger)).fault(413, "overLimit")
    assert (await wire.used_gib(), await wire.used_gib(stranger)) == (3, 0)
    assert (await wire.get(f"/volumes/{volume['id']}")).status == 200
    weak = await builders.somebody(wire.database, READER, project_id=stranger.project_id)
    (await wire.post(path, accept, who=weak)).fault(403, "forbidden")


async def test_one_of_many_takes_it(wire):
    """The others find nothing."""
    made = await offered(wire, await wire.volume(2))
    takers = [await builders.somebody(wire.database) for _ in range(4)]
    accept = {"accept": {"auth_key": made["auth_key"]}}
    path = f"{PATHS[0]}/{made['id']}/accept"
    asked = [ensureDeferred(wire.post(path, accept, who=who)) for who in takers]
    answers = await gatherResults(asked)
    assert sorted(each.status for each in answers) == [202, 404, 404, 404]
    assert sorted([await wire.used_gib(who) for who in takers]) == [0, 0, 0, 2]
    assert await quotas.drift(wire.database) == []


async def test_two_projects_take_from_each_other_at_once(wire, stranger):
    """Neither waits for the other for ever."""
    pairs = []
    for _ in range(3):
        mine = await offered(wire, await wire.volume())
        theirs = await offered(wire, await wire.volume(who=stranger), who=stranger)
        pairs += [(mine, stranger), (theirs, wire.who)]
    asked = [
        ensureDeferred(
            wire.post(
                f"{PATHS[0]}/{made['id']}/accept",
                {"accept": {"auth_key": made["auth_key"]}},
                who=who,
            )
        )
        for made, who in pairs
    ]
    answers = await gatherResults(asked)
    assert [each.status for each in answers] == [202] * 6
    assert (await wire.used_gib(), await wire.used_gib(stranger)) == (3, 3)
    assert await quotas.drift(wire.database) == []


async def test_new_path_begins_with_3_55(wire):
    """Before it there is only the old one."""
    (await wire.get("/volume-transfers", version="3.54")).fault(404, "itemNotFound")
    assert (await wire.get("/os-volume-transfer", version="3.0")).json == {"transfers": []}


async def test_offer_that_makes_no_sense_is_refused(wire):
    """And none is made."""
    for wanted in (
        {}, {"volume_id": None}, {"volume_id": "x" * 10, "more": 1}, {"volume_id": 1},
        {"volume_id": "x", "name": "x" * 256},
    ):  # fmt: skip
        (await wire.post(PATHS[0], {"transfer": wanted})).fault(400, "badRequest")
    (await wire.post(PATHS[0], {"transfer": {"volume_id": "x"}})).fault(404, "itemNotFound")
