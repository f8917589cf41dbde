"""Volume types: read by everyone, changed by administrators."""

from __future__ import annotations

TEMPLATE = "SNF:disk_template"


async def a_type(wire, admin, name="new", **more):
    """Make a type; its document."""
    answer = await wire.post("/types", {"volume_type": {"name": name, **more}}, who=admin)
    assert answer.status == 200, answer.body
    return answer.json["volume_type"]


async def test_types_are_read_by_everyone(wire, admin):
    """Listed, shown, one of them the default; hidden specs are the administrators'."""
    await wire.database.run("insert into volume_type_spec values (2, 'GNT-EXTP:x', 'y')")
    types = (await wire.get("/types?is_public=None")).json["volume_types"]
    assert [each["name"] for each in types] == ["plain", "fast", "none"]
    assert types[1]["extra_specs"] == {TEMPLATE: "ext_vlmc"}
    path = f"/types/{types[1]['id']}"
    assert (await wire.get(path)).json == {"volume_type": types[1]}
    assert "qos_specs_id" not in types[1]
    seen = (await wire.get(path, who=admin)).json["volume_type"]
    assert seen["extra_specs"] == {TEMPLATE: "ext_vlmc", "GNT-EXTP:x": "y"}
    assert (await wire.get("/types/default")).json["volume_type"]["name"] == "plain"
    assert (await wire.get(f"{path}/extra_specs")).json == {"extra_specs": {TEMPLATE: "ext_vlmc"}}
    assert (await wire.get(f"{path}/extra_specs/{TEMPLATE}")).json == {TEMPLATE: "ext_vlmc"}
    (await wire.get(f"{path}/extra_specs/GNT-EXTP:x")).fault(404, "itemNotFound")
    shown = await wire.get(f"{path}/extra_specs/GNT-EXTP:x", who=admin)
    assert shown.json == {"GNT-EXTP:x": "y"}
    await wire.database.run("update volume_type set deleted_at = now()")
    (await wire.get("/types/default")).fault(404, "itemNotFound")
    assert (await wire.get("/types")).json == {"volume_types": []}


async def test_list_of_types_goes_on_after_a_marker(wire, admin):
    """By pages; private ones are the administrators'."""
    await wire.database.run("update volume_type set public = false where name = 'fast'")
    types = (await wire.get("/types?is_public=none", who=admin)).json["volume_types"]
    assert [each["name"] for each in types] == ["plain", "fast", "none"]
    after = await wire.get(f"/types?marker={types[0]['id']}&limit=1", who=admin)
    assert after.json["volume_types"] == types[1:2]
    private = (await wire.get("/types?is_public=False", who=admin)).json["volume_types"]
    assert [each["name"] for each in private] == ["fast"]
    seen = (await wire.get("/types?is_public=False")).json["volume_types"]
    assert [each["name"] for each in seen] == ["plain", "none"]
    (await wire.get(f"/types/{types[1]['id']}")).fault(404, "itemNotFound")
    body = {"volume": {"size": 1, "volume_type": "fast"}}
    (await wire.post("/volumes", body)).fault(404, "itemNotFound")
    (await wire.get("/types?marker=x")).fault(404, "itemNotFound")
    (await wire.get("/types?is_public=x")).fault(400, "badRequest")


async def test_administrator_makes_and_changes_a_type(wire, admin):
    """Its template is named by a spec, and stays once something is of it."""
    made = await a_type(wire, admin, description="d", extra_specs={TEMPLATE: "drbd", "a": "b"})
    assert (made["extra_specs"], made["description"]) == ({TEMPLATE: "drbd", "a": "b"}, "d")
    path = f"/types/{made['id']}"
    body = {"volume_type": {"name": "newer", "description": "e", "is_public": True}}
    changed = await wire.ask("PUT", path, body, who=admin)
    assert changed.json["volume_type"]["name"] == "newer"
    specs = {"extra_specs": {TEMPLATE: "ext_vlmc", "c": "d"}}
    assert (await wire.post(f"{path}/extra_specs", specs, who=admin)).json == specs
    assert (await wire.ask("PUT", f"{path}/extra_specs/c", {"c": "e"}, who=admin)).json == {
        "c": "e"
    }
    assert (await wire.ask("DELETE", f"{path}/extra_specs/a", who=admin)).status == 202
    (await wire.ask("DELETE", f"{path}/extra_specs/a", who=admin)).fault(404, "itemNotFound")
    (await wire.ask("DELETE", f"{path}/extra_specs/{TEMPLATE}", who=admin)).fault(400, "badRequest")
    shown = (await wire.get(path, who=admin)).json["volume_type"]["extra_specs"]
    assert shown == {TEMPLATE: "ext_vlmc", "c": "e"}
    volume = await wire.volume(volume_type="newer")
    specs = {"extra_specs": {TEMPLATE: "plain"}}
    (await wire.post(f"{path}/extra_specs", specs, who=admin)).fault(400, "badRequest")
    (await wire.ask("DELETE", path, who=admin)).fault(400, "badRequest")
    await wire.ask("DELETE", f"/volumes/{volume['id']}")
    assert (await wire.ask("DELETE", path, who=admin)).status == 202
    (await wire.get(path, who=admin)).fault(404, "itemNotFound")


async def test_type_without_a_template_takes_that_of_the_first(wire, admin):
    """As clients make them: the specs come afterwards."""
    made = await a_type(wire, admin)
    assert made["extra_specs"] == {TEMPLATE: "plain"}


async def test_type_that_makes_no_sense_is_not_made(wire, admin):
    """Whatever is wrong with it."""
    for wanted, status in (
        ({"name": ""}, 400),
        ({"name": "x" * 256}, 400),
        ({"name": "x", "os-volume-type-access:is_public": False}, 400),
        ({"name": "x", "extra_specs": {TEMPLATE: "zfs"}}, 400),
        ({"name": "x", "extra_specs": {"": "x"}}, 400),
        ({"name": "x", "extra_specs": {"x": "x" * 256}}, 400),
        ({"name": "x", "nonsense": 1}, 400),
        ({"name": "plain"}, 409),
    ):
        answer = await wire.post("/types", {"volume_type": wanted}, who=admin)
        answer.fault(status, "badRequest" if status == 400 else "conflictingRequest")
    assert await wire.database.value("select count(*) from volume_type") == 3


async def test_members_change_no_types(wire):
    """Every way of it is 403."""
    (kind, *_) = (await wire.get("/types")).json["volume_types"]
    path = f"/types/{kind['id']}"
    for method, where, body in (
        ("POST", "/types", {"volume_type": {"name": "x"}}),
        ("PUT", path, {"volume_type": {"name": "x"}}),
        ("DELETE", path, None),
        ("POST", f"{path}/extra_specs", {"extra_specs": {"a": "b"}}),
        ("PUT", f"{path}/extra_specs/a", {"a": "b"}),
        ("DELETE", f"{path}/extra_specs/a", None),
        ("GET", f"{path}/os-volume-type-access", None),
        ("POST", f"{path}/action", {"addProjectAccess": {"project": "x"}}),
    ):
        (await wire.ask(method, where, body)).fault(403, "forbidden")


async def test_types_are_public(wire, admin):
    """Nobody is given one, or loses it."""
    (kind, *_) = (await wire.get("/types")).json["volume_types"]
    path = f"/types/{kind['id']}"
    (await wire.get(f"{path}/os-volume-type-access", who=admin)).fault(404, "itemNotFound")
    for name in ("addProjectAccess", "removeProjectAccess"):
        body = {name: {"project": wire.who.project_id}}
        (await wire.post(f"{path}/action", body, who=admin)).fault(409, "conflictingRequest")
    (await wire.post(f"{path}/action", {}, who=admin)).fault(400, "badRequest")
    body = {"volume_type": {"is_public": False}}
    (await wire.ask("PUT", path, body, who=admin)).fault(400, "badRequest")
