"""Projects over the wire."""

from __future__ import annotations

from typing import Any

import pytest

LISTED = {"self", "previous", "next"}


def document(cloud: Any, project_id: str, **differences: Any) -> dict[str, Any]:
    """A project as it must look."""
    return {
        "id": project_id,
        "name": "home",
        "domain_id": "default",
        "description": "",
        "enabled": True,
        "parent_id": "default",
        "is_domain": False,
        "tags": [],
        "options": {},
        "links": {"self": f"{cloud.url}/identity/v3/projects/{project_id}"},
        **differences,
    }


async def test_an_administrator_makes_a_project(cloud: Any) -> None:
    """201 with the whole document, what was not said has its default."""
    body = {"project": {"name": "new", "description": None, "domain_id": "default", "odd": 1}}
    answer = await cloud.ask("POST", "/v3/projects", body, as_="admin")
    assert answer.status == 201
    project_id = answer.json["project"]["id"]
    assert answer.json == {"project": document(cloud, project_id, name="new")}
    shown = await cloud.ask("GET", f"/v3/projects/{project_id}", as_="admin")
    assert (shown.status, shown.json) == (200, answer.json)


async def test_a_project_is_changed_where_it_was_said(cloud: Any) -> None:
    """What is not in the body stays."""
    path = f"/v3/projects/{cloud.ids['other']}"
    body = {"project": {"description": "for guests"}}
    answer = await cloud.ask("PATCH", path, body, as_="admin")
    assert answer.status == 200
    wanted = document(cloud, cloud.ids["other"], name="other", description="for guests")
    assert answer.json == {"project": wanted}
    body = {"project": {"name": "guests", "enabled": False}}
    answer = await cloud.ask("PATCH", path, body, as_="admin")
    assert answer.json == {"project": {**wanted, "name": "guests", "enabled": False}}
    answer = await cloud.ask("PATCH", path, {"project": {"description": None}}, as_="admin")
    assert answer.json["project"]["description"] == ""
    answer = await cloud.ask("PATCH", path, {"project": {}}, as_="admin")
    assert answer.json["project"]["name"] == "guests"


async def test_disabling_a_project_ends_its_tokens_at_once(cloud: Any) -> None:
    """Those of others live on."""
    path = f"/v3/projects/{cloud.ids['other']}"
    await cloud.ask("PATCH", path, {"project": {"enabled": False}}, as_="admin")
    assert not await cloud.alive(cloud.tokens["stranger"])
    assert await cloud.alive(cloud.tokens["demo"])


async def test_a_project_is_deleted_with_its_tokens(cloud: Any) -> None:
    """204, then 404."""
    path = f"/v3/projects/{cloud.ids['other']}"
    answer = await cloud.ask("DELETE", path, as_="admin")
    assert (answer.status, answer.body) == (204, b"")
    assert not await cloud.alive(cloud.tokens["stranger"])
    assert (await cloud.ask("GET", path, as_="admin")).status == 404
    assert (await cloud.ask("DELETE", path, as_="admin")).status == 404


async def test_a_project_with_something_in_it_is_a_conflict(cloud: Any, tell: Any) -> None:
    """The message says what is in the way."""
    await tell("insert into image (project_id, name) values (%s, 'a')", cloud.ids["other"])
    answer = await cloud.ask("DELETE", f"/v3/projects/{cloud.ids['other']}", as_="admin")
    assert answer.status == 409
    assert "1 images" in answer.json["error"]["message"]
    assert await cloud.alive(cloud.tokens["stranger"])


async def test_a_taken_name_is_a_conflict(cloud: Any) -> None:
    """For a new project and for a change."""
    body = {"project": {"name": "home"}}
    assert (await cloud.ask("POST", "/v3/projects", body, as_="admin")).status == 409
    path = f"/v3/projects/{cloud.ids['other']}"
    assert (await cloud.ask("PATCH", path, body, as_="admin")).status == 409


async def test_a_project_in_another_domain_cannot_be(cloud: Any) -> None:
    """There is one domain; no project acts as one."""
    for more, status in (
        ({"domain_id": "other"}, 404),
        ({"parent_id": "0" * 32}, 404),
        ({"is_domain": True}, 400),
    ):
        body = {"project": {"name": "new", **more}}
        assert (await cloud.ask("POST", "/v3/projects", body, as_="admin")).status == status


async def test_an_administrator_lists_all_projects(cloud: Any) -> None:
    """In the order of their names, with the three links."""
    answer = await cloud.ask("GET", "/v3/projects", as_="admin")
    assert answer.status == 200
    assert set(answer.json) == {"projects", "links"}
    assert set(answer.json["links"]) == LISTED
    assert answer.json["projects"] == [
        document(cloud, cloud.ids["home"]),
        document(cloud, cloud.ids["other"], name="other"),
    ]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=home", ["home"]),
        ("name=hom", []),
        ("enabled=false", []),
        ("enabled=True", ["home", "other"]),
        ("domain_id=default", ["home", "other"]),
        ("domain_id=elsewhere", []),
        ("is_domain=False", ["home", "other"]),
        ("is_domain=true", []),
        ("unheard_of=1", ["home", "other"]),
    ],
)
async def test_lists_are_filtered(cloud: Any, query: str, names: list[str]) -> None:
    """Exactly; what nobody knows is no error."""
    answer = await cloud.ask("GET", f"/v3/projects?{query}", as_="admin")
    assert answer.status == 200
    assert [project["name"] for project in answer.json["projects"]] == names


async def test_a_user_finds_the_own_project_by_name(cloud: Any) -> None:
    """And only that; the list of all is for administrators.

    For any other name the answer is 403, whether or not there is such a project: clients then
    send the name as an id, such as that of the project that an image is to be shared with.
    """
    assert (await cloud.ask("GET", "/v3/projects", as_="demo")).status == 403
    answer = await cloud.ask("GET", "/v3/projects?name=home", as_="demo")
    assert [project["id"] for project in answer.json["projects"]] == [cloud.ids["home"]]
    for name in ("other", "nobodys", cloud.ids["other"]):
        answer = await cloud.ask("GET", f"/v3/projects?name={name}", as_="demo")
        assert answer.status == 403


async def test_roles_are_given_and_taken(cloud: Any) -> None:
    """204 each time, and twice is as good as once."""
    roles = await cloud.ask("GET", "/v3/roles?name=reader", as_="admin")
    role_id = roles.json["roles"][0]["id"]
    held = f"/v3/projects/{cloud.ids['other']}/users/{cloud.ids['demo']}/roles"
    for _ in range(2):
        assert (await cloud.ask("PUT", f"{held}/{role_id}", as_="admin")).status == 204
    assert (await cloud.ask("HEAD", f"{held}/{role_id}", as_="admin")).status == 204
    answer = await cloud.ask("GET", held, as_="admin")
    assert [role["name"] for role in answer.json["roles"]] == ["reader"]
    assert (await cloud.ask("DELETE", f"{held}/{role_id}", as_="admin")).status == 204
    assert (await cloud.ask("DELETE", f"{held}/{role_id}", as_="admin")).status == 404
    assert (await cloud.ask("HEAD", f"{held}/{role_id}", as_="admin")).status == 404


async def test_roles_need_a_user_and_a_project_that_exist(cloud: Any) -> None:
    """404 otherwise."""
    home, demo = cloud.ids["home"], cloud.ids["demo"]
    member = "a0000000000000000000000000000002"
    for project, user, role in (
        ("0" * 32, demo, member),
        (home, "0" * 32, member),
        (home, demo, "0" * 32),
        (home, demo, "king"),
        ("x", "y", "z"),
    ):
        path = f"/v3/projects/{project}/users/{user}/roles/{role}"
        for method in ("PUT", "DELETE", "HEAD"):
            assert (await cloud.ask(method, path, as_="admin")).status == 404, (path, method)


async def test_the_last_administrator_stays(cloud: Any) -> None:
    """409 with a sentence."""
    home, admin = cloud.ids["home"], cloud.ids["admin"]
    path = f"/v3/projects/{home}/users/{admin}/roles/a0000000000000000000000000000001"
    for method, target, body in (
        ("DELETE", path, None),
        ("DELETE", f"/v3/users/{admin}", None),
        ("DELETE", f"/v3/projects/{home}", None),
        ("PATCH", f"/v3/users/{admin}", {"user": {"enabled": False}}),
        ("PATCH", f"/v3/users/{admin}", {"user": {"password": None}}),
        ("PATCH", f"/v3/projects/{home}", {"project": {"enabled": False}}),
    ):
        answer = await cloud.ask(method, target, body, as_="admin")
        assert answer.status == 409, target
        assert "administrator" in answer.json["error"]["message"]
    assert (await cloud.ask("GET", "/v3/users", as_="admin")).status == 200
