"""The unmodified ``openstack`` command does what people use it for."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from cyclades_tx.identity.attempts import LoginLimits
from tests.scenario.clients.people import typed

Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def limits() -> LoginLimits:
    """A command that is refused tries again, so failures come in pairs."""
    return LoginLimits(name_failures=50, address_failures=500)


@pytest.fixture
def openstack(cloud: Any, tmp_path: Path) -> Run:
    """Return a function that runs a command as a user and returns what it printed, read.

    A command that fails raises AssertionError with what it said.
    """

    async def run(*words: str, as_: str = "admin", **environment: str) -> Any:
        login = {
            "OS_USERNAME": as_,
            "OS_PASSWORD": cloud.password,
            "OS_PROJECT_NAME": "other" if as_ == "stranger" else "home",
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
        }
        around = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "OS_AUTH_URL": f"{cloud.url}/identity",
            "OS_IDENTITY_API_VERSION": "3",
            **(environment or login),
        }
        result = await deferToThread(typed, words, around, tmp_path)
        if result.returncode != 0:
            raise AssertionError(result.stderr)
        if "-f" not in words:
            return result.stdout
        return json.loads(result.stdout)

    return run


JSON = ("-f", "json")


async def test_a_token_is_issued_and_revoked(cloud: Any, openstack: Run) -> None:
    """With names, in the project that was named."""
    shown = await openstack("token", "issue", *JSON, as_="demo")
    assert shown["project_id"] == cloud.ids["home"]
    assert shown["user_id"] == cloud.ids["demo"]
    assert await cloud.alive(shown["id"])
    await openstack("token", "revoke", shown["id"], as_="demo")
    assert not await cloud.alive(shown["id"])


async def test_the_catalog_is_listed(cloud: Any, openstack: Run) -> None:
    """Every service with its three interfaces."""
    listed = await openstack("catalog", "list", *JSON, as_="demo")
    assert {entry["Name"]: entry["Type"] for entry in listed} == {
        "keystone": "identity",
        "nova": "compute",
        "neutron": "network",
        "glance": "image",
    }
    assert {each["interface"] for each in listed[0]["Endpoints"]} == {
        *("public", "internal", "admin")
    }


async def test_versions_are_shown(cloud: Any, openstack: Run) -> None:
    """Of the service that is here."""
    listed = await openstack("versions", "show", "--service", "identity", *JSON, as_="demo")
    assert {(each["Version"], each["Status"]) for each in listed} == {("3.14", "CURRENT")}


async def test_a_project_s_whole_life(cloud: Any, openstack: Run) -> None:
    """Made, shown by name, listed, changed, deleted."""
    made = await openstack("project", "create", "--description", "a test", "lab", *JSON)
    assert (made["name"], made["description"], made["enabled"]) == ("lab", "a test", True)
    await openstack("project", "set", "--name", "work", "--disable", "lab")
    shown = await openstack("project", "show", "work", *JSON)
    assert (shown["id"], shown["enabled"]) == (made["id"], False)
    listed = await openstack("project", "list", *JSON)
    assert {each["Name"] for each in listed} == {"home", "other", "work"}
    await openstack("project", "delete", "work")
    with pytest.raises(AssertionError, match=r"No [Pp]roject"):
        await openstack("project", "show", "work")


async def test_a_user_s_whole_life(cloud: Any, openstack: Run) -> None:
    """Made, shown by name, listed, changed, deleted; the new password opens."""
    made = await openstack(
        *("user", "create", "--project", "other", "--password", "first", "--email", "e@x", "eve"),
        *JSON,
    )
    assert (made["name"], made["email"]) == ("eve", "e@x")
    assert made["default_project_id"] == cloud.ids["other"]
    assert "password" not in made
    await openstack("user", "set", "--password", cloud.password, "--description", "new", "eve")
    shown = await openstack("user", "show", "eve", *JSON)
    assert (shown["id"], shown["description"]) == (made["id"], "new")
    assert (await cloud.log_in("eve")).status == 201
    await openstack("user", "set", "--disable", "eve")
    assert (await cloud.log_in("eve")).status == 401
    listed = await openstack("user", "list", *JSON)
    assert {each["Name"] for each in listed} == {"admin", "demo", "reader", "stranger", "eve"}
    await openstack("user", "delete", "eve")
    with pytest.raises(AssertionError, match=r"No [Uu]ser"):
        await openstack("user", "show", "eve")


async def test_roles_are_made_given_listed_and_taken(cloud: Any, openstack: Run) -> None:
    """In a project, by names."""
    made = await openstack("role", "create", "auditor", *JSON)
    assert made["name"] == "auditor"
    assert {each["Name"] for each in await openstack("role", "list", *JSON)} == {
        *("admin", "member", "reader", "auditor")
    }
    where = ("--project", "other", "--user", "demo")
    await openstack("role", "add", *where, "auditor")
    listed = await openstack("role", "assignment", "list", "--names", *where, *JSON)
    assert [(each["Role"], each["User"], each["Project"]) for each in listed] == [
        ("auditor", "demo@Default", "other@Default")
    ]
    await openstack("role", "remove", *where, "auditor")
    assert await openstack("role", "assignment", "list", *where, *JSON) == []
    await openstack("role", "set", "--name", "inspector", "auditor")
    assert (await openstack("role", "show", "inspector", *JSON))["id"] == made["id"]
    await openstack("role", "delete", "inspector")


async def test_the_last_administrator_is_kept_with_a_sentence(cloud: Any, openstack: Run) -> None:
    """The client prints why."""
    with pytest.raises(AssertionError, match="make another administrator first"):
        await openstack("user", "set", "--disable", "admin")
    # The client itself says nothing when a role cannot be taken.
    await openstack("role", "remove", "--project", "home", "--user", "admin", "admin")
    assert (await cloud.ask("GET", "/v3/users", as_="admin")).status == 200


async def test_a_member_sees_what_is_own(cloud: Any, openstack: Run) -> None:
    """Lists and look-ups by name; what is not own may not be looked for."""
    listed = await openstack("project", "list", *JSON, as_="demo")
    assert [each["Name"] for each in listed] == ["home"]
    shown = await openstack("project", "show", "home", *JSON, as_="demo")
    assert shown["id"] == cloud.ids["home"]
    shown = await openstack("user", "show", "demo", *JSON, as_="demo")
    assert shown["id"] == cloud.ids["demo"]
    with pytest.raises(AssertionError, match="403"):
        await openstack("project", "show", "other", as_="demo")
    with pytest.raises(AssertionError, match="403"):
        await openstack("user", "create", "eve", as_="demo")


async def test_an_application_credential_is_made_and_logs_in(cloud: Any, openstack: Run) -> None:
    """With nothing but its id and secret."""
    made = await openstack(
        *("application", "credential", "create", "--role", "member", "robot"), *JSON, as_="demo"
    )
    environment = {
        "OS_AUTH_TYPE": "v3applicationcredential",
        "OS_APPLICATION_CREDENTIAL_ID": made["ID"],
        "OS_APPLICATION_CREDENTIAL_SECRET": made["Secret"],
    }
    token = await openstack("token", "issue", *JSON, **environment)
    assert token["project_id"] == cloud.ids["home"]
    shown = await openstack("application", "credential", "show", "robot", *JSON, as_="demo")
    assert shown["ID"] == made["ID"]
    listed = await openstack("application", "credential", "list", *JSON, as_="demo")
    assert [each["Name"] for each in listed] == ["robot"]
    await openstack("application", "credential", "delete", "robot", as_="demo")
    assert not await cloud.alive(token["id"])


async def test_a_user_changes_the_own_password(cloud: Any, openstack: Run) -> None:
    """The tokens from before are dead."""
    words = ("user", "password", "set", "--original-password", cloud.password)
    await openstack(*words, "--password", "new one", as_="demo")
    assert not await cloud.alive(cloud.tokens["demo"])
    cloud.password = "new one"
    assert (await cloud.log_in("demo")).status == 201


async def test_a_wrong_password_is_said_in_one_line(cloud: Any, openstack: Run) -> None:
    """The service's own sentence."""
    cloud.password = "wrong"
    with pytest.raises(AssertionError, match=r"requires authentication.*HTTP 401"):
        await openstack("token", "issue", as_="demo")


@pytest.mark.parametrize("collection", ["service", "endpoint", "region", "domain"])
async def test_what_the_configuration_says_is_listed(
    cloud: Any, openstack: Run, collection: str
) -> None:
    """As an administrator looks at it."""
    assert await openstack(collection, "list", *JSON)
