"""Application credentials over the wire."""

from __future__ import annotations

from typing import Any

import pytest

SHOWN = {
    *("id", "name", "description", "user_id", "project_id", "roles", "access_rules"),
    *("unrestricted", "expires_at", "links"),
}


async def make(cloud: Any, as_: str = "demo", **wish: Any) -> Any:
    """Ask for a credential as a client does, with nulls for what it leaves to us."""
    body = {
        "name": "robot",
        "description": None,
        "secret": None,
        "roles": [],
        "access_rules": [],
        "expires_at": None,
        "unrestricted": False,
        **wish,
    }
    path = f"/v3/users/{cloud.ids[as_]}/application_credentials"
    return await cloud.ask("POST", path, {"application_credential": body}, as_=as_)


async def log_in(cloud: Any, scope: Any = None, **credential: Any) -> Any:
    """Log in with a credential."""
    identity = {"methods": ["application_credential"], "application_credential": credential}
    return await cloud.authenticate({"identity": identity, "scope": scope})


async def test_the_secret_is_shown_once(cloud: Any) -> None:
    """In the reply to its making, and never again."""
    answer = await make(cloud)
    assert answer.status == 201
    made = answer.json["application_credential"]
    assert set(made) == SHOWN | {"secret"}
    assert made["roles"] == [
        {"id": "a0000000000000000000000000000002", "name": "member", "domain_id": None}
    ]
    assert (made["user_id"], made["project_id"]) == (cloud.ids["demo"], cloud.ids["home"])
    assert (made["unrestricted"], made["expires_at"], made["access_rules"]) == (False, None, [])
    path = f"/v3/users/{cloud.ids['demo']}/application_credentials"
    del made["secret"]
    shown = await cloud.ask("GET", f"{path}/{made['id']}", as_="demo")
    assert (shown.status, shown.json) == (200, {"application_credential": made})
    listed = await cloud.ask("GET", path, as_="demo")
    assert listed.json["application_credentials"] == [made]
    assert set(listed.json) == {"application_credentials", "links"}


@pytest.mark.parametrize("way", ["id", "name", "user id"])
async def test_a_credential_logs_in(cloud: Any, way: str) -> None:
    """Into its own project, by its id or by its name and its user."""
    made = (await make(cloud)).json["application_credential"]
    by: dict[str, Any] = {
        "id": {"id": made["id"]},
        "name": {"name": "robot", "user": {"name": "demo", "domain": {"id": "default"}}},
        "user id": {"name": "robot", "user": {"id": cloud.ids["demo"]}},
    }[way]
    answer = await log_in(cloud, secret=made["secret"], **by)
    assert answer.status == 201
    token = answer.json["token"]
    assert token["methods"] == ["application_credential"]
    assert token["project"]["id"] == cloud.ids["home"]
    assert token["application_credential"] == {"id": made["id"]}
    assert token["catalog"]
    assert await cloud.alive(str(answer.header("x-subject-token")))


async def test_one_may_choose_the_secret(cloud: Any) -> None:
    """It is the one that opens."""
    made = (await make(cloud, secret="my own secret")).json["application_credential"]
    assert made["secret"] == "my own secret"
    assert (await log_in(cloud, id=made["id"], secret="my own secret")).status == 201


async def test_a_wrong_secret_is_refused_and_counted(cloud: Any) -> None:
    """As a password is."""
    made = (await make(cloud)).json["application_credential"]
    statuses = [(await log_in(cloud, id=made["id"], secret="x")).status for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    assert (await log_in(cloud, id=made["id"], secret=made["secret"])).status == 429
    assert (await cloud.log_in("demo")).status == 201


async def test_an_unknown_credential_is_refused(cloud: Any) -> None:
    """401 in every way of naming it."""
    await make(cloud)
    for by in (
        {"id": "0" * 32},
        {"id": "x"},
        {"name": "robot", "user": {"name": "stranger"}},
        {"name": "nothing", "user": {"name": "demo"}},
        {"name": "robot", "user": {"name": "nobody"}},
    ):
        assert (await log_in(cloud, secret="x", **by)).status == 401


async def test_a_credential_takes_no_scope(cloud: Any) -> None:
    """400 for a project; a plain no is fine."""
    made = (await make(cloud)).json["application_credential"]
    proof = {"id": made["id"], "secret": made["secret"]}
    scope = {"project": {"id": cloud.ids["home"]}}
    assert (await log_in(cloud, scope=scope, **proof)).status == 400
    answer = await log_in(cloud, scope="unscoped", **proof)
    assert answer.json["token"]["project"]["id"] == cloud.ids["home"]


async def test_a_credential_has_only_the_roles_that_were_chosen(cloud: Any) -> None:
    """By id or by name."""
    await cloud.people.assign_role(cloud.ids["demo"], cloud.ids["home"], "reader")
    for number, role in enumerate(({"name": "reader"}, {"id": "a0000000000000000000000000000003"})):
        made = (await make(cloud, name=f"r{number}", roles=[role])).json["application_credential"]
        token = (await log_in(cloud, id=made["id"], secret=made["secret"])).json["token"]
        assert [each["name"] for each in token["roles"]] == ["reader"]


async def test_a_credential_cannot_have_roles_that_its_user_does_not_have(cloud: Any) -> None:
    """400, nothing is made."""
    for roles in ([{"name": "admin"}], [{"name": "reader"}], [{"id": "0" * 32}], [{}]):
        assert (await make(cloud, roles=roles)).status == 400
    path = f"/v3/users/{cloud.ids['demo']}/application_credentials"
    assert (await cloud.ask("GET", path, as_="demo")).json["application_credentials"] == []


async def test_a_role_that_the_user_has_lost_is_lost_for_the_credential(cloud: Any) -> None:
    """For its tokens too; with the last one it opens nothing."""
    made = (await make(cloud)).json["application_credential"]
    proof = {"id": made["id"], "secret": made["secret"]}
    token = str((await log_in(cloud, **proof)).header("x-subject-token"))
    await cloud.people.assign_role(cloud.ids["demo"], cloud.ids["home"], "reader")
    await cloud.people.remove_role(cloud.ids["demo"], cloud.ids["home"], "member")
    assert not await cloud.alive(token)
    assert (await log_in(cloud, **proof)).status == 401


async def test_a_reader_s_credential_reads(cloud: Any) -> None:
    """Making one gives nobody more than before."""
    made = (await make(cloud, as_="reader")).json["application_credential"]
    assert [role["name"] for role in made["roles"]] == ["reader"]


async def test_a_credential_may_not_make_others(cloud: Any) -> None:
    """Unless it was made for that."""
    made = (await make(cloud)).json["application_credential"]
    answer = await log_in(cloud, id=made["id"], secret=made["secret"])
    cloud.tokens["demo"] = str(answer.header("x-subject-token"))
    assert (await make(cloud, name="second")).status == 403
    path = f"/v3/users/{cloud.ids['demo']}/application_credentials/{made['id']}"
    assert (await cloud.ask("DELETE", path, as_="demo")).status == 403


async def test_an_unrestricted_credential_makes_others(cloud: Any) -> None:
    """With no more than its own roles."""
    await cloud.people.assign_role(cloud.ids["demo"], cloud.ids["home"], "reader")
    made = (await make(cloud, unrestricted=True, roles=[{"name": "reader"}])).json[
        "application_credential"
    ]
    answer = await log_in(cloud, id=made["id"], secret=made["secret"])
    cloud.tokens["demo"] = str(answer.header("x-subject-token"))
    second = await make(cloud, name="second")
    assert [role["name"] for role in second.json["application_credential"]["roles"]] == ["reader"]
    assert (await make(cloud, name="third", roles=[{"name": "member"}])).status == 400


async def test_a_credential_s_token_enters_no_other_project(cloud: Any) -> None:
    """Though its user may; without a scope its own project stays."""
    await cloud.people.assign_role(cloud.ids["demo"], cloud.ids["other"], "member")
    made = (await make(cloud)).json["application_credential"]
    answer = await log_in(cloud, id=made["id"], secret=made["secret"])
    token = str(answer.header("x-subject-token"))
    identity = {"methods": ["token"], "token": {"id": token}}
    scope = {"project": {"id": cloud.ids["other"]}}
    assert (await cloud.authenticate({"identity": identity, "scope": scope})).status == 403
    again = await cloud.authenticate({"identity": identity})
    assert again.json["token"]["project"]["id"] == cloud.ids["home"]
    assert again.json["token"]["application_credential"] == {"id": made["id"]}
    projects = await cloud.ask("GET", "/v3/auth/projects", token=token)
    assert [project["name"] for project in projects.json["projects"]] == ["home"]


async def test_a_deleted_credential_ends_its_tokens(cloud: Any) -> None:
    """204, then 404; those of the password live on."""
    made = (await make(cloud)).json["application_credential"]
    proof = {"id": made["id"], "secret": made["secret"]}
    token = str((await log_in(cloud, **proof)).header("x-subject-token"))
    path = f"/v3/users/{cloud.ids['demo']}/application_credentials/{made['id']}"
    assert (await cloud.ask("DELETE", path, as_="demo")).status == 204
    assert not await cloud.alive(token)
    assert await cloud.alive(cloud.tokens["demo"])
    assert (await log_in(cloud, **proof)).status == 401
    for method in ("GET", "DELETE"):
        assert (await cloud.ask(method, path, as_="demo")).status == 404


async def test_a_name_is_taken_once_for_each_user(cloud: Any) -> None:
    """409; another user may have the same."""
    assert (await make(cloud)).status == 201
    assert (await make(cloud)).status == 409
    assert (await make(cloud, as_="stranger")).status == 201


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("2999-01-31T12:00:00", 201),
        ("2999-01-31T12:00:00.123456Z", 201),
        ("2999-01-31T12:00:00+02:00", 201),
        ("2001-01-31T12:00:00", 400),
        ("tomorrow", 400),
        ("0001-01-01T00:00:00+23:59", 400),
        ("", 400),
    ],
)
async def test_the_end_of_a_credential_is_a_time_to_come(
    cloud: Any, text: str, status: int
) -> None:
    """Without a zone it is UTC."""
    answer = await make(cloud, expires_at=text)
    assert answer.status == status
    if status == 201:
        at = answer.json["application_credential"]["expires_at"]
        assert at.startswith("2999-01-31T10:" if "+02" in text else "2999-01-31T12:00:00.")
        assert at.endswith("Z")


async def test_rules_that_nobody_would_keep_are_refused(cloud: Any) -> None:
    """Better than a credential that may more than was asked for."""
    rules = [{"path": "/v2.1/servers", "method": "GET", "service": "compute"}]
    assert (await make(cloud, access_rules=rules)).status == 400


async def test_an_unscoped_token_makes_no_credential(cloud: Any) -> None:
    """There is no project for it."""
    answer = await cloud.log_in("demo", scope="unscoped")
    cloud.tokens["demo"] = str(answer.header("x-subject-token"))
    assert (await make(cloud)).status == 403


async def test_clients_look_for_a_credential_by_name(cloud: Any) -> None:
    """First as an id, which is not found, then with a filter."""
    await make(cloud)
    path = f"/v3/users/{cloud.ids['demo']}/application_credentials"
    missing = f"{path}/robot?user_id={cloud.ids['demo']}"
    assert (await cloud.ask("GET", missing, as_="demo")).status == 404
    answer = await cloud.ask("GET", f"{path}?name=robot", as_="demo")
    assert len(answer.json["application_credentials"]) == 1
    answer = await cloud.ask("GET", f"{path}?name=other", as_="demo")
    assert answer.json["application_credentials"] == []


async def test_a_changed_password_leaves_credentials(cloud: Any) -> None:
    """Programs go on with new logins."""
    made = (await make(cloud)).json["application_credential"]
    await cloud.people.update_user(cloud.ids["demo"], {"password": "new"})
    assert (await log_in(cloud, id=made["id"], secret=made["secret"])).status == 201
