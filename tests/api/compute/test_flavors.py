"""Flavors: shapes, who sees them, filters and pages."""

from __future__ import annotations

import pytest

from cyclades_tx.api.compute import documents
from cyclades_tx.testing import builders

BOUNDARIES = [1, 54, 55, 60, 61, 74, 75, 96]


@pytest.mark.parametrize("minor", BOUNDARIES)
async def test_flavor_has_exactly_the_members_of_its_version(wire, database, fits, minor):
    """Shown, in the detailed list and in the short one."""
    flavor = await builders.a_flavor(
        database, "tiny", vcpus=2, memory_mib=1024, disk_gib=5, specs={"a:b": "c"}
    )
    version = f"2.{minor}"
    shown = (await wire.get(f"/flavors/{flavor.uuid}", version=version)).json["flavor"]
    fits(shown, documents.FLAVOR.schema(minor))
    details = (await wire.get("/flavors/detail", version=version)).json
    assert details == {"flavors": [shown]}
    items = (await wire.get("/flavors", version=version)).json["flavors"]
    fits(items[0], documents.FLAVOR_ITEM.schema(minor))
    assert shown["name"] == "tiny"
    assert (shown["vcpus"], shown["ram"], shown["disk"]) == (2, 1024, 5)
    assert shown["swap"] == ("" if minor < 75 else 0)
    assert shown.get("extra_specs") == ({"a:b": "c"} if minor >= 61 else None)
    assert ("description" in shown) == (minor >= 55)


async def test_private_flavor_is_seen_by_its_projects_only(wire, database, stranger, admin):
    """And by administrators."""
    mine = await builders.a_flavor(database, public=False, access=(wire.who.project_id,))
    path = f"/flavors/{mine.uuid}"
    assert (await wire.get(path)).status == 200
    assert (await wire.get(path, who=admin)).status == 200
    (await wire.get(path, who=stranger)).fault(404, "itemNotFound")
    (await wire.get(path + "/os-extra_specs", who=stranger)).fault(404, "itemNotFound")
    listed = (await wire.get("/flavors", who=stranger)).json
    assert listed == {"flavors": []}


async def test_administrator_chooses_which_flavors_are_listed(wire, database, admin):
    """``is_public`` true, false and none; others cannot choose."""
    public = await builders.a_flavor(database)
    private = await builders.a_flavor(database, public=False)

    async def listed(value, **options):
        flavors = (await wire.get(f"/flavors?is_public={value}", **options)).json["flavors"]
        return {flavor["id"] for flavor in flavors}

    assert await listed("True", who=admin) == {public.uuid}
    assert await listed("False", who=admin) == {private.uuid}
    assert await listed("None", who=admin) == {public.uuid, private.uuid}
    assert await listed("None") == {public.uuid}
    (await wire.get("/flavors?is_public=maybe", who=admin)).fault(400, "badRequest")


@pytest.mark.parametrize("ref", ["tiny", "%C3%A4", "0", "Availability%20Zone", "%00", "a" * 300])
async def test_anything_else_than_an_id_is_not_found(wire, ref):
    """Clients try a name where an id belongs."""
    (await wire.get(f"/flavors/{ref}")).fault(404, "itemNotFound")


async def test_pages_follow_each_other_to_the_end(wire, database):
    """Each link leads to the next page and keeps the other parameters."""
    made = [await builders.a_flavor(database, memory_mib=100 * n) for n in range(1, 6)]
    path = "/flavors?limit=2&sort_key=memory_mb&sort_dir=desc&minRam=150"
    seen: list[str] = []
    pages = 0
    while path:
        document = (await wire.get(path)).json
        seen += [flavor["id"] for flavor in document["flavors"]]
        pages += 1
        links = document.get("flavors_links")
        if links is None:
            break
        prefix = "https://cloud.example.org/compute/v2.1"
        assert links[0]["rel"] == "next"
        path = links[0]["href"].removeprefix(prefix)
    assert seen == [flavor.uuid for flavor in reversed(made[1:])]
    assert pages == 2


@pytest.mark.parametrize(
    "query",
    ["limit=-1", "limit=x", "limit=%C2%B2", "minRam=a", "minDisk=1.5", "sort_key=x", "sort_dir=up",
     "marker=nobody", "marker=00000000-0000-4000-8000-000000000000"],
)  # fmt: skip
async def test_parameter_that_makes_no_sense_is_400(wire, query):
    """With a sentence."""
    assert (await wire.get(f"/flavors?{query}")).fault(400, "badRequest")


async def test_unknown_parameters_are_ignored(wire, database):
    """Clients of other releases send more than we know."""
    await builders.a_flavor(database)
    assert len((await wire.get("/flavors?usage=False&x=%FF")).json["flavors"]) == 1


async def test_extra_specs_of_a_flavor_are_a_map_also_when_there_are_none(wire, database):
    """``flavor show`` fails without it."""
    plain = await builders.a_flavor(database)
    special = await builders.a_flavor(database, specs={"k": "v"})
    base = "/flavors/{}/os-extra_specs"
    assert (await wire.get(base.format(plain.uuid))).json == {"extra_specs": {}}
    assert (await wire.get(base.format(special.uuid))).json == {"extra_specs": {"k": "v"}}
    assert (await wire.get(base.format(special.uuid) + "/k")).json == {"k": "v"}
    (await wire.get(base.format(special.uuid) + "/x")).fault(404, "itemNotFound")
