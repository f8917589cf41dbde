"""Flavors as administrators change them."""

from __future__ import annotations

import pytest

from cyclades_tx.api.compute import documents, flavor_changes
from cyclades_tx.testing import builders

UUID = "11111111-2222-4333-8444-555555555555"


def wanted(**others):
    flavor = {"name": "tiny", "ram": 512, "vcpus": 1, "disk": 5, **others}
    return {"flavor": {name: value for name, value in flavor.items() if value is not ...}}


@pytest.mark.parametrize("minor", [1, 54, 55, 60, 61, 74, 75, 96])
async def test_flavor_is_made_shown_and_deleted(wire, database, admin, fits, minor):
    """With exactly the members of its version; then nobody finds it."""
    await builders.a_flavor(database)
    options = {"who": admin, "version": f"2.{minor}"}
    body = wanted(swap=0, rxtx_factor=1.0, **{"OS-FLV-EXT-DATA:ephemeral": 0})
    made = await wire.post("/flavors", body, **options)
    assert made.status == 200
    flavor = made.json["flavor"]
    fits(flavor, documents.FLAVOR.schema(minor, True))
    assert (flavor["name"], flavor["ram"], flavor["disk"]) == ("tiny", 512, 5)
    path = f"/flavors/{flavor['id']}"
    assert (await wire.get(path, version=f"2.{minor}")).json == made.json
    gone = await wire.ask("DELETE", path, **options)
    assert (gone.status, gone.body) == (202, b"")
    (await wire.get(path)).fault(404, "itemNotFound")
    (await wire.ask("DELETE", path, **options)).fault(404, "itemNotFound")


async def test_id_is_chosen_or_given(wire, database, admin):
    """A UUID that nobody has; numbers, as old clouds have them, are refused with a sentence."""
    await builders.a_flavor(database)
    made = await wire.post("/flavors", wanted(id=UUID), who=admin)
    assert made.json["flavor"]["id"] == UUID
    again = await wire.post("/flavors", wanted(id=UUID, name="other"), who=admin)
    assert again.fault(409, "conflictingRequest") == f"Flavor with ID {UUID} already exists."
    again = await wire.post("/flavors", wanted(), who=admin)
    message = again.fault(409, "conflictingRequest")
    assert message == "Flavor with name tiny already exists."
    auto = await wire.post("/flavors", wanted(id="auto", name="auto"), who=admin)
    assert auto.status == 200
    (await wire.post("/flavors", wanted(id="42", name="n"), who=admin)).fault(400, "badRequest")


@pytest.mark.parametrize(
    "others",
    [{"name": ""}, {"name": "x" * 256}, {"name": ...}, {"ram": 0}, {"ram": "x"}, {"ram": -1},
     {"ram": 2**40}, {"vcpus": 0}, {"vcpus": 10**6}, {"disk": -1}, {"disk": 2**40}, {"swap": 1},
     {"OS-FLV-EXT-DATA:ephemeral": 1}, {"rxtx_factor": 2}, {"pig": 1}, {"id": "x"},
     {"os-flavor-access:is_public": "maybe"}, {"vcpus": True}, {"disk": 1.5},
     {"name": "a\x00b"}, {"description": "x" * 65536}],
)  # fmt: skip
async def test_flavor_that_makes_no_sense_is_400(wire, database, admin, others):
    """And none is made."""
    await builders.a_flavor(database)
    answer = await wire.post("/flavors", wanted(**others), who=admin, version="2.96")
    answer.fault(400, "badRequest")
    assert await database.value("select count(*) from flavor") == 1


async def test_without_volume_type_there_is_no_flavor(wire, admin):
    """An operator makes one first."""
    answer = await wire.post("/flavors", wanted(), who=admin)
    assert "volume type" in answer.fault(409, "conflictingRequest")


async def test_description_is_set_from_2_55(wire, database, admin):
    """And taken away with null."""
    flavor = await builders.a_flavor(database)
    path = f"/flavors/{flavor.uuid}"
    body = {"flavor": {"description": "small"}}
    (await wire.ask("PUT", path, body=body, who=admin, version="2.54")).fault(404, "itemNotFound")
    changed = await wire.ask("PUT", path, body=body, who=admin, version="2.55")
    assert changed.json["flavor"]["description"] == "small"
    body = {"flavor": {"description": None}}
    changed = await wire.ask("PUT", path, body=body, who=admin, version="2.55")
    assert changed.json["flavor"]["description"] is None
    refused = await wire.post("/flavors", wanted(description="x"), who=admin, version="2.54")
    refused.fault(400, "badRequest")
    for bad in ({}, {"flavor": {}}, {"flavor": {"description": 1}}, {"flavor": {"name": "x"}}):
        answer = await wire.ask("PUT", path, body=bad, who=admin, version="2.55")
        answer.fault(400, "badRequest")


async def test_extra_specs_are_added_changed_and_deleted(wire, database, admin):
    """Numbers become text."""
    flavor = await builders.a_flavor(database, specs={"a": "1"})
    path = f"/flavors/{flavor.uuid}/os-extra_specs"
    body = {"extra_specs": {"a": "2", "hw:x_y": 3}}
    added = await wire.post(path, body, who=admin)
    assert added.json == {"extra_specs": {"a": "2", "hw:x_y": "3"}}
    changed = await wire.ask("PUT", path + "/a", body={"a": "4"}, who=admin)
    assert changed.json == {"a": "4"}
    assert (await wire.get(path)).json == {"extra_specs": {"a": "4", "hw:x_y": "3"}}
    gone = await wire.ask("DELETE", path + "/a", who=admin)
    assert (gone.status, gone.body) == (200, b"")
    (await wire.ask("DELETE", path + "/a", who=admin)).fault(404, "itemNotFound")


@pytest.mark.parametrize(
    "specs",
    [{"": "x"}, {"a/b": "x"}, {"a": "x" * 256}, {"a": None}, {"a": []}, {"a" * 256: "x"}, []],
)
async def test_extra_spec_that_makes_no_sense_is_400(wire, database, admin, specs):
    """Nothing is kept of them."""
    flavor = await builders.a_flavor(database)
    path = f"/flavors/{flavor.uuid}/os-extra_specs"
    (await wire.post(path, {"extra_specs": specs}, who=admin)).fault(400, "badRequest")
    for body in ({"b": "x"}, {"a": "x", "b": "y"}, {}):
        (await wire.ask("PUT", path + "/a", body=body, who=admin)).fault(400, "badRequest")
    assert await database.value("select count(*) from flavor_spec") == 0


async def test_private_flavor_is_given_and_taken(wire, database, admin, fits):
    """To a project, which sees it then; twice is a conflict, taking twice not found."""
    flavor = await builders.a_flavor(database, public=False)
    path, mine = f"/flavors/{flavor.uuid}", wire.who.project_id
    (await wire.get(path)).fault(404, "itemNotFound")
    give, take = {"addTenantAccess": {"tenant": mine}}, {"removeTenantAccess": {"tenant": mine}}
    given = await wire.post(path + "/action", give, who=admin)
    fits(given.json, flavor_changes.ACCESS)
    access = [{"flavor_id": flavor.uuid, "tenant_id": mine}]
    assert given.json == {"flavor_access": access}
    assert (await wire.get(path)).status == 200
    listed = await wire.get(path + "/os-flavor-access", who=admin)
    assert listed.json == {"flavor_access": access}
    (await wire.post(path + "/action", give, who=admin)).fault(409, "conflictingRequest")
    assert (await wire.post(path + "/action", take, who=admin)).json == {"flavor_access": []}
    (await wire.post(path + "/action", take, who=admin)).fault(404, "itemNotFound")


async def test_public_flavor_has_no_list(wire, database, admin):
    """It is everyone's."""
    flavor = await builders.a_flavor(database)
    path = f"/flavors/{flavor.uuid}"
    (await wire.get(path + "/os-flavor-access", who=admin)).fault(404, "itemNotFound")
    give = {"addTenantAccess": {"tenant": wire.who.project_id}}
    (await wire.post(path + "/action", give, who=admin)).fault(409, "conflictingRequest")


@pytest.mark.parametrize(
    "body",
    [{}, {"x": {}}, {"addTenantAccess": None}, {"addTenantAccess": {}},
     {"addTenantAccess": {"tenant": 1}}, {"addTenantAccess": {"tenant": "nobody"}},
     {"addTenantAccess": {"tenant": "a"}, "removeTenantAccess": {"tenant": "a"}}],
)  # fmt: skip
async def test_access_that_makes_no_sense_is_400(wire, database, admin, body):
    """Nobody gets anything."""
    flavor = await builders.a_flavor(database, public=False)
    (await wire.post(f"/flavors/{flavor.uuid}/action", body, who=admin)).fault(400, "badRequest")
    assert await database.value("select count(*) from flavor_access") == 0


async def test_only_administrators_change_flavors(wire, database):
    """Every way of changing one is 403, and nothing changes."""
    flavor = await builders.a_flavor(database, specs={"a": "1"})
    path = f"/flavors/{flavor.uuid}"
    for method, where, body in (
        ("POST", "/flavors", wanted()),
        ("PUT", path, {"flavor": {"description": "x"}}),
        ("DELETE", path, None),
        ("POST", path + "/action", {"addTenantAccess": {"tenant": wire.who.project_id}}),
        ("GET", path + "/os-flavor-access", None),
        ("POST", path + "/os-extra_specs", {"extra_specs": {"b": "1"}}),
        ("PUT", path + "/os-extra_specs/a", {"a": "2"}),
        ("DELETE", path + "/os-extra_specs/a", None),
    ):
        answer = await wire.ask(method, where, body=body, version="2.96")
        answer.fault(403, "forbidden")
    assert await database.value("select count(*) from flavor where deleted_at is null") == 1
    assert (await wire.get(path + "/os-extra_specs")).json == {"extra_specs": {"a": "1"}}
