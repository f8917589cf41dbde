"""Who is no administrator neither sees nor changes others: every endpoint, one after the other."""

from __future__ import annotations

import re
from typing import Any

import pytest

ROLE = "a0000000000000000000000000000002"

#: Endpoints that need no token.
OPEN = {
    ("GET", "/identity"),
    ("GET", "/identity/v3"),
    ("GET", "/identity/v3/openapi.json"),
    ("POST", "/identity/v3/auth/tokens"),
    ("POST", "/identity/v3/users/<user_id>/password"),
}

PROJECT = {"project": {"name": "mine"}}
USER = {"user": {"name": "mine", "password": "x"}}
NAMED_ROLE = {"role": {"name": "mine"}}
CREDENTIAL = {"application_credential": {"name": "mine"}}

#: What a member gets who asks about a stranger's things: path, body, status.
FORBIDDEN: dict[tuple[str, str], tuple[str, Any, int]] = {
    ("GET", "/projects"): ("/projects", None, 403),
    ("POST", "/projects"): ("/projects", PROJECT, 403),
    ("GET", "/projects/<project_id>"): ("/projects/{other}", None, 404),
    ("PATCH", "/projects/<project_id>"): ("/projects/{other}", PROJECT, 403),
    ("DELETE", "/projects/<project_id>"): ("/projects/{other}", None, 403),
    ("GET", "/projects/<project_id>/users/<user_id>/roles"): (
        *("/projects/{other}/users/{stranger}/roles", None),
        403,
    ),
    ("GET", "/projects/<project_id>/users/<user_id>/roles/<role_id>"): (
        *(f"/projects/{{other}}/users/{{stranger}}/roles/{ROLE}", None),
        403,
    ),
    ("PUT", "/projects/<project_id>/users/<user_id>/roles/<role_id>"): (
        *(f"/projects/{{other}}/users/{{demo}}/roles/{ROLE}", None),
        403,
    ),
    ("DELETE", "/projects/<project_id>/users/<user_id>/roles/<role_id>"): (
        *(f"/projects/{{other}}/users/{{stranger}}/roles/{ROLE}", None),
        403,
    ),
    ("GET", "/users"): ("/users", None, 403),
    ("POST", "/users"): ("/users", USER, 403),
    ("GET", "/users/<user_id>"): ("/users/{stranger}", None, 404),
    ("PATCH", "/users/<user_id>"): ("/users/{stranger}", USER, 403),
    ("DELETE", "/users/<user_id>"): ("/users/{stranger}", None, 403),
    ("GET", "/users/<user_id>/projects"): ("/users/{stranger}/projects", None, 403),
    ("GET", "/users/<user_id>/groups"): ("/users/{stranger}/groups", None, 403),
    ("GET", "/users/<user_id>/access_rules"): ("/users/{stranger}/access_rules", None, 403),
    ("GET", "/groups"): ("/groups", None, 403),
    ("GET", "/users/<user_id>/application_credentials"): (
        *("/users/{stranger}/application_credentials", None),
        403,
    ),
    ("POST", "/users/<user_id>/application_credentials"): (
        *("/users/{stranger}/application_credentials", CREDENTIAL),
        403,
    ),
    ("GET", "/users/<user_id>/application_credentials/<credential_id>"): (
        *("/users/{stranger}/application_credentials/{credential}", None),
        403,
    ),
    ("DELETE", "/users/<user_id>/application_credentials/<credential_id>"): (
        *("/users/{stranger}/application_credentials/{credential}", None),
        403,
    ),
    ("POST", "/roles"): ("/roles", NAMED_ROLE, 403),
    ("PATCH", "/roles/<role_id>"): (f"/roles/{ROLE}", NAMED_ROLE, 403),
    ("DELETE", "/roles/<role_id>"): (f"/roles/{ROLE}", None, 403),
    ("GET", "/role_assignments"): ("/role_assignments?user.id={stranger}", None, 403),
}

#: What everybody with a token may read: the configuration, and what is one's own.
COMMON = {
    *(("GET", "/roles"), ("GET", "/roles/<role_id>")),
    *(("GET", f"/{name}") for name in ("domains", "services", "endpoints", "regions")),
    *(("GET", f"/{name}/<item_id>") for name in ("domains", "services", "endpoints", "regions")),
    *(("GET", f"/auth/{name}") for name in ("catalog", "projects", "domains")),
    *(("GET", "/auth/tokens"), ("DELETE", "/auth/tokens")),
}


def routes(cloud: Any) -> set[tuple[str, str]]:
    """Every endpoint of Identity as the router knows it."""
    found = set()
    for rule in cloud.frame.klein.url_map.iter_rules():
        method, _, path = str(rule.endpoint).partition(" ")
        if path.startswith("/identity"):
            found.add((method, path))
    return found


async def credential_of_the_stranger(cloud: Any) -> str:
    """Make one, and return its id."""
    path = f"/v3/users/{cloud.ids['stranger']}/application_credentials"
    body = {"application_credential": {"name": "theirs"}}
    answer = await cloud.ask("POST", path, body, as_="stranger")
    return str(answer.json["application_credential"]["id"])


async def test_no_endpoint_is_forgotten_here(cloud: Any) -> None:
    """Whoever adds one says below who may do what."""
    known = {(method, f"/identity/v3{path}") for method, path in {*FORBIDDEN, *COMMON}}
    assert routes(cloud) == known | OPEN


async def test_without_a_token_nothing_opens(cloud: Any) -> None:
    """401 in the service's shape, for no token, a wrong one and a dead one."""
    before = await cloud.everything()
    for method, path in sorted(routes(cloud) - OPEN):
        target = re.sub("<[a-z_]+>", "0" * 32, path.removeprefix("/identity"))
        for token in (None, "", "x" * 43, "\xe9", "a b"):
            answer = await cloud.ask(method, target, {}, token=token)
            assert answer.status == 401, (method, path, token)
            assert answer.json["error"]["title"] == "Unauthorized"
    assert await cloud.everything() == before


@pytest.mark.parametrize("person", ["demo", "reader"])
async def test_others_are_neither_seen_nor_changed(cloud: Any, person: str) -> None:
    """The right 4xx everywhere, no name in the text, and the same records afterwards."""
    ids = {**cloud.ids, "credential": await credential_of_the_stranger(cloud)}
    before = await cloud.everything()
    for (method, _), (path, body, status) in FORBIDDEN.items():
        answer = await cloud.ask(method, "/v3" + path.format(**ids), body, as_=person)
        assert answer.status == status, (method, path, answer.body)
        assert b"stranger" not in answer.body
        assert set(answer.json["error"]) == {"code", "message", "title"}
    assert await cloud.everything() == before


@pytest.mark.parametrize("person", ["demo", "reader"])
async def test_existence_makes_no_difference(cloud: Any, person: str) -> None:
    """A stranger's thing answers as one that does not exist."""
    ids = {**cloud.ids, "credential": await credential_of_the_stranger(cloud)}
    nobody = dict.fromkeys(ids, "0" * 32)
    for (method, _), (path, body, _) in FORBIDDEN.items():
        there = await cloud.ask(method, "/v3" + path.format(**ids), body, as_=person)
        nowhere = await cloud.ask(method, "/v3" + path.format(**nobody), body, as_=person)
        assert there.status == nowhere.status, (method, path)


async def test_a_token_of_another_is_not_found(cloud: Any) -> None:
    """Neither shown nor ended; an administrator may."""
    headers = {"x-subject-token": cloud.tokens["stranger"]}
    for method in ("GET", "HEAD", "DELETE"):
        answer = await cloud.ask(method, "/v3/auth/tokens", as_="demo", headers=headers)
        assert answer.status == 404
    assert await cloud.alive(cloud.tokens["stranger"])
    answer = await cloud.ask("GET", "/v3/auth/tokens", as_="admin", headers=headers)
    assert answer.json["token"]["user"]["name"] == "stranger"
    answer = await cloud.ask("DELETE", "/v3/auth/tokens", as_="admin", headers=headers)
    assert answer.status == 204
    assert not await cloud.alive(cloud.tokens["stranger"])


async def test_own_things_show_nothing_of_others(cloud: Any) -> None:
    """Lists that everybody may read."""
    for path in (
        *("/v3/auth/projects", "/v3/auth/catalog", "/v3/roles", "/v3/projects?name=home"),
        *(f"/v3/users/{cloud.ids['demo']}/projects", "/v3/users?name=stranger"),
    ):
        answer = await cloud.ask("GET", path, as_="demo")
        assert answer.status == 200
        assert cloud.ids["other"].encode() not in answer.body
        assert cloud.ids["stranger"].encode() not in answer.body


async def test_being_a_member_elsewhere_does_not_make_an_administrator(cloud: Any) -> None:
    """The role counts in the project of the token."""
    await cloud.people.assign_role(cloud.ids["stranger"], cloud.ids["home"], "admin")
    assert (await cloud.ask("GET", "/v3/users", as_="stranger")).status == 403
    scope = {"project": {"id": cloud.ids["home"]}}
    token = str((await cloud.log_in("stranger", scope=scope)).header("x-subject-token"))
    assert (await cloud.ask("GET", "/v3/users", token=token)).status == 200


async def test_an_administrator_sees_and_removes_another_s_credential_but_makes_none(
    cloud: Any,
) -> None:
    """Nobody gets a secret of somebody else."""
    credential_id = await credential_of_the_stranger(cloud)
    path = f"/v3/users/{cloud.ids['stranger']}/application_credentials"
    answer = await cloud.ask("GET", f"{path}/{credential_id}", as_="admin")
    assert (answer.status, "secret" in answer.json["application_credential"]) == (200, False)
    assert (await cloud.ask("POST", path, CREDENTIAL, as_="admin")).status == 403
    assert (await cloud.ask("DELETE", f"{path}/{credential_id}", as_="admin")).status == 204


async def test_a_credential_is_found_under_its_own_user_only(cloud: Any) -> None:
    """404 below somebody else's path."""
    credential_id = await credential_of_the_stranger(cloud)
    path = f"/v3/users/{cloud.ids['demo']}/application_credentials/{credential_id}"
    for method in ("GET", "DELETE"):
        assert (await cloud.ask(method, path, as_="demo")).status == 404
    before = await cloud.everything()
    assert any(credential_id in row for row in before)
