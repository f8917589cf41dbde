"""Logging in, asking about tokens and ending them, over the wire."""

from __future__ import annotations

import re
from typing import Any

import pytest

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
SCOPED = {
    *("methods", "user", "audit_ids", "issued_at", "expires_at"),
    *("project", "is_domain", "roles", "catalog"),
}
UNSCOPED = {"methods", "user", "audit_ids", "issued_at", "expires_at"}
REFUSED = {
    "error": {
        "code": 401,
        "message": "The request you have made requires authentication.",
        "title": "Unauthorized",
    }
}


def password(cloud: Any, **user: Any) -> dict[str, Any]:
    """An identity part with a password."""
    user.setdefault("password", cloud.password)
    return {"methods": ["password"], "password": {"user": user}}


def home(cloud: Any) -> dict[str, Any]:
    """The scope of everybody's project."""
    return {"project": {"id": cloud.ids["home"]}}


async def test_a_scoped_token_has_everything_that_clients_read(cloud: Any) -> None:
    """And nothing else."""
    answer = await cloud.authenticate(
        {
            "identity": password(cloud, name="demo", domain={"id": "default"}),
            "scope": {"project": {"name": "home", "domain": {"name": "Default"}}},
        }
    )
    assert answer.status == 201
    assert re.fullmatch("[A-Za-z0-9_-]{43}", str(answer.header("x-subject-token")))
    assert answer.header("vary") == "X-Auth-Token"
    assert set(answer.json) == {"token"}
    token = answer.json["token"]
    assert set(token) == SCOPED
    domain = {"id": "default", "name": "Default"}
    assert token["user"] == {
        "id": cloud.ids["demo"],
        "name": "demo",
        "domain": domain,
        "password_expires_at": None,
    }
    assert token["project"] == {"id": cloud.ids["home"], "name": "home", "domain": domain}
    assert token["roles"] == [{"id": "a0000000000000000000000000000002", "name": "member"}]
    assert token["methods"] == ["password"]
    assert token["is_domain"] is False
    assert len(token["audit_ids"]) == 1
    assert TIME.fullmatch(token["issued_at"])
    assert TIME.fullmatch(token["expires_at"])
    assert [entry["type"] for entry in token["catalog"]] == [
        *("identity", "compute", "network", "image")
    ]


@pytest.mark.parametrize(
    "domain", [{"id": "default"}, {"name": "Default"}, {"name": "default"}, None]
)
async def test_the_domain_can_be_said_in_each_way(cloud: Any, domain: Any) -> None:
    """Of the user and of the project."""
    answer = await cloud.authenticate(
        {
            "identity": password(cloud, name="demo", domain=domain),
            "scope": {"project": {"name": "home", "domain": domain}},
        }
    )
    assert answer.status == 201


async def test_ids_do_as_well_as_names(cloud: Any) -> None:
    """Nothing else is needed with them."""
    answer = await cloud.authenticate(
        {"identity": password(cloud, id=cloud.ids["demo"]), "scope": home(cloud)}
    )
    assert answer.json["token"]["project"]["id"] == cloud.ids["home"]


async def test_without_a_scope_the_default_project_is_taken(cloud: Any) -> None:
    """As clients without a project expect."""
    for scope in ({}, {"scope": None}):
        answer = await cloud.log_in("demo", **scope)
        assert answer.json["token"]["project"]["id"] == cloud.ids["home"]


async def test_without_a_default_project_the_token_is_unscoped(cloud: Any) -> None:
    """Also when the user has lost the roles there."""
    await cloud.people.remove_role(cloud.ids["demo"], cloud.ids["home"], "member")
    answer = await cloud.log_in("demo")
    assert (answer.status, set(answer.json["token"])) == (201, UNSCOPED)
    await cloud.people.update_user(cloud.ids["demo"], {"default_project_id": None})
    assert set((await cloud.log_in("demo")).json["token"]) == UNSCOPED


async def test_unscoped_can_be_asked_for(cloud: Any) -> None:
    """Though there is a default project."""
    answer = await cloud.log_in("demo", scope="unscoped")
    assert (answer.status, set(answer.json["token"])) == (201, UNSCOPED)


async def test_the_catalog_can_be_left_out(cloud: Any) -> None:
    """With the mere word in the query."""
    auth = {"identity": password(cloud, name="demo")}
    for query in ("?nocatalog", "?nocatalog=1", "?x=y&nocatalog"):
        answer = await cloud.ask("POST", f"/v3/auth/tokens{query}", {"auth": auth})
        assert set(answer.json["token"]) == SCOPED - {"catalog"}


async def test_every_wrong_login_is_refused_in_the_same_words(cloud: Any) -> None:
    """Nobody learns whether it was the name, the password or the project."""
    await cloud.people.update_user(cloud.ids["reader"], {"enabled": False})
    demo = password(cloud, name="demo")
    for auth in (
        {"identity": password(cloud, name="demo", password="wrong")},
        {"identity": password(cloud, name="demo", password="")},
        {"identity": password(cloud, name="nobody")},
        {"identity": password(cloud, name="reader")},
        {"identity": password(cloud, name="demo", domain={"name": "Other"})},
        {"identity": password(cloud, id="0" * 32)},
        {"identity": password(cloud, id="' or true --")},
        {"identity": demo, "scope": {"project": {"id": cloud.ids["other"]}}},
        {"identity": demo, "scope": {"project": {"id": "0" * 32}}},
        {"identity": demo, "scope": {"project": {"name": "nowhere"}}},
        {"identity": demo, "scope": {"project": {"name": "home", "domain": {"id": "x"}}}},
        {"identity": demo, "scope": {"domain": {"id": "default"}}},
        {"identity": demo, "scope": {"system": {"all": True}}},
        {"identity": {"methods": ["token"], "token": {"id": "wrong"}}},
    ):
        answer = await cloud.authenticate(auth)
        assert (answer.status, answer.json) == (401, REFUSED), auth
        assert answer.header("www-authenticate") == f'Keystone uri="{cloud.url}/identity"'
        assert answer.header("x-subject-token") is None


async def test_a_login_that_cannot_be_understood_is_a_bad_request(cloud: Any) -> None:
    """400 in the service's own shape."""
    demo = password(cloud, name="demo")
    for auth in (
        {},
        {"identity": {"methods": []}},
        {"identity": {"methods": ["password"]}},
        {"identity": {"methods": ["token"]}},
        {"identity": {"methods": ["application_credential"]}},
        {"identity": {"methods": ["password"], "password": {"user": {"name": "demo"}}}},
        {"identity": {"methods": ["password"], "password": {"user": {"password": "x"}}}},
        {"identity": password(cloud, name="demo", domain={})},
        {"identity": demo, "scope": {}},
        {"identity": demo, "scope": {"project": {}}},
        {"identity": demo, "scope": {"project": {"id": "x"}, "system": {"all": True}}},
        {"identity": demo, "scope": "everything"},
        {
            "identity": {
                "methods": ["application_credential"],
                "application_credential": {"name": "x", "secret": "y"},
            }
        },
    ):
        answer = await cloud.authenticate(auth)
        assert answer.status == 400, auth
        assert set(answer.json) == {"error"}
        assert set(answer.json["error"]) == {"code", "message", "title"}


@pytest.mark.parametrize("methods", [["totp"], ["password", "token"], ["external"]])
async def test_methods_that_do_not_exist_are_refused(cloud: Any, methods: list[str]) -> None:
    """401 as Keystone does."""
    identity = {**password(cloud, name="demo"), "methods": methods}
    assert (await cloud.authenticate({"identity": identity})).status == 401


async def test_too_many_failures_are_told_to_wait(cloud: Any) -> None:
    """429 with the seconds, for the right password too."""
    auth = {"identity": password(cloud, name="demo", password="wrong")}
    statuses = [(await cloud.authenticate(auth)).status for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    answer = await cloud.log_in("demo")
    assert answer.status == 429
    assert 1 <= int(str(answer.header("retry-after"))) <= 300
    assert (await cloud.log_in("admin")).status == 201


async def test_failures_count_for_the_address_behind_a_trusted_proxy(
    cloud: Any, database: Any
) -> None:
    """The last hop that is no proxy of ours; what it says about others counts for nothing."""
    auth = {"identity": password(cloud, name="nobody")}
    headers = {"x-forwarded-for": "203.0.113.9, 198.51.100.7"}
    await cloud.authenticate(auth, headers=headers)
    rows = await database.all("select subject from login_attempt order by subject")
    assert [row.subject for row in rows] == ["address:198.51.100.7", "name:nobody"]


async def test_a_token_gets_another_scope(cloud: Any) -> None:
    """Its methods and audit ids tell where it comes from."""
    await cloud.people.assign_role(cloud.ids["demo"], cloud.ids["other"], "reader")
    identity = {"methods": ["token"], "token": {"id": cloud.tokens["demo"]}}
    answer = await cloud.authenticate(
        {"identity": identity, "scope": {"project": {"id": cloud.ids["other"]}}}
    )
    assert answer.status == 201
    token = answer.json["token"]
    assert token["project"]["name"] == "other"
    assert [role["name"] for role in token["roles"]] == ["reader"]
    assert token["methods"] == ["token", "password"]
    assert len(token["audit_ids"]) == 2


async def test_a_token_without_a_scope_gives_one_without_a_catalog(cloud: Any) -> None:
    """Nothing is guessed."""
    identity = {"methods": ["token"], "token": {"id": cloud.tokens["demo"]}}
    answer = await cloud.authenticate({"identity": identity})
    assert (answer.status, set(answer.json["token"])) == (201, UNSCOPED)


async def test_a_token_cannot_enter_a_project_without_a_role(cloud: Any) -> None:
    """401 as with a password."""
    identity = {"methods": ["token"], "token": {"id": cloud.tokens["demo"]}}
    answer = await cloud.authenticate(
        {"identity": identity, "scope": {"project": {"id": cloud.ids["other"]}}}
    )
    assert answer.status == 401


async def test_a_token_shows_itself(cloud: Any) -> None:
    """The same document as at its birth, and the token in the header."""
    born = await cloud.log_in("demo")
    token = str(born.header("x-subject-token"))
    headers = {"x-subject-token": token}
    shown = await cloud.ask("GET", "/v3/auth/tokens", token=token, headers=headers)
    assert (shown.status, shown.json) == (200, born.json)
    assert shown.header("x-subject-token") == token


async def test_head_says_only_whether_a_token_is_valid(cloud: Any) -> None:
    """No body."""
    headers = {"x-subject-token": cloud.tokens["demo"]}
    answer = await cloud.ask("HEAD", "/v3/auth/tokens", as_="demo", headers=headers)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("subject", ["", "x", "A" * 43, "é", None])
async def test_an_unknown_token_is_not_found(cloud: Any, subject: str | None) -> None:
    """404 from the one who asks with a valid one."""
    headers = {} if subject is None else {"x-subject-token": subject}
    for method in ("GET", "HEAD", "DELETE"):
        answer = await cloud.ask(method, "/v3/auth/tokens", as_="admin", headers=headers)
        assert answer.status == 404


async def test_a_deleted_token_is_dead_at_once(cloud: Any) -> None:
    """For everything."""
    token = cloud.tokens["demo"]
    assert await cloud.alive(token)
    headers = {"x-subject-token": token}
    answer = await cloud.ask("DELETE", "/v3/auth/tokens", as_="demo", headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    assert not await cloud.alive(token)


async def test_an_unscoped_token_has_no_catalog(cloud: Any) -> None:
    """403 from the catalog, the own projects are listed."""
    token = str((await cloud.log_in("demo", scope="unscoped")).header("x-subject-token"))
    assert (await cloud.ask("GET", "/v3/auth/catalog", token=token)).status == 403
    answer = await cloud.ask("GET", "/v3/auth/projects", token=token)
    assert [project["name"] for project in answer.json["projects"]] == ["home"]


async def test_the_catalog_is_that_of_the_token(cloud: Any) -> None:
    """In a list of its own."""
    answer = await cloud.ask("GET", "/v3/auth/catalog", as_="demo")
    assert answer.status == 200
    assert answer.json == {
        "catalog": (await cloud.log_in("demo")).json["token"]["catalog"],
        "links": {
            "self": f"{cloud.url}/identity/v3/auth/catalog",
            "previous": None,
            "next": None,
        },
    }


async def test_only_own_enabled_projects_can_be_entered(cloud: Any) -> None:
    """The list from which people choose."""
    await cloud.people.assign_role(cloud.ids["demo"], cloud.ids["other"], "member")
    await cloud.people.update_project(cloud.ids["other"], {"enabled": False})
    for path in ("/v3/auth/projects",):
        answer = await cloud.ask("GET", path, as_="demo")
        assert [project["name"] for project in answer.json["projects"]] == ["home"]
    answer = await cloud.ask("GET", "/v3/auth/domains", as_="demo")
    assert (answer.status, answer.json["domains"]) == (200, [])
