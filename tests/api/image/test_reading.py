"""Image's lists and documents over the real wire."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from cyclades_tx.api.image.documents import IMAGE, MEMBER
from cyclades_tx.flows.images import Images
from cyclades_tx.model.who import Who
from cyclades_tx.testing.network_builders import a_member
from cyclades_tx.testing.shapes import misfits

BASE = "/image/v2"


async def an_image(database: Any, who: Who | None = None, **wanted: Any) -> Any:
    """An active image; the operator's unless somebody is named."""
    settings = {"name": "image", "location": "hidden-place", **wanted}
    # Only administrators publish; what else a test wants, anybody may have.
    return await Images(database).register(who, **settings)


async def names(image: Any, who: Who, query: str = "") -> list[str]:
    """The names in a list's answer, oldest first unless the query says otherwise."""
    mark = "&" if query else ""
    order = "" if "sort" in query else f"{mark}sort=created_at:asc,id:asc"
    answer = await image.ask(f"{BASE}/images?{query}{order}", who)
    assert answer.status == 200, answer.body
    return [item["name"] for item in answer.json["images"]]


@pytest.mark.parametrize("path", ["/image", "/image/", "/image/v2", "/image/v2/"])
async def test_the_roots_offer_the_versions_without_a_token(image: Any, path: str) -> None:
    """With 300, the newest first and current."""
    answer = await image.ask(path)
    assert answer.status == 300
    first, *others = answer.json["versions"]
    assert first == {
        "id": "v2.9",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": "http://cloud.example:8774/image/v2/"}],
    }
    assert {other["status"] for other in others} == {"SUPPORTED"}
    assert (await image.ask("/image/versions")).status == 200


async def test_an_image_has_exactly_its_members_and_properties(image: Any, database: Any) -> None:
    """Alone and in the list; where it lies is told to nobody."""
    who = await a_member(database)
    row = await an_image(
        database, name="debian", properties={"os": "debian", 'a"b': "x\\y é", "n": "1"},
        tags=("b", "a"), min_disk_gib=3, min_memory_mib=64, size_bytes=2**40,
    )  # fmt: skip
    answer = await image.ask(f"{BASE}/images/{row.uuid}", who)
    shown = answer.json
    assert misfits(shown, {**IMAGE.schema(), "additionalProperties": {"type": "string"}}) == []
    assert {name: shown[name] for name in ("os", 'a"b', "n")} == {
        "os": "debian",
        'a"b': "x\\y é",
        "n": "1",
    }
    assert len(shown) == len(IMAGE.members) + 3
    assert (shown["tags"], shown["min_disk"], shown["min_ram"], shown["size"]) == (
        ["a", "b"],
        3,
        64,
        2**40,
    )
    assert shown["self"] == f"/v2/images/{row.uuid}"
    assert b"hidden-place" not in answer.body
    listed = await image.ask(f"{BASE}/images", who)
    assert listed.json == {"images": [shown], "first": "/v2/images", "schema": "/v2/schemas/images"}


async def share(database: Any, row: Any, who: Who, status: str) -> None:
    """Share an image with a project."""
    await database.run(
        "insert into image_member (image_id, project_id, status) values (%s, %s, %s)",
        (row.id, who.project_id, status),
    )


async def test_who_sees_which_image(image: Any, database: Any) -> None:
    """In the lists by visibility, and alone."""
    who, other = await a_member(database), await a_member(database)
    rows = {}
    for name, owner, visibility in (
        ("public", None, "public"),
        ("own", who, "private"),
        ("others", other, "private"),
        ("community", other, "community"),
        ("pending", other, "shared"),
        ("accepted", other, "shared"),
        ("unshared", other, "shared"),
    ):
        rows[name] = await an_image(database, owner, name=name, visibility=visibility)
    for name in ("pending", "accepted"):
        await share(database, rows[name], who, name)
    for query, expected in (
        ("", ["public", "own", "accepted"]),
        ("member_status=all", ["public", "own", "pending", "accepted"]),
        ("visibility=shared&member_status=pending", ["pending"]),
        ("visibility=community", ["community"]),
        ("visibility=private", ["own"]),
        ("visibility=public", ["public"]),
        ("visibility=all", ["public", "own", "community", "accepted"]),
    ):
        assert await names(image, who, query) == expected, query
    for name, row in rows.items():
        answer = await image.ask(f"{BASE}/images/{row.uuid}", who)
        assert answer.status == (404 if name in ("others", "unshared") else 200), name
    admin = await a_member(database, "admin")
    assert len(await names(image, admin)) == len(rows)


async def test_another_projects_image_is_not_there(image: Any, database: Any) -> None:
    """By no path and no method."""
    who, other = await a_member(database), await a_member(database)
    row = await an_image(database, other, visibility="private")
    one = f"{BASE}/images/{row.uuid}"
    for method, path in (
        ("GET", one), ("HEAD", one), ("GET", f"{one}/file"), ("GET", f"{one}/members"),
        ("GET", f"{one}/members/{who.project_id}"), ("DELETE", one), ("PATCH", one),
        ("PUT", f"{one}/tags/x"), ("DELETE", f"{one}/tags/x"),
        ("POST", f"{one}/members"), ("PUT", f"{one}/members/x"),
        ("POST", f"{one}/actions/deactivate"),
    ):  # fmt: skip
        assert (await image.ask(path, who, method=method)).status == 404, (method, path)
    assert (await image.ask(f"{BASE}/images?marker={row.uuid}", who)).status == 400
    assert await names(image, who, f"id=in:{row.uuid}") == []
    assert await names(image, who, f"visibility=all&owner={other.project_id}") == []


async def test_images_are_found_by_their_attributes(image: Any, database: Any) -> None:
    """Each filter alone, and two together."""
    who = await a_member(database)
    first = await an_image(
        database, name="first", disk_format="qcow2", properties={"os": "debian"}, tags=("x", "y"),
        size_bytes=10, protected=True, min_disk_gib=1,
    )  # fmt: skip
    second = await an_image(
        database, who, visibility="private", name="second, too", tags=("x",), size_bytes=20
    )
    hidden = await an_image(database, name="hidden", hidden=True)
    await database.run(
        "update image set created_at = created_at - interval '1 day' where id = %s", (first.id,)
    )
    stamp = (await image.ask(f"{BASE}/images/{second.uuid}", who)).json["created_at"]
    for query, expected in (
        ("", ["first", "second, too"]),
        ("name=first", ["first"]),
        ("name=in:first,other", ["first"]),
        (f"id=in%3A{first.uuid}%2C{second.uuid}", ["first", "second, too"]),
        (f"id=in:{hidden.uuid},zzz", []),
        (f"id={first.uuid}", ["first"]),
        ("status=active", ["first", "second, too"]),
        ("status=in:saving,queued", []),
        (f"owner={who.project_id}", ["second, too"]),
        ("tag=x", ["first", "second, too"]),
        ("tag=x&tag=y", ["first"]),
        ("tag=x&tag=x", ["first", "second, too"]),
        ("os_hidden=True", ["hidden"]),
        ("protected=true", ["first"]),
        ("protected=False", ["second, too"]),
        ("size_min=11", ["second, too"]),
        ("size_max=10", ["first"]),
        ("min_disk=1", ["first"]),
        ("disk_format=qcow2", ["first"]),
        ("os=debian", ["first"]),
        ("os=debian&tag=z", []),
        ("os=other", []),
        (f"created_at=lt:{stamp}", ["first"]),
        (f"created_at=gte:{stamp}", ["second, too"]),
        (f"created_at={stamp}", ["second, too"]),
        ("deleted=False&is_public=None", ["first", "second, too"]),
    ):
        assert await names(image, who, query) == expected, query


async def test_pages_follow_each_other_by_next(image: Any, database: Any) -> None:
    """Newest first, or as asked; the last page has no next."""
    who = await a_member(database)
    for name in ("b", "e", "a", "d", "c"):
        await an_image(database, name=name)
    for query, expected in (
        ("limit=2", [["c", "d"], ["a", "e"], ["b"]]),
        ("limit=2&sort=name:asc", [["a", "b"], ["c", "d"], ["e"]]),
        ("limit=3&sort_key=status&sort_key=name&sort_dir=desc", [["e", "d", "c"], ["b", "a"]]),
        ("limit=5&sort_key=name&sort_dir=asc", [["a", "b", "c", "d", "e"]]),
        ("limit=0", [[]]),
    ):
        path: str | None = f"/v2/images?{query}"
        found = []
        while path is not None and len(found) < 5:
            page = (await image.ask(f"/image{path}", who)).json
            assert page["first"] == f"/v2/images?{query}".replace("name:asc", "name%3Aasc")
            found.append([item["name"] for item in page["images"]])
            path = page.get("next")
        assert found == expected, query


async def test_a_page_has_25_images_unless_asked_otherwise(image: Any, database: Any) -> None:
    """And at most 1,000."""
    who = await a_member(database)
    await database.run(
        "insert into image (name, status, visibility, disk_format, container_format)"
        " select 'i', 'active', 'public', 'raw', 'bare' from generate_series(1, 1001)"
    )
    usual = (await image.ask(f"{BASE}/images", who)).json
    assert len(usual["images"]) == 25
    assert "next" in usual
    for limit in ("1000", "1001", "9" * 30):
        most = (await image.ask(f"{BASE}/images?limit={limit}", who)).json
        assert len(most["images"]) == 1000


async def test_a_wrong_list_parameter_is_a_bad_request(image: Any, database: Any) -> None:
    """As a page with the reason behind the heading."""
    who = await a_member(database)
    for query in (
        "limit=-1", "limit=x", "limit=", "limit=%C2%B2", "marker=x", f"marker={uuid4()}",
        "visibility=none", "member_status=x", "os_hidden=x", "protected=x", "size_min=x",
        "size_max=-1", "size_min=" + "9" * 30, "sort_key=location", "sort=name:up",
        "sort=name&sort_key=name", "sort_key=name&sort_dir=asc&sort_dir=asc", "created_at=gt:x",
        "created_at=gt:0001-01-01T00:00:00%2B23:00", "name=%FF", "name=%00", "%FF=1", "%00=1",
        "sort=",
    ):  # fmt: skip
        answer = await image.ask(f"{BASE}/images?{query}", who)
        assert answer.status == 400, query
        assert answer.headers["content-type"].startswith("text/html")
        assert b"<h1>400 Bad Request</h1>" in answer.body


async def test_an_odd_list_parameter_is_only_odd(image: Any, database: Any) -> None:
    """What is no attribute is a property that no image has."""
    who = await a_member(database)
    await an_image(database)
    for query in (
        "name=" + "x" * 5000,
        "%25s=1",
        "a'b=1",
        "id=in:",
        "location=hidden-place",
        "x" * 300 + "=1",
    ):
        assert await names(image, who, query) == [], query


async def test_anything_may_stand_where_an_id_stands(image: Any, database: Any) -> None:
    """The answer is that it is not there."""
    who = await a_member(database)
    for ref in (
        "name",
        "%CE%B4",
        "%00",
        "a%20b",
        "1" * 3000,
        "%25s",
        str(uuid4()),
        "<script>",
        "..",
        "",
    ):
        for tail in ("", "/file", "/members"):
            answer = await image.ask(f"{BASE}/images/{ref}{tail}", who)
            assert answer.status == 404, ref
            assert b"<script>" not in answer.body
    assert (await image.ask(f"{BASE}/images/%FF", who)).status == 400


async def test_without_a_token_there_is_nothing(image: Any) -> None:
    """Schemas too."""
    for path in ("images", "schemas/image", "info/import"):
        assert (await image.ask(f"{BASE}/{path}")).status == 401


async def test_head_is_get_without_a_body(image: Any, database: Any) -> None:
    """On the list and on one image."""
    who = await a_member(database)
    row = await an_image(database)
    for path in ("images", f"images/{row.uuid}", "schemas/image"):
        answer = await image.ask(f"{BASE}/{path}", who, method="HEAD")
        assert (answer.status, answer.body) == (200, b""), path


async def test_a_get_may_claim_to_have_a_content_type(image: Any, database: Any) -> None:
    """One client sends it with every question."""
    who = await a_member(database)
    headers = {"Content-Type": "application/octet-stream", "Accept": ""}
    assert (await image.ask(f"{BASE}/images", who, headers=headers)).status == 200


async def test_schemas_say_what_documents_look_like(image: Any, database: Any) -> None:
    """Each property has a type; properties of users are texts."""
    who = await a_member(database)
    for name in ("image", "images", "member", "members"):
        answer = await image.ask(f"{BASE}/schemas/{name}", who)
        assert answer.status == 200
        assert answer.json["name"] == name
        assert all("type" in each for each in answer.json["properties"].values())
    one = (await image.ask(f"{BASE}/schemas/image", who)).json
    assert one["additionalProperties"] == {"type": "string"}
    assert one["properties"]["status"]["readOnly"] is True
    assert (await image.ask(f"{BASE}/schemas/task", who)).status == 404


async def test_there_is_nothing_to_import(image: Any, database: Any) -> None:
    """And one store only."""
    who = await a_member(database)
    answer = await image.ask(f"{BASE}/info/import", who)
    assert answer.json["import-methods"]["value"] == []
    assert (await image.ask(f"{BASE}/info/stores", who)).status == 404


async def test_members_are_shown_to_the_owner_and_each_to_itself(image: Any, database: Any) -> None:
    """In the list and alone."""
    owner, who, other = [await a_member(database) for _ in range(3)]
    row = await an_image(database, owner, visibility="shared")
    await share(database, row, who, "accepted")
    await share(database, row, other, "pending")
    path = f"{BASE}/images/{row.uuid}/members"
    listed = (await image.ask(path, owner)).json
    assert listed["schema"] == "/v2/schemas/members"
    assert {item["member_id"] for item in listed["members"]} == {who.project_id, other.project_id}
    for item in listed["members"]:
        assert misfits(item, MEMBER.schema()) == []
    assert [item["member_id"] for item in (await image.ask(path, who)).json["members"]] == [
        who.project_id
    ]
    assert (await image.ask(f"{path}/{who.project_id}", who)).json["status"] == "accepted"
    assert (await image.ask(f"{path}/{other.project_id}", who)).status == 404
    assert (await image.ask(f"{path}/{other.project_id}", owner)).json["status"] == "pending"


async def test_data_that_the_clusters_keep_are_not_here(image: Any, database: Any) -> None:
    """204: there is nothing to send."""
    who = await a_member(database)
    row = await an_image(database)
    answer = await image.ask(f"{BASE}/images/{row.uuid}/file", who)
    assert (answer.status, answer.body) == (204, b"")
