"""Registering images, and who may make a server from which."""

from __future__ import annotations

from typing import Any

import pytest

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound
from cyclades_tx.flows.images import Images
from cyclades_tx.image_store.locations import Locations
from cyclades_tx.model.image import Change
from cyclades_tx.store.images import AWAITED
from cyclades_tx.testing import builders
from cyclades_tx.testing.network_builders import a_member


async def test_a_registered_image_is_active_at_once(database: Any) -> None:
    """With everything that was given."""
    row = await Images(database).register(
        None, name="debian", location="http://images.example/debian", disk_format="qcow2",
        properties={"os": "debian"}, tags=("b", "a", "b"), min_disk_gib=2, min_memory_mib=64,
    )  # fmt: skip
    assert (row.status, row.location, row.project_id) == (
        "active",
        "http://images.example/debian",
        None,
    )
    assert (row.properties, row.tags) == ({"os": "debian"}, ["a", "b"])
    assert (row.min_disk_gib, row.min_memory_mib, row.disk_format) == (2, 64, "qcow2")


@pytest.mark.parametrize(
    "wrong",
    [
        {"disk_format": "floppy"}, {"container_format": "box"}, {"visibility": "secret"},
        {"min_disk_gib": -1}, {"min_memory_mib": 2**31}, {"size_bytes": -1}, {"name": ""},
        {"name": "x" * 256}, {"location": ""}, {"location": "a\nb"}, {"properties": {"id": "x"}},
        {"properties": {"": "x"}}, {"properties": {"a": "\0"}}, {"tags": ("",)},
        {"properties": {str(n): "" for n in range(129)}},
    ],
)  # fmt: skip
async def test_a_wrong_image_is_a_bad_request(database: Any, wrong: dict[str, Any]) -> None:
    """And nothing is kept; neither is it when an image is changed so."""
    images = Images(database)
    with pytest.raises(BadRequest):
        await images.register(None, **{"name": "n", "location": "l", **wrong})
    assert await images.list() == []
    row = await images.register(None, name="n", location="l")
    with pytest.raises(BadRequest):
        await images.modify(row.uuid, **wrong)
    assert await images.show(None, row.uuid) == row


async def test_only_administrators_publish(database: Any) -> None:
    """A member's image is for its project."""
    images = Images(database)
    who = await a_member(database)
    with pytest.raises(Forbidden):
        await images.register(who, name="n", location="l")
    row = await images.register(who, name="n", location="l", visibility="private")
    assert row.project_id == who.project_id


async def test_who_may_make_a_server_from_which_image(database: Any) -> None:
    """Own, public, community, accepted shares; only active ones."""
    who, other = await a_member(database), await a_member(database)
    images = Images(database)
    rows = {}
    for name, owner, visibility in (
        ("public", None, "public"),
        ("own", who, "private"),
        ("community", other, "community"),
        ("private", other, "private"),
        ("unshared", other, "shared"),
        ("pending", other, "shared"),
        ("accepted", other, "shared"),
        ("off", None, "public"),
    ):
        rows[name] = await images.register(owner, name=name, location="l", visibility=visibility)
    for name in ("pending", "accepted"):
        await database.run(
            "insert into image_member (image_id, project_id, status) values (%s, %s, %s)",
            (rows[name].id, who.project_id, name),
        )
    await images.modify(rows["off"].uuid, status="deactivated")
    usable = set()
    for name, row in rows.items():
        try:
            found = await database.transaction(lambda tx, row=row: images.usable(tx, who, row.uuid))
            usable.add(found.name)
        except NotFound:
            assert name in ("private", "unshared", "pending", "off")
    assert usable == {"public", "own", "community", "accepted"}
    for ref in ("", "public", "\0", "1"):
        with pytest.raises(NotFound):
            await images.usable(database, who, ref)


async def test_the_operator_changes_and_removes(database: Any) -> None:
    """A protected image stays until it is not protected."""
    images = Images(database)
    row = await images.register(None, name="n", location="l", properties={"a": "1"}, protected=True)
    changed = await images.modify(row.uuid, name="m", properties={"b": "2"}, tags=("t",))
    assert (changed.name, changed.properties, changed.tags) == ("m", {"b": "2"}, ["t"])
    assert changed.updated_at > row.updated_at
    with pytest.raises(Forbidden):
        await images.delete(None, row.uuid)
    await images.modify(row.uuid, protected=False)
    await images.delete(None, row.uuid)
    with pytest.raises(NotFound):
        await images.show(None, row.uuid)
    assert await images.list() == []


@pytest.mark.parametrize("wrong", [{"id": 1}, {"status": "deleted"}, {"project_id": "x"}])
async def test_what_cannot_be_changed_is_told(database: Any, wrong: dict[str, Any]) -> None:
    """Before the image is looked for."""
    with pytest.raises(BadRequest):
        await Images(database).modify("x", **wrong)


async def test_an_image_may_lie_where_the_operator_allows_it(database: Any) -> None:
    """It is active at once; http is for imports, all else is refused, and nothing changes."""
    who = await a_member(database)
    allowed = Locations(("file:///srv/images", "https://images.example"))
    images = Images(database, allowed.check)
    formats = {"disk_format": "raw", "container_format": "bare"}

    async def locate(uuid: str, url: str, flow: Images = images) -> Any:
        await flow.update(who, uuid, [Change("add", "locations", url)])
        return await flow.show(None, uuid)

    uuid = await images.create(who, attributes=formats, properties={})
    before = await images.show(None, uuid)
    for url, error in (
        ("file:///etc/passwd", Forbidden),
        ("file:///srv/images/../../../etc/passwd", Forbidden),
        ("file:///srv/images-of-others/x", Forbidden),
        ("pithos://a/b/c", Forbidden),
        ("http://127.0.0.1/x", Forbidden),
        ("https://images.example/x", BadRequest),
        ("x", Forbidden),
        ("file:///srv/images/a b", BadRequest),
    ):
        with pytest.raises(error):
            await locate(uuid, url)
    with pytest.raises(Forbidden):
        await locate(uuid, "file:///srv/images/x", Images(database))
    assert await images.show(None, uuid) == before
    row = await locate(uuid, "file:///srv/images/x")
    assert (row.status, row.location) == ("active", "file:///srv/images/x")
    with pytest.raises(Conflict):
        await locate(uuid, "file:///srv/images/y")
    bare = await images.create(who, attributes={}, properties={})
    with pytest.raises(BadRequest):
        await locate(bare, "file:///srv/images/x")
    both = [
        Change("replace", "disk_format", "raw"),
        Change("replace", "container_format", "bare"),
        Change("add", "locations", "file:///srv/images/x"),
    ]
    await images.update(who, bare, both)
    assert (await images.show(who, bare)).status == "active"


async def test_an_image_that_an_open_operation_needs_is_awaited(database: Any) -> None:
    """Although it was deleted; no more when the operation has ended."""
    who = await builders.somebody(database)
    images = Images(database)
    row = await images.register(who, name="n", location="l", visibility="private")
    other = await images.register(who, name="o", location="l", visibility="private")
    flavor, cluster = await builders.a_flavor(database), await builders.a_cluster(database)
    server = await builders.a_server(
        database, who, flavor, image=builders.Row(row.id, row.uuid), cluster=cluster
    )
    operation = await builders.an_operation(database, server, cluster, "create", state="pending")
    await images.delete(who, row.uuid)

    async def awaited() -> list[int]:
        rows = await database.all(f"select image.id from image where {AWAITED} order by id")
        return [each.id for each in rows]

    assert await awaited() == [row.id]
    for state, arguments, expected in (
        ("pending", f'{{"image_id": {other.id}}}', [row.id, other.id]),
        ("pending", '{"image_id": "no number"}', [row.id]),
        ("succeeded", f'{{"image_id": {other.id}}}', []),
    ):
        await database.run(
            "update operation set state = %s, arguments = %s::jsonb, finished_at ="
            " case when %s = 'succeeded' then now() end where id = %s",
            (state, arguments, state, operation),
        )
        assert await awaited() == expected


async def test_the_operator_makes_an_image_active_only_with_a_location(database: Any) -> None:
    """And with formats; one that waits for its user's data is left alone."""
    images = Images(database)
    who = await a_member(database)
    uuid = await images.create(who, attributes={}, properties={})
    for changes in (
        {"status": "active"},
        {"status": "deactivated"},
        {"status": "active", "location": "x"},
        {"status": "active", "location": "x", "disk_format": "raw"},
    ):
        with pytest.raises(Conflict):
            await images.modify(uuid, **changes)
    formats = {"disk_format": "raw", "container_format": "bare"}
    row = await images.modify(uuid, status="active", location="x", **formats)
    assert (row.status, row.location, row.name) == ("active", "x", None)
    await database.run("update image set status = 'saving' where id = %s", (row.id,))
    with pytest.raises(Conflict):
        await images.modify(uuid, status="active", location="y")
