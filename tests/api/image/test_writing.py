"""Images that users make, change and delete, over the real wire."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.api.image.changes import CURRENT, DRAFT
from cyclades_tx.api.image.documents import IMAGE
from cyclades_tx.flows.images import Images
from cyclades_tx.model.image import MOST_CHANGES
from cyclades_tx.testing.network_builders import a_member
from cyclades_tx.testing.shapes import misfits
from tests.api.image.writing import BASE, Writer, images_of, operation

WHOLE = {
    "name": "mine", "visibility": "private", "protected": True, "os_hidden": True, "min_disk": 3,
    "min_ram": 64, "disk_format": "qcow2", "container_format": "bare", "tags": ["b", "a", "b"],
    "OSFAMILY": "linux", "owner_specified.openstack.md5": "", "a/b~c": "é",
}  # fmt: skip


async def test_a_new_image_has_what_it_was_given_and_waits_for_its_data(
    image: Any, database: Any
) -> None:
    """201 with the document and its place; nothing is needed."""
    writer = Writer(image, await a_member(database))
    answer = await writer.ask("POST", "images", WHOLE)
    assert answer.status == 201
    made = answer.json
    assert misfits(made, {**IMAGE.schema(), "additionalProperties": {"type": "string"}}) == []
    assert {name: made[name] for name in WHOLE} == {**WHOLE, "tags": ["a", "b"]}
    assert (made["status"], made["owner"]) == ("queued", writer.who.project_id)
    assert answer.headers["location"].endswith(f"{BASE}/images/{made['id']}")
    assert await writer.show(made["id"]) == made
    bare = await writer.make()
    assert (bare["name"], bare["visibility"], bare["size"]) == (None, "shared", None)
    assert (bare["protected"], bare["os_hidden"], bare["tags"]) == (False, False, [])
    nothing = {"name": None, "disk_format": None, "container_format": None}
    assert (await writer.make(**nothing, tags=[]))["disk_format"] is None
    assert (await writer.make(name=""))["name"] == ""


async def test_an_id_may_be_chosen_once(image: Any, database: Any) -> None:
    """409 for the second one, whosever the first is."""
    writer, other = [Writer(image, await a_member(database)) for _ in range(2)]
    uuid = str(uuid4())
    assert (await writer.make(id=uuid))["id"] == uuid
    for somebody in (writer, other):
        assert (await somebody.ask("POST", "images", {"id": uuid})).status == 409
    assert (await writer.ask("DELETE", f"images/{uuid}")).status == 204
    assert (await other.ask("POST", "images", {"id": uuid})).status == 409
    assert (await writer.ask("POST", "images", {"id": "x"})).status == 400


NEW = [
    ({"name": 1}, 400), ({"name": "x" * 256}, 400), ({"visibility": "secret"}, 400),
    ({"visibility": None}, 400), ({"protected": "true"}, 400), ({"min_disk": -1}, 400),
    ({"min_disk": 2**31}, 400), ({"min_ram": 1.5}, 400), ({"min_ram": True}, 400),
    ({"disk_format": "floppy"}, 400), ({"container_format": "box"}, 400), ({"tags": "a"}, 400),
    ({"tags": [""]}, 400), ({"tags": ["x" * 256]}, 400), ({"tags": [None]}, 400),
    ({"tags": [str(n) for n in range(129)]}, 413), ({"os": 1}, 400), ({"os": None}, 400),
    ({"os": {"a": "b"}}, 400), ({"": "x"}, 400), ({"x" * 256: "x"}, 400), ({"a\nb": "x"}, 400),
    ({"os": "x" * 65_536}, 400), ({str(n): "" for n in range(129)}, 413), ({"id": 1}, 400),
    ({"owner": "nobody"}, 403), ({"owner": None}, 403), ({"visibility": "public"}, 403),
    ({"status": "active"}, 403), ({"size": 1}, 403), ({"checksum": "x"}, 403),
    ({"created_at": "x"}, 403), ({"self": "x"}, 403), ({"direct_url": "x"}, 403),
    ({"locations": []}, 403), ({"location": "file:///x"}, 403), ({"deleted": "x"}, 403),
    ({"os_glance_import_task": "x"}, 403), ({"limit": "x"}, 403), ([], 400), (None, 400),
    (b"", 400), (b"{", 400), (b"[" * 5000, 400), (b'{"a": ' * 5000, 400),
    (b'{"a": "\xff"}', 400),
    (b'{"a": "\\u0000"}', 400), (b'{"a": "\\ud800"}', 400), (b"null", 400),
]  # fmt: skip


async def test_a_wrong_new_image_is_refused(image: Any, database: Any) -> None:
    """By its schema with 400, by who may what with 403, by its size with 413; nothing is kept."""
    writer = Writer(image, await a_member(database))
    for body, status in NEW:
        answer = await writer.ask("POST", "images", body)
        assert answer.status == status, (body, answer.body)
        assert answer.headers["content-type"].startswith("text/html")
    assert await images_of(database) == []


async def test_a_body_is_json_in_utf_8(image: Any, database: Any) -> None:
    """415 for what says that it is something else."""
    writer = Writer(image, await a_member(database))
    for kind in ("text/plain", "application/json; charset=utf-16", CURRENT, "\xff"):
        assert (await writer.ask("POST", "images", {}, kind)).status == 415, kind
    made = await writer.make()
    for kind in ("", "application/json", "text/plain", f"{CURRENT}; charset=latin1"):
        answer = await writer.ask("PATCH", f"images/{made['id']}", [], kind)
        assert answer.status == 415, kind
    path = f"images/{made['id']}"
    assert CURRENT in (await writer.ask("PATCH", path, [])).headers["accept-patch"]
    answer = await writer.ask("PATCH", path, [], f"{CURRENT}; charset=UTF-8")
    assert answer.status == 200
    assert len(await images_of(database)) == 1


async def test_only_administrators_publish_and_give_away(image: Any, database: Any) -> None:
    """When an image is made and when it is changed."""
    admin = Writer(image, await a_member(database, "admin"))
    writer = Writer(image, await a_member(database))
    assert (await admin.make(visibility="public"))["visibility"] == "public"
    given = await admin.make(owner=writer.who.project_id, visibility="private")
    assert (await writer.show(given["id"]))["owner"] == writer.who.project_id
    assert (await admin.make(owner=None))["owner"] is None
    assert (await admin.ask("POST", "images", {"owner": "0" * 32})).status == 400
    assert (await writer.make(owner=writer.who.project_id))["visibility"] == "shared"
    uuid = given["id"]
    for change in (
        operation("replace", "/visibility", "public"),
        operation("replace", "/owner", admin.who.project_id),
        operation("add", "/owner", None),
    ):
        assert (await writer.patch(uuid, change)).status == 403, change
    own = operation("replace", "/owner", writer.who.project_id)
    assert (await writer.patch(uuid, own)).status == 200
    gone = await admin.patch(uuid, operation("replace", "/owner", admin.who.project_id))
    assert gone.json["owner"] == admin.who.project_id
    assert (await writer.ask("GET", f"images/{uuid}")).status == 404
    assert (await admin.patch(uuid, operation("replace", "/owner", "x"))).status == 400
    public = await admin.patch(uuid, operation("replace", "/visibility", "public"))
    assert public.json["visibility"] == "public"


async def test_a_patch_changes_attributes_properties_and_tags(image: Any, database: Any) -> None:
    """In both forms of it; what it does not name stays."""
    writer = Writer(image, await a_member(database))
    made = await writer.make(name="old", kept="1", gone="2", tags=["x"])
    answer = await writer.patch(
        made["id"],
        operation("replace", "/name", "new"),
        operation("add", "/visibility", "community"),
        operation("replace", "/min_disk", 5),
        operation("replace", "/protected", True),
        operation("replace", "/os_hidden", True),
        operation("replace", "/disk_format", "raw"),
        operation("replace", "/container_format", "bare"),
        operation("replace", "/tags", ["a", "b", "a"]),
        operation("add", "/os~1family~0", "linux"),
        operation("add", "/kept", "one"),
        operation("replace", "/kept", "uno"),
        operation("remove", "/gone"),
    )
    assert answer.status == 200, answer.body
    expected = {
        "name": "new", "visibility": "community", "min_disk": 5, "protected": True,
        "os_hidden": True, "disk_format": "raw", "container_format": "bare", "tags": ["a", "b"],
        "os/family~": "linux", "kept": "uno",
    }  # fmt: skip
    assert {name: answer.json.get(name) for name in expected} == expected
    assert "gone" not in answer.json
    assert await writer.show(made["id"]) == answer.json
    answer = await writer.patch(
        made["id"],
        {"replace": "/name", "value": None},
        {"add": "/more", "value": "m"},
        {"remove": "/kept"},
        draft=True,
    )
    assert (answer.json["name"], answer.json["more"]) == (None, "m")
    assert "kept" not in answer.json
    # The draft's add does not replace.
    again = await writer.patch(made["id"], {"add": "/more", "value": "n"}, draft=True)
    assert again.status == 409
    again = await writer.patch(made["id"], {"add": "/name", "value": "n"}, draft=True)
    assert again.status == 409
    assert (await writer.patch(made["id"])).status == 200


PATCHES = [
    ({}, 400), ("x", 400), ([1], 400), ([[]], 400), ([{}], 400), ([{"op": "add"}], 400),
    ([operation("test", "/name", "x")], 400), ([operation("move", "/name", "x")], 400),
    ([operation("add", "name", "x")], 400), ([operation("add", "/", "x")], 400),
    ([operation("add", "", "x")], 400), ([operation("add", "/a/b", "x")], 400),
    ([operation("add", "/a~2", "x")], 400), ([operation("add", "/a~", "x")], 400),
    ([{"op": "add", "path": 1, "value": "x"}], 400), ([{"op": [], "path": "/a"}], 400),
    ([operation("add", "/a")], 400), ([operation("add", "/a", 1)], 400),
    ([operation("add", "/a", None)], 400), ([operation("add", "/" + "x" * 256, "x")], 400),
    ([operation("replace", "/name", 1)], 400), ([operation("replace", "/tags", "x")], 400),
    ([operation("replace", "/tags", [str(n) for n in range(129)])], 413),
    ([operation("replace", "/min_ram", "1")], 400), ([operation("replace", "/min_ram", -1)], 400),
    ([operation("replace", "/protected", None)], 400),
    ([operation("replace", "/disk_format", "floppy")], 400),
    ([{**operation("add", "/a", "x"), "from": "/b"}], 400),
    ([operation("replace", "/none", "x")], 409), ([operation("remove", "/none")], 409),
    ([operation("remove", "/name")], 403), ([operation("remove", "/tags")], 403),
    ([operation("replace", "/id", str(uuid4()))], 403),
    ([operation("replace", "/status", "active")], 403), ([operation("add", "/size", 1)], 403),
    ([operation("remove", "/checksum")], 403), ([operation("add", "/os_hash_value", "x")], 403),
    ([operation("add", "/locations/-", {"url": "file:///etc/passwd", "metadata": {}})], 403),
    ([operation("replace", "/locations", [])], 403), ([operation("remove", "/locations/0")], 403),
    ([operation("add", "/location", "x")], 403), ([operation("add", "/os_glance_x", "x")], 403),
    ([operation("add", f"/p{n}", "x") for n in range(129)], 413),
    ([operation("add", "/p", "x")] * (MOST_CHANGES + 1), 400),
    # All or none.
    ([operation("replace", "/name", "changed"), operation("remove", "/none")], 409),
]  # fmt: skip


async def test_a_wrong_patch_is_refused_and_changes_nothing(image: Any, database: Any) -> None:
    """Each with its own status, in a page as Image's clients read it."""
    writer = Writer(image, await a_member(database))
    made = await writer.make(name="n", tags=["t"], own="1")
    before = await images_of(database)
    for body, status in PATCHES:
        answer = await writer.ask("PATCH", f"images/{made['id']}", body, CURRENT)
        assert answer.status == status, (body, answer.body)
        assert answer.headers["content-type"].startswith("text/html")
    for body in (
        b"", b"{", b"[" * 9000, b'[{"op":' * 9000, b'[{"op": "\xff"}]', b'["\\u0000"]',
        b'[{"op": "add", "path": "/a", "value": "\\ud800"}]',
    ):  # fmt: skip
        answer = await writer.ask("PATCH", f"images/{made['id']}", body, CURRENT)
        assert answer.status == 400, body[:20]
    for operations in (
        [{"op": "add", "path": "/a", "value": "x"}], [{"value": "x"}],
        [{"add": "/a", "remove": "/b"}], [{"add": "/a"}], [{"add": ["/a"], "value": "x"}],
    ):  # fmt: skip
        answer = await writer.ask("PATCH", f"images/{made['id']}", operations, DRAFT)
        assert answer.status == 400, operations
    assert await images_of(database) == before


async def test_formats_are_fixed_when_there_are_data(image: Any, database: Any) -> None:
    """403, for administrators too."""
    admin = Writer(image, await a_member(database, "admin"))
    row = await Images(database).register(None, name="n", location="l", disk_format="raw")
    for name, value in (("disk_format", "qcow2"), ("container_format", "ovf")):
        assert (await admin.patch(row.uuid, operation("replace", f"/{name}", value))).status == 403


async def test_a_deleted_image_is_gone_for_everybody(image: Any, database: Any) -> None:
    """A protected one is not deleted."""
    writer = Writer(image, await a_member(database))
    admin = Writer(image, await a_member(database, "admin"))
    uuid = (await writer.make(protected=True, visibility="community"))["id"]
    for somebody in (writer, admin):
        assert (await somebody.ask("DELETE", f"images/{uuid}")).status == 403
    await writer.patch(uuid, operation("replace", "/protected", False))
    answer = await writer.ask("DELETE", f"images/{uuid}")
    assert (answer.status, answer.body) == (204, b"")
    for method, path, body, kind in (
        ("GET", f"images/{uuid}", None, ""),
        ("DELETE", f"images/{uuid}", None, ""),
        ("PATCH", f"images/{uuid}", [], CURRENT),
        ("PUT", f"images/{uuid}/tags/t", None, ""),
        ("POST", f"images/{uuid}/actions/deactivate", None, ""),
        ("POST", f"images/{uuid}/members", {"member": admin.who.project_id}, ""),
    ):
        for somebody in (writer, admin):
            assert (await somebody.ask(method, path, body, kind)).status == 404, (method, path)
    assert (await writer.ask("GET", "images")).json["images"] == []


async def test_an_image_is_deactivated_and_active_again(image: Any, database: Any) -> None:
    """By its project or an administrator; repeated it stays so; without data it cannot be."""
    who = await a_member(database)
    row = await Images(database).register(who, name="n", location="l", visibility="community")
    writer, other = Writer(image, who), Writer(image, await a_member(database))
    for action, status in (
        ("deactivate", "deactivated"), ("deactivate", "deactivated"), ("reactivate", "active"),
        ("reactivate", "active"),
    ):  # fmt: skip
        path = f"images/{row.uuid}/actions/{action}"
        assert (await other.ask("POST", path)).status == 403
        answer = await writer.ask("POST", path)
        assert (answer.status, answer.body) == (204, b"")
        assert (await other.show(row.uuid))["status"] == status
    queued = (await writer.make())["id"]
    for action in ("deactivate", "reactivate"):
        answer = await writer.ask("POST", f"images/{queued}/actions/{action}")
        assert answer.status == 403


async def test_tags_are_added_and_removed_one_by_one(image: Any, database: Any) -> None:
    """Twice is once; what is not there cannot be removed; 128 are enough."""
    writer = Writer(image, await a_member(database))
    uuid = (await writer.make())["id"]
    for tag in ("red", "red", "é ü/ß", "%"):
        assert await writer.tag("PUT", uuid, tag) == (204 if "/" not in tag else 404)
    assert (await writer.show(uuid))["tags"] == ["%", "red"]
    assert await writer.tag("DELETE", uuid, "red") == 204
    assert await writer.tag("DELETE", uuid, "red") == 404
    assert await writer.tag("PUT", uuid, "x" * 255) == 204
    for tag, status in (("x" * 256, 400), ("a\nb", 400), ("\0", 404)):
        assert await writer.tag("PUT", uuid, tag) == status
    full = operation("replace", "/tags", [str(n) for n in range(128)])
    assert (await writer.patch(uuid, full)).status == 200
    assert await writer.tag("PUT", uuid, "one more") == 413
    assert await writer.tag("PUT", uuid, "7") == 204


async def test_a_project_has_only_so_many_images(
    image: Any, database: Any, monkeypatch: Any
) -> None:
    """413; another project has its own, and who deletes one may have another."""
    monkeypatch.setattr("cyclades_tx.flows.images.MOST_IMAGES", 2)
    writer, other = [Writer(image, await a_member(database)) for _ in range(2)]
    first, _ = [(await writer.make())["id"] for _ in range(2)]
    assert (await writer.ask("POST", "images", {})).status == 413
    await other.make()
    assert (await writer.ask("DELETE", f"images/{first}")).status == 204
    await writer.make()


async def test_others_change_nothing_of_an_image(image: Any, database: Any) -> None:
    """404 where they do not see it, 403 where they do; readers of its project may only look."""
    writer, other = [Writer(image, await a_member(database)) for _ in range(2)]
    reader = Writer(image, await a_member(database, "reader"))
    hidden = (await writer.make(visibility="private", tags=["t"]))["id"]
    seen = (await writer.make(visibility="community", tags=["t"]))["id"]
    before = await images_of(database)
    for uuid, status in ((hidden, 404), (seen, 403)):
        for method, path, body, kind in (
            ("PATCH", "", [operation("replace", "/name", "x")], CURRENT),
            ("DELETE", "", None, ""),
            ("PUT", "/tags/x", None, ""),
            ("DELETE", "/tags/t", None, ""),
            ("POST", "/actions/deactivate", None, ""),
            ("POST", "/actions/reactivate", None, ""),
            ("POST", "/members", {"member": other.who.project_id}, ""),
            ("DELETE", f"/members/{other.who.project_id}", None, ""),
        ):
            answer = await other.ask(method, f"images/{uuid}{path}", body, kind)
            assert answer.status == status, (method, path, answer.body)
            answer = await reader.ask(method, f"images/{uuid}{path}", body, kind)
            assert answer.status == 403, (method, path)
    assert (await reader.ask("POST", "images", {})).status == 403
    assert await images_of(database) == before


async def test_what_happens_to_images_is_told_to_their_project(image: Any, database: Any) -> None:
    """Made, changed, deleted: each in the transaction that makes it true."""
    writer = Writer(image, await a_member(database))
    uuid = (await writer.make(name="n"))["id"]
    await writer.patch(uuid, operation("replace", "/name", "m"))
    await writer.tag("PUT", uuid, "t")
    await writer.patch(uuid, operation("remove", "/none"))
    await writer.ask("DELETE", f"images/{uuid}")
    events = await database.all(
        "select kind, subject, project_id::text, body::text from event where kind like 'image.%%'"
        " order by id"
    )
    assert [event.kind for event in events] == [
        "image.created", "image.changed", "image.changed", "image.deleted",
    ]  # fmt: skip
    assert {(event.subject, event.project_id) for event in events} == {
        (uuid, writer.who.project_id)
    }
    assert json.loads(events[1].body)["image"] == {
        "id": uuid, "name": "m", "status": "queued", "visibility": "shared", "size": None,
    }  # fmt: skip


async def test_of_two_at_the_same_time_one_wins(image: Any, database: Any) -> None:
    """The same id, the same member, the same property, the last place: 409, 413 or nothing lost."""
    writer, other = [Writer(image, await a_member(database)) for _ in range(2)]

    async def both(*asked: Any) -> list[int]:
        found = await gatherResults([Deferred.fromCoroutine(each) for each in asked])
        return sorted(each.status for each in found)

    uuid = str(uuid4())
    assert await both(*(writer.ask("POST", "images", {"id": uuid}) for _ in range(2))) == [201, 409]
    path, wanted = f"images/{uuid}/members", {"member": other.who.project_id}
    assert await both(*(writer.ask("POST", path, wanted) for _ in range(2))) == [200, 409]
    assert await both(*(writer.patch(uuid, operation("add", f"/{n}", "x")) for n in "ab")) == [
        200, 200,
    ]  # fmt: skip
    shown = await writer.show(uuid)
    assert (shown["a"], shown["b"]) == ("x", "x")
    remove = operation("remove", "/a")
    assert await both(*(writer.patch(uuid, remove) for _ in range(2))) == [200, 409]
    assert await both(*(writer.ask("DELETE", f"images/{uuid}") for _ in range(2))) == [204, 404]
