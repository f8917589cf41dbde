"""Sharing an image with projects, over the real wire."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.image.documents import MEMBER
from cyclades_tx.model.image import MOST_MEMBERS
from cyclades_tx.testing.network_builders import a_member
from cyclades_tx.testing.shapes import misfits
from tests.api.image.writing import Writer, images_of, operation


async def names(writer: Writer, query: str = "") -> list[str]:
    """The names in somebody's list."""
    answer = await writer.ask("GET", f"images?{query}")
    return sorted(each["name"] for each in answer.json["images"])


async def test_an_image_is_shared_accepted_and_taken_back(image: Any, database: Any) -> None:
    """It is in the other project's list when that has accepted it, and only then."""
    owner, other = [Writer(image, await a_member(database)) for _ in range(2)]
    uuid = (await owner.make(name="shared"))["id"]
    members, member = f"images/{uuid}/members", f"images/{uuid}/members/{other.who.project_id}"
    assert (await other.ask("GET", f"images/{uuid}")).status == 404
    answer = await owner.ask("POST", members, {"member": other.who.project_id})
    assert answer.status == 200
    assert misfits(answer.json, MEMBER.schema()) == []
    assert (answer.json["member_id"], answer.json["status"]) == (other.who.project_id, "pending")
    assert (await other.show(uuid))["id"] == uuid
    assert await names(other) == []
    assert await names(other, "visibility=shared&member_status=pending") == ["shared"]
    for status, seen in (("accepted", ["shared"]), ("rejected", []), ("accepted", ["shared"])):
        answer = await other.ask("PUT", member, {"status": status})
        assert (answer.status, answer.json["status"]) == (200, status)
        assert await names(other) == seen
    listed = (await owner.ask("GET", members)).json["members"]
    assert [each["member_id"] for each in listed] == [other.who.project_id]
    # What is private is for nobody else, whomever it was shared with.
    await owner.patch(uuid, operation("replace", "/visibility", "private"))
    assert (await other.ask("GET", f"images/{uuid}")).status == 404
    await owner.patch(uuid, operation("replace", "/visibility", "shared"))
    assert (await owner.ask("DELETE", member)).status == 204
    assert (await owner.ask("DELETE", member)).status == 404
    assert (await other.ask("GET", f"images/{uuid}")).status == 404


async def test_only_the_project_itself_answers(image: Any, database: Any) -> None:
    """Not the owner, not another member; an administrator may."""
    owner, other, third = [Writer(image, await a_member(database)) for _ in range(3)]
    admin = Writer(image, await a_member(database, "admin"))
    uuid = (await owner.make())["id"]
    member = f"images/{uuid}/members/{other.who.project_id}"
    for each in (other, third):
        await owner.ask("POST", f"images/{uuid}/members", {"member": each.who.project_id})
    accept = {"status": "accepted"}
    assert (await owner.ask("PUT", member, accept)).status == 403
    assert (await third.ask("PUT", member, accept)).status == 404
    # Nor does a member say who else is one.
    for method, body in (("DELETE", None), ("GET", None)):
        assert (await third.ask(method, member, body)).status in (403, 404)
    assert (await other.ask("DELETE", member)).status == 403
    more = {"member": admin.who.project_id}
    assert (await other.ask("POST", f"images/{uuid}/members", more)).status == 403
    assert (await admin.ask("PUT", member, accept)).json["status"] == "accepted"
    stranger = f"images/{uuid}/members/{admin.who.project_id}"
    assert (await admin.ask("PUT", stranger, accept)).status == 404


async def test_what_cannot_be_shared_is_refused(image: Any, database: Any) -> None:
    """Other visibilities, projects that are not there, a second time, wrong bodies."""
    owner, other = [Writer(image, await a_member(database)) for _ in range(2)]
    uuid = (await owner.make())["id"]
    wanted = {"member": other.who.project_id}
    for visibility in ("private", "community"):
        closed = (await owner.make(visibility=visibility))["id"]
        assert (await owner.ask("POST", f"images/{closed}/members", wanted)).status == 403
    before = await images_of(database)
    for body in (
        {}, [], {"member": ""}, {"member": None}, {"member": 1}, {"member": "0" * 32},
        {"member": "x" * 256}, {"member": "%s"}, {**wanted, "status": "accepted"}, b"", b"{",
        b'{"member": "\\u0000"}', b'{"member":' * 5000, b'{"member": "\xff"}',
    ):  # fmt: skip
        answer = await owner.ask("POST", f"images/{uuid}/members", body)
        assert answer.status == 400, body
    assert await images_of(database) == before
    assert (await owner.ask("POST", f"images/{uuid}/members", wanted)).status == 200
    assert (await owner.ask("POST", f"images/{uuid}/members", wanted)).status == 409
    member = f"images/{uuid}/members/{other.who.project_id}"
    for body in (
        {},
        {"status": "maybe"},
        {"status": None},
        [],
        b"",
        {"status": "accepted", "a": 1},
    ):
        assert (await other.ask("PUT", member, body)).status == 400, body
    assert (await other.ask("GET", member)).json["status"] == "pending"


async def test_an_image_has_only_so_many_members(image: Any, database: Any) -> None:
    """413, and none is added."""
    owner, other = [Writer(image, await a_member(database)) for _ in range(2)]
    uuid = (await owner.make())["id"]
    await database.run(
        "with made as (insert into project (id, name)"
        " select md5(n::text), 'p' || n from generate_series(1, %s) as n returning id)"
        " insert into image_member (image_id, project_id)"
        " select image.id, made.id from made, image where image.uuid = %s",
        (MOST_MEMBERS, uuid),
    )
    wanted = {"member": other.who.project_id}
    assert (await owner.ask("POST", f"images/{uuid}/members", wanted)).status == 413
    listed = (await owner.ask("GET", f"images/{uuid}/members")).json["members"]
    assert len(listed) == MOST_MEMBERS
