"""Users and passwords over the wire."""

from __future__ import annotations

from typing import Any

import pytest


def document(cloud: Any, user_id: str, **differences: Any) -> dict[str, Any]:
    """A user as it must look."""
    return {
        "id": user_id,
        "name": "new",
        "domain_id": "default",
        "description": "",
        "email": None,
        "enabled": True,
        "default_project_id": None,
        "password_expires_at": None,
        "options": {},
        "links": {"self": f"{cloud.url}/identity/v3/users/{user_id}"},
        **differences,
    }


async def test_an_administrator_makes_a_user(cloud: Any) -> None:
    """201 with the whole document, in which no password stands."""
    body = {
        "user": {
            "name": "new",
            "password": cloud.password,
            "email": "new@example.org",
            "default_project_id": cloud.ids["home"],
            "description": None,
            "options": {"multi_factor_auth_enabled": False},
        }
    }
    answer = await cloud.ask("POST", "/v3/users", body, as_="admin")
    assert answer.status == 201
    user_id = answer.json["user"]["id"]
    wanted = document(cloud, user_id, email="new@example.org", default_project_id=cloud.ids["home"])
    assert answer.json == {"user": wanted}
    shown = await cloud.ask("GET", f"/v3/users/{user_id}", as_="admin")
    assert (shown.status, shown.json) == (200, answer.json)
    assert (await cloud.log_in("new")).status == 201


async def test_a_user_is_changed_where_it_was_said(cloud: Any) -> None:
    """A null takes away, what is not in the body stays."""
    path = f"/v3/users/{cloud.ids['stranger']}"
    body = {"user": {"email": "s@example.org", "description": "a guest"}}
    answer = await cloud.ask("PATCH", path, body, as_="admin")
    assert answer.status == 200
    wanted = document(
        cloud,
        cloud.ids["stranger"],
        name="stranger",
        email="s@example.org",
        description="a guest",
        default_project_id=cloud.ids["other"],
    )
    assert answer.json == {"user": wanted}
    body = {"user": {"email": None, "description": None, "default_project_id": None}}
    answer = await cloud.ask("PATCH", path, body, as_="admin")
    assert answer.json == {"user": document(cloud, cloud.ids["stranger"], name="stranger")}
    assert await cloud.alive(cloud.tokens["stranger"])


@pytest.mark.parametrize("change", [{"enabled": False}, {"password": "new"}, {"password": None}])
async def test_what_ends_the_trust_ends_the_tokens(cloud: Any, change: dict[str, Any]) -> None:
    """At once."""
    path = f"/v3/users/{cloud.ids['demo']}"
    assert await cloud.alive(cloud.tokens["demo"])
    assert (await cloud.ask("PATCH", path, {"user": change}, as_="admin")).status == 200
    assert not await cloud.alive(cloud.tokens["demo"])
    assert (await cloud.log_in("demo")).status == 401


async def test_a_deleted_user_is_gone_with_the_tokens(cloud: Any) -> None:
    """204, then 404."""
    path = f"/v3/users/{cloud.ids['demo']}"
    answer = await cloud.ask("DELETE", path, as_="admin")
    assert (answer.status, answer.body) == (204, b"")
    assert not await cloud.alive(cloud.tokens["demo"])
    for method in ("GET", "DELETE"):
        assert (await cloud.ask(method, path, as_="admin")).status == 404
    assert (await cloud.ask("PATCH", path, {"user": {}}, as_="admin")).status == 404


async def test_a_taken_name_is_a_conflict(cloud: Any) -> None:
    """For a new user and for a change."""
    body = {"user": {"name": "demo"}}
    assert (await cloud.ask("POST", "/v3/users", body, as_="admin")).status == 409
    path = f"/v3/users/{cloud.ids['stranger']}"
    assert (await cloud.ask("PATCH", path, body, as_="admin")).status == 409


async def test_a_default_project_must_exist(cloud: Any) -> None:
    """404 otherwise, and nothing is changed."""
    for project_id in ("0" * 32, "home"):
        body = {"user": {"name": "new", "default_project_id": project_id}}
        assert (await cloud.ask("POST", "/v3/users", body, as_="admin")).status == 404
        path = f"/v3/users/{cloud.ids['demo']}"
        assert (await cloud.ask("PATCH", path, body, as_="admin")).status == 404
    assert (await cloud.log_in("demo")).status == 201


async def test_users_are_listed_and_filtered(cloud: Any) -> None:
    """All to administrators; others find themselves by name."""
    answer = await cloud.ask("GET", "/v3/users", as_="admin")
    assert set(answer.json) == {"users", "links"}
    names = [user["name"] for user in answer.json["users"]]
    assert names == ["admin", "demo", "reader", "stranger"]
    for query, found in (("name=demo", ["demo"]), ("enabled=0", []), ("domain_id=x", [])):
        answer = await cloud.ask("GET", f"/v3/users?{query}", as_="admin")
        assert [user["name"] for user in answer.json["users"]] == found
    assert (await cloud.ask("GET", "/v3/users", as_="demo")).status == 403
    answer = await cloud.ask("GET", "/v3/users?name=demo", as_="demo")
    assert [user["id"] for user in answer.json["users"]] == [cloud.ids["demo"]]
    answer = await cloud.ask("GET", "/v3/users?name=admin", as_="demo")
    assert (answer.status, answer.json["users"]) == (200, [])


async def test_a_user_sees_oneself_and_the_own_projects(cloud: Any) -> None:
    """By the id of the token."""
    path = f"/v3/users/{cloud.ids['demo']}"
    assert (await cloud.ask("GET", path, as_="demo")).json["user"]["name"] == "demo"
    answer = await cloud.ask("GET", f"{path}/projects", as_="demo")
    assert set(answer.json) == {"projects", "links"}
    assert [project["name"] for project in answer.json["projects"]] == ["home"]
    answer = await cloud.ask("GET", f"{path}/groups", as_="demo")
    assert (answer.status, answer.json["groups"]) == (200, [])
    answer = await cloud.ask("GET", f"{path}/access_rules", as_="demo")
    assert (answer.status, answer.json["access_rules"]) == (200, [])


async def test_an_administrator_lists_groups_of_which_there_are_none(cloud: Any) -> None:
    """Others are refused, as in the reference."""
    answer = await cloud.ask("GET", "/v3/groups", as_="admin")
    assert (answer.status, answer.json["groups"]) == (200, [])
    assert (await cloud.ask("GET", "/v3/groups", as_="demo")).status == 403


async def change_password(cloud: Any, user: str, old: Any, new: Any) -> Any:
    """Ask for a new password, without a token."""
    body = {"user": {"original_password": old, "password": new}}
    return await cloud.ask("POST", f"/v3/users/{user}/password", body)


async def test_one_s_own_password_is_changed_without_a_token(cloud: Any) -> None:
    """204; the old tokens are dead, the new password opens."""
    answer = await change_password(cloud, cloud.ids["demo"], cloud.password, "new")
    assert (answer.status, answer.body) == (204, b"")
    assert not await cloud.alive(cloud.tokens["demo"])
    assert (await cloud.log_in("demo")).status == 401
    cloud.password = "new"
    assert (await cloud.log_in("demo")).status == 201


async def test_a_password_is_not_changed_without_the_old_one(cloud: Any) -> None:
    """401 for every reason."""
    for user in (cloud.ids["demo"], "0" * 32, "demo", "x" * 5000):
        assert (await change_password(cloud, user, "wrong", "new")).status == 401
    assert await cloud.alive(cloud.tokens["demo"])
    assert (await cloud.log_in("demo")).status == 201


async def test_guessing_at_the_old_password_is_limited(cloud: Any) -> None:
    """Together with the logins."""
    statuses = [
        (await change_password(cloud, cloud.ids["demo"], "wrong", "new")).status for _ in range(6)
    ]
    assert statuses == [401] * 5 + [429]
    assert (await cloud.log_in("demo")).status == 429


async def test_a_right_old_password_resets_the_count(cloud: Any) -> None:
    """As a login does."""
    for _ in range(2):
        for _ in range(4):
            assert (await change_password(cloud, cloud.ids["demo"], "?", "new")).status == 401
        assert (
            await change_password(cloud, cloud.ids["demo"], cloud.password, cloud.password)
        ).status == 204
