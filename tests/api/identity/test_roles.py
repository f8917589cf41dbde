"""Roles, assignments and the lists of the configuration, over the wire."""

from __future__ import annotations

from typing import Any

import pytest

ADMIN_ROLE = "a0000000000000000000000000000001"


def role(cloud: Any, role_id: str, name: str) -> dict[str, Any]:
    """A role as it must look."""
    return {
        "id": role_id,
        "name": name,
        "domain_id": None,
        "description": None,
        "options": {},
        "links": {"self": f"{cloud.url}/identity/v3/roles/{role_id}"},
    }


async def test_a_role_s_whole_life(cloud: Any) -> None:
    """Made, shown, renamed, found, removed."""
    answer = await cloud.ask("POST", "/v3/roles", {"role": {"name": "auditor"}}, as_="admin")
    assert answer.status == 201
    role_id = answer.json["role"]["id"]
    assert answer.json == {"role": role(cloud, role_id, "auditor")}
    path = f"/v3/roles/{role_id}"
    answer = await cloud.ask("PATCH", path, {"role": {"name": "inspector"}}, as_="admin")
    assert (answer.status, answer.json["role"]["name"]) == (200, "inspector")
    answer = await cloud.ask("GET", "/v3/roles?name=inspector", as_="demo")
    assert answer.json["roles"] == [role(cloud, role_id, "inspector")]
    assert (await cloud.ask("DELETE", path, as_="admin")).status == 204
    for method in ("GET", "DELETE"):
        assert (await cloud.ask(method, path, as_="admin")).status == 404
    answer = await cloud.ask("PATCH", path, {"role": {"name": "x"}}, as_="admin")
    assert answer.status == 404


async def test_built_in_roles_stay_and_names_are_unique(cloud: Any) -> None:
    """403 and 409."""
    path = f"/v3/roles/{ADMIN_ROLE}"
    assert (await cloud.ask("DELETE", path, as_="admin")).status == 403
    body = {"role": {"name": "x"}}
    assert (await cloud.ask("PATCH", path, body, as_="admin")).status == 403
    body = {"role": {"name": "member"}}
    assert (await cloud.ask("POST", "/v3/roles", body, as_="admin")).status == 409


async def test_a_domain_has_no_roles_of_its_own(cloud: Any) -> None:
    """An empty list; a new one is refused."""
    answer = await cloud.ask("GET", "/v3/roles?domain_id=default", as_="admin")
    assert (answer.status, answer.json["roles"]) == (200, [])
    body = {"role": {"name": "x", "domain_id": "elsewhere"}}
    assert (await cloud.ask("POST", "/v3/roles", body, as_="admin")).status == 404


async def test_assignments_say_who_has_which_role_where(cloud: Any) -> None:
    """By ids, or with names when one asks for them."""
    home, admin = cloud.ids["home"], cloud.ids["admin"]
    link = f"{cloud.url}/identity/v3/projects/{home}/users/{admin}/roles/{ADMIN_ROLE}"
    query = f"?role.id={ADMIN_ROLE}"
    answer = await cloud.ask("GET", f"/v3/role_assignments{query}", as_="admin")
    assert answer.status == 200
    assert answer.json["role_assignments"] == [
        {
            "role": {"id": ADMIN_ROLE},
            "user": {"id": admin},
            "scope": {"project": {"id": home}},
            "links": {"assignment": link},
        }
    ]
    domain = {"id": "default", "name": "Default"}
    for flag in ("&include_names", "&include_names=True"):
        answer = await cloud.ask("GET", f"/v3/role_assignments{query}{flag}", as_="admin")
        assert answer.json["role_assignments"] == [
            {
                "role": {"id": ADMIN_ROLE, "name": "admin"},
                "user": {"id": admin, "name": "admin", "domain": domain},
                "scope": {"project": {"id": home, "name": "home", "domain": domain}},
                "links": {"assignment": link},
            }
        ]


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("", 4),
        ("scope.project.id={home}", 3),
        ("user.id={demo}", 1),
        ("user.id={demo}&scope.project.id={other}", 0),
        ("include_names=false", 4),
        ("effective=True", 4),
        ("group.id=x", 0),
        ("scope.domain.id=default", 0),
        ("scope.system=all", 0),
    ],
)
async def test_assignments_are_filtered(cloud: Any, query: str, number: int) -> None:
    """By what is said, together."""
    path = f"/v3/role_assignments?{query.format(**cloud.ids)}"
    answer = await cloud.ask("GET", path, as_="admin")
    assert (answer.status, len(answer.json["role_assignments"])) == (200, number)


async def test_a_user_lists_only_own_assignments(cloud: Any) -> None:
    """403 for anything else."""
    mine = f"/v3/role_assignments?user.id={cloud.ids['demo']}"
    answer = await cloud.ask("GET", mine, as_="demo")
    assert [each["scope"]["project"]["id"] for each in answer.json["role_assignments"]] == [
        cloud.ids["home"]
    ]
    for query in ("", f"?user.id={cloud.ids['admin']}", f"?scope.project.id={cloud.ids['home']}"):
        assert (await cloud.ask("GET", f"/v3/role_assignments{query}", as_="demo")).status == 403


@pytest.mark.parametrize(
    ("collection", "keys"),
    [
        ("domains", {"id", "name", "description", "enabled", "tags", "options", "links"}),
        ("services", {"id", "type", "name", "description", "enabled", "links"}),
        (
            "endpoints",
            {"id", "interface", "service_id", "region", "region_id", "url", "enabled", "links"},
        ),
        ("regions", {"id", "description", "parent_region_id", "links"}),
    ],
)
async def test_what_the_configuration_says_can_be_read(
    cloud: Any, collection: str, keys: set[str]
) -> None:
    """As a list and one by one; what is not there is not found."""
    answer = await cloud.ask("GET", f"/v3/{collection}", as_="demo")
    assert answer.status == 200
    assert set(answer.json) == {collection, "links"}
    assert answer.json[collection]
    for item in answer.json[collection]:
        assert set(item) == keys
        one = await cloud.ask("GET", f"/v3/{collection}/{item['id']}", as_="demo")
        assert (one.status, one.json) == (200, {collection[:-1]: item})
    assert (await cloud.ask("GET", f"/v3/{collection}/nothing", as_="demo")).status == 404


async def test_services_and_endpoints_are_filtered(cloud: Any) -> None:
    """As clients that look for one do."""
    answer = await cloud.ask("GET", "/v3/services?type=compute", as_="admin")
    assert [service["name"] for service in answer.json["services"]] == ["nova"]
    service_id = answer.json["services"][0]["id"]
    path = f"/v3/endpoints?service_id={service_id}&interface=public"
    answer = await cloud.ask("GET", path, as_="admin")
    assert [each["url"] for each in answer.json["endpoints"]] == [f"{cloud.url}/compute/v2.1"]
