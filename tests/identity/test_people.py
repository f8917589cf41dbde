"""Projects, users and roles, past the wire."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import DeferredList, ensureDeferred

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound
from cyclades_tx.flows.identity import People
from cyclades_tx.identity.tokens import is_id, new_id
from cyclades_tx.model.who import Who
from cyclades_tx.store import roles, users
from cyclades_tx.testing.builders import a_cluster, a_flavor, a_network, a_server, an_operation


async def test_a_new_project_begins_with_what_the_hook_gives_it(world: Any, database: Any) -> None:
    """In the same transaction."""
    seen: list[str] = []

    async def hook(tx: Any, project_id: str) -> None:
        seen.append(project_id)
        await tx.run(
            "insert into holding (project_id, resource, maximum) values (%s, 'cyclades.vm', 2)",
            (project_id,),
        )

    people = People(database, world.passwords, on_project_created=hook)
    project_id = await people.create_project("home")
    assert is_id(project_id)
    assert seen == [project_id]
    assert await database.value("select maximum from holding") == 2


async def test_a_project_whose_hook_fails_does_not_exist(world: Any, database: Any) -> None:
    """All or nothing."""

    async def hook(tx: Any, project_id: str) -> None:
        raise Conflict("no room")

    people = People(database, world.passwords, on_project_created=hook)
    with pytest.raises(Conflict, match="no room"):
        await people.create_project("home")
    assert await people.list_projects() == []


async def test_one_of_two_with_the_same_name_at_the_same_moment_wins(world: Any) -> None:
    """The other is told that the name is taken."""
    results = await DeferredList(
        [ensureDeferred(world.people.create_project("home")) for _ in range(5)], consumeErrors=True
    )
    assert sum(ok for ok, _ in results) == 1
    assert all(failure.check(Conflict) for ok, failure in results if not ok)


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "a\0b", "x" * 256])
async def test_strange_names_are_refused(world: Any, name: str) -> None:
    """Of projects, users and roles alike."""
    for create in (
        world.people.create_project(name),
        world.people.create_user(name, None),
        world.people.create_role(name),
    ):
        with pytest.raises(BadRequest):
            await create


async def test_things_are_found_by_id_and_by_name(world: Any) -> None:
    """An id wins over a name that looks like it."""
    user_id = await world.person("demo")
    await world.people.create_user(user_id, None)
    assert await world.people.find_user("demo") == user_id
    assert await world.people.find_user(user_id) == user_id
    for missing in ("nobody", "\0"):
        with pytest.raises(NotFound):
            await world.people.find_user(missing)
        with pytest.raises(NotFound):
            await world.people.find_project(missing)


async def test_lists_are_in_the_order_of_names(world: Any) -> None:
    """For tables that people read."""
    for name in ("b", "a"):
        await world.people.create_project(name)
        await world.people.create_user(name, None)
    assert [row.name for row in await world.people.list_projects()] == ["a", "b"]
    assert [row.name for row in await world.people.list_users()] == ["a", "b"]
    assert [row.name for row in await world.people.list_roles()] == ["admin", "member", "reader"]


async def test_an_empty_password_is_refused(world: Any) -> None:
    """None is the way to say that there is none."""
    with pytest.raises(BadRequest):
        await world.people.create_user("demo", "")


async def test_a_user_for_an_unknown_project_is_not_made(world: Any) -> None:
    """Whatever stands in the place of the id."""
    for project_id in (new_id(), "home", "\0"):
        with pytest.raises(NotFound):
            await world.people.create_user("demo", None, default_project_id=project_id)
    assert await world.people.list_users() == []


async def test_a_role_needs_all_three(world: Any) -> None:
    """The error names what there is not."""
    user_id = await world.person("demo")
    project_id = await world.people.find_project("home")
    for user, project, role, named in (
        (new_id(), project_id, "member", "user"),
        (user_id, new_id(), "member", "project"),
        (user_id, project_id, "king", "role"),
        (user_id, project_id, "\0", "role"),
        ("\0", project_id, "member", "user"),
    ):
        with pytest.raises(NotFound) as caught:
            await world.people.assign_role(user, project, role)
        assert caught.value.kind == named


async def test_a_role_that_the_user_does_not_have_cannot_be_taken(world: Any) -> None:
    """404, not silence."""
    user_id = await world.person("demo")
    project_id = await world.people.find_project("home")
    with pytest.raises(NotFound):
        await world.people.remove_role(user_id, project_id, "reader")


async def test_the_built_in_roles_stay(world: Any) -> None:
    """The service itself knows them by name."""
    for row in await world.people.list_roles():
        with pytest.raises(Forbidden):
            await world.people.delete_role(row.id)
        with pytest.raises(Forbidden):
            await world.people.rename_role(row.id, "other")


async def test_a_role_can_be_renamed_and_removed(world: Any) -> None:
    """It is taken from everybody who had it."""
    user_id = await world.person("demo")
    project_id = await world.people.find_project("home")
    role_id = await world.people.create_role("auditor")
    await world.people.assign_role(user_id, project_id, "auditor")
    await world.people.rename_role(role_id, "inspector")
    token = (await world.log_in("demo")).token
    assert (await world.identity.authenticate(token)).roles == {"member", "inspector"}
    await world.people.delete_role(role_id)
    assert (await world.identity.authenticate(token)).roles == {"member"}
    with pytest.raises(NotFound):
        await world.people.delete_role(role_id)


async def test_a_role_cannot_take_a_name_that_is_taken(world: Any) -> None:
    """Neither at its birth nor later."""
    role_id = await world.people.create_role("auditor")
    with pytest.raises(Conflict):
        await world.people.create_role("admin")
    with pytest.raises(Conflict):
        await world.people.rename_role(role_id, "admin")


@pytest.mark.parametrize("way", ["role", "delete", "disable", "password", "project", "off"])
async def test_the_last_administrator_cannot_be_locked_out(world: Any, way: str) -> None:
    """Whichever way one tries; with a second administrator it works."""
    people = world.people
    root = await world.person("root", "admin", "system")
    system = await people.find_project("system")

    async def lock_out() -> None:
        if way == "role":
            await people.remove_role(root, system, "admin")
        elif way == "delete":
            await people.delete_user(root)
        elif way == "disable":
            await people.update_user(root, {"enabled": False})
        elif way == "password":
            await people.update_user(root, {"password": None})
        elif way == "project":
            await people.delete_project(system)
        else:
            await people.update_project(system, {"enabled": False})

    with pytest.raises(Conflict, match="administrator"):
        await lock_out()
    assert (await world.log_in("root")).who.admin
    await world.person("second", "admin", "elsewhere")
    await lock_out()
    assert (await world.log_in("second")).who.admin


async def test_two_administrators_cannot_remove_each_other_at_the_same_moment(world: Any) -> None:
    """One of the two stays."""
    first = await world.person("first", "admin")
    second = await world.person("second", "admin")
    late: list[Any] = []

    async def delete_first(tx: Any) -> None:
        await roles.lock_administrators(tx)
        await users.delete(tx, first)
        late.append(ensureDeferred(world.people.delete_user(second)))
        await tx.value("select pg_sleep(0.1)")
        assert not late[0].called

    await world.database.transaction(delete_first, "test.delete")
    with pytest.raises(Conflict, match="administrator"):
        await late[0]
    assert (await world.log_in("second")).who.admin


async def test_a_project_with_something_in_it_stays(world: Any, database: Any) -> None:
    """The message says what is in it."""
    project_id = await world.people.create_project("home")
    await database.run(
        "insert into security_group (project_id, name) values (%s, 'default'), (%s, 'web')",
        (project_id, project_id),
    )
    await database.run(
        "insert into image (project_id, name) values (%s, 'a'), (%s, 'b')",
        (project_id, project_id),
    )
    with pytest.raises(Conflict, match="2 images, 1 security groups"):
        await world.people.delete_project(project_id)
    assert len(await world.people.list_projects()) == 1


async def test_an_emptied_project_goes_with_its_past(world: Any, database: Any) -> None:
    """What was deleted long ago keeps nobody from going."""
    project_id = await world.people.create_project("home")
    await database.run(
        "insert into security_group (project_id, name) values (%s, 'default')", (project_id,)
    )
    await database.run(
        "insert into image (project_id, name, status, deleted_at)"
        " values (%s, 'a', 'deleted', now())",
        (project_id,),
    )
    await database.run(
        "insert into holding (project_id, resource, maximum) values (%s, 'cyclades.vm', 2)",
        (project_id,),
    )
    await world.people.delete_project(project_id)
    assert await world.people.list_projects() == []
    with pytest.raises(NotFound):
        await world.people.delete_project(project_id)


async def test_a_deleted_server_keeps_no_project_from_going(world: Any, database: Any) -> None:
    """With its operations, its disks and the networks that it was in; a living one does."""
    people = world.people
    user_id = await world.person("demo")
    project_id = await people.find_project("home")
    who = Who(user_id, "demo", project_id, "home", frozenset({"member"}))
    flavor, cluster = await a_flavor(database), await a_cluster(database)
    server = await a_server(database, who, flavor, cluster=cluster)
    await an_operation(database, server, cluster, "create", state="succeeded")
    network = await a_network(database, project_id=project_id)
    with pytest.raises(Conflict, match="1 servers, 1 networks"):
        await people.delete_project(project_id)
    await database.run(
        "update server set state = 'deleted', deleted_at = now(), terminated_at = now()"
    )
    await database.run("update network set state = 'deleted', deleted_at = now()")
    await people.delete_project(project_id)
    assert await people.list_projects() == []
    assert await database.value("select count(*) from operation") == 0
    assert (
        await database.value("select project_id from network where id = %s", (network.id,)) is None
    )


async def test_deleting_a_project_ends_its_tokens(world: Any) -> None:
    """At once."""
    await world.person("root", "admin", "system")
    await world.person("demo")
    issued = await world.log_in("demo")
    await world.people.delete_project(issued.who.project_id)
    assert world.identity.cached(issued.token) is None
    assert (await world.log_in("demo")).who.project_id is None
